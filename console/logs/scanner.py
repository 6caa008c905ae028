"""The process that reads a whole log: it counts, finds, and surveys, and can be killed at any time.

Started by `worker` as a bare interpreter without site-packages, one request a line on stdin, the
answer as lines of decimal numbers on stdout. Everything that takes more than some milliseconds of
CPU, and every regular expression a person typed, runs here and never in the console. It reads from
an inherited descriptor or, if there is none, asks the console for bytes. It must stay without
imports beyond the standard library's built-in modules: its start is part of every search.

    census KIND HEXPATTERN BLOCK START END LANE LANES   how many matches begin in each block
    within KIND HEXPATTERN START END LIMIT BACKWARD UNITS   the matches (or units with one) there
    survey BLOCK START END                              newlines of each block, grave lines

Answers: `c FRONT DONE (BLOCK COUNT)…` counts, all blocks before FRONT of this lane are final, DONE
bytes read so far; `h START END` a hit (a unit, if units were asked for); `m OFFSET SEVERITY` the
first line of that severity in its block; `e TEXT` refused; `d` done. `r OFFSET SIZE` asks for
bytes: `LENGTH` and a newline, then so many bytes, are expected on stdin.
"""

from __future__ import annotations

import os
import sys
import time

from traindeck.console.logs.units import SEGMENT, forward, start_of, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int, int], bytes]

CHUNK = 1 << 20
"""Bytes read and searched in one step."""
STRIPE = 4 << 20
"""Bytes that one lane of a shared census takes before the next lane's turn."""
REPORT = 0.05
"""Seconds between two lines of counts."""
RARE = 2048
"""A byte is rare if there is at most one in so many: then looking for it alone is fastest."""
TRIES = 64
"""Lines of a block that are judged for one literal in a survey."""
MEMORY = 2 << 30
"""Bytes of address space this process may use: a hostile expression must not take the machine."""


class Literal:
    """A fixed string, found at the speed of memchr where that is possible.

    `bytes.find` runs at 1–2 GB/s; looking for one byte runs at memory speed. So the rarest byte of
    the needle, by a sample of what is being read, is looked for first, and the rest compared; where
    none is rare the interpreter's own counting is used.
    """

    def __init__(self, needle: bytes, *, lower: bool = False) -> None:
        self.needle = needle.lower() if lower else needle
        self._lower = lower
        self._byte = b""
        self._index = 0
        self._choose_in = 0
        self.overlap = len(needle) - 1

    def _choose(self, data: bytes) -> None:
        sample = data[: 64 << 10]
        best = min((sample.count(byte), byte) for byte in set(self.needle))
        rare = best[0] * RARE <= len(sample)
        self._byte = bytes((best[1],)) if rare else b""
        self._index = self.needle.index(best[1])
        self._choose_in = 64

    def starts(self, data: bytes, begin: int, stop: int) -> Iterator[int]:
        """Where in `data` it begins, in [begin, stop), without overlaps."""
        return self._starts(self._prepared(data), begin, stop)

    def count(self, data: bytes, base: int, stop: int, block: int, counts: dict[int, int]) -> None:
        """Add how often it begins in each block of the log; `data` begins at offset `base`, and
        matches that begin at `stop` or later are not counted."""
        data = self._prepared(data)
        if self._byte:
            for at in self._starts(data, 0, stop - base):
                number = (base + at) // block
                counts[number] = counts.get(number, 0) + 1
            return
        low = base
        while low < stop:
            high = min(low - low % block + block, stop)
            found = data.count(self.needle, low - base, high - base + self.overlap)
            if found:
                counts[low // block] = counts.get(low // block, 0) + found
            low = high

    def _prepared(self, data: bytes) -> bytes:
        if self._lower:
            data = data.lower()
        if self._choose_in <= 0:
            self._choose(data)
        self._choose_in -= 1
        return data

    def _starts(self, data: bytes, begin: int, stop: int) -> Iterator[int]:
        needle, size = self.needle, len(self.needle)
        if not self._byte:
            at = data.find(needle, begin)
            while 0 <= at < stop:
                yield at
                at = data.find(needle, at + size)
            return
        byte, index, tried = self._byte, self._index, 0
        found = data.find(byte, begin + index)
        while 0 <= found < stop + index:
            at = found - index
            tried += 1
            if data.startswith(needle, at):
                yield at
                found = data.find(byte, at + size + index)
            else:
                found = data.find(byte, found + 1)
        if tried * RARE > 2 * len(data):
            # Not so rare here: look at the sample again before the next chunk.
            self._choose_in = 0


class Expression:
    """A regular expression, matched unit by unit as `grep` does line by line.

    Text is decoded as UTF-8 with surrogateescape, so that `.` is a character and no byte is lost.
    An empty match counts only where a unit has no other.
    """

    def __init__(self, pattern: str, *, ignore_case: bool) -> None:
        import re

        self._pattern = re.compile(pattern, re.IGNORECASE if ignore_case else 0)

    def hits(self, read: Read, low: int, high: int) -> Iterator[tuple[int, int]]:
        """The matches that begin in [low, high), in order, as byte offsets."""
        position = walk(start_of(low), read)
        while position < high:
            data = read(position, CHUNK // 4)
            if not data:
                return
            # Up to and with the last line that begins below `high`.
            cut = data.find(b"\n", max(0, high - 1 - position)) + 1
            if cut == 0:
                cut = data.rfind(b"\n") + 1
            if cut and b"\r" not in data:
                body = data[:cut] if cut < len(data) else data
                text = body.decode("utf-8", "surrogateescape")
                lines = text.split("\n")
                lines.pop()
                if max(map(len, lines)) < SEGMENT:
                    yield from self._in_lines(body, lines, position, low, high)
                    position += cut
                    continue
            for start, end in walk(forward(position, 256), read):
                if start >= high:
                    return
                content = read(start, end - start).rstrip(b"\r\n")
                text = content.decode("utf-8", "surrogateescape")
                for first, last in self._in_text(text, start, ascii_only=content.isascii()):
                    if low <= first < high:
                        yield first, last
                position = end

    def _in_lines(
        self, body: bytes, lines: list[str], base: int, low: int, high: int
    ) -> Iterator[tuple[int, int]]:
        search = self._pattern.search
        found = [number for number, line in enumerate(lines) if search(line)]
        if not found:
            return
        ascii_only = body.isascii()
        sizes = list(map(len, lines if ascii_only else body.split(b"\n")))
        start, reached = base, 0
        for number in found:
            start += sum(sizes[reached:number]) + number - reached
            reached = number
            for first, last in self._in_text(lines[number], start, ascii_only=ascii_only):
                if low <= first < high:
                    yield first, last

    def _in_text(self, text: str, start: int, *, ascii_only: bool) -> Iterator[tuple[int, int]]:
        empty = None
        some = False
        at, place = 0, start
        for match in self._pattern.finditer(text):
            first, last = match.span()
            if not ascii_only:
                place += len(text[at:first].encode("utf-8", "surrogateescape"))
                size = len(text[first:last].encode("utf-8", "surrogateescape"))
                at = first
            else:
                place, size = start + first, last - first
            if size:
                some = True
                yield place, place + size
            elif empty is None:
                empty = place
        if not some and empty is not None:
            yield empty, empty


def matcher(kind: str, pattern: bytes) -> Literal | Expression:
    """What the words of a request mean.

    Raises:
        ValueError: The expression is wrong; the message says where.
    """
    if kind in ("literal", "lower"):
        if not pattern or b"\n" in pattern:
            raise ValueError("a search string must be non-empty and within one line")
        return Literal(pattern, lower=kind == "lower")
    import re

    try:
        return Expression(
            pattern.decode("utf-8", "surrogateescape"), ignore_case=kind == "regex-ignore-case"
        )
    except (re.error, RecursionError, OverflowError, MemoryError) as error:
        raise ValueError(f"not a regular expression: {error}") from None


def hits(what: Literal | Expression, read: Read, low: int, high: int) -> Iterator[tuple[int, int]]:
    """All matches that begin in [low, high), in order."""
    if isinstance(what, Expression):
        yield from what.hits(read, low, high)
        return
    size = len(what.needle)
    passed = low
    while low < high:
        stop = min(low + CHUNK, high)
        data = read(low, stop - low + what.overlap)
        if not data:
            return
        for at in what.starts(data, 0, stop - low):
            if low + at >= passed:
                passed = low + at + size
                yield low + at, passed
        low = stop


class Scanner:
    """One conversation: requests in, answers out, until stdin ends."""

    def __init__(self, read: Read, write: Callable[[str], None]) -> None:
        self._read = read
        self._write = write

    def answer(self, line: str) -> None:
        """Carry out one request."""
        verb, *words = line.split()
        try:
            if verb == "survey":
                block, start, end = map(int, words)
                self._survey(block, start, end)
            else:
                what = matcher(words[0], bytes.fromhex(words[1]))
                numbers = list(map(int, words[2:]))
                if verb == "census":
                    self._census(what, *numbers)
                elif verb == "within":
                    self._within(what, *numbers)
                else:
                    raise ValueError(f"unknown request {verb}")
        except (ValueError, MemoryError) as error:
            text = " ".join((str(error) or "not enough memory").split())
            self._write(f"e {text}\n")
        self._write("d\n")

    def _census(
        self, what: Literal | Expression, block: int, start: int, end: int, lane: int, lanes: int
    ) -> None:
        report = _Report(self._write)
        low = start
        while low < end:
            if (low // STRIPE) % lanes != lane:
                low = (low // STRIPE + 1) * STRIPE
                continue
            high = min(low - low % CHUNK + CHUNK, end)
            if isinstance(what, Literal):
                data = self._read(low, high - low + what.overlap)
                what.count(data, low, high, block, report.counts)
            else:
                for first, _ in what.hits(self._read, low, high):
                    number = first // block
                    report.counts[number] = report.counts.get(number, 0) + 1
            report.tell(high, high - low)
            low = high
        report.tell(end, 0, last=True)

    def _within(
        self,
        what: Literal | Expression,
        start: int,
        end: int,
        limit: int,
        backward: int,
        units: int,
    ) -> None:
        found = 0
        last = (-1, -1)
        for first, stop in self._ordered(what, start, end, bool(backward)):
            if units:
                if last[0] <= first < last[1]:
                    continue
                begin = walk(start_of(first), self._read)
                last = walk(forward(begin, 1), self._read)[0]
                self._write(f"h {last[0]} {last[1]}\n")
            else:
                self._write(f"h {first} {stop}\n")
            found += 1
            if found >= limit:
                return

    def _ordered(
        self, what: Literal | Expression, start: int, end: int, backward: bool
    ) -> Iterator[tuple[int, int]]:
        if not backward:
            yield from hits(what, self._read, start, end)
            return
        while end > start:
            low = max(start, (end - 1) // CHUNK * CHUNK)
            yield from reversed(list(hits(what, self._read, low, end)))
            end = low

    def _survey(self, block: int, start: int, end: int) -> None:
        from traindeck.console.logs.severity import LITERALS, LOOK

        literals = [(Literal(text), int(grave)) for text, grave in LITERALS]
        report = _Report(self._write)
        newline = Literal(b"\n")
        low = start
        while low < end:
            high = min(low - low % CHUNK + CHUNK, end)
            lead = min(low, LOOK)
            data = self._read(low - lead, lead + high - low + LOOK)
            newline.count(data[lead:], low, high, block, report.counts)
            marks = _marks(literals, data, low - lead, low, high, block)
            for (_, grave), offset in sorted(marks.items()):
                self._write(f"m {offset} {grave}\n")
            report.tell(high, high - low)
            low = high
        report.tell(end, 0, last=True)


def _marks(
    literals: list[tuple[Literal, int]], data: bytes, base: int, low: int, high: int, block: int
) -> dict[tuple[int, int], int]:
    """The first grave line of each severity in each block of [low, high), as (block, severity) to
    offset. `data` begins at `base` and goes on for a line's length after `high`."""
    from traindeck.console.logs.severity import LOOK, severity

    first: dict[tuple[int, int], int] = {}
    for literal, grave in literals:
        tried: dict[int, int] = {}
        for at in literal.starts(data, low - base, high - base):
            number = (base + at) // block
            tries = tried[number] = tried.get(number, 0) + 1
            if tries > TRIES or first.get((number, grave), high) <= base + at:
                continue
            near = max(0, at - LOOK)
            begin = max(data.rfind(b"\n", near, at), data.rfind(b"\r", near, at)) + 1
            if near and not begin:
                continue  # so far into its line nothing is looked at
            stop = data.find(b"\n", at, at + LOOK)
            seen = int(severity(data[begin : stop if stop >= 0 else at + LOOK]))
            if seen and base + begin < first.get((number, seen), high):
                first[number, seen] = base + begin
    return first


class _Report:
    """Counts on their way out, at most one line in REPORT seconds."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.counts: dict[int, int] = {}
        self._write = write
        self._done = 0
        self._due = time.monotonic()  # the first at once: a person is waiting for a sign

    def tell(self, front: int, read: int, *, last: bool = False) -> None:
        self._done += read
        now = time.monotonic()
        if last or now >= self._due or len(self.counts) > 1024:
            words = [f"c {front} {self._done}"]
            words += [f"{number} {count}" for number, count in self.counts.items()]
            self._write(" ".join(words) + "\n")
            self.counts.clear()
            self._due = now + REPORT


def _read_fd(fd: int) -> Read:
    def read(offset: int, size: int) -> bytes:
        data = os.pread(fd, size, offset)
        while len(data) < size:
            more = os.pread(fd, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    return read


class _Asked:
    """Bytes from the console. The last answer is kept: walks ask for pieces of the same chunk."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.forget()

    def forget(self) -> None:
        """Before another request: the log may have grown since."""
        self._base, self._data, self._last = 0, b"", False

    def read(self, offset: int, size: int) -> bytes:
        base, end = self._base, self._base + len(self._data)
        if offset < base or (offset + size > end and not self._last):
            if size <= SEGMENT:
                # A walk: the segments around this one come next.
                before = min(offset, 4 * SEGMENT)
                self._ask(offset - before, before + 12 * SEGMENT)
            else:
                # A sweep: the chunks after this one come next, and each question is a round trip.
                self._ask(offset, size + (3 * CHUNK if size >= CHUNK else 0))
            base = self._base
        return self._data[offset - base : offset - base + size]

    def _ask(self, offset: int, size: int) -> None:
        self._write(f"r {offset} {size}\n")
        line = sys.stdin.buffer.readline()
        data = sys.stdin.buffer.read(int(line)) if line else b""
        if not line or len(data) < int(line):
            os._exit(0)
        self._base, self._data, self._last = offset, data, len(data) < size


def _guard() -> None:
    """Bound the memory, and end when the console has died, even inside a matching that never ends
    (the regular expression engine lets signal handlers run)."""
    import resource
    import signal

    parent = os.getppid()

    def look(number: int, frame: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY or soft > MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))


def main(fd: int, background: bool) -> None:
    """Serve until stdin ends. `fd` is -1 if bytes are to be asked for."""
    if background:
        os.nice(10)
    out = sys.stdout

    def write(text: str) -> None:
        out.write(text)
        if text[0] != "h":
            out.flush()

    asked = _Asked(write)
    scanner = Scanner(_read_fd(fd) if fd >= 0 else asked.read, write)
    guarded = False
    try:
        while line := sys.stdin.buffer.readline():
            words = line.split()
            if not guarded and len(words) > 1 and b"regex" in words[1]:
                _guard()
                guarded = True
            scanner.answer(line.decode())
            out.flush()
            asked.forget()
    except (BrokenPipeError, KeyboardInterrupt):
        # Nobody listens any more; the interpreter must not try to flush at its end.
        os._exit(0)
