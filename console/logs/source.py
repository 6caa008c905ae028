"""Where a log's bytes come from: a local file, a backend's random access, a run directory's file.

A source is read by offset and may grow, be cut, be replaced or vanish at any moment; none of that
raises. It tells by `identity` that what was read before is no longer what is there. Nothing here
knows lines, and nothing here may hold more than a bounded number of pages.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from traindeck.backends.base import Files, JobRef, LogStat, SeekableLogs
from traindeck.backends.errors import BackendError

T = TypeVar("T")

PAGE = 64 << 10
"""Bytes of a page in the cache."""
PAGES = 128
"""Pages kept: 8 MiB, whatever the size of the log."""
READ_LIMIT = 1 << 20
"""Bytes asked for in one read; a backend answers at most 4 MiB."""
TELLTALE = 64
"""Bytes before the last known end that are compared when a log has grown."""


class ByteSource(Protocol):
    """Random access to bytes that somebody else is appending to."""

    async def stat(self) -> LogStat:
        """The present size. `identity` differs from the last answer's if the file was replaced or
        cut since, so that offsets kept from before mean nothing any more. A file that does not
        exist (yet) has size 0 and identity ""."""
        ...

    async def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`; fewer at the end, b"" beyond it.

        Raises:
            Unreachable: The place that holds the log does not answer.
        """
        ...

    async def local_fd(self) -> int | None:
        """A descriptor of the same file for another process to read, which the caller closes; None
        if the bytes are not on this machine."""
        ...

    async def find(self, needle: bytes, offset: int, *, backward: bool = False) -> int | None:
        """Where the place itself finds the next (or last before `offset`) occurrence.

        Raises:
            NotImplementedError: It cannot search: read and look for yourself.
        """
        ...

    async def aclose(self) -> None:
        """Release everything. Idempotent."""
        ...


class Continuity:
    """Notices that a file was cut, even if it has grown past its old size again since.

    Neither a device and inode number nor a size tells that: log rotation by copy-and-truncate keeps
    the one and soon passes the other. So the last bytes before the known end are kept and compared.
    """

    def __init__(self) -> None:
        self._file = ""
        self._size = 0
        self._tail = b""
        self._cuts = 0

    async def identity(
        self, file: str, size: int, read_at: Callable[[int, int], Awaitable[bytes]]
    ) -> str:
        """The identity of the content, given the file's own identity and size."""
        if file != self._file:
            self._file, self._size, self._tail, self._cuts = file, 0, b"", 0
        if size < self._size:
            self._cuts += 1
            self._size, self._tail = 0, b""
        elif size > self._size and self._tail:
            start = self._size - len(self._tail)
            if await read_at(start, len(self._tail)) != self._tail:
                self._cuts += 1
                self._tail = b""
        if size != self._size:
            start = max(0, size - TELLTALE)
            tail = await read_at(start, size - start)
            # A short read means that it was cut between the two calls; the next stat will tell.
            self._tail = tail if len(tail) == size - start else b""
            self._size = size
        if not file:
            return ""
        return f"{file}/{self._cuts}" if self._cuts else file


class FileSource:
    """A local file, by path. All system calls are made on one thread of its own, so that a file
    server that hangs stops neither the event loop nor other logs.

    Raises `BackendError` where the system refuses to read, also from `stat`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._fd = -1
        self._file = ""
        self._continuity = Continuity()
        self._thread: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "traindeck-log")

    async def stat(self) -> LogStat:
        file, size = await self._call(self._stat)
        return LogStat(
            size=size, identity=await self._continuity.identity(file, size, self.read_at)
        )

    async def read_at(self, offset: int, size: int) -> bytes:
        return await self._call(self._read, offset, size)

    async def local_fd(self) -> int | None:
        return await self._call(self._duplicate)

    async def find(self, needle: bytes, offset: int, *, backward: bool = False) -> int | None:
        raise NotImplementedError

    async def aclose(self) -> None:
        if self._thread is not None:
            thread, self._thread = self._thread, None
            # Not awaited: a read may hang on a dead file server for minutes.
            thread.submit(self._close)
            thread.shutdown(wait=False)

    async def _call(self, function: Callable[..., T], *args: object) -> T:
        if self._thread is None:
            raise ValueError(f"the log {self.path} was closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(function, *args))

    def _stat(self) -> tuple[str, int]:
        try:
            there = os.stat(self.path)
            file = f"{there.st_dev}:{there.st_ino}"
            if self._fd < 0 or file != self._file:
                self._close()
                self._open()
        except (FileNotFoundError, NotADirectoryError):
            # Deleted: what was opened stays readable, what never was there is empty.
            if self._fd < 0:
                return "", 0
        except OSError as error:
            if self._fd < 0:
                raise self._unreadable(error) from None
        return self._file, os.fstat(self._fd).st_size

    def _open(self) -> None:
        # O_NONBLOCK: a fifo in the file's place must not hang the opening.
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        opened = os.fstat(self._fd)
        if not stat.S_ISREG(opened.st_mode):
            self._close()
            raise BackendError(f"The log {self.path} is not a regular file.")
        self._file = f"{opened.st_dev}:{opened.st_ino}"

    def _read(self, offset: int, size: int) -> bytes:
        if self._fd < 0:
            self._stat()
        if self._fd < 0:
            return b""
        parts = []
        while size > 0:
            try:
                part = os.pread(self._fd, size, offset)
            except OSError as error:
                raise self._unreadable(error) from None
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _unreadable(self, error: OSError) -> BackendError:
        return BackendError(f"The log {self.path} cannot be read: {error.strerror}.")

    def _duplicate(self) -> int | None:
        if self._fd < 0:
            self._stat()
        return os.dup(self._fd) if self._fd >= 0 else None

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


async def _fully(read: Callable[[int, int], Awaitable[bytes]], offset: int, size: int) -> bytes:
    """As many reads as it takes: a backend may answer with less than it was asked for."""
    parts = []
    while size > 0:
        part = await read(offset, min(size, READ_LIMIT))
        if not part:
            break
        parts.append(part)
        offset += len(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class BackendSource:
    """The log of one rank of a job, through its backend."""

    def __init__(self, backend: SeekableLogs, ref: JobRef, rank: int = 0) -> None:
        self._backend = backend
        self._ref = ref
        self._rank = rank
        self._continuity = Continuity()

    async def stat(self) -> LogStat:
        there = await self._backend.log_stat(self._ref, self._rank)
        identity = await self._continuity.identity(there.identity, there.size, self.read_at)
        return LogStat(size=there.size, identity=identity, ended=there.ended)

    async def read_at(self, offset: int, size: int) -> bytes:
        return await _fully(partial(self._backend.read_at, self._ref, self._rank), offset, size)

    async def local_fd(self) -> int | None:
        return None

    async def find(self, needle: bytes, offset: int, *, backward: bool = False) -> int | None:
        return await self._backend.find_in_log(
            self._ref, self._rank, needle, offset=offset, backward=backward
        )

    async def aclose(self) -> None:
        """Nothing is held: the backend belongs to whoever made it."""


class RunFileSource:
    """A file of a run directory, through its backend: the time samples of a log, for example."""

    def __init__(self, backend: Files, ref: JobRef, path: str) -> None:
        self._backend = backend
        self._ref = ref
        self._path = path
        self._continuity = Continuity()

    async def stat(self) -> LogStat:
        folder, _, _ = self._path.rpartition("/")
        for entry in await self._backend.list_files(self._ref, folder):
            if entry.path == self._path and not entry.is_dir:
                size = entry.size
                identity = await self._continuity.identity(self._path, size, self.read_at)
                return LogStat(size=size, identity=identity)
        return LogStat()

    async def read_at(self, offset: int, size: int) -> bytes:
        return await _fully(partial(self._backend.read_file, self._ref, self._path), offset, size)

    async def local_fd(self) -> int | None:
        return None

    async def find(self, needle: bytes, offset: int, *, backward: bool = False) -> int | None:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Nothing is held: the backend belongs to whoever made it."""


class Pages:
    """A source seen through a bounded cache, with the size and identity of the last look.

    Attributes:
        size: Bytes, as of the last `refresh`. Reads never go beyond it, so that everything derived
            between two refreshes is derived from one state.
        identity: Of the content, as of the last `refresh`.
        ended: Whether nothing more will be appended.
    """

    def __init__(self, source: ByteSource, *, page: int = PAGE, pages: int = PAGES) -> None:
        self.source = source
        self.size = 0
        self.identity = ""
        self.ended = False
        self._page = page
        self._limit = pages
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    async def refresh(self) -> bool:
        """Look again. Whether the content is still the one that was there before, perhaps longer;
        if not, every offset kept from before is void."""
        there = await self.source.stat()
        # A log that comes into being goes on from nothing: no offset is void by that.
        same = there.identity == self.identity or not self.identity
        if not same:
            self._kept.clear()
        self.size, self.identity, self.ended = there.size, there.identity, there.ended
        return same

    async def read(self, offset: int, size: int) -> bytes:
        """The bytes [offset, offset + size), fewer at the end of the log."""
        end = min(offset + size, self.size)
        if end <= offset:
            return b""
        page = self._page
        first, last = offset // page, (end - 1) // page
        if first == last:
            data = self._kept.get(first)
            if data is not None and len(data) >= end - first * page:
                self._kept.move_to_end(first)
                return data[offset - first * page : end - first * page]
        parts = await self._gather(first, last, end)
        whole = parts[0] if len(parts) == 1 else b"".join(parts)
        return whole[offset - first * page : end - first * page]

    async def _gather(self, first: int, last: int, end: int) -> list[bytes]:
        """The pages first … last, what is missing read in as few reads as possible. Stops at a
        page that came short (the log was cut since the last refresh)."""
        page = self._page
        found: dict[int, bytes] = {}
        for number in range(first, last + 1):
            data = self._kept.get(number)
            if data is not None and len(data) >= min(page, end - number * page):
                self._kept.move_to_end(number)
                found[number] = data
        number = first
        while number <= last:
            if number in found:
                number += 1
                continue
            until = number
            while (
                until <= last
                and until not in found
                and (until - number + 1) * page <= max(page, READ_LIMIT)
            ):
                until += 1
            start = number * page
            data = await self.source.read_at(start, min(until * page, self.size) - start)
            for taken in range(number, until):
                piece = data[(taken - number) * page : (taken - number + 1) * page]
                found[taken] = piece
                self._keep(taken, piece)
            number = until
        parts = []
        for number in range(first, last + 1):
            parts.append(found[number])
            if len(found[number]) < page:
                break
        return parts

    def _keep(self, number: int, data: bytes) -> None:
        if data:
            self._kept[number] = data
            self._kept.move_to_end(number)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
