"""SIGKILL at any instant: no run is lost, doubled or misreported; logs are what the job wrote.

200 times; `SOAK=n` does it n times.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.payload.harness import Agent, members, runs, until

from traindeck.backends.base import State
from traindeck.backends.status import decode_evidence, status_of

TIMES = int(os.environ.get("SOAK", "0")) or 200
LINES = 40

JOB = f"""
import os, time
fd = os.open(os.environ["RAN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(fd, (os.environ["TRAINDECK_RUN"] + "\\n").encode())
for i in range({LINES}):
    os.write(1, b"%04d\\n" % i)
    time.sleep(0.003)
os._exit(5)
"""
TARGETS = ("caller", "supervisor", "leader", "supervisor and leader", "all")
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up")
time.sleep(300)
"""
LOG = b"".join(b"%04d\n" % i for i in range(LINES))


def status(agent: Agent, run: str) -> Any:
    return status_of(decode_evidence(agent.evidence(run)), 0, time.time())


def supervisors(agent: Agent, run: str) -> list[int]:
    return agent._supervisors(run)


def kill(pids: list[int]) -> int:
    killed = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


@pytest.mark.fault
@pytest.mark.parametrize("target", TARGETS)
def test_killed_at_a_random_instant(agent: Agent, target: str, tmp_path: Path) -> None:
    rng = random.Random()
    seed = rng.randrange(1 << 32)
    rng.seed(seed)
    print("seed", seed)  # shown by pytest if it fails
    for number in range(max(1, TIMES // 5)):
        one_run(agent, target, rng, tmp_path / f"ran-{number}")


def one_run(agent: Agent, target: str, rng: random.Random, ran: Path) -> None:
    request = agent.request([sys.executable, "-S", "-c", JOB], environ={"RAN": str(ran)})
    run = request["run_id"]
    caller = subprocess.Popen(
        [*agent.argv, "start"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert caller.stdin
    caller.stdin.write(json.dumps(request).encode())
    with contextlib.suppress(BrokenPipeError):
        caller.stdin.close()
    time.sleep(rng.uniform(0, 0.35))
    victims: list[int] = []
    if target in ("caller", "all"):
        victims.append(caller.pid)
    if "supervisor" in target or target == "all":
        victims += supervisors(agent, run)
    if "leader" in target or target == "all":
        victims += members(run)
    hit = {pid for pid in victims if runs(pid)}
    kill(victims)
    caller.wait()

    # What a console does that finds the submission in its journal: it asks again.
    agent.call("start", **request)

    seen_terminal = None

    def over() -> Any:
        nonlocal seen_terminal
        found = status(agent, run)
        if seen_terminal is not None:
            # What was once said to be over stays so, with the same words.
            same = (found.state, found.exit_code, found.signal)
            assert same == (seen_terminal.state, seen_terminal.exit_code, seen_terminal.signal)
        if found.state.terminal:
            seen_terminal = found
            # Never while a process of it is left.
            assert members(run) == []
        return found if found.state.terminal else None

    end = until(over, f"the end of {run}")
    until(lambda: not supervisors(agent, run))
    over()
    started = ran.read_text().splitlines() if ran.exists() else []
    log = agent.log(run)
    assert len(started) <= 1, "the job ran twice"
    assert LOG.startswith(log), "the log is not what the job wrote"
    if end.state is State.FAILED and end.exit_code == 5:
        assert started and log == LOG
    elif end.state is State.FAILED and end.signal == signal.SIGKILL:
        assert "leader" in target or target == "all"
    else:
        # Nothing recorded how it ended: only because whoever records was killed.
        assert end.state in (State.LOST, State.FAILED), end
        assert hit and target != "caller", (end, target)
    if not started:
        assert log == b""
    # And the next attempt can be made, whatever happened to this one.
    agent.call("start", **{**request, "attempt": 1})
    until(lambda: status(agent, run).attempt == 1 and status(agent, run).state.terminal)
    assert ran.read_text().splitlines()[len(started) :] == [f"{run}/1"]
    assert agent.log(run, 1) == LOG


@pytest.mark.fault
def test_the_supervisor_killed_while_it_repeats(agent: Agent, tmp_path: Path) -> None:
    rng = random.Random()
    for number in range(max(1, TIMES // 6)):
        ran = tmp_path / f"ran-{number}"
        run = agent.shell(
            f"echo $TRAINDECK_RUN >> {ran}; exit 5",
            limits={"retries": 30},
            environ=dict(os.environ),
        )
        time.sleep(rng.uniform(0, 0.15))
        pids = supervisors(agent, run)
        kill(pids)
        end = until(lambda run=run: (s := status(agent, run)).state.terminal and s)
        lines = ran.read_text().splitlines() if ran.exists() else []
        # Each attempt ran once at the most, in order, and none is invented.
        assert lines == [f"{run}/{n}" for n in range(len(lines))]
        assert end.attempt in (len(lines), len(lines) - 1)
        if not pids:
            assert (end.attempt, end.exit_code) == (30, 5)


@pytest.mark.fault
def test_a_stop_that_is_killed_can_be_asked_again(agent: Agent) -> None:
    rng = random.Random()
    for _ in range(max(1, TIMES // 6)):
        run = agent.start("sleep", "300")
        agent.running(run)
        asker = subprocess.Popen(
            [*agent.argv, "cancel"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert asker.stdin
        asker.stdin.write(json.dumps({"run_id": run, "attempt": 0}).encode())
        asker.stdin.close()
        time.sleep(rng.uniform(0, 0.06))
        kill([asker.pid])
        asker.wait()
        agent.call("cancel", run_id=run, attempt=0)
        assert agent.ended(run)["cause"] == "cancel"


@pytest.mark.fault
def test_an_unsupervised_run_is_stopped_though_who_stops_it_is_killed(agent: Agent) -> None:
    for _ in range(max(1, TIMES // 10)):
        run = agent.script(STUBBORN)
        agent.said(run, b"up")
        leader = agent.leader(run)
        kill(supervisors(agent, run))
        until(lambda run=run: not agent.evidence(run)["supervised"])
        # However often it is asked, one process stands in.
        for _ in range(3):
            agent.call("cancel", run_id=run, attempt=0, grace=60)
        until(lambda run=run: agent.happened(run, "term_sent"))
        until(lambda run=run: len(supervisors(agent, run)) == 1, "the one in its place")
        assert len(agent.happened(run, "term_sent")) == 1
        stand_in = supervisors(agent, run)
        kill(stand_in)
        assert runs(leader)
        agent.call("cancel", run_id=run, attempt=0, grace=0)
        record = agent.ended(run)
        assert (record["cause"], record["exit_code"], record["signal"]) == ("cancel", None, None)
        assert "not knowable" in record["reason"]
        assert not runs(leader)


@pytest.mark.fault
def test_a_stop_of_what_is_left_when_all_others_are_killed_is_honest(agent: Agent) -> None:
    run = agent.shell("setsid sleep 300 & echo up; wait")
    agent.said(run, b"up")
    leader = agent.leader(run)
    kill([*supervisors(agent, run), leader])
    until(lambda: not runs(leader))
    agent.call("cancel", run_id=run, attempt=0, grace=5)
    record = agent.ended(run)
    # Its leader had ended before: nobody can say how, so it was not cancelled.
    assert record["cause"] == "unknown"
    assert "unseen" in record["reason"]
    assert members(run) == []
