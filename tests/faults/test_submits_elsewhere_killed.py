"""SIGKILL of commands that launch on another machine, at random instants and many at once: no run
is lost, and none runs twice. `SOAK=n` does n / 4 of them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.services.sshd import Box, Sshd

from traindeck.backends.base import State
from traindeck.console.runs.refreshing import refresh
from traindeck.console.runs.workspace import open_workspace
from traindeck.console.store.records import RunRecord

TIMES = max(20, int(os.environ.get("SOAK", "0")) // 4)
AT_ONCE = 5
TRAINDECK = [sys.executable, "-m", "traindeck.console.cli.main"]
PATIENCE = 120.0


async def all_runs(later: float) -> list[RunRecord]:
    async with open_workspace() as ws:
        ws.clock = lambda: time.time() + later
        await refresh(ws, max_age=0.0)
        return ws.index.rows(ws.index.ids())


@pytest.mark.fault
@pytest.mark.slow
def test_launches_elsewhere_that_are_killed_lose_no_run_and_double_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    rng = random.Random()
    seed = rng.randrange(1 << 32)
    rng.seed(seed)
    print("seed", seed)  # shown by pytest if it fails
    with Sshd(tmp_path, Box()) as sshd:
        add = ["backends", "add", "ssh", "box0", "--ssh-config", str(sshd.config)]
        subprocess.run([*TRAINDECK, *add], check=True, stdout=subprocess.DEVNULL)
        ran = sshd[0].home / "ran"
        ran.touch()
        job = ["/bin/sh", "-c", f"echo $TRAINDECK_RUN >> {ran}; exit 5"]

        def start(name: str) -> subprocess.Popen[str]:
            run = ["run", "-q", "--on", "box0", "--cwd", "/", "--code", "here", "--name", name]
            argv = [*TRAINDECK, *run, "--", *job]
            return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

        # As many at once as are killed at once, to know how long that takes here.
        begin = time.monotonic()
        said: list[str] = []
        for command in [start(f"whole-{number}") for number in range(AT_ONCE)]:
            said += command.communicate(timeout=PATIENCE)[0].split()
        whole = time.monotonic() - begin
        assert len(said) == AT_ONCE
        for group in range(0, TIMES, AT_ONCE):
            begin = time.monotonic()
            commands = [start(f"killed-{number}") for number in range(group, group + AT_ONCE)]
            for end, command in sorted(
                ((rng.uniform(0.0, 1.3 * whole), command) for command in commands),
                key=lambda it: it[0],
            ):
                time.sleep(max(0.0, begin + end - time.monotonic()))
                command.send_signal(signal.SIGKILL)
                said += command.communicate()[0].split()
        # By then what is not there was not sent.
        until = time.monotonic() + PATIENCE
        found = asyncio.run(all_runs(11.0))
        while going := [run for run in found if not run.state.terminal]:
            assert time.monotonic() < until, going
            found = asyncio.run(all_runs(11.0))
        times = Counter(line.partition("/")[0] for line in ran.read_text().split())
        assert max(times.values()) == 1, "a job ran twice"
        listed = {run.id: run for run in found}
        assert len({run.name for run in found}) == len(found), "a run is there twice"
        assert set(said) <= set(times), "said to run, and did not"
        assert set(times) <= set(listed), "it ran, and is not listed"
        for run in found:
            ended_so = (run.state, run.exit_code) == (State.FAILED, 5)
            assert ended_so if run.id in times else run.state is State.FAILED, run
        assert AT_ONCE < len(times) < AT_ONCE + TIMES, "killed before it was sent, and after"
        print(len(times) - AT_ONCE, "of", TIMES, "were sent before they were killed")
