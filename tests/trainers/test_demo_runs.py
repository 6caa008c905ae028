"""`traindeck demo` is four ordinary runs, one after the other, and an honest report of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.base import State, UsageError
from traindeck.console.runs import controlling, demo
from traindeck.console.runs.workspace import open_workspace


@pytest.mark.train
@pytest.mark.slow
async def test_the_demo_trains_examines_and_can_be_run_again(home: Path) -> None:
    small = {"base_steps": 4, "steps": 3, "python": sys.executable}
    async with open_workspace() as ws:
        made = await demo.launch(ws, **small)
        assert [step.name for step in made.steps] == [
            *("demo-base", "demo-lr3e-3", "demo-lr3e-4", "demo-exam"),
        ]
        said: set[str] = set()
        waited: set[str] = set()
        async for looks in demo.follow(ws, made):
            said |= {look.says for look in looks}
            waited |= {look.run.reason for look in looks if look.run.state is State.QUEUED}
        assert any(line.startswith("importing torch") for line in said)
        assert waited, "each waits for the one before, and says so"

        found = await demo.report(ws, made)
        assert found.problems == ()
        assert [run.state for run in found.runs] == [State.SUCCEEDED] * 4
        assert all("demo" in run.tags for run in found.runs)
        assert set(found.curves) == {"demo-lr3e-3", "demo-lr3e-4"}
        assert all(len(curve.values) for curve in found.curves.values())
        assert found.exam is not None
        assert [mark.name for mark in found.exam.marks] == ["base", "lr3e-3", "lr3e-4"]
        assert all(mark.total == 200 for mark in found.exam.marks)
        assert found.runs[1].params["lr"] == 3e-3 and found.runs[1].recipe == "sft"
        assert json.loads(json.dumps(found.to_json()))["models"][0]["name"] == "base"
        assert any(str(made.base / "model") in command for command, _ in found.commands)

        again = await demo.launch(ws, **small)
        assert [step.name for step in again.steps] == [
            *("demo-lr3e-3-2", "demo-lr3e-4-2", "demo-exam-2"),  # the base is there already
        ]
        for step in again.steps:
            run = ws.index.get(step.run_id)
            assert run is not None
            await controlling.stop(ws, run)
        ended = await controlling.wait(ws, [step.run_id for step in again.steps])
        assert all(run.state is State.CANCELLED for run in ended)
        found = await demo.report(ws, again)
        assert found.exam is None and len(found.problems) == 3


@pytest.mark.train
@pytest.mark.slow
async def test_interrupting_the_demo_says_that_its_runs_go_on(home: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "traindeck.console.cli.main", "demo", "--python", sys.executable],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # The tests may have been started in the background, where a shell ignores it for them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert demo.stderr is not None
    assert any("build a base model" in line for line in demo.stderr)
    os.killpg(demo.pid, signal.SIGINT)
    _, said = demo.communicate(timeout=20)
    assert demo.returncode == 130
    async with open_workspace() as ws:
        runs = ws.index.active()
        assert len(runs) == 4
        for run in runs:
            await controlling.stop(ws, run)
        await controlling.wait(ws, [run.id for run in runs])
    end = said.strip().splitlines()[-1]
    assert "demo-base, demo-lr3e-3, demo-lr3e-4, demo-exam go on; `traindeck stop " in end


async def test_without_torch_the_demo_says_how_to_get_it(home: Path, tmp_path: Path) -> None:
    python = tmp_path / "bare" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    async with open_workspace() as ws:
        with pytest.raises(UsageError, match=f"{python} -m pip install"):
            await demo.launch(ws, python=str(python))
        assert not ws.index.active()


GOOD = {"name": "base", "right": 1, "total": 2, "low": 0.1, "high": 1, "answer": "a"}


@pytest.mark.parametrize(
    "change",
    [
        {"right": 3},
        {"right": -1},
        {"total": 0},
        {"right": True},
        {"low": float("nan")},
        {"answer": None},
        {"name": ["a"]},
    ],
)
def test_a_result_that_makes_no_sense_is_not_shown(change: dict[str, Any]) -> None:
    whole = {"question": "q", "wanted": "w", "models": [GOOD]}
    assert demo.read_exam(json.dumps(whole).encode()).marks[0].high == 1.0
    whole["models"] = [{**GOOD, **change}]
    with pytest.raises(ValueError):
        demo.read_exam(json.dumps(whole).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"models": 3}'])
def test_a_result_that_is_torn_is_not_shown(data: bytes) -> None:
    with pytest.raises(ValueError):
        demo.read_exam(data)
