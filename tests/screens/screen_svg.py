"""A screen as an SVG, cell by cell, as a terminal with built-in block and braille glyphs draws it.

The same screen always gives the same bytes: no random ids, no fonts to measure. One text element a
run of equal style, so that a changed snapshot is a readable diff.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape

from rich.cells import cell_len
from rich.color import ColorType
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from textual._context import visible_screen_stack
from textual.app import App

CELL_W, CELL_H, BASE = 10, 21, 15.5
FONT = "'JetBrains Mono','DejaVu Sans Mono',Menlo,Consolas,monospace"

TERMINAL = TerminalTheme(
    (0, 0, 0),
    (229, 229, 229),
    [(0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (60, 90, 238), (205, 0, 205),
     (0, 205, 205), (229, 229, 229)],
    [(127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255),
     (0, 255, 255), (255, 255, 255)],
)  # fmt: skip

Cell = tuple[str, int, Style | None]
"""Text of one or more characters in equal style, its first column, and the style."""


def screen_rows(app: App[Any]) -> list[list[tuple[str, Style | None]]]:
    """What is on screen, as runs of text and style by row."""
    height = app.size.height
    visible_screen_stack.set(app._background_screens)
    lines = app.screen._compositor.render_strips()
    rows = []
    for strip in lines[:height]:
        rows.append([(text, style) for text, style, control in strip if text and not control])
    return rows


def screen_text(app: App[Any]) -> str:
    """What is on screen, as text."""
    return "\n".join("".join(text for text, _ in row).rstrip() for row in screen_rows(app))


def to_svg(rows: Sequence[Sequence[tuple[str, Style | None]]], title: str) -> str:
    """Rows of styled text as an SVG document."""
    columns = max((sum(cell_len(text) for text, _ in row) for row in rows), default=0)
    full = all(sum(cell_len(text) for text, _ in row) == columns for row in rows)
    assert full, "a row is not full"
    width, height = columns * CELL_W, len(rows) * CELL_H
    ground = _majority_ground(rows)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="{FONT}" font-size="16.6">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="{ground}"/>',
    ]
    for y, row in enumerate(rows):
        x = 0
        for text, style in row:
            cells = cell_len(text)
            out += _run(text, x, y, cells, style, ground)
            x += cells
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _majority_ground(rows: Sequence[Sequence[tuple[str, Style | None]]]) -> str:
    counts: dict[str, int] = {}
    for row in rows:
        for text, style in row:
            _, ground = _colors(style)
            counts[ground] = counts.get(ground, 0) + cell_len(text)
    return max(counts, key=lambda name: counts[name], default="#000000")


def _colors(style: Style | None) -> tuple[str, str]:
    ink, ground = "#e5e5e5", "#000000"
    if style is not None:
        if style.color is not None and style.color.type is not ColorType.DEFAULT:
            ink = style.color.get_truecolor(TERMINAL).hex
        if style.bgcolor is not None and style.bgcolor.type is not ColorType.DEFAULT:
            ground = style.bgcolor.get_truecolor(TERMINAL, foreground=False).hex
        if style.reverse:
            ink, ground = ground, ink
        if style.dim:
            ink = "#{:02x}{:02x}{:02x}".format(
                *(int(int(ink[n : n + 2], 16) * 0.5 + int(ground[n : n + 2], 16) * 0.5)
                  for n in (1, 3, 5))
            )  # fmt: skip
    return ink, ground


def _run(text: str, x: int, y: int, cells: int, style: Style | None, base: str) -> Iterator[str]:
    ink, ground = _colors(style)
    left, top = x * CELL_W, y * CELL_H
    if ground != base:
        yield (
            f'<rect x="{left}" y="{top}" width="{cells * CELL_W}" height="{CELL_H}" '
            f'fill="{ground}"/>'
        )
    if style is not None and style.underline:
        yield (
            f'<rect x="{left}" y="{top + CELL_H - 3}" width="{cells * CELL_W}" height="1" '
            f'fill="{ink}"/>'
        )
    bold = ' font-weight="bold"' if style is not None and style.bold else ""
    words = ""
    start = x
    column = x
    for char in text:
        shapes = _shapes(char)
        if shapes is None and _is_plain(char):
            if not words:
                start = column
            words += char
        elif shapes is None and cell_len(char) == 0:
            words += char  # a mark on the letter before it
        elif shapes is None:
            # Wide and right-to-left letters stand alone, or fonts and bidi would move them.
            if words.strip():
                yield _text(words, start, y, ink, bold)
            words = ""
            yield _text(char, column, y, ink, bold)
        else:
            if words.strip():
                yield _text(words, start, y, ink, bold)
            words = ""
            for sx, sy, sw, sh in shapes:
                yield (
                    f'<rect x="{column * CELL_W + sx * CELL_W:g}" y="{top + sy * CELL_H:g}" '
                    f'width="{sw * CELL_W:g}" height="{sh * CELL_H:g}" fill="{ink}"/>'
                )
        column += cell_len(char)
    if words.strip():
        yield _text(words, start, y, ink, bold)


def _is_plain(char: str) -> bool:
    return cell_len(char) == 1 and unicodedata.bidirectional(char) not in ("R", "AL", "AN")


def _text(words: str, column: int, y: int, ink: str, bold: str) -> str:
    lead = len(words) - len(words.lstrip(" "))
    column, words = column + lead, words.strip(" ")
    cells = cell_len(words)
    return (
        f'<text x="{column * CELL_W}" y="{y * CELL_H + BASE:g}" fill="{ink}"{bold} '
        f'textLength="{cells * CELL_W}" xml:space="preserve">{escape(words)}</text>'
    )


_EIGHTHS = "▁▂▃▄▅▆▇█"
_BITS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))


def _shapes(char: str) -> list[tuple[float, float, float, float]] | None:
    """The rectangles of a block, line or braille sign, in shares of a cell; None for letters."""
    if char in _EIGHTHS:
        part = (_EIGHTHS.index(char) + 1) / 8
        return [(0, 1 - part, 1, part)]
    if char == "▌":
        return [(0, 0, 0.5, 1)]
    if char == "▏":
        return [(0, 0, 0.125, 1)]
    if char == "━":
        return [(0, 0.43, 1, 0.14)]
    if char == "╸":
        return [(0, 0.43, 0.5, 0.14)]
    if char == "╍":
        return [(0.05, 0.43, 0.35, 0.14), (0.55, 0.43, 0.35, 0.14)]
    if char == "─":
        return [(0, 0.476, 1, 0.048)]
    if char == "┈":
        return [(n / 4 + 0.05, 0.476, 0.1, 0.048) for n in range(4)]
    if 0x2800 <= ord(char) <= 0x28FF:
        code = ord(char) - 0x2800
        return [
            (0.08 + 0.5 * column, 0.04 + 0.25 * row, 0.36, 0.17)
            for bit, (column, row) in enumerate(_BITS)
            if code >> bit & 1
        ]
    return None
