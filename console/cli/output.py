"""Printing: data to stdout, diagnostics to stderr, questions to the terminal.

Text that came from a run, a host or a file is neutralised before it reaches a terminal. Colour is
used only on a terminal, and not if NO_COLOR is set or TERM is dumb.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from traindeck.backends.errors import UsageError

if TYPE_CHECKING:
    from traindeck.console.present.cells import Line
    from traindeck.console.present.glyphs import Glyphs
    from traindeck.console.present.theme import Theme
    from traindeck.console.runs.workspace import Workspace


def line(text: str = "") -> None:
    """One line of data."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """One line of diagnostics, without anything a terminal would act on. Where it cannot be written
    the command goes on; what standard output did not take is said at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        pass
    try:
        sys.stderr.write(neutral(text) + "\n")
        sys.stderr.flush()
    except OSError:
        pass


def tell(text: str) -> None:
    """One line of diagnostics that says whose it is."""
    note(f"traindeck: {text}")


def error(text: str) -> None:
    """What went wrong, in one line."""
    tell(text)


def neutral(text: str) -> str:
    """Text without anything a terminal would act on; line breaks become spaces."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def emit_json(value: Any) -> None:
    """One JSON document, in ASCII. It never depends on the terminal, and does nothing to it."""
    import json

    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def glyphs(ws: Workspace, stream: TextIO) -> Glyphs:
    """The signs a stream can show."""
    from traindeck.console.present.glyphs import for_encoding

    # A pipe gets the same whatever a person has set for the screen.
    wanted = ws.settings.glyphs if stream.isatty() else "auto"
    return for_encoding(wanted, stream.encoding)


def theme(ws: Workspace, stream: TextIO) -> Theme | None:
    """The user's theme as far as a stream can show it; None if it has no colours."""
    from traindeck.console.present.ansi import color_depth

    depth = color_depth(ws.environ, stream)
    if depth == "none":
        return None
    from traindeck.console.present.theme import for_depth, load

    user = ws.places.themes
    return for_depth(load(ws.settings.theme, user), depth, load("ansi16", user))


def encoded(lines: Iterable[Line], ws: Workspace) -> Iterator[str]:
    """Lines of spans, in the user's theme on a terminal that has colours, else as plain text."""
    from traindeck.console.present.ansi import encode
    from traindeck.console.present.numbers import machine_minus

    colors = theme(ws, sys.stdout)
    piped = not sys.stdout.isatty()
    for spans in lines:
        text = encode(spans, colors)
        yield machine_minus(text) if piped else text


def print_lines(lines: Iterable[Line], ws: Workspace) -> None:
    """Print them; see `encoded`."""
    for text in encoded(lines, ws):
        line(text)


def confirm(question: str, *, yes: bool) -> bool:
    """Ask before something that cannot be undone. Without a terminal it is refused.

    Raises:
        UsageError: There is no terminal to ask on, and `--yes` was not given.
    """
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{question} There is no terminal to ask on.", "Add --yes to go on.")
    sys.stderr.write(f"{neutral(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
