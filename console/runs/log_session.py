"""An open log: what is on the screen, searches, filter, background reading, and what ended the run.

The log engine's objects belong to the loop that opened them; a front end on another loop sends the
session requests through its bridge and gets finished rows. Nothing of a log but what is on the
screen crosses over. A request that takes long (a search through gigabytes) holds nothing else up:
looking goes on, and `stop` ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from traindeck.backends.errors import BackendError, TraindeckError
from traindeck.backends.states import Reach
from traindeck.console.logs.rows import Anchor, Window
from traindeck.console.logs.search import Hit, Pattern, Search
from traindeck.console.logs.search import Progress as Counting
from traindeck.console.logs.source import ByteSource
from traindeck.console.logs.survey import Survey
from traindeck.console.logs.times import Times
from traindeck.console.logs.window import LogView
from traindeck.console.runs.log_end import LogEnd
from traindeck.console.runs.log_filter import LogFilter
from traindeck.console.runs.log_lag import Lag
from traindeck.console.runs.log_opening import Opening
from traindeck.console.runs.log_shown import LogShown, Spot

T = TypeVar("T")
Bridge = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Awaitable[Any]]
"""Begins a coroutine on the loop that a session belongs to, and returns what it returns."""

MOMENT = 0.05
"""Seconds that a look waits for the background to read what a log has grown by."""


class LogSession:
    """An open log. Every coroutine may be awaited on any loop.

    Args:
        spot: Where to begin; None is at the end, followed while the log grows.
    """

    def __init__(self, bridge: Bridge, opening: Opening, spot: Spot | None = None) -> None:
        self._bridge = bridge
        self._opening = opening
        self._spot = spot
        self._source: ByteSource | None = None
        self._view: LogView | None = None
        self._times: Times | None = None
        self._survey: Survey | None = None
        self._search: Search | None = None
        self._filter = LogFilter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._there = True
        self._end = LogEnd(opening, self._spawn)
        self._ranked: tuple[Hit, int] | None = None
        self._at_first_error: Anchor | None = None
        self._lag = Lag()
        self._lags: WeakKeyDictionary[Search, Lag] = WeakKeyDictionary()
        self._told: LogShown | None = None
        self._reading: asyncio.Task[None] | None = None

    async def look(
        self, height: int, width: int, *, below: int = 0, refresh: bool = True
    ) -> LogShown:
        """What is to be shown in so many rows and cells. Opens the log at first.

        Args:
            below: Rows that are wanted for what stands after the end.
            refresh: Look at the log's size, not only at what is known of it.
        """
        return await self._do(lambda: self._look(height, width, below, refresh))

    async def scroll(self, rows: int) -> None:
        """Move by rows."""
        await self._go(lambda view: view.scroll(rows))

    async def step(self, rows: int) -> None:
        """Under a filter choose the line that many rows on, else move by rows."""
        await self._go(lambda view: view.step(rows))

    async def side(self, cells: int) -> None:
        """Move to the side."""
        await self._with(lambda view: view.side(cells))

    async def to_start(self) -> None:
        """Show the first rows."""
        await self._go(lambda view: view.to_start())

    async def to_end(self) -> None:
        """Show the last rows, and those that come after them."""

        async def work(view: LogView) -> None:
            await view.to_end()
            view.following = not self._end.over

        await self._go(work)

    async def to_percent(self, percent: float) -> None:
        """Show the place at that share of the bytes."""
        await self._go(lambda view: view.to_percent(percent))

    async def to_time(self, moment: float) -> bool:
        """Show what was written then. False if no times are known for this log."""
        return bool(await self._go(lambda view: view.to_time(moment)))

    async def to_line(self, line: int) -> bool:
        """Show a line by its number. False if lines are not counted that far (yet)."""

        async def work(view: LogView) -> bool:
            assert self._survey is not None
            offset = await self._survey.offset_of(line, view.pages)
            if offset is None:
                return False
            await view.to_offset(offset, mark=True)
            return True

        return bool(await self._go(work))

    async def to_error(self) -> bool:
        """Show the first error; from there, what the run ended of, if that is elsewhere. False if
        none is known (yet)."""

        async def work(view: LogView) -> bool:
            places = self._errors()
            if not places:
                return False
            here = view.target is not None and view.target == self._at_first_error
            await view.to_offset(places[-1 if here else 0], mark=True)
            self._at_first_error = None if here else view.target
            return True

        return bool(await self._go(work))

    def _errors(self) -> list[int]:
        """Where the first error lies, and what the run ended of, if that is another one."""
        assert self._survey is not None
        first, finding, lost = self._survey.first_error, self._end.finding, self._end.not_finite
        places = [] if first is None else [first]
        if finding is not None and not (
            first is not None and finding.offset <= first < finding.offset + finding.length
        ):
            places.append(finding.offset)
        return places or ([] if lost is None else [lost])

    async def find(self, pattern: Pattern | None) -> None:
        """Search for something else from now on, or (None) for nothing.

        Raises:
            UsageError: The expression is wrong. What was searched for before stays.
        """

        async def work(view: LogView) -> None:
            fresh = await self._begin(pattern, view)
            old, self._search = self._search, fresh
            view.look_for(fresh)
            self._ranked = None
            if old is not None:
                await old.aclose()
            await self._know()

        await self._with(work)

    async def keep(self, pattern: Pattern | None) -> None:
        """Show only lines that match, those nearest to where one is, or (None) all: then the
        current hit, the line that was jumped to or else the first one on the screen stays where it
        is; without a move since the filter, or a line that it shows, it is the very place before.

        Raises:
            UsageError: The expression is wrong. What was shown before stays.
        """

        async def work(view: LogView) -> None:
            await self._filter.change(view, await self._begin(pattern, view), self._know)

        await self._with(work)

    async def peek(self) -> bool:
        """Set the filter aside and show the chosen line among its neighbours; again: back to its
        lines as they were. False if there is no filter, or no line of it."""
        return bool(await self._with(self._filter.peek))

    async def next_hit(self, *, backward: bool = False) -> bool:
        """Go to the next hit. False if there is none on that side.

        Raises:
            UsageError: The expression is wrong.
            ScanEnded: The search was stopped meanwhile.
        """

        async def work(view: LogView) -> bool:
            return await view.jump(backward=backward) is not None

        return bool(await self._go(work))

    async def choose(self, **choices: Any) -> None:
        """Set `wrap` or `following` of the view."""

        async def work(view: LogView) -> None:
            following = choices.pop("following", None)
            if choices:
                await view.fit(left=0, **choices)
            if following is not None:
                view.following = following
            if following:
                self._filter.moved()
                await view.to_end()

        await self._with(work)

    async def fold(self) -> bool:
        """Open the folds that are on the screen; if all are open, close those that were closed
        before, or else whole tracebacks. False if there is nothing to fold."""

        async def work(view: LogView) -> bool:
            folds = [row.fold for row in (await view.window()).rows if row.fold is not None]
            closed = [fold.offset for fold in folds if not fold.open]
            opened = [fold.offset for fold in folds if fold.open]
            before = [offset for offset in opened if offset in view.toggled]
            for offset in closed or before or opened:
                await view.toggle(offset)
            await view.scroll(0)  # fewer rows may be left than there is room for
            return bool(folds)

        return bool(await self._with(work))

    async def stop(self) -> None:
        """End counting and searching that is under way; what was counted stays."""

        async def work(view: LogView) -> None:
            for search in self._searches():
                search.stop()

        await self._with(work)

    async def aclose(self) -> None:
        """Release everything. Idempotent."""
        await self._do(self._close)

    # ------------------------------------------------------------------------ on the session's loop

    async def _do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        result: T = await self._bridge(work)
        return result

    async def _with(self, move: Callable[[LogView], Coroutine[Any, Any, T]]) -> T | None:
        async def work() -> T | None:
            return None if self._view is None else await move(self._view)

        return await self._do(work)

    async def _go(self, move: Callable[[LogView], Coroutine[Any, Any, T]]) -> T | None:
        """A move that the person asked for; one that answers False was none."""

        async def work(view: LogView) -> T:
            before = (view.top, view.current, view.target)
            answer = await move(view)
            # A key that found nothing to scroll leaves one where one was.
            if answer is not False and (view.top, view.current, view.target) != before:
                self._filter.moved()
            return answer

        return await self._with(work)

    async def _look(self, height: int, width: int, below: int, refresh: bool) -> LogShown:
        view, size = self._view, {"height": max(1, height), "width": max(1, width), "below": below}
        try:
            if view is None:
                view = self._open(size)
                await view.open()
                await self._go_back(view)
            else:
                if refresh and not await view.refresh():
                    await self._begin_anew(view)
                if any(getattr(view, name) != value for name, value in size.items()):
                    await view.fit(**size)
            await self._end.look(view)
            self._listen()
            await self._catch_up()
            told = self._told
            await self._filter.settle(view, pending=told is not None and told.window.pending)
            window = await view.window()
            self._count()
            shown = self._told = await self._shown(view, window)
            return shown
        except TraindeckError as error:
            return LogShown(problem=str(error), link=self._opening.link())

    def _listen(self) -> None:
        """Try again to read through it, once the place answers again."""
        there = self._opening.link().state is Reach.OK
        if there and not self._there and self._survey is not None:
            self._survey.error = ""
        self._there = there

    def _open(self, size: dict[str, int]) -> LogView:
        if self._closed:
            raise BackendError("The log was closed.")
        self._times = self._opening.times()
        self._source = self._opening.source()
        self._view = view = LogView(self._source, times=self._times)
        view.height, view.width, view.below = size["height"], size["width"], size["below"]
        self._survey = Survey(self._source)
        return view

    async def _go_back(self, view: LogView) -> None:
        """To the place that was left, if the log is still the same."""
        spot, fate = self._spot, self._opening.fate()
        view.wrap = spot is not None and spot.wrap
        if spot is not None and spot.identity and spot.identity == view.pages.identity:
            await view.to_offset(spot.offset, above=0, reveal=False)
        elif self._opening.from_start:
            await view.to_start()
        else:
            view.following = not fate.over

    async def _begin_anew(self, view: LogView) -> None:
        """The log was cut or replaced: nothing that was counted holds any more."""
        assert self._source is not None and self._survey is not None
        survey, search, kept = self._survey, self._search, self._filter.search
        self._survey = Survey(self._source)
        self._search = self._ranked = self._told = None
        self._filter.begin_anew(view, None)
        self._end = LogEnd(self._opening, self._spawn)
        self._lag = Lag()
        for old in (survey, search, kept):
            if old is not None:
                await old.aclose()
        if search is not None:
            self._search = view.search = Search(self._source, search.pattern)
        if kept is not None:
            self._filter.begin_anew(view, Search(self._source, kept.pattern))

    async def _begin(self, pattern: Pattern | None, view: LogView) -> Search | None:
        """A search whose expression is one: it is tried on the log's first byte."""
        if pattern is None:
            return None
        assert self._source is not None
        fresh = Search(self._source, pattern)
        try:
            if not pattern.literal:
                await fresh.next(0, min(1, view.pages.size))
        except BaseException:
            await fresh.aclose()
            raise
        return fresh

    def _searches(self) -> list[Search]:
        return [one for one in (self._search, self._filter.search) if one is not None]

    async def _know(self) -> None:
        """What can be known of a new search at once; the background does the rest."""
        await self._catch_up()
        self._count()

    async def _catch_up(self) -> None:
        """Know at once what the log has grown by, where that is little."""
        assert self._view is not None and self._survey is not None
        pages, survey = self._view.pages, self._survey
        await survey.catch_up(pages)
        for search in self._searches():
            await search.catch_up(pages.size)
        if self._lag.even and survey.covered < pages.size and self._survey is survey:
            # Much was written, but not so much that it could not be known to the last line too.
            # The first of two may be the end of what was read before.
            for _ in range(2):
                self._count()
                if self._reading is not None and survey.covered < pages.size:
                    await asyncio.wait({self._reading}, timeout=MOMENT)

    def _count(self) -> None:
        """Let the background go on where the log has grown."""
        assert self._view is not None and self._survey is not None
        size, survey = self._view.pages.size, self._survey
        wanted = survey.covered < size and not survey.running and not self._unread(size)
        if wanted and not survey.error:
            self._reading = self._spawn(survey.read(size))
        for search in self._searches():
            fresh = search.progress is Counting.IDLE
            if fresh or (search.progress is Counting.DONE and search.size < size):
                self._spawn(search.count(size))

    def _unread(self, size: int) -> bool:
        """Whether more is left to be read through than is done unasked."""
        assert self._survey is not None
        return size - self._survey.covered > self._opening.most

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _shown(self, view: LogView, window: Window) -> LogShown:
        survey, search, kept = self._survey, self._search, self._filter.search
        assert survey is not None
        size, pages = max(1, window.size), view.pages
        first, last, lines = await self._numbers(view, window)
        error = survey.first_error
        nan = self._end.not_finite if error is None else None
        hit_rows: frozenset[int] = frozenset()
        if search is not None:
            hits = search.census.rows(view.height, size)
            hit_rows = frozenset(row for row, count in enumerate(hits) if count)
        unread = self._unread(window.size)
        surveyed = 1.0 if unread else _share(survey, window.size)
        lasts = self._lag.lasts(window.size if surveyed >= 1 else survey.covered, window.size)
        behind = {one: self._behind(one, window.size) for one in self._searches()}
        counting = [_how_far(one) for one in behind if behind[one] or not self._lags[one].even]
        return LogShown(
            window=window,
            spot=Spot(offset=window.start, identity=window.identity, wrap=view.wrap),
            first=first,
            last=last,
            lines=lines,
            pattern=search.pattern if search else None,
            hits=search.total if search else 0,
            hit=await self._rank(search, view.current),
            counting=next((share for share in counting if share is not None), None),
            stopped=search is not None and search.progress is Counting.STOPPED,
            filter=kept.pattern if kept else None,
            matched=kept.total if kept else 0,
            aside=self._filter.aside,
            first_error=error,
            first_error_line=None if error is None else await survey.line_number(error, pages),
            not_finite=nan,
            not_finite_line=None if nan is None else await survey.line_number(nan, pages),
            map=tuple(survey.rows(view.height, size)),
            hit_rows=hit_rows,
            finding=self._end.finding,
            surveyed=surveyed,
            grown=self._lag.even,
            brief=not lasts and not any(behind.values()),
            busy=surveyed < 1
            or window.pending
            or not self._filter.placed
            or any(_unfinished(one) for one in behind)
            or self._end.busy,
            following=view.following,
            left=view.left,
            wrap=view.wrap,
            timed=self._times is not None and await self._times.span() is not None,
            over=self._end.over,
            why_none="" if window.size else self._end.why_none,
            broken=_wrong(search) or _wrong(kept),
            link=self._opening.link(),
            unread=unread,
        )

    async def _numbers(
        self, view: LogView, window: Window
    ) -> tuple[int | None, int | None, int | None]:
        """The numbers of the first and the last line shown, and of all. What is not counted yet is
        as it was last known: the number of all lines, and those shown while it is the same place,
        which the end is that is followed."""
        survey, pages, told = self._survey, view.pages, self._told
        assert survey is not None
        if not window.rows:
            return None, None, 0 if not window.size else await survey.line_count(pages)
        first = await survey.line_number(window.start, pages)
        last = await survey.line_number(max(window.start, window.end - 1), pages)
        lines = await survey.line_count(pages)
        if told is None or told.window.identity != window.identity:
            return first, last, lines
        if lines is None and told.lines is not None:
            lines = max(told.lines, last or 0)
        at_end = view.following and told.following and window.at_end and told.window.at_end
        if (first is None or last is None) and (at_end or told.window.start == window.start):
            first, last = told.first, told.last
        return first, last, lines

    def _behind(self, search: Search, size: int) -> bool:
        """Whether the count of a search has not caught up for longer than a moment."""
        lag = self._lags.setdefault(search, Lag())
        return lag.lasts(search.census.covered if _unfinished(search) else size, size)

    async def _rank(self, search: Search | None, hit: Hit | None) -> int | None:
        """The current hit's number: counted once, for a screen asks again and again."""
        if search is None or hit is None:
            return None
        if self._ranked is None or self._ranked[0] != hit:
            rank = await search.rank(hit)
            if rank is None:
                return None
            self._ranked = hit, rank
        return self._ranked[1]

    async def _close(self) -> None:
        self._closed = True
        view, survey, searches = self._view, self._survey, self._searches()
        self._view = self._survey = self._search = self._filter.search = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for search in searches:
            await search.aclose()
        if survey is not None:
            await survey.aclose()
        if view is not None:
            await view.aclose()


def _how_far(search: Search) -> float | None:
    if search.progress is not Counting.RUNNING:
        return None
    return search.done / max(1, search.size)


def _unfinished(search: Search) -> bool:
    """Whether a count goes on, or will in a moment."""
    return search.progress in (Counting.IDLE, Counting.RUNNING)


def _share(survey: Survey, size: int) -> float:
    """How much of a log has been read through; all of it, if no more will be."""
    return 1.0 if survey.error or not size else min(1.0, survey.covered / size)


def _wrong(search: Search | None) -> str:
    """Why a count ended before its time."""
    return search.error if search is not None and search.progress is Counting.FAILED else ""
