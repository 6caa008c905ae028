"""An open log: what is on the screen, searches, filter, background reading, and what ended the run.

The log engine's objects belong to the loop that opened them; a front end on another loop sends the
session requests through its bridge and gets finished rows. Nothing of a log but what is on the
screen crosses over. A request that takes long (a search through gigabytes) holds nothing else up:
looking goes on, and `stop` ends it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from traindeck.backends.base import BackendError, Files, SeekableLogs, State, TraindeckError
from traindeck.console.logs.evidence import what_ended
from traindeck.console.logs.findings import Finding
from traindeck.console.logs.search import Hit, Pattern, Search
from traindeck.console.logs.search import Progress as Counting
from traindeck.console.logs.severity import LOOK, NOT_FINITE, Severity
from traindeck.console.logs.source import BackendSource, ByteSource, RunFileSource
from traindeck.console.logs.survey import Survey
from traindeck.console.logs.times import Times
from traindeck.console.logs.window import Anchor, LogView, Window
from traindeck.console.runs.log_sources import NearSource
from traindeck.console.runs.reading import folder_of
from traindeck.console.runs.workspace import Workspace, ref_of
from traindeck.console.store.records import RunRecord, broken_metric

T = TypeVar("T")
Bridge = Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]
"""Runs a coroutine on the loop that a session belongs to, and returns what it returns."""

FAILED = frozenset({State.FAILED, State.LOST, State.PREEMPTED})
"""Ends that the log may give a reason for. A time limit is one by itself."""
LASTING = 0.4
"""Seconds after which it is worth saying that something is still being read or counted."""
MOMENT = 0.05
"""Seconds that a look waits for the background to read what a log has grown by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """How it stands with whatever writes a log.

    Attributes:
        over: Nothing more will be written.
        failed: It ended badly: its log may say why.
        diverged: What it trains for is no number: its log may say since when.
    """

    over: bool = True
    failed: bool = False
    exit_code: int | None = None
    signal: int | None = None
    step: int | None = None
    diverged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a session needs of a log; each function is called on the session's loop.

    Attributes:
        source: Makes a reader of the bytes, which the session closes.
        times: Makes the look-up of times, None if nobody notes them.
        fate: How it stands with the writer now.
        from_start: It is read from its beginning, as a file is, and not from its end.
    """

    source: Callable[[], ByteSource]
    times: Callable[[], Times | None] = lambda: None
    fate: Callable[[], Fate] = Fate
    from_start: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A place in a log to come back to: an offset, as long as the log is the same."""

    offset: int = 0
    identity: str = ""
    wrap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogShown:
    """A screenful of a log and what is known of the whole.

    Attributes:
        spot: Where that is.
        first, last, lines: Numbers of the first and last line shown, and of all; None while they
            are being counted.
        hits: Hits counted so far; `hit` is the current one's number, `counting` how far the count
            of search or filter is (0 to 1), None when nothing is being counted.
        stopped: Whether the count was stopped before its end: `hits` are at least so many.
        matched: Hits of the filter so far.
        first_error: Offset of the first line that looks like an error, and its number.
        not_finite: Where there is no error: offset of the first line whose loss is no number, if
            that is so at the end, and the line's number.
        map: Gravest severity of each row of the map at the edge; `hit_rows` where hits are.
        finding: What ended the run, if it failed and its log or end says so.
        surveyed: How much of the log has been read through, 0 to 1.
        grown: Whether all of it had been read through before: what is not read yet came since, and
            what was last known of the whole stands until there is better.
        brief: Whether reading and counting have gone on for no longer than a moment, so that how
            far they are is not worth saying.
        busy: Whether more will be known in a moment.
        timed: Whether it is known when something was written.
        over: Whether nothing more will be written.
        broken: Why search or filter cannot go on.
        problem: Why nothing can be shown.
    """

    window: Window = field(default_factory=Window)
    spot: Spot = field(default_factory=Spot)
    first: int | None = None
    last: int | None = None
    lines: int | None = None
    pattern: Pattern | None = None
    hits: int = 0
    hit: int | None = None
    counting: float | None = None
    stopped: bool = False
    filter: Pattern | None = None
    matched: int = 0
    first_error: int | None = None
    first_error_line: int | None = None
    not_finite: int | None = None
    not_finite_line: int | None = None
    map: tuple[Severity, ...] = ()
    hit_rows: frozenset[int] = frozenset()
    finding: Finding | None = None
    surveyed: float = 1.0
    grown: bool = False
    brief: bool = False
    busy: bool = False
    following: bool = False
    wrap: bool = False
    timed: bool = False
    over: bool = False
    broken: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Before:
    """Where one was when a filter was set: the row at the top, the one that was jumped to; the line
    that one looks at and the rows above it; whether it was the end."""

    top: Anchor
    target: Anchor | None
    at: int
    above: int
    ended: bool


class _Lag:
    """How long work in the background has not reached what there was to do when it was last even
    with it. A log that grows without end is never read to its end, and yet nothing is behind as
    long as what there was a moment ago is done."""

    def __init__(self) -> None:
        self._goal = 0
        self._since = 0.0
        self.even = False
        """Whether it was even once."""

    def lasts(self, done: int, size: int) -> bool:
        """Whether it has been behind for so long that it is worth saying."""
        now = time.monotonic()
        if done >= min(self._goal, size):
            self.even = self.even or self._goal > 0 or done >= size > 0
            self._goal, self._since = size, now
        return done < size and now - self._since >= LASTING


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
        self._filter: Search | None = None
        self._before: _Before | None = None
        self._moved = False  # since the filter was set
        self._placed = True  # where all of its lines are known
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._over = False
        self._finding: Finding | None = None
        self._not_finite: int | None = None
        self._seeking: asyncio.Task[None] | None = None
        self._ranked: tuple[Hit, int] | None = None
        self._at_end = True
        self._lag = _Lag()
        self._lags: WeakKeyDictionary[Search, _Lag] = WeakKeyDictionary()
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
        return await self._do(self._look(height, width, below, refresh))

    async def scroll(self, rows: int) -> None:
        """Move by rows."""
        await self._go(lambda view: view.scroll(rows))

    async def to_start(self) -> None:
        """Show the first rows."""
        await self._go(lambda view: view.to_start())

    async def to_end(self) -> None:
        """Show the last rows."""
        await self._go(lambda view: view.to_end())

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
        """Show the first error. False if none is known (yet)."""

        async def work(view: LogView) -> bool:
            assert self._survey is not None
            at = self._survey.first_error
            if at is None and self._finding is not None:
                at = self._finding.offset
            if at is None:
                at = self._not_finite
            if at is None:
                return False
            await view.to_offset(at, mark=True)
            return True

        return bool(await self._go(work))

    async def find(self, pattern: Pattern | None) -> None:
        """Search for something else from now on, or (None) for nothing.

        Raises:
            UsageError: The expression is wrong. What was searched for before stays.
        """

        async def work(view: LogView) -> None:
            fresh = await self._begin(pattern, view)
            old, self._search = self._search, fresh
            view.search, view.current, self._ranked = fresh, None, None
            if old is not None:
                await old.aclose()
            await self._catch_up()
            self._count()

        await self._with(work)

    async def keep(self, pattern: Pattern | None) -> None:
        """Show only lines that match, those nearest to where one is, or (None) all: then the
        current hit, the line that was jumped to or else the first one on the screen stays where it
        is; without a move since the filter, or a line that it shows, it is the very place before.

        Raises:
            UsageError: The expression is wrong. What was shown before stays.
        """

        async def work(view: LogView) -> None:
            fresh = await self._begin(pattern, view)
            rows = (await view.window()).rows
            chosen = next((n for n, row in enumerate(rows) if row.target or row.current), 0)
            if fresh is not None and (self._before is None or self._moved):
                at = rows[chosen].anchor.offset if rows else view.top.offset
                ended = self._at_end or view.following
                self._before = _Before(view.top, view.target, at, chosen, ended)
                self._moved = False
            old, self._filter = self._filter, fresh
            view.filter, self._placed = fresh, True
            if old is not None:
                await old.aclose()
            await self._catch_up()
            self._count()
            if fresh is not None:
                await self._to_nearest(view)
                return
            before, self._before = self._before, None
            if before is None:
                return
            if view.following or (before.ended and not self._moved):
                await view.to_end()
            elif self._moved and rows:
                jumped = not rows[chosen].current
                await view.to_offset(rows[chosen].anchor.offset, above=chosen, mark=jumped)
            else:
                await view.to_place(before.top, before.target)

        await self._with(work)

    async def _to_nearest(self, view: LogView) -> None:
        """To the filter's lines around the place that it was set at; again as long as not all of
        them are known and the person has not moved."""
        if self._filter is None or self._before is None or self._moved:
            self._placed = True
            return
        self._placed = self._filter.census.covered >= view.pages.size
        if self._before.ended:
            await view.to_end()
        else:
            await view.to_offset(self._before.at, above=self._before.above, reveal=False)

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
        """Set `wrap`, `left` or `following` of the view."""

        async def work(view: LogView) -> None:
            for name, value in choices.items():
                setattr(view, name, value)
            self._moved = self._moved or bool(choices.get("following"))
            if choices.get("following") or ("wrap" in choices and self._at_end):
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
            for search in (self._search, self._filter):
                if search is not None:
                    search.stop()

        await self._with(work)

    async def aclose(self) -> None:
        """Release everything. Idempotent."""
        await self._do(self._close())

    # ------------------------------------------------------------------------ on the session's loop

    async def _do(self, work: Coroutine[Any, Any, T]) -> T:
        result: T = await self._bridge(work)
        return result

    async def _with(self, move: Callable[[LogView], Coroutine[Any, Any, T]]) -> T | None:
        async def work() -> T | None:
            return None if self._view is None else await move(self._view)

        return await self._do(work())

    async def _go(self, move: Callable[[LogView], Coroutine[Any, Any, T]]) -> T | None:
        """A move that the person asked for; one that answers False was none."""

        async def work(view: LogView) -> T:
            before = (view.top, view.current)
            answer = await move(view)
            # A key that found nothing to scroll leaves one where one was.
            moved = (view.top, view.current) != before or view.target is not None
            self._moved = self._moved or (answer is not False and moved)
            return answer

        return await self._with(work)

    async def _look(self, height: int, width: int, below: int, refresh: bool) -> LogShown:
        view, opened = self._view, False
        try:
            if view is None:
                view, opened = self._open(), True
            same = (view.height, view.width, view.below) == (height, width, below)
            view.height, view.width, view.below = max(1, height), max(1, width), below
            if opened:
                await view.open()
                await self._go_back(view)
            elif refresh and not await view.refresh():
                await self._begin_anew(view)
            if not opened and not same:
                await (view.to_end() if self._at_end else view.scroll(0))
            await self._look_for_the_end(view)
            await self._catch_up()
            # More of the filter's lines may be known now.
            if not self._placed:
                await self._to_nearest(view)
            if self._moved and self._at_end and self._told and self._told.window.pending:
                await view.to_end()
            window = await view.window()
            self._at_end = window.at_end
            self._count()
            shown = self._told = await self._shown(view, window)
            return shown
        except TraindeckError as error:
            return LogShown(problem=str(error))

    def _open(self) -> LogView:
        if self._closed:
            raise BackendError("The log was closed.")
        self._times = self._opening.times()
        self._source = self._opening.source()
        self._view = LogView(self._source, times=self._times)
        self._survey = Survey(self._source)
        return self._view

    async def _go_back(self, view: LogView) -> None:
        """To the place that was left, if the log is still the same."""
        spot, fate = self._spot, self._opening.fate()
        view.wrap = spot is not None and spot.wrap
        if spot is not None and spot.identity == view.pages.identity:
            await view.to_offset(spot.offset, above=0, reveal=False)
        elif self._opening.from_start:
            await view.to_start()
        else:
            view.following = not fate.over

    async def _begin_anew(self, view: LogView) -> None:
        """The log was cut or replaced: nothing that was counted holds any more."""
        survey, searches = self._survey, (self._search, self._filter)
        assert self._source is not None
        self._survey = Survey(self._source)
        self._search = self._filter = self._ranked = self._finding = self._told = None
        self._before = None
        self._lag = _Lag()
        self._over = False
        self._not_finite = self._seeking = None
        for old in (survey, *searches):
            if old is not None:
                await old.aclose()
        if searches[0] is not None:
            self._search = view.search = Search(self._source, searches[0].pattern)
        if searches[1] is not None:
            self._filter = view.filter = Search(self._source, searches[1].pattern)

    async def _look_for_the_end(self, view: LogView) -> None:
        """When nothing more is written, once: what ended it."""
        if self._over:
            return
        fate = self._opening.fate()
        if fate.diverged and self._seeking is None:
            self._seeking = self._spawn(self._find_nan(view))
        if not fate.over:
            return
        if fate.failed:
            await view.refresh()
            self._finding = await what_ended(
                view.pages, exit_code=fate.exit_code, signal=fate.signal, step=fate.step
            )
        self._over = True
        view.following = False

    async def _find_nan(self, view: LogView) -> None:
        """Where the loss was no number for the first time."""
        assert self._source is not None
        pages, search = view.pages, Search(self._source, Pattern(NOT_FINITE, regex=True))
        try:
            hit = await search.next(0, pages.size)
            if hit is not None:
                near = max(0, hit.start - LOOK)
                before = await pages.read(near, hit.start - near)
                self._not_finite = near + before.rfind(b"\n") + 1
        except TraindeckError:
            pass  # a convenience
        finally:
            await search.aclose()

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

    async def _catch_up(self) -> None:
        """Know at once what the log has grown by, where that is little."""
        assert self._view is not None and self._survey is not None
        pages, survey = self._view.pages, self._survey
        await survey.catch_up(pages)
        for search in (self._search, self._filter):
            if search is not None:
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
        if survey.covered < size and not survey.running and not survey.error:
            self._reading = self._spawn(survey.read(size))
        for search in (self._search, self._filter):
            if search is None:
                continue
            fresh = search.progress is Counting.IDLE
            if fresh or (search.progress is Counting.DONE and search.size < size):
                self._spawn(search.count(size))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _shown(self, view: LogView, window: Window) -> LogShown:
        survey, search, kept = self._survey, self._search, self._filter
        assert survey is not None
        size, pages = max(1, window.size), view.pages
        first, last, lines = await self._numbers(view, window)
        error = survey.first_error
        nan = self._not_finite if error is None else None
        hit_rows: frozenset[int] = frozenset()
        if search is not None:
            hits = search.census.rows(view.height, size)
            hit_rows = frozenset(row for row, count in enumerate(hits) if count)
        surveyed = _share(survey, window.size)
        lasts = self._lag.lasts(window.size if surveyed >= 1 else survey.covered, window.size)
        behind = {one: self._behind(one, window.size) for one in (search, kept) if one is not None}
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
            first_error=error,
            first_error_line=None if error is None else await survey.line_number(error, pages),
            not_finite=nan,
            not_finite_line=None if nan is None else await survey.line_number(nan, pages),
            map=tuple(survey.rows(view.height, size)),
            hit_rows=hit_rows,
            finding=self._finding,
            surveyed=surveyed,
            grown=self._lag.even,
            brief=not lasts and not any(behind.values()),
            busy=surveyed < 1
            or window.pending
            or not self._placed
            or any(_unfinished(one) for one in behind)
            or (self._seeking is not None and not self._seeking.done()),
            following=view.following,
            wrap=view.wrap,
            timed=self._times is not None and await self._times.span() is not None,
            over=self._over,
            broken=_wrong(search) or _wrong(kept),
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
        lag = self._lags.setdefault(search, _Lag())
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
        view, survey, searches = self._view, self._survey, (self._search, self._filter)
        self._view = self._survey = self._search = self._filter = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for search in searches:
            if search is not None:
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


# ----------------------------------------------------------------------------------- what is opened


async def log_of(ws: Workspace, run: RunRecord, attempt: int, rank: int = 0) -> Opening:
    """The log of one rank of an attempt of a run.

    Raises:
        BackendError: Its backend has no logs that can be read at any place.
    """
    backend = ws.backend(run.backend)
    if not isinstance(backend, SeekableLogs):
        raise BackendError(f"{run.backend} has no logs that can be read.")
    ref = replace(ref_of(run), attempt=attempt)
    path = f"attempts/{attempt}/logs/{rank}"
    folder = await folder_of(ws, run)
    local = Path(folder, f"{path}.log") if folder else None

    def times() -> Times | None:
        if not isinstance(backend, Files):
            return None
        return Times(RunFileSource(backend, ref, f"{path}.idx"))

    def fate() -> Fate:
        fresh = ws.index.get(run.id) or run
        if fresh.attempt != attempt:
            return Fate(failed=True)  # an earlier one: it was tried again, so it had failed
        return Fate(
            over=not fresh.active,
            failed=fresh.state in FAILED,
            exit_code=fresh.exit_code,
            signal=fresh.signal,
            step=None if fresh.progress.partial else fresh.progress.step,
            diverged=broken_metric(fresh) is not None,
        )

    return Opening(
        source=lambda: NearSource(BackendSource(backend, ref, rank), local),
        times=times,
        fate=fate,
    )


async def file_of(ws: Workspace, run: RunRecord, path: str) -> Opening:
    """A file of a run's directory, read as if it were a log.

    Raises:
        BackendError: Its backend keeps no run directories.
    """
    backend = ws.backend(run.backend)
    if not isinstance(backend, Files):
        raise BackendError(f"{run.backend} keeps no run directories.")

    def fate() -> Fate:
        return Fate(over=not (ws.index.get(run.id) or run).active)

    return Opening(
        source=lambda: RunFileSource(backend, ref_of(run), path), fate=fate, from_start=True
    )
