"""Our agent as the batch step of real Slurm jobs: started once, ended in every way that Slurm has,
started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.payload.harness import until
from tests.services.slurm import cluster
from tests.slurm.conftest import Place

from traindeck.backends.slurm import script

SAVES = """
import os, signal, sys, time
def save(number, frame):
    print("told", flush=True)
    time.sleep(0.3)
    print("saved", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, save)
print("ready", os.environ["TRAINDECK_RUN"], flush=True)
time.sleep(300)
"""


def saving(place: Place, *options: str) -> tuple[str, str]:
    """A running job that takes its time to save when it is told to end: (run, job)."""
    run = place.prepare(sys.executable, "-c", SAVES)
    job = place.submit(run, *options)
    place.agent.said(run, b"ready")
    return run, job


def test_a_job_runs_with_its_gpus_and_slurm_has_its_exit_code(place: Place) -> None:
    run, job = place.shell('echo "$CUDA_VISIBLE_DEVICES $SLURM_JOB_ID"; exit 7', "--gres=gpu:2")
    assert place.slurm.reaches(job, "FAILED")["ExitCode"] == "7:0"
    assert place.agent.log(run) == f"0,1 {job}\n".encode()
    record = place.agent.ended(run)
    assert (record["cause"], record["exit_code"]) == ("self", 7)
    assert place.said(run, job) == ""
    scheduler = place.agent.evidence(run)["scheduler"]
    assert (scheduler["job_id"], scheduler["partition"]) == (job, "gpu")
    assert scheduler["nodes"] in ("n0", "n1")


def test_a_signal_is_slurms_too(place: Place) -> None:
    _, job = place.shell("kill -TERM $$")
    assert place.slurm.reaches(job, "FAILED")["ExitCode"] == "0:15"


def test_two_jobs_for_one_attempt_run_once(place: Place) -> None:
    run, job = place.shell("echo ran; exec sleep 300")
    place.agent.said(run, b"ran")
    again = place.submit(run)
    assert place.slurm.reaches(again, "FAILED")["ExitCode"] == "73:0"
    assert f"is claimed by Slurm job {job} on" in place.said(run, again)
    assert place.agent.log(run) == b"ran\n"
    place.slurm.run("scancel", job)


def test_scancel_ends_it_and_it_saves_once(place: Place) -> None:
    run, job = saving(place)
    place.slurm.run("scancel", job)
    record = place.agent.ended(run)
    assert place.agent.log(run).endswith(b"told\nsaved\n")
    assert place.agent.log(run).count(b"told") == 1
    assert (record["cause"], record["word"], record["exit_code"]) == ("outside", "cancelled", 3)
    assert record["reason"] == f"Slurm job {job} was cancelled"
    place.slurm.reaches(job, "CANCELLED")


def test_a_signal_for_the_batch_step_alone_is_passed_on(place: Place) -> None:
    run, job = saving(place)
    place.slurm.run("scancel", "--signal=TERM", "--batch", job)
    record = place.agent.ended(run)
    assert place.agent.log(run).count(b"told\nsaved\n") == 1
    assert (record["cause"], record["exit_code"]) == ("outside", 3)


def test_our_own_stop_is_a_cancel(place: Place) -> None:
    run, job = saving(place)
    place.agent.call("cancel", run_id=run, attempt=0, grace=20.0, by="test")
    assert place.agent.ended(run)["cause"] == "cancel"
    assert place.slurm.reaches(job, "FAILED", "COMPLETED")["ExitCode"] == "3:0"


def test_a_requeued_job_is_the_next_attempt(place: Place) -> None:
    run, job = saving(place, "--requeue")
    place.slurm.run("scontrol", "requeue", job)
    until(lambda: place.agent.evidence(run)["exit"], "the end of the first attempt")
    record = place.agent.evidence(run)["exit"]
    assert (record["cause"], record.get("word")) == ("outside", None)
    assert record["reason"] == f"Slurm requeued job {job}"
    place.slurm.reaches(job, "PENDING")
    place.slurm.hurry(job)
    place.agent.said(run, f"ready {run}/1".encode(), attempt=1)
    assert place.agent.evidence(run)["scheduler"]["restart_count"] == 1
    assert place.agent.log(run).count(b"told") == 1
    place.slurm.run("scancel", job)
    assert place.agent.ended(run)["word"] == "cancelled"


def test_a_signal_that_comes_before_the_agent_runs_does_not_end_the_batch_step(
    tmp_path: Path,
) -> None:
    batch = tmp_path / "batch.sh"
    batch.write_bytes(script.TEXT)
    batch.chmod(0o700)
    told = (
        "import os, signal\n"
        "for number in signal.SIGUSR1, signal.SIGUSR2: os.kill(os.getpid(), number)\n"
        "print('on')"
    )
    done = subprocess.run([batch, sys.executable, "-c", told], capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (b"on\n", 0)


@pytest.mark.parametrize("traps", ["'echo warned' USR2", "'echo no' USR1; trap 'echo warned' USR2",
                                   "'echo warned' USR1"], ids=["USR2", "both", "USR1"])  # fmt: skip
def test_the_warning_reaches_who_listens(place: Place, traps: str) -> None:
    script = f"trap {traps}; echo ready; while :; do sleep 0.05; done"
    run, job = place.shell(script)
    place.agent.said(run, b"ready")
    place.slurm.run("scancel", "--signal=USR2", "--batch", job)
    place.agent.said(run, b"warned")
    until(lambda: place.agent.happened(run, "warned"), "the event")
    assert b"no" not in place.agent.log(run)
    place.slurm.run("scancel", job)
    place.agent.ended(run)


def test_a_step_that_ignores_everything_still_leaves_its_record(place: Place) -> None:
    run, job = place.shell("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    place.agent.said(run, b"ready")
    place.slurm.run("scancel", job)
    record = place.agent.ended(run)
    assert (record["cause"], record["signal"]) == ("outside", signal.SIGKILL)
    place.slurm.reaches(job, "CANCELLED")


def test_a_job_in_an_array_knows_its_task(place: Place) -> None:
    run = place.prepare("sh", "-c", "echo task $SLURM_ARRAY_TASK_ID")
    job = place.submit(run, "--array=4-4")
    place.agent.ended(run)
    assert place.agent.log(run) == b"task 4\n"
    scheduler = place.agent.evidence(run)["scheduler"]
    assert (scheduler["array_task"], scheduler["job_id"]) == (4, job)


def test_a_secret_reaches_the_job_and_is_nowhere_else(place: Place) -> None:
    run = place.prepare("sh", "-c", 'echo "${#TOKEN}"', secrets={"TOKEN": "hunter2"})
    job = place.submit(run)
    place.agent.ended(run)
    place.slurm.reaches(job, "COMPLETED")
    assert place.agent.log(run) == b"7\n"
    texts = [place.slurm.run("scontrol", "show", "job", job).stdout]
    for folder in (place.agent.directory(run, None), place.slurm.folder):
        for path in folder.rglob("*"):
            if path.is_file():
                texts.append(path.read_text("latin-1"))
    assert not any("hunter2" in text for text in texts)


def test_a_node_that_died_costs_an_attempt_and_not_the_run(tmp_path: Path) -> None:
    from tests.payload.harness import installed

    settings = {"SlurmdTimeout": "2", "SchedulerParameters": "sched_interval=1,batch_sched_delay=0"}
    with cluster(settings=settings) as made, installed(tmp_path / "root") as agent:
        place = Place(agent, made)
        run, job = place.shell("echo $SLURMD_NODENAME; exec sleep 300", "--requeue")
        agent.said(run, b"n")
        node = agent.log(run).decode().strip()
        steps = made._steps()
        made.stop_node(node, signal.SIGKILL)
        daemons = {process.pid for process in made._running.values()}
        # All at once, as a node dies: none tells the controller how another ended.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in {*steps, agent.leader(run)} - daemons:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        made.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        until(lambda: made.state(job) in ("PENDING", "RUNNING"), "the job to be requeued")
        if made.state(job) == "PENDING":
            made.hurry(job)
        agent.said(run, b"n", attempt=1)
        assert agent.log(run, 1).decode().strip() != node
        assert agent.evidence(run)["attempt"] == 1


def test_a_preempted_job_is_taken_back(tmp_path: Path) -> None:
    from tests.payload.harness import installed

    settings = {"PreemptMode": "REQUEUE", "PreemptType": "preempt/partition_prio"}
    partitions = {
        "gpu": "Nodes=ALL Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE",
        "high": "Nodes=ALL State=UP PriorityTier=10 PreemptMode=OFF",
    }
    with (
        cluster(nodes=1, settings=settings, partitions=partitions) as made,
        installed(tmp_path / "root") as agent,
    ):
        place = Place(agent, made)
        run, job = saving(place, "--requeue")
        made.sbatch("sleep 1", "--partition=high", "--exclusive")
        until(lambda: agent.evidence(run)["exit"], "the end of the first attempt")
        record = agent.evidence(run)["exit"]
        assert (record["cause"], record["word"]) == ("outside", "preempted")
        assert record["reason"] == f"Slurm preempted job {job}"
        assert agent.log(run).count(b"told") == 1
        made.reaches(job, "PENDING")
        made.hurry(job)
        agent.said(run, b"ready", attempt=1)


@pytest.mark.slow
def test_the_limit_is_a_timeout_and_is_told_of_before(place: Place) -> None:
    script = "trap 'echo warned' USR2; echo ready; while :; do sleep 0.1; done"
    # Slurm may be half a minute early: not at once, where it would find no batch step to tell.
    run, job = place.shell(script, "--time=1", "--signal=B:USR2@20")
    record = place.agent.ended(run, seconds=240)
    assert (record["cause"], record["word"]) == ("timeout", "timeout")
    assert record["reason"] == f"the time limit of Slurm job {job} was over"
    assert b"warned" in place.agent.log(run)
    place.slurm.reaches(job, "TIMEOUT")
