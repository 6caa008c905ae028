"""Drives the real program through a pty: what a person's terminal sees, byte for byte.

`Terminal` starts an argv in a pty of a given size, keeps a pyte screen of what it wrote, answers
the questions that terminals answer, and measures from a key to the first bytes that answer it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence

import pyte

StartDeck = Callable[..., "Terminal"]
"""Starts the application over a fake world; the fixture `start_deck`."""

KEYS = {
    "enter": "\r", "escape": "\x1b", "tab": "\t", "space": " ", "backspace": "\x7f",
    "delete": "\x1b[3~", "up": "\x1b[A", "down": "\x1b[B", "pagedown": "\x1b[6~",
    "pageup": "\x1b[5~", "home": "\x1b[H", "end": "\x1b[F", "ctrl+c": "\x03", "ctrl+p": "\x10",
    "ctrl+d": "\x04", "ctrl+u": "\x15", "ctrl+l": "\x0c",
}  # fmt: skip

# Sequences that pyte does not know and would print: kitty's keyboard, DECRQM, in-band resize.
_UNKNOWN = re.compile(rb"\x1b\[[<>=?][0-9;]*\$?[a-zA-Z]|\x1b\[[0-9]*\$p")
_KNOWN = re.compile(rb"\x1b\[\?(25|1049|7|1000|1002|1003|1006|1015|2004)[hl]")
_ASKED = b"\x1b[6n"


class Terminal:
    """A program in a pty.

    Args:
        width_of_signs: Columns that `●━⣿` is said to take, for programs that ask.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        cells: int = 120,
        rows: int = 40,
        width_of_signs: int = 3,
    ) -> None:
        self.cells, self.rows = cells, rows
        self.screen = pyte.Screen(cells, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._answer = f"\x1b[1;{width_of_signs + 1}R".encode()
        self.raw = bytearray()
        self.written = 0
        self.status: int | None = None
        self.started = self.heard = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(argv[0], list(argv), dict(env))
        self.resize(cells, rows)

    # --- what the program sees

    def resize(self, cells: int, rows: int) -> None:
        """Make the window another size."""
        self.cells, self.rows = cells, rows
        size = struct.pack("HHHH", rows, cells, 0, 0)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, size)
        self.screen.resize(rows, cells)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGWINCH)

    def press(self, *keys: str) -> None:
        """Press keys by name or as they are."""
        for key in keys:
            os.write(self.fd, KEYS.get(key, key).encode())

    # --- what the person sees

    def read(self, timeout: float = 0.0) -> int:
        """Take in what was written; returns the number of bytes, -1 when it has ended."""
        data = self._hear(timeout)
        if data:
            self._show(data)
        return -1 if data is None else len(data)

    def _hear(self, timeout: float) -> bytes | None:
        """What was written, as soon as something was; None when it has ended."""
        ready, _, _ = select.select([self.fd], [], [], timeout)
        if not ready:
            return b""
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.heard = time.perf_counter()
        if not data:
            return None
        self.raw += data
        self.written += len(data)
        if _ASKED in data:
            os.write(self.fd, self._answer)
        return data

    def _show(self, data: bytes) -> None:
        """Put it on the screen. Pyte takes milliseconds for a few kilobytes: a measurement does
        that when it is over."""
        self._stream.feed(_UNKNOWN.sub(lambda m: m[0] if _KNOWN.fullmatch(m[0]) else b"", data))

    @property
    def text(self) -> str:
        """The screen's rows."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait(self, until: str | Callable[[Terminal], bool], timeout: float = 20.0) -> float:
        """Read until a text is on screen, or something is so. Returns the seconds it took."""
        begin = time.perf_counter()
        while True:
            found = until in self.text if isinstance(until, str) else until(self)
            if found:
                return time.perf_counter() - begin
            if time.perf_counter() - begin > timeout:
                raise AssertionError(f"waited {timeout} s for {until!r}; on screen:\n{self.text}")
            if self.read(0.05) < 0:
                raise AssertionError(f"the program ended; on screen:\n{self.text}")

    def quiet(self, seconds: float = 0.15, timeout: float = 5.0) -> None:
        """Read until nothing was written for a while."""
        end = time.perf_counter() + timeout
        last = time.perf_counter()
        while time.perf_counter() - last < seconds and time.perf_counter() < end:
            if self.read(0.02) > 0:
                last = time.perf_counter()

    def listen(self, seconds: float) -> int:
        """Bytes written in so many seconds without a key."""
        before, end = self.written, time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.read(min(left, 0.05))
        return self.written - before

    def latency(self, key: str, sign: bytes, timeout: float = 5.0) -> float:
        """Seconds from a key to the first bytes that hold `sign`."""
        at = len(self.raw)
        begin = time.perf_counter()
        self.press(key)
        return self.hear(sign, at, timeout) - begin

    def hear(self, sign: bytes, at: int = 0, timeout: float = 60.0) -> float:
        """When (by `time.perf_counter`) the first bytes from `at` on came that hold `sign`."""
        shown, end = len(self.raw), time.perf_counter() + timeout
        data: bytes | None = b""
        while sign not in self.raw[at:] and data is not None and time.perf_counter() < end:
            data = self._hear(0.001)
        self._show(bytes(self.raw[shown:]))
        if sign not in self.raw[at:]:
            raise AssertionError(f"{sign!r} was not written; on screen:\n{self.text}")
        return self.heard

    # --- the end

    def ended(self, timeout: float = 10.0) -> int:
        """Wait for the program's end; its exit code, or minus the signal."""
        end = time.perf_counter() + timeout
        while self.status is None:
            self.read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.perf_counter() > end:
                raise AssertionError(f"it did not end; on screen:\n{self.text}")
        return self.status

    def hang_up(self) -> None:
        """Take the terminal away, as a closed window or a lost connection does."""
        os.close(self.fd)
        self.fd = os.open(os.devnull, os.O_RDWR)

    def close(self) -> None:
        """End the program, whatever it does."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.status = -signal.SIGKILL
        os.close(self.fd)
