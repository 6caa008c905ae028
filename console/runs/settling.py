"""Settling submissions that a crash left half done.

A submission whose process died is settled by whatever command comes next, by asking the place what
became of it; it is never sent again by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

from traindeck.backends.base import JobRef, RunSpec
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
    orphans = ws.journal.orphans()
    asked: dict[str, list[tuple[str, int]]] = {}
    for orphan in orphans:
        for name in _places(ws, orphan):
            asked.setdefault(name, []).append((orphan.run_id, orphan.attempt))
    # One question a place: of an array there are as many as it has tasks.
    answers = {name: await _found(ws, name, keys) for name, keys in asked.items()}
    for orphan in orphans:
        key, ref, longest, why = (orphan.run_id, orphan.attempt), None, 0.0, ""
        for name in _places(ws, orphan):
            found = answers[name]
            if isinstance(found, str):
                why = found
                continue
            ref = ref or found.get(key)
            longest = max(longest, ws.backend(name).settle)
        if why:
            # The entry stays an orphan.
            ws.tell(f"Run {orphan.run_id} cannot be settled yet: {why}")
            continue
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


def note_submitted(ws: Workspace, sent: Sequence[tuple[Submission, JobRef, str]]) -> None:
    """What is sent, as submissions with the jobs and names that they have: say so durably, then in
    the index, and only then end the journal entries."""
    if len(sent) == 1:
        # (Of an array the place finds all jobs by their name.)
        ws.journal.submitted(sent[0][0], sent[0][1].native_id)
    lines = [
        Annotation(
            run_id=ref.run_id,
            time=ws.clock(),
            backend=ref.backend,
            native_id=ref.native_id,
            attempt=ref.attempt,
            submitted_as=name,
        )
        for _, ref, name in sent
    ]
    append(ws.places.annotations, lines)
    ws.index.catch_up(ws.places.annotations)
    for submission, _, _ in sent:
        ws.journal.remove(submission)


async def _found(
    ws: Workspace, name: str, keys: Collection[tuple[str, int]]
) -> dict[tuple[str, int], JobRef] | str:
    """What a place knows of submissions, or why it cannot be asked."""
    try:
        async with asyncio.timeout(PATIENCE):
            refs = await ws.backend(name).find(keys)
    except (BackendError, UsageError, TimeoutError) as error:
        return error.what if isinstance(error, TraindeckError) else "its place does not answer."
    return {(ref.run_id, ref.attempt): ref for ref in refs}


def _settle_one(ws: Workspace, submission: Submission, ref: JobRef | None) -> None:
    spec = _spec(submission)
    if ref is not None:
        ws.index.put(describe(spec, ref.backend))
        note_submitted(ws, [(submission, ref, spec.name)])
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


def _places(ws: Workspace, orphan: Submission) -> list[str]:
    """Where a submission may have arrived."""
    return [orphan.backend] if orphan.backend else sorted(ws.settings.backends)


def _spec(submission: Submission) -> RunSpec:
    try:
        spec = decode(RunSpec, submission.spec)
    except ValueError:
        spec = RunSpec(created=submission.begun)
    return replace(spec, run_id=submission.run_id, attempt=submission.attempt)
