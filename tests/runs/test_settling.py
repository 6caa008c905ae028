"""What becomes of a submission whose process died: settled by the next command, never too early."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conformance import fake, jobs

from traindeck.backends.base import Rank, RunSpec, State, encode
from traindeck.console.runs.settling import settle
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store.journal import Submission
from traindeck.console.store.places import Places

RUN = "0123456789ab"


class Slow(fake.FakeBackend):
    """A place where what was sent may take a while to be found."""

    settle = 10.0


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[fake.Place]:
    place = fake.Place()
    yield place
    await place.close()


@pytest.fixture
async def ws(tmp_path: Path, there: fake.Place) -> AsyncIterator[Workspace]:
    made = Workspace(
        places=Places(config=tmp_path, state=tmp_path, index=tmp_path / "index.db"), environ={}
    )
    made.use_backend(Slow("there", there))
    async with made:
        yield made


def orphan(ws: Workspace) -> tuple[Submission, RunSpec]:
    """A submission whose process is dead."""
    spec = RunSpec(run_id=RUN, name="calm-fox", argv=jobs.argv(fake.PYTHON, "hold"))
    entry = ws.journal.begin(
        run_id=RUN, attempt=0, backend="there", plan_digest="", spec=encode(spec)
    )
    dead = replace(entry, owner=replace(entry.owner, starttime=1))
    ws.journal._replace(dead)
    return dead, spec


async def test_a_job_that_was_sent_is_taken_up(ws: Workspace) -> None:
    _, spec = orphan(ws)
    backend = ws.backend("there")
    await backend.submit(backend.plan(spec, await backend.survey(spec)))
    await settle(ws)
    assert ws.journal.entries() == []
    run = ws.index.get(RUN)
    assert run is not None and run.active


async def test_what_is_not_found_right_away_may_be_on_its_way(ws: Workspace) -> None:
    entry, spec = orphan(ws)
    ws.clock = lambda: entry.begun + 9.0
    await settle(ws)
    assert [e.run_id for e in ws.journal.entries()] == [RUN]
    backend = ws.backend("there")
    await backend.submit(backend.plan(spec, await backend.survey(spec)))  # it arrives after all
    await settle(ws)
    run = ws.index.get(RUN)
    assert run is not None and run.active


async def test_what_is_not_found_for_long_was_not_sent(ws: Workspace) -> None:
    entry, _ = orphan(ws)
    ws.clock = lambda: entry.begun + 11.0
    await settle(ws)
    assert ws.journal.entries() == []
    run = ws.index.get(RUN)
    assert run is not None
    assert (run.state, run.rank) == (State.FAILED, Rank.NONE)
    assert "not sent" in run.reason


async def test_a_place_out_of_reach_leaves_it_for_later(ws: Workspace, there: fake.Place) -> None:
    entry, _ = orphan(ws)
    ws.clock = lambda: entry.begun + 11.0
    there.reachable = False
    await settle(ws)
    assert [e.orphaned for e in ws.journal.entries()] == [True]
