"""The columns of the table of runs: which fit a width, where they stand, how wide they are.

What does not fit in a narrow terminal is dropped as a whole column, in a fixed order. What a person
named (names, tags, notes) takes the room that it needs, in steps, so that the rest has it.

A parameter or tag may be a column of its own: `=lr` is the key of that of `lr`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from traindeck.backends.data import dataclass
from traindeck.console.store.records import RunRecord

from .cells import Line, Span, clean, clip, fit, fit_line, width
from .states import metric_word


@dataclass(frozen=True, slots=True)
class Column:
    """A column and its place. `x` counts cells from the left edge of the table."""

    key: str
    head: str
    x: int
    cells: int
    align: str = "left"


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of one width, left to right. `start` is where sentences begin (DONE)."""

    columns: tuple[Column, ...]
    width: int
    start: int
    end: int

    def __contains__(self, key: str) -> bool:
        return any(column.key == key for column in self.columns)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a column is: its head, its cells when roomy and when tight, the most it may grow to."""

    head: str
    roomy: int
    tight: int
    align: str = "left"


_KINDS: dict[str, _Kind] = {
    "state": _Kind("STATE", 11, 11),
    "id": _Kind("ID", 12, 12),
    "name": _Kind("NAME", 18, 18),
    "project": _Kind("PROJECT", 12, 12),
    "where": _Kind("WHERE", 10, 9),
    "gpu": _Kind("GPU", 4, 4, align="right"),
    "age": _Kind("AGE", 5, 5, align="right"),
    "done": _Kind("DONE", 14, 10),
    "left": _Kind("LEFT", 5, 5, align="right"),
    "metric": _Kind("LOSS", 8, 6),
    "eval": _Kind("EVAL", 8, 8),
    "trend": _Kind("LAST HALF", 13, 6),
    "rate": _Kind("TOK/S", 7, 7, align="right"),
    "tags": _Kind("TAGS", 12, 12),
    "note": _Kind("NOTE", 20, 12),
}
_NAMED_CELLS = 16
"""The most that the column of one parameter or tag takes."""
ORDER = tuple(_KINDS)
OPTIONAL = tuple(key for key in ORDER if key not in ("state", "name"))

# A terminal of this width or more shows the column by itself.
_SHOWN_FROM = {
    "state": 0,
    "name": 0,
    "done": 0,
    "metric": 0,
    "where": 80,
    "age": 80,
    "left": 80,
    "trend": 80,
    "tags": 120,
    "eval": 160,
    "rate": 160,
    "id": 200,
    "project": 200,
    "note": 200,
}
# Dropped first to last when what was chosen does not fit.
_DROP = (
    "note", "project", "gpu", "rate", "eval", "id", "tags", "trend", "left", "age", "where",
    "metric", "done",
)  # fmt: skip
# Which column grows to how many cells, as long as there is room. In names and tags runs differ.
_GROWS = (("name", 32), ("tags", 20), ("name", 40), ("tags", 80), ("trend", 30), ("note", 80))
_SHORT_NAME = 12
"""The least that NAME has, however short the names are."""
_STEP = 8
"""Those that take what they need grow by so much at once: scrolling must not shift columns."""

AFTER = 4
"""Digits after the point in metric columns."""

LEAD = 2
"""Cells before the first column: the cursor and the mark."""


_WORDS = {
    "id": "id",
    "project": "project",
    "where": "where it runs",
    "gpu": "GPUs",
    "age": "age",
    "done": "done, in percent",
    "left": "time left",
    "metric": "main metric",
    "eval": "metric on held-out data",
    "trend": "trend of the last half",
    "rate": "tokens a second",
    "tags": "tags",
    "note": "note",
}


def column_words(key: str) -> str:
    """What a column is called where it is chosen."""
    return f"{clean(key[1:])}, a tag or parameter" if is_named(key) else _WORDS.get(key, key)


def column_of(name: str) -> str:
    """The key of the column of a parameter or tag."""
    return f"={name}"


def is_named(key: str) -> bool:
    """Whether a column is that of one parameter or tag."""
    return key.startswith("=")


def _kind(key: str) -> _Kind:
    if not is_named(key):
        return _KINDS[key]
    head = clip(clean(key[1:]).upper(), _NAMED_CELLS)
    return _Kind(head, _NAMED_CELLS, _NAMED_CELLS, align="right")


def _place(key: str) -> int:
    """Where a column stands: what runs are told apart by stands before what is measured of them."""
    return ORDER.index("where" if is_named(key) else key) * 2 - is_named(key)


def default_columns(cells: int) -> tuple[str, ...]:
    """The columns a terminal of this width shows by itself."""
    return tuple(key for key in ORDER if cells >= _SHOWN_FROM.get(key, 10_000))


def layout(
    cells: int,
    chosen: Collection[str] | None = None,
    *,
    lead: int = LEAD,
    metric: str = "LOSS",
    needed: Mapping[str, int] | None = None,
) -> Layout:
    """Columns for a width.

    Args:
        chosen: Keys of `ORDER`, and of parameters and tags, to show instead of the default ones, as
            far as they fit.
        metric: Head of the metric column.
        needed: What the runs to be shown need (see `needs`); as much as there is, by default.
    """
    needed = needed or {}
    asked = dict.fromkeys(["state", "name", *(chosen or default_columns(cells))])
    wanted = sorted((key for key in asked if key in ORDER or is_named(key)), key=_place)
    tight = cells < 100
    while True:
        sizes = {key: _size(key, cells, tight, needed) for key in wanted}
        gaps = _gaps(wanted, tight)
        free = cells - lead - sum(sizes.values()) - sum(gaps.values()) - (0 if tight else 1)
        if free >= 0 or len(wanted) <= 2:
            break
        wanted.remove(_next_to_drop(wanted, cells))
    free = max(free, 0)
    for key, most in _GROWS:
        if key in sizes:
            if key == "name" and cells < 80:  # it must leave room for the reason
                most = 16 + (cells - 60) // 3
            if key in needed:
                most = min(most, _stepped(needed[key]))
            more = max(0, min(free, most - sizes[key]))
            sizes[key] += more
            free -= more
    if free < 0 or sum(sizes.values()) + lead > cells:
        sizes["name"] = max(1, sizes["name"] - (sum(sizes.values()) + lead + 1 - cells))
    columns = []
    x = lead
    for key in wanted:
        x += gaps[key]
        columns.append(
            Column(key, _head(key, sizes[key], metric, tight), x, sizes[key], _kind(key).align)
        )
        x += sizes[key]
    start = next((c.x for c in columns if c.key == "done"), x + 2)
    return Layout(tuple(columns), cells, start, cells if tight else cells - 1)


def _next_to_drop(wanted: Sequence[str], cells: int) -> str:
    """Which column goes first. What a person asked for beyond the usual outlives what is usual, but
    for how far a run is and how good."""
    usual = {*default_columns(cells)} - {"done", "metric"}
    named = [key for key in reversed(wanted) if is_named(key)]
    for kind in (usual, {*OPTIONAL} - {"done", "metric"}, {*named}, {*OPTIONAL}):
        for key in (*_DROP, *named):
            if key in kind and key in wanted:
                return key
    return wanted[-1]


def _size(key: str, cells: int, tight: bool, needed: Mapping[str, int]) -> int:
    if key == "state" and cells < 80:
        return 1
    if key == "name" and cells < 80:
        return 16
    kind = _kind(key)
    size = kind.tight if tight else kind.roomy
    if key not in needed:
        return size
    if key == "name":
        return min(size, max(_SHORT_NAME, _stepped(needed[key])))
    return max(width(kind.head), min(size, needed[key]))


def _stepped(cells: int) -> int:
    return -(-cells // _STEP) * _STEP


def _head(key: str, cells: int, metric: str, tight: bool) -> str:
    if key == "state" and cells < 3:
        return ""
    if key == "trend" and tight:
        return "TREND"
    if key in ("metric", "eval"):
        # Over the first digit: the figures below stand on their points.
        word = metric if key == "metric" else _KINDS[key].head
        return " " * min(cells - AFTER - 2, max(0, cells - len(word))) + word
    return _kind(key).head


def _gaps(keys: Sequence[str], tight: bool) -> dict[str, int]:
    """Cells before each column: two, one where the terminal is narrow or a number explains the
    number before it."""
    narrow = {"left"} if not tight else set(keys) - {"done"}
    gaps = {key: 1 if key in narrow else 2 for key in keys}
    gaps[keys[0]] = 0
    return gaps


def heads(table: Layout) -> Line:
    """The line of column heads."""
    spans: list[Span] = []
    x = 0
    for column in table.columns:
        spans.append(Span(" " * (column.x - x)))
        spans.append(Span(fit(column.head, column.cells, column.align), "muted"))
        x = column.x + column.cells
    return fit_line(spans, table.width)


def metric_head(runs: Sequence[RunRecord]) -> str:
    """What the metric column is called: the metric's name if all shown have the same."""
    words = {metric_word(run.main).upper() for run in runs if run.main}
    if len(words) == 1:
        word = clean(words.pop())
        return word if width(word) <= 8 else "METRIC"
    return "METRIC" if words else "LOSS"
