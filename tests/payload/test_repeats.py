"""`--retries`, `--after`, the commands a run may name, and runs inside runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.payload.harness import Agent, Refusal, members, runs, until


def test_a_failure_is_repeated_with_a_directory_each(agent: Agent) -> None:
    run = agent.shell("echo $TRAINDECK_RUN; exit 5", limits={"retries": 2})
    record = agent.ended(run)
    assert (record["attempt"], record["exit_code"], record["next"]) == (2, 5, None)
    for attempt in range(3):
        assert agent.log(run, attempt) == f"{run}/{attempt}\n".encode()
    assert agent.happened(run, "retry", 1)[0]["after"] == 0


def test_it_is_at_no_moment_over_before_the_last(agent: Agent) -> None:
    from traindeck.backends.status import decode_evidence, status_of

    run = agent.shell("exit 5", limits={"retries": 6})
    attempts = []
    while True:
        status = status_of(decode_evidence(agent.evidence(run)), 0, 0.0)
        attempts.append(status.attempt)
        if status.state.terminal:
            break
    assert (status.attempt, status.exit_code) == (6, 5)
    assert attempts == sorted(attempts)


@pytest.mark.parametrize("script", ["exit 0", "kill -TERM $PPID; sleep 300"])
def test_only_a_failure_is_repeated(agent: Agent, script: str) -> None:
    run = agent.shell(script, limits={"retries": 2, "grace": 1})
    assert agent.ended(run)["attempt"] == 0
    assert not agent.directory(run, 1).exists()


def test_a_signal_is_a_failure_that_is_repeated(agent: Agent) -> None:
    run = agent.shell("case $TRAINDECK_RUN in */0) kill -SEGV $$;; esac", limits={"retries": 2})
    record = agent.ended(run)
    assert (record["attempt"], record["exit_code"]) == (1, 0)


def test_a_stop_ends_the_repeats(agent: Agent) -> None:
    run = agent.shell("trap 'exit 9' TERM; echo up; sleep 300 & wait", limits={"retries": 5})
    agent.said(run, b"up")
    agent.call("cancel", run_id=run, attempt=0)
    record = agent.ended(run)
    assert (record["attempt"], record["cause"], record["exit_code"]) == (0, "cancel", 9)


def test_a_stop_of_the_first_attempt_stops_the_one_that_runs(agent: Agent) -> None:
    script = "case $TRAINDECK_RUN in */0) exit 1;; *) echo up; sleep 300;; esac"
    run = agent.shell(script, limits={"retries": 5})
    until(lambda: agent.log(run, 1) == b"up\n")
    assert agent.call("cancel", run_id=run, attempt=0)["state"] == "requested"
    record = agent.ended(run)
    assert (record["attempt"], record["cause"]) == (1, "cancel")


def test_what_an_attempt_left_on_purpose_is_not_the_next_ones(agent: Agent) -> None:
    script = (
        "case $TRAINDECK_RUN in */0) setsid sleep 300 & sleep 0.2; exit 1;; esac; sleep 0.5; exit 0"
    )
    run = agent.shell(script, limits={"retries": 1}, keep_background=True)
    assert agent.ended(run)["attempt"] == 1
    left = members(run, 0)
    assert len(left) == 1
    os.kill(left[0], signal.SIGKILL)


def test_a_run_waits_for_another_and_says_so(agent: Agent) -> None:
    first = agent.shell("sleep 300")
    second = agent.shell("echo ran", after=first)
    seen = agent.phase(second, "waiting")
    assert first in seen["reason"]
    assert (seen["supervised"], seen["pid"], seen["exit"]) == (True, None, None)
    os.kill(agent.leader(first), signal.SIGKILL)
    record = agent.ended(second)
    assert (record["cause"], record["exit_code"], record["started"]) == ("dependency", None, None)
    assert record["reason"] == f"run {first}, which it waited for, was ended by signal 9"
    assert agent.log(second) == b""


def test_a_run_goes_on_when_the_other_has_succeeded(agent: Agent) -> None:
    first = agent.shell("sleep 0.2")
    second = agent.shell("echo ran", after=first)
    assert agent.ended(second)["exit_code"] == 0
    assert agent.evidence(first)["exit"]["ended"] <= agent.evidence(second)["exit"]["started"]


def test_the_time_that_a_run_waits_counts_for_neither_its_limit_nor_a_stall(agent: Agent) -> None:
    first = agent.shell("sleep 2.5")
    second = agent.shell("echo ran", after=first, limits={"time": 1.0}, stall_after=0.5)
    assert agent.ended(second)["cause"] == "self"
    assert agent.log(second) == b"ran\n"
    assert agent.happened(second, "stall") == []


@pytest.mark.parametrize("script", ["exit 4", "kill -KILL $$"])
def test_after_any_goes_on_whatever_the_end_was(agent: Agent, script: str) -> None:
    first = agent.shell(script)
    second = agent.shell("echo ran", after=first, after_any=True)
    assert agent.ended(second)["cause"] == "self"
    assert agent.log(second) == b"ran\n"


def test_a_dependent_waits_for_the_last_of_the_repeats(agent: Agent) -> None:
    first = agent.shell(
        "case $TRAINDECK_RUN in */2) exit 0;; *) sleep 0.1; exit 1;; esac", limits={"retries": 3}
    )
    second = agent.shell("echo ran", after=first)
    assert agent.ended(second)["exit_code"] == 0
    assert agent.evidence(first)["attempt"] == 2


def test_a_waiting_run_can_be_stopped(agent: Agent) -> None:
    first = agent.shell("sleep 300")
    second = agent.shell("echo ran", after=first)
    agent.phase(second, "waiting")
    agent.call("cancel", run_id=second, attempt=0)
    record = agent.ended(second)
    assert (record["cause"], record["started"]) == ("cancel", None)
    assert agent.log(second) == b""


def test_a_dependency_that_was_lost_is_no_success(agent: Agent) -> None:
    first = agent.start("sleep", "300")
    second = agent.shell("echo ran", after=first)
    agent.phase(second, "waiting")
    leader = agent.running(first)
    for pid in (agent.supervisor(first), leader):
        os.kill(pid, signal.SIGKILL)
    record = agent.ended(second)
    assert (record["cause"], record["reason"]) == (
        "dependency",
        f"run {first}, which it waited for, was lost",
    )


def test_a_run_waits_for_all_of_several_and_says_for_which_still(agent: Agent) -> None:
    runs = [agent.shell("sleep 300"), agent.shell("exit 0"), agent.shell("sleep 300")]
    agent.ended(runs[1])
    any_end = agent.shell("echo ran", after=runs, after_any=True)
    waits = agent.shell("echo never", after=runs)
    asked = f"waits for run {runs[0]}, run {runs[2]} to succeed (2 of 3 left)"
    until(lambda: agent.evidence(waits)["reason"] == asked)
    # One that was enough may be removed while the others go on.
    agent.call("rm", run_id=runs[1], keep=[])
    os.kill(agent.leader(runs[2]), signal.SIGKILL)
    record = agent.ended(waits)
    assert (record["cause"], record["started"]) == ("dependency", None)
    assert record["reason"] == f"run {runs[2]}, which it waited for, was ended by signal 9"
    asked = f"waits for run {runs[0]} to end (1 of 3 left)"
    until(lambda: agent.evidence(any_end)["reason"] == asked)
    agent.call("cancel", run_id=runs[0], attempt=0)
    assert agent.ended(any_end)["cause"] == "self"
    assert agent.log(any_end) == b"ran\n"
    assert agent.log(waits) == b""


def test_a_run_that_waits_for_several_goes_on_when_all_have_succeeded(agent: Agent) -> None:
    runs = [agent.shell(f"sleep 0.{n}") for n in (1, 3, 2)]
    waits = agent.shell("echo ran", after=runs)
    assert agent.ended(waits)["exit_code"] == 0
    ends = [agent.evidence(run)["exit"]["ended"] for run in runs]
    assert max(ends) <= agent.evidence(waits)["exit"]["started"]


def test_a_run_that_waits_for_many_can_be_stopped_and_names_some(agent: Agent) -> None:
    first = agent.shell("sleep 300")
    waits = agent.shell("echo ran", after=[first] * 12)
    reason = agent.phase(waits, "waiting")["reason"]
    assert reason.startswith(f"waits for run {first}, run ")
    assert reason.count(first) == 8 and reason.endswith(" and 4 more to succeed")
    agent.call("cancel", run_id=waits, attempt=0)
    assert agent.ended(waits)["cause"] == "cancel"


def test_no_circle_can_form(agent: Agent) -> None:
    run = agent.mint()
    first = agent.shell("exit 0")
    for more in ([first, run], [first, "0" * 12], [first, 7], {}):
        with pytest.raises(Refusal):
            agent.shell("true", run=run, after=more)
    with pytest.raises(Refusal, match="can be 1000"):
        agent.shell("true", run=run, after=[first] * 1001)
    with pytest.raises(Refusal, match="itself"):
        agent.shell("true", run=run, after=run)
    with pytest.raises(Refusal, match="not here"):
        agent.shell("true", run=run, after="0" * 12)
    assert not agent.directory(run, None).exists()


def test_the_command_at_the_end_knows_how_it_was_and_runs_once(agent: Agent) -> None:
    show = 'echo "$TRAINDECK_RUN_ID $TRAINDECK_ATTEMPT $TRAINDECK_STATE $TRAINDECK_EXIT_CODE '
    show += '$TRAINDECK_NAME $HOOK ${TRAINDECK_RUN-none}"'
    run = agent.shell(
        "exit 6",
        limits={"retries": 1},
        name="a name",
        secrets={"HOOK": "url"},
        on_exit=["sh", "-c", show],
    )
    agent.ended(run)
    log = agent.directory(run, 1) / "logs/on_exit.log"
    assert log.read_text() == f"{run} 1 failed 6 a name url none\n"
    assert agent.happened(run, "on_exit", 1)[0]["exit_code"] == 0
    assert not (agent.directory(run) / "logs/on_exit.log").exists()


@pytest.mark.parametrize(
    ("script", "words"),
    [("exit 0", "succeeded 0"), ("kill -9 $$", "failed 137"), ("exec /no/such", "failed 127")],
)
def test_the_end_in_words(agent: Agent, script: str, words: str) -> None:
    run = agent.shell(script, on_exit=["sh", "-c", 'echo "$TRAINDECK_STATE $TRAINDECK_EXIT_CODE"'])
    agent.ended(run)
    assert (agent.directory(run) / "logs/on_exit.log").read_text() == words + "\n"


def test_the_record_does_not_wait_for_the_command(agent: Agent) -> None:
    run = agent.shell("exit 0", on_exit=["sleep", "300"])
    seen = until(lambda: (e := agent.evidence(run))["exit"] and e)
    assert seen["supervised"] is True and seen["exit"]["exit_code"] == 0


@pytest.mark.parametrize(
    ("argv", "field"),
    [(["/no/such/hook"], "error"), (["sh", "-c", "exit 3"], "exit_code"), (["a\0"], "error")],
    ids=str,
)
def test_a_command_that_fails_is_an_event_and_never_the_runs_failure(
    agent: Agent, argv: list[str], field: str
) -> None:
    run = agent.shell("exit 0", on_exit=argv)
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"]) == ("self", 0)
    assert agent.happened(run, "on_exit")[0][field]


def test_silence_is_told_once(agent: Agent) -> None:
    run = agent.shell(
        "echo a; sleep 2.5; echo b; sleep 2.5",
        stall_after=0.8,
        on_stall=["sh", "-c", "echo stalled $TRAINDECK_STATE"],
    )
    until(lambda: agent.evidence(run)["reason"] == "stalled: no output for 0.8 s")
    until(lambda: agent.log(run) == b"a\nb\n")
    until(lambda: agent.evidence(run)["reason"] == "")
    assert agent.ended(run)["reason"] == ""
    assert (agent.directory(run) / "logs/on_stall.log").read_text() == "stalled running\n"
    assert len(agent.happened(run, "stall")) == 2


def test_a_run_launched_from_inside_a_run_is_its_own(agent: Agent, tmp_path: Path) -> None:
    inner = agent.request(["sh", "-c", "echo $TRAINDECK_RUN; sleep 300"])
    request = tmp_path / "request"
    request.write_text(json.dumps(inner))
    command = " ".join(f"'{word}'" for word in [*agent.argv, "start"])
    outer = agent.shell(f"{command} < {request}; sleep 0.3; exit 0")
    assert agent.ended(outer)["exit_code"] == 0
    run = inner["run_id"]
    seen = agent.evidence(run)
    assert (seen["phase"], seen["supervised"]) == ("running", True)
    assert agent.log(run) == f"{run}/0\n".encode()
    # Not even one whose supervisor was killed, so that it hangs below the outer one, is touched.
    agent.call("cancel", run_id=run, attempt=0)
    assert agent.ended(run)["cause"] == "cancel"


def test_the_outer_end_spares_an_inner_job_without_supervisor(agent: Agent, tmp_path: Path) -> None:
    inner = agent.request(["sleep", "300"])
    request = tmp_path / "request"
    request.write_text(json.dumps(inner))
    go = tmp_path / "go"
    command = " ".join(f"'{word}'" for word in [*agent.argv, "start"])
    outer = agent.shell(f"{command} < {request}; while [ ! -e {go} ]; do sleep 0.05; done")
    run = inner["run_id"]
    leader = agent.running(run)
    os.kill(agent.supervisor(run), signal.SIGKILL)
    until(lambda: not agent.evidence(run)["supervised"])
    go.touch()
    assert agent.ended(outer)["exit_code"] == 0
    assert runs(leader)
    seen = agent.evidence(run)
    assert (seen["alive"], seen["supervised"], seen["exit"]) == (True, False, None)


def test_a_hook_may_launch_a_run(agent: Agent, tmp_path: Path) -> None:
    following = agent.request(["sh", "-c", "echo next"])
    request = tmp_path / "request"
    request.write_text(json.dumps(following))
    command = " ".join(f"'{word}'" for word in [*agent.argv, "start"])
    run = agent.shell("exit 0", on_exit=["sh", "-c", f"{command} < {request}"])
    agent.ended(run)
    assert agent.ended(following["run_id"])["exit_code"] == 0


def test_a_terminal_gives_the_job_one_and_keeps_its_bytes(agent: Agent) -> None:
    program = """
import os, sys
print(os.isatty(1), os.isatty(2), os.isatty(0), tuple(os.get_terminal_size(1)))
print("control", os.open("/dev/tty", os.O_RDWR) > 2)
sys.stdout.write("x\\r50%\\r100%\\n")
sys.stderr.write("err\\n")
os.write(1, bytes(range(256)).replace(b"\\n", b""))
"""
    run = agent.script(program, pty=True)
    assert agent.ended(run)["exit_code"] == 0
    log = agent.log(run)
    assert log.startswith(b"True True False (120, 40)\ncontrol True\nx\r50%\r100%\n")
    assert bytes(range(256)).replace(b"\n", b"") in log


def test_a_terminal_loses_nothing_of_much_output(agent: Agent) -> None:
    run = agent.shell("seq 1 200000", pty=True)
    assert agent.ended(run)["exit_code"] == 0
    expected = subprocess.run(["seq", "1", "200000"], stdout=subprocess.PIPE, check=True).stdout
    assert agent.log(run) == expected


def test_a_job_with_a_terminal_is_hung_up_with_its_supervisor(agent: Agent) -> None:
    run = agent.start(sys.executable, "-c", "import time; time.sleep(300)", pty=True)
    leader = agent.running(run)
    os.kill(agent.supervisor(run), signal.SIGKILL)
    until(lambda: not runs(leader), "the job to be hung up")
