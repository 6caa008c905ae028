"""The standard streams, made fit to be written to: whoever starts a command may have closed them,
point them at a full disk, or want an encoding that has none of our signs.

A stream that is closed becomes the null device before anything else is opened. Otherwise the next
file to be opened would get its number, and what was meant for a terminal would be written into it.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any, TextIO

STDIN, STDOUT, STDERR = 0, 1, 2
_LIKENESS = "traindeck.likeness"


class _Output(io.FileIO):
    """Standard output. It remembers what became of the data, for the one who ends the command."""

    def __init__(self, *, absent: bool) -> None:
        super().__init__(STDOUT, "wb", closefd=False)
        self.absent = absent
        self.unheard = False
        self.failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        self.unheard = self.absent
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


_output: _Output | None = None


def prepare() -> None:
    """Make all three usable. To be called before anything is opened."""
    global _output
    closed = [number for number in (STDIN, STDOUT, STDERR) if _open_null(number)]
    codecs.register_error(_LIKENESS, _likeness)
    if sys.stdin is None:
        raw = io.FileIO(STDIN, closefd=False)
        sys.stdin = io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8")
    if sys.stderr is None:
        raw = io.FileIO(STDERR, "wb", closefd=False)
        sys.stderr = sys.__stderr__ = _text(raw, None)  # type: ignore[misc]
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors=_LIKENESS)
    _output = _Output(absent=STDOUT in closed)
    former = sys.stdout
    sys.stdout = _text(_output, former)
    if former is None:
        sys.__stdout__ = sys.stdout  # type: ignore[misc]


def unheard() -> bool:
    """Whether data was written to a standard output that is not there."""
    return _output is not None and _output.unheard


def failure() -> OSError | None:
    """Why standard output did not take what was written to it."""
    return None if _output is None else _output.failure


def silence() -> None:
    """Nobody reads any more: what is left in buffers goes nowhere, without another error."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STDOUT)
    os.close(null)


def _open_null(number: int) -> bool:
    """Put the null device in place of a closed stream. Returns whether it was closed."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        else:
            os.set_inheritable(number, True)
        return True
    return False


def _text(raw: io.FileIO, like: TextIO | None) -> io.TextIOWrapper:
    """A text stream on `raw`, in the encoding and with the buffering of the one it replaces."""
    tty = isinstance(like, io.TextIOWrapper) and like.line_buffering
    direct = isinstance(like, io.TextIOWrapper) and like.write_through
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(like, "encoding", None) or "utf-8",
        errors=_LIKENESS,
        newline="\n",
        line_buffering=tty,
        write_through=direct,
    )


def _likeness(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of codecs: what an encoding does not know is written as its likeness in
    ASCII. A byte that came in as no text, as in a file's name, goes out as it came."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    if "\udc80" <= text[0] <= "\udcff":
        return bytes([ord(text[0]) - 0xDC00]), error.start + 1
    from traindeck.console.present.glyphs import ascii_text

    return ascii_text(text), error.end
