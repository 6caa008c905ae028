"""What stands around a place in a log: its lines laid out as blocks, or the lines of a filter.

Looks only as far as a screen needs, and keeps what it has loaded within a bound: a screen asks for
the same few lines again and again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Generic, TypeVar

from traindeck.backends.data import dataclass
from traindeck.console.logs.layout import Block, blocks
from traindeck.console.logs.lines import Line, Lines
from traindeck.console.logs.patience import Patience
from traindeck.console.logs.search import Hit, Search

V = TypeVar("V")

CONTEXT = 32 << 10
LINES = 300
"""Bytes and lines before a place that are looked at, so that a fold that begins there is seen."""
FURTHEST = 8 << 20
"""Bytes looked back at most for rows above a place."""
CACHED = 4 << 20
"""Characters of lines kept ready."""
PROBE = 2 << 20
"""Bytes that are looked through for a filter's lines where nothing is counted yet."""


@dataclass(frozen=True, slots=True)
class Region:
    """Blocks around a place; `index` is the one that holds it. `to_end`: nothing is known to follow
    them; `pending`: there may be more once the filter has been counted."""

    blocks: list[Block]
    index: int
    to_end: bool
    pending: bool = False


class Kept(Generic[V]):
    """Values by the bytes of their line, bounded by the length of what they hold."""

    def __init__(self) -> None:
        self._values: OrderedDict[tuple[int, int], tuple[V, int]] = OrderedDict()
        self._size = 0

    def get(self, key: tuple[int, int]) -> V | None:
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: tuple[int, int], value: V, size: int) -> None:
        self._values[key] = value, size + 100
        self._size += size + 100
        while self._size > CACHED:
            _, (_, size) = self._values.popitem(last=False)
            self._size -= size

    def clear(self) -> None:
        self._values.clear()
        self._size = 0


class Regions:
    """Those of one log on one screen."""

    def __init__(self, lines: Lines, patience: Patience) -> None:
        self._lines = lines
        self._patience = patience
        self._loaded = Kept[Line]()
        self._matched = Kept[Line]()
        self._matched_by: Search | None = None

    def forget(self) -> None:
        """The log was cut or replaced: nothing that was loaded holds."""
        self._loaded.clear()
        self._matched.clear()

    async def region(
        self,
        offset: int,
        above: int,
        below: int,
        *,
        toggled: Collection[int],
        keep: Search | None,
        hit: Hit | None,
    ) -> Region:
        """Blocks around a place: at least `above` rows' worth before it and `below` from it on,
        if the log has them."""
        if keep is not None:
            return await self._filtered(keep, offset, above, below, hit)
        start = await self._lines.start_of(offset)
        span, context = CONTEXT, max(LINES, above)
        while True:
            begin = await self._lines.start_of(max(0, start - span)) if start > span else 0
            made = await self._laid_out(begin, start, context, below, toggled, hit)
            at_start = not made.blocks or made.blocks[0].start == 0
            if at_start or span >= FURTHEST or made.index >= above:
                return made
            span *= 4
            context *= 4

    async def _laid_out(
        self,
        begin: int,
        start: int,
        keep: int,
        below: int,
        toggled: Collection[int],
        hit: Hit | None,
    ) -> Region:
        """Blocks from at most `keep` lines before `start` on, none from before `begin`."""
        units: list[tuple[int, int]] = []
        position, after = begin, 0
        wanted = below + 8
        while True:
            more = await self._lines.forward(position, max(64, wanted))
            units += more
            after += sum(1 for unit in more if unit[0] >= start)
            position = units[-1][1] if units else begin
            to_end = position >= self._lines.pages.size or not more
            if not to_end and after < wanted:
                continue
            units = await self._trimmed(units, start, keep)
            made = blocks(await self.load(units, hit), toggled)
            index = next(
                (n for n, block in enumerate(made) if block.start <= start < block.end),
                len(made),
            )
            # The last block may be the beginning of a fold that goes on.
            complete = len(made) - index - 1 >= below
            if to_end or complete or len(units) > 64 * max(64, wanted):
                return Region(made, index, to_end)
            wanted = after + max(64, below)

    async def _trimmed(
        self, units: list[tuple[int, int]], start: int, keep: int
    ) -> list[tuple[int, int]]:
        """Units without most of those before `start`, but not from the middle of a traceback."""
        here = next((n for n, unit in enumerate(units) if unit[0] >= start), len(units))
        cut = max(0, here - keep)
        while cut > 0:
            (line,) = await self.load(units[cut : cut + 1])
            if line.data[:1] not in (b" ", b"\t", b"|", b"["):
                break
            cut -= 1
        return units[cut:]

    async def _filtered(
        self, search: Search, offset: int, above: int, below: int, hit: Hit | None
    ) -> Region:
        start = await self._lines.start_of(offset)
        size = self._lines.pages.size
        after = await self._matching(search, start, below + 1)
        before = await self._matching(search, start, above, backward=True)
        if not after and not before:
            # A place after the last match: show what there is above it.
            before = await self._matching(search, start, 1, backward=True)
        units = [*before, *after]
        lines = [await self._fitting(line, search, hit) for line in await self.load(units, hit)]
        made = [block for line in lines for block in blocks([line])]
        pending = search.census.covered < size
        return Region(made, min(len(before), max(0, len(made) - 1)), len(after) <= below, pending)

    async def _fitting(self, line: Line, search: Search, hit: Hit | None) -> Line:
        """A filtered line as it is to be shown: of a progress bar the last state that is the reason
        why it is."""
        shows_hit = hit is not None and line.start <= hit.start < line.end
        if not line.skip or shows_hit or self._patience.is_over(search):
            return line
        if self._matched_by is not search:
            self._matched.clear()
            self._matched_by = search
        unit = line.start, line.end
        found = self._matched.get(unit)
        if found is None:
            hits = await self._patience.answer(search, search.within([unit]))
            if not hits:
                return line
            (found,) = await self._lines.load([unit], at=hits[-1].start)
            self._matched.put(unit, found, len(found.data))
        return found

    async def _matching(
        self, search: Search, offset: int, count: int, *, backward: bool = False
    ) -> list[tuple[int, int]]:
        if count <= 0 or self._patience.is_over(search):
            return []
        asked = search.units(offset, self._lines.pages.size, count, backward=backward, probe=PROBE)
        return await self._patience.answer(search, asked) or []

    async def load(self, units: Sequence[tuple[int, int]], hit: Hit | None = None) -> list[Line]:
        """The lines of some units; of a progress bar with the current hit the state that has it."""
        lines: list[Line] = []
        for unit in units:
            line = self._loaded.get(unit)
            if line is None:
                (line,) = await self._lines.load([unit])
                self._loaded.put(unit, line, len(line.data))
            if line.skip and hit is not None and unit[0] <= hit.start < unit[1]:
                (line,) = await self._lines.load([unit], at=hit.start)
            lines.append(line)
        return lines
