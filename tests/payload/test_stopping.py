"""Ending: on request, by the limits, and what is left of a tree when its leader has gone."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import pytest
from tests.payload.harness import Agent, members, runs, stat_of, until

SAVES = """
import signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("up", flush=True)
time.sleep(300)
"""

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(300)
"""

DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.environ.clear()
    signal.signal(signal.SIGTERM, {term})
    print("daemon", os.getpid(), flush=True)
    os.execve(sys.executable, [sys.executable, "-c", {then!r}], {{}})
time.sleep({seconds})
"""


def daemon(agent: Agent, seconds: float, *, stubborn: bool, **options: object) -> tuple[str, int]:
    """A run whose leader leaves a grandchild in a session and environment of its own."""
    source = DAEMON.format(
        term="signal.SIG_IGN" if stubborn else "signal.SIG_DFL",
        then="import time; time.sleep(300)",
        seconds=seconds,
    )
    run = agent.script(source, **options)
    log = until(lambda: agent.log(run).endswith(b"\n") and agent.log(run), "the daemon")
    pid = int(log.split()[1])
    # It has no name of ours in its environment any more.
    until(lambda: not agent_tag(pid))
    return run, pid


def agent_tag(pid: int) -> bool:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return b"TRAINDECK_RUN" in file.read()


def cancel(agent: Agent, run: str, grace: float | None = None, attempt: int = 0) -> str:
    return str(agent.call("cancel", run_id=run, attempt=attempt, grace=grace, by="test")["state"])


def test_stopping_gives_the_job_its_grace_to_save(agent: Agent) -> None:
    run = agent.script(SAVES)
    agent.said(run, b"up")
    assert cancel(agent, run) == "requested"
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"], record["signal"]) == ("cancel", 0, None)
    assert agent.log(run) == b"up\nsaved\n"
    assert [e["event"] for e in agent.events(run)] == [
        "claimed",
        "started",
        "stop_requested",
        "term_sent",
        "leader_ended",
        "ended",
    ]
    assert agent.happened(run, "stop_requested")[0]["by"] == "test"


def test_the_workers_of_a_job_that_saves_live_until_it_has(agent: Agent) -> None:
    program = """
import signal, subprocess, sys, time
worker = subprocess.Popen(["sleep", "300"])
def save(*_):
    time.sleep(0.3)
    print("worker", worker.poll(), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("up", flush=True)
time.sleep(300)
"""
    run = agent.script(program)
    agent.said(run, b"up")
    cancel(agent, run, grace=20)
    agent.ended(run)
    assert agent.log(run) == b"up\nworker None\n"
    assert members(run) == []


def test_nobody_is_asked_twice(agent: Agent) -> None:
    """A second TERM is what many trainers take for "do not save, go"."""
    program = """
import os, signal, sys, time
who = "worker" if os.fork() == 0 else "leader"
def save(*_):
    os.write(1, (who + " asked\\n").encode())
    time.sleep(2.5 if who == "leader" else 1.5)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
os.write(1, b"up\\n")
time.sleep(300)
"""
    run = agent.script(program)
    until(lambda: agent.log(run).count(b"up") == 2)
    cancel(agent, run, grace=4)
    agent.ended(run)
    assert sorted(agent.log(run).splitlines()) == [b"leader asked", b"up", b"up", b"worker asked"]
    assert agent.happened(run, "kill_sent") == []


def test_a_shell_that_waits_for_its_child_is_helped_at_half_time(agent: Agent) -> None:
    run = agent.shell("trap 'echo trapped' TERM; sleep 300; echo after")
    until(lambda: len(members(run)) == 2)
    cancel(agent, run, grace=1.0)
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"]) == ("cancel", 0)
    assert agent.log(run).endswith(b"trapped\nafter\n")
    assert agent.happened(run, "kill_sent") == []


def test_a_job_that_ignores_term_is_killed_after_the_grace(agent: Agent) -> None:
    run = agent.script(STUBBORN)
    agent.said(run, b"up")
    began = time.monotonic()
    cancel(agent, run, grace=0.4)
    assert agent.phase(run, "stopping")["exit"] is None
    record = agent.ended(run)
    assert (record["cause"], record["signal"]) == ("cancel", signal.SIGKILL)
    assert time.monotonic() - began >= 0.4


def test_no_grace_is_kill_at_once(agent: Agent) -> None:
    run = agent.script(STUBBORN)
    agent.said(run, b"up")
    cancel(agent, run, grace=0)
    assert agent.ended(run)["signal"] == signal.SIGKILL


def test_a_shorter_grace_counts_and_a_longer_one_does_not(agent: Agent) -> None:
    run = agent.script(STUBBORN)
    agent.said(run, b"up")
    for grace in (3600, 7200, 0.2, 3600):
        cancel(agent, run, grace=grace)
    assert agent.ended(run)["signal"] == signal.SIGKILL
    words = json.loads((agent.directory(run) / "control/cancel.json").read_text())
    assert words["grace"] == 0.2


def test_a_stopped_job_is_continued_to_see_its_term(agent: Agent) -> None:
    run = agent.script(SAVES)
    agent.said(run, b"up")
    os.kill(agent.leader(run), signal.SIGSTOP)
    cancel(agent, run)
    assert agent.ended(run)["exit_code"] == 0
    assert agent.log(run) == b"up\nsaved\n"


def test_a_daemon_that_forgot_its_name_is_ended_with_the_run(agent: Agent) -> None:
    run, pid = daemon(agent, 0.2, stubborn=False)
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"]) == ("self", 0)
    assert not runs(pid)


def test_a_daemon_that_ignores_term_is_killed_and_the_record_waits_for_it(agent: Agent) -> None:
    run, pid = daemon(agent, 0.2, stubborn=True, limits={"grace": 0.5})
    until(lambda: agent.happened(run, "leader_ended"))
    seen = agent.phase(run, "stopping")
    assert seen["exit"] is None and runs(pid)
    assert "left" in seen["reason"]
    record = agent.ended(run)
    assert not runs(pid)
    # The end is the leader's own, though the record came when the tree was gone.
    assert record["ended"] < agent.happened(run, "kill_sent")[0]["time"]
    assert (record["cause"], record["exit_code"]) == ("self", 0)


def test_what_is_to_stay_stays(agent: Agent) -> None:
    run, pid = daemon(agent, 0.2, stubborn=False, keep_background=True)
    record = agent.ended(run)
    assert record["exit_code"] == 0
    assert runs(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_stop_ends_what_was_to_stay_too(agent: Agent) -> None:
    run, pid = daemon(agent, 300, stubborn=False, keep_background=True)
    cancel(agent, run)
    assert agent.ended(run)["cause"] == "cancel"
    assert not runs(pid)


def test_a_run_over_its_time_is_a_timeout(agent: Agent) -> None:
    run = agent.script(SAVES, limits={"time": 0.6})
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"]) == ("timeout", 0)
    assert record["reason"] == "the time limit of 0.6 s was over"
    assert agent.log(run) == b"up\nsaved\n"
    assert record["ended"] - record["started"] >= 0.6


def test_an_end_of_its_own_is_no_cancel_however_close(agent: Agent) -> None:
    causes = set()
    for _ in range(6):
        run = agent.shell("sleep 0.05; exit 7")
        agent.leader(run)
        time.sleep(0.03)
        cancel(agent, run)
        record = agent.ended(run)
        causes.add(record["cause"])
        if record["cause"] == "self":
            assert record["exit_code"] == 7
        else:
            assert agent.happened(run, "term_sent")
            sent = agent.happened(run, "term_sent")[0]["time"]
            assert sent <= record["ended"] + 0.05
    assert causes <= {"self", "cancel"}


def test_a_run_that_is_over_is_left_alone(agent: Agent) -> None:
    run = agent.shell("exit 3")
    before = agent.ended(run)
    assert cancel(agent, run) == "over"
    assert agent.evidence(run)["exit"] == before
    assert not (agent.directory(run) / "control/cancel.json").exists()


def test_what_does_not_exist_is_unknown(agent: Agent) -> None:
    run = agent.shell("exit 3")
    agent.ended(run)
    assert cancel(agent, "0" * 12) == "unknown"
    assert cancel(agent, run, attempt=4) == "unknown"


def test_a_stop_before_the_claim_wins(agent: Agent) -> None:
    request = agent.request(["touch", str(agent.root / "ran")])
    run = request["run_id"]
    # The directory as a start leaves it that was killed before its supervisor claimed.
    directory = agent.directory(run, None)
    (directory / "attempts").mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps(request["run"]))
    assert agent.evidence(run)["phase"] == "none"
    assert cancel(agent, run) == "requested"
    assert agent.evidence(run)["cancel_requested"] is not None
    agent.call("start", **request)
    record = agent.ended(run)
    assert (record["cause"], record["started"]) == ("cancel", None)
    assert not (agent.root / "ran").exists()


def test_a_request_written_by_another_host_is_seen_without_a_signal(agent: Agent) -> None:
    run = agent.script(SAVES)
    agent.said(run, b"up")
    (agent.directory(run) / "control/cancel.json").write_text('{"time": 1.0, "grace": 5.0}')
    assert agent.ended(run)["cause"] == "cancel"


def test_an_empty_request_asks_with_the_runs_own_grace(agent: Agent) -> None:
    run = agent.script(STUBBORN, limits={"grace": 0.2})
    agent.said(run, b"up")
    (agent.directory(run) / "control/cancel.json").write_text("")
    record = agent.ended(run)
    assert (record["cause"], record["signal"]) == ("cancel", signal.SIGKILL)
    assert agent.evidence(run)["cancel_requested"] is not None


def test_a_shutdown_that_asks_the_supervisor_is_passed_on(agent: Agent) -> None:
    run = agent.script(SAVES, limits={"retries": 3})
    agent.said(run, b"up")
    os.kill(agent.supervisor(run), signal.SIGTERM)
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"], record["attempt"]) == ("outside", 0, 0)
    assert agent.log(run) == b"up\nsaved\n"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGUSR1])
def test_other_signals_do_nothing_to_a_supervisor(agent: Agent, number: signal.Signals) -> None:
    run = agent.script(SAVES)
    agent.said(run, b"up")
    os.kill(agent.supervisor(run), number)
    os.kill(agent.leader(run), signal.SIGTERM)
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"]) == ("self", 0)


def test_a_process_that_forks_faster_than_it_is_killed_is_ended(agent: Agent) -> None:
    program = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end = time.time() + 60
print("up", flush=True)
while time.time() < end:
    if os.fork():
        os._exit(0)
    os.setsid()
"""
    run = agent.script(program, limits={"grace": 0.3})
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"]) == ("self", 0)
    assert members(run) == []


def test_a_leader_whose_first_thread_has_ended_is_alive_and_ended(agent: Agent) -> None:
    program = """
import ctypes, threading, time
def work():
    print("up", flush=True)
    time.sleep(300)
threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    run = agent.start(sys.executable, "-c", program)
    agent.said(run, b"up")
    pid = agent.leader(run)
    until(lambda: (stat_of(pid) or "?")[0] == "Z", "its first thread to end")
    assert agent.evidence(run)["alive"] is True
    cancel(agent, run)
    record = agent.ended(run)
    assert (record["cause"], record["signal"]) == ("cancel", signal.SIGTERM)
