"""The bytes of a run's files for the log engine: through its backend, or straight from the disk
where that is the same file.

The backend's answer is what counts; a local file is used only if the backend's own identity of the
log (device and inode) is that of a file at the run's path here. Then gigabytes are searched where
they lie instead of being sent through a pipe. Nothing here knows which backends are local.
"""

from __future__ import annotations

import os
from pathlib import Path

from traindeck.backends.base import LogStat
from traindeck.console.logs.source import ByteSource, FileSource


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
