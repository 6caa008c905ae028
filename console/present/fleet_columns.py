"""The columns of the Fleet: which fit a width, and where they stand. What does not fit is dropped
as a whole column, in a fixed order; a number is never cut."""

from __future__ import annotations

from traindeck.backends.data import dataclass

from .cells import Line, Span, fit

LEAD = 2
"""Cells before the first column: those of the cursor and the mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column; `x` counts cells from the left edge."""

    key: str = ""
    head: str = ""
    x: int = 0
    cells: int = 0
    align: str = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The columns of one width, left to right."""

    columns: tuple[Column, ...] = ()
    width: int = 0

    def __contains__(self, key: str) -> bool:
        return any(column.key == key for column in self.columns)

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns' names, left to right."""
        return tuple(column.key for column in self.columns)


# Key, head, cells when roomy and when tight, blank cells before it, and the width from which on the
# terminal shows it.
_KINDS: tuple[tuple[str, str, int, int, int, int], ...] = (
    ("shape", "", 1, 1, 0, 0),
    ("host", "HOST", 10, 9, 0, 0),
    ("gpu", "GPU", 13, 9, 2, 0),
    ("util", "UTIL", 14, 8, 2, 80),
    ("percent", "%", 4, 4, 1, 0),
    ("trend", "LAST 2 MIN", 16, 12, 2, 100),
    ("memory", "MEMORY", 12, 8, 2, 120),
    ("gib", "GiB", 11, 10, 1, 0),
    ("watts", "W", 4, 4, 2, 80),
    ("degrees", "°C", 3, 3, 2, 80),
    ("clock", "MHz", 5, 5, 2, 160),
    ("ecc", "ECC", 6, 6, 2, 200),
    ("pcie", "PCIe", 5, 5, 2, 200),
    ("who", "WHO · RUN", 0, 0, 2, 0),
)
_NUMBERS = frozenset({"percent", "gib", "watts", "degrees", "clock", "ecc", "pcie"})
ROOMY = 120
"""Cells from which on names, bars and memory have the room they like."""
SHAPE = 80
"""Cells below which a sign says what bars and numbers have no room to."""


def layout(cells: int, *, hosts: bool = False) -> Layout:
    """The columns for a terminal's width.

    Args:
        hosts: Each row says of which host it is: the rows do not stand below their hosts. The bars
            give way to that.
    """
    roomy = cells >= ROOMY
    columns: list[Column] = []
    x = LEAD
    for key, head, wide, tight, gap, least in _KINDS:
        given_way = hosts and key == ("trend" if roomy else "util")
        absent = (key == "host" and not hosts) or (key == "shape" and cells >= SHAPE)
        if cells < least or absent or (given_way and cells < 160):
            continue
        if columns:
            x += gap if roomy or key in ("who", "watts", "degrees") else max(1, gap - 1)
        if key == "who":
            title = f"{head} · PID" if cells >= 200 else head
            columns.append(Column(key=key, head=title, x=x, cells=max(0, cells - x - 1)))
            break
        size = wide if roomy else tight
        if cells >= (200 if hosts else 160):
            size += {"gpu": 8, "host": 6, "util": 4, "trend": 8}.get(key, 0)
        align = "right" if key in _NUMBERS else "left"
        columns.append(Column(key=key, head=head, x=x, cells=size, align=align))
        x += size
    return Layout(columns=tuple(columns), width=cells)


def heads(table: Layout) -> Line:
    """The line of heads."""
    spans: list[Span] = []
    x = 0
    for column in table.columns:
        spans.append(Span(" " * (column.x - x)))
        spans.append(Span(fit(column.head, column.cells, column.align), "muted"))
        x = column.x + column.cells
    return tuple(spans)
