"""Terminals and connections over SSH: each has a channel of its own beside that of the agent."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from traindeck.backends.base import (
    BackendError,
    Connection,
    Done,
    Outcome,
    Terminal,
    TerminalSize,
    Unreachable,
)
from traindeck.backends.hosts import greeting
from traindeck.backends.hosts.openssh_link import OpenSSHLink
from traindeck.backends.hosts.terminals import LocalTerminal, open_local

if TYPE_CHECKING:
    import paramiko

    from traindeck.backends.hosts.paramiko_link import ParamikoLink
    from traindeck.backends.hosts.worker import Worker

PIECE = 1 << 15
AHEAD = 16
"""Pieces that are read ahead of whoever takes them."""
BANNER_KEPT = 4096
SSH_FAILED = 255
"""What `ssh` returns where it has no code of the command's: it was cut, or the command killed."""


def command_line(argv: Sequence[str]) -> str:
    """Words for a login shell that may be any.

    Raises:
        BackendError: One that some shell would read something into.
    """
    for word in argv:
        if not greeting.can_be_sent(word.lstrip("-")):
            raise BackendError(f"{word[:60]!r} cannot be handed to a login shell as it is.")
    return " ".join(map(shlex.quote, argv))


def marked_line(marker: str, argv: Sequence[str]) -> str:
    """The same for a program without a terminal: `AfterBanner` takes off what a talkative login
    prints before it, which nobody asked for and which would stand in a file that this is sent to.

    Raises:
        BackendError: As `command_line`.
    """
    script = 'echo; echo "$0"; echo >&2; echo "$0" >&2; exec "$@"'
    return f"exec /bin/sh -c '{script}' {marker} {command_line(argv)}"


class AfterBanner:
    """A program without a terminal, from where it begins: after a line with the marker on each of
    its two streams. If none comes, the last of what was said instead is all there is."""

    def __init__(self, inner: Terminal, marker: str) -> None:
        self.write = inner.write
        self.write_eof = inner.write_eof
        self.resize = inner.resize
        self.wait = inner.wait
        self.aclose = inner.aclose
        self._read = inner.read
        self._line = b"\n" + marker.encode() + b"\n"
        self._before = {1: b"", 2: b""}

    async def read(self) -> tuple[int, bytes]:
        """See `Terminal.read`."""
        while True:
            number, data = await self._read()
            if not data:
                while self._before:
                    number, before = self._before.popitem()
                    if before:
                        return number, before
                return 0, b""
            if number not in self._before:
                return number, data
            before, line, after = (self._before[number] + data).partition(self._line)
            if not line:
                self._before[number] = before[-BANNER_KEPT:]
                continue
            del self._before[number]
            if after:
                return number, after


# ------------------------------------------------------------------------------------ by paramiko


async def paramiko_terminal(
    link: ParamikoLink, argv: Sequence[str], size: TerminalSize | None
) -> Terminal:
    """See `Host.terminal`."""
    marker = secrets.token_hex(16)
    command = command_line(argv) if size else marked_line(marker, argv)
    channel = await link.session()
    term = os.environ.get("TERM", "xterm")

    def start() -> None:
        if size is not None:
            channel.get_pty(term, size.columns, size.rows)
        channel.exec_command(command)

    try:
        await link.do(start)
    except BaseException as error:
        link.put(channel.close)
        if isinstance(error, asyncio.CancelledError):
            raise
        raise BackendError(f"The host gives no terminal: {error}.") from None
    terminal = ParamikoTerminal(channel, link.worker, size is not None)
    return terminal if size else AfterBanner(terminal, marker)


class ParamikoTerminal:
    """See `base.Terminal`: a channel of paramiko's, read by threads that end with it."""

    def __init__(self, channel: paramiko.Channel, worker: Worker, pty: bool) -> None:
        self._channel = channel
        self._worker = worker
        self._pty = pty
        self._loop = asyncio.get_running_loop()
        self._said: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self._room = threading.Semaphore(AHEAD)
        self._open = 0
        self._closed = False
        self._read_from(1, channel.recv)
        if not pty:
            self._read_from(2, channel.recv_stderr)

    def _read_from(self, number: int, receive: object) -> None:
        self._open += 1
        threading.Thread(
            target=self._pump, args=(number, receive), name="ssh-terminal", daemon=True
        ).start()

    def _pump(self, number: int, receive) -> None:  # type: ignore[no-untyped-def]
        data = b"?"
        while data:
            try:
                data = receive(PIECE)
            except Exception:
                data = b""
            self._room.acquire()
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._said.put_nowait, (number, data))

    async def read(self) -> tuple[int, bytes]:
        """See `Terminal.read`."""
        while self._open:
            number, data = await self._said.get()
            self._room.release()
            if data:
                return number, data
            self._open -= 1
        return 0, b""

    async def write(self, data: bytes) -> None:
        """See `Terminal.write`."""
        with suppress(Exception):
            await self._worker.do(self._channel.sendall, data)

    async def write_eof(self) -> None:
        """See `Terminal.write_eof`."""
        if not self._pty:
            with suppress(Exception):
                await self._worker.do(self._channel.shutdown_write)

    async def resize(self, size: TerminalSize) -> None:
        """See `Terminal.resize`."""
        if self._pty:
            with suppress(Exception):
                await self._worker.do(self._channel.resize_pty, size.columns, size.rows)

    async def wait(self) -> Done:
        """See `Terminal.wait`. Of a signal paramiko says only that there was one."""
        code = await asyncio.to_thread(self._channel.recv_exit_status)
        if code >= 0:
            return Done(code=code)
        alive = self._channel.get_transport().is_active()
        return Done(outcome=Outcome.SIGNALLED if alive else Outcome.CUT)

    async def aclose(self) -> None:
        """See `Terminal.aclose`."""
        if not self._closed:
            self._closed = True
            for _ in range(AHEAD):  # whoever waits for room is to see the end
                self._room.release()
            self._worker.put(self._close)

    def _close(self) -> None:
        with suppress(Exception):
            self._channel.close()


# --------------------------------------------------------------------------- by the user's own ssh


async def openssh_terminal(
    link: OpenSSHLink, argv: Sequence[str], size: TerminalSize | None
) -> Terminal:
    """See `Host.terminal`. The user's ssh has a terminal of ours, and passes its size on."""
    marker = secrets.token_hex(16)
    command = command_line(argv) if size else marked_line(marker, argv)
    words = link.argv("-tt" if size else "-T", "-o", "LogLevel=ERROR", command=(command,))
    terminal = SshTerminal(await open_local(words, size, link.environ()))
    return terminal if size else AfterBanner(terminal, marker)


class SshTerminal:
    """A program's terminal through `ssh`, whose own failure is no code of the program's."""

    def __init__(self, inner: LocalTerminal) -> None:
        self.read = inner.read
        self.write = inner.write
        self.write_eof = inner.write_eof
        self.resize = inner.resize
        self.aclose = inner.aclose
        self._wait = inner.wait

    async def wait(self) -> Done:
        """See `Terminal.wait`."""
        done = await self._wait()
        lost = done.outcome is Outcome.EXITED and done.code == SSH_FAILED
        return Done(outcome=Outcome.CUT) if lost else done


async def openssh_connect(link: OpenSSHLink, address: str, port: int) -> Connection:
    """A connection through `ssh -W`. Whether anybody listens there must be known before."""
    shown = f"[{address}]" if ":" in address else address
    words = link.argv("-W", f"{shown}:{port}", "-o", "LogLevel=ERROR")
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=link.environ(),
            start_new_session=True,
        )
    except OSError as error:
        raise Unreachable(f"ssh cannot be started: {error.strerror or error}.") from None
    assert process.stdout is not None and process.stdin is not None
    link.keep(process)
    return process.stdout, process.stdin
