# ruff: noqa: S608  (SQL is put together from constants)
"""Looks that bring nothing new but their moment: of ten thousand runs that go on waiting these are
all there are, every two seconds, beside a screen that must answer its keys. They are entered
together, by a few statements that leave the processor to others meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from traindeck.backends.states import Rank, Reach, State, Status
from traindeck.console.store.database import Connection
from traindeck.console.store.records import iso

T = TypeVar("T")
_AT_ONCE = 500
_COLUMNS = (
    "r.id, r.n, r.state, r.attempt, r.rank, r.reach, r.observed_at, r.troubled_at, r.exit_code, "
    "r.signal, r.ended, r.started, r.host, r.pid, r.log_bytes, t.reason, t.evidence"
)
_REACH, _SEEN, _NEXT = '"reach": ', ', "observed_at": ', ', "backend": '
"""What stands in the ready JSON before how a run's place can be reached, between that and when it
was seen last, and after it. What comes before is no text in which they could stand, too."""


def enter(
    db: Connection, statuses: Mapping[str, Status], now: float, stamp: int
) -> tuple[dict[str, Status], list[str]]:
    """Enter those looks. Returns the others, and the runs whose place answers again."""
    left = dict(statuses)
    back: list[str] = []
    again: dict[float, list[int]] = {}
    for part in _pieces(list(statuses)):
        for row in db.execute(
            f"SELECT {_COLUMNS} FROM runs r JOIN texts t ON t.n = r.n "
            f"WHERE r.id IN ({_marks(part)})",
            part,
        ):
            seen = statuses[row[0]]
            if _says_the_same(row, seen, now):
                del left[row[0]]
                if row[6] == seen.observed_at:
                    continue  # the very same look: nothing was heard of the place since
                again.setdefault(seen.observed_at, []).append(row[1])
                if row[5] != str(Reach.OK):
                    back.append(row[0])
    for moment, numbers in again.items():
        shown = f'"{Reach.OK}"{_SEEN}{json.dumps(iso(moment))}'
        for some in _pieces(numbers):
            db.execute(
                "UPDATE runs SET reach = ?, observed_at = ?, touched = ? "
                f"WHERE n IN ({_marks(some)})",
                (str(Reach.OK), moment, stamp, *some),
            )
            _put_in(db, shown, _NEXT, some)
    return left, back


def silent(db: Connection, numbers: Sequence[int], reach: Reach, stamp: int) -> None:
    """Enter that a place does not answer, of its runs that are not over: nothing else is new."""
    for some in _pieces(numbers):
        db.execute(
            f"UPDATE runs SET reach = ?, touched = ? WHERE n IN ({_marks(some)})",
            (str(reach), stamp, *some),
        )
        _put_in(db, f'"{reach}"', _SEEN, some)


def _put_in(db: Connection, shown: str, following: str, numbers: Sequence[int]) -> None:
    """Put something into ready JSON in the place of what stands before `following`."""
    db.execute(
        "UPDATE ready SET head = substr(head, 1, instr(head, ?) + ?) || ? || "
        f"substr(head, instr(head, ?)) WHERE n IN ({_marks(numbers)})",
        (_REACH, len(_REACH) - 1, shown, following, *numbers),
    )


def _says_the_same(row: Sequence[Any], seen: Status, now: float) -> bool:
    """Whether a look at a run that is not over tells of it what is known."""
    (
        _, _, state, attempt, rank, reach, observed_at, troubled_at, exit_code, signal, ended,
        started, host, pid, log_bytes, reason, evidence,
    ) = row  # fmt: skip
    return (
        state == str(seen.state)
        and not seen.state.terminal
        and attempt == seen.attempt
        and rank == seen.rank < Rank.NATIVE
        and seen.reach is Reach.OK
        # Of one that runs and was out of reach, what is wrong with it begins now.
        and (reach == str(Reach.OK) or seen.state is not State.RUNNING)
        and (
            (observed_at < seen.observed_at and observed_at <= now)
            or (observed_at, reach) == (seen.observed_at, str(Reach.OK))
        )
        and (exit_code, signal, ended) == (seen.exit_code, seen.signal, seen.ended)
        and reason == seen.reason
        and (troubled_at is not None) == bool(reason and seen.state is State.RUNNING)
        and seen.started in (None, started)
        and seen.host in (None, "", host)
        and seen.pid in (None, pid)
        and seen.log_bytes in (None, log_bytes)
        and evidence == json.dumps(seen.evidence)
    )


def _pieces(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for low in range(0, len(values), _AT_ONCE):
        yield values[low : low + _AT_ONCE]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
