"""Searching a log of any size: count, next and previous, the map, and the lines of a filter.

The work is done by scanner processes; here is what is known so far, and how the next thing worth
knowing is asked for. Everything can be stopped at any time and keeps what it has. Regular
expressions that a person typed are never compiled, let alone run, in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from enum import StrEnum

from traindeck.backends.data import dataclass
from traindeck.backends.errors import TraindeckError, UsageError
from traindeck.console.logs.census import Census, block_for
from traindeck.console.logs.scanner import Literal, Scanner, hits
from traindeck.console.logs.source import ByteSource
from traindeck.console.logs.units import SEGMENT
from traindeck.console.logs.worker import Worker

LANES = 2
"""Processes that share the count of a large log."""
SHARED = 64 << 20
"""Bytes from which it is worth a second process."""
STEP = 16 << 20
"""Bytes looked through in one request where no count says where to look."""
AT_ONCE = 1 << 20
"""Bytes within which a fixed string is looked for or counted in this process, in about a
millisecond."""
MANY = 1 << 16
"""Hits that are reported of one stretch at most."""
BLOCKS_KEPT = 256
"""Blocks whose lines of a filter are kept."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is searched for.

    Attributes:
        text: A fixed string, or a regular expression of Python's `re` if `regex`.
        ignore_case: For a fixed string too; beyond ASCII by Unicode's simple folding.
    """

    text: str
    regex: bool = False
    ignore_case: bool = False

    @property
    def literal(self) -> bool:
        """Whether plain bytes are compared, at most without regard to the case of ASCII."""
        return not self.regex and (not self.ignore_case or self.text.isascii())

    def needle(self) -> bytes:
        """The text as bytes of a log."""
        return self.text.encode("utf-8", "surrogateescape")

    def request(self) -> str:
        """The pattern in the words of the scanner's protocol."""
        if self.literal:
            return f"{'lower' if self.ignore_case else 'literal'} {self.needle().hex()}"
        text = self.text
        if not self.regex:
            import re

            text = re.escape(text)
        kind = "regex-ignore-case" if self.ignore_case else "regex"
        return f"{kind} {text.encode('utf-8', 'surrogateescape').hex()}"


@dataclass(frozen=True, slots=True)
class Hit:
    """Where a match is: the bytes [start, end). Empty for an expression that matches nothing."""

    start: int
    end: int


class Progress(StrEnum):
    """How far the count of a search is."""

    IDLE = "idle"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


class Search:
    """One pattern over one log.

    Attributes:
        census: Hits by block, as far as counted.
        progress: How far the count is; `error` says why it failed.
        done: Bytes counted so far, of `size`.
    """

    def __init__(self, source: ByteSource, pattern: Pattern) -> None:
        if not pattern.text or "\n" in pattern.text:
            raise UsageError("A search needs at least one character, and none of them a newline.")
        self.pattern = pattern
        self.census = Census(block_for(0))
        self.progress = Progress.IDLE
        self.error = ""
        self.done = 0
        self.size = 0
        self._source = source
        self._request = pattern.request()
        self._kept: dict[int, list[Hit]] = {}
        self._counters: list[Worker] = []
        self._finder = Worker(source)
        self._placer = Worker(source)

    @property
    def total(self) -> int:
        """Hits counted so far."""
        return self.census.total

    async def count(self, size: int, on_progress: Callable[[], None] | None = None) -> None:
        """Count all hits in the first `size` bytes, in the background of everything else. Called
        again after the log has grown, it goes on where it ended. Never raises: `progress` and
        `error` tell.

        Args:
            size: Bytes of the log now.
            on_progress: Called at most some 20 times a second, whenever more is known.
        """
        if self.progress is Progress.RUNNING:
            return
        start = self._begin(size)
        census, begun = self.census, False
        self.progress, self.error, self.size, self.done = Progress.RUNNING, "", size, start
        local = await self._source.local_fd()
        if local is not None:
            os.close(local)
        shared = local is not None and size - start >= SHARED and (os.cpu_count() or 1) > 1
        lanes = LANES if shared else 1
        fronts, read = [start] * lanes, [0] * lanes

        async def lane(number: int, worker: Worker) -> None:
            nonlocal begun
            request = f"census {self._request} {census.block} {start} {size} {number} {lanes}"
            async for words in worker.ask(request):
                if words[0] != b"c":
                    continue
                if not begun:
                    # Only now: what is known of the last block stays until there is better.
                    self._rewind(start)
                    begun = True
                numbers = list(map(int, words[1:]))
                fronts[number], read[number] = numbers[0], numbers[1]
                census.add(dict(zip(numbers[2::2], numbers[3::2], strict=True)))
                census.covered = min(size, *fronts)
                self.done = start + sum(read)
                if on_progress is not None:
                    on_progress()

        self._counters += [Worker(self._source) for _ in range(len(self._counters), lanes)]
        try:
            async with asyncio.TaskGroup() as group:
                for number, worker in enumerate(self._counters[:lanes]):
                    group.create_task(lane(number, worker))
            self.progress = Progress.DONE
        except* TraindeckError as failed:
            if self.progress is Progress.RUNNING:
                self.progress, self.error = Progress.FAILED, str(failed.exceptions[0])
        finally:
            if self.progress is Progress.RUNNING:
                self.progress = Progress.STOPPED
            # An expression is counted there whenever the log has grown, by however little.
            kept = int(self.progress is Progress.DONE and not self.pattern.literal)
            ended, self._counters = self._counters[kept:], self._counters[:kept]
            for worker in ended:
                await worker.aclose()
        if on_progress is not None:
            on_progress()

    async def catch_up(self, size: int) -> None:
        """Count what is new in the first `size` bytes here and now, if that is little and a fixed
        string is looked for.

        Raises:
            TraindeckError: The log cannot be read for now.
        """
        ready = self.progress in (Progress.IDLE, Progress.DONE) and self.pattern.literal
        if not ready or not self.census.covered < size <= self.census.covered + AT_ONCE:
            return
        start = self._begin(size)
        data = await self._source.read_at(start, size - start)
        if len(data) < size - start or self.progress not in (Progress.IDLE, Progress.DONE):
            return  # cut or being counted since; the next look tells
        if start != self._begin(size):
            return  # caught up meanwhile
        answer: list[str] = []
        scanner = Scanner(lambda at, count: data[at - start : at - start + count], answer.append)
        scanner.answer(f"census {self._request} {self.census.block} {start} {size} 0 1")
        self._rewind(start)
        for line in answer:
            words = line.split()
            if words[0] == "c":
                numbers = list(map(int, words[1:]))
                self.census.add(dict(zip(numbers[2::2], numbers[3::2], strict=True)))
        self.census.covered = self.size = self.done = size
        self.progress = Progress.DONE

    def _begin(self, size: int) -> int:
        """Where to count from to know all of a log that has grown to `size`."""
        block = block_for(size)
        if not self.census.covered:
            self.census = Census(block)
        elif block > self.census.block:
            self.census.coarsen(block)
            self._kept.clear()
        # The last block may have grown, and a hit may cross what was the end.
        crossing = len(self.pattern.needle()) if self.pattern.literal else SEGMENT
        start = max(0, self.census.covered - crossing)
        return start - start % self.census.block

    def _rewind(self, start: int) -> None:
        self.census.rewind(start)
        self._kept = {block: kept for block, kept in self._kept.items() if block < start}

    async def next(self, offset: int, size: int, *, backward: bool = False) -> Hit | None:
        """The first hit that begins at `offset` or later (or, `backward`, the last that begins
        before it) in a log of `size` bytes.

        Raises:
            UsageError: The expression is wrong.
            ScanEnded: `stop` was called, or the process died.
        """
        if not self.pattern.regex and not self.pattern.ignore_case:
            with contextlib.suppress(NotImplementedError):
                needle = self.pattern.needle()
                at = await self._source.find(needle, offset, backward=backward)
                return None if at is None else Hit(at, at + len(needle))
        found = await self._gather(offset, size, 1, backward=backward, units=False)
        return found[0] if found else None

    async def units(
        self,
        offset: int,
        size: int,
        count: int,
        *,
        backward: bool = False,
        probe: int | None = None,
    ) -> list[tuple[int, int]]:
        """The next (or, `backward`, the last) `count` units with a hit that begins at or after
        (before) `offset`, in file order: the lines of a filter. None goes beyond `size`, however
        much was written since: who asks could not read it yet, and would keep it as a blank line.

        Args:
            probe: Bytes that may be looked through where nothing is counted yet; what lies beyond
                them is left out. None: as many as it takes.
        """
        found = await self._gather(offset, size, count, backward=backward, units=True, probe=probe)
        units = [(hit.start, min(hit.end, size)) for hit in found if hit.start < size]
        return units[::-1] if backward else units

    async def within(self, ranges: Sequence[tuple[int, int]]) -> list[Hit]:
        """The hits that begin in some stretches of the log, e.g. the lines on the screen; of each
        stretch the first `MANY`."""
        found: list[Hit] = []
        for start, end in _merged(ranges):
            if self.pattern.literal and end - start <= AT_ONCE:
                found += await self._at_once(start, end)
                continue
            async for words in self._placer.ask(f"within {self._request} {start} {end} {MANY} 0 0"):
                found.append(Hit(int(words[1]), int(words[2])))
        return found

    async def rank(self, hit: Hit) -> int | None:
        """The hit's number, from 1, as in "3 of 17"; None while what lies before it is not
        counted."""
        census = self.census
        if hit.start > census.covered:
            return None
        start = hit.start - hit.start % census.block
        inside = await self.within([(start, hit.start)]) if hit.start > start else []
        return census.before(start) + len(inside) + 1

    def stop(self) -> None:
        """End the count and the search under way; what is known stays."""
        if self.progress is Progress.RUNNING:
            self.progress = Progress.STOPPED
        for worker in self._counters:
            worker.stop()
        self._finder.stop()
        self._placer.stop()

    async def aclose(self) -> None:
        """Stop, and wait for the processes. Idempotent."""
        self.stop()
        for worker in (*self._counters, self._finder, self._placer):
            await worker.aclose()

    async def _at_once(self, start: int, end: int) -> list[Hit]:
        what = Literal(self.pattern.needle(), lower=self.pattern.ignore_case)
        data = await self._source.read_at(start, end - start + what.overlap)
        there = hits(what, lambda at, size: data[at - start : at - start + size], start, end)
        return [Hit(*span) for span in there]

    async def _gather(
        self,
        offset: int,
        size: int,
        count: int,
        *,
        backward: bool,
        units: bool,
        probe: int | None = None,
    ) -> list[Hit]:
        """Up to `count` hits from `offset`, nearest first. Where blocks are counted only those
        with hits are looked into; elsewhere the log is looked through step by step."""
        found: list[Hit] = []
        low, high = (0, offset) if backward else (offset, size)
        while len(found) < count and low < high:
            start, end, counted = self._stretch(low, high, backward=backward)
            if not counted and probe is not None:
                if probe <= 0:
                    break
                if backward:
                    start = max(start, end - probe)
                else:
                    end = min(end, start + probe)
                probe -= end - start
            if units and counted and start < end:
                block = start - start % self.census.block
                inside = await self._units_of(block)
                for unit in reversed(inside) if backward else inside:
                    fits = unit.start < high if backward else unit.start >= offset
                    if fits and len(found) < count and (not found or unit != found[-1]):
                        found.append(unit)
            elif start < end:
                request = (
                    f"within {self._request} {start} {end} {count - len(found)}"
                    f" {int(backward)} {int(units)}"
                )
                async for words in self._finder.ask(request):
                    hit = Hit(int(words[1]), int(words[2]))
                    if not found or hit != found[-1]:
                        found.append(hit)
            if backward:
                high = min(start, found[-1].start) if units and found else start
            else:
                low = max(end, found[-1].end) if units and found else end
        return found

    async def _units_of(self, block: int) -> list[Hit]:
        """The units with a hit that begins in a counted block. Kept: a screen asks for the same
        few again and again."""
        kept = self._kept.get(block)
        if kept is None:
            end = block + self.census.block
            request = f"within {self._request} {block} {end} {MANY} 0 1"
            kept = [Hit(int(w[1]), int(w[2])) async for w in self._finder.ask(request)]
            if any(unit.end >= self.census.covered for unit in kept):
                return kept  # the last line may grow
            if len(self._kept) >= BLOCKS_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[block] = kept
        return kept

    def _stretch(self, low: int, high: int, *, backward: bool) -> tuple[int, int, bool]:
        """The next stretch of [low, high) worth looking into, from the side one comes from, and
        whether that is known by a count; an empty one moves past what has no hits."""
        census = self.census
        if backward:
            if high > census.covered:
                return max(low, min(census.covered, high), high - STEP), high, False
            block = census.previous_block(high)
            if block is None or block + census.block <= low:
                return low, low, True
            return max(low, block), min(high, block + census.block), True
        if low >= census.covered:
            return low, min(high, low + STEP), False
        block = census.next_block(low)
        end = min(census.covered, high)
        if block is None or block >= end:
            return end, end, True
        return max(low, block), min(end, block + census.block), True


def _merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges that touch or nearly touch as one: each is a question of its own."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start < end:
            merged.append((start, end))
    return merged
