"""Many who wait for one run ask about it hardly more often than one would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path

import pytest
from tests.conformance import fake, jobs

from traindeck.backends.base import JobRef, State, Status
from traindeck.console.runs import controlling, launching
from traindeck.console.runs.refreshing import refresh
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store.places import Places


class Counted(fake.FakeBackend):
    """A place that counts how often it is asked."""

    polls = 0

    async def poll(self, refs: Collection[JobRef]) -> Mapping[JobRef, Status]:
        type(self).polls += 1
        return await super().poll(refs)


@pytest.fixture
async def waiting(tmp_path: Path, home: Path) -> AsyncIterator[list[Workspace]]:
    """Workspaces of one index, as ten processes would have them."""
    place = fake.Place()
    places = Places(config=tmp_path, state=tmp_path, index=tmp_path / "index.db")
    made = [Workspace(places=places, environ={}) for _ in range(10)]
    for ws in made:
        ws.use_backend(Counted("there", place))
    yield made
    for ws in made:
        await ws.aclose()
    await place.close()


async def test_of_ten_who_ask_at_once_one_does(waiting: list[Workspace]) -> None:
    first = waiting[0]
    request = LaunchRequest(argv=jobs.argv(fake.PYTHON, "hold"), on="there")
    run = await launching.launch(first, await launching.plan(first, request))
    Counted.polls = 0
    await asyncio.gather(*(refresh(ws, [run], max_age=0.0, turns=True) for ws in waiting))
    assert Counted.polls == 1
    await refresh(waiting[-1], [run], max_age=0.0, turns=True)
    assert Counted.polls == 2, "the turn is given back"


async def test_all_who_wait_see_the_end(waiting: list[Workspace]) -> None:
    first = waiting[0]
    request = LaunchRequest(argv=jobs.argv(fake.PYTHON, "hold"), on="there")
    run = await launching.launch(first, await launching.plan(first, request))
    everyone = [asyncio.create_task(controlling.wait(ws, [run.id])) for ws in waiting]
    await controlling.stop(first, run)
    ended = await asyncio.wait_for(asyncio.gather(*everyone), 20)
    assert {record.state for (record,) in ended} == {State.CANCELLED}
