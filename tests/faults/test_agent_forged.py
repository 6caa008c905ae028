"""Records that lie: nobody is signalled who cannot be proven to belong to the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.payload.harness import Agent, runs, stat_of, until

from traindeck.backends.payload.agent import procs

VICTIM = """
import os, signal, sys
def note(number, frame):
    os.write(1, b"%d\\n" % number)
for number in range(1, 65):
    try:
        signal.signal(number, note)
    except (OSError, ValueError):
        pass
os.write(1, b"up\\n")
while True:
    signal.pause()
"""


class Victim:
    """A process that tells which signals it got."""

    def __init__(self, out: Path, *words: str) -> None:
        self.out = out
        with open(out, "wb") as file:
            self.process = subprocess.Popen([sys.executable, "-c", VICTIM, *words], stdout=file)
        until(lambda: self.signals() is not None)
        found = stat_of(self.process.pid)
        assert found is not None
        self.name = {"pid": self.process.pid, "starttime": found[1]}

    def signals(self) -> list[int] | None:
        lines = self.out.read_text().splitlines()
        return [int(line) for line in lines[1:]] if lines else None


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    victim = Victim(tmp_path / "victim")
    yield victim
    victim.process.kill()
    victim.process.wait()


@pytest.fixture
def orphaned(agent: Agent) -> str:
    """A run that goes on without its supervisor."""
    run = agent.start("sleep", "300")
    agent.running(run)
    os.kill(agent.supervisor(run), signal.SIGKILL)
    until(lambda: not agent.evidence(run)["supervised"])
    return run


def forge(agent: Agent, run: str, **words: Any) -> None:
    path = agent.directory(run) / "agent.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **words}))


def quiet(agent: Agent, run: str) -> None:
    """Wait until nobody works on ending the run any more."""
    until(lambda: not agent._supervisors(run))


@pytest.mark.fault
def test_a_forged_supervisor_is_neither_believed_nor_signalled(
    agent: Agent, orphaned: str, victim: Victim
) -> None:
    leader = agent.leader(orphaned)
    forge(agent, orphaned, **victim.name)
    assert agent.evidence(orphaned)["supervised"] is False
    assert agent.call("cancel", run_id=orphaned, attempt=0)["state"] == "requested"
    assert agent.ended(orphaned)["cause"] == "cancel"
    assert not runs(leader)
    assert victim.signals() == []


@pytest.mark.fault
def test_a_forged_leader_is_not_signalled(agent: Agent, orphaned: str, victim: Victim) -> None:
    leader = agent.leader(orphaned)
    forge(agent, orphaned, leader=victim.name)
    agent.call("cancel", run_id=orphaned, attempt=0, grace=0)
    # The real one is found by the name it carries.
    until(lambda: not runs(leader))
    quiet(agent, orphaned)
    assert victim.signals() == [] and runs(victim.process.pid)


@pytest.mark.fault
def test_a_leader_said_to_be_adopted_is_not_signalled_unless_the_claim_says_so(
    agent: Agent, orphaned: str, victim: Victim
) -> None:
    forge(agent, orphaned, leader=victim.name, adopted=True)
    agent.call("cancel", run_id=orphaned, attempt=0, grace=0)
    quiet(agent, orphaned)
    assert victim.signals() == []


@pytest.mark.fault
@pytest.mark.parametrize("pid", [1, 0, -1, 2**31, True])
def test_the_first_process_is_nobodys_supervisor_or_leader(
    agent: Agent, orphaned: str, pid: int
) -> None:
    found = stat_of(1)
    assert found is not None
    name = {"pid": pid, "starttime": found[1]}
    forge(agent, orphaned, **name, leader=name)
    seen = agent.evidence(orphaned)
    assert (seen["supervised"], seen["pid"]) == (False, None)
    agent.call("cancel", run_id=orphaned, attempt=0, grace=0)
    assert agent.ended(orphaned)["cause"] in ("cancel", "unknown")
    assert stat_of(1) == found or stat_of(1)[1] == found[1]  # type: ignore[index]


@pytest.mark.fault
def test_the_one_place_that_signals_refuses_what_is_not_proven(victim: Victim) -> None:
    pid, starttime = victim.name["pid"], victim.name["starttime"]
    for number in (1, 0, -1, -pid):
        assert procs.send_signal(number, starttime, signal.SIGUSR1) is False
    assert procs.send_signal(pid, starttime + 1, signal.SIGUSR1) is False
    assert procs.send_signal(os.getpid(), 0, signal.SIGUSR1) is False
    time.sleep(0.05)
    assert victim.signals() == []
    assert procs.send_signal(pid, starttime, signal.SIGUSR1) is True
    until(lambda: victim.signals() == [signal.SIGUSR1])


@pytest.mark.fault
def test_another_users_process_is_not_signalled(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a process of another user")
    other = subprocess.Popen(["sleep", "300"], user=65534)
    try:
        found = stat_of(other.pid)
        assert found is not None
        assert procs.send_signal(other.pid, found[1], signal.SIGTERM) is False
        assert runs(other.pid)
    finally:
        other.kill()
        other.wait()


@pytest.mark.fault
def test_a_record_of_another_boot_or_container_names_nobody_here(
    agent: Agent, orphaned: str, victim: Victim
) -> None:
    leader = agent.leader(orphaned)
    for change in ({"boot_id": "other"}, {"pidns": 7}):
        forge(agent, orphaned, **change)
        assert agent.call("cancel", run_id=orphaned, attempt=0)["state"] == "requested"
        quiet(agent, orphaned)
        assert runs(leader)
        assert agent.evidence(orphaned)["alive"] is None


@pytest.mark.fault
def test_a_process_that_only_names_the_run_in_its_argv_is_not_its_supervisor(
    agent: Agent, orphaned: str, tmp_path: Path
) -> None:
    # It would be taken for one by its words, were it not for the start time.
    victim = Victim(tmp_path / "words", "supervise", orphaned, "0")
    try:
        forge(agent, orphaned, pid=victim.process.pid)
        assert agent.evidence(orphaned)["supervised"] is False
        agent.call("cancel", run_id=orphaned, attempt=0)
        agent.ended(orphaned)
        assert victim.signals() == []
    finally:
        victim.process.kill()
        victim.process.wait()
