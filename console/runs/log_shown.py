"""A screenful of a log, and a place in one to come back to: what a session tells a front end."""

from __future__ import annotations

from dataclasses import field

from traindeck.backends.base import LinkState
from traindeck.backends.data import dataclass
from traindeck.console.logs.findings import Finding
from traindeck.console.logs.rows import Window
from traindeck.console.logs.search import Pattern
from traindeck.console.logs.severity import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A place in a log to come back to: an offset, as long as the log is the same."""

    offset: int = 0
    identity: str = ""
    wrap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogShown:
    """A screenful of a log and what is known of the whole.

    Attributes:
        spot: Where that is.
        first, last, lines: Numbers of the first and last line shown, and of all; None while they
            are being counted.
        hits: Hits counted so far; `hit` is the current one's number, `counting` how far the count
            of search or filter is (0 to 1), None when nothing is being counted.
        stopped: Whether the count was stopped before its end: `hits` are at least so many.
        matched: Hits of the filter so far.
        aside: Whether the filter is set aside: a line of it is looked at among its neighbours.
        first_error: Offset of the first line that looks like an error, and its number.
        not_finite: Where there is no error: offset of the first line whose loss is no number, if
            that is so at the end, and the line's number.
        map: Gravest severity of each row of the map at the edge; `hit_rows` where hits are.
        finding: What ended the run, if it failed and its log or end says so.
        surveyed: How much of the log has been read through, 0 to 1.
        grown: Whether all of it had been read through before: what is not read yet came since, and
            what was last known of the whole stands until there is better.
        brief: Whether reading and counting have gone on for no longer than a moment, so that how
            far they are is not worth saying.
        busy: Whether more will be known in a moment.
        left: Cells that one has moved to the right.
        timed: Whether it is known when something was written.
        over: Whether nothing more will be written.
        why_none: Why there is no log, where nothing can be read.
        broken: Why search or filter cannot go on.
        problem: Why nothing can be shown.
        link: How it stands with the way to the place it lies at: what is shown may be old.
        unread: Whether it is too large, and too far away, to be read through unasked: nothing is
            known of its lines and errors.
    """

    window: Window = field(default_factory=Window)
    spot: Spot = field(default_factory=Spot)
    first: int | None = None
    last: int | None = None
    lines: int | None = None
    pattern: Pattern | None = None
    hits: int = 0
    hit: int | None = None
    counting: float | None = None
    stopped: bool = False
    filter: Pattern | None = None
    matched: int = 0
    aside: bool = False
    first_error: int | None = None
    first_error_line: int | None = None
    not_finite: int | None = None
    not_finite_line: int | None = None
    map: tuple[Severity, ...] = ()
    hit_rows: frozenset[int] = frozenset()
    finding: Finding | None = None
    surveyed: float = 1.0
    grown: bool = False
    brief: bool = False
    busy: bool = False
    following: bool = False
    left: int = 0
    wrap: bool = False
    timed: bool = False
    over: bool = False
    why_none: str = ""
    broken: str = ""
    problem: str = ""
    link: LinkState = field(default_factory=LinkState)
    unread: bool = False

    @property
    def filtered(self) -> bool:
        """Whether only the filter's lines are shown."""
        return self.filter is not None and not self.aside
