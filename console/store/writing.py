# ruff: noqa: S608  (SQL is put together from constants)
"""Changing runs in the index, inside a transaction that the caller holds.

Every change passes through `_store`, so that columns, filters' tables and the JSON that is kept
ready never disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from traindeck.backends.states import Reach, State, Status
from traindeck.backends.status import SETTLE, merge
from traindeck.console.store import annotating, schema, seen_again
from traindeck.console.store.annotations import Annotation
from traindeck.console.store.database import Connection, Damaged
from traindeck.console.store.reading import metrics_of
from traindeck.console.store.records import Progress, RunRecord, status_of_run, with_status
from traindeck.console.store.rows import (
    INSERT_RUN,
    INSERT_TEXTS,
    SELECT,
    UPDATE_RUN,
    UPDATE_TEXTS,
    clean_record,
    fold,
    head,
    overlay,
    param_number,
    param_text,
    record,
    run_values,
    tag_text,
    tail,
    text_values,
)

_OF_A_RUN = (("runs", "n"), ("texts", "n"), ("ready", "n"), ("tags", "run"), ("params", "run"))


def put(db: Connection, runs: Iterable[RunRecord], now: float) -> None:
    """See `Index.put_many`."""
    stamp = tick(db)
    for given in runs:
        mark = annotating.mark(db, given.id)
        if mark is not None and mark.deleted:
            continue
        run = clean_record(given)
        found = load(db, given.id)
        if found is None:
            run = run if mark is None else overlay(run, mark)
            n = _insert(db, run, stamp)
            if run.metrics:
                from traindeck.console.store import series  # a launch writes none

                for metric in run.metrics.values():
                    series.put_summary(db, n, metric)
                render_metrics(db, n)
            continue
        n, known = found
        status = merge(status_of_run(known), status_of_run(run), now)
        run = replace(
            with_status(run, status),
            **_so_far(known, status),
            main=known.main or run.main,
            created=known.created or run.created,
            native_id=run.native_id or known.native_id,
            place_limit=run.place_limit or known.place_limit,
        )
        run = run if mark is None else overlay(run, mark)
        _store(db, n, run, stamp, described=True)


def merge_statuses(
    db: Connection, statuses: Mapping[str, Status], now: float, settle: float | None
) -> list[str]:
    """See `Index.update_statuses`."""
    stamp = tick(db)
    left, changed = seen_again.enter(db, statuses, now, stamp)
    for run_id, seen in left.items():
        found = load(db, run_id)
        if found is None:
            continue
        n, run = found
        known = status_of_run(run)
        status = merge(known, seen, now, settle=SETTLE if settle is None else settle)
        new = replace(with_status(run, status), **_so_far(run, status))
        if seen.limit is not None:
            new = replace(new, place_limit=seen.limit)
        new = clean_record(had_nothing_to_do(db, n, new))
        if new == run:
            continue
        _store(db, n, new, stamp)
        if _visible(new) != _visible(run):
            changed.append(run_id)
    return changed


def set_reach(db: Connection, backend: str, reach: Reach) -> None:
    """See `Index.set_reach`."""
    stamp = tick(db)
    rows = db.execute(
        f"SELECT n FROM runs WHERE backend = ? AND reach <> ? AND state IN ({schema.ACTIVE})",
        (backend, str(reach)),
    ).fetchall()
    seen_again.silent(db, [n for (n,) in rows], reach, stamp)


def annotated(db: Connection, run_id: str, mark: Annotation) -> None:
    """Show on a run what was noted about it."""
    found = load(db, run_id)
    if found is None:
        return
    if mark.deleted:
        delete(db, [run_id])
        return
    n, run = found
    new = overlay(run, mark)
    if new != run:
        _store(db, n, new, tick(db), described=True)


def delete(db: Connection, run_ids: Collection[str]) -> int:
    """See `Index.delete`."""
    from traindeck.console.store import series

    gone = 0
    for run_id in run_ids:
        row = db.execute("SELECT n FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            continue
        series.delete(db, row[0])
        for table, column in _OF_A_RUN:
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", row)
        gone += 1
    if gone:
        db.execute("UPDATE meta SET value = ? WHERE key = 'removed'", (tick(db),))
    return gone


def tick(db: Connection) -> int:
    """The next value of the clock that orders changes."""
    db.execute("UPDATE meta SET value = value + 1 WHERE key = 'clock'")
    row = db.execute("SELECT value FROM meta WHERE key = 'clock'").fetchone()
    if row is None or not isinstance(row[0], int):
        raise Damaged("the clock is gone")
    return row[0]


def load(db: Connection, run_id: str) -> tuple[int, RunRecord] | None:
    """Row number and record of a run, without its metrics."""
    row = db.execute(f"{SELECT} WHERE r.id = ?", (run_id,)).fetchone()
    return None if row is None else (row[0], record(row))


def store(db: Connection, n: int, run: RunRecord) -> None:
    """Write a run's record back (its metrics, tags and parameters apart)."""
    _store(db, n, clean_record(run), tick(db))


def render_metrics(db: Connection, n: int) -> None:
    """Make the ready JSON of a run's metrics anew."""
    db.execute("UPDATE ready SET metrics = ? WHERE n = ?", (tail(metrics_of(db, n)), n))


def _so_far(known: RunRecord, seen: Status) -> dict[str, Any]:
    """What is known of this attempt's course: where the one before had come to is past, and whether
    this one goes on from there it will say."""
    if seen.attempt <= known.attempt:
        since = known.troubled_at
        if State.LOST in (known.state, seen.state):  # one that is still lost is so since then
            since = (since or known.observed_at or None) if known.state is seen.state else None
        return {
            "progress": known.progress,
            "broken_at": known.broken_at,
            "troubled_at": since,
            "silent_from": known.silent_from,
        }
    return {
        "progress": Progress(total=known.progress.total),
        "broken_at": None,
        "troubled_at": None,
        "silent_from": None,
    }


def had_nothing_to_do(db: Connection, n: int, run: RunRecord) -> RunRecord:
    """A run whose last attempt ended well without measuring anything is where those before it had
    come to. If it did measure, what it says comes after this and counts."""
    made = run.progress
    if run.state is not State.SUCCEEDED or not run.attempt:
        return run
    before = made.at is not None and run.started is not None and made.at < run.started
    if made.step is not None and not before:
        return run
    main = metrics_of(db, n).get(run.main or "")
    if main is None or main.last_step is None or main.source == "counted":
        return run
    step, total = main.last_step, made.total
    share = step / total if total and total >= step else None
    known = Progress(step=step, total=total, fraction=share, at=main.last_time)
    return replace(run, progress=known)


def _visible(run: RunRecord) -> tuple[object, ...]:
    return (run.state, run.attempt, run.exit_code, run.signal, run.reason, run.reach)


def _insert(db: Connection, run: RunRecord, stamp: int) -> int:
    n = int(db.execute(INSERT_RUN, (*run_values(run), stamp)).lastrowid or 0)
    db.execute(INSERT_TEXTS, (*text_values(run), n))
    db.execute("INSERT INTO ready VALUES (?, ?, ?)", (n, head(run), tail({})))
    _describe(db, n, run)
    return n


def _store(db: Connection, n: int, run: RunRecord, stamp: int, *, described: bool = False) -> None:
    run = _troubled(_counted_out(run))
    db.execute(UPDATE_RUN, (*run_values(run), stamp, n))
    db.execute(UPDATE_TEXTS, (*text_values(run), n))
    db.execute("UPDATE ready SET head = ? WHERE n = ?", (head(run), n))
    if described:
        db.execute("DELETE FROM tags WHERE run = ?", (n,))
        db.execute("DELETE FROM params WHERE run = ?", (n,))
        _describe(db, n, run)


def _counted_out(run: RunRecord) -> RunRecord:
    """A run that succeeded at the last step of a count from 0 is not at 99 %."""
    made = run.progress
    if run.state is not State.SUCCEEDED or made.step is None or made.step + 1 != made.total:
        return run
    return replace(run, progress=replace(made, fraction=1.0, eta=None))


def _troubled(run: RunRecord) -> RunRecord:
    """A run with when something began to be wrong with it, or it was found lost. What is merely not
    heard of is as it was."""
    if run.trouble or run.state is State.LOST:
        return replace(run, troubled_at=run.troubled_at or run.observed_at or None)
    if run.state is State.RUNNING and run.reach is not Reach.OK:
        return run
    return replace(run, troubled_at=None)


def _describe(db: Connection, n: int, run: RunRecord) -> None:
    """The tables that filters look into."""
    db.executemany(
        "INSERT INTO tags VALUES (?, ?, ?, ?)",
        [(n, key, value, fold(tag_text(key, value))) for key, value in run.tags.items()],
    )
    db.executemany(
        "INSERT INTO params VALUES (?, ?, ?, ?)",
        [
            (n, key, param_number(value), fold(param_text(value)))
            for key, value in run.params.items()
        ],
    )
