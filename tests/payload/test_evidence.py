"""What is said of a run that is not simply alive or recorded."""

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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.payload.harness import Agent, Refusal, members, new_id, stat_of, until

from traindeck.backends.base import State
from traindeck.backends.payload.agent import evidence, exit_slot, layout
from traindeck.backends.status import decode_evidence, status_of


@pytest.fixture
def waiting(agent: Agent) -> str:
    """A run that sleeps, whose files a test may change."""
    run = agent.start("sleep", "300")
    agent.running(run)
    return run


def change(agent: Agent, run: str, name: str = "agent.json", **words: Any) -> None:
    """Change fields of a record, as another machine or a forger would have written them."""
    path = agent.directory(run) / name
    found = json.loads(path.read_text())
    found.update(words)
    path.write_text(json.dumps(found))


def silence(agent: Agent, run: str, seconds: float = 120) -> None:
    """Make the last heartbeat an old one. The supervisor is stopped for it."""
    os.kill(agent.supervisor(run), signal.SIGSTOP)
    then = time.time() - seconds
    os.utime(agent.directory(run) / "heartbeat", (then, then))


def state(evidence: dict[str, Any]) -> State:
    return status_of(decode_evidence(evidence), 0, time.time()).state


def kill_all(agent: Agent, run: str) -> None:
    leader = agent.running(run)
    os.kill(agent.supervisor(run), signal.SIGKILL)
    os.kill(leader, signal.SIGKILL)


def test_a_machine_that_restarted_has_lost_what_ran(agent: Agent, waiting: str) -> None:
    silence(agent, waiting)
    change(agent, waiting, boot_id="another-boot")
    seen = agent.evidence(waiting)
    assert (seen["same_host"], seen["rebooted"], seen["alive"]) == (False, True, None)
    status = status_of(decode_evidence(seen), 0, time.time())
    assert (status.state, status.reason) == (State.LOST, "host rebooted while it ran")


def test_a_machine_that_restarted_has_lost_what_waited(agent: Agent, waiting: str) -> None:
    run = agent.start("true", after=waiting)
    agent.phase(run, "waiting")
    silence(agent, run)
    change(agent, run, boot_id="another-boot")
    status = status_of(decode_evidence(agent.evidence(run)), 0, time.time())
    assert (status.state, status.reason) == (State.LOST, "host rebooted while it waited")


def test_a_namesake_that_beats_is_another_host(agent: Agent, waiting: str) -> None:
    change(agent, waiting, boot_id="another-boot")
    seen = agent.evidence(waiting)
    assert (seen["same_host"], seen["rebooted"], seen["supervised"]) == (False, False, None)
    assert seen["heartbeat_age"] < 30


def test_another_container_on_this_kernel_is_another_host(agent: Agent, waiting: str) -> None:
    change(agent, waiting, pidns=1)
    seen = agent.evidence(waiting)
    assert (seen["same_host"], seen["alive"], seen["supervised"]) == (False, None, None)


def test_another_host_with_another_name_is_never_rebooted(agent: Agent, waiting: str) -> None:
    silence(agent, waiting, 10_000)
    change(agent, waiting, boot_id="b", host="elsewhere")
    seen = agent.evidence(waiting)
    assert (seen["rebooted"], seen["host"]) == (False, "elsewhere")
    assert 9_000 < seen["heartbeat_age"] < 11_000
    assert not state(seen).terminal


def test_a_record_counts_wherever_it_was_written(agent: Agent) -> None:
    run = agent.shell("exit 4")
    agent.ended(run)
    change(agent, run, boot_id="b", host="elsewhere")
    assert state(agent.evidence(run)) is State.FAILED


def test_a_killed_supervisor_leaves_the_job_alive_and_unsupervised(
    agent: Agent, waiting: str
) -> None:
    leader = agent.leader(waiting)
    os.kill(agent.supervisor(waiting), signal.SIGKILL)
    seen = until(lambda: not (e := agent.evidence(waiting))["supervised"] and e)
    assert (seen["alive"], seen["exit"], seen["pid"]) == (True, None, leader)
    assert state(seen) is State.RUNNING


def test_all_killed_is_lost(agent: Agent, waiting: str) -> None:
    kill_all(agent, waiting)
    seen = until(lambda: (e := agent.evidence(waiting))["alive"] is False and e)
    assert (seen["supervised"], seen["exit"], seen["phase"]) == (False, None, "running")
    assert state(seen) is State.LOST


def test_a_stopped_supervisor_is_said_to_be_stopped(agent: Agent, waiting: str) -> None:
    pid = agent.supervisor(waiting)
    os.kill(pid, signal.SIGSTOP)
    until(lambda: (stat_of(pid) or "?")[0] == "T")
    seen = agent.evidence(waiting)
    assert (seen["alive"], seen["supervised"]) == (True, True)
    assert "stopped" in seen["reason"]
    os.kill(agent.leader(waiting), signal.SIGKILL)
    assert agent.evidence(waiting)["exit"] is None
    os.kill(pid, signal.SIGCONT)
    assert agent.ended(waiting)["signal"] == signal.SIGKILL


def test_a_stop_continues_a_stopped_supervisor(agent: Agent, waiting: str) -> None:
    os.kill(agent.supervisor(waiting), signal.SIGSTOP)
    agent.call("cancel", run_id=waiting, attempt=0)
    assert agent.ended(waiting)["cause"] == "cancel"


@pytest.mark.parametrize("how", ["closed its lock", "renamed itself", "neither"])
def test_a_worker_that_outlives_everybody_is_seen(agent: Agent, how: str) -> None:
    program = f"""
import ctypes, os, sys, time
how = {how!r}
if os.fork() == 0:
    os.setsid()
    if how == "closed its lock":
        for fd in os.listdir("/proc/self/fd"):
            if int(fd) > 2:
                try:
                    os.close(int(fd))
                except OSError:
                    pass
    if how == "renamed itself":
        # As setproctitle does: over the environment block that /proc shows.
        fields = open("/proc/self/stat").read().rsplit(")", 1)[1].split()
        start, end = int(fields[47]), int(fields[48])
        ctypes.memset(start, 0, end - start)
    print("up", os.getpid(), flush=True)
    time.sleep(300)
    os._exit(0)
time.sleep(300)
"""
    run = agent.script(program)
    pid = int(agent.said(run, b"\n").split()[1])
    kill_all(agent, run)
    until(lambda: not agent.evidence(run)["supervised"])
    assert agent.evidence(run)["alive"] is True
    os.kill(pid, signal.SIGKILL)
    until(lambda: agent.evidence(run)["alive"] is False)


def test_who_looks_never_seems_to_hold_the_lock(agent: Agent, waiting: str) -> None:
    kill_all(agent, waiting)
    until(lambda: agent.evidence(waiting)["alive"] is False)
    probes = [
        subprocess.Popen([*agent.argv, "poll"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    for probe in probes:
        assert probe.stdin
        probe.stdin.write(json.dumps({"runs": [waiting]}).encode())
        probe.stdin.close()
    for probe in probes:
        assert probe.stdout
        assert json.loads(probe.stdout.read())["runs"][waiting]["alive"] is False
        probe.wait()
        probe.stdout.close()


def test_a_pid_that_was_used_again_is_nobody(agent: Agent, waiting: str) -> None:
    kill_all(agent, waiting)
    until(lambda: agent.evidence(waiting)["alive"] is False)
    change(agent, waiting, pid=os.getpid(), leader={"pid": os.getpid(), "starttime": 5})
    seen = agent.evidence(waiting)
    assert (seen["alive"], seen["supervised"]) == (False, False)


def test_a_directory_deleted_by_hand_hides_nothing_that_runs(agent: Agent, waiting: str) -> None:
    leader = agent.leader(waiting)
    # Out of the supervisor's reach at one stroke, as the end of an rm -r is.
    agent.directory(waiting, None).rename(agent.root / "deleted")
    seen = agent.evidence(waiting)
    assert (seen["found"], seen["alive"]) == (False, True)
    assert state(seen) is State.RUNNING
    assert agent.call("cancel", run_id=waiting, attempt=0)["state"] == "requested"
    until(lambda: stat_of(leader) is None)
    until(lambda: agent.evidence(waiting)["alive"] is False)
    assert members(waiting) == []
    assert not agent.directory(waiting, None).exists()
    assert agent.call("cancel", run_id=waiting, attempt=0)["state"] == "unknown"


def test_attempts_deleted_by_hand_hide_nothing_that_runs(agent: Agent, waiting: str) -> None:
    leader = agent.leader(waiting)
    whole = agent.directory(waiting, None)
    (whole / "attempts").rename(agent.root / "deleted")
    seen = agent.evidence(waiting)
    assert (seen["found"], seen["alive"]) == (False, True)
    assert state(seen) is State.RUNNING
    with pytest.raises(Refusal, match="is not over, though its directory is gone"):
        agent.call("rm", run_id=waiting)
    assert agent.call("cancel", run_id=waiting, attempt=0)["state"] == "requested"
    until(lambda: stat_of(leader) is None)
    until(lambda: agent.evidence(waiting)["alive"] is False)
    assert members(waiting) == []
    assert state(agent.evidence(waiting)) is State.LOST
    with pytest.raises(Refusal, match=r"attempts of run .* were deleted"):
        agent.call("start", run_id=waiting, attempt=1, files=[], secrets={})
    agent.call("rm", run_id=waiting)
    assert not whole.exists()


def test_a_disk_that_is_not_mounted_has_lost_no_run(agent: Agent, waiting: str) -> None:
    (agent.root / "runs").rename(agent.root / "away")
    with pytest.raises(Refusal, match="mounted"):
        agent.call("poll", runs=[waiting])
    for verb, more in (("log_stat", {"attempt": 0, "rank": 0}), ("ls", {"path": ""})):
        with pytest.raises(Refusal, match="mounted"):
            agent.call(verb, run_id=waiting, **more)
    (agent.root / "away").rename(agent.root / "runs")
    assert agent.evidence(waiting)["found"] is True


def test_a_run_that_cannot_be_read_fails_nobody_else(agent: Agent, waiting: str) -> None:
    broken = agent.mint()
    agent.directory(broken, None).mkdir()
    (agent.directory(broken, None) / "attempts").write_text("a file where a folder should be")
    answer = agent.call("poll", runs=[broken, waiting, "../../etc", "", "0" * 12])["runs"]
    assert answer[waiting]["phase"] == "running"
    assert "attempts" in answer[broken]["error"]
    assert not state(answer[broken]).terminal
    assert [answer[i]["found"] for i in ("../../etc", "", "0" * 12)] == [False, False, False]


@pytest.mark.parametrize("name", ["\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT THREE}", "01"])
def test_a_name_that_only_looks_like_a_number_is_no_attempt(
    agent: Agent, waiting: str, name: str
) -> None:
    (agent.directory(waiting, None) / "attempts" / name).mkdir()
    (agent.directory(waiting, None) / "attempts" / name / "claim").touch()
    seen = agent.evidence(waiting)
    assert (seen["attempt"], seen["error"]) == (0, None)


@pytest.mark.parametrize("number", ["\N{SUPERSCRIPT TWO}", "9" * 5000], ids=["odd", "long"])
def test_a_process_that_says_it_is_of_no_attempt_is_of_none(agent: Agent, number: str) -> None:
    run = agent.mint()
    lock = Path(f"/var/tmp/traindeck-{os.getuid()}/{run}.{number[:9]}.lock")
    agent.call("hello")
    agent.ended(agent.start("true"))
    with open(lock, "w") as file:
        env = {"TRAINDECK_RUN": f"{run}/{number}"}
        job = subprocess.Popen(["/bin/sleep", "300"], env=env, stdin=file)
    try:
        seen = agent.evidence(run)
        assert (seen["found"], seen["alive"]) == (False, False)
    finally:
        job.kill()
        job.wait()


@pytest.mark.parametrize("path", ["/sys/fs/cgroup/\0", "/sys/fs/cgroup/\ud800"], ids=ascii)
def test_a_path_that_is_none_counts_nothing(agent: Agent, waiting: str, path: str) -> None:
    change(agent, waiting, oom={"path": path, "count": 0})
    seen = agent.evidence(waiting)
    assert (seen["phase"], seen["oom_kills"], seen["error"]) == ("running", None, None)


def test_a_fault_of_ours_fails_one_run_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(run: str) -> tuple[list[int], list[int]]:
        raise ValueError("nobody thought of this")

    (tmp_path / ("0" * 12)).mkdir()
    monkeypatch.setitem(layout._runs, layout.agent_file(), str(tmp_path))
    monkeypatch.setattr(layout, "known", broken)
    seen = evidence.of_run("0" * 12, evidence.Look())
    assert seen["error"] == "ValueError: nobody thought of this"
    assert not state(seen).terminal


def test_files_of_a_newer_version_are_named_and_not_interpreted(agent: Agent) -> None:
    run = agent.shell("exit 0")
    record = agent.ended(run)
    change(agent, run, format=2, phase="dancing")
    seen = agent.evidence(run)
    assert (seen["newer"], seen["phase"]) == (2, "claimed")
    slot = agent.directory(run) / "exit.slot"
    slot.write_bytes(exit_slot.pack(0, {**record, "format": 3}))
    seen = agent.evidence(run)
    assert (seen["newer"], seen["exit"]) == (3, None)
    other = agent.mint()
    agent.directory(other, None).mkdir()
    (agent.directory(other, None) / "run.json").write_text('{"format":7,"id":"x"}')
    assert agent.evidence(other)["newer"] == 7


def test_a_claim_alone_was_never_started(agent: Agent) -> None:
    run = agent.mint()
    directory = agent.directory(run)
    directory.mkdir(parents=True)
    claim = {"pid": 4, "starttime": 4, "host": os.uname().nodename, "time": 5.0}
    claim["boot_id"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    claim["pidns"] = os.stat("/proc/self/ns/pid").st_ino
    (directory / "claim").write_text(json.dumps(claim))
    seen = agent.evidence(run)
    assert (seen["phase"], seen["alive"], seen["claimed_at"]) == ("claimed", False, 5.0)
    assert state(seen) is State.FAILED


@pytest.mark.parametrize("content", ["", "{", "[]", "\0\0\0"], ids=repr)
def test_a_torn_claim_is_a_claim_by_nobody_knows_whom(agent: Agent, content: str) -> None:
    run = agent.mint()
    agent.directory(run).mkdir(parents=True)
    (agent.directory(run) / "claim").write_text(content)
    seen = agent.evidence(run)
    assert (seen["attempt"], seen["phase"], seen["same_host"]) == (0, "claimed", None)
    assert seen["claimed_at"] is not None and seen["age"] < 30
    assert not state(seen).terminal


def test_an_empty_directory_may_be_a_start_on_its_way(agent: Agent) -> None:
    run = agent.mint()
    agent.directory(run, None).mkdir(parents=True)
    seen = agent.evidence(run)
    assert (seen["found"], seen["attempt"], seen["phase"]) == (True, None, "none")
    assert seen["age"] < 30
    assert state(seen) is State.NEW
    then = time.time() - 1000
    os.utime(agent.directory(run, None), (then, then))
    assert agent.evidence(run)["age"] > 900


def test_looking_writes_nothing(agent: Agent, waiting: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in agent.root.rglob("*") if p.is_dir()}
    for _ in range(3):
        agent.evidence(waiting)
    assert {p: p.stat().st_mtime_ns for p in agent.root.rglob("*") if p.is_dir()} == before


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    from tests.payload.harness import installed

    with installed(tmp_path_factory.mktemp("fuzz") / "root", sys.executable) as agent:
        run = new_id()
        agent.ids.append(run)
        (agent.directory(run) / "control").mkdir(parents=True)
        (agent.directory(run) / "logs").mkdir()
        yield agent


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([1, 0, -1, os.getpid(), 2**31, 2**64, "running", "ended"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["pid", "starttime", "path", "count", "x"]), inner)
    ),
    max_leaves=6,
)
NAMES = (
    "format run attempt phase reason pid starttime boot_id pidns host lock leader started adopted",
    "oom oom_kills time grace by cause exit_code signal ended next path dev inode",
)
RECORDS = st.dictionaries(st.sampled_from(" ".join(NAMES).split()), VALUES, max_size=12)


def written(words: Any) -> bytes:
    return json.dumps(words).replace("Infinity", "1e999").encode()


@pytest.mark.slow
@settings(
    max_examples=1000 if os.environ.get("SOAK") else 60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_no_content_of_a_run_directory_breaks_a_poll(fuzzed: Agent, data: st.DataObject) -> None:
    run = fuzzed.ids[0]
    directory = fuzzed.directory(run)
    here = {
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "pidns": os.stat("/proc/self/ns/pid").st_ino,
    }
    for name in ("claim", "agent.json", "control/cancel.json", "exit.slot", "logs/0.ref"):
        kind = data.draw(st.sampled_from(["record", "here", "bytes", "none"]), label=name)
        path = directory / name
        if kind == "none" and name != "claim":
            path.unlink(missing_ok=True)
            continue
        words = data.draw(RECORDS)
        if kind == "here":
            words = {"format": 1, "run": run, "attempt": 0, "phase": "running", **words, **here}
        content = written(words) if kind != "bytes" else data.draw(st.binary(max_size=50))
        if name == "exit.slot" and kind != "bytes":
            import struct
            import zlib

            body = b"TDX1" + struct.pack("<II", 0, len(content)) + content
            content = body + struct.pack("<I", zlib.crc32(body))
        path.write_bytes(content)
    seen = fuzzed.evidence(run)
    assert seen["found"] is True and seen["attempt"] == 0
    status_of(decode_evidence(seen), 0, time.time())
    assert fuzzed.call("log_stat", run_id=run, attempt=0, rank=0)["size"] >= 0
