# ruff: noqa: S608  (SQL is put together from constants; what a person typed is always bound)
"""What people call a run: full ids, prefixes, names; and the shortest of each."""

from __future__ import annotations

from collections.abc import Collection

from traindeck.backends.errors import excerpt
from traindeck.backends.states import ACTIVE
from traindeck.console.store.database import Connection
from traindeck.console.store.errors import AmbiguousRun, NoSuchRun
from traindeck.console.store.ids import SHORTEST, shared_length
from traindeck.console.store.rows import clean, fold

_LISTED = 5
_FOREIGN = ":"
"""What stands in the ids of jobs that were submitted by hand, and in no run's."""
_ACTIVE = ", ".join(f"'{state}'" for state in sorted(ACTIVE))


def resolve(db: Connection, text: str, *, strict: bool, active: bool) -> str:
    """See `Index.resolve`."""
    wanted = clean(text)
    for exact in (wanted, wanted.lower()):
        row = db.execute("SELECT id FROM runs WHERE id = ?", (exact,)).fetchone()
        if row is not None:
            return str(row[0])
    first = f"state IN ({_ACTIVE}) DESC," if active else ""
    named = db.execute(
        f"SELECT id, name FROM runs WHERE folded = ? ORDER BY name = ? DESC, {first} "
        "created DESC, n DESC LIMIT ?",
        (fold(wanted), wanted, _LISTED),
    ).fetchall()
    if strict and len(named) > 1:
        raise AmbiguousRun(
            f"Several runs are called {text!r}: {', '.join(run_id for run_id, _ in named)}.",
            "Give a full id.",
            tuple(run_id for run_id, _ in named),
        )
    if named:
        run_id, name = named[0]
        if strict and name != wanted:
            raise NoSuchRun(
                f"There is no run {excerpt(text)!r}: here names count as they are written.",
                f"Did you mean {name}?",
            )
        return str(run_id)
    prefix = wanted.lower()
    # A job that was submitted by hand is called by all of its number: lab:8 is not lab:81.
    found = _beginning(db, prefix, foreign=False) if prefix else []
    if strict and found:
        raise NoSuchRun(
            f"{text!r} is only the beginning of an id, which is not enough here.",
            f"Give the full id ({found[0][0]})"
            + (f" or the exact name ({found[0][1]})." if found[0][1] else "."),
        )
    if len(prefix) < SHORTEST and found:
        raise NoSuchRun(
            f"{text!r} is too short for an id: at least {SHORTEST} characters are needed.",
            f"{found[0][0]} is {found[0][1]}.",
        )
    if len(found) > 1:
        names = ", ".join(f"{run_id} {name}" for run_id, name in found[:_LISTED])
        more = ", …" if len(found) > _LISTED else ""
        raise AmbiguousRun(
            f"{text!r} fits several runs: {names}{more}.",
            "Give more of the id.",
            tuple(run_id for run_id, _ in found),
        )
    if found:
        return found[0][0]
    raise NoSuchRun(f"There is no run {excerpt(text)!r}.", _nearest(db, wanted))


def begins_id(db: Connection, text: str) -> tuple[str, str] | None:
    """See `Index.begins_id`."""
    prefix = clean(text).lower()
    found = _beginning(db, prefix) if len(prefix) >= SHORTEST else []
    return found[0] if found else None


def short_ids(db: Connection, run_ids: Collection[str]) -> dict[str, str]:
    """See `Index.short_ids`: a prefix is unique when it is longer than what the id shares with its
    neighbours in order."""
    short = {}
    for run_id in run_ids:
        if _FOREIGN in run_id:
            short[run_id] = run_id
            continue
        before = db.execute("SELECT max(id) FROM runs WHERE id < ?", (run_id,)).fetchone()[0]
        after = db.execute("SELECT min(id) FROM runs WHERE id > ?", (run_id,)).fetchone()[0]
        shared = max(shared_length(run_id, other or "") for other in (before, after))
        short[run_id] = run_id[: max(SHORTEST, shared + 1)]
    return short


def _beginning(db: Connection, prefix: str, *, foreign: bool = True) -> list[tuple[str, str]]:
    # The greatest character there is: everything that begins with the prefix sorts below.
    only = "" if foreign else f"AND instr(id, '{_FOREIGN}') = 0"
    return db.execute(
        f"SELECT id, name FROM runs WHERE id >= ? AND id < ? {only} ORDER BY created DESC LIMIT ?",
        (prefix, prefix + "\U0010ffff", _LISTED + 1),
    ).fetchall()


def _nearest(db: Connection, wanted: str) -> str:
    from difflib import get_close_matches

    rows = db.execute("SELECT name FROM runs ORDER BY created DESC LIMIT 1000").fetchall()
    if not rows:
        return "There are no runs yet; `traindeck run -- COMMAND` starts one."
    near = get_close_matches(wanted, [name for (name,) in rows], n=1)
    return f"Did you mean {near[0]}?" if near else "`traindeck ls --all` lists them."
