"""One real cluster for all tests of this folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.payload.harness import Agent, installed
from tests.services.slurm import Cluster, cluster


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A cluster of two nodes with four fake GPUs each."""
    with cluster() as made:
        yield made


@pytest.fixture(autouse=True)
def no_job_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Cancel what a test left in the cluster."""
    yield
    if "slurm" in request.fixturenames:
        made: Cluster = request.getfixturevalue("slurm")
        made.run("scancel", "--user=root", check=False)


class Place:
    """The agent in a root of its own, and the cluster that runs its batch steps."""

    def __init__(self, agent: Agent, slurm: Cluster) -> None:
        self.agent = agent
        self.slurm = slurm

    def prepare(self, *argv: str, **options: Any) -> str:
        """A run directory with nothing claimed in it; the options are those of `Agent.request`."""
        request = self.agent.request(argv, **options)
        self.agent.call("prepare", **request)
        return str(request["run_id"])

    def submit(self, run: str, *options: str, attempt: int = 0) -> str:
        """Submit a prepared run as the console does; returns Slurm's id of the job."""
        line = shlex.join([*self.agent.argv, "batch", run, str(attempt), "5"])
        output = f"--output={self.agent.directory(run, None)}/slurm-%j.out"
        options = ("--open-mode=append", "--chdir=/", output, "--export=NIL", *options)
        return self.slurm.sbatch(f"exec {line}", *options)

    def shell(self, script: str, *options: str, **more: Any) -> tuple[str, str]:
        """Submit a shell script: (run id, job)."""
        run = self.prepare("sh", "-c", script, **more)
        return run, self.submit(run, *options)

    def said(self, run: str, job: str) -> str:
        """What the batch step itself printed, and slurmstepd."""
        return (self.agent.directory(run, None) / f"slurm-{job}.out").read_text()


@pytest.fixture
def place(slurm: Cluster, tmp_path: Path) -> Iterator[Place]:
    """See Place. What is left of the test's jobs is cancelled before its root goes."""
    with installed(tmp_path / "root") as agent:
        yield Place(agent, slurm)
        slurm.run("scancel", "--user=root", check=False)
