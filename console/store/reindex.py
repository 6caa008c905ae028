"""Filling a new index from what is true: run directories, the journal, the annotations.

The result lists what the lost index listed. It is filled before anybody else sees it, so it may
fail or be killed at any point and is then begun again. It only reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from traindeck.backends.base import RunSpec
from traindeck.backends.data import dataclass
from traindeck.backends.encoding import decode
from traindeck.backends.states import Reach, State
from traindeck.console.store.annotations import Annotation
from traindeck.console.store.describe import describe
from traindeck.console.store.ids import is_id, minted_at
from traindeck.console.store.index import Index
from traindeck.console.store.journal import UNSENT, Journal
from traindeck.console.store.places import Places
from traindeck.console.store.records import (
    NOT_SENT,
    ONLY_KNOWN,
    RunRecord,
    status_of_run,
    with_status,
)
from traindeck.console.store.rundirs import list_runs, read_run

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Refilled:
    """What was found: runs with a directory, runs that only journal or annotations know."""

    with_directory: int = 0
    only_known: int = 0


def fill(
    index: Index,
    places: Places,
    roots: Mapping[str, Path],
    *,
    now: float | None = None,
    adjust: Callable[[RunRecord, Path], RunRecord] | None = None,
    measure: Callable[[Index, RunRecord, Path], None] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Refilled:
    """Fill an empty index.

    Args:
        roots: Backend -> root of its run directories on this machine.
        adjust: Adds to a record what its directory says beyond the formats known here (a reason
            from its log).
        measure: Enters the metrics that a run's directory holds; called when all runs are in.
        tell: Takes one line about each directory that does not say what its run was.

    Raises:
        StoreError: The annotations or the journal cannot be read.
    """
    moment = time.time() if now is None else now
    index.catch_up(places.annotations)
    found: dict[str, Path] = {}

    def records() -> Iterator[RunRecord]:
        for backend, root in roots.items():
            for run_id in list_runs(root):
                if run_id in found:
                    continue  # two backends share a root
                mark = index.annotation(run_id)
                owner = mark.backend if mark is not None and mark.backend in roots else None
                run = read_run(root, run_id, owner or backend, moment, tell)
                if mark is not None and mark.submitted_as and run.name == run_id:
                    run = replace(run, name=mark.submitted_as)
                run = _as_noted(run, mark)
                folder = root / "runs" / run_id
                found[run_id] = folder
                yield run if adjust is None else adjust(run, folder)

    several: list[RunRecord] = []
    for run in records():
        several.append(run)
        if len(several) == _AT_ONCE:
            index.put_many(several)
            several.clear()
    index.put_many(several)
    known = []
    for run in _known(index, places):
        there = index.get(run.id)
        if there is None:
            known.append(run)
        elif there.state is State.NEW and run.state is State.FAILED:
            # Its directory was made and nothing began in it; that nobody will is known.
            index.update_status(run.id, status_of_run(run), settle=0.0)
    index.put_many(known)
    if measure is not None:
        for run_id, folder in found.items():
            if (entered := index.get(run_id)) is not None:
                measure(index, entered, folder)
    return Refilled(with_directory=len(found), only_known=len(known))


def _as_noted(run: RunRecord, mark: Annotation | None) -> RunRecord:
    """An archived run as it was known before its log, which said why it ended, was removed."""
    last = mark.attempts[-1] if mark is not None and mark.archived and mark.attempts else None
    return with_status(run, last) if last is not None and last.attempt == run.attempt else run


def _known(index: Index, places: Places) -> Iterator[RunRecord]:
    """Runs that are not here: their host is down, or they are being submitted."""
    for submission in Journal(places.journal).entries():
        try:
            spec = decode(RunSpec, submission.spec)
        except (ValueError, RecursionError):
            spec = RunSpec(created=submission.begun)
        spec = replace(spec, run_id=submission.run_id, attempt=submission.attempt)
        run = describe(spec, submission.backend or "local", submission.native_id)
        if submission.phase == UNSENT:
            begun = submission.begun
            run = replace(run, state=State.FAILED, reason=NOT_SENT, ended=begun, observed_at=begun)
        yield run
    for job in index.jobs_without_run():
        yield RunRecord(
            id=job.run_id,
            name=job.submitted_as or job.run_id,
            backend=job.backend or "",
            native_id=job.native_id or "",
            attempt=job.attempt or 0,
            created=minted_at(job.run_id) if is_id(job.run_id) else job.time,
            reach=Reach.STALE,
            reason=ONLY_KNOWN,
        )
