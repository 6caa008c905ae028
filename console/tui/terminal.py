"""What the terminal can show: whether there is one, its signs, its colours."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console

from traindeck.backends.errors import UsageError
from traindeck.console.present.glyphs import BEST, SETS, Glyphs

_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python itself puts into LC_CTYPE, with its UTF-8 mode, where the locale is C (PEP 538)."""

_SYSTEMS = {"truecolor": "truecolor", "256": "256", "16": "standard", "none": "standard"}


def check_terminal(environ: Mapping[str, str], *streams: TextIO | None) -> None:
    """Refuse to draw where nobody could see it.

    Raises:
        UsageError: A stream is no terminal, or the terminal cannot place a cursor.
    """
    term = environ.get("TERM", "")
    if any(stream is None or not stream.isatty() for stream in streams):
        problem = "There is no terminal here to show screens on."
    elif term.lower() in ("", "dumb", "unknown"):
        why = f"TERM={term}" if term else "TERM is not set"
        problem = f"This terminal cannot show screens ({why})."
    else:
        return
    raise UsageError(problem, "Use `traindeck ls`, `show` and `logs` instead.")


def choose_glyphs(wanted: str, environ: Mapping[str, str]) -> Glyphs:
    """The glyph set to start with. `auto` looks at the locale and the terminal's name; the terminal
    itself is asked later."""
    if wanted in SETS:
        return SETS[wanted]
    names = ["LC_ALL", "LC_CTYPE", "LANG"]
    if environ is os.environ and sys.flags.utf8_mode and environ.get("LC_CTYPE") in _COERCED:
        names.remove("LC_CTYPE")
    locale = next((environ[name] for name in names if environ.get(name)), "")
    within = any(environ.get(name) for name in ("TMUX", "STY"))
    if "utf-8" in locale.lower().replace("utf8", "utf-8"):
        able = environ.get("TERM") not in ("linux", "vt100", "vt220")
    elif within or locale not in ("", "C", "POSIX"):
        # A multiplexer answers for itself how wide a sign is, and where the locale names no UTF-8
        # shows `_` in its place.
        able = False
    else:
        # ssh and containers rarely pass LANG on, and the terminal is asked. Who says C means it,
        # unless the terminal is one of those that give their name: they all show UTF-8.
        able = not locale or bool(environ.get("TERM_PROGRAM"))
    return BEST if able else SETS["ascii"]


def console_for(console: Console, depth: str) -> Console:
    """Textual's console, writing for this many colours."""
    return Console(
        color_system=_SYSTEMS[depth],  # type: ignore[arg-type]
        file=console.file,
        highlight=False,
        emoji=False,
        legacy_windows=False,
        force_terminal=True,
        _environ={},
    )
