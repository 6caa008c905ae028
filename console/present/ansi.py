"""A line as text for a terminal: the theme's colours as escape sequences, without a library.

For the command line, whose tables must not pay for importing one. A pipe gets the text alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TextIO

from .cells import Span
from .color import rgb
from .theme import COLOR_NAMES, Paint, Theme

_ATTRIBUTES = (("bold", "1"), ("dim", "2"), ("italic", "3"), ("underline", "4"), ("reverse", "7"))


def color_depth(environ: Mapping[str, str], stream: TextIO | None = None) -> str:
    """How many colours a terminal has: `truecolor`, `256`, `16`, `none`.

    `none` for a stream that is no terminal, for NO_COLOR (any value but "", no-color.org), and for
    TERM=dumb. Nothing is asked of the terminal: a question would cost a round trip on every start.
    """
    if stream is not None and not stream.isatty():
        return "none"
    term = environ.get("TERM", "").lower()
    if environ.get("NO_COLOR") or term in ("dumb", "unknown"):
        return "none"
    if environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "truecolor"
    if term.endswith(("-direct", "-truecolor")) or "kitty" in term or "ghostty" in term:
        return "truecolor"
    if "256" in term or term.startswith(("tmux", "screen.", "alacritty", "foot", "wezterm")):
        return "256"
    return "16" if term else "none"


@lru_cache(maxsize=2048)
def sgr(paint: Paint) -> str:
    """The parameters that switch a look on; "" for the terminal's own."""
    codes = [code for name, code in _ATTRIBUTES if getattr(paint, name)]
    codes += _color(paint.ink, 38, 30, 90)
    codes += _color(paint.ground, 48, 40, 100)
    return ";".join(codes)


def _color(color: str | None, extended: int, normal: int, bright: int) -> list[str]:
    if color is None or color == "default":
        return []
    if color.startswith("#"):
        red, green, blue = rgb(color)
        return [f"{extended};2;{red};{green};{blue}"]
    if color.isdecimal():
        return [f"{extended};5;{color}"]
    number = COLOR_NAMES.index(color) - 1
    return [str(normal + number if number < 8 else bright + number - 8)]


def encode(line: Iterable[Span], theme: Theme | None) -> str:
    """A line with its escape sequences, reset at the end; plain text if `theme` is None. The
    terminal's own background is kept."""
    return encode_all(line, theme).rstrip()


def encode_all(line: Iterable[Span], theme: Theme | None) -> str:
    """`encode` with the blanks at the line's end, for what paints over itself."""
    if theme is None:
        return "".join(span.text for span in line)
    out: list[str] = []
    for span in line:
        paint = theme.paint(span.style)
        if "@" not in span.style:
            paint = Paint(
                paint.ink, None, paint.bold, paint.dim, paint.italic, paint.underline, paint.reverse
            )
        codes = sgr(paint) if span.text.strip() or paint.ground or paint.reverse else ""
        out.append(f"\x1b[{codes}m{span.text}\x1b[0m" if codes else span.text)
    return "".join(out)


def terminal_width(stream: TextIO, environ: Mapping[str, str] | None = None) -> int:
    """Columns of the terminal a stream goes to; COLUMNS goes first, 80 if nobody knows."""
    columns = (environ if environ is not None else os.environ).get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return min(int(columns), 10_000)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
