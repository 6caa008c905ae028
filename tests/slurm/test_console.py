"""A cluster as a user of the command line sees it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.services.slurm import Cluster, cluster, until
from tests.services.sshd import Box, Sshd

from traindeck.console.store.index import Index

COMMAND = (sys.executable, "-m", "traindeck.console.cli.main")


class Traindeck:
    """The command, in a home of its own in whose settings the cluster is called `lab`."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.env = env
        self._folder = folder

    def __call__(
        self, *words: str, code: int = 0, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        argv = [*COMMAND, *words]
        done = subprocess.run(
            argv,
            env={**self.env, **(more or {})},
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin a command."""
        return subprocess.Popen(
            [*COMMAND, *words], env=self.env, cwd=self._folder, stdout=subprocess.DEVNULL
        )


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture
def traindeck(slurm: Cluster, tmp_path: Path) -> Iterator[Traindeck]:
    folders = {f"XDG_{name}_HOME": str(tmp_path / name) for name in ("CONFIG", "STATE", "CACHE")}
    run = Traindeck({**slurm.env, "HOME": str(tmp_path), **folders}, tmp_path)
    run("backends", "add", "slurm", "lab", "--local")
    yield run
    slurm.run("scancel", "--user=root", check=False)


def test_a_run_goes_to_the_cluster_and_comes_back(traindeck: Traindeck) -> None:
    script = "import os; print('on', os.environ['CUDA_VISIBLE_DEVICES'])"
    words = ("run", "--on", "lab", "--gpus", "2", "-q", "--", sys.executable, "-c", script)
    run = traindeck(*words).stdout.strip()
    assert traindeck("logs", "-f", run).stdout == "on 0,1\n"
    traindeck("wait", run)
    shown = json.loads(traindeck("show", run, "--json").stdout)
    assert (shown["state"], shown["backend"], shown["gpus"]) == ("succeeded", "lab", 2)
    assert shown["native_id"].isdigit()


def test_a_run_that_was_requeued_is_read_and_stopped_while_it_waits(
    slurm: Cluster, traindeck: Traindeck
) -> None:
    words = ("run", "--on", "lab", "-q", "--", "sh", "-c", "echo before; exec sleep 300")
    run = traindeck(*words).stdout.strip()

    def shown() -> dict[str, Any]:
        return dict(json.loads(traindeck("show", run, "--json").stdout))

    until(lambda: traindeck("logs", run).stdout == "before\n", "its first line")
    slurm.run("scontrol", "requeue", str(shown()["native_id"]))
    until(lambda: shown()["state"] == "queued", "it to be requeued")
    read = traindeck("logs", run)
    assert read.stdout == "before\n"
    assert "waits to start again. requeued: waits" in read.stderr
    traindeck("stop", run)
    assert shown()["state"] == "cancelled"
    job = shown()["native_id"]
    traindeck("retry", run)
    until(lambda: shown()["state"] == "running", "its next attempt")
    first, second = list(shown()["attempts"])
    assert (first["reason"], second["state"]) == (f"Slurm requeued job {job}", "running")
    traindeck("stop", run)


def test_code_goes_along_as_it_was_at_the_launch(traindeck: Traindeck, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    subprocess.run(["git", "init", "-q", str(code)], check=True)
    (code / "model.py").write_text("WORD = 'then'\n")
    (code / "train.py").write_text("import model; print(model.WORD)\n")
    words = ("run", "--on", "lab", "--code", "snapshot", "--cwd", str(code), "-q")
    run = traindeck(*words, "--", sys.executable, "train.py").stdout.strip()
    (code / "model.py").write_text("WORD = 'now'\n")
    assert traindeck("logs", "-f", run).stdout == "then\n"


def test_what_the_cluster_has_not_is_said_with_what_it_has(traindeck: Traindeck) -> None:
    refused = traindeck("run", "--on", "lab", "--option", "partition=x", "--", "true", code=2)
    assert refused.stderr == ("traindeck: `lab` has no partition 'x'. There are: gpu, short.\n")
    refused = traindeck("run", "--on", "lab", "--option", "constraint=x", "--", "true", code=1)
    assert refused.stderr == (
        "traindeck: sbatch refused: Batch job submission failed: Invalid feature specification.\n"
    )
    assert json.loads(traindeck("ls", "--json").stdout) == []


def test_jobs_that_were_submitted_by_hand_are_listed_read_and_stopped(
    traindeck: Traindeck, slurm: Cluster
) -> None:
    number = slurm.sbatch("echo hello; exec sleep 100", "--job-name=by hand")
    slurm.reaches(number, "RUNNING")
    (job,) = json.loads(traindeck("ls", "--json").stdout)
    assert (job["id"], job["name"], job["foreign"]) == (f"lab:{number}", "by hand", True)
    until(lambda: traindeck("logs", job["id"]).stdout == "hello\n", "its log")
    shown = traindeck("show", job["id"])
    assert "submitted without Traindeck" in shown.stdout and shown.stderr == ""
    for verb in ("rm", "retry"):
        assert "was not started by Traindeck" in traindeck(verb, job["id"], code=2).stderr
    assert "--yes" in traindeck("stop", job["id"], code=2).stderr
    traindeck("stop", "--yes", job["id"])
    slurm.reaches(number, "CANCELLED")
    (job,) = json.loads(traindeck("ls", "--json").stdout)
    assert (job["state"], job["reason"]) == ("cancelled", "cancelled in Slurm")


def test_a_job_is_known_by_its_number_as_soon_as_it_was_submitted(
    traindeck: Traindeck, slurm: Cluster
) -> None:
    """However lately somebody has looked for such jobs."""
    traindeck("ls")
    number = slurm.sbatch("exec sleep 100", "--job-name=by hand")
    words = ("run", "--on", "lab", "--time", "5m", "-q", "--after", f"lab:{number}", "--", "true")
    run = traindeck(*words).stdout.strip()
    until(
        lambda: (
            json.loads(traindeck("show", run, "--json").stdout)["reason"]
            == f"waits for job {number}"
        ),
        "what it waits for",
    )
    other = slurm.sbatch("exec sleep 100", "--job-name=another")
    traindeck("stop", "--yes", f"lab:{other}")
    slurm.reaches(other, "CANCELLED")
    said = traindeck("show", "lab:99999", code=2).stderr
    assert "lab has no job 99999 of yours that waits or runs." in said
    job = json.loads(traindeck("show", run, "--json").stdout)["native_id"]
    assert "is the run" in traindeck("logs", f"lab:{job}", code=2).stderr


def test_a_job_that_was_submitted_by_hand_is_read_through_a_login_node(
    traindeck: Traindeck, slurm: Cluster, tmp_path: Path
) -> None:
    """Nothing of it is mirrored: it has no run. Without its place there is only what is listed."""
    with Sshd(tmp_path / "sshd", Box(env={"SLURM_CONF": slurm.env["SLURM_CONF"]})) as sshd:
        words = ("--via", "box0", "--option", f"ssh_config={sshd.config}")
        traindeck("backends", "add", "slurm", "far", *words)
        number = slurm.sbatch("echo hello; exec sleep 100", "--job-name=by hand")
        slurm.reaches(number, "RUNNING")
        job = f"far:{number}"
        until(lambda: job in traindeck("ls", "-q").stdout.split(), "it to be listed")
        until(lambda: traindeck("logs", job).stdout == "hello\n", "its log")
        shown = traindeck("show", job)
        assert "submitted without Traindeck" in shown.stdout and "hello" in shown.stdout
        assert "it has no run directory" in traindeck("pull", job, code=1).stderr
        sshd[0].stop()
        assert "refuses the connection" in traindeck("logs", job, code=1).stderr
        assert "by hand" in traindeck("show", job).stdout
    slurm.run("scancel", number)


def test_many_who_wait_ask_the_cluster_once_between_them(
    slurm: Cluster, traindeck: Traindeck, tmp_path: Path
) -> None:
    """By the cluster's own count of who asked it for jobs."""
    jobs = [slurm.sbatch("exec sleep 1000", "--hold") for _ in range(5)]
    traindeck("ls")
    index = Index.open(tmp_path / "STATE" / "traindeck" / "index.db")
    runs = [f"lab:{job}" for job in jobs]

    def looked() -> float:
        return min(at for at, _ in index.observed("lab").values())

    def asked() -> int:
        counts = re.findall(r"REQUEST_JOB\w*INFO\w*\s+\(\s*\d+\)\s+count:(\d+)", said())
        return sum(map(int, counts))

    def said() -> str:
        return slurm.run("sdiag").stdout

    waits = [traindeck.start("wait", run) for run in runs]
    until(lambda: set(index.wanted()) == set(runs), "all to wait")
    looks = []
    before = 0
    for _ in range(2):  # the first may still be of those who began
        at = looked()
        until(lambda at=at: looked() > at, "the next look that tells of all")
        before = before or asked()
        looks.append(looked())
    assert asked() - before <= len(looks), "one look is enough for all"
    for job in jobs:
        slurm.run("scancel", job)
    assert {wait.wait(60) for wait in waits} == {130}
    index.close()
