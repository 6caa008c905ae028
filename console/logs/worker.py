"""The console's end of a scanner process: start it, ask it, answer its questions, end it.

A search must be stoppable at any instant, also inside a regular expression that will not finish in
this life; so stopping is killing, and the next request starts another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

from traindeck.backends import children
from traindeck.backends.errors import TraindeckError, UsageError
from traindeck.console.logs.source import ByteSource

_ROOT = str(Path(__file__).parents[3])
_START = (
    "import sys; sys.path.append(sys.argv[1]);"
    " from traindeck.console.logs.scanner import main; main(int(sys.argv[2]), sys.argv[3] == 'b')"
)
_LINE = 1 << 20
_KEPT = 8
"""Processes killed last, whose pipes may not be seen to be closed yet."""


class ScanEnded(TraindeckError):
    """The scanner process went away in the middle of a request (killed, or out of memory)."""


class Worker:
    """One scanner process over one source, started at the first request.

    Requests are carried out one after another. Ending the iteration of an answer early, or calling
    `stop`, kills the process.
    """

    def __init__(self, source: ByteSource, *, background: bool = False) -> None:
        self._source = source
        self._background = background
        self._process: asyncio.subprocess.Process | None = None
        self._killed: deque[asyncio.subprocess.Process] = deque(maxlen=_KEPT)
        self._turn = asyncio.Lock()

    async def ask(self, request: str) -> AsyncIterator[list[bytes]]:
        """The lines of the answer, as words, until it is complete.

        Raises:
            UsageError: The request was refused: the expression is wrong.
            ScanEnded: The process ended early.
        """
        async with self._turn:
            process = await self._started()
            complete = False
            try:
                await self._send(process, request.encode() + b"\n")
                while True:
                    assert process.stdout is not None
                    line = await process.stdout.readline()
                    words = line.split()
                    if not words:
                        raise ScanEnded("The search process ended before it was done.")
                    if words[0] == b"d":
                        complete = True
                        return
                    if words[0] == b"e":
                        raise UsageError(line[2:].decode(errors="replace").strip())
                    if words[0] == b"r":
                        data = await self._source.read_at(int(words[1]), int(words[2]))
                        await self._send(process, b"%d\n%b" % (len(data), data))
                        continue
                    yield words
            finally:
                if not complete:
                    self._kill(process)

    def stop(self) -> None:
        """End at once whatever is under way."""
        if self._process is not None:
            self._kill(self._process)

    async def aclose(self) -> None:
        """Stop, and wait until the process is gone. Idempotent."""
        self.stop()
        while self._killed:
            process = self._killed.pop()
            await process.wait()
            # Its pipes too: what was still in them must not arrive at a loop that has ended. Who
            # still waits for an answer (that is the error) reads them to their end.
            with contextlib.suppress(RuntimeError):
                await process.communicate()
            await asyncio.sleep(0)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None:
            return self._process
        fd = await self._source.local_fd()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-X", "utf8", "-c", _START),
                *(_ROOT, str(-1 if fd is None else fd), "b" if self._background else "f"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=() if fd is None else (fd,),
                limit=_LINE,
                # A Ctrl-C at the terminal is the console's business.
                start_new_session=True,
            )
        finally:
            if fd is not None:
                os.close(fd)
        return self._process

    async def _send(self, process: asyncio.subprocess.Process, data: bytes) -> None:
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):  # its end shows where the answer is read
            process.stdin.write(data)
            await process.stdin.drain()

    def _kill(self, process: asyncio.subprocess.Process) -> None:
        if self._process is process:
            self._process = None
            self._killed.append(process)
        children.end(process, signal.SIGKILL)
