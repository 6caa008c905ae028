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
    plan_digest,
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
    other = lab.another()
    found = await other.find([(ref.run_id, 0) for ref in refs])
    await other.aclose()
    assert {ref.run_id: ref for ref in found} == {ref.run_id: ref for ref in refs}


def named(lab: Lab, ref: JobRef) -> list[str]:
    """The tasks that Slurm lists of the array of a run."""
    asked = ("squeue", "-r", "-h", "-t", "all", f"--name=td-{ref.run_id[:8]}-array", "-o", "%i")
    return sorted(lab.slurm.run(*asked).stdout.split())


async def test_a_task_that_fails_fails_alone_and_is_tried_again_alone(lab: Lab) -> None:
    script = (
        'echo "$TRAINDECK_RUN task $TRAINDECK_ARRAY_INDEX $SLURM_ARRAY_TASK_ID"; '
        '[ "$TRAINDECK_ARRAY_INDEX" != 2 ] || exit 3'
    )
    made = await plans(lab, "1-3", argv=("sh", "-c", script))
    refs = await lab.backend.submit_array(made)
    ends = [await lab.until(ref) for ref in refs]
    assert [(end.state, end.exit_code) for end in ends] == [
        (State.SUCCEEDED, 0),
        (State.FAILED, 3),
        (State.SUCCEEDED, 0),
    ]
    failed = made[1].spec
    again = replace(made[1], spec=replace(failed, attempt=1), files={}, body=None)
    retried = await lab.backend.submit(replace(again, digest=plan_digest(again)))
    assert (await lab.until(retried, attempt=1)).exit_code == 3
    assert await lab.log(retried) == f"{failed.run_id}/1 task 2 2\n".encode()
    assert [(await lab.status(ref)).attempt for ref in refs] == [0, 1, 0]


async def test_one_task_is_stopped_whether_it_waits_or_runs(lab: Lab) -> None:
    refs = await lab.backend.submit_array(await plans(lab, "0-4%2", "out:up", "hold"))
    for ref in refs[:2]:
        await lab.said(ref, "up")
    waits = await lab.until(refs[4], State.QUEUED)
    assert waits.reason == "waits for other tasks of its array: so many may run at once"
    array = refs[0].native_id.partition("_")[0]
    await lab.backend.cancel(refs[3])
    assert (await lab.until(refs[3])).state is State.CANCELLED
    await lab.backend.cancel(refs[0])
    assert (await lab.until(refs[0])).state is State.CANCELLED
    await lab.said(refs[2], "up")
    others = [await lab.status(ref) for ref in (refs[1], refs[2], refs[4])]
    assert [one.state for one in others] == [State.RUNNING, State.RUNNING, State.QUEUED]
    assert [one.reason for one in others[:2]] == ["", ""]
    assert f"{array}_3" not in named(lab, refs[0])


async def test_a_task_that_waits_and_is_cancelled_by_hand_is_cancelled_not_lost(lab: Lab) -> None:
    refs = await lab.backend.submit_array(await plans(lab, "0-2%1", "out:up", "hold"))
    await lab.said(refs[0], "up")
    lab.slurm.run("scancel", refs[2].native_id)
    ended = await lab.until(refs[2])
    assert (ended.state, ended.reason) == (
        State.CANCELLED,
        "cancelled in Slurm before it started",
    )
    assert (await lab.status(refs[1])).state is State.QUEUED


async def test_a_task_that_is_requeued_is_an_attempt_of_its_run(lab: Lab) -> None:
    refs = await lab.backend.submit_array(await plans(lab, "0-2%2", "out:up", "hold"))
    for ref in refs[:2]:
        await lab.said(ref, "up")
    lab.slurm.run("scontrol", "requeue", refs[1].native_id)
    await lab.said(refs[2], "up")
    assert (await lab.status(refs[1])).state is State.QUEUED  # one of those that wait again
    await lab.backend.cancel(refs[0])
    await asyncio.to_thread(lab.slurm.hurry, refs[1].native_id)
    assert (await lab.until(refs[1], State.RUNNING, attempt=1)).attempt == 1
    await lab.backend.cancel(refs[1])
    assert (await lab.until(refs[1], attempt=1)).state is State.CANCELLED
    assert (await lab.status(refs[2])).attempt == 0


async def test_an_array_whose_number_was_never_heard_is_found_and_not_sent_twice(lab: Lab) -> None:
    """Whoever submitted it was killed after sbatch, before anything of its answer was written."""
    made = await plans(lab, "0-3%2", "out:up", "hold")
    refs = await lab.backend.submit_array(made)
    for ref in refs:
        path = lab.directory(ref) / "attempts/0/queued.json"
        words = json.loads(path.read_text())
        path.write_text(json.dumps({**words, "id": None, "pid": 999_999_999}))
    keys = [(ref.run_id, 0) for ref in refs]
    assert {ref.run_id: ref for ref in await lab.backend.find(keys)} == {
        ref.run_id: ref for ref in refs
    }
    assert await lab.backend.submit_array(made) == refs
    assert len(named(lab, refs[0])) == 4
    lab.slurm.run("scancel", refs[3].native_id)
    for ref in refs[:2]:
        await lab.said(ref, "up")
        await lab.backend.cancel(ref)
    assert (await lab.until(refs[2], State.RUNNING)).state is State.RUNNING


async def test_an_array_that_sbatch_refuses_leaves_nothing(lab: Lab) -> None:
    made = await plans(lab, "0-3", "out:x", options={"constraint": "no-such-feature"})
    with pytest.raises(BackendError, match=r"^sbatch refused: .*Invalid feature specification\.$"):
        await lab.backend.submit_array(made)
    assert list((lab.root / "runs").glob("[0-9a-z]*")) == []
    assert await lab.backend.find([(plan.spec.run_id, 0) for plan in made]) == []


async def test_an_array_that_is_larger_than_the_cluster_takes_is_refused(lab: Lab) -> None:
    with pytest.raises(UsageError, match=r"takes indices up to 1,000 \(its MaxArraySize is 1,001"):
        await plans(lab, "5,1001", "out:x")
    lone = (await plans(lab, "0-1", "out:x"))[0]
    with pytest.raises(BackendError, match="an array's"):
        await lab.backend.submit(lone)


async def test_an_array_submitted_by_hand_is_listed_read_and_cancelled(lab: Lab) -> None:
    output = f"--output={lab.slurm.folder}/log/%A_%a.out"
    script = "echo task $SLURM_ARRAY_TASK_ID; exec sleep 100"
    array = lab.slurm.sbatch(script, "--array=3-9%2", output)
    lab.slurm.reaches(f"{array}_3", "RUNNING")
    found = {ref.native_id: ref for ref in await lab.backend.list_foreign()}
    assert {f"{array}_3", f"{array}_[*]"} <= set(found)
    await lab.said(found[f"{array}_3"], "task 3\n")
    for name in (f"{array}_3", f"{array}_[*]"):
        await lab.backend.cancel(found[name])
        assert (await lab.until(found[name])).state in (State.CANCELLED, State.LOST)
