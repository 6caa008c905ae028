"""Traindeck is upgraded while runs go on and wait: each keeps the agent that started it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from traindeck.backends.base import State
from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.payload import build
from traindeck.backends.process import ProcessBackend
from traindeck.console.runs import controlling, launching
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store.places import Places
from traindeck.console.store.records import RunRecord


async def test_a_run_keeps_its_agent_through_retries_and_waiting_and_a_later_retry_takes_the_new(
    tmp_path: Path, upgrade: Callable[[], None]
) -> None:
    root, work = tmp_path / "root", tmp_path / "work"
    work.mkdir()
    places = Places(config=tmp_path, state=tmp_path, index=tmp_path / "index.db")
    ws = Workspace(places=places, environ={"PATH": os.environ["PATH"]})

    def agents(run: RunRecord) -> list[str]:
        attempts = sorted((root / "runs" / run.id / "attempts").iterdir())
        return [json.loads((one / "agent.json").read_text())["agent"] for one in attempts]

    async def launch(script: str, **more: Any) -> RunRecord:
        request = LaunchRequest(argv=("sh", "-c", script), cwd=str(work), **more)
        return await launching.launch(ws, await launching.plan(ws, request))

    # Waits to be let go, and fails at the first attempt.
    gate = f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"
    ws.use_backend(ProcessBackend("local", LocalHost(str(root))))
    repeats = await launch(f"{gate}; [ ${{TRAINDECK_RUN#*/}} = 1 ]", retries=3)
    waits = await launch("exit 3", after=(repeats.id,))
    old = build.agent_version()
    assert agents(repeats) == agents(waits) == [old]

    await ws.close_backends()
    upgrade()
    new = build.agent_version()
    assert new != old
    ws.use_backend(ProcessBackend("local", LocalHost(str(root))))
    fresh = await launch("true")
    (tmp_path / "go").touch()
    async with asyncio.timeout(60):
        ended = await controlling.wait(ws, [repeats.id, waits.id, fresh.id])
    states = [(run.state, run.attempt) for run in ended]
    assert states == [(State.SUCCEEDED, 1), (State.FAILED, 0), (State.SUCCEEDED, 0)]
    assert (agents(repeats), agents(waits), agents(fresh)) == ([old, old], [old], [new])

    again = await launching.launch(ws, await launching.retry(ws, ended[1]))
    async with asyncio.timeout(60):
        (again,) = await controlling.wait(ws, [again.id])
    assert (again.state, again.attempt) == (State.FAILED, 1)
    assert agents(waits) == [old, new]
    assert {path.name for path in (root / "bin").glob("agent-*.py")} == {
        f"agent-{old}.py", f"agent-{new}.py",
    }  # fmt: skip
    await ws.aclose()
