"""Many runs handed over at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.conformance.conftest import Suite

from traindeck.backends.base import Arrays, ArrayTask, BackendError, Plan, State, task_id


def offered(suite: Suite) -> Arrays:
    if not isinstance(suite.backend, Arrays):
        pytest.skip("the backend has no arrays")
    return suite.backend


async def plans(suite: Suite, *words: str) -> list[Plan]:
    spec = suite.spec(*words)
    made = []
    for index in (2, 5):
        task = ArrayTask(index=index, indices="2,5")
        mine = replace(spec, run_id=task_id(spec.run_id[:8], index), array=task)
        made.append(await suite.plan_or_skip(mine, "arrays"))
    return made


async def test_an_array_is_submitted_once_and_each_task_is_a_run(suite: Suite) -> None:
    offered(suite)
    made = await plans(suite, "env:TRAINDECK_ARRAY_INDEX")
    others = [suite.another(), suite.another()]
    asked = [one.submit_array(made) for one in (suite.backend, *others) if isinstance(one, Arrays)]
    first, *rest = await asyncio.gather(*asked)
    assert all(refs == first for refs in rest)
    assert [ref.run_id for ref in first] == [plan.spec.run_id for plan in made]
    for index, ref in zip((2, 5), first, strict=True):
        assert (await suite.until(ref)).state is State.SUCCEEDED
        assert await suite.log(ref) == f"TRAINDECK_ARRAY_INDEX={index}\n".encode()
    keys = [(ref.run_id, 0) for ref in first]
    assert set(await suite.another().find(keys)) == set(first)


async def test_plans_that_are_not_of_one_array_are_refused(suite: Suite) -> None:
    backend = offered(suite)
    made = await plans(suite, "out:x")
    other = await plans(suite, "out:x")
    for wrong in ([made[0], other[1]], [made[0], made[0]]):
        with pytest.raises(BackendError):
            await backend.submit_array(wrong)
    with pytest.raises(BackendError):
        await suite.backend.submit(made[0])
    assert await suite.backend.find([(plan.spec.run_id, 0) for plan in (*made, *other)]) == []
