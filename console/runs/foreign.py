"""Jobs that this user submitted without Traindeck: found at the places that list them, and entered
into the index as rows of their own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

from traindeck.backends.errors import BackendError, UsageError
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store.records import RunRecord

EVERY = 15.0
"""Seconds between two looks at a place, whatever the number of programs that would look."""

_JOB = re.compile(r"(.+):(\d{1,18}(?:_\S{1,64})?)", re.ASCII)
"""What a job is called that was submitted by hand: PLACE:NUMBER."""


async def look_up(ws: Workspace, texts: Iterable[str]) -> None:
    """Enter the jobs that these texts name and nobody has listed yet. Their places are asked,
    however lately somebody looked: who names a job may have submitted it just now.

    Raises:
        UsageError: A place lists no such job.
        BackendError: It cannot be asked.
    """
    asked: set[str] = set()
    for text in (word for said in texts for word in re.findall(r"[^\s,]+", said)):
        name = _JOB.fullmatch(text)
        if name is None or name[1] not in ws.with_foreign():
            continue
        if ws.index.get(text) is not None or ws.index.called(text):
            continue
        place, number = name.groups()
        if place not in asked:
            asked.add(place)
            await _enter(ws, place)
        if ws.index.get(text) is None:
            ours = [run.name for run in ws.index.active(place) if run.native_id == number]
            if ours:
                raise UsageError(f"Job {number} of {place} is the run {ours[0]}.", "Name the run.")
            raise UsageError(
                f"{place} has no job {number} of yours that waits or runs.",
                "`traindeck ls --all` lists runs and jobs.",
            )


async def look_for_foreign(ws: Workspace, patience: float) -> list[str]:
    """Enter the jobs that are new. Those known are asked after like any run. A place that does not
    answer within `patience` seconds is left for the next time. Returns the ids of the new ones."""
    found = await asyncio.gather(*(_look(ws, name, patience) for name in ws.with_foreign()))
    return [run_id for ids in found for run_id in ids]


async def _look(ws: Workspace, name: str, patience: float) -> list[str]:
    try:
        ws.backend(name)
        # Never released: it is what keeps everybody from looking again so soon.
        if not ws.index.try_lease(f"foreign {name}", EVERY):
            return []
        async with asyncio.timeout(patience):
            return await _enter(ws, name)
    except (BackendError, UsageError, TimeoutError):
        return []  # what is wrong with it is said where it is used


async def _enter(ws: Workspace, name: str) -> list[str]:
    """Ask one place, and enter what is new.

    Raises:
        UsageError, BackendError: It cannot be asked.
    """
    from traindeck.backends.base import Foreign

    backend = ws.backend(name)
    if not isinstance(backend, Foreign):
        return []
    refs = await backend.list_foreign()
    listed = {f"{name}:{ref.native_id}": ref for ref in refs}
    goes_on = ws.index.observed(name)
    new = {
        run_id: ref
        for run_id, ref in listed.items()
        if run_id not in goes_on and ws.index.get(run_id) is None
    }
    ws.index.put_many(
        RunRecord(
            id=run_id,
            name=ref.title,
            backend=name,
            native_id=ref.native_id,
            created=ref.made if ref.made is not None else ws.clock(),
            foreign=True,
        )
        for run_id, ref in new.items()
    )
    seen = {run_id: ref.seen for run_id, ref in new.items() if ref.seen is not None}
    if seen:
        ws.index.update_statuses(seen, settle=0.0)
    return list(new)
