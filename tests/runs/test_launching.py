"""What a launch asks of a place, and what it knows afterwards."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.base import State, plan_digest
from traindeck.backends.hosts.channel import Channel
from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.process import ProcessBackend
from traindeck.console.runs import controlling, launching, settling
from traindeck.console.runs.drafting import Draft, check
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store.errors import StoreError
from traindeck.console.store.places import Places


@pytest.fixture
async def ws(tmp_path: Path, home: Path) -> AsyncIterator[Workspace]:
    places = Places(config=tmp_path, state=tmp_path, index=tmp_path / "index.db")
    made = Workspace(places=places, environ={"PATH": os.environ["PATH"]})
    made.use_backend(ProcessBackend("local", LocalHost(str(tmp_path / "root"))))
    yield made
    await made.aclose()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The verbs that are sent, in order."""
    verbs: list[str] = []
    call = Channel.call

    async def counted(self: Channel, verb: str, *args: Any, **more: Any) -> Any:
        verbs.append(verb)
        return await call(self, verb, *args, **more)

    monkeypatch.setattr(Channel, "call", counted)
    return verbs


async def test_a_launch_is_two_round_trips_and_knows_that_the_job_runs(
    ws: Workspace, asked: list[str]
) -> None:
    request = LaunchRequest(argv=("sleep", "300"), cwd="/")
    run = await launching.launch(ws, await launching.plan(ws, request))
    assert asked == ["survey", "start"]
    assert (run.state, run.attempt) == (State.RUNNING, 0)
    assert run.pid is not None and run.started is not None and run.observed_at > 0
    assert ws.index.get(run.id) == run
    await controlling.stop(ws, run, grace=1.0)


async def test_a_program_that_is_not_there_is_known_with_the_launch(
    ws: Workspace, asked: list[str]
) -> None:
    request = LaunchRequest(argv=("no-such-program",), cwd="/")
    run = await launching.launch(ws, await launching.plan(ws, request), briefly=True)
    assert "poll" not in asked
    assert (run.state, run.exit_code) == (State.FAILED, 127)
    assert "no-such-program" in run.reason


async def test_what_the_index_cannot_take_is_not_sent_and_leaves_nothing(
    ws: Workspace, asked: list[str]
) -> None:
    made = await launching.plan(ws, LaunchRequest(argv=("true",), cwd="/"))
    db = ws.index._db._connection
    assert db is not None
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    ws.index._db._may_copy = False  # as for a command that launches
    made = replace(made, spec=replace(made.spec, name="x" * 100_000))
    with pytest.raises(StoreError, match="is full"):
        await launching.launch(ws, made)
    assert asked == ["survey"]
    assert ws.journal.entries() == []
    assert ws.index.get(made.spec.run_id) is None


async def test_what_could_not_be_noted_is_not_sent(ws: Workspace, asked: list[str]) -> None:
    made = await launching.plan(ws, LaunchRequest(argv=("true",), cwd="/"))
    ws.places.annotations.symlink_to("/nowhere/annotations.jsonl")
    with pytest.raises(StoreError, match="Cannot write"):
        await launching.launch(ws, made)
    assert asked == ["survey"]
    assert ws.journal.entries() == []


async def test_what_was_started_is_no_failure_though_a_full_disk_takes_no_note_of_it(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise StoreError("Cannot write annotations.jsonl: no space left on device.")

    told: list[str] = []
    ws.tell = told.append
    made = await launching.plan(ws, LaunchRequest(argv=("sleep", "300"), cwd="/"))
    with monkeypatch.context() as disk:
        disk.setattr(settling, "append", full)
        run = await launching.launch(ws, made)
    assert run.state is State.RUNNING
    assert len(told) == 1 and f"{run.id} was started" in told[0] and "no space left" in told[0]
    (left,) = ws.journal.entries()
    assert left.run_id == run.id, "a later command settles it"
    await controlling.stop(ws, run, grace=1.0)


async def test_a_command_that_looks_for_a_shell_is_warned_of(ws: Workspace) -> None:
    draft = Draft(fields={"command": "true ~ | tee log"})
    plan = (await check(ws, draft)).plan
    assert plan is not None and plan.argv == ("true", str(Path.home()), "|", "tee", "log")
    (warning,) = (text for text in plan.warnings if "no shell" in text)
    assert warning == "no shell runs this: | is passed as it stands; for a shell write bash -c '…'"
    assert plan.digest == plan_digest(plan)
    quoted = (await check(ws, Draft(fields={"command": "true '|' x"}))).plan
    assert quoted is not None and not any("no shell" in text for text in quoted.warnings)
