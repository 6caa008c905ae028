"""Records what a real cluster prints, for test_parsers.py: `python -m tests.slurm.record FOLDER`.

The files of data/22.05 were made with it on Debian's Slurm, those of the other versions by hand
(data/README.md).
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.services import slurmdbd
from tests.services.slurm import Cluster, cluster, until

from traindeck.backends.slurm import commands

ENVIRONMENT = dict(commands.ENVIRONMENT)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with cluster(rest=True) as slurm:
        running = jobs(slurm)
        asked = {
            "squeue": commands.my_jobs(),
            "waiting": commands.waiting_jobs(),
            "config": commands.CONFIG,
            "partitions": commands.PARTITIONS,
            "reservations": commands.RESERVATIONS,
            "nodes": commands.NODES,
            "job": commands.show_job(running),
        }
        for name, argv in asked.items():
            said = slurm.run(*argv, env=ENVIRONMENT).stdout
            said = said.replace(str(slurm.folder), "/srv/slurm").replace(str(Path.cwd()), "/home/u")
            (folder / f"{name}.txt").write_text(re.sub(r"[ \t]+$", "", said, flags=re.M))
        record_rest(folder, slurm, running)
    with cluster(accounting=True, cpus=16) as slurm:
        record_accounting(folder.with_name(f"{folder.name}-accounting"), slurm)


def record_accounting(folder: Path, slurm: Cluster) -> None:
    """What a cluster with accounts says of them, of who waits for their limits, and of ends."""
    folder.mkdir(exist_ok=True)
    slurm.sacctmgr(slurmdbd.EXAMPLE)
    for line in (
        "ReservationName=theirs Users=nobody StartTime=now Nodes=n1",
        "ReservationName=later Accounts=ml StartTime=now+1hour Nodes=n0",
        "ReservationName=open Accounts=-other StartTime=now+3hours Nodes=n0",
    ):
        made = ("scontrol", "create", "reservation", *line.split(), "Duration=10")
        slurm.run(*made, "Flags=IGNORE_JOBS")
    accounting_jobs(slurm)
    asked = {
        "squeue": commands.my_jobs(),
        "reservations": commands.RESERVATIONS,
        "config": commands.CONFIG,
        "sacct": commands.accounting([str(number) for number in range(1, 40)]),
    }
    names = {"accounts": "associations", "all accounts": "accounts", "QOS": "qos"}
    for what, argv in commands.accounting_of("root", "test").items():
        asked[names.get(what, "user")] = argv
    for name, argv in asked.items():
        said = slurm.run(*argv, env=ENVIRONMENT).stdout
        said = said.replace(str(slurm.folder), "/srv/slurm").replace(str(Path.cwd()), "/home/u")
        (folder / f"{name}.txt").write_text(re.sub(r"[ \t]+$", "", said, flags=re.M))


def accounting_jobs(slurm: Cluster) -> None:
    """Jobs with as many ends, and reasons to wait, as accounts and time bring."""
    ml, high = ("--account=ml", "--time=5"), ("--account=ml", "--qos=high", "--time=5")
    ends = {
        slurm.sbatch("exit 0", "--time=5"): "COMPLETED",
        slurm.sbatch("exit 7", "--time=5", "--job-name=a | b"): "FAILED",
        slurm.sbatch("kill -SEGV $$", "--time=5"): "FAILED",
        slurm.sbatch("scancel $SLURM_JOB_ID; sleep 60", "--time=5"): "CANCELLED",
        slurm.sbatch("sleep 200", "--time=1"): "TIMEOUT",
        slurm.sbatch("exit $SLURM_ARRAY_TASK_ID", "--array=0-1", "--time=5"): "COMPLETED",
    }
    for job, state in ends.items():
        if state != "TIMEOUT":
            slurm.reaches(job, state)  # of an array its first task
    again = slurm.sbatch("sleep 300", "--time=5", "--job-name=td-0123456789ab-0")
    dies = slurm.sbatch("sleep 300", "--time=5", "--no-requeue")
    slurm.sbatch("sleep 300", *high)
    slurm.sbatch("sleep 300", *high)
    last = slurm.sbatch("sleep 300", *ml, "--gres=gpu:2")
    slurm.sbatch("sleep 300", *ml, "--gres=gpu:2")
    slurm.sbatch("sleep 300", "--account=ml", "--qos=high", "--time=2:00:00")
    slurm.sbatch("sleep 300", *ml, "--reservation=later")
    slurm.sbatch("sleep 300", "--time=5", "--nodelist=n1")
    slurm.sbatch("sleep 300", "--time=5", "--begin=now+1hour")
    held = slurm.sbatch("sleep 300", "--time=5", "--hold")
    slurm.run("scontrol", "hold", held)
    waits = slurm.sbatch("sleep 300", "--time=5", "--begin=now+1hour")
    slurm.run("scancel", waits)
    slurm.reaches(last, "RUNNING")
    slurm.run("scontrol", "requeue", again)
    timeout = next(job for job, state in ends.items() if state == "TIMEOUT")
    until(lambda: slurm.state(timeout) == "TIMEOUT", "a time limit to pass", patience=150)
    slurm.run("scontrol", "update", "NodeName=n0", "State=DOWN", "Reason=burnt")
    slurm.reaches(dies, "NODE_FAIL")


def record_rest(folder: Path, slurm: Cluster, running: str) -> None:
    """What slurmrestd answers to the same questions."""
    token = slurm.token()
    paths = {
        **{what: f"slurm/v0.0.38/{what}" for what in ("jobs", "partitions", "nodes")},
        "reservations": "slurm/v0.0.38/reservations",
        "job": f"slurm/v0.0.38/job/{running}",
        "unknown": "slurm/v0.0.38/job/999",
    }
    for name, path in paths.items():
        asked = urllib.request.Request(f"{slurm.rest_url}/{path}")
        asked.add_header("X-SLURM-USER-NAME", "root")
        asked.add_header("X-SLURM-USER-TOKEN", token)
        try:
            with urllib.request.urlopen(asked) as answer:
                said = answer.read().decode()
        except urllib.error.HTTPError as error:
            said = error.read().decode()
        said = said.replace(str(slurm.folder).replace("/", "\\/"), "/srv/slurm")
        said = said.replace(str(slurm.folder), "/srv/slurm").replace(str(Path.cwd()), "/home/u")
        words = json.loads(said.replace(str(Path.cwd()).replace("/", "\\/"), "/home/u"))
        (folder / f"rest-{name}.json").write_text(json.dumps(words, indent=1) + "\n")


def jobs(slurm: Cluster) -> str:
    """Jobs in as many states as there are; the number of one that runs."""
    running = slurm.sbatch("sleep 100", "--gres=gpu:3", "--job-name=td-0123456789ab-0", "--time=60")
    stopped = slurm.sbatch("sleep 100")
    slurm.reaches(stopped, "RUNNING")
    slurm.run("scancel", stopped)
    slurm.reaches(stopped, "CANCELLED")
    array = slurm.sbatch("exit $SLURM_ARRAY_TASK_ID", "--array=0-2")
    failed = slurm.sbatch("exit 7")
    slurm.sbatch("kill -SEGV $$")
    slurm.reaches(failed, "FAILED")
    slurm.reaches(array, "COMPLETED", "FAILED")
    slurm.sbatch("sleep 9", "-N2", "--gres=gpu:h100:4", "--job-name=big | job", "--time=2:00:00")
    slurm.sbatch("sleep 1", f"--dependency=afterok:{running}")
    slurm.sbatch("sleep 1", f"--dependency=afterok:{failed}")
    slurm.sbatch("sleep 50", "--array=1-4%1", "--begin=now+1hour")
    slurm.sbatch("sleep 1", "--hold")
    slurm.sbatch("sleep 1", "--partition=short", "--time=20")
    slurm.run("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=bad fan | on GPU 2")
    slurm.sbatch("sleep 1", "--nodelist=n1")
    slurm.sbatch("sleep 1", "--gres=gpu:2", "--nodelist=n0")
    slurm.run(
        *("scontrol", "create", "reservation", "ReservationName=weekend", "Users=root"),
        *("StartTime=now+1hour", "Duration=2:00:00", "Nodes=n0"),
    )

    def settled() -> bool:
        said = slurm.run(*commands.my_jobs(), env=ENVIRONMENT).stdout
        return (
            "ReqNodeNotAvail" in said
            and "DependencyNeverSatisfied" in said
            and "|Priority|" in said
        )

    until(settled, "the scheduler to have looked at all of them")
    return running


if __name__ == "__main__":
    main(Path(sys.argv[1]))
