"""What a command asks while a place is connected to: secrets on the terminal, if there is one, and
nothing of a machine that is not known."""

from __future__ import annotations

import os
import termios
from contextlib import suppress

from traindeck.backends.asking import Stranger
from traindeck.console.cli import output


class CommandAsker:
    """Asks on /dev/tty, whatever stdin and stdout are. See `Asker`.

    Args:
        accept_new: Take the key of a machine that is not known yet, and say so.
    """

    def __init__(self, *, accept_new: bool = False) -> None:
        self._accept_new = accept_new
        self.again = "Give the command again: it asks anew."
        if (terminal := _terminal()) is None:
            self.again = "Give the command in a terminal, where it can ask."
        else:
            os.close(terminal)

    def trusts(self, stranger: Stranger) -> bool:
        if self._accept_new:
            output.tell(
                f"the key of {stranger.address} is noted in {stranger.file}: "
                f"{stranger.key_type} {stranger.fingerprint}"
            )
        return self._accept_new

    def notice(self, host: str, text: str) -> None:
        output.tell(output.neutral(f"{host}: {text}"))

    def secret(self, host: str, prompt: str) -> str | None:
        if (terminal := _terminal()) is None:
            return None
        try:
            return _ask(terminal, output.neutral(prompt))
        finally:
            os.close(terminal)


def _terminal() -> int | None:
    """The terminal that this was started from, open; None if there is none."""
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None


def _ask(terminal: int, prompt: str) -> str | None:
    """A line that is typed without being shown; None if nothing is."""
    try:
        before = termios.tcgetattr(terminal)
        silent = termios.tcgetattr(terminal)
        silent[3] &= ~termios.ECHO
        silent[3] |= termios.ICANON
        termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
    except termios.error:
        return None
    try:
        os.write(terminal, f"{prompt.rstrip()} ".encode())
        typed = b""
        while not typed.endswith(b"\n"):
            more = os.read(terminal, 4096)
            if not more:
                break
            typed += more
        return typed.rstrip(b"\r\n").decode("utf-8", "surrogateescape") or None
    finally:
        with suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        os.write(terminal, b"\n")
