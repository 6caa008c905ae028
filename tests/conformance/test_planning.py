"""Planning: pure, complete, and nothing else is sent."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.conformance.conftest import Suite

from traindeck.backends.base import (
    PROTOCOL,
    Adopt,
    Arrays,
    Backend,
    BackendError,
    Capability,
    Files,
    Foreign,
    Limits,
    Option,
    Reach,
    Resources,
    SeekableLogs,
    UsageError,
    encode,
    plan_digest,
)

_watched: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is not None and event.split(".")[0] in {"open", "socket", "subprocess", "os"}:
        _watched.append(f"{event}{arguments}")


@contextlib.contextmanager
def io_seen() -> Iterator[list[str]]:
    """The files, sockets and processes that the body touches."""
    global _watched
    if not getattr(sys, "_traindeck_audited", False):
        sys.addaudithook(_audit)  # cannot be removed, so it is put in once
        sys._traindeck_audited = True  # type: ignore[attr-defined]
    _watched = []
    try:
        yield _watched
    finally:
        _watched = None


async def test_it_is_a_backend_of_this_protocol(suite: Suite) -> None:
    backend = suite.backend
    assert isinstance(backend, Backend)
    assert backend.protocol == PROTOCOL
    assert backend.name and backend.kind
    assert backend.settle >= 0
    assert all(isinstance(option, Option) for option in backend.options_schema.values())
    for capability, protocol in (
        (Capability.SEEKABLE_LOGS, SeekableLogs),
        (Capability.FILES, Files),
        (Capability.ADOPT, Adopt),
        (Capability.FOREIGN, Foreign),
        (Capability.ARRAYS, Arrays),
    ):
        assert (capability in backend.capabilities) == isinstance(backend, protocol), capability


async def test_making_one_touches_nothing(suite: Suite) -> None:
    suite.another()  # what is imported is imported by now
    with io_seen() as seen:
        suite.another()
    assert seen == []


async def test_a_plan_is_pure(suite: Suite) -> None:
    spec = suite.spec("out:x", env={"A": "1"}, tags={"k": "v"})
    facts = await suite.backend.survey(spec)
    before = encode(spec), encode(facts)
    first = suite.backend.plan(spec, facts)
    with io_seen() as seen:
        second = suite.another().plan(spec, facts)
    assert second == first
    assert seen == []
    assert (encode(spec), encode(facts)) == before


async def test_a_plan_shows_what_will_run_and_carries_its_digest(suite: Suite) -> None:
    spec = suite.spec("out:x", env={"LEARNING_RATE": "3e-4"})
    plan = await suite.plan(spec)
    assert plan.backend == suite.backend.name
    assert plan.spec.run_id == spec.run_id
    assert plan.digest == plan_digest(plan)
    shown = json.dumps(encode(plan))
    assert "LEARNING_RATE" in shown and "3e-4" in shown
    assert json.loads(shown) == encode(plan)


async def test_a_plan_that_was_changed_is_not_sent(suite: Suite) -> None:
    plan = await suite.plan(suite.spec("out:x"))
    with pytest.raises(BackendError, match=r"\w+ \w+"):
        await suite.backend.submit(replace(plan, env={**plan.env, "SNEAKED": "in"}))
    assert await suite.backend.find([(plan.spec.run_id, 0)]) == []


async def test_a_plan_that_can_never_run_is_refused_in_words(suite: Suite) -> None:
    facts = await suite.backend.survey(suite.spec("out:x"))
    for spec in (
        suite.spec("out:x", options={"no-such-option": "x"}),
        suite.spec(argv=()),
        suite.spec("out:x", resources=Resources(gpus=10_000)),
    ):
        with pytest.raises(UsageError) as refused:
            suite.backend.plan(spec, facts)
        assert " " in refused.value.what


async def test_a_survey_starts_nothing(suite: Suite) -> None:
    spec = suite.spec("out:x", limits=Limits(time=60))
    facts = await suite.backend.survey(spec)
    assert facts.observed_at > 0 and facts.home and facts.python
    assert await suite.backend.find([(spec.run_id, 0)]) == []


async def test_a_probe_tells_how_the_place_is(suite: Suite) -> None:
    health = await suite.backend.probe()
    assert health.reach is Reach.OK
    assert health.observed_at > 0
    assert health.checks and all(isinstance(ok, bool) and text for ok, text in health.checks)


async def test_a_secret_without_a_value_is_refused_by_its_name(suite: Suite) -> None:
    plan = await suite.plan(suite.spec("out:x", secrets=("API_TOKEN",)))
    with pytest.raises(UsageError, match="API_TOKEN"):
        await suite.backend.submit(plan, {})
    assert await suite.backend.find([(plan.spec.run_id, 0)]) == []
    os.environ.pop("API_TOKEN", None)
