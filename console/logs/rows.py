"""What a screen of a log is made of: rows that are ready to be placed."""

from __future__ import annotations

from collections.abc import Sequence

from traindeck.backends.data import dataclass
from traindeck.console.logs.layout import Fold, Role
from traindeck.console.logs.neutral import LogLine
from traindeck.console.logs.severity import Severity


@dataclass(frozen=True, slots=True, order=True)
class Anchor:
    """A place: the line that begins at `offset`, and which row of it if it is wrapped."""

    offset: int = 0
    sub: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A hit on a row, in cells from the row's first; `current` is the one that was jumped to."""

    start: int
    end: int
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row, ready to be placed.

    Attributes:
        anchor: The place it shows.
        line: Its text, cut to the width (what stands in the gutter not counted).
        head: Whether a line of the log begins here; else it goes on from the row above.
        updates: States of a progress bar folded into this row; 1 for ordinary text.
        state: Which of them is shown, from 1, if it is not the last: that with the current hit.
        time: When it was written, where that differs from the row above (by the second) and is
            known.
        rank: The rank that its prefix names.
        fold: The fold that begins here. Where it is closed its `text` stands instead of the line
            (frames of libraries) or beside it (a whole traceback).
        marks: Hits of the search.
        target: Whether it is the row that was jumped to or, under a filter, that was chosen.
        more: Whether the line goes on beyond the right edge.
    """

    anchor: Anchor
    line: LogLine
    head: bool = True
    updates: int = 1
    state: int | None = None
    time: float | None = None
    rank: int | None = None
    severity: Severity = Severity.NONE
    role: Role = Role.TEXT
    fold: Fold | None = None
    marks: tuple[Mark, ...] = ()
    target: bool = False
    more: bool = False

    @property
    def current(self) -> bool:
        """Whether it shows the current hit."""
        return any(mark.current for mark in self.marks)


def chosen(rows: Sequence[Row]) -> int | None:
    """Which row is where one is: the one that was jumped to, or else that of the current hit."""
    here = [n for n, row in enumerate(rows) if row.target]
    here += [n for n, row in enumerate(rows) if row.current]
    return here[0] if here else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is on the screen.

    Attributes:
        rows: At most as many as the height; fewer at the end of a short log.
        start, end: The bytes they show, of `size`.
        at_end: Whether the last row is the last of the log: what comes after the end goes below.
        percent: How far down the log the first row is, 0 … 99; 100 at its end.
        pending: A filter whose lines are not all known yet: ask again when more is counted.
        identity: Of the log's content; another one means that it was cut or replaced.
    """

    rows: tuple[Row, ...] = ()
    start: int = 0
    end: int = 0
    size: int = 0
    at_end: bool = True
    percent: int = 100
    pending: bool = False
    identity: str = ""
