"""The lines around every screen: header, line of context, footer; and the screen that is too small.

Pure. What does not fit is dropped whole, in an order: counts before places, keys from the middle.
Nothing here is ever cut in half.
"""

from __future__ import annotations

from collections.abc import Sequence

from traindeck.backends.data import dataclass
from traindeck.backends.states import Reach

from .ages import age, next_try
from .cells import Line, Span, clean, clip, clip_line, fit_line, line_width, width
from .glyphs import BEST, Glyphs
from .sentences import choose, fitted

MIN_CELLS, MIN_ROWS = 60, 15
"""Below this no screen is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceMark:
    """A backend in the header. `seen_at`: when it last answered; `next_try`: when it is asked again
    if it does not; `connect`: the key by which a person connects, if only one can."""

    name: str
    reach: Reach = Reach.OK
    seen_at: float = 0.0
    next_try: float | None = None
    connect: str = ""


def header(
    crumbs: Sequence[str],
    counts: Sequence[Line],
    places: Sequence[PlaceMark],
    cells: int,
    now: float,
    glyphs: Glyphs = BEST,
) -> Line:
    """`▌traindeck  Runs   6 running · 2 queued          local ●  gpu1 ◌ 6m`."""
    left: list[Span] = [
        Span(glyphs.cursor, "accent"),
        Span("traindeck", "strong bold"),
        Span("  "),
    ]
    for number, crumb in enumerate(crumbs):
        if number:
            left.append(Span(f" {glyphs.crumb} ", "muted"))
        last = number == len(crumbs) - 1
        left.append(Span(clip(clean(crumb), 40, "both"), "strong bold" if last else "text"))
    right = _places(places, now, glyphs, max(12, cells - line_width(left) - 4))
    room = cells - line_width(left) - line_width(right) - 1 - 3
    middle = _counts(counts, room - 3)
    line = [*left, Span("   "), *middle] if middle else left
    gap = cells - line_width(line) - line_width(right) - 1
    if gap < 1:
        return fit_line(line, cells)
    return (*line, Span(" " * gap), *right, Span(" "))


def _counts(counts: Sequence[Line], room: int) -> Line:
    """As many as there is room for: the first, and the last, which is what needs a person, stay
    longest."""
    shown = list(counts)
    while len(shown) > 2 and line_width(fitted(shown, 1 << 16)) > room:
        del shown[-2]
    middle = fitted(shown, room) if room > 5 else ()
    return middle if line_width(middle) <= room else ()


def _places(places: Sequence[PlaceMark], now: float, glyphs: Glyphs, room: int) -> Line:
    shown = [_place(place, now, glyphs) for place in places]
    whole = [_place(place, now, glyphs, again=True) for place in places]
    if sum(map(line_width, whole)) + 2 * (len(whole) - 1) <= room:
        shown = whole
    # Places that answer are the first to go without a name.
    quiet = [n for n, place in enumerate(places) if place.reach is Reach.OK]
    hidden: list[int] = []
    while True:
        parts = [part for n, part in enumerate(shown) if n not in hidden]
        if hidden:
            parts.append((Span(f"{len(hidden)} more ", "muted"), Span(glyphs.running, "running")))
        line: list[Span] = []
        for part in parts:
            line += [Span("  "), *part] if line else part
        if line_width(line) <= room or not quiet:
            return clip_line(line, room)
        hidden.append(quiet.pop())


def _place(place: PlaceMark, now: float, glyphs: Glyphs, *, again: bool = False) -> Line:
    name = Span(clip(clean(place.name), 16) + " ", "muted")
    if place.reach is Reach.OK:
        return (name, Span(glyphs.running, "running"))
    old = f" {age(now - place.seen_at)}" if place.seen_at else ""
    if place.connect:
        due = f"{place.connect} connects" if again else ""
        line = (name, Span(glyphs.warning, "warn"), Span(old, "stale"))
    else:
        line = (name, Span(glyphs.queued, "stale"), Span(old, "stale"))
        due = next_try(place.next_try, now) if again else ""
    return (*line, Span(f" {due}", "muted")) if due else line


def context(left: Sequence[Line], right: Span, cells: int) -> Line:
    """The line below the header: what is shown, and how."""
    room = width(right.text)
    line = (Span("  "), *fitted(left, cells - 3 - (room + 3 if room else 0)))
    gap = cells - line_width(line) - room - 1
    return (*line, Span(" " * gap), right, Span(" ")) if room and gap > 1 else line


def footer(
    left: Line,
    keys: Sequence[tuple[str, str]],
    cells: int,
    *,
    urgent: bool = False,
    shorter: Line = (),
) -> Line:
    """Context on the left, at most nine keys on the right, most used first. What is `urgent` may
    take the room of all keys but the last; if that is too little, it is said in its `shorter` way,
    and what does not fit of that ends with a whole word."""
    shown = list(keys)
    if urgent:
        most = max(0, cells - _keys_width(shown[-1:]) - 4)
        if shorter and line_width(left) > most:
            left = shorter
        left = _whole_words(left, most)
    while len(shown) > 9:
        del shown[len(shown) // 2]
    # A message may push all keys out but the first and the help.
    wanted = line_width(left)
    enough = wanted if urgent else min(wanted, cells // 2)
    while len(shown) > (1 if urgent else 2) and _keys_width(shown) + enough + 4 > cells:
        del shown[len(shown) // 2 if len(shown) > 2 else 0]
    room = cells - _keys_width(shown) - 4
    if room < min(wanted, 12):
        shown, room = shown[-1:], cells - _keys_width(shown[-1:]) - 4
    head = clip_line(left, max(0, room))
    line: list[Span] = [Span(" "), *head]
    tail: list[Span] = []
    for key, label in shown:
        if tail:
            tail.append(Span("  "))
        tail += [Span(key, "accent bold"), Span(f" {label}", "text")]
    gap = cells - line_width(line) - line_width(tail) - 1
    return fit_line((*line, Span(" " * max(1, gap)), *tail), cells)


def _whole_words(line: Line, cells: int) -> Line:
    """At most `cells` of a line, cut between two words."""
    if line_width(line) <= cells or not line:
        return line
    *kept, last = clip_line(line, max(0, cells - 1))
    words = last.text.rstrip("…").rpartition(" ")[0].rstrip(" ,;:")
    return (*kept, Span(f"{words} …", last.style)) if words else clip_line(line, cells)


def _keys_width(keys: Sequence[tuple[str, str]]) -> int:
    return sum(width(key) + 1 + width(label) for key, label in keys) + 2 * max(0, len(keys) - 1)


def too_small(cells: int, rows: int, counts: Sequence[Line], glyphs: Glyphs = BEST) -> list[Line]:
    """What is left when there is no room: the counts, and how to get out."""
    lines: list[Line] = [
        (Span(glyphs.cursor, "accent"), Span("traindeck", "strong bold")),
        (Span(f" {_too_small(cells, rows)}", "text"),),
        (Span(" "), *_joined(counts)),
        (),
        (Span(" "), Span("q", "accent bold"), Span(" quit; runs go on", "muted")),
    ]
    if rows < 5:
        lines = [lines[0], lines[1], lines[4], lines[2]]
    return [clip_line(line, cells) for line in lines[:rows]]


def _too_small(cells: int, rows: int) -> str:
    needed = f"needs {MIN_CELLS}×{MIN_ROWS}"
    return choose(cells - 1, f"{cells}×{rows} is too small; {needed}.", needed, "small")


def _joined(parts: Sequence[Line]) -> Line:
    line: list[Span] = []
    for part in parts:
        if line:
            line.append(Span("  "))
        line += part
    return tuple(line)
