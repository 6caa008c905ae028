"""Sources: what a reader sees while a log grows, is cut, replaced or deleted under it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from traindeck.backends.base import BackendError, FileEntry, JobRef, LogStat
from traindeck.console.logs.source import BackendSource, FileSource, Pages, RunFileSource


async def test_a_log_that_does_not_exist_yet_is_empty_and_then_there(log: Path) -> None:
    source = FileSource(log)
    pages = Pages(source)
    assert await pages.refresh()
    assert (pages.size, await pages.read(0, 100), await source.local_fd()) == (0, b"", None)
    log.write_bytes(b"first\n")
    assert await pages.refresh(), "coming into being voids no offset"
    assert await pages.read(0, 100) == b"first\n"
    await source.aclose()


async def test_growth_keeps_identity_and_what_is_cached_stays_right(log: Path) -> None:
    log.write_bytes(b"a" * 1000)
    source = FileSource(log)
    pages = Pages(source, page=256)
    await pages.refresh()
    assert await pages.read(900, 500) == b"a" * 100
    with log.open("ab") as file:
        file.write(b"b" * 1000)
    assert await pages.read(900, 500) == b"a" * 100, "until the next look nothing changes"
    assert await pages.refresh()
    assert await pages.read(900, 500) == b"a" * 100 + b"b" * 400
    await source.aclose()


@pytest.mark.parametrize("then", [b"", b"short", b"n" * 1000, b"n" * 5000])
async def test_a_cut_log_is_noticed_even_if_it_has_grown_past_its_old_size(
    log: Path, then: bytes
) -> None:
    log.write_bytes(b"o" * 1000)
    source = FileSource(log)
    pages = Pages(source)
    await pages.refresh()
    assert await pages.read(0, 10) == b"o" * 10
    os.truncate(log, 0)
    with log.open("ab") as file:
        file.write(then)
    if len(then) == 1000:
        # Equal size: only the next growth can tell.
        with log.open("ab") as file:
            file.write(b"!")
        then += b"!"
    assert not await pages.refresh()
    assert pages.size == len(then)
    assert await pages.read(0, 10_000) == then
    assert await pages.refresh(), "it is reported once"
    await source.aclose()


async def test_a_replaced_log_is_noticed_and_the_new_one_read(log: Path, tmp_path: Path) -> None:
    log.write_bytes(b"old" * 100)
    source = FileSource(log)
    pages = Pages(source)
    await pages.refresh()
    other = tmp_path / "other"
    other.write_bytes(b"new" * 200)
    os.replace(other, log)
    assert not await pages.refresh()
    assert await pages.read(0, 6) == b"newnew"
    assert pages.size == 600
    await source.aclose()


async def test_a_deleted_log_stays_readable_as_long_as_it_is_open(log: Path) -> None:
    log.write_bytes(b"kept\n")
    source = FileSource(log)
    pages = Pages(source)
    await pages.refresh()
    log.unlink()
    assert await pages.refresh()
    assert await pages.read(0, 5) == b"kept\n"
    await source.aclose()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
async def test_what_is_no_file_is_refused_in_words_and_hangs_nobody(
    log: Path, make: Callable[[Path], None]
) -> None:
    make(log)
    source = FileSource(log)
    for ask in (source.stat, source.local_fd):
        with pytest.raises(BackendError, match="is not a regular file"):
            await ask()
    await source.aclose()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_log_that_may_not_be_read_says_so(log: Path) -> None:
    log.write_bytes(b"x")
    log.chmod(0)
    source = FileSource(log)
    with pytest.raises(BackendError, match="Permission denied"):
        await source.stat()
    await source.aclose()


async def test_sources_leave_no_descriptor_behind(log: Path) -> None:
    log.write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        source = FileSource(log)
        await source.stat()
        fd = await source.local_fd()
        assert fd is not None
        os.close(fd)
        thread = source._thread
        assert thread is not None
        await source.aclose()
        thread.shutdown(wait=True)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_the_cache_is_bounded_whatever_is_read(log: Path) -> None:
    log.write_bytes(os.urandom(4096) * 64)
    source = FileSource(log)
    pages = Pages(source, page=1024, pages=8)
    await pages.refresh()
    whole = log.read_bytes()
    assert await pages.read(0, len(whole)) == whole
    assert await pages.read(100_000, 5000) == whole[100_000:105_000]
    assert len(pages._kept) <= 8
    await source.aclose()


class SlowBackend:
    """Answers reads with at most seven bytes, as a backend may."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads = 0

    async def log_stat(self, ref: JobRef, rank: int = 0) -> LogStat:
        return LogStat(size=len(self.data), identity="8:1", ended=True)

    async def read_at(self, ref: JobRef, rank: int, offset: int, size: int) -> bytes:
        self.reads += 1
        return self.data[offset : offset + min(size, 7)]

    async def find_in_log(
        self, ref: JobRef, rank: int, needle: bytes, *, offset: int, backward: bool = False
    ) -> int | None:
        at = self.data.rfind(needle, 0, offset) if backward else self.data.find(needle, offset)
        return None if at < 0 else at

    async def list_files(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        return [FileEntry(path="attempts/0/logs/0.idx", size=len(self.data))]

    async def read_file(self, ref: JobRef, path: str, offset: int, size: int) -> bytes:
        return await self.read_at(ref, 0, offset, size)

    async def remove(self, ref: JobRef, *, keep: object = ()) -> int:
        raise AssertionError("a reader removes nothing")


async def test_a_backend_s_log_is_read_whole_and_once(log: Path) -> None:
    backend = SlowBackend(b"0123456789" * 10)
    pages = Pages(BackendSource(backend, JobRef()), page=64)
    await pages.refresh()
    assert await pages.read(0, 1000) == backend.data
    reads = backend.reads
    assert await pages.read(10, 50) == backend.data[10:60]
    assert backend.reads == reads
    assert pages.ended
    file = Pages(RunFileSource(backend, JobRef(), "attempts/0/logs/0.idx"))
    await file.refresh()
    assert await file.read(95, 10) == b"56789"
