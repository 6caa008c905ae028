# ruff: noqa: S608  (SQL is put together from constants)
"""Reading runs from the index, inside a transaction that the caller holds.

Lists hold row numbers and fetch what is visible; nothing here may cost more than what it returns.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from traindeck.backends.states import State
from traindeck.console.store import schema
from traindeck.console.store.database import Connection, Damaged
from traindeck.console.store.records import EVALS, RATES, MetricSummary, RunRecord
from traindeck.console.store.rows import SELECT, SERIES, record, summary

_AT_ONCE = 500


def records(
    db: Connection, where: str, args: Sequence[Any], *, metrics: str, order: str = ""
) -> list[RunRecord]:
    """Runs by a condition on `r`, with `all`, `main` or `none` of their metrics."""
    found = db.execute(f"{SELECT} WHERE {where} {order}", args).fetchall()
    return _with_metrics(db, found, metrics)


def rows(db: Connection, ids: Sequence[int], metrics: str) -> dict[int, RunRecord]:
    """See `Index.rows_by_number`."""
    found: dict[int, RunRecord] = {}
    for low in range(0, len(ids), _AT_ONCE):
        part = list(ids[low : low + _AT_ONCE])
        marks = ", ".join("?" * len(part))
        fetched = db.execute(f"{SELECT} WHERE r.n IN ({marks})", part).fetchall()
        runs = _with_metrics(db, fetched, metrics)
        found.update(zip((row[0] for row in fetched), runs, strict=True))
    return found


def active(db: Connection, backend: str | None) -> list[RunRecord]:
    """See `Index.active`."""
    where, args = f"r.state IN ({schema.ACTIVE})", []
    if backend is not None:
        where, args = f"{where} AND r.backend = ?", [backend]
    return records(db, where, args, metrics="main", order="ORDER BY r.created, r.n")


def active_numbers(db: Connection) -> list[int]:
    """See `Index.active_numbers`."""
    found = db.execute(f"SELECT n FROM runs WHERE state IN ({schema.ACTIVE}) ORDER BY created, n")
    return [n for (n,) in found]


def observed(db: Connection, backend: str) -> dict[str, tuple[float, bool]]:
    """See `Index.observed`."""
    rows = db.execute(
        "SELECT id, observed_at, reach = 'ok' FROM runs "
        f"WHERE backend = ? AND state IN ({schema.ACTIVE})",
        (backend,),
    )
    return {run_id: (observed_at, answers) for run_id, observed_at, answers in rows}


def latest_look(db: Connection, backend: str) -> float:
    """See `Index.latest_look`."""
    (moment,) = db.execute(
        f"SELECT max(observed_at) FROM runs WHERE backend = ? AND state IN ({schema.ACTIVE})",
        (backend,),
    ).fetchone()
    return moment or 0.0


def missing(db: Connection, before: float) -> list[RunRecord]:
    """See `Index.missing`."""
    return records(db, schema.MISSING, [before], metrics="main", order="ORDER BY r.created, r.n")


def groups(db: Connection, ids: Sequence[int], now: float) -> bytes:
    """See `Index.groups`."""
    from traindeck.console.store.query import GROUP  # most commands ask no query

    times = GROUP.count("?")
    if len(ids) > _AT_ONCE:
        by_run = dict(db.execute(f"SELECT r.n, {GROUP} FROM runs r", [now] * times))
    else:
        marks = ", ".join("?" * len(ids))
        by_run = dict(
            db.execute(
                f"SELECT r.n, {GROUP} FROM runs r WHERE r.n IN ({marks})", [now] * times + list(ids)
            )
        )
    return bytes([by_run.get(n, 3) for n in ids])


def changes(db: Connection, since: int) -> tuple[array[int], int, bool]:
    """See `Index.changes`."""
    meta = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('clock', 'removed')"))
    clock, removed = meta.get("clock"), meta.get("removed")
    if not isinstance(clock, int) or not isinstance(removed, int):
        raise Damaged("the clock is gone")
    if since < 0:
        return array("q"), clock, False
    touched = db.execute("SELECT n FROM runs WHERE touched > ? ORDER BY n", (since,)).fetchall()
    return array("q", [n for (n,) in touched]), clock, removed > since


def counts(db: Connection) -> dict[State, int]:
    """See `Index.counts`."""
    found = db.execute("SELECT state, count(*) FROM runs GROUP BY state").fetchall()
    try:
        return {State(state): count for state, count in found}
    except ValueError as error:
        raise Damaged(str(error)) from None


def metrics_of(db: Connection, n: int) -> dict[str, MetricSummary]:
    """All summaries of a run, by key."""
    found = db.execute(f"SELECT {SERIES} FROM series WHERE run = ? ORDER BY key", (n,))
    return {row[0]: summary(row) for row in found}


def _with_metrics(db: Connection, found: Sequence[Any], metrics: str) -> list[RunRecord]:
    runs = [record(row) for row in found]
    if metrics == "all":
        return [
            replace(run, metrics=metrics_of(db, row[0]))
            for row, run in zip(found, runs, strict=True)
        ]
    if metrics == "main":
        numbers = [row[0] for row in found]
        shown = [
            part
            for low in range(0, len(numbers), _AT_ONCE)
            for part in _table_metrics(db, numbers[low : low + _AT_ONCE])
        ]
        by_run: dict[int, dict[str, MetricSummary]] = {}
        for n, *values in shown:
            metric = summary(values)
            by_run.setdefault(n, {})[metric.key] = metric
        return [
            replace(run, metrics=by_run[n]) if n in by_run else run
            for n, run in zip(numbers, runs, strict=True)
        ]
    if metrics != "none":
        raise ValueError(f"metrics={metrics!r}")
    return runs


def _table_metrics(db: Connection, numbers: Sequence[int]) -> Sequence[Any]:
    """What the columns of a table can show: the main metric, the one on held-out data, the pace."""
    keys = (*EVALS, *RATES)
    fields = ", ".join(f"x.{field.strip()}" for field in SERIES.split(","))
    return db.execute(
        f"SELECT x.run, {fields} FROM runs r JOIN series x ON x.run = r.n "
        f"WHERE r.n IN ({', '.join('?' * len(numbers))}) "
        f"AND (x.key = r.main OR x.key IN ({', '.join('?' * len(keys))}))",
        (*numbers, *keys),
    ).fetchall()
