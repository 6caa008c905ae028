"""Following a log: what is appended, as it comes, through everything that can happen to the file.

A follower only reads. It resumes from any offset, so whoever follows keeps one number and loses
nothing by ending; a log that was cut or replaced is said to have begun anew, never mixed with what
was there before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from traindeck.backends.data import dataclass
from traindeck.backends.errors import Unreachable
from traindeck.console.logs.source import ByteSource

CHUNK = 1 << 20
"""Bytes passed on at once."""
INTERVAL = 0.1
"""Seconds between two looks at a log that grows."""
SLOWEST = 1.0
"""Seconds between two looks at one that has been quiet."""
RETRY = 10.0
"""Seconds at most between two attempts to reach a place that does not answer."""


@dataclass(frozen=True, slots=True)
class Appended:
    """Bytes of the log, in order and without gaps; go on at `offset + len(data)`."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Restarted:
    """The log was cut or replaced: what follows begins at offset 0 again."""

    size: int


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The place does not answer; it is asked again after `wait` seconds."""

    reason: str
    wait: float


Event = Appended | Restarted | Unanswered


async def follow(
    source: ByteSource,
    offset: int = 0,
    *,
    ended: Callable[[], bool] | None = None,
    interval: float = INTERVAL,
) -> AsyncIterator[Event]:
    """Everything from `offset` on, until the log is complete.

    Args:
        source: The log. It need not exist yet.
        offset: Where to go on; beyond the end means the log was cut since.
        ended: Whether nothing more will be written, for a source that cannot know (a file); asked
            before each look, so that nothing written before it said so is missed.
        interval: Seconds between two looks while the log grows; up to `SLOWEST` while it is quiet.
    """
    identity: str | None = None
    wait, failures = interval, 0
    while True:
        over = ended is not None and ended()
        try:
            there = await source.stat()
            failures = 0
            if (identity and there.identity != identity) or there.size < offset:
                yield Restarted(there.size)
                offset = 0
            identity = there.identity or identity
            grown = there.size > offset
            while offset < there.size:
                data = await source.read_at(offset, min(CHUNK, there.size - offset))
                if not data:
                    break
                yield Appended(offset, data)
                offset += len(data)
        except Unreachable as gone:
            failures += 1
            wait = min(RETRY, interval * 2**failures)
            yield Unanswered(str(gone), wait)
            await asyncio.sleep(wait)
            continue
        if (over or there.ended) and offset >= there.size:
            return
        wait = interval if grown else min(max(SLOWEST, interval), wait * 1.25)
        await asyncio.sleep(0 if over or there.ended else wait)
