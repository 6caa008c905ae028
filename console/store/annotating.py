# ruff: noqa: S608  (SQL is put together from constants)
"""Annotations in the index: kept apart from the runs they speak of, and shown on them.

They may come before their run does (another machine's, or a rebuild), so they have a table of their
own and are laid over whatever is put.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from traindeck.backends.encoding import encode
from traindeck.console.store.annotations import Annotation, statuses
from traindeck.console.store.database import Connection, Damaged
from traindeck.console.store.rows import clean, joined

_COLUMNS = (
    "run_id, time, name, note, archived, looked_at, tags, backend, native_id, attempt, "
    "submitted_as, attempts, deleted"
)
_MARKS = ", ".join("?" * (_COLUMNS.count(",") + 1))
_SELECT = f"SELECT {_COLUMNS} FROM marks"


def apply(db: Connection, annotations: Sequence[Annotation]) -> None:
    """Take annotations over, in their order, and show them on the runs that are there."""
    from traindeck.console.store.writing import annotated

    changed: dict[str, Annotation] = {}
    for annotation in annotations:
        run_id = clean(annotation.run_id)
        known = changed.get(run_id) or mark(db, run_id)
        changed[run_id] = annotation if known is None else joined(known, annotation)
    for run_id, total in changed.items():
        _write(db, run_id, total)
        annotated(db, run_id, total)


def mark(db: Connection, run_id: str) -> Annotation | None:
    """All that was annotated of a run, in one."""
    row = db.execute(f"{_SELECT} WHERE run_id = ?", (run_id,)).fetchone()
    return None if row is None else _annotation(row)


def jobs_without_run(db: Connection) -> list[Annotation]:
    """See `Index.jobs_without_run`."""
    rows = db.execute(
        f"{_SELECT} WHERE backend IS NOT NULL AND NOT deleted "
        "AND run_id NOT IN (SELECT id FROM runs) ORDER BY run_id"
    ).fetchall()
    return [_annotation(row) for row in rows]


def _annotation(row: Sequence[Any]) -> Annotation:
    (
        run_id, time, name, note, archived, looked_at, tags, backend, native_id, attempt,
        submitted_as, attempts, deleted,
    ) = row  # fmt: skip
    try:
        found, ended = json.loads(tags), json.loads(attempts or "[]")
    except (ValueError, TypeError):
        raise Damaged(f"annotations of run {run_id}") from None
    return Annotation(
        run_id=run_id,
        time=time,
        name=name,
        note=note,
        archived=None if archived is None else bool(archived),
        looked_at=looked_at,
        tags=found,
        backend=backend,
        native_id=native_id,
        attempt=attempt,
        submitted_as=submitted_as,
        attempts=statuses(ended),
        deleted=bool(deleted),
    )


def _write(db: Connection, run_id: str, mark: Annotation) -> None:
    def text(value: str | None) -> str | None:
        return None if value is None else clean(value)

    db.execute(
        f"INSERT OR REPLACE INTO marks ({_COLUMNS}) VALUES ({_MARKS})",
        (
            run_id, mark.time, text(mark.name), text(mark.note), mark.archived, mark.looked_at,
            json.dumps({clean(k): text(v) for k, v in mark.tags.items()}), text(mark.backend),
            text(mark.native_id), mark.attempt, text(mark.submitted_as),
            json.dumps(encode(mark.attempts)) if mark.attempts else None, mark.deleted,
        ),
    )  # fmt: skip
