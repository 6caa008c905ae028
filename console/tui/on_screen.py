"""What the terminal shows, cell by cell, so that no cell is written that is there already.

Textual writes whole widgets and whole screens again; over SSH from a slow link that is what a
person waits for. Here every update is held against the cells that were written before, and what is
left of it goes out in as few bytes as it takes: on a screen that stands still a clock that ticks is
twenty bytes, not ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

Cell = tuple[str, Style | None]
"""What stands in a cell, and how. A wide character's second cell is ""."""

UNKNOWN: Cell = ("\0", None)
"""Nobody knows what is there; equal to nothing that is ever written."""

GAP = 4
"""Cells that stayed the same between two that did not are written too, if they are at most as many:
going around them takes about as many bytes."""


MOST = 2000
"""Styles, and characters of one, of which the cells are kept."""


class OnScreen:
    """The cells of the terminal.

    Attributes:
        wary: The terminal may draw characters wider than it should. Rows that hold more than ASCII
            are then written as a whole, so that nothing is left of what was beside its place.
    """

    def __init__(self) -> None:
        self.wary = False
        self._rows: list[list[Cell]] = []
        self._codes: dict[tuple[Style | None, ColorSystem], tuple[str, str, str]] = {}

    def forget(self) -> None:
        """Somebody else wrote to the terminal, or it has another size: nothing is known."""
        self._rows = []

    def difference(self, update: Any) -> Any:
        """An update of Textual's, as one that writes only what differs. What is not an update of
        rows is passed on."""
        if isinstance(update, (LayoutUpdate, ChopsUpdate)):
            return _Difference(self, update)
        if update is not None:
            self.forget()
        return update

    def write(self, pieces: Iterable[tuple[int, int, list[Cell]]], system: ColorSystem) -> str:
        """Put pieces of rows on the screen.

        Args:
            pieces: Row, column, cells.
            system: The colours of the terminal.

        Returns:
            What has to be sent for it.
        """
        wanted: dict[int, list[Cell]] = {}
        wide = set()  # rows in which a half of a character may be left
        for y, x, cells in pieces:
            while len(self._rows) <= y:
                self._rows.append([])
            row = wanted.setdefault(y, self._rows[y][:])
            row.extend([UNKNOWN] * (x + len(cells) - len(row)))
            row[x : x + len(cells)] = cells
            if not _is_single(cells):
                wide.add(y)
        out: list[str] = []
        pen = _Pen(out, system, self._codes)
        for y, row in wanted.items():
            before = self._rows[y]
            if row != before:
                if y in wide or not _is_single(before):
                    _mend(row)
                before.extend([UNKNOWN] * (len(row) - len(before)))
                for start, end in self._runs(before, row):
                    pen.go(y, start)
                    pen.put(row[start:end])
                self._rows[y] = row
        pen.rest()
        return "".join(out)

    def _runs(self, before: Sequence[Cell], row: Sequence[Cell]) -> Iterator[tuple[int, int]]:
        """(start, end) of what has to be written of a row."""
        if not (self._is_plain(before) and self._is_plain(row)):
            yield from _known(row)
            return
        start = last = -1
        for x, cell in enumerate(row):
            unknown = cell is UNKNOWN
            if start >= 0 and (unknown or x - last > GAP):
                yield start, last + 1
                start = -1
            if unknown or cell == before[x]:
                continue
            if start < 0:
                start = x
            last = x
        if start >= 0:
            yield start, last + 1

    def _is_plain(self, row: Sequence[Cell]) -> bool:
        """Whether every character stands in a cell of its own, on every terminal."""
        return _is_single(row) and (not self.wary or all(char.isascii() for char, _ in row))


def _is_single(row: Sequence[Cell]) -> bool:
    chars = [char for char, _ in row]
    return "" not in chars and len("".join(chars)) == len(chars)


def _mend(row: list[Cell]) -> None:
    """Forget wide characters of which only one half is left."""
    x = 0
    while x < len(row):
        char = row[x][0]
        width = 1 if char.isascii() and char else cell_len(char)
        if width == 0 or any(rest for rest, _ in row[x + 1 : x + width]) or x + width > len(row):
            row[x] = UNKNOWN
            width = 1
        x += width


def _known(row: Sequence[Cell]) -> Iterator[tuple[int, int]]:
    start = -1
    for x, cell in enumerate(row):
        if cell is not UNKNOWN and start < 0:
            start = x
        elif cell is UNKNOWN and start >= 0:
            yield start, x
            start = -1
    if start >= 0:
        yield start, len(row)


class _Pen:
    """Writes cells with the fewest changes of style. Begins and ends in the terminal's own."""

    def __init__(
        self,
        out: list[str],
        system: ColorSystem,
        codes: dict[tuple[Style | None, ColorSystem], tuple[str, str, str]],
    ) -> None:
        self._out = out
        self._system = system
        self._codes = codes
        self._y = -1
        self._now = ("", "", "")
        self._style: Style | None = None

    def go(self, y: int, x: int) -> None:
        """To a cell."""
        self._out.append(f"\x1b[{x + 1}G" if y == self._y else f"\x1b[{y + 1};{x + 1}H")
        self._y = y

    def put(self, cells: Iterable[Cell]) -> None:
        """Write these cells from here on."""
        append = self._out.append
        style = self._style
        for char, wanted in cells:
            if wanted is not style:
                self._change(wanted)
                style = wanted
            append(char)

    def rest(self) -> None:
        """Back to the terminal's own style."""
        self._change(None)

    def _change(self, style: Style | None) -> None:
        self._style = style
        wanted = self._codes.get((style, self._system)) or self._learn(style)
        now, self._now = self._now, wanted
        if wanted == now:
            return
        if wanted[0] != now[0] or (now[1] and not wanted[1]) or (now[2] and not wanted[2]):
            # Attributes and colours cannot be taken away one by one on every terminal.
            self._out.append(f"\x1b[{';'.join(['0', *filter(None, wanted)])}m")
        else:
            changed = [new for old, new in zip(now, wanted, strict=True) if old != new]
            self._out.append(f"\x1b[{';'.join(changed)}m")

    def _learn(self, style: Style | None) -> tuple[str, str, str]:
        """Attributes, ink and ground as the numbers of SGR."""
        if style is None:
            found = ("", "", "")
        else:
            ink, ground = style.color, style.bgcolor
            found = (
                Strip.render_ansi(style.without_color, self._system),
                ";".join(ink.downgrade(self._system).get_ansi_codes()) if ink else "",
                ";".join(ground.downgrade(self._system).get_ansi_codes(False)) if ground else "",
            )
        self._codes[style, self._system] = found
        return found


class _Difference(CompositorUpdate):
    """An update that asks, when it is written, what the terminal shows by then."""

    def __init__(self, shown: OnScreen, update: LayoutUpdate | ChopsUpdate) -> None:
        self._shown = shown
        self._update = update

    def render_segments(self, console: Console) -> str:
        system = console._color_system or ColorSystem.TRUECOLOR
        update = self._update
        pieces = _layout(update) if isinstance(update, LayoutUpdate) else _chops(update)
        return self._shown.write(pieces, system)


def _layout(update: LayoutUpdate) -> Iterator[tuple[int, int, list[Cell]]]:
    for y, strips in enumerate(update.strips, update.region.y):
        yield y, update.region.x, [cell for strip in strips for cell in cells_of(strip)]


def _chops(update: ChopsUpdate) -> Iterator[tuple[int, int, list[Cell]]]:
    for y, x1, x2 in update.spans:
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=True):
            if strip is not None and x < x2 and end > x1:
                start, stop = max(x, x1), min(end, x2)
                yield y, start, cells_of(strip.crop(start - x, stop - x))


class _Cells(dict[str, Cell]):
    """The cells of one style, each made once: equal ones are the same, and nothing is left behind
    for the collector by every frame."""

    def __init__(self, style: Style | None) -> None:
        super().__init__()
        self._style = style

    def __missing__(self, char: str) -> Cell:
        cell = self[char] = (char, self._style)
        return cell


_made: dict[Style | None, _Cells] = {}


@lru_cache(maxsize=8192)
def _one_each(text: str) -> bool:
    return all(cell_len(char) == 1 for char in text) and cell_len(text) == len(text)


def cells_of(segments: Iterable[Segment]) -> list[Cell]:
    """Segments as cells. A segment that takes other cells than its characters by themselves (an
    emoji made of several) is one cell's, with empty ones behind it."""
    cells: list[Cell] = []
    for text, style, control in segments:
        if control:
            continue
        made = _made.get(style)
        if made is None or len(made) > MOST:
            if len(_made) > MOST:  # a chart may have a colour for every value
                _made.clear()
            made = _made[style] = _Cells(style)
        if text.isascii() or _one_each(text):
            cells += map(made.__getitem__, text)
            continue
        widths = [cell_len(char) for char in text]
        total = cell_len(text)
        if sum(widths) != total:
            cells += [made[text], *[made[""]] * (total - 1)]
            continue
        for char, width in zip(text, widths, strict=True):
            if width:
                cells += [made[char], *[made[""]] * (width - 1)]
            elif cells:  # a mark, on the character before it, which may be a wide one
                at = next(x for x in range(len(cells) - 1, -1, -1) if cells[x][0])
                cells[at] = (cells[at][0] + char, cells[at][1])
    return cells
