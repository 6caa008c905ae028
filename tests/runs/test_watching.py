"""Many who wait for one run ask about it hardly more often than one would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path

import pytest
from tests.conformance import fake, jobs

from traindeck.backends.base import JobRef, Reach, State, Status, Unreachable
from traindeck.console.runs import controlling, launching
from traindeck.console.runs.refreshing import refresh
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store.places import Places
from traindeck.console.store.records import RunRecord


class Counted(fake.FakeBackend):
    """A place that counts how often it is asked."""

    polls = 0
    asked: Collection[JobRef] = ()
    answers = True
    lapses = 0
    """So many questions are lost first."""

    async def poll(self, refs: Collection[JobRef]) -> Mapping[JobRef, Status]:
        type(self).polls += 1
        type(self).asked = refs
        if self.lapses:
            type(self).lapses -= 1
            raise Unreachable("It was away.")
        if not self.answers:
            await asyncio.sleep(0.1)
            raise Unreachable("It does not answer.")
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


async def test_a_place_that_was_never_said_to_be_silent_is_not_said_to_answer_again(
    waiting: list[Workspace],
) -> None:
    first = waiting[0]
    request = LaunchRequest(argv=jobs.argv(fake.PYTHON, "hold"), on="there")
    for lapses, expected in (
        (1, []),  # by the time it is asked why, it answers
        (2, ["there cannot be asked, the waiting goes on: It was away.", "there answers again."]),
    ):
        run = await launching.launch(first, await launching.plan(first, request))
        said: list[str] = []
        first.tell = said.append
        Counted.lapses = lapses
        task = asyncio.create_task(controlling.wait(first, [run.id]))
        async with asyncio.timeout(20):
            while Counted.lapses or len(said) < len(expected):
                await asyncio.sleep(0.01)
            await controlling.stop(first, run)
            await task
        assert said == expected


async def launched(waiting: list[Workspace]) -> list[RunRecord]:
    """A run for each who waits, seen a while ago."""
    first = waiting[0]
    runs = []
    for _ in waiting:
        request = LaunchRequest(argv=jobs.argv(fake.PYTHON, "hold"), on="there")
        runs.append(await launching.launch(first, await launching.plan(first, request)))
    return runs


def later(waiting: list[Workspace], runs: list[RunRecord]) -> None:
    """All looks at these runs are older than any that will do."""
    for ws in waiting:
        ws.clock = lambda: time.time() + 60
    for run in runs:
        waiting[0].index.want(run.id, 60)


async def test_ten_who_wait_for_ten_runs_are_told_by_one_who_asks_for_all(
    waiting: list[Workspace],
) -> None:
    runs = await launched(waiting)
    later(waiting, runs)
    Counted.polls = 0
    before = {run.id: run.observed_at for run in runs}
    await asyncio.gather(
        *(refresh(ws, [run], turns=True) for ws, run in zip(waiting, runs, strict=True))
    )
    assert Counted.polls == 1
    assert {ref.run_id for ref in Counted.asked} == set(before)
    assert all(waiting[3].record(run_id).observed_at > at for run_id, at in before.items())


async def test_who_asks_without_taking_turns_waits_for_nobody_and_asks_for_nothing_else(
    waiting: list[Workspace],
) -> None:
    runs = await launched(waiting)
    later(waiting, runs)
    assert waiting[1].index.try_lease("poll there", 60)
    await refresh(waiting[0], [runs[0]], max_age=0.0)
    assert [ref.run_id for ref in Counted.asked] == [runs[0].id]


async def test_whose_run_was_not_asked_for_asks_when_it_is_its_turn(
    waiting: list[Workspace],
) -> None:
    runs = await launched(waiting)
    later(waiting, runs[:1])
    Counted.polls = 0
    await asyncio.gather(
        *(refresh(ws, [run], turns=True) for ws, run in zip(waiting[:2], runs[:2], strict=True))
    )
    assert Counted.polls == 2
    assert {ref.run_id for ref in Counted.asked} == {runs[0].id, runs[1].id}


async def test_a_place_that_does_not_answer_is_not_asked_by_each_who_waits(
    waiting: list[Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = await launched(waiting)
    later(waiting, runs)
    Counted.polls = 0
    monkeypatch.setattr(Counted, "answers", False)
    await asyncio.gather(
        *(refresh(ws, [run], turns=True) for ws, run in zip(waiting, runs, strict=True))
    )
    assert Counted.polls == 1
    assert {ws.record(run.id).reach for ws, run in zip(waiting, runs, strict=True)} == {Reach.DOWN}
    monkeypatch.setattr(Counted, "answers", True)
    await refresh(waiting[1], [waiting[1].record(runs[1].id)], turns=True)
    assert {ws.record(run.id).reach for ws, run in zip(waiting, runs, strict=True)} == {Reach.OK}


async def test_a_run_that_is_over_is_asked_for_no_more_however_lately_somebody_waited(
    waiting: list[Workspace],
) -> None:
    runs = await launched(waiting)
    await controlling.stop(waiting[0], runs[0])
    await controlling.wait(waiting[0], [runs[0].id])
    later(waiting, runs)
    await refresh(waiting[1], [runs[1]], turns=True)
    assert {ref.run_id for ref in Counted.asked} == {run.id for run in runs[1:]}


async def test_a_look_from_before_the_clock_was_set_is_none(
    waiting: list[Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = await launched(waiting)
    await refresh(waiting[0], [runs[0]], max_age=0.0)
    Counted.polls = 0
    seen = waiting[0].record(runs[0].id)
    await refresh(waiting[1], [seen], max_age=600.0, turns=True)
    assert Counted.polls == 0
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 1.0)
    await refresh(waiting[1], [seen], max_age=600.0, turns=True)
    assert Counted.polls == 1
    await refresh(waiting[2], [waiting[2].record(seen.id)], max_age=600.0, turns=True)
    assert Counted.polls == 1, "the clock goes on from there"


async def test_who_asked_last_is_the_next_to_ask(waiting: list[Workspace]) -> None:
    """The others need no connection."""
    runs = await launched(waiting)
    await refresh(waiting[0], [runs[0]], max_age=0.0)
    at = waiting[0].record(runs[0].id).observed_at
    assert waiting[0].asked_at == {"there": at}
    assert waiting[1].asked_at == {}
