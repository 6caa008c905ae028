"""Entering what was read from a run's files: the points and how far the file was read, together.

The mark of a file is compared and set in the transaction that enters the points, so that any number
of processes may read one growing file and each point enters exactly once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from traindeck.console.store import series
from traindeck.console.store.database import Connection
from traindeck.console.store.records import silent_after
from traindeck.console.store.rows import clean
from traindeck.console.store.series import Prepared, SourceMark

if TYPE_CHECKING:
    from traindeck.console.store.records import Progress, RunRecord


def mark(db: Connection, run_id: str, path: str) -> SourceMark:
    """See `Index.source`."""
    row = db.execute(
        "SELECT inode, size, offset, carry FROM sources "
        "WHERE run = (SELECT n FROM runs WHERE id = ?) AND path = ?",
        (run_id, clean(path)),
    ).fetchone()
    if row is None:
        return SourceMark(path=path)
    inode, size, offset, carry = row
    return SourceMark(path=path, inode=inode, size=size, offset=offset, carry=carry)


def ingest(
    db: Connection,
    run_id: str,
    before: SourceMark,
    after: SourceMark,
    batches: Sequence[Prepared],
    progress: Progress | None,
    main: str | None,
) -> bool:
    """See `Index.ingest`."""
    if before.path != after.path:
        raise AssertionError("the marks are of two files")
    row = db.execute("SELECT n FROM runs WHERE id = ?", (run_id,)).fetchone()
    if row is None or mark(db, run_id, before.path) != before:
        return False
    n = row[0]
    db.execute(
        "INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?, ?)",
        (n, clean(after.path), after.inode, after.size, after.offset, after.carry),
    )
    from traindeck.console.store import writing

    if batches and series.enter(db, n, batches):
        writing.render_metrics(db, n)
    if batches or progress is not None or main is not None:
        found = writing.load(db, run_id)
        assert found is not None
        run = found[1]
        run = replace(run, progress=progress or run.progress, main=main or run.main)
        run = writing.had_nothing_to_do(db, n, run)
        broken_at, silent_from = _broken_at(db, n, run, batches), _silent_from(db, n, run)
        writing.store(db, n, replace(run, broken_at=broken_at, silent_from=silent_from))
    return True


def _silent_from(db: Connection, n: int, run: RunRecord) -> float | None:
    """From when on it is silent, by what it measures itself: the samples of the machine go on when
    it hangs."""
    newest, reports = db.execute(
        "SELECT max(last_time), max(count) FROM series WHERE run = ? "
        "AND key NOT GLOB 'system/*' AND key NOT GLOB '__*'",
        (n,),
    ).fetchone()
    return silent_after(run, newest, reports)


def _broken_at(db: Connection, n: int, run: RunRecord, batches: Sequence[Prepared]) -> float | None:
    """When the main metric ceased to be a finite number: when the first value was written that no
    finite one has followed."""
    row = db.execute(
        "SELECT last, last_time FROM series WHERE run = ? AND key = ? AND count > 0", (n, run.main)
    ).fetchone()
    if row is None or (row[0] is not None and math.isfinite(row[0])):
        return None
    if run.broken_at is not None:
        return run.broken_at
    for batch in batches:
        if batch.key == run.main:
            values, times = batch.points.values, batch.points.times
            at = len(values)
            while at > 0 and not math.isfinite(values[at - 1]):
                at -= 1
            if at < len(values) and not math.isnan(times[at]):
                return float(times[at])
    return row[1] or run.observed_at
