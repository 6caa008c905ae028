"""A cluster as a user of the command line sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.services.slurm import Cluster, cluster, until

Traindeck = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture
def traindeck(slurm: Cluster, tmp_path: Path) -> Iterator[Traindeck]:
    """The command, in a home of its own in whose settings the cluster is called `lab`."""
    folders = {f"XDG_{name}_HOME": str(tmp_path / name) for name in ("CONFIG", "STATE", "CACHE")}
    env = {**slurm.env, "HOME": str(tmp_path), **folders}

    def run(
        *words: str, code: int = 0, more: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "traindeck.console.cli.main", *words]
        done = subprocess.run(
            argv,
            env={**env, **(more or {})},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

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
