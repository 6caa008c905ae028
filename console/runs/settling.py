"""Settling submissions that a crash left half done.

A submission whose process died is settled by whatever command comes next, by asking the place what
became of it; it is never sent again by itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from traindeck.backends.base import Backend, JobRef, RunSpec
from traindeck.backends.encoding import decode
from traindeck.backends.errors import BackendError, TraindeckError, UsageError
from traindeck.backends.states import State, Status
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store.annotations import Annotation, append
from traindeck.console.store.describe import describe
from traindeck.console.store.errors import StoreError
from traindeck.console.store.journal import Submission
from traindeck.console.store.records import NOT_SENT

PATIENCE = 2.0
"""Seconds that a place may take to say what became of a submission."""


async def settle(ws: Workspace) -> None:
    """Find out what became of submissions whose process died. Cheap when there are none."""
    if not ws.places.journal.is_dir():
        return
    for orphan in ws.journal.orphans():
        names = [orphan.backend] if orphan.backend else sorted(ws.settings.backends)
        try:
            async with asyncio.timeout(PATIENCE):
                backends = [ws.backend(name) for name in names]
                found = [await _find(backend, orphan) for backend in backends]
        except (BackendError, UsageError, TimeoutError) as error:
            # The entry stays an orphan.
            why = error.what if isinstance(error, TraindeckError) else "its place does not answer."
            ws.tell(f"Run {orphan.run_id} cannot be settled yet: {why}")
            continue
        ref = next((ref for ref in found if ref is not None), None)
        longest = max((backend.settle for backend in backends), default=0.0)
        if ref is None and 0 <= ws.clock() - orphan.begun < longest:
            # What was sent may still be on its way: not found means not yet.
            if ws.index.get(orphan.run_id) is None:
                ws.index.put(describe(_spec(orphan), orphan.backend or "local"))
            continue
        try:
            claimed = ws.journal.claim(orphan)
            if claimed is not None:
                _settle_one(ws, claimed, ref)
        except StoreError as error:  # a full disk; whoever only looks need not fail for it
            ws.tell(f"Run {orphan.run_id} cannot be settled yet: {error.what}")


def note_submitted(ws: Workspace, submission: Submission, ref: JobRef, name: str) -> None:
    """It is sent: say so durably, then in the index, and only then end the journal entry."""
    submission = ws.journal.submitted(submission, ref.native_id)
    line = Annotation(
        run_id=ref.run_id,
        time=ws.clock(),
        backend=ref.backend,
        native_id=ref.native_id,
        attempt=ref.attempt,
        submitted_as=name,
    )
    append(ws.places.annotations, [line])
    ws.index.catch_up(ws.places.annotations)
    ws.journal.remove(submission)


async def _find(backend: Backend, submission: Submission) -> JobRef | None:
    found = await backend.find([(submission.run_id, submission.attempt)])
    return found[0] if found else None


def _settle_one(ws: Workspace, submission: Submission, ref: JobRef | None) -> None:
    spec = _spec(submission)
    if ref is not None:
        ws.index.put(describe(spec, ref.backend))
        note_submitted(ws, submission, ref, spec.name)
        return
    if submission.attempt:
        # The run is what its last attempt made of it: a retry that was not sent is none.
        ws.tell(f"The retry of run {submission.run_id} was not sent: its launcher died.")
        ws.journal.remove(submission)
        return
    ws.index.put(describe(spec, submission.backend or "local"))
    ws.index.update_status(
        submission.run_id,
        Status(
            state=State.FAILED,
            observed_at=ws.clock(),
            attempt=submission.attempt,
            reason=NOT_SENT,
            ended=submission.begun,
        ),
        settle=0.0,  # the place had its time
    )
    ws.journal.unsent(submission)


def _spec(submission: Submission) -> RunSpec:
    try:
        spec = decode(RunSpec, submission.spec)
    except ValueError:
        spec = RunSpec(created=submission.begun)
    return replace(spec, run_id=submission.run_id, attempt=submission.attempt)
