"""Starting: once, whoever asks and however often; with the environment that was meant."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.payload.harness import Agent, Refusal, members, runs, stat_of, until


def test_starting_twice_starts_once(agent: Agent) -> None:
    request = agent.request(["sh", "-c", "echo started; sleep 300"])
    first = agent.call("start", **request)
    second = agent.call("start", **request)
    evidence = first.pop("evidence"), second.pop("evidence")
    assert first == {**second, "created": True}
    assert second["created"] is False
    assert [(one["phase"], one["alive"]) for one in evidence] == [("running", True)] * 2
    assert agent.said(request["run_id"], b"started") == b"started\n"


def test_starting_again_after_the_end_starts_nothing(agent: Agent) -> None:
    request = agent.request(["sh", "-c", "echo started"])
    agent.call("start", **request)
    agent.ended(request["run_id"])
    assert agent.call("start", **request)["created"] is False
    assert agent.log(request["run_id"]) == b"started\n"


def test_twenty_callers_at_once_start_one_job(agent: Agent) -> None:
    request = agent.request(["sh", "-c", "echo started; sleep 300"])
    with ThreadPoolExecutor(20) as pool:
        answers = [a for a, _ in pool.map(lambda _: agent.once("start", request), range(20))]
    assert sum(answer["created"] for answer in answers) == 1
    assert {answer["pid"] for answer in answers} == {agent.supervisor(request["run_id"])}
    agent.said(request["run_id"], b"started")
    assert agent.log(request["run_id"]) == b"started\n"
    assert len(agent.happened(request["run_id"], "claimed")) == 1
    assert not list((agent.root / "runs").glob(".new-*"))


def test_an_id_is_taken_by_one_plan_only(agent: Agent) -> None:
    request = agent.request(["true"])
    agent.call("start", **request)
    request["run"] = {**request["run"], "plan_digest": "e" * 64}
    with pytest.raises(Refusal, match="taken by another plan"):
        agent.call("start", **request)


def test_the_files_of_a_plan_lie_in_the_run_directory(agent: Agent) -> None:
    request = agent.request(["cat", "code/a/b.txt"])
    request["run"]["spec"]["cwd"] = str(agent.directory(request["run_id"], None))
    request["files"] = [
        {"path": "plan/plan.json", "size": 3, "mode": 0o600},
        {"path": "code/a/b.txt", "size": 5, "mode": 0o755},
        {"path": "code/empty", "size": 0, "mode": 0o600},
    ]
    agent.call("start", b"{ }hello", **request)
    agent.ended(request["run_id"])
    directory = agent.directory(request["run_id"], None)
    assert agent.log(request["run_id"]) == b"hello"
    assert (directory / "plan/plan.json").read_bytes() == b"{ }"
    assert (directory / "code/a/b.txt").stat().st_mode & 0o777 == 0o700
    assert (directory / "plan/plan.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../../x", "", ".", "a//b", "run.json", "attempts/0/claim"]
)
def test_a_plan_brings_nothing_outside_or_in_our_place(agent: Agent, path: str) -> None:
    request = agent.request(["true"])
    request["files"] = [{"path": path, "size": 1, "mode": 0o600}]
    with pytest.raises(Refusal):
        agent.call("start", b"x", **request)
    assert not agent.directory(request["run_id"], None).exists()
    assert not list((agent.root / "runs").glob(".new-*"))


@pytest.mark.parametrize(
    "change",
    [
        {"argv": []},
        {"argv": [""]},
        {"argv": "true"},
        {"argv": ["a", 5]},
        {"argv": ["a\0b"]},
        {"cwd": "relative"},
        {"cwd": 5},
        {"env": {"A": 1}},
        {"env": {"": "x"}},
        {"env": {"A=B": "x"}},
        {"limits": {"time": "1h"}},
        {"limits": 5},
        {"on_exit": "true"},
    ],
    ids=str,
)
def test_a_spec_that_cannot_work_is_refused_before_anything_exists(
    agent: Agent, change: dict[str, Any]
) -> None:
    request = agent.request(["true"])
    request["run"]["spec"].update(change)
    with pytest.raises(Refusal):
        agent.call("start", **request)
    assert not agent.directory(request["run_id"], None).exists()


def test_a_secret_without_a_value_is_refused_by_name(agent: Agent) -> None:
    request = agent.request(["true"], secrets={"API_KEY": "x"})
    request["secrets"] = {}
    with pytest.raises(Refusal, match="API_KEY"):
        agent.call("start", **request)
    assert not agent.directory(request["run_id"], None).exists()


def test_a_secret_reaches_the_job_and_stands_nowhere(agent: Agent) -> None:
    value = "s3cr3t-" + os.urandom(8).hex()
    run = agent.shell(
        'test -n "$API_KEY" && echo got ${#API_KEY}; sleep 300',
        secrets={"API_KEY": value},
        limits={"retries": 1},
    )
    agent.said(run, b"got 23")
    supervisor = agent.supervisor(run)
    for name in ("cmdline", "environ"):
        assert value.encode() not in Path(f"/proc/{supervisor}/{name}").read_bytes()
    for path in agent.root.rglob("*"):
        if path.is_file():
            assert value.encode() not in path.read_bytes(), path
    os.kill(agent.leader(run), signal.SIGKILL)
    # The second attempt has it from the supervisor's memory.
    until(lambda: agent.log(run, 1) == b"got 23\n")


def test_the_argv_of_the_supervisor_is_not_the_users(agent: Agent) -> None:
    run = agent.start("sleep", "300.25")
    words = Path(f"/proc/{agent.supervisor(run)}/cmdline").read_bytes()
    assert b"300.25" not in words and b"sleep" not in words
    assert words.split(b"\0")[-4:] == [b"supervise", run.encode(), b"0", b""]


def test_the_environment_is_the_callers_with_the_plans_values_and_ours(agent: Agent) -> None:
    inherited = {
        "PATH": os.environ["PATH"],
        "KEPT": "caller",
        "CHANGED": "caller",
        "LC_ALL": "C",
        "ODD": "\udcff\udc80",
        "TRAINDECK_RUN": "0000outer000/3",
        "TRAINDECK_RUN_DIR": "/outer",
        "TRAINDECK_SUPERVISOR": "0000outer000",
    }
    program = "import os, sys; sys.stdout.write(repr(sorted(os.environb.items())))"
    run = agent.script(program, environ=inherited, env={"CHANGED": "plan"}, cwd="/usr")
    assert agent.ended(run)["exit_code"] == 0
    found = dict(eval(agent.log(run)))
    directory = os.fsencode(agent.directory(run, None))
    assert found == {
        b"PATH": os.environb[b"PATH"],
        b"KEPT": b"caller",
        b"CHANGED": b"plan",
        b"LC_ALL": b"C",
        b"ODD": b"\xff\x80",
        b"PWD": b"/usr",
        b"PYTHONUNBUFFERED": b"1",
        b"TRAINDECK_RUN": run.encode() + b"/0",
        b"TRAINDECK_RUN_DIR": directory,
        b"TRAINDECK_METRICS": directory + b"/attempts/0/metrics.jsonl",
        b"TRAINDECK_ARTIFACTS": directory + b"/artifacts",
    }


def test_without_an_environment_the_job_has_the_agents_own(agent: Agent) -> None:
    request = agent.request(["env"])
    agent.once("start", request, env={"PATH": os.environ["PATH"], "ONLY": "this"})
    agent.ended(request["run_id"])
    names = {line.split(b"=")[0] for line in agent.log(request["run_id"]).splitlines()}
    ours = {n for n in names if n.startswith((b"TRAINDECK_", b"PYTHONUNBUFFERED"))}
    # Not even what an interpreter adds to its own (a coerced locale).
    assert names - ours == {b"PATH", b"ONLY", b"PWD"}


def test_the_job_starts_clean(agent: Agent) -> None:
    program = """
import os, signal, sys
fds = ["/proc/self/fd/" + fd for fd in sorted(os.listdir("/proc/self/fd"), key=int)]
print([os.readlink(fd) for fd in fds if os.path.exists(fd)])
ignored = int([l for l in open("/proc/self/status") if l.startswith("SigIgn")][0].split()[1], 16)
blocked = int([l for l in open("/proc/self/status") if l.startswith("SigBlk")][0].split()[1], 16)
print([n for n in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
       if ignored >> (n - 1) & 1], blocked)
print(os.getsid(0) == os.getpid() == os.getpgid(0), os.getppid() != os.getsid(0))
"""
    with open("/dev/null") as extra:
        os.set_inheritable(extra.fileno(), True)
        request = agent.request([sys.executable, "-c", program])
        done = subprocess.run(
            # With signals ignored and blocked that a user's nohup or a shell may leave behind.
            ["sh", "-c", 'trap "" HUP TERM INT; exec "$@"', "sh", *agent.argv, "start"],
            input=json.dumps(request).encode(),
            capture_output=True,
            pass_fds=[extra.fileno()],
            check=True,
        )
    assert json.loads(done.stdout)["created"]
    run = request["run_id"]
    assert agent.ended(run)["exit_code"] == 0
    files, signals, session = agent.log(run).decode().splitlines()
    log = str(agent.directory(run) / "logs" / "0.log")
    lock = f"/var/tmp/traindeck-{os.getuid()}/{run}.0.lock"
    assert eval(files) == ["/dev/null", log, log, lock]
    assert signals == "[] 0"
    assert session == "True True"


def test_the_job_has_the_callers_umask_and_our_files_none(agent: Agent, tmp_path: Path) -> None:
    made = tmp_path / "made"
    request = agent.request(["touch", str(made)])
    subprocess.run(
        ["sh", "-c", 'umask 027; exec "$@"', "sh", *agent.argv, "start"],
        input=json.dumps(request).encode(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    run = request["run_id"]
    agent.ended(run)
    assert made.stat().st_mode & 0o777 == 0o640
    for path in [agent.root / "runs", *agent.directory(run, None).rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_supervisor_is_detached_from_everything(agent: Agent) -> None:
    run = agent.start("sleep", "300")
    pid = agent.supervisor(run)
    assert os.getsid(pid) not in (os.getsid(0), os.getsid(agent.leader(run)))
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["no-such-program-here"], 127, "not found"),
        (["/no/such/program"], 127, "not found"),
        (["sh -c true"], 127, "leave out the quotes"),
        (["FOO=1", "sh"], 127, "--env FOO=..."),
        (["/tmp"], 126, "cannot be executed"),
        (["/etc/passwd"], 126, "cannot be executed"),
    ],
    ids=lambda value: str(value),
)
def test_a_program_that_cannot_be_started_is_recorded(
    agent: Agent, argv: list[str], code: int, words: str
) -> None:
    run = agent.start(*argv, limits={"retries": 3})
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"], record["signal"]) == ("launch", code, None)
    assert words in record["reason"] and argv[0] in record["reason"]
    assert record["started"] is None
    assert words.encode() in agent.log(run)
    assert not agent.directory(run, 1).exists()


def test_a_script_with_a_missing_interpreter_or_none_is_told_apart(
    agent: Agent, tmp_path: Path
) -> None:
    for text, words in (("#!/no/such/python\n", "interpreter"), ("echo hi\n", "#! line")):
        script = tmp_path / f"script{len(text)}"
        script.write_text(text)
        script.chmod(0o755)
        record = agent.ended(agent.start(str(script)))
        assert (record["cause"], record["exit_code"]) == ("launch", 126)
        assert words in record["reason"]


def test_a_directory_that_cannot_be_entered_is_recorded(agent: Agent) -> None:
    record = agent.ended(agent.start("true", cwd="/no/such/folder"))
    assert (record["cause"], record["exit_code"]) == ("launch", 126)
    assert "/no/such/folder" in record["reason"]


def test_a_program_is_found_by_the_plans_path(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "tool").chmod(0o755)
    run = agent.start("tool", env={"PATH": f"/no/such:{tmp_path}:/usr/bin:/bin"})
    agent.ended(run)
    assert agent.log(run) == b"mine\n"


def test_attempts_come_in_order_and_one_after_the_other(agent: Agent) -> None:
    request = agent.request(["sleep", "300"])
    agent.call("start", **request)
    run = request["run_id"]
    with pytest.raises(Refusal, match="not over"):
        agent.call("start", **{**request, "attempt": 1})
    with pytest.raises(Refusal, match="next attempt"):
        agent.call("start", **{**request, "attempt": 2})
    agent.call("cancel", run_id=run, attempt=0)
    agent.ended(run)
    with pytest.raises(Refusal, match="next attempt"):
        agent.call("start", **{**request, "attempt": 2})
    assert agent.call("start", **{**request, "attempt": 1})["created"]
    seen = agent.phase(run, "running")
    assert (seen["attempt"], seen["exit"]) == (1, None)
    assert (agent.directory(run, 0) / "exit.slot").exists()


def test_a_later_attempt_runs_what_the_first_was_sent(agent: Agent) -> None:
    request = agent.request(["echo", "first"])
    agent.call("start", **request)
    agent.ended(request["run_id"])
    request["run"]["spec"]["argv"] = ["echo", "second"]
    agent.call("start", **{**request, "attempt": 1})
    agent.ended(request["run_id"])
    assert agent.log(request["run_id"], 1) == b"first\n"


def test_a_later_attempt_of_nothing_is_refused(agent: Agent) -> None:
    with pytest.raises(Refusal, match="no run"):
        agent.call("start", **agent.request(["true"], attempt=1))


def test_a_lock_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    from traindeck.backends.payload.agent import Refused, layout

    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(Refused, match="not a directory"):
        layout.make_private(str(tmp_path / "link"))
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="not a directory"):
        layout.make_private(str(tmp_path / "file"))
    if os.geteuid() == 0:
        os.chown(tmp_path / "real", 12345, 12345)
        with pytest.raises(Refused, match="belongs to uid 12345"):
            layout.make_private(str(tmp_path / "real"))
        os.chown(tmp_path / "real", 0, 0)
    (tmp_path / "real").chmod(0o777)
    layout.make_private(str(tmp_path / "real"))
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o700


def test_what_killed_callers_left_is_swept_after_a_day(agent: Agent) -> None:
    agent.ended(agent.start("true"))
    old, new = agent.root / "runs/.new-a-1", agent.root / "runs/.new-b-2"
    for folder in (old, new):
        (folder / "plan").mkdir(parents=True)
        (folder / "plan/file").write_text("x")
    long_ago = time.time() - 100_000
    os.utime(old, (long_ago, long_ago))
    os.utime(agent.root / "runs/.swept", (long_ago, long_ago))
    agent.ended(agent.start("true"))
    assert not old.exists() and new.exists()


def test_what_another_start_has_just_renamed_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from traindeck.backends.payload.agent import layout, start

    monkeypatch.setitem(layout._runs, layout.agent_file(), str(tmp_path))
    (tmp_path / ".new-b-2").mkdir()
    os.utime(tmp_path / ".new-b-2", (1, 1))
    listed = [".new-a-1", ".new-b-2"]
    monkeypatch.setattr(os, "listdir", lambda path: listed)
    start._sweep()
    assert not (tmp_path / ".new-b-2").exists()


def test_a_supervisor_that_dies_before_it_claims_leaves_no_run(agent: Agent) -> None:
    agent.call("hello")
    source = agent.file.read_bytes()
    agent.file.write_bytes(b"raise SystemExit(1)\n")
    request = agent.request(["true"])
    with pytest.raises(Refusal, match="did not start"):
        agent.call("start", **request)
    assert os.listdir(agent.root / "runs") == [".swept"]
    agent.file.write_bytes(source)
    agent.call("start", **request)
    assert agent.ended(request["run_id"])["exit_code"] == 0


def test_a_large_environment_passes(agent: Agent) -> None:
    environ = {f"V{i}": "x" * 100_000 for i in range(12)} | {"PATH": os.environ["PATH"]}
    run = agent.script("import os; print(len(os.environ['V11']))", environ=environ)
    assert agent.ended(run)["exit_code"] == 0
    assert agent.log(run) == b"100000\n"


def test_nothing_of_start_stays_behind(agent: Agent) -> None:
    agent.call("hello")
    assert agent._served is not None
    served = agent._served.process.pid
    run = agent.start("sleep", "300")
    until(lambda: members(run))
    children = [
        int(pid)
        for pid in os.listdir("/proc")
        if pid.isdigit() and f" {served} " in (_stat_line(pid) or "")
    ]
    assert [pid for pid in children if stat_of(pid) is not None and not runs(pid)] == []
    fds = os.listdir(f"/proc/{served}/fd")
    assert len(fds) <= 5


def _stat_line(pid: str) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text("latin-1").rsplit(")", 1)[1]
    except OSError:
        return None
