"""Programs of this machine in front of a person or a pipe: `Terminal` on a pty, or on three pipes.

The program is in a session of its own, with the pty as its terminal: what a person types there
reaches it as input, ctrl+c included, and never this program.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from traindeck.backends.base import BackendError, Done, Outcome, TerminalSize

PIECE = 1 << 16
HANG_UP = 2.0
"""Seconds from a hangup to KILL."""


async def open_local(
    argv: Sequence[str], size: TerminalSize | None, environ: Mapping[str, str]
) -> LocalTerminal:
    """Start a program.

    Raises:
        BackendError: There is no pty to be had, or the program cannot be started.
    """
    try:
        return await (_on_pipes(argv, environ) if size is None else _on_pty(argv, size, environ))
    except OSError as error:
        reason = error.strerror or error
        raise BackendError(f"{argv[0]} cannot be started: {reason}.") from None


async def _on_pipes(argv: Sequence[str], environ: Mapping[str, str]) -> LocalTerminal:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environ),
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    return LocalTerminal(process, process.stdin, (process.stdout, process.stderr), None)


async def _on_pty(
    argv: Sequence[str], size: TerminalSize, environ: Mapping[str, str]
) -> LocalTerminal:
    import fcntl
    import pty
    import termios

    def take_terminal() -> None:  # in the child, where nothing may be imported any more
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    ours, theirs = pty.openpty()
    ends = [ours, theirs]
    try:
        _resize(ours, size)
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=dict(environ),
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(theirs)
        ends.remove(theirs)
        reader, writer = await _streams_of(ours)
    except BaseException:
        for end in ends:
            with suppress(OSError):
                os.close(end)
        raise
    return LocalTerminal(process, writer, (reader,), ours)


async def _streams_of(fd: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Both directions of a pty's end, which is closed with the writer."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    reader = asyncio.StreamReader(limit=PIECE, loop=loop)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop), os.fdopen(os.dup(fd), "rb", 0)
    )
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(fd, "wb", 0)
    )
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)


def _resize(fd: int, size: TerminalSize) -> None:
    import fcntl
    import struct
    import termios

    cells = struct.pack("HHHH", size.rows & 0xFFFF, size.columns & 0xFFFF, 0, 0)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, cells)


class LocalTerminal:
    """See `base.Terminal`. `pty` is our end of it, None on pipes."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        writer: asyncio.StreamWriter,
        readers: tuple[asyncio.StreamReader, ...],
        pty: int | None,
    ) -> None:
        self._process = process
        self._writer = writer
        self._pty = pty
        self._closed = False
        self._reads = {
            number: asyncio.create_task(reader.read(PIECE)) for number, reader in _from_one(readers)
        }
        self._readers = dict(_from_one(readers))

    async def read(self) -> tuple[int, bytes]:
        """See `Terminal.read`."""
        while self._reads:
            await asyncio.wait(self._reads.values(), return_when=asyncio.FIRST_COMPLETED)
            for number, task in list(self._reads.items()):
                if not task.done():
                    continue
                del self._reads[number]
                # Once nobody has a pty open at the other end, reading from it is an error.
                data = b"" if task.cancelled() or task.exception() else task.result()
                if data:
                    self._reads[number] = asyncio.create_task(self._readers[number].read(PIECE))
                    return number, data
        return 0, b""

    async def write(self, data: bytes) -> None:
        """See `Terminal.write`."""
        with suppress(OSError, RuntimeError):
            self._writer.write(data)
            await self._writer.drain()

    async def write_eof(self) -> None:
        """See `Terminal.write_eof`."""
        if self._pty is None:
            with suppress(OSError, RuntimeError):
                self._writer.write_eof()

    async def resize(self, size: TerminalSize) -> None:
        """See `Terminal.resize`."""
        if self._pty is not None and not self._closed:
            with suppress(OSError):
                _resize(self._pty, size)

    async def wait(self) -> Done:
        """See `Terminal.wait`."""
        code = await self._process.wait()
        if code < 0:
            return Done(outcome=Outcome.SIGNALLED, code=-code)
        return Done(code=code)

    async def aclose(self) -> None:
        """See `Terminal.aclose`."""
        if self._closed:
            return
        self._closed = True
        for task in self._reads.values():
            task.cancel()
        await asyncio.gather(*self._reads.values(), return_exceptions=True)
        self._reads.clear()
        # A pipe that is full and not read is never at its end, and that is waited for too.
        draining = [asyncio.create_task(_drain(reader)) for reader in self._readers.values()]
        # Without a terminal there is nothing that would hang up by itself.
        self._signal(signal.SIGHUP)
        self._writer.close()
        try:
            async with asyncio.timeout(HANG_UP):
                await self._process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()
        finally:
            for emptied in draining:
                emptied.cancel()

    def _signal(self, number: signal.Signals) -> None:
        """To the program's whole group, as long as it is not waited for."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


async def _drain(reader: asyncio.StreamReader) -> None:
    with suppress(OSError, RuntimeError):
        while await reader.read(PIECE):
            pass


def _from_one(
    readers: tuple[asyncio.StreamReader, ...],
) -> list[tuple[int, asyncio.StreamReader]]:
    return list(enumerate(readers, start=1))
