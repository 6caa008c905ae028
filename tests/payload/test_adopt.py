"""Taking a process that already runs under watch."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from tests.payload.harness import Agent, Refusal, runs, stat_of, until


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what its shell left behind
        process.kill()
        process.wait()


def process(
    started: list[subprocess.Popen[bytes]], script: str, out: IO[bytes] | int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    started.append(subprocess.Popen(["sh", "-c", script], stdout=out, start_new_session=True))
    return started[-1]


def adopt(agent: Agent, pid: int, run: str | None = None) -> str:
    run = run or agent.mint()
    agent.call("adopt", run_id=run, run=agent.record(run, ["python", "train.py"]), pid=pid)
    return run


def test_its_log_is_the_file_it_writes_and_its_end_is_seen(
    agent: Agent, started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    with open(tmp_path / "out.log", "wb") as out:
        job = process(started, f"echo before; read x < {tmp_path}/go; echo after; exit 3", out)
    until(lambda: (tmp_path / "out.log").read_bytes())
    run = adopt(agent, job.pid)
    seen = agent.evidence(run)
    assert (seen["phase"], seen["adopted"], seen["pid"]) == ("running", True, job.pid)
    assert seen["started"] <= seen["claimed_at"]
    key = {"run_id": run, "attempt": 0, "rank": 0}
    until(lambda: agent.call("log_stat", **key)["size"] == 7)
    assert agent.call_body("read_at", **key, offset=0)[1] == b"before\n"
    (tmp_path / "go").write_text("x\n")
    assert job.wait() == 3
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"], record["signal"]) == ("unknown", None, None)
    assert re.fullmatch(r"ended \d\d:\d\d, exit code not knowable", record["reason"])
    assert agent.call_body("read_at", **key, offset=0)[1] == b"before\nafter\n"


def test_a_log_on_another_file_system_is_referred_to(
    agent: Agent, started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    path = shm / f"traindeck-test-{os.getpid()}"
    try:
        with open(path, "wb") as out:
            job = process(started, "echo here; sleep 300", out)
        run = adopt(agent, job.pid)
        key = {"run_id": run, "attempt": 0, "rank": 0}
        until(lambda: agent.call("log_stat", **key)["size"] == 5)
        assert agent.call_body("read_at", **key, offset=0)[1] == b"here\n"
        assert not any(p.is_symlink() for p in agent.directory(run).rglob("*"))
        # Another file of that name is not taken for it.
        path.unlink()
        path.write_bytes(b"somebody else's")
        assert agent.call_body("read_at", **key, offset=0)[1] == b""
    finally:
        path.unlink(missing_ok=True)


def test_the_watching_can_end_while_the_process_goes_on(
    agent: Agent, started: list[subprocess.Popen[bytes]]
) -> None:
    job = process(started, "sleep 300")
    run = adopt(agent, job.pid)
    assert agent.call("unwatch", run_id=run) == {"state": "over"}
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"], record["signal"]) == ("unknown", None, None)
    assert re.fullmatch(r"not watched from \d\d:\d\d on; the process went on", record["reason"])
    assert agent.call("unwatch", run_id=run) == {"state": "over"}
    agent.call("rm", run_id=run, keep=[])
    assert job.poll() is None
    adopt(agent, job.pid)
    assert job.poll() is None


def test_what_was_not_adopted_is_not_let_go(agent: Agent) -> None:
    run = agent.start("sleep", "300")
    with pytest.raises(Refusal, match="was not adopted"):
        agent.call("unwatch", run_id=run)
    with pytest.raises(Refusal, match="was not adopted"):
        agent.call("unwatch", run_id=agent.mint())
    assert agent.evidence(run)["alive"]


def test_a_process_without_a_file_has_no_log(
    agent: Agent, started: list[subprocess.Popen[bytes]]
) -> None:
    run = adopt(agent, process(started, "sleep 300", subprocess.PIPE).pid)
    assert agent.call("log_stat", run_id=run, attempt=0, rank=0)["size"] == 0
    assert until(lambda: agent.happened(run, "adopted"))[0]["log"] == "its output goes to a pipe"


def test_a_process_that_writes_to_a_deleted_file_has_no_log(
    agent: Agent, started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    with (tmp_path / "out.log").open("wb") as file:
        running = process(started, "sleep 300", file.fileno())
    (tmp_path / "out.log").unlink()
    run = adopt(agent, running.pid)
    said = until(lambda: agent.happened(run, "adopted"))[0]["log"]
    assert said == "its output goes to a file that was deleted"


def test_it_can_be_stopped_with_its_children(
    agent: Agent, started: list[subprocess.Popen[bytes]]
) -> None:
    job = process(started, "setsid sleep 300 & sleep 300 & wait")
    children = until(
        lambda: len(c := [p for p in os.listdir("/proc") if parent(p) == job.pid]) == 2 and c
    )
    run = adopt(agent, job.pid)
    agent.call("cancel", run_id=run, attempt=0, grace=5)
    # Its end is seen by its parent, us.
    job.wait(30)
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"], record["signal"]) == ("cancel", None, None)
    assert not any(runs(int(child)) for child in children)


def parent(pid: str) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text("latin-1").rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return None


def test_a_stop_that_comes_with_the_adoption_ends_it_too(
    agent: Agent, started: list[subprocess.Popen[bytes]]
) -> None:
    job = process(started, "exec sleep 300")
    run = agent.mint()
    (agent.directory(run, None) / "attempts/0/control").mkdir(parents=True)
    record = agent.record(run, ["sleep", "300"])
    (agent.directory(run, None) / "run.json").write_text(json.dumps(record))
    (agent.directory(run) / "control/cancel.json").write_text('{"grace": 5.0}')
    adopt(agent, job.pid, run)
    assert job.wait(30) == -signal.SIGTERM
    assert agent.ended(run)["cause"] == "cancel"


def test_its_natural_end_touches_nothing_that_is_left(
    agent: Agent, started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    end = tmp_path / "end"
    wait = f"until [ -e {end} ]; do sleep 0.05; done"
    job = process(started, f"sleep 300 & echo $! > {tmp_path}/child; {wait}")
    child = int(until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text()))
    run = adopt(agent, job.pid)
    end.touch()
    job.wait()
    assert agent.ended(run)["cause"] == "unknown"
    assert runs(child)
    os.kill(child, signal.SIGKILL)


def test_adopting_twice_is_adopting_once(
    agent: Agent, started: list[subprocess.Popen[bytes]]
) -> None:
    job = process(started, "sleep 300")
    run = adopt(agent, job.pid)
    assert adopt(agent, job.pid, run) == run
    assert len(agent.happened(run, "claimed")) == 1
    other = agent.mint()
    with pytest.raises(Refusal, match="another run already"):
        adopt(agent, job.pid, other)
    assert not agent.directory(other, None).exists()


def test_without_room_for_its_end_nothing_is_adopted_and_that_is_said(
    agent: Agent, started: list[subprocess.Popen[bytes]]
) -> None:
    job = process(started, "exec sleep 300")
    run = agent.mint()
    # As if there were no room for it.
    (agent.directory(run) / "reserve").mkdir(parents=True)
    record = agent.record(run, ["sleep", "300"])
    (agent.directory(run, None) / "run.json").write_text(json.dumps(record))
    with pytest.raises(Refusal, match="cannot be written"):
        adopt(agent, job.pid, run)
    assert not agent.happened(run, "agent_error")
    locks = Path(f"/var/tmp/traindeck-{os.getuid()}")
    assert not list(locks.glob(f"adopt.{job.pid}.*"))
    (agent.directory(run) / "reserve").rmdir()
    adopt(agent, job.pid, run)


def test_what_must_not_be_adopted_is_refused(
    agent: Agent, started: list[subprocess.Popen[bytes]]
) -> None:
    run = agent.start("sleep", "300")
    leader = agent.leader(run)
    zombie = subprocess.Popen(["true"])
    until(lambda: (stat_of(zombie.pid) or "?")[0] == "Z")
    free = agent.mint()
    for pid, words in (
        (0, "cannot be"),
        (1, "cannot be"),
        (-5, "cannot be"),
        (2**30, "no process"),
        (zombie.pid, "no process"),
        (leader, run),
        (agent.supervisor(run), "supervisor"),
    ):
        with pytest.raises(Refusal, match=words):
            adopt(agent, pid, free)
        assert not agent.directory(free, None).exists()
    zombie.wait()
    if os.geteuid() == 0:
        other = subprocess.Popen(["sleep", "300"], user=65534, start_new_session=True)
        started.append(other)
        with pytest.raises(Refusal, match="another user"):
            adopt(agent, other.pid, free)


def test_a_supervisor_killed_leaves_the_adopted_process_alone(
    agent: Agent, started: list[subprocess.Popen[bytes]]
) -> None:
    job = process(started, "sleep 300")
    run = adopt(agent, job.pid)
    os.kill(agent.supervisor(run), signal.SIGKILL)
    seen = until(lambda: (e := agent.evidence(run))["supervised"] is False and e)
    assert seen["alive"] is True and runs(job.pid)
    # It can still be stopped: the claim says that it is the one.
    assert agent.call("cancel", run_id=run, attempt=0, grace=5)["state"] == "requested"
    job.wait()
    assert agent.ended(run)["cause"] == "cancel"


def test_a_process_of_another_pid_is_not_stopped_for_an_adopted_one(
    agent: Agent, started: list[subprocess.Popen[bytes]]
) -> None:
    job = process(started, "sleep 300")
    victim = process(started, "sleep 300")
    run = adopt(agent, job.pid)
    os.kill(agent.supervisor(run), signal.SIGKILL)
    until(lambda: agent.evidence(run)["supervised"] is False)
    path = agent.directory(run) / "agent.json"
    words = json.loads(path.read_text())
    found = stat_of(victim.pid)
    assert found is not None
    words["leader"] = {"pid": victim.pid, "starttime": found[1]}
    path.write_text(json.dumps(words))
    agent.call("cancel", run_id=run, attempt=0, grace=0)
    until(lambda: not list_takeovers(run))
    assert runs(victim.pid)


def list_takeovers(run: str) -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"takeover" in words and run.encode() in words:
                found.append(name)
    return found


def test_an_adopted_process_has_its_samples(
    agent: Agent, started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    program = "import time\nwhile True: print('x', flush=True); time.sleep(0.1)"
    with open(tmp_path / "out.log", "wb") as out:
        command = [sys.executable, "-c", program]
        started.append(subprocess.Popen(command, stdout=out, start_new_session=True))
    run = adopt(agent, started[-1].pid)
    directory = agent.directory(run)
    for name, size in (("logs/0.idx", 48), ("system.jsonl", 1)):
        path = directory / name
        until(lambda path=path, size=size: path.exists() and path.stat().st_size >= size)
    line = json.loads((directory / "system.jsonl").read_text().splitlines()[0])
    assert line["procs"] == 1 and line["rss_bytes"] > 1 << 20
