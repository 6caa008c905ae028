"""SIGKILL of the command, its agent, the supervisor or the job while a run is launched, with others
looking on: no run is lost, doubled or misreported, by the index or by what it is rebuilt from.

A command is killed at each of its system calls that change anything, and at random instants.
`SOAK=n` does all of the first and n / 2 of the second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.tracing import calls, killing, strace
from tests.payload.harness import runs, until

from traindeck.backends.base import State
from traindeck.console.runs.rebuild import rebuild_index
from traindeck.console.runs.refreshing import refresh
from traindeck.console.runs.workspace import open_workspace
from traindeck.console.store.records import RunRecord

SOAK = int(os.environ.get("SOAK", "0"))
TIMES = max(8, SOAK // 10)
"""Kills at a random instant, of each of five targets."""

SHARE = 1 if SOAK else 6
"""One call of so many is where a command is killed."""

TRAINDECK = [sys.executable, "-m", "traindeck.console.cli.main"]


class Launches:
    """Commands in a home of their own, and what became of their runs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ran = home / "ran"
        self.ran.touch()
        self.looker = 0  # whose agent is let alone

    def command(self, name: str, *options: str) -> list[str]:
        script = f"echo $TRAINDECK_RUN >> {self.ran}; sleep 0.1; exit 5"
        words = ["run", "-q", "--name", name, *options, "--", "/bin/sh", "-c", script]
        return [*TRAINDECK, *words]

    def working(self, verb: bytes) -> list[int]:
        """Agents of this home that do this: `serve` a command, `supervise` a run."""
        mark = f"{self.home}/.traindeck/bin/agent-".encode()
        found = []
        for pid, words in _processes():
            ours = verb in words and any(word.startswith(mark) for word in words)
            if ours and parent_of(pid) != self.looker:
                found.append(pid)
        return found

    def jobs(self) -> list[int]:
        mark = str(self.ran).encode()
        return [pid for pid, words in _processes() if words[0] == b"/bin/sh" and mark in words[-1]]

    def look(self, name: str) -> list[RunRecord]:
        """What a command sees that comes at once: nothing is lost, whatever was killed."""
        found = asyncio.run(_look(0.0, name))
        for run in found:
            assert run.state is not State.LOST, run
        return found

    def end(self, name: str, *, killed: bool = False) -> RunRecord | None:
        """How the run of this name ended, when nobody works on it any more. `killed`: what it was
        supervised by was killed too, so that it may be lost."""
        until(lambda: not self.working(b"serve") and not self.working(b"supervise"))

        def over() -> list[RunRecord] | None:
            found = asyncio.run(_look(11.0, name))  # by then what is not there was not sent
            return found if all(run.state.terminal for run in found) else None

        found = until(lambda: (over() or [None]) if over() is not None else None, name, 60)
        assert len(found) == 1, "the run is there twice"
        (run,) = found
        ids = [line for line in self.ran.read_text().split() if run and line.startswith(run.id)]
        if run is not None:
            _is_true(run, ids, killed)
            again = asyncio.run(_rebuilt(name))
            assert (again.state, again.exit_code) == (run.state, run.exit_code), "index and truth"
        return run


def _is_true(run: RunRecord, ran: list[str], killed: bool) -> None:
    assert len(ran) <= 1, "the job ran twice"
    if run.exit_code == 5:
        assert run.state is State.FAILED and ran == [f"{run.id}/0"]
    elif killed and run.state is not State.FAILED:
        assert run.state is State.LOST, run
    elif run.signal is None:
        assert run.state is State.FAILED and ran == [], run
        assert run.reason in ("not sent: the launcher died", "not started: the launcher died")
    else:
        assert killed and run.signal == signal.SIGKILL


def parent_of(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def _processes() -> Iterator[tuple[int, list[bytes]]]:
    """The living ones and their words."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            if runs(pid):
                yield pid, words


async def _look(later: float, name: str) -> list[RunRecord]:
    async with open_workspace() as ws:
        ws.clock = lambda: time.time() + later
        await refresh(ws, max_age=0.0)
        return [run for run in ws.index.rows(ws.index.ids()) if run.name == name]


async def _rebuilt(name: str) -> RunRecord:
    async with open_workspace() as ws:
        rebuild_index(ws)
        await refresh(ws, max_age=0.0)
        (run,) = (run for run in ws.index.rows(ws.index.ids()) if run.name == name)
        return run


@pytest.fixture
def launches(home: Path, monkeypatch: pytest.MonkeyPatch) -> Launches:
    monkeypatch.chdir(home)
    made = Launches(home)
    subprocess.run(made.command("first"), check=True, stdout=subprocess.DEVNULL)
    return made


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.usefixtures("traceable")
def test_a_launch_killed_at_each_call(launches: Launches, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    subprocess.run([*strace(str(trace)), *launches.command("traced")], check=True)
    places = calls(trace)
    assert {"write", "fsync", "link", "rename", "unlink"} <= {name for name, _ in places}
    begin = random.randrange(SHARE)
    ends = set()
    for number, place in enumerate(places[begin::SHARE]):
        name = f"killed-{number}"
        command = [*killing(place), *launches.command(name)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        launches.look(name)
        run = launches.end(name)
        assert run is not None or not done.stdout, f"{place}: said to run, and not listed"
        ends.add(run and run.reason)
    assert len(ends) > 1, "before it was noted, before it was sent, and after"


LOOKER = """
import asyncio
from traindeck.console.runs.refreshing import refresh
from traindeck.console.runs.workspace import open_workspace

async def main():
    said = {}
    async with open_workspace() as ws:
        while True:
            await refresh(ws, max_age=0.0)
            for run in ws.index.rows(ws.index.ids()):
                # An index made anew, as `end` does, has what files say until the place is asked.
                if run.observed_at and said.get(run.id) != run.state:
                    print(run.name, said.get(run.id), run.state, flush=True)
                    said[run.id] = run.state
            await asyncio.sleep(0.002)

asyncio.run(main())
"""
"""As an open screen does, but all the time: says each state that it sees a run come to."""

OVER = {state for state in State if state.terminal}
TARGETS = ("command", "agent", "supervisor", "leader", "all")


@pytest.mark.fault
@pytest.mark.parametrize("target", TARGETS)
def test_a_launch_killed_at_a_random_instant(launches: Launches, target: str) -> None:
    rng = random.Random()
    seed = rng.randrange(1 << 32)
    rng.seed(seed)
    print("seed", seed)  # shown by pytest if it fails
    seen = launches.home / "seen"
    with seen.open("wb") as out:
        looker = subprocess.Popen([sys.executable, "-c", LOOKER], stdout=out)
        launches.looker = looker.pid
        try:
            for number in range(TIMES):
                _one(launches, target, rng, f"run-{number}")
            assert looker.poll() is None, "whoever only looks goes on"
        finally:
            looker.kill()
            looker.wait()
    states: dict[str, list[State]] = {}
    for name, _, state in map(str.split, seen.read_text().splitlines()):
        states.setdefault(name, []).append(State(state))
    for name, came_to in states.items():
        assert not OVER.intersection(came_to[:-1]), f"{name} was said to be over: {came_to}"


def _one(launches: Launches, target: str, rng: random.Random, name: str) -> None:
    command = subprocess.Popen(launches.command(name), stdout=subprocess.PIPE)
    time.sleep(rng.uniform(0.1, 0.6))
    victims = {
        "command": lambda: [command.pid],
        "agent": lambda: launches.working(b"serve"),
        "supervisor": lambda: launches.working(b"supervise"),
        "leader": launches.jobs,
    }
    for pid in [pid for who in victims if target in (who, "all") for pid in victims[who]()]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    said, _ = command.communicate()
    run = launches.end(name, killed=target not in ("command", "agent"))
    assert run is not None or not said, "said to run, and not listed"
