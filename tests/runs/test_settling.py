"""What becomes of a submission whose process died: settled by the next command, never too early."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conformance import fake, jobs

from traindeck.backends.base import (
    Backend,
    BackendError,
    JobRef,
    Plan,
    Rank,
    RunSpec,
    State,
    Status,
    UsageError,
    encode,
    plan_digest,
)
from traindeck.console.runs import controlling, launching, settling
from traindeck.console.runs.refreshing import refresh
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.settling import settle
from traindeck.console.runs.workspace import Workspace, ref_of
from traindeck.console.store.describe import describe
from traindeck.console.store.index import Index
from traindeck.console.store.journal import Submission
from traindeck.console.store.places import Places
from traindeck.console.store.records import RunRecord
from traindeck.console.store.reindex import fill

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
async def ws(tmp_path: Path, home: Path, there: fake.Place) -> AsyncIterator[Workspace]:
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
    # Nothing else knows of it: the entry stays until the run is removed.
    (kept,) = ws.journal.entries()
    assert (kept.phase, kept.orphaned) == ("unsent", False)
    before = ws.index.get(RUN)
    assert before is not None and ws.index.resolve(RUN)
    for begun in (False, True):  # also with a directory in which nothing was started
        if begun:
            folder = ws.places.state / "root" / "runs" / RUN
            (folder / "attempts").mkdir(parents=True)
            (folder / "run.json").write_text(json.dumps({"format": 1, "id": RUN, "spec": {}}))
        again = Index.open(ws.places.index.with_name(f"{begun}.db"), rebuild=lambda index: None)
        filled = fill(again, ws.places, {"there": ws.places.state / "root"})
        assert filled.with_directory == begun
        after = again.get(RUN)
        assert after is not None and after.state is before.state
        assert (after.reason, after.ended) == (before.reason, before.ended)
        again.close()
    with pytest.raises(UsageError, match="never sent"):
        await launching.retry(ws, before)
    assert await controlling.remove(ws, before) == 0
    assert ws.index.get(RUN) is None and ws.journal.entries() == []


async def test_what_may_be_on_its_way_is_listed(ws: Workspace) -> None:
    entry, _ = orphan(ws)
    ws.clock = lambda: entry.begun + 1.0
    await settle(ws)
    run = ws.index.get(RUN)
    assert run is not None and (run.name, run.state) == ("calm-fox", State.NEW)


async def test_a_look_while_a_launch_is_under_way_calls_nothing_lost(
    ws: Workspace, there: fake.Place
) -> None:
    """However long the sending takes: a large snapshot, a slow link."""
    arrives = asyncio.Event()

    class Sending(Slow):
        async def submit(self, plan: Plan, secrets: Mapping[str, str] | None = None) -> JobRef:
            await arrives.wait()
            return await super().submit(plan, secrets)

    ws.use_backend(Sending("there", there))
    request = LaunchRequest(argv=jobs.argv(fake.PYTHON, "hold"), on="there")
    launch = asyncio.create_task(launching.launch(ws, await launching.plan(ws, request)))
    while not ws.journal.entries():
        await asyncio.sleep(0)
    async with Workspace(places=ws.places, environ={}) as other:
        other.use_backend(Slow("there", there))
        for later in (0.0, 5.0, 300.0):
            other.clock = lambda later=later: time.time() + later
            await refresh(other, max_age=0.0)
            (run,) = other.index.active()
            assert (run.state, run.reason) == (State.NEW, "")
        arrives.set()
        assert (await launch).active
        other.clock = time.time
        await refresh(other, max_age=0.0)
        assert [run.state.terminal for run in other.index.active()] == [False]


async def test_a_launch_killed_before_it_was_sent_is_new_and_then_not_sent(ws: Workspace) -> None:
    entry, spec = orphan(ws)
    ws.index.put(replace(describe(spec, "there"), observed_at=entry.begun))
    for later, state in ((1.0, State.NEW), (9.0, State.NEW), (11.0, State.FAILED)):
        ws.clock = lambda later=later: entry.begun + later
        await refresh(ws, max_age=0.0)
        run = ws.index.get(RUN)
        assert run is not None and run.state is state
    assert "not sent" in run.reason


async def test_a_fault_in_reading_what_one_run_measures_is_no_other_run_s(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def faulty(ws: Workspace, backend: Backend, run: RunRecord, status: Status) -> None:
        if run.name == "bad":
            raise ValueError("invalid literal for int()")

    monkeypatch.setattr("traindeck.console.runs.measuring.measure", faulty)
    monkeypatch.setattr("traindeck.console.runs.refreshing.YOUNG", -1.0)
    told: list[str] = []
    ws.tell = told.append
    for name in ("bad", "good"):
        request = LaunchRequest(argv=jobs.argv(fake.PYTHON, "exit:0"), on="there", name=name)
        await launching.launch(ws, await launching.plan(ws, request))
    ended = await controlling.wait(ws, [run.id for run in ws.index.rows(ws.index.ids())])
    assert [run.state for run in ended] == [State.SUCCEEDED] * 2
    assert told and all("What bad measures" in line and "ValueError" in line for line in told)


async def test_a_run_that_was_lost_sight_of_is_seen_again_when_it_is_named(ws: Workspace) -> None:
    request = LaunchRequest(argv=jobs.argv(fake.PYTHON, "hold"), on="there")
    run = await launching.launch(ws, await launching.plan(ws, request))
    lost = Status(state=State.LOST, observed_at=time.time(), reason="gone")
    ws.index.update_status(run.id, lost, settle=0.0)
    gone = ws.index.get(run.id)
    assert gone is not None and gone.state is State.LOST
    await refresh(ws, [gone], max_age=0.0)
    found = ws.index.get(run.id)
    assert found is not None and (found.state, found.reason) == (run.state, run.reason)


async def test_one_that_was_never_sent_has_failed(ws: Workspace) -> None:
    entry, _ = orphan(ws)
    ws.clock = lambda: entry.begun + 11.0
    await settle(ws)
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


async def test_a_retry_that_was_not_sent_leaves_the_run_as_it_ended(ws: Workspace) -> None:
    backend = ws.backend("there")
    spec = RunSpec(run_id=RUN, name="calm-fox", argv=jobs.argv(fake.PYTHON, "exit:3"))
    await launching.launch(ws, backend.plan(spec, await backend.survey(spec)))
    (ended,) = await controlling.wait(ws, [RUN])
    assert (ended.state, ended.exit_code) == (State.FAILED, 3)
    entry = ws.journal.begin(
        run_id=RUN,
        attempt=1,
        backend="there",
        plan_digest="",
        spec=encode(replace(spec, attempt=1)),
    )
    ws.journal._replace(replace(entry, owner=replace(entry.owner, starttime=1)))
    ws.clock = lambda: entry.begun + 11.0
    await settle(ws)
    assert ws.journal.entries() == []
    run = ws.index.get(RUN)
    assert run is not None
    assert (run.state, run.exit_code, run.attempt) == (State.FAILED, 3, 0)


async def test_a_retry_that_is_refused_leaves_the_run_as_it_ended(ws: Workspace) -> None:
    backend = ws.backend("there")
    spec = RunSpec(run_id=RUN, name="calm-fox", argv=jobs.argv(fake.PYTHON, "exit:3"))
    await launching.launch(ws, backend.plan(spec, await backend.survey(spec)))
    (ended,) = await controlling.wait(ws, [RUN])
    plan = Plan(backend="there", spec=replace(spec, attempt=1), argv=spec.argv)
    plan = replace(plan, digest=plan_digest(plan))
    await backend.remove(ref_of(ended))  # by hand, or by another console
    with pytest.raises(BackendError):
        await launching.launch(ws, plan)
    run = ws.index.get(RUN)
    assert run is not None
    assert (run.state, run.exit_code, run.attempt) == (State.FAILED, 3, 0)


async def test_a_place_that_hangs_costs_its_time_limit_once(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, _ = orphan(ws)
    ws.clock = lambda: entry.begun + 11.0

    async def hangs(keys: object = None) -> list[JobRef]:
        await asyncio.sleep(3600)
        return []

    monkeypatch.setattr(ws.backend("there"), "find", hangs)
    monkeypatch.setattr(settling, "PATIENCE", 0.05)
    said: list[str] = []
    ws.tell = said.append
    await asyncio.wait_for(settle(ws), 10)
    assert "does not answer" in said[0]
    assert [e.orphaned for e in ws.journal.entries()] == [True]
