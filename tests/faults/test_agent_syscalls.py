"""SIGKILL at each system call of a start that changes anything: strace delivers it.

A first run under strace lists the calls of a process (the caller of `start`, then the supervisor);
each of them is then the place where one more run is killed, before the call is made.
"""

from __future__ import annotations

import collections
import fcntl
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.faults.tracing import calls, killing, strace
from tests.payload.harness import Agent, members, until

from traindeck.backends.base import State
from traindeck.backends.status import decode_evidence, status_of

pytestmark = pytest.mark.usefixtures("traceable")


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    path = tmp_path / "ran"
    path.touch()
    return path


def request(agent: Agent, ran: Path) -> dict[str, Any]:
    script = f"echo $TRAINDECK_RUN >> {ran}; exit 5"
    return agent.request(["/bin/sh", "-c", script], environ={"PATH": os.environ["PATH"]})


def settle(agent: Agent, asked: dict[str, Any], ran: Path) -> State:
    """Ask again, as a console does that finds the submission in its journal; then nothing may be
    doubled, lost or misreported. Returns how the first attempt ended."""
    run = asked["run_id"]
    agent.call("start", **asked)

    def over() -> Any:
        found = status_of(decode_evidence(agent.evidence(run)), 0, time.time())
        return found if found.state.terminal else None

    end = until(over, "the end")
    until(lambda: not agent._supervisors(run))
    again = over()
    assert (again.state, again.exit_code) == (end.state, end.exit_code)
    lines = [line for line in ran.read_text().splitlines() if line.startswith(run)]
    assert len(lines) <= 1, "the job ran twice"
    assert members(run) == []
    if end.exit_code == 5:
        assert end.state is State.FAILED and lines == [f"{run}/0"]
    elif end.state is State.FAILED:
        assert lines == [], "what is said never to have started has run"
    else:
        assert end.state is State.LOST, end
    # Whatever it was, the run can be repeated.
    agent.call("start", **{**asked, "attempt": 1})
    until(lambda: f"{run}/1" in ran.read_text().splitlines())
    assert agent.ended(run)["exit_code"] == 5
    state: State = end.state
    return state


def call_start(agent: Agent, tracer: list[str], asked: dict[str, Any]) -> int:
    return subprocess.run(
        [*tracer, *agent.argv, "start"],
        input=json.dumps(asked).encode(),
        stdout=subprocess.DEVNULL,
        check=False,
    ).returncode


def prepared(agent: Agent, asked: dict[str, Any]) -> dict[str, Any]:
    """A run directory as a caller of `start` makes it; returns what it would tell a supervisor."""
    directory = agent.directory(asked["run_id"], None)
    (directory / "attempts").mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps(asked["run"]))
    return {"environ": asked["environ"], "secrets": {}, "umask": 0o22}


def call_supervise(agent: Agent, tracer: list[str], run: str, orders: dict[str, Any]) -> int:
    """A supervisor under strace, with its request on 3 and its report on 4, as `start` does it."""
    pipes = [*os.pipe(), *os.pipe()]
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 50) for fd in (pipes[0], pipes[3])]

    def place() -> None:
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    command = [*tracer, *agent.argv, "supervise", run, "0"]
    process = subprocess.Popen(command, preexec_fn=place, pass_fds=(3, 4))
    for fd in (pipes[0], pipes[3], *high):
        os.close(fd)
    with open(pipes[1], "wb") as file:
        file.write(json.dumps(orders).encode())
    code = process.wait(60)
    os.close(pipes[2])
    return code


@pytest.mark.fault
@pytest.mark.slow
def test_the_caller_killed_at_each_call(agent: Agent, ran: Path, tmp_path: Path) -> None:
    # What only a first one does is done: the cache of compiled modules, the daily sweep.
    agent.ended(agent.start("true"))
    agent.once("hello")
    asked = request(agent, ran)
    assert call_start(agent, strace(str(tmp_path / "trace")), asked) == 0
    agent.ended(asked["run_id"])
    places = calls(tmp_path / "trace")
    assert {"mkdir", "write", "fsync", "rename"} <= {name for name, _ in places}
    for place in places:
        asked = request(agent, ran)
        code = call_start(agent, killing(place), asked)
        # One that dies while its supervisor lives is none that its run ends with.
        assert settle(agent, asked, ran) is State.FAILED, place
        assert code != 0, place


@pytest.mark.fault
@pytest.mark.slow
def test_the_supervisor_killed_at_each_call(agent: Agent, ran: Path, tmp_path: Path) -> None:
    agent.once("hello")
    asked = request(agent, ran)
    tracer = strace(str(tmp_path / "trace"))
    assert call_supervise(agent, tracer, asked["run_id"], prepared(agent, asked)) == 0
    agent.ended(asked["run_id"])
    places = calls(tmp_path / "trace")
    assert {"mkdir", "write", "link", "rename", "pwrite64", "fsync"} <= {n for n, _ in places}
    ends = collections.Counter()
    for place in places:
        asked = request(agent, ran)
        orders = prepared(agent, asked)
        call_supervise(agent, killing(place), asked["run_id"], orders)
        ends[settle(agent, asked, ran)] += 1
    # Killed before the claim it runs after all, between claim and record it is lost or was never
    # started, after the record it has failed as the job did.
    assert ends[State.FAILED] and ends[State.LOST]
