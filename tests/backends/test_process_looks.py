"""When a process backend says that it has seen something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from traindeck.backends.base import JobRef, RunSpec, State, Status
from traindeck.backends.process import ProcessBackend
from traindeck.backends.status import merge

LIVES = {"found": True, "attempt": 0, "phase": "running", "same_host": True, "alive": True}
IS_GONE = {**LIVES, "alive": False, "supervised": False}
RUN = "0123456789ab"


class Far:
    """A place whose answers take as long as they are told, by a clock of its own."""

    here = False

    def __init__(self) -> None:
        self.now = 0.0
        self.takes = 0.0
        self.evidence: Mapping[str, Any] = LIVES

    async def agent(self) -> Far:
        return self

    async def call(self, verb: str, *_: Any, **__: Any) -> tuple[dict[str, Any], bytes]:
        self.now += self.takes
        return {"runs": {RUN: self.evidence}, "evidence": self.evidence}, b""


async def look(verb: str, at: float, answered: float, evidence: Mapping[str, Any]) -> Status:
    far = Far()
    far.now, far.takes, far.evidence = at, answered - at, evidence
    backend = ProcessBackend("far", far, clock=lambda: far.now)  # type: ignore[arg-type]
    if verb == "poll":
        ref = JobRef(backend="far", run_id=RUN)
        return (await backend.poll([ref]))[ref]
    seen = (await backend.adopt(RunSpec(run_id=RUN, argv=("true",)), 5)).seen
    assert seen is not None
    return seen


@pytest.mark.parametrize("verb", ["poll", "adopt"])
async def test_an_answer_long_on_its_way_is_no_later_sign_of_life(verb: str) -> None:
    gone = await look("poll", 101, 102, IS_GONE)
    slow = await look(verb, 100, 105, LIVES)
    later = await look(verb, 103, 104, LIVES)
    assert (gone.state, slow.state) == (State.LOST, State.RUNNING)
    assert merge(gone, slow, 105).state is State.LOST
    assert merge(slow, gone, 105).state is State.LOST
    assert merge(gone, later, 105).state is State.RUNNING
