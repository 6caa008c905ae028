"""The bytes of a run's files for the log engine: through its backend, straight from the disk where
that is the same file, or from the copy of a log that grows elsewhere.

The backend's answer is what counts; a local file is used only if the backend's own identity of the
log (device and inode) is that of a file at the run's path here. Then gigabytes are searched where
they lie instead of being sent through a pipe. Nothing here knows which backends are local.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from traindeck.backends.base import LogStat
from traindeck.backends.errors import Unreachable
from traindeck.console.logs.source import READ_LIMIT, ByteSource, FileSource
from traindeck.console.runs.following import Filler
from traindeck.console.store.mirror import LIMIT, Held

BEGUN_WITHIN = 2.0
"""Seconds that an opening log waits to be known by its copy, which costs two round trips."""

NEAR = 0.5
"""Seconds that a reader waits for bytes that are on their way here."""


class NearSource:
    """A source that reads a local file once that is known to be what the far one reads.

    Args:
        far: The file through its backend. Its identity must begin with `device:inode`.
        path: Where the file would be on this machine; None if that is not known.
    """

    def __init__(self, far: ByteSource, path: Path | None) -> None:
        self._far = far
        self._path = path
        self._near: FileSource | None = None

    async def stat(self) -> LogStat:
        if self._near is not None:
            return await self._near.stat()
        there = await self._far.stat()
        if self._path is not None and there.identity:
            if _identity(self._path) != there.identity.partition("/")[0]:
                self._path = None
                return there
            self._near = FileSource(self._path)
            return await self._near.stat()
        return there

    async def read_at(self, offset: int, size: int) -> bytes:
        return await (await self._source()).read_at(offset, size)

    async def local_fd(self) -> int | None:
        return await (await self._source()).local_fd()

    async def find(self, needle: bytes, offset: int, *, backward: bool = False) -> int | None:
        return await (await self._source()).find(needle, offset, backward=backward)

    async def aclose(self) -> None:
        if self._near is not None:
            await self._near.aclose()
        await self._far.aclose()

    async def _source(self) -> ByteSource:
        if self._near is None and self._path is not None:
            await self.stat()
        return self._near or self._far


def _identity(path: Path) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


class CopiedSource:
    """A log elsewhere: what is held of it here without a round trip, the rest through its backend.
    While that does not answer it is as long as what is held.

    Args:
        far: The log through its backend; its `stat` costs a round trip.
        filler: Keeps the copy; started and ended with this source.
    """

    def __init__(self, far: ByteSource, filler: Filler) -> None:
        self._far = far
        self._filler = filler
        self._copy = filler.copy
        self._lent = False
        self._size = 0

    async def stat(self) -> LogStat:
        self._filler.start()
        held = self._copy.held()
        if not held.identity:
            held = await self._begun()
        if not held.identity:
            return await self._far.stat()  # nothing can be copied, or there is nothing yet
        ended = self._filler.ended
        self._size = held.size
        if not (self._filler.level or self._filler.lost_at is not None or self._lent):
            try:
                there = await self._far.stat()
            except Unreachable:
                there = LogStat()
            # One that was cut or replaced the copy will be of in a moment.
            if there.identity.partition("/")[0] == held.identity:
                self._size, ended = max(held.size, there.size), there.ended
        return LogStat(size=self._size, identity=held.content, ended=ended)

    async def read_at(self, offset: int, size: int) -> bytes:
        data = b""
        while True:
            held = self._copy.held()
            found = self._copy.read(offset + len(data), size - len(data), held.content)
            data += found or b""
            rest = min(offset + size, self._size) - offset - len(data)
            if rest <= 0:
                return data
            if not await self._comes(held, offset + len(data)):
                return data + await self._far.read_at(offset + len(data), rest)

    async def local_fd(self) -> int | None:
        held = self._copy.held()
        level = self._filler.level or self._filler.lost_at is not None
        if held.begin or not held.identity or not level or held.size > LIMIT // 2:
            return None
        try:
            fd = os.open(self._copy.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        self._lent = True  # whoever has it reads no further than the copy goes
        return fd

    async def find(self, needle: bytes, offset: int, *, backward: bool = False) -> int | None:
        held = self._copy.held()
        if held.identity and not held.begin and held.size >= self._size:
            raise NotImplementedError
        return await self._far.find(needle, offset, backward=backward)

    async def aclose(self) -> None:
        await self._filler.aclose()
        await self._far.aclose()

    async def _begun(self) -> Held:
        """Wait for the copy to be one of something."""
        until = asyncio.get_running_loop().time() + BEGUN_WITHIN
        while not (held := self._copy.held()).identity:
            over = self._filler.looked or self._filler.lost_at is not None
            if over or asyncio.get_running_loop().time() > until:
                break
            await asyncio.sleep(0.01)
        return held

    async def _comes(self, held: Held, offset: int) -> bool:
        """Whether these bytes are here in a moment: they are the next ones to be copied."""
        if not held.size <= offset < held.size + READ_LIMIT or not self._filler.busy:
            return False
        until = asyncio.get_running_loop().time() + NEAR
        while asyncio.get_running_loop().time() < until and self._filler.busy:
            if self._copy.held().size > offset:
                return True
            await asyncio.sleep(0.01)
        return False
