"""A command as a line that a shell reads back to the same words, and that no terminal acts on."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

_SHORT = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\\": r"\\", "'": r"\'"}


def command_line(words: Iterable[str]) -> str:
    """Words of a command, each quoted where it has to be."""
    return " ".join(map(quoted, words))


def quoted(word: str) -> str:
    """A word for a shell; what cannot be seen in it is spelled, as bash and zsh read it: a line
    break in `$'a\\nb'`."""
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(map(_spelled, word))}'"


def plain_or_quoted(text: str) -> str:
    """A text as it is, if it can be seen; else as `quoted`."""
    return text if text.isprintable() else quoted(text)


def _spelled(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no text
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"
