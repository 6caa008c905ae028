"""Colours that a program chose for its output, in the theme's own: a log stays legible on any
ground, and red is the theme's red. Pure."""

from __future__ import annotations

import colorsys
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traindeck.console.logs.neutral import Color, Style

_HUES = ("failed", "warn", "running", "queued", "accent", "stale")
"""Red, yellow, green, cyan, blue, magenta."""
_BASIC = ("muted", "failed", "running", "warn", "accent", "stale", "queued", "text")
_CUBE = (0, 95, 135, 175, 215, 255)
_GREY = 0.2
"""Saturation below which a colour is a grey."""


def styled(style: Style) -> str:
    """A span's style for what an escape sequence asked for; "" if it asked for nothing."""
    words = []
    ink = style.fg
    if ink is None and style.bg is not None:
        ink = style.bg  # a coloured ground alone: the hue is what it says
    if ink is not None:
        words.append(_token(ink))
    elif style.dim:
        words.append("muted")
    elif style.bold or style.underline or style.italic or style.reverse:
        words.append("text")
    else:
        return ""
    if style.bold:
        words.append("bold")
    if style.italic:
        words.append("italic")
    if style.underline:
        words.append("underline")
    if style.reverse:
        words.append("reverse")
    return " ".join(words)


@lru_cache(maxsize=1024)
def _token(color: Color) -> str:
    if isinstance(color, int):
        if color < 16:
            return "muted" if color == 8 else _BASIC[color % 8]
        color = _rgb(color)
    hue, light, saturation = colorsys.rgb_to_hls(*(part / 255 for part in color))
    if saturation < _GREY or not 0.05 < light < 0.95:
        return "muted" if light < 0.6 else "text"
    return _HUES[round(hue * 6) % 6]


def _rgb(number: int) -> tuple[int, int, int]:
    """A colour of the palette of 256, from 16 on."""
    if number >= 232:
        grey = 8 + 10 * (number - 232)
        return grey, grey, grey
    red, rest = divmod(number - 16, 36)
    green, blue = divmod(rest, 6)
    return _CUBE[red], _CUBE[green], _CUBE[blue]
