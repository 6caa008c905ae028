"""What is known of a whole log once it has been read through in the background: its lines' numbers,
and where warnings and errors are.

Nothing on the screen waits for it: until a place is covered its line number is unknown and its
percentage is shown. It keeps counts by block, so it costs the same whatever the log holds. What a
log grows by between two looks is little as a rule and read on the spot, so that a log that is
followed is known to its last line at every look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from traindeck.backends.errors import TraindeckError
from traindeck.console.logs.census import Census, block_for
from traindeck.console.logs.scanner import Scanner
from traindeck.console.logs.severity import LOOK, Severity
from traindeck.console.logs.source import ByteSource, Pages
from traindeck.console.logs.worker import Worker

AT_ONCE = 128 << 10
"""Bytes that are read through in this process, in some milliseconds: a block and what was written
since the last look."""


class Survey:
    """One background reading of a log, and what it has found so far.

    Attributes:
        newlines: Newlines by block.
        errors, warnings: By block, 1 if the block has a line of that severity.
        first_error: Offset of the first line that looks like an error; final once it lies before
            `covered`.
        running: Whether a reading is under way; `error` says why the last one failed.
    """

    def __init__(self, source: ByteSource) -> None:
        self.newlines = Census(block_for(0))
        self.errors = Census(block_for(0))
        self.warnings = Census(block_for(0))
        self.first_error: int | None = None
        self.running = False
        self.error = ""
        self._censuses = (self.newlines, self.errors, self.warnings)
        self._worker = Worker(source, background=True)

    @property
    def covered(self) -> int:
        """Offset before which everything is known."""
        return self.newlines.covered

    async def read(self, size: int, on_progress: Callable[[], None] | None = None) -> None:
        """Read what is not read yet of the first `size` bytes. Never raises; `error` tells.

        Args:
            size: Bytes of the log now.
            on_progress: Called some 20 times a second, whenever more is known.
        """
        if self.running:
            return
        self.running, self.error = True, ""
        start = self._begin(size)
        waiting: list[list[bytes]] | None = []
        try:
            async for words in self._worker.ask(f"survey {self.newlines.block} {start} {size}"):
                if waiting is not None:
                    # What is known of the last block stays until there is better: its first count.
                    waiting.append(words)
                    if words[0] == b"c":
                        self._replace(start, waiting)
                        waiting = None
                else:
                    self._take(words)
                if words[0] == b"c" and on_progress is not None:
                    on_progress()
        except TraindeckError as failed:
            self.error = str(failed)
        finally:
            self.running = False

    async def catch_up(self, pages: Pages) -> None:
        """Read what is new in the log as last refreshed here and now, if that is little.

        Raises:
            TraindeckError: The log cannot be read for now.
        """
        size = pages.size
        if self.running or self.error or size <= self.covered:
            return
        if size - self.covered > AT_ONCE:
            return
        self.running = True
        try:
            start = self._begin(size)
            base = max(0, start - LOOK)
            data = await pages.read(base, size - base)
            if len(data) < size - base:
                return  # cut since; the next look tells
            answer: list[str] = []
            scanner = Scanner(lambda at, count: data[at - base : at - base + count], answer.append)
            scanner.answer(f"survey {self.newlines.block} {start} {size}")
            self._replace(start, [line.encode().split() for line in answer])
        finally:
            self.running = False

    def _begin(self, size: int) -> int:
        """Where to read from to know all of a log that has grown to `size`."""
        block = block_for(size)
        for census in self._censuses:
            if census.covered:
                census.coarsen(block)
            else:
                census.block = block
        # The last line may have been incomplete, and grave only since.
        start = max(0, self.covered - LOOK)
        return start - start % self.newlines.block

    def _replace(self, start: int, answer: Sequence[Sequence[bytes]]) -> None:
        """Forget what was known from `start` on for what the scanner says of it now."""
        for census in self._censuses:
            census.rewind(start)
        for words in answer:
            self._take(words)

    def _take(self, words: Sequence[bytes]) -> None:
        """One line of the scanner's answer."""
        if words[0] == b"m":
            self._mark(int(words[1]), Severity(int(words[2])))
        elif words[0] == b"c":
            numbers = list(map(int, words[1:]))
            self.newlines.add(dict(zip(numbers[2::2], numbers[3::2], strict=True)))
            for census in self._censuses:
                census.covered = numbers[0]

    def _mark(self, offset: int, grave: Severity) -> None:
        census = self.errors if grave is Severity.ERROR else self.warnings
        census.add({offset // census.block: 1})
        if grave is Severity.ERROR and (self.first_error is None or offset < self.first_error):
            self.first_error = offset

    async def line_number(self, offset: int, pages: Pages) -> int | None:
        """The number, from 1, of the line that holds `offset`; None where it is not known yet."""
        if offset > self.covered:
            return None
        start = offset - offset % self.newlines.block
        data = await pages.read(start, offset - start)
        return self.newlines.before(start) + data.count(b"\n") + 1

    async def line_count(self, pages: Pages) -> int | None:
        """The number of lines in the log as last refreshed; None while they are being counted."""
        if pages.size > self.covered:
            return None
        last = await pages.read(pages.size - 1, 1)
        return self.newlines.total + (last not in (b"", b"\n"))

    async def offset_of(self, line: int, pages: Pages) -> int | None:
        """Where a line (from 1) begins; None if it is beyond what is known."""
        if line <= 1:
            return 0
        place = self.newlines.locate(line - 2)
        if place is None:
            return None
        start, before = place
        data = await pages.read(start, self.newlines.block)
        at = -1
        for _ in range(line - 1 - before):
            at = data.find(b"\n", at + 1)
            if at < 0:
                return None
        return start + at + 1

    def rows(self, height: int, size: int) -> list[Severity]:
        """The gravest severity in each of `height` stretches of the log: the map at the edge."""
        errors, warnings = self.errors.rows(height, size), self.warnings.rows(height, size)
        return [
            Severity.ERROR if bad else Severity.WARNING if odd else Severity.NONE
            for bad, odd in zip(errors, warnings, strict=True)
        ]

    async def aclose(self) -> None:
        """End the reading. Idempotent."""
        await self._worker.aclose()
