"""When the lines of a log that are read for metrics were written."""

from __future__ import annotations

import asyncio
import struct

from traindeck.backends.base import FileEntry, JobRef
from traindeck.console.runs.measuring import NOTED_WITHIN, log_times

NAME = "attempts/0/logs/0.idx"


class Samples:
    """A run's folder with the samples of its log, and nothing else."""

    def __init__(self) -> None:
        self.data = b""

    def note(self, moment: float, size: int) -> None:
        self.data += struct.pack("<dQ", moment, size)

    async def list_files(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        return [FileEntry(path=NAME, size=len(self.data))]

    async def read_file(self, ref: JobRef, path: str, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


async def test_a_line_that_is_read_before_it_is_noted_has_a_time_all_the_same() -> None:
    files = Samples()
    files.note(100.0, 50)
    asked = log_times(files, JobRef(), grows=True)  # type: ignore[arg-type]
    task = asyncio.create_task(asked([10, 60]))  # type: ignore[arg-type]
    await asyncio.sleep(NOTED_WITHIN / 2)
    files.note(101.0, 70)
    assert await task == [100.0, 101.0]


async def test_what_nobody_notes_is_not_waited_for_again_and_again() -> None:
    files = Samples()
    files.note(100.0, 50)
    over = log_times(files, JobRef(), grows=False)  # type: ignore[arg-type]
    async with asyncio.timeout(NOTED_WITHIN / 2):
        assert await over([10, 60]) == [100.0, None]
    goes_on = log_times(files, JobRef(), grows=True)  # type: ignore[arg-type]
    async with asyncio.timeout(NOTED_WITHIN * 5):
        assert await goes_on([10, 60]) == [100.0, None]
