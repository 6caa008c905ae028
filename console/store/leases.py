"""What processes that share an index agree on: whose turn it is, who waits for what, and that the
clock they date their looks by goes on evenly. Rows with an end; whoever dies leaves one that ends
by itself.
"""

from __future__ import annotations

import time

from traindeck.console.store.database import Connection, Damaged

JUMP = 0.25
"""Seconds that the clock may have been set by without anybody's minding."""

_WANTED = "want "
_CLOCK = "clock"


def take(db: Connection, name: str, ttl: float) -> bool:
    """See `Index.try_lease`."""
    if is_held(db, name, ttl):
        return False
    _put(db, name, time.time() + ttl)
    return True


def is_held(db: Connection, name: str, ttl: float) -> bool:
    """Whether somebody has this lease, which can last `ttl` seconds."""
    until = _until(db, name)
    # One that ends later than it can is of a clock that was set back since.
    return until is not None and 0 < until - time.time() <= ttl


def release(db: Connection, name: str) -> None:
    """See `Index.release`."""
    db.execute("DELETE FROM leases WHERE name = ?", (name,))


def is_wanted(db: Connection, run_id: str, ttl: float) -> bool:
    """Whether that a run is waited for was said less than half of `ttl` ago."""
    until = _until(db, _WANTED + run_id)
    return until is not None and ttl / 2 < until - time.time() <= ttl


def want(db: Connection, run_id: str, ttl: float) -> None:
    """See `Index.want`."""
    now = time.time()
    db.execute(
        "DELETE FROM leases WHERE substr(name, 1, ?) = ? AND NOT until BETWEEN ? AND ?",
        (len(_WANTED), _WANTED, now, now + ttl),
    )
    _put(db, _WANTED + run_id, now + ttl)


def wanted(db: Connection) -> list[str]:
    """Ids of the runs that somebody waits for."""
    rows = db.execute(
        "SELECT substr(name, ?) FROM leases WHERE substr(name, 1, ?) = ? AND until > ?",
        (len(_WANTED) + 1, len(_WANTED), _WANTED, time.time()),
    )
    return [run_id for (run_id,) in rows]


def clock_goes_on(db: Connection) -> bool | None:
    """Whether the clock was not set since `note_clock`; None if nobody has noted it yet."""
    noted = _until(db, _CLOCK)
    return None if noted is None else abs(noted - _booted()) < JUMP


def note_clock(db: Connection) -> None:
    """See `Index.note_clock`."""
    _put(db, _CLOCK, _booted())


def _booted() -> float:
    """When this machine was booted, by the clock as it is now: another time once it was set, and
    after another boot."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _until(db: Connection, name: str) -> float | None:
    row = db.execute("SELECT until FROM leases WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    if not isinstance(row[0], float):
        raise Damaged(f"the lease {name!r} has no end")
    return row[0]


def _put(db: Connection, name: str, until: float) -> None:
    db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?)", (name, until))
