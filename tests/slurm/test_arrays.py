"""Job arrays on a real cluster: one submission, many runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.services.slurm import Cluster, cluster
from tests.slurm.test_backend import Lab

from traindeck.backends.base import (
    ArrayTask,
    BackendError,
    JobRef,
    Plan,
    State,
    UsageError,
    read_indices,
    task_id,
)


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture
async def lab(slurm: Cluster, tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(slurm, tmp_path / "root")
    yield made
    slurm.run("scancel", "--user=root", check=False)
    await made.backend.aclose()


async def plans(lab: Lab, indices: str, *words: str, **changes: Any) -> list[Plan]:
    """The plans of an array, as the console makes them."""
    spec = lab.spec(*words, **changes)
    found = []
    facts = None
    for index in read_indices(indices).numbers:
        mine = replace(
            spec,
            run_id=task_id(spec.run_id[:8], index),
            array=ArrayTask(index=index, indices=indices),
        )
        facts = facts or await lab.backend.survey(mine)
        found.append(lab.backend.plan(mine, facts))
    return found


async def test_an_array_is_one_submission_and_a_run_for_each_task(lab: Lab) -> None:
    made = await plans(
        lab, "0-3", "env:TRAINDECK_ARRAY_INDEX", "env:SLURM_ARRAY_TASK_ID", "env:SLURM_ARRAY_JOB_ID"
    )
    refs = await lab.backend.submit_array(made)
    array = refs[0].native_id.partition("_")[0]
    assert [ref.native_id for ref in refs] == [f"{array}_{n}" for n in range(4)]
    for number, ref in enumerate(refs):
        assert (await lab.until(ref)).state is State.SUCCEEDED
        said = f"TRAINDECK_ARRAY_INDEX={number}\nSLURM_ARRAY_TASK_ID={number}\n"
        assert await lab.log(ref) == f"{said}SLURM_ARRAY_JOB_ID={array}\n".encode()
    assert sorted(await lab.another().find([(r.run_id, 0) for r in refs]), key=str) == sorted(
        refs, key=str
    )
