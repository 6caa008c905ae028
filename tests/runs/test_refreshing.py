"""Looking at runs: what others see of them while somebody does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.conformance import fake, jobs

from traindeck.backends.base import FileEntry, JobRef, State
from traindeck.console.runs import controlling, launching, refreshing
from traindeck.console.runs.filters import parse
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.workspace import LOOK_AGAIN, Workspace, open_workspace
from traindeck.console.store.places import Places
from traindeck.console.store.records import needs_you


async def test_a_run_is_seen_only_with_what_it_measured_by_then(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that nobody looked at for long would seem silent until its log is read."""
    monkeypatch.setattr(refreshing, "YOUNG", -1.0)
    places = Places(config=tmp_path, state=tmp_path, index=tmp_path / "index.db")
    ws = Workspace(places=places, environ={})
    reading: list[float] = []

    class Watched(fake.FakeBackend):
        async def list_files(self, ref: JobRef, path: str = "") -> Sequence[FileEntry]:
            found = ws.index.get(ref.run_id)
            assert found is not None
            reading.append(found.observed_at)
            return await super().list_files(ref, path)

    place = fake.Place()
    ws.use_backend(Watched("there", place))
    request = LaunchRequest(argv=jobs.argv(fake.PYTHON, "hold"), on="there")
    run = await launching.launch(ws, await launching.plan(ws, request))
    while run.state is not State.RUNNING:
        await refreshing.refresh(ws, [run], max_age=0.0)
        run = ws.index.get(run.id) or run
    reading.clear()
    await refreshing.refresh(ws, [run], max_age=0.0)
    now = ws.index.get(run.id)
    assert now is not None and now.observed_at > run.observed_at
    assert set(reading) == {run.observed_at}
    await controlling.stop(ws, now)
    await ws.aclose()
    await place.close()


async def test_a_run_whose_disk_was_not_mounted_for_a_while_is_seen_again_unasked(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    async with open_workspace() as ws:
        request = LaunchRequest(argv=("sh", "-c", "sleep 0.5; exit 4"), cwd=str(home))
        run = await launching.launch(ws, await launching.plan(ws, request))
        record = home / ".traindeck/runs" / run.id / "attempts/0/exit.slot"
        while b"TDX1" not in record.read_bytes():
            await asyncio.sleep(0.1)
        runs, away = home / ".traindeck/runs", home / ".traindeck/away"
        runs.rename(away)
        runs.mkdir()  # the mount point
        await refreshing.refresh(ws, max_age=0.0)
        runs.rmdir()
        away.rename(runs)
        gone = ws.index.get(run.id)
        assert gone is not None and gone.state is State.LOST and not ws.has_questions()
        ws.clock = lambda: time.time() + LOOK_AGAIN
        assert ws.has_questions()
        await refreshing.refresh(ws)
        back = ws.index.get(run.id)
        assert back is not None and (back.state, back.exit_code) == (State.FAILED, 4)


async def test_a_run_that_is_lost_is_so_since_then_however_often_it_is_looked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    async with open_workspace() as ws:
        request = LaunchRequest(argv=("sh", "-c", "sleep 0.5"), cwd=str(home))
        run = await launching.launch(ws, await launching.plan(ws, request))
        folder = home / ".traindeck/runs" / run.id
        while b"TDX1" not in (folder / "attempts/0/exit.slot").read_bytes():
            await asyncio.sleep(0.1)
        folder.rename(home / "away")
        await refreshing.refresh(ws, max_age=0.0)
        lost = ws.record(run.id)
        assert lost.state is State.LOST and lost.troubled_at == lost.observed_at
        controlling.look(ws, lost)
        later = time.time() + LOOK_AGAIN
        ws.clock = lambda: later
        with monkeypatch.context() as shifted:
            real = time.time
            shifted.setattr(time, "time", lambda: real() + LOOK_AGAIN)
            await refreshing.refresh(ws)
        again = ws.record(run.id)
        assert again.observed_at > lost.observed_at and again.troubled_at == lost.troubled_at
        assert not needs_you(again, later)
        assert not ws.index.ids(parse("is:needs-you"), now=later)
        (home / "away").rename(folder)
        await refreshing.refresh(ws, [again])
        assert ws.record(run.id).troubled_at is None


async def test_a_run_that_was_asked_to_stop_is_known_to_be_stopping_at_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    async with open_workspace() as ws:
        stays = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
        request = LaunchRequest(argv=("sh", "-c", stays), cwd=str(home))
        run = await launching.launch(ws, await launching.plan(ws, request))
        while run.state is not State.RUNNING or not run.log_bytes:
            await refreshing.refresh(ws, [run], max_age=0.0)
            run = ws.index.get(run.id) or run
        assert await controlling.stop(ws, run, grace=1.0)
        asked = ws.index.get(run.id)
        assert asked is not None and asked.state is State.STOPPING
        await controlling.wait(ws, [run.id])
