"""A log's bytes as they are, for a pipe: the last lines, since a time, those that match.

Nothing is neutralised or added here: what comes out is byte for byte a part of the log. (A terminal
gets the neutral form; that is the command's decision.) Lines are those of the newline here, of any
length.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator

from traindeck.backends.errors import UsageError
from traindeck.console.logs.source import ByteSource
from traindeck.console.logs.times import Times

CHUNK = 1 << 20
LONGEST = 16 << 20
"""Bytes of a line that are matched as one; a longer one is matched in pieces."""
OVERLAP = 64 << 10
"""Bytes that such a piece shares with the one before: the longest match that no cut hides."""


async def tail_offset(source: ByteSource, lines: int, end: int | None = None) -> int:
    """Where the last `lines` lines of the first `end` bytes (all, if None) begin, as for
    `tail -n`: an unfinished last line counts. Reads backwards only as far as it must."""
    position = (await source.stat()).size if end is None else end
    if lines <= 0:
        return position
    wanted = lines
    last = await source.read_at(position - 1, 1) if position else b""
    if last == b"\n":
        wanted += 1
    step = 64 << 10
    while position > 0:
        start = max(0, position - step)
        data = await source.read_at(start, position - start)
        found = data.count(b"\n")
        if found >= wanted:
            at = len(data)
            for _ in range(wanted):
                at = data.rfind(b"\n", 0, at)
            return start + at + 1
        wanted -= found
        position, step = start, CHUNK
    return 0


async def since_offset(source: ByteSource, times: Times, moment: float) -> int | None:
    """Where the first line begins that was not complete before `moment`; None without samples."""
    await times.refresh()
    offset = await times.offset_at(moment)
    if offset is None:
        return None
    size = (await source.stat()).size
    return await line_start(source, min(offset, size))


async def line_start(source: ByteSource, offset: int) -> int:
    """Where the line begins that the byte at `offset` belongs to (or would)."""
    return await tail_offset(source, 1, offset) if await _inside(source, offset) else offset


async def _inside(source: ByteSource, offset: int) -> bool:
    return offset > 0 and await source.read_at(offset - 1, 1) != b"\n"


async def read(source: ByteSource, start: int, end: int) -> AsyncIterator[bytes]:
    """The bytes [start, end) in chunks; ends early where the log does."""
    while start < end:
        data = await source.read_at(start, min(CHUNK, end - start))
        if not data:
            return
        yield data
        start += len(data)


class Grep:
    """Keeps the lines that match an expression, over any division of the log into chunks.

    Matches text decoded as UTF-8, as `grep` does in such a locale; no byte is changed. Of a line
    that is longer than `LONGEST` no more than that is held: what did not match is let go, and from
    the piece that does the line is passed on to its end. There `$` also stands for a cut.
    """

    def __init__(
        self,
        expression: str,
        *,
        ignore_case: bool = False,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """
        Args:
            tell: Takes a sentence, once, if the beginning of a line is let go.

        Raises:
            UsageError: The expression is wrong.
        """
        try:
            self._pattern = re.compile(expression, re.IGNORECASE if ignore_case else 0)
        except (re.error, RecursionError, OverflowError) as error:
            raise UsageError(
                f"{expression!r} is not a regular expression: {error}.",
                "Put a backslash before characters that stand for themselves.",
            ) from None
        self._tell: Callable[[str], None] | None = tell
        self._rest = b""
        self._begun = False  # whether what is before the rest, of the same line, was let go
        self._passing = False  # whether the line that the next chunk goes on with has matched

    def feed(self, data: bytes) -> bytes:
        """The matching lines that are complete with this chunk."""
        passed = b""
        if self._passing:
            end = data.find(b"\n") + 1
            self._passing = not end
            passed, data = (data[:end], data[end:]) if end else (data, b"")
        data = self._rest + data
        cut = data.rfind(b"\n") + 1
        found, self._rest = b"".join(self._matching(data[:cut])), data[cut:]
        if len(self._rest) >= LONGEST:
            found += self._take()
        return passed + found

    def close(self) -> bytes:
        """The unfinished last line, if it matches."""
        rest, self._rest = self._rest, b""
        found = b"".join(self._matching(rest))
        self._begun = self._passing = False
        return found

    def _take(self) -> bytes:
        """Take what there is of a line that is too long to be held."""
        piece = b"".join(self._matching(self._rest))
        self._passing, self._begun = bool(piece), not piece
        self._rest = b"" if piece else self._rest[-OVERLAP:]
        if self._begun and self._tell:
            self._tell(
                f"a line is longer than {LONGEST >> 20} MiB: such lines are matched in pieces, and"
                " printed from the piece on that matches."
            )
            self._tell = None
        return piece

    def _matching(self, data: bytes) -> Iterator[bytes]:
        search = self._pattern.search
        for line in data.splitlines(keepends=True) if b"\r" not in data else _lines(data):
            text = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
            # Not at 0 where the line did not begin: `^` does not stand for a cut.
            if search(text, int(self._begun)):
                yield line
            self._begun = False


def _lines(data: bytes) -> Iterator[bytes]:
    """The lines of the newline alone: a carriage return is a byte like another."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", at) + 1 or len(data)
        yield data[at:end]
        at = end
