"""Where the lines of a log of any size begin and end, decided from a bounded neighbourhood.

A *unit* is what the log engine handles as one line: bytes up to and with a newline, or a virtual
segment of a line that is too long to be held. The rule is local, so that a walk backwards from any
byte and a walk forwards from the start of the file agree without either having read the whole
file. The walks are generators that ask for bytes and never do I/O themselves: the scanner process
answers them from a descriptor, the console from its page cache. This module is imported by the
scanner process and must stay free of imports.

The rule: a unit begins at offset `b` if byte `b - 1` is a newline; or if `b` is a multiple of
`SEGMENT`, the whole segment before `b` has no newline, and either it has no carriage return or `b`
is a multiple of `REACH`. So an ordinary line below `SEGMENT` bytes is never cut, a line of 200 MB
falls into pieces of 16 KiB, and an hour of a progress bar (one "line" of carriage returns) stays in
a few pieces of 1 MiB that can each be folded to its last state.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # the scanner process starts in 15 ms because it imports next to nothing
    from collections.abc import Callable, Generator
    from typing import TypeVar

    T = TypeVar("T")
    Read = Callable[[int, int], bytes]
    Walk = Generator[tuple[int, int], bytes, T]

SEGMENT = 16 << 10
"""Bytes; a line without carriage returns is cut at multiples of this once it fills one whole."""
REACH = 1 << 20
"""Bytes; the same for a line that is made of carriage returns. A unit is below REACH + SEGMENT."""


def start_of(offset: int) -> Walk[int]:
    """Where the unit that holds the byte at `offset` begins.

    Yields (offset, size) for the bytes it needs and expects exactly those.
    """
    low = offset - offset % SEGMENT
    data = (yield low, offset - low) if low < offset else b""
    while True:
        cut = data.rfind(b"\n")
        if cut >= 0:
            return low + cut + 1
        if low == 0:
            return 0
        before = yield low - SEGMENT, SEGMENT
        if b"\n" not in before and (low % REACH == 0 or b"\r" not in before):
            return low
        data, low = before, low - SEGMENT


def forward(start: int, count: int) -> Walk[list[tuple[int, int]]]:
    """Up to `count` units from `start` (where one must begin) as (start, end), newline included.
    Ends after one that is longer than a segment, so that such need not be walked twice.

    Yields (offset, size) for the bytes it needs; an answer that is shorter is the end of the log.
    """
    units: list[tuple[int, int]] = []
    unit = position = start
    while len(units) < count:
        stop = position - position % SEGMENT + SEGMENT
        data = yield position, stop - position
        at = 0
        while len(units) < count:
            cut = data.find(b"\n", at)
            if cut < 0:
                break
            at = cut + 1
            units.append((unit, position + at))
            if position + at - unit > SEGMENT:
                return units
            unit = position + at
        else:
            break
        if len(data) < stop - position:
            if unit < position + len(data):
                units.append((unit, position + len(data)))
            break
        whole = at == 0 and position % SEGMENT == 0
        if whole and (stop % REACH == 0 or b"\r" not in data):
            units.append((unit, stop))
            if stop - unit > SEGMENT:
                return units
            unit = stop
        position = stop
    return units


def walk(steps: Walk[T], read: Read) -> T:
    """Run a walk against a function that reads (offset, size)."""
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(read(*wanted))
    except StopIteration as stop:
        answer: T = stop.value
        return answer
