"""What a run on a real cluster waits for: runs, jobs of others, and what is not there."""

from __future__ import annotations

import pytest
from tests.slurm.test_arrays import lab, plans, slurm
from tests.slurm.test_backend import Lab

from traindeck.backends.base import State, UsageError
from traindeck.backends.slurm import depends

__all__ = ["lab", "slurm"]


async def test_a_run_waits_for_a_job_that_was_submitted_by_hand(lab: Lab) -> None:
    job = lab.slurm.sbatch("exec sleep 100")
    lab.slurm.reaches(job, "RUNNING")
    ref = await lab.launch("out:x", after=(f"lab:{job}",))
    assert (await lab.until(ref, State.QUEUED)).reason == f"waits for job {job}"
    lab.slurm.run("scancel", job)
    ended = await lab.until(ref)
    assert (ended.state, ended.reason) == (
        State.CANCELLED,
        f"job {job}, which it waited for, did not succeed",
    )
    with pytest.raises(UsageError, match=f"Job {job}, .* did not succeed"):
        await lab.plan(lab.spec("out:x", after=(f"lab:{job}",)))
    anyway = await lab.launch("out:x", after=(f"lab:{job}",), after_any=True)
    assert (await lab.until(anyway)).state is State.SUCCEEDED


async def test_a_run_waits_for_one_task_of_an_array_and_is_called_so(lab: Lab) -> None:
    refs = await lab.backend.submit_array(await plans(lab, "0-1", "out:up", "hold"))
    await lab.said(refs[1], "up")
    plan = await lab.plan(lab.spec("out:x", after=(refs[1].run_id,)))
    assert plan.body is not None
    assert f"--dependency=afterok:{refs[1].native_id}" in plan.body["sbatch"]
    ref = await lab.backend.submit(plan)
    assert (await lab.until(ref, State.QUEUED)).reason == f"waits for run {refs[1].run_id}"
    await lab.backend.cancel(refs[1])
    assert (await lab.until(ref)).state is State.CANCELLED


async def test_what_nobody_knows_cannot_be_waited_for(lab: Lab) -> None:
    """Slurm takes a job that it does not know for one that is over, and starts at once."""
    before = set(lab.slurm.run("squeue", "-h", "-t", "all", "-o", "%i").stdout.split())
    for changes in (
        {"options": {"dependency": "afterok:99999"}},
        {"after": ("lab:99999",)},
    ):
        with pytest.raises(UsageError, match=r"`lab` knows no job 99999 \(any more\)"):
            await lab.plan(lab.spec("out:x", **changes))
    with pytest.raises(UsageError, match="expected Slurm's words, as afterok:123"):
        await lab.plan(lab.spec("out:x", options={"dependency": "afterok:calm-fox"}))
    after = set(lab.slurm.run("squeue", "-h", "-t", "all", "-o", "%i").stdout.split())
    assert after == before


async def test_a_run_and_a_job_by_number_are_waited_for_together(lab: Lab) -> None:
    job = lab.slurm.sbatch("true")
    first = await lab.launch("out:up", "hold")
    plan = await lab.plan(
        lab.spec("out:x", after=(first.run_id,), options={"dependency": f"afterany:{job}"})
    )
    assert plan.body is not None
    both = f"--dependency=afterok:{first.native_id},afterany:{job}"
    assert both in plan.body["sbatch"]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("afterok:1", True),
        ("afterok:1:2_3,afterany:4+10", True),
        ("afterok:1?afternotok:2", True),
        ("afterok:7_*", True),
        ("singleton", True),
        ("afterok", False),
        ("afterok:1,after:2?afterok:3", False),
        ("1", False),
        ("afterok:1;rm", False),
    ],
)
def test_a_dependency_is_in_slurms_own_words(text: str, good: bool) -> None:
    assert (depends.wrong(text) == "") is good
