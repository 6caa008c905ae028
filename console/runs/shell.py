"""A terminal where a run is: the person's own is handed to a program there, and comes back.

What is written here is bytes between descriptors and the program; how they look is the terminal's
matter. Whatever happens, the terminal is afterwards as it was before.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from traindeck.backends.base import BackendError, Outcome, Shell, Terminal, TerminalSize
from traindeck.backends.errors import Unreachable
from traindeck.console.runs.workspace import Workspace, ref_of
from traindeck.console.store.records import RunRecord

PIECE = 1 << 16
ESCAPE = b"~"
_MODE = re.compile(rb"\x1b\[\?([0-9;]{1,40})([hl])")
_LEFT_BEHIND = {25: b"h", 7: b"h"}
"""What a terminal has by itself; every other private mode is off."""


async def open_shell(
    ws: Workspace, run: RunRecord, argv: Sequence[str] = (), *, size: TerminalSize | None
) -> Terminal:
    """A program in the run's directory: the user's shell if `argv` is empty. With a terminal of
    `size`, or with pipes.

    Raises:
        BackendError: The place gives no shell, the run is gone, or the program cannot be started.
        UsageError: The place was taken out of the settings.
    """
    backend = ws.backend(run.backend)
    if not isinstance(backend, Shell):
        raise BackendError(f"{backend.name} cannot open a shell where its runs are.")
    return await backend.shell(ref_of(run), argv, size=size)


def terminal_size(fd: int) -> TerminalSize:
    """The size of the terminal at a descriptor; 80 × 24 if it does not say."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        columns = rows = 0
    return TerminalSize(columns=columns, rows=rows) if columns and rows else TerminalSize()


class Relay:
    """Hands three descriptors of ours to a program's terminal, until it ends.

    Args:
        terminal: The program; closed at the end.
        where: The name of its place, for what is said when the connection breaks.
        raw: Our stdin is a terminal, and every key in it is the program's. `~.` at the beginning of
            a line hangs up, as it does in ssh: a link that is stuck takes no other key.
    """

    def __init__(
        self,
        terminal: Terminal,
        where: str,
        *,
        raw: bool,
        source: int = 0,
        sink: int = 1,
        errors: int = 2,
    ) -> None:
        self._terminal = terminal
        self._where = where
        self._raw = raw
        self._source = source
        self._sinks = {1: sink, 2: errors}
        self._modes = _Modes()
        self._escape = _Escape()
        self._hung_up = asyncio.Event()

    async def run(self) -> int:
        """Until the program ends. Returns its exit code, 128+n for signal n.

        Raises:
            Unreachable: The connection broke before the program ended.
        """
        with self._as_terminal():
            tasks = [
                asyncio.create_task(self._give()),
                asyncio.create_task(self._hung_up.wait()),
            ]
            taking = asyncio.create_task(self._take())
            ended = False
            try:
                await asyncio.wait([taking, tasks[1]], return_when=asyncio.FIRST_COMPLETED)
                if not taking.done():
                    return 255
                taking.result()
                done = await self._terminal.wait()
                ended = done.outcome in (Outcome.EXITED, Outcome.SIGNALLED)
            finally:
                for task in (*tasks, taking):
                    task.cancel()
                await asyncio.gather(*tasks, taking, return_exceptions=True)
                await self._terminal.aclose()
                if self._raw and not ended:
                    with suppress(OSError):
                        _write_all(self._sinks[1], self._modes.undone())
        if not ended:
            raise Unreachable(
                f"The connection to {self._where} broke: the shell is gone, the run is not touched."
            )
        return 128 + done.code if done.outcome is Outcome.SIGNALLED else done.code

    # ------------------------------------------------------------------------------- inside

    @contextmanager
    def _as_terminal(self) -> Iterator[None]:
        """Our terminal passes every key on, tells of its size, and is given back as it was."""
        if not self._raw:
            yield
            return
        loop = asyncio.get_running_loop()
        before = termios.tcgetattr(self._source)
        ours = (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP)
        handlers = {number: signal.getsignal(number) for number in ours}
        told: list[int] = []
        try:
            tty.setraw(self._source, termios.TCSADRAIN)
            with _handled(loop, signal.SIGWINCH, self._resized), _ending(loop, told):
                yield
        finally:
            with suppress(termios.error):
                termios.tcsetattr(self._source, termios.TCSADRAIN, before)
            for number, handler in handlers.items():
                if handler is not None:
                    signal.signal(number, handler)
        for signalled in told:
            os.kill(os.getpid(), signalled)  # whoever had it before takes it from here

    def _resized(self) -> None:
        size = terminal_size(self._source)
        self._resizing = asyncio.ensure_future(self._terminal.resize(size))

    async def _take(self) -> None:
        while True:
            number, data = await self._terminal.read()
            if not data:
                return
            self._modes.see(data)
            # On a thread: a terminal that takes nothing (ctrl+s) must not stop everything else.
            await asyncio.to_thread(_write_all, self._sinks[number], data)

    async def _give(self) -> None:
        while data := await _read(self._source):
            if self._raw:
                data, hang_up = self._escape.feed(data)
                if hang_up:
                    self._hung_up.set()
                    return
            if data:
                await self._terminal.write(data)
        await self._terminal.write_eof()


@contextmanager
def _handled(
    loop: asyncio.AbstractEventLoop, number: int, call: Callable[..., Any], *args: Any
) -> Iterator[None]:
    loop.add_signal_handler(number, call, *args)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)


@contextmanager
def _ending(loop: asyncio.AbstractEventLoop, told: list[int]) -> Iterator[None]:
    """SIGTERM and SIGHUP end what runs within, in order: the terminal is given back first."""
    task = asyncio.current_task()
    assert task is not None

    def end(number: int) -> None:
        told.append(number)
        task.cancel()

    with (
        _handled(loop, signal.SIGTERM, end, signal.SIGTERM),
        _handled(loop, signal.SIGHUP, end, signal.SIGHUP),
    ):
        try:
            yield
        except asyncio.CancelledError:
            if not told:
                raise
            task.uncancel()


async def _read(fd: int) -> bytes:
    """What is there to be read next, b"" at the end. Never by a thread that waits: it would take
    the first key of whatever comes after us."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    try:
        loop.add_reader(fd, wake)
    except (OSError, ValueError):  # a regular file is always ready, and so says nothing
        await asyncio.sleep(0)
        return _read_now(fd)
    try:
        await ready
    finally:
        loop.remove_reader(fd)
    return _read_now(fd)


def _read_now(fd: int) -> bytes:
    try:
        return os.read(fd, PIECE)
    except OSError:  # our terminal is gone
        return b""


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class _Escape:
    """Finds `~.` at the beginning of a line among the keys; `~~` is one `~`."""

    def __init__(self) -> None:
        self._fresh = True
        self._held = False

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What the program gets of these keys, and whether to hang up."""
        out = bytearray()
        for at in range(len(data)):
            key = data[at : at + 1]
            if self._held:
                self._held = False
                if key == b".":
                    return bytes(out), True
                out += key if key == ESCAPE else ESCAPE + key
                self._fresh = key in b"\r\n"
            elif self._fresh and key == ESCAPE:
                self._held = True
            else:
                out += key
                self._fresh = key in b"\r\n"
        return bytes(out), False


class _Modes:
    """The private modes of the terminal that a program has set and not taken back: a full screen,
    mouse reports, a hidden cursor. One that was cut off can not take them back any more."""

    def __init__(self) -> None:
        self._set: dict[int, bytes] = {}
        self._rest = b""

    def see(self, data: bytes) -> None:
        data = self._rest + data
        for numbers, action in _MODE.findall(data):
            for number in numbers.split(b";"):
                if number:
                    self._set[int(number)] = action
        self._rest = data[-48:] if b"\x1b" in data[-48:] else b""

    def undone(self) -> bytes:
        """What puts the terminal back."""
        out = b""
        for number, action in self._set.items():
            usual = _LEFT_BEHIND.get(number, b"l")
            if action != usual:
                out += b"\x1b[?%d%s" % (number, usual)
        return out + b"\x1b[0m\x1b>" if self._set else b""
