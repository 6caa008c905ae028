"""When a part of a log was written, as far as the supervisor's samples tell.

The job writes its log itself, so nobody stamps its lines. The samples are records of (time, size of
the log then), see FORMAT.md §2: a byte was there at the first sample whose size covers it. While no
supervisor lived there are no samples, and the time is unknown; nothing is interpolated. The file
comes from another machine and may be torn: a record that makes no sense gives no time.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Sequence

from traindeck.console.logs.source import ByteSource, Pages

RECORD = struct.Struct("<dQ")
LATEST = 253402300800.0
"""Seconds since the epoch of the year 10000: no sample is later."""
TORN = 4096
"""Records at the end that are passed over if they are zeros (a machine that lost power)."""


class Times:
    """The samples of one log, looked up without reading them all: bisection over cached pages."""

    def __init__(self, source: ByteSource) -> None:
        self._pages = Pages(source)
        self._count = 0
        self._size = 0

    async def refresh(self) -> None:
        """Look whether there are more samples."""
        await self._pages.refresh()
        count = self._pages.size // RECORD.size
        for _ in range(min(count, TORN)):
            moment, _ = await self._sample(count - 1)
            if 0 < moment < LATEST:
                break
            count -= 1
        self._count = count
        self._size = (await self._sample(count - 1))[1] if count else 0

    async def at(self, offsets: Sequence[int]) -> list[float | None]:
        """When the byte at each offset was there, in seconds since the epoch; None if unknown.
        Cheapest for offsets in ascending order."""
        found: list[float | None] = []
        low = -1
        for offset in offsets:
            low = await self._covering(offset, low)
            moment = (await self._sample(low))[0] if low < self._count else math.nan
            found.append(moment if 0 < moment < LATEST else None)
        return found

    async def offset_at(self, moment: float) -> int | None:
        """The size of the log at the last sample that is not after `moment`: all before that
        offset is at least so old. None without samples, 0 before the first."""
        if not self._count:
            return None
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            if (await self._sample(middle))[0] <= moment:
                low = middle + 1
            else:
                high = middle
        return (await self._sample(low - 1))[1] if low else 0

    async def span(self) -> tuple[float, float] | None:
        """The times of the first and the last sample; None without samples."""
        if not self._count:
            return None
        return (await self._sample(0))[0], (await self._sample(self._count - 1))[0]

    async def aclose(self) -> None:
        """Release the source."""
        await self._pages.source.aclose()

    async def _covering(self, offset: int, known: int) -> int:
        """The number of the first sample whose size is beyond `offset`; `count` if there is none.

        Searched from the end in growing steps, and samples of a larger size than the last one's
        are passed over: where a log was cut, what is asked about is what was written since.
        """
        count = self._count
        if (
            0 <= known < count  # the answer for the offset before: often the same sample
            and await self._covers(known, offset)
            and (known == 0 or not await self._covers(known - 1, offset))
        ):
            return known
        high, step = count, 1
        low = count - 1
        while low >= 0 and await self._covers(low, offset):
            high, low, step = low, low - step, step * 2
        low = max(low, -1)
        while high - low > 1:
            middle = (low + high) // 2
            if await self._covers(middle, offset):
                high = middle
            else:
                low = middle
        return high

    async def _covers(self, number: int, offset: int) -> bool:
        return offset < (await self._sample(number))[1] <= self._size

    async def _sample(self, number: int) -> tuple[float, int]:
        data = await self._pages.read(number * RECORD.size, RECORD.size)
        if len(data) < RECORD.size:
            return math.nan, 0
        moment, size = RECORD.unpack(data)
        return moment, size


def moment_of(text: str, latest: float) -> float | None:
    """A clock time `HH:MM[:SS]` of the day that ends with `latest` (seconds since the epoch), as a
    moment; None if it is no time."""
    parts = text.strip().split(":")
    if not 2 <= len(parts) <= 3:
        return None
    if not all(part.isascii() and part.isdecimal() and len(part) < 3 for part in parts):
        return None
    hour, minute, second = [*map(int, parts), 0][:3]
    if hour > 23 or minute > 59 or second > 59:
        return None
    day = time.localtime(latest)
    clock = (hour, minute, second)
    moment = time.mktime((day.tm_year, day.tm_mon, day.tm_mday, *clock, 0, 0, -1))
    return moment if moment <= latest else moment - 86400
