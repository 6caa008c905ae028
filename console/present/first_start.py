"""The first screen: nothing is there yet, what is possible, and the key for it. Pure."""

from __future__ import annotations

from collections.abc import Collection

from .cells import Line, Span, clip_line
from .glyphs import BEST, Glyphs

_WAYS = (
    ("demo", "d", "demo", "train two small models on this machine, minutes, and watch them"),
    ("launch", "n", "new run", "a command, a script or a fine-tune recipe"),
    ("", "?", "keys", "what every key does"),
)
_SHORT = {"demo": "train two small models, and watch them", "launch": "a command or a recipe"}

# A loss curve as braille, in the faintest ink: where the first one will be.
_CURVE = (
    "⠒⢄⡀",
    "  ⠈⠑⠢⢄⡀",
    "      ⠈⠉⠒⠤⢄⣀",
    "           ⠈⠉⠒⠢⠤⢄⣀⣀",
    "                 ⠉⠉⠒⠒⠤⠤⢄⣀⣀⣀⡀⢀⣀⡀⣀⢀⣀⣀⢀⣀⣀⡀⣀⣀",
)


def first_start(cells: int, rows: int, able: Collection[str], glyphs: Glyphs = BEST) -> list[Line]:
    """The note, filling `rows`."""
    wide = cells >= 90
    indent = " " * (17 if cells >= 110 else 8 if wide else 4)
    lines: list[Line] = [
        (Span(indent), Span("No runs yet.", "strong bold"),
         Span(" What you start here or in a shell shows up in this list.", "muted")),
        (),
        (),
    ]  # fmt: skip
    for need, key, word, long in _WAYS:
        if need and need not in able:
            continue
        words = long if wide else _SHORT.get(need, long)
        lines.append(
            (
                Span(indent),
                Span(key.ljust(4), "accent bold"),
                Span(word.ljust(12), "text"),
                Span(words, "muted"),
            )
        )
        if rows >= 20:
            lines.append(())
    lines += [
        (),
        (Span(indent), Span("or from a shell", "faint")),
        (Span(indent), Span("$ ", "muted"), Span("traindeck run -- python train.py", "text")),
    ]
    if rows >= 26 and glyphs.charts == "braille":
        lines += [(), (), ()]
        for number, part in enumerate(_CURVE):
            note = "   your first curve goes here" if number == 3 else ""
            lines.append((Span(indent), Span(part.ljust(48), "grid"), Span(note, "faint")))
    top = max(0, (rows - len(lines)) // 2 - 1)
    return [clip_line(line, cells) for line in [*[()] * top, *lines][:rows]]
