"""The batch step: a supervisor in the foreground, that claims for itself and is started again."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.payload.harness import PATIENCE, Agent, Refusal, members, runs, until

TIME = "slurmstepd: error: *** JOB 12 ON n0 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***"
PREEMPTED = (
    "slurmstepd: error: *** JOB 12 ON n0 CANCELLED AT 2026-01-01T00:00:00 DUE TO PREEMPTION ***"
)
CANCELLED = "slurmstepd-n0: error: *** JOB 12 ON n0 CANCELLED AT 2026-01-01T00:00:00 ***"
REQUEUED = (
    "slurmstepd: error: *** JOB 12 ON n0 CANCELLED AT 2026-01-01T00:00:00 DUE TO JOB REQUEUE ***"
)


def prepared(agent: Agent, *argv: str, **options: Any) -> str:
    """A run directory with nothing claimed in it."""
    request = agent.request(argv, **options)
    agent.call("prepare", **request)
    return str(request["run_id"])


def shell(agent: Agent, script: str, **options: Any) -> str:
    return prepared(agent, "sh", "-c", script, **options)


def stepd_says(agent: Agent, line: str) -> None:
    with (agent.root.parent / "batch.out").open("a") as out:
        out.write(line + "\n")


def environment(agent: Agent, run: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in agent.log(run).decode().splitlines())


# -- prepare


def test_a_run_that_is_prepared_waits_for_its_batch_step(every_agent: Agent) -> None:
    request = every_agent.request(["true"])
    request["files"] = [{"path": "plan/batch.sh", "size": 3, "mode": 0o600}]
    run = request["run_id"]
    answer, _ = every_agent.once("prepare", request, b"abc")
    assert answer["created"] and not answer["claimed"]
    assert answer["directory"] == str(every_agent.directory(run, None))
    assert answer["evidence"]["phase"] == "none"
    assert (every_agent.directory(run, None) / "plan/batch.sh").read_bytes() == b"abc"
    assert not (every_agent.directory(run, None) / "secrets.json").exists()
    again, _ = every_agent.once("prepare", request, b"abc")
    assert not again["created"]
    assert every_agent.batch(run).wait(PATIENCE) == 0
    answer, _ = every_agent.once("prepare", request, b"abc")
    assert answer["claimed"] and answer["evidence"]["exit"]["cause"] == "self"


def test_prepare_refuses_what_start_refuses(agent: Agent) -> None:
    request = agent.request(["true"])
    agent.call("prepare", **request)
    request["run"] = {**request["run"], "plan_digest": "e" * 64}
    with pytest.raises(Refusal, match="taken by another plan"):
        agent.call("prepare", **request)
    request = agent.request(["true"], secrets={"TOKEN": "x"})
    with pytest.raises(Refusal, match="The secret TOKEN has no value"):
        agent.call("prepare", **{**request, "secrets": {}})
    request = agent.request(["true"])
    request["files"] = [{"path": "secrets.json", "size": 0, "mode": 0o600}]
    with pytest.raises(Refusal, match="may not bring"):
        agent.call("prepare", **request)
    with pytest.raises(Refusal, match=r"no run .* any more"):
        agent.call("prepare", **agent.request(["true"], attempt=1))


def test_the_next_attempt_is_prepared_where_the_scheduler_says_that_one_is_over(
    agent: Agent,
) -> None:
    run = shell(agent, "sleep 300")
    step = agent.batch(run)
    agent.running(run)
    request = agent.request(["sh", "-c", "sleep 300"], run=run, attempt=1)
    with pytest.raises(Refusal, match=r"Attempt 0 of run .* is not over"):
        agent.call("prepare", **request)
    assert not agent.call("prepare", **request, before_is_over=True)["claimed"]
    step.terminate()
    step.wait(PATIENCE)


# -- the job


@pytest.mark.parametrize("code", [0, 7, 255])
def test_its_exit_code_is_the_jobs(every_agent: Agent, code: int) -> None:
    agent = every_agent
    run = shell(agent, f"echo out; echo err >&2; exit {code}")
    step = agent.batch(run)
    assert step.wait(PATIENCE) == code
    assert agent.log(run) == b"out\nerr\n"
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"]) == ("self", code)
    assert agent.batch_said() == ""
    assert (agent.directory(run) / "logs/0.idx").exists()
    assert (agent.directory(run) / "system.jsonl").exists()


def test_it_ends_by_the_signal_that_ended_the_job(agent: Agent) -> None:
    run = shell(agent, "kill -SEGV $$")
    assert agent.batch(run).wait(PATIENCE) == -signal.SIGSEGV
    record = agent.ended(run)
    assert (record["cause"], record["signal"]) == ("self", signal.SIGSEGV)


def test_a_program_that_is_missing_is_code_127(agent: Agent) -> None:
    run = prepared(agent, "no-such-program")
    assert agent.batch(run).wait(PATIENCE) == 127
    assert agent.ended(run)["cause"] == "launch"


def test_the_records_name_slurms_job(agent: Agent) -> None:
    run = shell(agent, "true")
    step = agent.batch(
        run,
        SLURM_ARRAY_TASK_ID="3",
        SLURM_JOB_NODELIST="n[3]",
        SLURM_JOB_NUM_NODES="1",
        SLURM_JOB_PARTITION="gpu",
        SLURM_CLUSTER_NAME="test",
    )
    assert step.wait(PATIENCE) == 0
    expected = {
        "kind": "slurm",
        "job_id": "12",
        "array_job": None,
        "array_task": 3,
        "restart_count": 0,
        "nodes": "n[3]",
        "node_count": 1,
        "partition": "gpu",
        "cluster": "test",
    }
    for name in ("claim", "agent.json"):
        assert json.loads((agent.directory(run) / name).read_text())["scheduler"] == expected
    assert agent.evidence(run)["scheduler"] == expected


def test_the_job_has_slurms_variables_and_the_plans(agent: Agent) -> None:
    run = prepared(agent, "env", env={"MINE": "1", "PATH": "/usr/bin:/bin"})
    variables = {
        "CUDA_VISIBLE_DEVICES": "0,1",
        "SLURM_PROCID": "0",
        "SLURM_EXPORT_ENV": "NIL",
        "TRAINDECK_METRICS": "/of/another",
    }
    assert agent.batch(run, **variables).wait(PATIENCE) == 0
    env = environment(agent, run)
    assert env["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert (env["SLURM_PROCID"], env["SLURM_JOB_ID"]) == ("0", "12")
    assert "SLURM_EXPORT_ENV" not in env
    assert (env["MINE"], env["PATH"]) == ("1", "/usr/bin:/bin")
    assert env["TRAINDECK_RUN"] == f"{run}/0"
    assert env["TRAINDECK_METRICS"] == str(agent.directory(run) / "metrics.jsonl")
    assert env["HOME"] and env["USER"]


def test_a_batch_step_of_a_run_that_submits_is_no_part_of_it(agent: Agent) -> None:
    outer = agent.mint()
    run = shell(agent, "umask; sleep 300")
    step = agent.batch(run, TRAINDECK_RUN=f"{outer}/0")
    agent.said(run, b"0")
    assert members(outer) == []
    assert agent.log(run) == b"%04o\n" % _umask()
    step.terminate()
    step.wait(PATIENCE)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_outside_of_slurm_it_does_nothing(agent: Agent) -> None:
    run = shell(agent, "true")
    assert agent.batch(run, SLURM_JOB_ID="").wait(PATIENCE) == 1
    assert "no batch step of Slurm" in agent.batch_said()
    assert agent.evidence(run)["phase"] == "none"


def test_without_a_run_it_says_so(agent: Agent) -> None:
    run = agent.mint()
    assert agent.batch(run).wait(PATIENCE) == 1
    assert agent.batch_said() == f"traindeck: There is no run {run}.\n"


def test_a_failed_attempt_is_repeated_in_the_same_allocation(agent: Agent) -> None:
    run = shell(agent, "echo $TRAINDECK_RUN; exit 5", limits={"retries": 2})
    assert agent.batch(run).wait(PATIENCE) == 5
    assert [agent.log(run, n) for n in range(3)] == [f"{run}/{n}\n".encode() for n in range(3)]
    last = json.loads((agent.directory(run, 2) / "claim").read_text())
    assert last["scheduler"]["job_id"] == "12"


# -- only once


def test_a_second_job_for_the_same_attempt_does_nothing_and_says_why(agent: Agent) -> None:
    run = shell(agent, "echo ran; sleep 300")
    first = agent.batch(run)
    agent.running(run)
    assert agent.batch(run, SLURM_JOB_ID="13").wait(PATIENCE) == 73
    said = agent.batch_said()
    assert f"attempt 0 of run {run} is claimed by Slurm job 12 on " in said
    assert said.endswith("job 13 does nothing.\n")
    first.terminate()
    first.wait(PATIENCE)
    assert agent.batch(run, SLURM_JOB_ID="13").wait(PATIENCE) == 73
    # Nor if that one is started again by Slurm.
    again = agent.batch(run, SLURM_JOB_ID="13", SLURM_RESTART_COUNT="1")
    assert again.wait(PATIENCE) == 73
    assert agent.log(run) == b"ran\n"
    assert not agent.directory(run, 1).exists()


def test_of_many_batch_steps_one_runs(agent: Agent) -> None:
    run = shell(agent, "echo ran; sleep 0.2")
    steps = [agent.batch(run, SLURM_JOB_ID=str(n)) for n in range(20, 28)]
    assert sorted(step.wait(PATIENCE) for step in steps) == [0] + [73] * 7
    assert agent.log(run) == b"ran\n"


def test_started_again_it_is_the_next_attempt(every_agent: Agent) -> None:
    agent = every_agent
    run = shell(agent, "echo $TRAINDECK_RUN; exec sleep 300")
    step = agent.batch(run)
    agent.running(run)
    stepd_says(agent, REQUEUED)
    step.terminate()
    assert step.wait(PATIENCE) == -signal.SIGTERM
    record = agent.ended(run)
    assert (record["cause"], record["reason"]) == ("outside", "Slurm requeued job 12")
    assert record.get("word") is None
    for attempt in (1, 2):
        step = agent.batch(run, SLURM_RESTART_COUNT=str(attempt))
        agent.said(run, f"{run}/{attempt}".encode(), attempt)
        step.terminate()
        step.wait(PATIENCE)
    assert agent.evidence(run)["scheduler"]["restart_count"] == 2


def test_an_attempt_whose_node_died_is_followed_by_the_next(agent: Agent) -> None:
    run = shell(agent, "sleep 300")
    step = agent.batch(run)
    leader = agent.running(run)
    step.kill()
    os.kill(leader, signal.SIGKILL)
    step.wait(PATIENCE)
    (agent.directory(run) / "claim").write_bytes(b"")
    (agent.directory(run) / "agent.json").unlink()
    step = agent.batch(run, SLURM_RESTART_COUNT="1")
    until(lambda: agent.happened(run, "started", 1), "the next attempt")
    step.terminate()
    step.wait(PATIENCE)


def test_a_run_that_was_stopped_is_not_started_again(agent: Agent) -> None:
    run = shell(agent, "sleep 300")
    step = agent.batch(run)
    agent.running(run)
    agent.call("cancel", run_id=run, attempt=0, grace=5.0, by="test")
    assert step.wait(PATIENCE) == -signal.SIGTERM
    assert agent.ended(run)["cause"] == "cancel"
    assert agent.batch(run, SLURM_RESTART_COUNT="1").wait(PATIENCE) == 130
    record = agent.ended(run)
    assert (record["cause"], record["attempt"]) == ("cancel", 1)
    assert agent.log(run, 1) == b""


def test_a_run_that_was_stopped_before_it_started_never_runs(agent: Agent) -> None:
    run = shell(agent, "echo ran")
    assert agent.call("cancel", run_id=run, attempt=0, grace=5.0, by="t")["state"] == "requested"
    assert agent.batch(run).wait(PATIENCE) == 130
    assert agent.ended(run)["cause"] == "cancel"
    assert agent.log(run) == b""


# -- being ended

SAVES = """
import signal, sys, time
def save(number, frame):
    print("told", flush=True)
    time.sleep(0.5)
    print("saved", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize(
    ("line", "cause", "word", "reason"),
    [
        (TIME, "timeout", "timeout", "the time limit of Slurm job 12 was over"),
        (PREEMPTED, "outside", "preempted", "Slurm preempted job 12"),
        (CANCELLED, "outside", "cancelled", "Slurm job 12 was cancelled"),
        ("", "outside", None, "Slurm sent TERM to job 12"),
        ("*** JOB 99 ON n0 CANCELLED AT x ***", "outside", None, "Slurm sent TERM to job 12"),
    ],
)
def test_what_slurm_says_of_the_end_is_recorded(
    agent: Agent, line: str, cause: str, word: str | None, reason: str
) -> None:
    # What was said of an earlier start of the job is not of this one.
    stepd_says(agent, PREEMPTED)
    run = prepared(agent, sys.executable, "-c", SAVES)
    step = agent.batch(run)
    agent.said(run, b"ready")
    if line:
        stepd_says(agent, line)
    step.terminate()
    assert step.wait(PATIENCE) == 3
    record = agent.ended(run)
    assert (record["cause"], record.get("word")) == (cause, word)
    assert (record["reason"], record["exit_code"]) == (reason, 3)
    assert agent.log(run) == b"ready\ntold\nsaved\n"


def test_the_end_that_slurm_named_is_a_timeout(agent: Agent) -> None:
    run = shell(agent, "sleep 300")
    step = agent.batch(run, SLURM_JOB_END_TIME="1700000000")
    agent.running(run)
    step.terminate()
    step.wait(PATIENCE)
    assert agent.ended(run)["cause"] == "timeout"


def test_who_was_told_by_slurm_is_not_told_again(agent: Agent) -> None:
    run = prepared(agent, sys.executable, "-c", SAVES)
    step = agent.batch(run)
    agent.said(run, b"ready")
    (canary,) = _children(step.pid) - {agent.leader(run)}
    os.kill(canary, signal.SIGUSR2)
    for pid in (canary, agent.leader(run), step.pid):
        os.kill(pid, signal.SIGTERM)
    assert step.wait(PATIENCE) == 3
    assert agent.log(run) == b"ready\ntold\nsaved\n"
    assert agent.ended(run)["cause"] == "outside"


def test_a_job_that_ended_before_we_were_told_was_ended_from_outside(agent: Agent) -> None:
    run = shell(agent, "exec sleep 300")
    step = agent.batch(run)
    leader = agent.running(run)
    stepd_says(agent, CANCELLED)
    os.kill(leader, signal.SIGTERM)
    assert step.wait(PATIENCE) == -signal.SIGTERM
    record = agent.ended(run)
    assert (record["cause"], record.get("word")) == ("outside", "cancelled")


def test_the_record_is_written_before_slurm_kills(agent: Agent) -> None:
    run = shell(agent, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    step = agent.batch(run, kill_wait=1.5)
    agent.said(run, b"ready")
    step.terminate()
    assert step.wait(PATIENCE) == -signal.SIGKILL
    record = agent.ended(run)
    assert (record["cause"], record["signal"]) == ("outside", signal.SIGKILL)
    assert agent.happened(run, "term_sent")[0]["grace"] == 1.0


def _children(pid: int) -> set[int]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.add(int(folder.name))
    return found


def test_nothing_stays_behind_a_batch_step_that_was_killed(agent: Agent) -> None:
    run = shell(agent, "sleep 300")
    step = agent.batch(run)
    leader = agent.running(run)
    (canary,) = _children(step.pid) - {leader}
    step.kill()
    step.wait(PATIENCE)
    until(lambda: not runs(canary), "the canary to be gone")
    os.kill(leader, signal.SIGKILL)


# -- the warning before the limit

LISTENS = """
import os, signal, sys, time
def note(number, frame):
    print("warned", os.environ.get("WHO"), flush=True)
signal.signal(signal.SIGUSR2, note)
if os.fork() == 0:
    os.environ["WHO"] = "its worker"
print("ready", flush=True)
time.sleep(300)
"""


def test_the_warning_goes_to_the_job_that_listens(agent: Agent) -> None:
    run = prepared(agent, sys.executable, "-c", LISTENS, env={"WHO": "the job"})
    step = agent.batch(run)
    agent.said(run, b"ready\nready")
    step.send_signal(signal.SIGUSR2)
    agent.said(run, b"warned")
    until(lambda: agent.happened(run, "warned"), "the event")
    step.terminate()
    step.wait(PATIENCE)
    # Not to a worker that only inherited the handler.
    assert agent.log(run).count(b"warned") == 1 and b"warned the job" in agent.log(run)
    assert agent.happened(run, "warned")[0]["processes"] == 1


def test_the_warning_passes_through_a_shell(agent: Agent) -> None:
    run = shell(agent, f"{sys.executable} -c '{LISTENS}'; exit $?", env={"WHO": "the job"})
    step = agent.batch(run)
    agent.said(run, b"ready\nready")
    step.send_signal(signal.SIGUSR2)
    agent.said(run, b"warned the job")
    step.terminate()
    step.wait(PATIENCE)


def test_the_warning_is_kept_for_a_job_that_listens_later(agent: Agent) -> None:
    script = "echo ready; read line; trap 'echo warned' USR2; while :; do sleep 0.05; done"
    fifo = agent.root / "fifo"
    os.mkfifo(fifo)
    run = shell(agent, f"exec < {fifo}; {script}")
    step = agent.batch(run)
    with fifo.open("w") as go:
        agent.said(run, b"ready")
        step.send_signal(signal.SIGUSR2)
        until(lambda: agent.happened(run, "warned"), "the event")
        assert agent.happened(run, "warned")[0]["processes"] == 0
        go.write("go\n")
    agent.said(run, b"warned")
    until(lambda: len(agent.happened(run, "warned")) == 2, "the second event")
    assert agent.happened(run, "warned")[1]["processes"] == 1
    step.terminate()
    step.wait(PATIENCE)
    assert agent.log(run).count(b"warned") == 1


def test_who_does_not_listen_is_not_ended_by_the_warning(agent: Agent) -> None:
    run = shell(agent, "echo ready; sleep 300")
    step = agent.batch(run)
    agent.said(run, b"ready")
    step.send_signal(signal.SIGUSR2)
    until(lambda: agent.happened(run, "warned"), "the event")
    assert agent.happened(run, "warned")[0]["processes"] == 0
    assert agent.evidence(run)["phase"] == "running"
    step.terminate()
    step.wait(PATIENCE)


# -- secrets


def _secrets(agent: Agent, run: str) -> Path:
    return agent.directory(run, None) / "secrets.json"


def _finds(agent: Agent, run: str, text: bytes) -> list[Path]:
    return [p for p in agent.directory(run, None).rglob("*") if p.is_file() and text in _read(p)]


def _read(path: Path) -> bytes:
    return path.read_bytes()


def test_a_secret_is_kept_for_a_requeue_and_removed_at_the_end(agent: Agent) -> None:
    values: Mapping[str, str] = {"TOKEN": "hunter2"}
    request = agent.request(
        ["sh", "-c", 'test -n "$TOKEN" && echo has it; [ $GO ] || sleep 300'], secrets=values
    )
    run = request["run_id"]
    agent.call("prepare", **request)
    assert _secrets(agent, run).stat().st_mode & 0o777 == 0o600
    assert _finds(agent, run, b"hunter2") == [_secrets(agent, run)]
    listed = agent.call("ls", run_id=run, path="")["entries"]
    assert [entry["path"] for entry in listed] == ["attempts", "run.json"]
    with pytest.raises(Refusal, match="holds secrets"):
        agent.call("read", run_id=run, path="secrets.json", offset=0, size=100)
    step = agent.batch(run)
    agent.said(run, b"has it")
    stepd_says(agent, REQUEUED)
    step.terminate()
    step.wait(PATIENCE)
    assert _secrets(agent, run).exists()
    assert agent.batch(run, SLURM_RESTART_COUNT="1", GO="1").wait(PATIENCE) == 0
    assert agent.log(run, 1) == b"has it\n"
    assert not _secrets(agent, run).exists()
    assert _finds(agent, run, b"hunter2") == []
    assert agent.batch(run, SLURM_RESTART_COUNT="2").wait(PATIENCE) == 1
    assert "The secret TOKEN of run" in agent.batch_said()


def test_a_secret_of_a_run_that_never_started_is_forgotten(agent: Agent) -> None:
    request = agent.request(["true"], secrets={"TOKEN": "hunter2"})
    agent.call("prepare", **request)
    agent.call("forget", run_id=request["run_id"])
    assert not _secrets(agent, request["run_id"]).exists()
    agent.call("forget", run_id=request["run_id"])
