"""The part of a log that is on the screen: which rows, and where they go when a key is pressed.

The screen only places what comes from here. Everything is derived from a place in the log (`top`)
and a few choices (width, wrapping, filter, folds); the cost of a move depends on the screen's
height and never on the log's size. It holds no text beyond bounded caches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from traindeck.console.logs.layout import Block, Fold, Role
from traindeck.console.logs.lines import Line, Lines
from traindeck.console.logs.neutral import LogLine, clip, column, neutral, place, wrap, wrap_words
from traindeck.console.logs.patience import Patience
from traindeck.console.logs.region import Kept, Region, Regions
from traindeck.console.logs.rows import Anchor, Mark, Row, Window, chosen
from traindeck.console.logs.search import Hit, Search
from traindeck.console.logs.source import ByteSource, Pages
from traindeck.console.logs.times import Times

MESSAGE = 12
"""Rows that an exception's message takes at most where lines are not wrapped; a longer one is cut
at the width like any line."""


class LogView:
    """One log on one screen.

    Change the plain attributes at will, then ask for `window()`. Methods are serialised: a key
    pressed while another is being answered waits its turn.

    Attributes:
        height, width: Rows and cells for text.
        wrap: Whether long lines go on in further rows; else they are cut at the width. What an
            exception says always goes on.
        left: Cells scrolled to the right, without `wrap`.
        following: Whether the end stays in sight when the log grows.
        below: Rows that the screen wants for what it shows after the end.
        filter: Only lines with a hit of this search are shown.
        search: Its hits are marked; `current` is the one last jumped to.
        toggled: Folds that are not in the state they have by themselves, by offset.
        target: The place that was jumped to, until one moves on.
        ending: Whether one went to the end and has not moved since.
    """

    def __init__(self, source: ByteSource, *, times: Times | None = None) -> None:
        self.pages = Pages(source)
        self.height = 24
        self.width = 80
        self.wrap = False
        self.left = 0
        self.following = False
        self.below = 0
        self.filter: Search | None = None
        self.search: Search | None = None
        self.current: Hit | None = None
        self.toggled: set[int] = set()
        self.target: Anchor | None = None
        self.ending = False
        self.top = Anchor()
        self._times = times
        self._lines = Lines(self.pages)
        self._turn = asyncio.Lock()
        self._patience = Patience()
        self._around = Regions(self._lines, self._patience)
        self._shown = Kept[LogLine]()
        self._unmoved: int | None = None
        """What `left` was before a hit that is far to the side was shown."""

    # ------------------------------------------------------------------------------- looking

    async def open(self) -> Window:
        """Look at the log for the first time: its end."""
        await self.refresh()
        await self.to_end()
        return await self.window()

    async def refresh(self) -> bool:
        """Look whether the log has grown. False if it was cut or replaced instead: then the view
        is at its end, and searches over it must be made anew."""
        async with self._turn:
            same = await self.pages.refresh()
            if self._times is not None:
                await self._times.refresh()
            if not same:
                self._around.forget()
                self._shown.clear()
                self._lines.forget()
                self.toggled.clear()
                self.filter = self.search = self.current = self.target = None
                self._back()
            if self.following or not same:
                await self._to_end()
            return same

    async def window(self) -> Window:
        """The rows that are on the screen now."""
        async with self._turn:
            size = self.pages.size
            if not size:
                return Window(identity=self.pages.identity)
            region = await self._region(self.top.offset, 0, self.height)
            shown: list[tuple[Block, int, LogLine]] = []
            at_end = True
            for number in range(region.index, len(region.blocks)):
                block = region.blocks[number]
                first = self.top.sub if number == region.index else 0
                texts = self._texts(block)
                first = min(first, len(texts) - 1)
                for sub in range(first, len(texts)):
                    if len(shown) == self.height:
                        at_end = False
                        break
                    shown.append((block, sub, texts[sub]))
                if not at_end:
                    break
            at_end = at_end and region.to_end
            rows = await self._rows(shown)
            if self.filter is not None and rows and chosen(rows) is None:
                # A filter's lines are a list to choose from.
                here = len(rows) - 1 if at_end and (self.ending or self.following) else 0
                rows[here] = replace(rows[here], target=True)
            start = shown[0][0].start if shown else 0
            end = shown[-1][0].end if shown else 0
            # Rounded up, so that it is the percentage that `to_percent` was asked for.
            percent = 100 if at_end else min(99, -(-start * 100 // size))
            return Window(
                rows=tuple(rows),
                start=start,
                end=end,
                size=size,
                at_end=at_end,
                percent=percent,
                pending=region.pending,
                identity=self.pages.identity,
            )

    async def aclose(self) -> None:
        """Close the log and its times, and end the searches over it."""
        for search in (self.filter, self.search):
            if search is not None:
                await search.aclose()
        if self._times is not None:
            await self._times.aclose()
        await self.pages.source.aclose()

    # -------------------------------------------------------------------------------- moving

    async def fit(self, **choices: Any) -> None:
        """Set `height`, `width`, `below`, `wrap` or `left`: who sees the end goes on seeing it."""
        at_end = (await self.window()).at_end
        async with self._turn:
            for name, value in choices.items():
                setattr(self, name, value)
            if at_end:
                await self._to_end()
            elif self.pages.size:
                await self._scroll(0)

    async def scroll(self, rows: int) -> None:
        """Move down (or up, if negative) by rows; never beyond the last screenful. Moving up ends
        following."""
        async with self._turn:
            if rows < 0:
                self.following = False
            if self.pages.size:
                before = self.top
                await self._scroll(rows)
                if rows and self.top != before:
                    self._leave()

    async def step(self, rows: int) -> None:
        """Under a filter: choose the row that many rows on, and scroll only if it is not on the
        screen. Without one: `scroll`."""
        shown = (await self.window()).rows
        at = chosen(shown)
        if self.filter is None or at is None:
            return await self.scroll(rows)
        beyond = min(0, at + rows) or max(0, at + rows - len(shown) + 1)
        was, target = shown[at].anchor, self.target
        if beyond:
            await self.scroll(beyond)
            shown = (await self.window()).rows
        if shown:
            to = 0 if beyond < 0 else len(shown) - 1 if beyond else at + rows
            if shown[to].anchor == was:
                self.target = target
            else:
                self._leave(shown[to].anchor)
                self.following = self.following and rows > 0
        return None

    async def side(self, cells: int) -> None:
        """Move to the right (or left, if negative), as far as a line on the screen goes."""
        if cells < 0 or any(row.line.cells > cells for row in (await self.window()).rows):
            self.left, self._unmoved = max(0, self.left + cells), None

    def _leave(self, target: Anchor | None = None) -> None:
        """One has moved from where one was."""
        self.target, self.ending = target, False
        self._back()

    def _back(self) -> None:
        """No longer to the side, if that was only to show a hit."""
        if self._unmoved is not None:
            self.left, self._unmoved = self._unmoved, None

    async def to_start(self) -> None:
        """Show the first rows."""
        async with self._turn:
            self.following = False
            self._leave()
            self.top = Anchor()

    async def to_end(self) -> None:
        """Show the last rows."""
        async with self._turn:
            self._leave()
            self.ending = True
            await self._to_end()

    async def to_offset(
        self, offset: int, *, above: int | None = None, reveal: bool = True, mark: bool = False
    ) -> None:
        """Show the line that holds the byte at `offset`.

        Args:
            offset: Clipped to the log.
            above: Rows left above it, if there are so many; a third of the screen if None.
            reveal: Open a fold that hides the line; else the fold is shown.
            mark: It is where a person wanted to go: its row is the target until one moves on.
        """
        async with self._turn:
            size = self.pages.size
            if not size:
                return
            offset = max(0, min(offset, size - 1))
            self.following = False
            region = await self._region(offset, 0, 1)
            if region.index < len(region.blocks):
                block = region.blocks[region.index]
                fold = block.fold
                hidden = fold is not None and not fold.open and offset >= block.lines[0].end
                if hidden and reveal and fold is not None:
                    self.toggled ^= {fold.offset}
                    region = await self._region(offset, 0, 1)
                    block = region.blocks[region.index]
                self.top = Anchor(block.start, self._sub_of(block, offset))
            else:
                self.top = Anchor(offset)
            self._leave(self.top if mark else None)
            await self._scroll(-(self.height // 3 if above is None else above))

    async def to_place(self, top: Anchor, target: Anchor | None) -> None:
        """Show a place as it was before."""
        async with self._turn:
            self.following = False
            self._leave(target)
            self.top = top
            if self.pages.size:
                await self._scroll(0)

    async def to_percent(self, percent: float) -> None:
        """Show the place at that share of the log's bytes."""
        if percent >= 100:
            await self.to_end()
        else:
            offset = int(self.pages.size * max(0.0, percent) / 100)
            await self.to_offset(offset, above=0, reveal=False, mark=True)

    async def to_time(self, moment: float) -> bool:
        """Show what was written at that time (seconds since the epoch); False if no times are
        known for this log."""
        offset = await self._times.offset_at(moment) if self._times is not None else None
        if offset is None:
            return False
        await self.to_offset(offset, reveal=False, mark=True)
        return True

    def look_for(self, search: Search | None) -> None:
        """Mark the hits of another search, or of none."""
        self.search, self.current = search, None
        self._back()

    async def jump(self, *, backward: bool = False) -> Hit | None:
        """Go to the next (or previous) hit of the search in a line that is shown, from where one
        is: the current hit while it is in sight, the row that was jumped to, or else the edge of
        the screen. None, and no move, if there is none on that side.

        Raises:
            UsageError: The expression is wrong.
            ScanEnded: The search was stopped meanwhile.
        """
        search = self.search
        if search is None:
            return None
        start = self._from(await self.window(), backward=backward)
        hit = await self._next_shown(search, start, backward=backward)
        if hit is not None:
            self.current = hit
            self.following = False  # also where it is in sight: it would not be for long
            self._leave()
            await self._reveal(hit)
        return hit

    def _from(self, window: Window, *, backward: bool) -> int:
        """Where the next hit is looked for."""
        hit, here = self.current, chosen(window.rows)
        row = window.rows[here] if here is not None else None
        aimed = row is not None and row.target and not row.current
        if hit is not None and not aimed and window.start <= hit.start < window.end:
            return hit.start if backward else max(hit.start + 1, hit.end)
        if row is not None and not self.ending:
            return row.anchor.offset
        return window.end if backward else window.start

    async def toggle(self, offset: int) -> Fold | None:
        """Open or close the fold that begins at `offset`, or that holds it. Returns what it was."""
        async with self._turn:
            if not self.pages.size:
                return None
            region = await self._region(offset, 0, 1)
            for block in reversed(region.blocks[: region.index + 1]):
                fold = block.fold
                if fold is not None and fold.offset <= offset < fold.end:
                    self.toggled ^= {fold.offset}
                    return fold
            return None

    # ------------------------------------------------------------------------------- inside

    async def _next_shown(self, search: Search, start: int, *, backward: bool) -> Hit | None:
        """The next hit in a line that the filter leaves. Search and filter go past each other's
        gaps in turns: lines that have only one of both are not looked at one by one."""
        size = self.pages.size
        while True:
            hit = await search.next(start, size, backward=backward)
            if hit is None or self.filter is None:
                return hit
            (unit,) = await self._lines.forward(await self._lines.start_of(hit.start), 1)
            edge = unit[1] if backward else unit[0]
            kept = await self.filter.units(edge, size, 1, backward=backward)
            if not kept:
                return None
            if kept[0] == unit:
                return hit
            start = kept[0][1] if backward else kept[0][0]

    async def _reveal(self, hit: Hit) -> None:
        """Move only if the hit is not on the screen already, and to the side only if it must be."""
        if not await self._sees_current():
            await self.to_offset(hit.start)
            if not self.wrap and not await self._sees_current():
                await self._to_side(hit)

    async def _sees_current(self) -> bool:
        ends = [
            (mark.end, self._room(row.updates))
            for row in (await self.window()).rows
            for mark in row.marks
            if mark.current
        ]
        return any(end <= room for end, room in ends)

    def _room(self, updates: int) -> int:
        """Cells for a row's text beside what the screen may say before a progress bar's state."""
        return self.width - (self.width // 3 if updates > 1 else 0)

    async def _to_side(self, hit: Hit) -> None:
        async with self._turn:
            units = await self._lines.forward(await self._lines.start_of(hit.start), 1)
            (line,) = await self._around.load(units, hit)
            shown, at = self._neutral(line), hit.start - line.start - line.skip
            low = column(shown, place(shown, line.data, max(0, at)))
            high = column(shown, place(shown, line.data, max(0, at + hit.end - hit.start)))
            room = self._room(line.updates)
            before, self.left = self.left, 0 if high <= room else max(0, low - room // 2)
            self._unmoved = before

    async def _to_end(self) -> None:
        size = self.pages.size
        if not size:
            self.top = Anchor()
            return
        self.top = Anchor(size - 1, 1 << 30)
        await self._scroll(0)

    async def _scroll(self, rows: int) -> None:
        height = max(1, self.height - self.below)
        places, here, to_end = await self._places(max(0, -rows), max(0, rows) + height)
        if to_end and len(places) - here - rows < height:
            # Less than a screenful is left: the last row belongs on the last row of the screen.
            places, here, _ = await self._places(max(0, -rows) + height, max(0, rows) + height)
            rows = min(rows, len(places) - height - here)
        if places:
            self.top = places[max(0, min(here + rows, len(places) - 1))]
        else:
            self.top = Anchor(self.top.offset)

    async def _places(self, above: int, below: int) -> tuple[list[Anchor], int, bool]:
        """The rows around the top of the screen, the index of the top among them, and whether the
        log ends with the last of them."""
        region = await self._region(self.top.offset, above, below)
        places: list[Anchor] = []
        here = 0
        for number, block in enumerate(region.blocks):
            count = len(self._texts(block))
            if number == region.index:
                here = len(places) + min(self.top.sub, count - 1)
            places += [Anchor(block.start, sub) for sub in range(count)]
        return places, here, region.to_end

    async def _region(self, offset: int, above: int, below: int) -> Region:
        return await self._around.region(
            offset, above, below, toggled=self.toggled, keep=self.filter, hit=self.current
        )

    def _neutral(self, line: Line) -> LogLine:
        key = line.start + line.skip, line.end
        shown = self._shown.get(key)
        if shown is None:
            shown = neutral(line.data)
            self._shown.put(key, shown, len(shown.text))
        return shown

    def _texts(self, block: Block) -> list[LogLine]:
        """The rows of a block, not yet cut to the width if lines are not wrapped."""
        if block.folded and block.role is Role.LIBRARY:
            assert block.fold is not None
            return [LogLine(block.fold.text, (), len(block.fold.text))]
        line = self._neutral(block.lines[0])
        if not self._wraps(block):
            return [line]
        # A message is a text that a person reads; any other line may be a table.
        return (wrap_words if block.role is Role.RAISED else wrap)(line, self.width)

    def _wraps(self, block: Block) -> bool:
        if block.folded or self.wrap:
            return not block.folded
        said = block.role is Role.RAISED
        return said and self._neutral(block.lines[0]).cells <= MESSAGE * self.width

    def _sub_of(self, block: Block, offset: int) -> int:
        """The row of a wrapped block that shows the byte at `offset`."""
        texts = self._texts(block)
        if len(texts) == 1:
            return 0
        line = block.lines[0]
        inside = offset - line.start - line.skip
        index = place(self._neutral(line), line.data, max(0, inside))
        for sub, text in enumerate(texts):
            if index < len(text.text):
                return sub
            index -= len(text.text)
        return len(texts) - 1

    async def _rows(self, shown: Sequence[tuple[Block, int, LogLine]]) -> list[Row]:
        times: list[float | None] = [None] * len(shown)
        if self._times is not None:
            times = await self._times.at([block.start for block, _, _ in shown])
        marks = await self._marks(shown)
        rows = []
        before: int | None = None
        for (block, sub, text), moment, found in zip(shown, times, marks, strict=True):
            line = block.lines[0]
            second = None if moment is None else int(moment)
            changed = second is not None and second != before
            before = second if second is not None else before
            cut = not self._wraps(block)
            left = self.left if cut and not block.folded else 0
            rows.append(
                Row(
                    anchor=Anchor(block.start, sub),
                    line=clip(text, left, self.width),
                    head=line.head and sub == 0,
                    updates=1 if block.folded else line.updates,
                    state=line.state,
                    time=moment if changed else None,
                    rank=block.rank,
                    severity=block.severity,
                    role=block.role,
                    fold=block.fold if sub == 0 else None,
                    marks=found,
                    target=self._targets(block, sub),
                    more=cut and text.cells > left + self.width,
                )
            )
        return rows

    def _targets(self, block: Block, sub: int) -> bool:
        """Whether that row is the one that was jumped to. Wrapping and folding may move it."""
        target = self.target
        if target is None or not block.start <= target.offset < block.end:
            return False
        return sub == min(target.sub, len(self._texts(block)) - 1)

    async def _marks(self, shown: Sequence[tuple[Block, int, LogLine]]) -> list[tuple[Mark, ...]]:
        """The search's hits on each row."""
        search = self.search
        if search is None or self._patience.is_over(search):
            return [()] * len(shown)
        visible = {
            (block.start, block.lines[0].end)
            for block, _, _ in shown
            if not (block.folded and block.role is Role.LIBRARY)
        }
        hits = await self._patience.answer(search, search.within(sorted(visible))) or []
        rows = []
        for block, sub, text in shown:
            line = block.lines[0]
            whole = self._neutral(line)
            before = sum(len(t.text) for t in self._texts(block)[:sub]) if sub else 0
            found = []
            for hit in hits:
                if not line.start <= hit.start < line.end or (line.start, line.end) not in visible:
                    continue
                at = hit.start - line.start - line.skip
                if at < 0 or at >= len(line.data):
                    continue
                first = place(whole, line.data, at) - before
                last = place(whole, line.data, at + hit.end - hit.start) - before
                first, last = max(0, first), min(last, len(text.text))
                if first < last:
                    low, high = column(text, first), column(text, last)
                    if not self._wraps(block):
                        low, high = max(0, low - self.left), min(self.width, high - self.left)
                    if low < high:
                        found.append(Mark(low, high, hit == self.current))
            rows.append(tuple(found))
        return rows
