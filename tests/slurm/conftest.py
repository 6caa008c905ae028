"""One real cluster for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
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
