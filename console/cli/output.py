"""Printing: data to stdout, diagnostics to stderr, questions to the terminal.

Text that came from a run, a host or a file is neutralised before it reaches a terminal. Colour is
used only on a terminal, and not if NO_COLOR is set or TERM is dumb.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

from traindeck.backends.base import UsageError


def line(text: str = "") -> None:
    """One line of data."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """One line of diagnostics."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def error(text: str) -> None:
    """What went wrong, in one line."""
    note(f"traindeck: {neutral(text)}")


def neutral(text: str) -> str:
    """Text without anything a terminal would act on; line breaks become spaces."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def emit_json(value: Any) -> None:
    """One JSON document. It never depends on the terminal."""
    import json

    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def width() -> int:
    """Columns to write for: the terminal's, 100 when piped."""
    return max(20, shutil.get_terminal_size((100, 24)).columns)


def colour() -> bool:
    """Whether stdout takes colour."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def confirm(question: str, *, yes: bool) -> bool:
    """Ask before something that cannot be undone. Without a terminal it is refused.

    Raises:
        UsageError: There is no terminal to ask on, and `--yes` was not given.
    """
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{question} There is no terminal to ask on.", "Add --yes to go on.")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
