"""What is wrong with a run that goes on is said wherever the run is shown."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Cli


def kill(folder: Path, supervisor: int) -> None:
    os.kill(supervisor, signal.SIGKILL)


def halt(folder: Path, supervisor: int) -> None:
    os.kill(supervisor, signal.SIGSTOP)


def delete(folder: Path, supervisor: int) -> None:
    shutil.rmtree(folder)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("do", "said"),
    [
        (kill, "its supervisor was killed; it runs on, exit code will not be known"),
        (halt, "its supervisor is stopped (signal STOP)"),
        (delete, "its run directory was deleted; it runs on, log and exit code are lost"),
    ],
)
def test_a_running_run_that_something_is_wrong_with_says_so(
    cli: Cli, do: Callable[[Path, int], None], said: str
) -> None:
    run = cli.run("sh", "-c", "echo step 7 loss 1.5; exec sleep 60")
    while cli.json("show", "--json", run)["progress"]["step"] is None:
        time.sleep(0.2)
    job = cli.json("show", "--json", run)["pid"]
    folder = cli.home / ".traindeck/runs" / run
    supervisor = json.loads((folder / "attempts/0/agent.json").read_text())["pid"]
    try:
        do(folder, supervisor)
        deadline = time.monotonic() + 20
        while cli.json("show", "--json", run)["reason"] is None and time.monotonic() < deadline:
            time.sleep(0.2)
        shown = cli("show", run).stdout
        assert "● running" in shown and f"▲ {said}" in shown
        assert f"▲ {said} · step 7" in cli.ok("ls")
    finally:
        if do is halt:
            os.kill(supervisor, signal.SIGCONT)
        os.kill(job, signal.SIGKILL)
