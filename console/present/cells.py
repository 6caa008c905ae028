"""Text in terminal cells: what fits, what lines up, and what may be shown at all.

A view function returns a `Line`, a tuple of `Span`s whose styles are names of theme tokens; the two
front ends turn those into colours. Every text that came from outside (a name, a tag, a reason, a
log) goes through `clean` before it is measured: afterwards no character moves the cursor, and every
width here equals what terminals and Textual give it. Nothing in this module imports a terminal
library.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

ELLIPSIS = "…"
REPLACEMENT = "�"

_MARKS_KEPT = 3
"""Zero-width marks kept after one character: enough for any living script, too few to smear."""

_REGIONAL_A = 0x1F1E6

# Characters that terminals of different age give different widths. Showing one of them would move
# everything to its right on some machines.
_UNCERTAIN = (
    (0x2630, 0x2637),
    (0x268A, 0x268F),
    (0x4DC0, 0x4DFF),
    (0x1171E, 0x1171E),
    (0x16FF0, 0x16FF1),
    (0x1D300, 0x1D376),
)
_JOINING_JAMO = ((0x1160, 0x11FF), (0xD7B0, 0xD7FF))


class Span(NamedTuple):
    """A piece of text in one style.

    `style` is a space-separated list of words: the name of a theme token for the ink (`text`,
    `muted`, `running`, `s3`, …), `@` and the name of a ground (`@raised`), and attributes (`bold`,
    `underline`, `italic`, `dim`).
    """

    text: str
    style: str = "text"


Line = tuple[Span, ...]


def _in(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(low <= code <= high for low, high in ranges)


def clean(text: str) -> str:
    """`text` as one line of characters that each take a known number of cells and do nothing.

    Control characters become their pictures (ESC is `␛`, a newline `␊`), joiners, variation
    selectors and direction marks are dropped, flags become their two letters, and what has no
    certain width becomes `�`. Latin, CJK, emoji, accents and right-to-left letters stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return _clean(text)


@lru_cache(maxsize=4096)
def _clean(text: str) -> str:
    out: list[str] = []
    marks = _MARKS_KEPT  # none may come before the first character
    for char in unicodedata.normalize("NFC", text):
        code = ord(char)
        if 0x20 <= code < 0x7F:
            out.append(char)
            marks = 0
            continue
        category = unicodedata.category(char)
        if _is_mark(code, category):
            if marks < _MARKS_KEPT and _is_kept(code, category):
                out.append(char)
                marks += 1
            continue
        shown = _shown(char, code, category)
        if shown:
            out.append(shown)
            marks = 0
    return "".join(out)


def _is_mark(code: int, category: str) -> bool:
    return category[0] == "M" or _in(code, _JOINING_JAMO)


def _is_kept(code: int, category: str) -> bool:
    """Spacing marks (Mc) take a cell in some terminals and none in others, so they go; so do
    variation selectors, which change the width of what they follow."""
    selector = 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or 0x180B <= code <= 0x180F
    return category != "Mc" and not selector and not _in(code, _UNCERTAIN)


def _shown(char: str, code: int, category: str) -> str:
    """What is shown for one character that is neither ASCII nor a mark; "" drops it."""
    if category == "Cc":
        if code < 0x20:
            return chr(0x2400 + code)
        return "␡" if code == 0x7F else REPLACEMENT
    if category in ("Zl", "Zp"):
        return "␤"
    if category == "Cf" or 0x1F3FB <= code <= 0x1F3FF:
        return ""
    if category in ("Cs", "Cn") or _in(code, _UNCERTAIN):
        return REPLACEMENT
    if category == "Zs":
        return "  " if code == 0x3000 else " "
    if _REGIONAL_A <= code < _REGIONAL_A + 26:
        return chr(ord("A") + code - _REGIONAL_A)
    return " " if code in (0x3164, 0xFFA0) else char


def char_width(char: str) -> int:
    """Cells of one character that `clean` let through: 0, 1 or 2."""
    code = ord(char)
    if code < 0x300:
        return 1
    if _is_mark(code, unicodedata.category(char)):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def width(text: str) -> int:
    """Cells of a text that `clean` let through."""
    return len(text) if text.isascii() else _width(text)


@lru_cache(maxsize=8192)
def _width(text: str) -> int:
    return sum(map(char_width, text))


def take(text: str, cells: int) -> str:
    """The longest start of a clean text that needs no more than `cells`. A wide character that
    would stick out is left out, so the result may be one cell short."""
    if cells <= 0:
        return ""
    if text.isascii():
        return text[:cells]
    used = 0
    for index, char in enumerate(text):
        used += char_width(char)
        if used > cells:
            return text[:index]
    return text


def take_end(text: str, cells: int) -> str:
    """The longest end of a clean text that needs no more than `cells`."""
    if cells <= 0:
        return ""
    if text.isascii():
        return text[-cells:]
    used = 0
    for index in range(len(text) - 1, -1, -1):
        step = char_width(text[index])
        if used + step > cells:
            start = index + 1
            while start < len(text) and char_width(text[start]) == 0:
                start += 1  # a mark does not outlive its letter
            return text[start:]
        used += step
    return text


def clip(text: str, cells: int, keep: str = "start") -> str:
    """A clean text in at most `cells`, with `…` where something was left out.

    Args:
        keep: What must survive: `start`, `end` (paths), or `both` (names that share their start).
    """
    if width(text) <= cells:
        return text
    if cells <= 0:
        return ""
    if cells == 1:
        return ELLIPSIS
    if keep == "end":
        return ELLIPSIS + take_end(text, cells - 1)
    if keep == "both":
        tail = take_end(text, (cells - 1) * 3 // 5)
        return take(text, cells - 1 - width(tail)) + ELLIPSIS + tail
    return take(text, cells - 1) + ELLIPSIS


def distinct(texts: Iterable[str], cells: int) -> dict[str, str]:
    """Clean texts, each in at most `cells`, shortened so that those that differ stay different
    wherever that is possible: in the middle, and if that makes two alike, at what they share."""
    short = {text: clip(text, cells, "both") for text in texts}
    for _ in range(_TURNS):
        alike: dict[str, list[str]] = {}
        for text, shown in short.items():
            alike.setdefault(shown, []).append(text)
        twins = [group for group in alike.values() if len(group) > 1]
        if not twins:
            break
        for group in twins:
            shared = _shared(group)
            short |= {text: _without(text, shared, cells) for text in group}
    return short


def _shared(texts: Sequence[str]) -> int:
    """How many characters some texts begin with alike."""
    low, high = min(texts), max(texts)
    at = 0
    while at < len(low) and low[at : at + 1] == high[at : at + 1]:
        at += 1
    return at


_TURNS = 8
"""Each turn tells at least one more apart; that many names alike to the last sign are no names."""


def _without(text: str, shared: int, cells: int) -> str:
    """A text in at most `cells` that shows what follows its first `shared` characters."""
    rest = text[shared:]
    head = take(text[:shared], cells - 1 - width(rest))
    return head + ELLIPSIS + clip(rest, cells - 1)


def pad(text: str, cells: int, align: str = "left") -> str:
    """A clean text filled with spaces to `cells`; unchanged if it is longer."""
    missing = cells - width(text)
    if missing <= 0:
        return text
    if align == "right":
        return " " * missing + text
    if align == "center":
        return " " * (missing // 2) + text + " " * (missing - missing // 2)
    return text + " " * missing


def fit(text: str, cells: int, align: str = "left", keep: str = "start") -> str:
    """A clean text in exactly `cells`."""
    return pad(clip(text, cells, keep), cells, align)


def line_width(line: Iterable[Span]) -> int:
    """Cells of a line."""
    cells = 0
    for text, _ in line:
        cells += len(text) if text.isascii() else _width(text)
    return cells


def clip_line(line: Iterable[Span], cells: int) -> Line:
    """A line in at most `cells`; what sticks out is replaced by `…` in its own style."""
    spans = tuple(line)
    if line_width(spans) <= cells:
        return spans
    kept: list[Span] = []
    room = cells
    for span in spans:
        needed = width(span.text)
        if needed < room:
            kept.append(span)
            room -= needed
            continue
        # This span reaches the edge, and something of it or after it is lost.
        kept.append(Span(clip(span.text + " ", room), span.style))
        break
    return tuple(kept)


def fit_line(line: Iterable[Span], cells: int, style: str = "text") -> Line:
    """A line in exactly `cells`, filled with spaces."""
    spans = tuple(line)
    missing = cells - line_width(spans)
    if missing < 0:
        spans = clip_line(spans, cells)
        missing = cells - line_width(spans)
    return (*spans, Span(" " * missing, style)) if missing > 0 else spans


def plain(line: Iterable[Span]) -> str:
    """The text of a line without its styles."""
    return "".join(span.text for span in line)
