"""The cluster that the other tests stand on is a real one."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from tests.services.slurm import Cluster, cluster


def test_a_job_gets_the_gpus_it_asks_for(slurm: Cluster) -> None:
    job = slurm.sbatch('echo "gpus $CUDA_VISIBLE_DEVICES"', "--gres=gpu:2")
    slurm.reaches(job, "COMPLETED")
    assert slurm.output(job) == "gpus 0,1\n"


def test_two_nodes_run_one_job(slurm: Cluster) -> None:
    job = slurm.sbatch(
        "srun --ntasks-per-node=1 sh -c 'echo \"$SLURM_NODEID $SLURMD_NODENAME\"'", "--nodes=2"
    )
    slurm.reaches(job, "COMPLETED")
    assert sorted(slurm.output(job).splitlines()) == ["0 n0", "1 n1"]


def test_an_exit_code_is_known(slurm: Cluster) -> None:
    assert slurm.reaches(slurm.sbatch("exit 7"), "FAILED")["ExitCode"] == "7:0"


def test_a_requeued_job_can_be_hurried(slurm: Cluster) -> None:
    job = slurm.sbatch('echo "try ${SLURM_RESTART_COUNT:-0}"; sleep 300', "--open-mode=append")
    slurm.reaches(job, "RUNNING")
    slurm.run("scontrol", "requeue", job)
    slurm.reaches(job, "PENDING")
    slurm.hurry(job)
    assert slurm.reaches(job, "RUNNING")["Restarts"] == "1"


def test_another_cluster_beside_it_has_other_settings_and_leaves_nothing() -> None:
    with cluster(nodes=1, gpus=0, rest=True, settings={"KillWait": "17"}) as other:
        assert "KillWait                = 17" in other.run("scontrol", "show", "config").stdout
        job = other.sbatch("sleep 300")
        other.reaches(job, "RUNNING")
        asked = urllib.request.Request(
            f"{other.rest_url}/slurm/v0.0.38/jobs",
            headers={"X-SLURM-USER-NAME": "root", "X-SLURM-USER-TOKEN": other.token()},
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert [str(one["job_id"]) for one in json.load(answer)["jobs"]] == [job]
        other.stop_controller()
        other.start_controller()
        assert other.state(job) == "RUNNING"
        pids = [process.pid for process in other._running.values()]
        folder = other.folder
    assert not folder.exists()
    assert not other._steps()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
