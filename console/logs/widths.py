"""How many terminal cells a character takes, and which characters may not reach a terminal at all.

Follows what Textual measures (the tables of the wcwidth project, newest Unicode), so that a row
laid out here is as wide there; a test compares every code point. It is computed from `unicodedata`,
with the few corrections listed below, instead of carrying a table.
"""

from __future__ import annotations

from unicodedata import category, east_asian_width

DROP = -1
"""Invisible, or changes how its neighbours are drawn: left out."""
REPLACE = -2
"""Would do something to a terminal or a reader's eye: shown as the replacement character."""
BREAK = -3
"""Another line separator: shown as a picture, since a log line is one line."""

# Joiners, variation selectors, fillers, tags, skin tones: without them every character is drawn by
# itself, as wide as it is by itself, on every terminal.
_DROPPED = (
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200D),
    (0x2060, 0x2065),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0x1F3FB, 0x1F3FF),
    (0xE0000, 0xE0FFF),
)
# Wide since Unicode 16, which `unicodedata` of Python 3.13 and older does not know.
_WIDE = ((0x2630, 0x2637), (0x268A, 0x268F), (0x4DC0, 0x4DFF), (0x1D300, 0x1D376))
# Emoji newer than Unicode 14 (Python 3.11): unassigned to this interpreter, in use nevertheless.
_EMOJI = (
    (0x1F6D8, 0x1F6D8),
    (0x1F6DC, 0x1F6DC),
    (0x1FA75, 0x1FA77),
    (0x1FA87, 0x1FA8A),
    (0x1FA8E, 0x1FA8F),
    (0x1FAAD, 0x1FAAF),
    (0x1FABB, 0x1FABF),
    (0x1FAC6, 0x1FAC6),
    (0x1FAC8, 0x1FAC8),
    (0x1FACD, 0x1FACF),
    (0x1FADA, 0x1FADC),
    (0x1FADF, 0x1FADF),
    (0x1FAE8, 0x1FAEA),
    (0x1FAEF, 0x1FAEF),
    (0x1FAF7, 0x1FAF8),
    (0x20000, 0x2FFFD),  # ideographs, whichever extension
    (0x30000, 0x3FFFD),
)
_KEPT = 1 << 14
_known: dict[str, int] = {chr(code): 1 for code in range(0x20, 0x7F)}


def width(character: str) -> int:
    """Cells of one character: 0, 1 or 2; or DROP, REPLACE, BREAK."""
    cells = _known.get(character)
    if cells is None:
        if len(_known) > _KEPT:  # a hostile log goes through all of Unicode
            _known.clear()
        cells = _known[character] = _width(character)
    return cells


def _width(character: str) -> int:
    code = ord(character)
    if _within(code, _DROPPED):
        return DROP
    kind = category(character)
    if code == 0x85 or kind in ("Zl", "Zp"):
        return BREAK
    if kind in ("Cc", "Cf", "Cs"):
        return REPLACE
    if kind == "Cn":
        return 2 if _within(code, _EMOJI) else REPLACE
    if kind in ("Mn", "Me", "Mc") or 0x1161 <= code <= 0x11FF or 0xD7B0 <= code <= 0xD7FF:
        return 0
    if east_asian_width(character) in "WF" or _within(code, _WIDE):
        return 2
    return 1


def _within(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= code <= last for first, last in ranges)
