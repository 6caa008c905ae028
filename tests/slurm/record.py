"""Records what a real cluster prints, for test_parsers.py: `python -m tests.slurm.record FOLDER`.

The files of data/22.05 were made with it on Debian's Slurm, those of the other versions by hand
(data/README.md).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.services.slurm import Cluster, cluster, until

from traindeck.backends.slurm import commands

ENVIRONMENT = dict(commands.ENVIRONMENT)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with cluster() as slurm:
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
