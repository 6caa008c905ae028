"""From the bytes of a log line to text that a terminal cannot be harmed by, with its colours.

A log is written by a stranger. Of everything in it that a terminal would act upon only colours and
weights (SGR) survive, as data; the rest is dropped or shown as a picture. What comes out has no
control character, no escape, no bidirectional control, no joiner and no stack of marks, and its
width in cells is known, so that rows line up. Nothing may be hidden by it either: an unterminated
escape swallows its own introducer only, and concealed text is shown.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import replace
from typing import Any

from traindeck.backends.data import dataclass
from traindeck.console.logs.widths import BREAK, DROP, REPLACE, width

Color = int | tuple[int, int, int]
"""A palette index 0 … 255 (the first 16 are the terminal's own colours), or red, green, blue."""

TAB = 8
"""Cells between tab stops, counted from the start of the line."""
MARKS = 4
"""Combining marks kept on one character; more is a drawing over other rows."""


@dataclass(frozen=True, slots=True)
class Style:
    """The look that the log itself asked for. `None` is the default colour."""

    fg: Color | None = None
    bg: Color | None = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    reverse: bool = False
    strike: bool = False


PLAIN = Style()


@dataclass(frozen=True, slots=True)
class Span:
    """A style for the characters [start, end) of a line's text."""

    start: int
    end: int
    style: Style


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, safe to show.

    Attributes:
        text: What to show: printable characters only.
        spans: Styles other than the default, in order, without overlaps.
        cells: Width of `text`.
        narrow: Whether every character takes one cell, so that cells are indices.
        places: Where an index into the decoded bytes lands in `text`: pairs of the two at the
            start of each stretch that was taken over as it was.
    """

    text: str = ""
    spans: tuple[Span, ...] = ()
    cells: int = 0
    narrow: bool = True
    places: tuple[tuple[int, int], ...] = ()

    def pieces(self) -> list[tuple[str, Style]]:
        """The text in stretches of one style."""
        out: list[tuple[str, Style]] = []
        at = 0
        for span in self.spans:
            if span.start > at:
                out.append((self.text[at : span.start], PLAIN))
            out.append((self.text[span.start : span.end], span.style))
            at = span.end
        if at < len(self.text):
            out.append((self.text[at:], PLAIN))
        return out


# Possessive throughout: whatever is thrown at it, every character is looked at once or twice.
_TOKEN = re.compile(
    "\x1b\\[([0-9;:]*+)m"  # SGR
    "|\x1b\\[[0-?]*+[ -/]*+[@-~]"  # any other control sequence
    "|\x1b[\\]PX^_][^\x07\x1b\x9c]*+(?:\x07|\x1b\\\\|\x9c)"  # OSC, DCS, SOS, PM, APC, terminated
    "|\x1b[ -/]*+[0-~]"  # any other escape, also the introducer of one that does not end
    "|(\x00{4,}+)"
    "|([^ -~])"
)
_PICTURES = {chr(code): chr(0x2400 + code) for code in range(32)} | {"\x7f": "␡"}
# A bell and a backspace do nothing here; carriage returns are folded before.
_SILENT = "\x07\x08\r\n"


def neutral(data: bytes) -> LogLine:
    """The line that a log's bytes show: of one unit, without its newline. Never raises.

    Invalid UTF-8 becomes U+FFFD. The cost is linear in the length.
    """
    raw = data.decode("utf-8", "replace")
    if raw.isascii() and raw.isprintable():
        return LogLine(raw, (), len(raw))
    out: list[str] = []
    spans: list[Span] = []
    places: list[tuple[int, int]] = []
    style, since = PLAIN, 0
    at = length = cells = marks = 0
    narrow = True
    for token in _TOKEN.finditer(raw):
        start, end = token.span()
        if start > at:
            places.append((at, length))
            out.append(raw[at:start])
            length += start - at
            cells += start - at
            marks = 0
        at = end
        sgr, zeros, character = token.groups()
        if sgr is not None:
            after = _apply(style, sgr)
            if after != style:
                if style != PLAIN and length > since:
                    spans.append(Span(since, length, style))
                style, since = after, length
            continue
        if zeros is not None:
            shown, size = f"␀×{len(zeros)}", len(f"␀×{len(zeros)}")
        elif character is None or character in _SILENT:
            continue
        elif character == "\t":
            size = TAB - cells % TAB
            shown = " " * size
        elif character in _PICTURES:
            shown, size = _PICTURES[character], 1
        else:
            shown, size = character, width(character)
            if size == 0:
                marks += 1
                if marks > MARKS:
                    continue
                narrow = False
                if cells == 0:
                    shown, size = "◌" + character, 1
            elif size == 2:
                narrow = False
            elif size == DROP:
                continue
            elif size == REPLACE:
                shown, size = "\ufffd", 1
            elif size == BREAK:
                shown, size = "␤", 1
        if size:
            marks = 0
        places.append((start, length))
        out.append(shown)
        length += len(shown)
        cells += size
    if at < len(raw):
        places.append((at, length))
        out.append(raw[at:])
        length += len(raw) - at
        cells += len(raw) - at
    if style != PLAIN and length > since:
        spans.append(Span(since, length, style))
    return LogLine("".join(out), tuple(spans), cells, narrow, tuple(places))


def place(line: LogLine, data: bytes, offset: int) -> int:
    """Where in `line.text` the byte at `offset` of the data it was made from is shown."""
    index = len(data[:offset].decode("utf-8", "replace"))
    if not line.places:
        return min(index, len(line.text))
    number = bisect_right(line.places, (index, 1 << 60)) - 1
    if number < 0:
        return 0
    start, shown = line.places[number]
    last = number + 1 == len(line.places)
    limit = len(line.text) if last else line.places[number + 1][1]
    return min(shown + index - start, limit)


def column(line: LogLine, index: int) -> int:
    """Cells before the character at `index` of `line.text`."""
    if line.narrow:
        return min(index, line.cells)
    return sum(map(width, line.text[:index]))


def clip(line: LogLine, left: int, size: int) -> LogLine:
    """The cells [left, left + size) of a line. A wide character cut in two leaves a space."""
    if left <= 0 and line.cells <= size:
        return line
    if size <= 0 or left >= line.cells:
        return LogLine()
    if line.narrow:
        first, last, before, after = left, min(left + size, len(line.text)), "", ""
        cells = last - first
    else:
        first, last, before, after, cells = _cut(line.text, left, size)
    shift = first - len(before)
    spans = tuple(
        Span(max(span.start, first) - shift, min(span.end, last) - shift, span.style)
        for span in line.spans
        if span.start < last and span.end > first
    )
    return LogLine(before + line.text[first:last] + after, spans, cells, line.narrow)


def _cut(text: str, left: int, size: int) -> tuple[int, int, str, str, int]:
    """Indices of the characters wholly within [left, left + size), the spaces for a wide one that
    is not, at either side, and the cells of all that."""
    cells = 0
    first: int | None = None
    before = after = ""
    last = len(text)
    for index, character in enumerate(text):
        wide = width(character)
        if first is None and cells >= left and wide:  # a mark belongs to the character before it
            first = index
            before = " " * (cells - left)
        if first is not None and cells + wide > left + size:
            last = index
            after = " " * (left + size - cells)
            break
        cells += wide
    if first is None:
        # Nothing but the second half of the last character is inside.
        first, before = last, " " * (cells - left)
    return first, last, before, after, cells + len(after) - left


def wrap(line: LogLine, size: int) -> list[LogLine]:
    """A line cut into rows of at most `size` cells; at least one row."""
    if line.cells <= size or size <= 0:
        return [line]
    if line.narrow:
        return [clip(line, left, size) for left in range(0, line.cells, size)]
    rows = []
    start = cells = 0
    for index, character in enumerate(line.text):
        wide = width(character)
        if cells + wide > size and index > start:
            rows.append(_part(line, start, index, cells))
            start, cells = index, 0
        cells += wide
    rows.append(_part(line, start, len(line.text), cells))
    return rows


def wrap_words(line: LogLine, size: int) -> list[LogLine]:
    """A line cut into rows of at most `size` cells between words; only a word that is longer than a
    row is broken. The blank between two rows hangs at the end of the first, which may be a cell
    wider by it, so that the rows together are still the whole line."""
    if line.cells <= size or size <= 0:
        return [line]
    rows = []
    start, text = 0, line.text
    while start < len(text):
        end = _reach(text, start, size, narrow=line.narrow)
        if end < len(text):
            blank = text.rfind(" ", start, end + 1)
            while 0 <= blank < len(text) - 1 and not width(text[blank + 1]):
                blank = text.rfind(" ", start, blank)  # a mark stands on this one
            if blank > start and text[start:blank].strip():  # nothing but the indentation is no row
                end = blank + 1
            end = max(end, start + 1)
        cells = end - start if line.narrow else sum(map(width, text[start:end]))
        rows.append(_part(line, start, end, cells))
        start = end
    return rows


def _reach(text: str, start: int, size: int, *, narrow: bool) -> int:
    """The index after the last character from `start` on that fits into `size` cells."""
    if narrow:
        return min(len(text), start + size)
    for end in range(start, len(text)):
        size -= width(text[end])
        if size < 0:
            return end
    return len(text)


def _part(line: LogLine, start: int, end: int, cells: int) -> LogLine:
    spans = tuple(
        Span(max(span.start, start) - start, min(span.end, end) - start, span.style)
        for span in line.spans
        if span.start < end and span.end > start
    )
    return LogLine(line.text[start:end], spans, cells, line.narrow)


def _apply(style: Style, parameters: str) -> Style:
    """The style after one SGR sequence; what is not understood changes nothing."""
    words = parameters.split(";")[:64]
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        code, *rest = word.split(":")
        number = _number(code)
        if number == 0:
            style = PLAIN
        elif number in (38, 48):
            if not rest:
                # The older form goes on in the next parameters: 5;n or 2;r;g;b.
                kind = words[position] if position < len(words) else ""
                if kind not in ("5", "2"):
                    return style
                taken = 2 if kind == "5" else 4
                rest = words[position : position + taken]
                position += taken
            color = _color(rest)
            if color is not None:
                style = replace(style, fg=color) if number == 38 else replace(style, bg=color)
        elif number == 4 and rest:
            style = replace(style, underline=rest[0] != "0")
        elif number in _SGR:
            style = replace(style, **_SGR[number])
        elif 30 <= number <= 37:
            style = replace(style, fg=number - 30)
        elif 90 <= number <= 97:
            style = replace(style, fg=number - 82)
        elif 40 <= number <= 47:
            style = replace(style, bg=number - 40)
        elif 100 <= number <= 107:
            style = replace(style, bg=number - 92)
    return style


_SGR: dict[int, dict[str, Any]] = {
    1: {"bold": True},
    2: {"dim": True},
    3: {"italic": True},
    4: {"underline": True},
    7: {"reverse": True},
    9: {"strike": True},
    21: {"underline": True},
    22: {"bold": False, "dim": False},
    23: {"italic": False},
    24: {"underline": False},
    27: {"reverse": False},
    29: {"strike": False},
    39: {"fg": None},
    49: {"bg": None},
}


def _number(word: str) -> int:
    """A parameter as a number, 0 if empty; absurd ones as one that means nothing."""
    if not word:
        return 0
    return int(word) if len(word) <= 4 else 9999


def _color(words: list[str]) -> Color | None:
    """5 n, 2 r g b, or 2 (colour space) r g b."""
    numbers = [_number(word) for word in words]
    if numbers[:1] == [5] and len(numbers) == 2 and numbers[1] < 256:
        return numbers[1]
    if numbers[:1] == [2] and len(numbers) >= 4:
        red, green, blue = numbers[2:5] if len(numbers) > 4 else numbers[1:4]
        if max(red, green, blue) < 256:
            return red, green, blue
    return None
