"""The lines of a log of any size: opened at the end at once, walked in both directions.

A line here is a unit (see `units`): an ordinary line, a piece of a line too long to be held, or a
stretch of a progress bar, folded to its last state. No call reads more than some hundred kilobytes
around the place it is asked about.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from traindeck.backends.data import dataclass
from traindeck.console.logs.source import Pages
from traindeck.console.logs.units import SEGMENT, forward, start_of

if TYPE_CHECKING:
    from traindeck.console.logs.units import Walk

T = TypeVar("T")

REMEMBERED = 4096
"""Long units whose bounds are kept."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it is to be shown.

    Attributes:
        start, end: Its bytes in the log, with the newline.
        data: What to show, without the newline: of a progress bar one state, normally its last.
        skip: `data` begins at `start + skip`.
        updates: States of a progress bar that were folded into this one; 1 for an ordinary line,
            also for one that a bar was wiped out for.
        state: Which of them is shown, from 1, if it is not the last.
        head, tail: Whether it begins (ends) a line, or is cut out of the middle of a long one.
    """

    start: int
    end: int
    data: bytes
    skip: int = 0
    updates: int = 1
    state: int | None = None
    head: bool = True
    tail: bool = True


def fold(content: bytes) -> tuple[int, int]:
    """Where the last state of a line with carriage returns begins, and how many states it has.

    A state that is blank (a bar that wiped itself out) does not count as the last.
    """
    updates = _states(content)
    end = len(content)
    while end > 0:
        begin = content.rfind(b"\r", 0, end) + 1
        if not content[begin:end].isspace() and begin < end:
            return begin, updates
        end = begin - 1
    return 0, updates


def _states(content: bytes) -> int:
    return sum(1 for state in content.split(b"\r") if state and not state.isspace())


def _wiped(before: bytes) -> bool:
    """Whether a bar was wiped out for a line to be written, as `tqdm.write` does. What wipes itself
    out before each of its states is one bar."""
    blank = [state.isspace() for state in before.split(b"\r")[:-1] if state]
    return len(blank) > 1 and blank[-1] and sum(blank) == 1


def make_line(
    start: int, data: bytes, *, head: bool = True, more: bytes = b"", at: int | None = None
) -> Line:
    """A line from the bytes of its unit.

    Args:
        start: Where the unit begins.
        data: All its bytes.
        head: Whether a line begins there.
        more: Up to three bytes after a unit that was cut, to complete its last character.
        at: A byte of the log: the state that holds it is to be shown, not the last one.
    """
    end = start + len(data)
    tail = data.endswith(b"\n")
    content = data[:-1] if tail else data
    content = content.rstrip(b"\r")
    skip, updates, state = 0, 1, None
    if b"\r" in content:
        skip, updates = fold(content)
        if at is not None:
            skip = content.rfind(b"\r", 0, at - start) + 1
            number = _states(content[:skip]) + 1
            state = number if number < updates else None
        if state is None and _wiped(content[:skip]):
            updates = 1
        stop = content.find(b"\r", skip)
        content = content[skip : stop if stop >= 0 else len(content)]
    if not head and not skip:
        # The first bytes complete the character at the end of the piece before.
        skip = next((n for n in range(min(3, len(content))) if content[n] & 0xC0 != 0x80), 3)
        content = content[skip:]
    if not tail and more:
        wanted = next((n for n in range(len(more)) if more[n] & 0xC0 != 0x80), len(more))
        content += more[:wanted]
    return Line(start, end, content, skip, updates, state, head, tail)


class Lines:
    """Lines over the cached pages of one log, as last refreshed.

    Where units longer than a segment begin and end is remembered: a screen full of folded progress
    bars stands for many megabytes, and they are walked once.
    """

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self._starts: list[int] = []
        self._ends: dict[int, int] = {}

    def forget(self) -> None:
        """The log was cut or replaced: nothing that was remembered holds."""
        self._starts.clear()
        self._ends.clear()

    async def start_of(self, offset: int) -> int:
        """Where the line that holds the byte at `offset` begins; beyond the end: the last line."""
        offset = min(offset, self.pages.size - 1)
        if offset <= 0:
            return 0
        number = bisect_right(self._starts, offset) - 1
        if number >= 0 and offset < self._ends[self._starts[number]]:
            return self._starts[number]
        return await self._walk(start_of(offset))

    async def forward(self, start: int, count: int) -> list[tuple[int, int]]:
        """Up to `count` units from `start`, where one begins."""
        units: list[tuple[int, int]] = []
        while len(units) < count and start < self.pages.size:
            end = self._ends.get(start)
            if end is not None:
                units.append((start, end))
            else:
                more = await self._walk(forward(start, count - len(units)))
                if not more:
                    break
                units += more
                self._remember(*more[-1])
            start = units[-1][1]
        return units

    async def backward(self, end: int, count: int) -> list[tuple[int, int]]:
        """Up to `count` units before `end`, where one ends, in file order."""
        units: list[tuple[int, int]] = []
        end = min(end, self.pages.size)
        while end > 0 and len(units) < count:
            start = await self.start_of(end - 1)
            units.append((start, end))
            self._remember(start, end)
            end = start
        return units[::-1]

    async def load(self, units: Sequence[tuple[int, int]], *, at: int | None = None) -> list[Line]:
        """The lines of some units, in their order; of a progress bar the state that holds the byte
        `at`, or the last."""
        lines = []
        for start, end in units:
            data = await self.pages.read(start, end - start)
            head, more = True, b""
            if start % SEGMENT == 0 and start > 0:
                head = await self.pages.read(start - 1, 1) == b"\n"
            if end % SEGMENT == 0 and not data.endswith(b"\n"):
                more = await self.pages.read(end, 3)
            lines.append(make_line(start, data, head=head, more=more, at=at))
        return lines

    async def last(self, count: int) -> list[Line]:
        """The last `count` lines: what opening a log shows."""
        return await self.load(await self.backward(self.pages.size, count))

    def _remember(self, start: int, end: int) -> None:
        # One that ends where the log ends may yet grow.
        if end - start <= SEGMENT or end >= self.pages.size or start in self._ends:
            return
        if len(self._starts) >= REMEMBERED:
            self.forget()
        insort(self._starts, start)
        self._ends[start] = end

    async def _walk(self, steps: Walk[T]) -> T:
        try:
            wanted = next(steps)
            while True:
                wanted = steps.send(await self.pages.read(*wanted))
        except StopIteration as stop:
            answer: T = stop.value
            return answer
