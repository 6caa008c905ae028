"""Jobs that this user submitted without Traindeck: found at the places that list them, and entered
into the index as rows of their own."""

from __future__ import annotations

import asyncio

from traindeck.backends.errors import BackendError, UsageError
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store.records import RunRecord

EVERY = 15.0
"""Seconds between two looks at a place, whatever the number of programs that would look."""


async def look_for_foreign(ws: Workspace, patience: float) -> list[str]:
    """Enter the jobs that are new. Those known are asked after like any run. A place that does not
    answer within `patience` seconds is left for the next time. Returns the ids of the new ones."""
    found = await asyncio.gather(*(_look(ws, name, patience) for name in ws.with_foreign()))
    return [run_id for ids in found for run_id in ids]


async def _look(ws: Workspace, name: str, patience: float) -> list[str]:
    from traindeck.backends.base import Foreign

    try:
        backend = ws.backend(name)
        # Never released: it is what keeps everybody from looking again so soon.
        if not isinstance(backend, Foreign) or not ws.index.try_lease(f"foreign {name}", EVERY):
            return []
        async with asyncio.timeout(patience):
            refs = await backend.list_foreign()
    except (BackendError, UsageError, TimeoutError):
        return []  # what is wrong with it is said where it is used
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
