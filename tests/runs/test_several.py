"""What is done to several runs at once."""

from __future__ import annotations

import asyncio

import pytest

from traindeck.backends.errors import Unreachable, UsageError
from traindeck.console.runs.controlling import AT_ONCE, each


async def test_a_place_that_does_not_answer_keeps_nobody_waiting() -> None:
    done = asyncio.Event()

    async def act(run: str) -> bool:
        if run == "far":
            await done.wait()
            raise Unreachable("box0 does not answer.")
        done.set()
        return True

    far, near = await each(["far", "near"], act)
    assert near is True
    assert isinstance(far, Unreachable) and far.what == "box0 does not answer."


async def test_what_came_of_each_run_is_in_the_order_in_which_they_were_given() -> None:
    names = [f"run-{number}" for number in range(3 * AT_ONCE)]
    at_work, most = 0, 0

    async def act(run: str) -> str:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        for _ in range(len(names) - names.index(run)):
            await asyncio.sleep(0)
        at_work -= 1
        return run

    assert await each(names, act) == names
    assert most == AT_ONCE


async def test_a_fault_that_is_none_of_a_persons_is_not_taken_for_an_answer() -> None:
    async def act(run: str) -> bool:
        if run == "broken":
            raise ZeroDivisionError
        raise UsageError("no")

    with pytest.raises(ZeroDivisionError):
        await each(["wrong", "broken"], act)
