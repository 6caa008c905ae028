"""`--on auto`: which place takes a run. All are asked at once, none is waited for long, and
the first in the order of the settings that can start it now gets it; else the one that says the
shortest wait. Nothing is imported there to find out: the plan that follows does that, and if it is
refused the next place is tried."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from traindeck.backends.base import Backend, Capability, Limits, Plan, Resources, RunSpec
from traindeck.backends.data import dataclass
from traindeck.backends.errors import BackendError, TraindeckError, UsageError
from traindeck.console.durations import write_duration
from traindeck.console.runs.elsewhere import refuse_only_here
from traindeck.console.runs.options import read_options
from traindeck.console.runs.request import LaunchRequest, environment_named
from traindeck.console.store.ids import mint_id

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace

AUTO = "auto"
"""What is given instead of a place."""

WITHIN = 3.0
"""Seconds that a place has to answer."""

Make = Callable[[str], Awaitable[LaunchRequest]]
"""The request as it would be made to a place of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A place as it answered.

    Attributes:
        refused: Why it cannot have the run; "" if it can.
        starts_in: Seconds until it would begin there; None if that is not known.
        found: What was found there, in a few words.
    """

    name: str = ""
    refused: str = ""
    starts_in: float | None = 0.0
    found: str = ""


def is_auto(ws: Workspace, on: str | None) -> bool:
    """Whether a place is to be chosen: one that is called so goes before."""
    return on == AUTO and not ws.has_backend(AUTO)


async def plan(
    ws: Workspace,
    make: Make,
    *,
    only: Collection[str] | None = None,
    notes: Sequence[str] = (),
) -> Plan:
    """The plan at the place that takes the run; why it does stands in it.

    Args:
        make: Called for each place; what it raises is why that place does not come into question.
        only: Places that come into question, all by default.
        notes: As for `launching.plan`.

    Raises:
        UsageError: No place can have it; what each says.
    """
    from traindeck.console.runs import launching

    names = [name for name in ws.settings.backends if only is None or name in only]
    asked = await asyncio.gather(*(_ask(ws, name, make) for name in names))
    refused = {one.name: one.refused for one in asked if one.refused}
    for one in ranked(asked):
        try:
            request = replace(await make(one.name), on=one.name)
            return await launching.plan(
                ws, request, notes=notes, chosen=reason(one, asked, refused)
            )
        except TraindeckError as error:
            refused[one.name] = _said(error)
    told = " ".join(f"{name}: {why}." for name, why in refused.items())
    raise UsageError(f"No place can take this run. {told}", "Name one with --on to see all of it.")


def ranked(asked: Sequence[Candidate]) -> list[Candidate]:
    """The places that come into question, the best first: those that can start now, in their order,
    then by the wait that they state, then those that state none."""
    able = [one for one in asked if not one.refused]
    return sorted(able, key=lambda one: (one.starts_in is None, one.starts_in or 0.0))


def reason(one: Candidate, asked: Sequence[Candidate], refused: dict[str, str]) -> str:
    """Why this one: what it has, and why none of those before it."""
    before = []
    for other in asked:
        if other.name == one.name:
            break
        before.append(f"not {other.name}: {refused.get(other.name) or _wait(other)}")
    own = one.found if one.starts_in == 0 else _wait(one)
    return "; ".join([f"{one.name}: {own or 'it can start now'}", *before])


def _wait(one: Candidate) -> str:
    if one.starts_in is None:
        return "when it would start there is not known"
    return f"starts there in about {write_duration(float(round(one.starts_in)))}"


async def _ask(ws: Workspace, name: str, make: Make) -> Candidate:
    try:
        async with asyncio.timeout(WITHIN):
            request = await make(name)
            backend = ws.backend(name)
            local = Capability.HERE in backend.capabilities
            spec = _outline(ws, backend, request)
            facts = await backend.survey(spec)
            if not local:
                refuse_only_here(spec, facts, name)
            backend.plan(spec, facts)
    except TimeoutError:
        return Candidate(name=name, refused=f"no answer within {WITHIN:.0f} s")
    except TraindeckError as error:
        return Candidate(name=name, refused=_said(error).removeprefix(f"{name}: "))
    return Candidate(name=name, starts_in=facts.starts_in, found=facts.place)


def _outline(ws: Workspace, backend: Backend, request: LaunchRequest) -> RunSpec:
    """As much of a run as says whether a place can have it: no code, and nothing to import."""
    local = Capability.HERE in backend.capabilities
    environment = environment_named(request.environment, local=local)
    if local and request.needs and not environment:
        from traindeck.console.runs.finetuning import NEEDED, has_training

        if NEEDED in request.needs and not has_training(request.argv[0]):
            raise BackendError(f"{request.argv[0]} has no {NEEDED}.")
    return RunSpec(
        run_id=mint_id(),
        argv=request.argv,
        cwd="/",
        env=request.env if not local else {"PATH": ws.environ.get("PATH", ""), **request.env},
        resources=Resources(gpus=request.gpus, nodes=request.nodes),
        limits=Limits(time=request.time, retries=request.retries),
        environment=environment,
        reads=() if local else request.reads,
        after=request.after,
        options=read_options(backend, request.options),
    )


def _said(error: TraindeckError) -> str:
    return error.what.rstrip(".")
