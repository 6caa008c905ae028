"""An open log of a run: searches, filter, background reading and what ended it, in one session.

The log engine's objects belong to the loop that opened them; a front end on another loop sends the
session requests through its bridge and gets finished rows. Nothing of a log but what is on the
screen crosses over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from traindeck.backends.base import BackendError, Files, SeekableLogs, TraindeckError
from traindeck.console.logs.findings import WINDOW, Finding, failure
from traindeck.console.logs.search import Pattern, Search
from traindeck.console.logs.search import Progress as Counting
from traindeck.console.logs.severity import Severity
from traindeck.console.logs.source import BackendSource, RunFileSource
from traindeck.console.logs.survey import Survey
from traindeck.console.logs.times import Times
from traindeck.console.logs.window import LogView, Window
from traindeck.console.runs.workspace import Workspace, ref_of
from traindeck.console.store.records import RunRecord

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogShown:
    """A screenful of a log and what is known of the whole.

    Attributes:
        first, last, lines: Numbers of the first and last line shown, and of all; None while they
            are being counted.
        hits: Hits counted so far; `hit` is the current one's number, `counting` how far the count
            is (0 to 1), None when it is done.
        first_error: Line (or None) and offset of the first line that looks like an error.
        map: Gravest severity of each row of the map at the edge; `hit_rows` where hits are.
        finding: What ended the run, if it failed and its log or end says so.
        surveyed: How much of the log has been read through, 0 to 1.
    """

    window: Window = field(default_factory=Window)
    first: int | None = None
    last: int | None = None
    lines: int | None = None
    pattern: Pattern | None = None
    hits: int = 0
    hit: int | None = None
    counting: float | None = None
    filter: Pattern | None = None
    first_error: int | None = None
    first_error_line: int | None = None
    map: tuple[Severity, ...] = ()
    hit_rows: frozenset[int] = frozenset()
    finding: Finding | None = None
    surveyed: float = 1.0
    following: bool = False
    wrap: bool = False
    ended: bool = False
    problem: str = ""


class LogSession:
    """An open log. Every coroutine may be awaited on any loop.

    Args:
        bridge: Runs a coroutine on the loop of the workspace and returns what it returns.
    """

    def __init__(
        self,
        bridge: Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]],
        ws: Workspace,
        run: RunRecord,
        attempt: int,
        rank: int,
    ) -> None:
        self._bridge = bridge
        self._ws = ws
        self._run = run
        self._ref = replace(ref_of(run), attempt=attempt)
        self._rank = rank
        self._view: LogView | None = None
        self._survey: Survey | None = None
        self._search: Search | None = None
        self._filter: Search | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = False
        self._finding: Finding | None = None
        self._sized = 0
        self._at_end = True

    async def look(
        self, height: int, width: int, *, below: int = 0, refresh: bool = True
    ) -> LogShown:
        """What is to be shown in so many rows and cells. Opens the log, at its end, at first."""
        return await self._do(self._look(height, width, below, refresh))

    async def scroll(self, rows: int) -> None:
        """Move by rows."""
        await self._with(lambda view: view.scroll(rows))

    async def to_start(self) -> None:
        await self._with(lambda view: view.to_start())

    async def to_end(self) -> None:
        await self._with(lambda view: view.to_end())

    async def to_percent(self, percent: float) -> None:
        await self._with(lambda view: view.to_percent(percent))

    async def to_time(self, moment: float) -> bool:
        """False if no times are known for this log."""
        return bool(await self._with(lambda view: view.to_time(moment)))

    async def to_line(self, line: int) -> bool:
        """Show a line by its number. False if lines are not counted that far yet."""

        async def work() -> bool:
            assert self._view is not None and self._survey is not None
            offset = await self._survey.offset_of(line, self._view.pages)
            if offset is None:
                return False
            await self._view.to_offset(offset)
            return True

        return await self._do(work())

    async def to_error(self) -> bool:
        """Show the first error. False if none is known (yet)."""

        async def work() -> bool:
            assert self._view is not None and self._survey is not None
            at = self._survey.first_error
            if at is None and self._finding is not None:
                at = self._finding.offset
            if at is None:
                return False
            await self._view.to_offset(at, above=2)
            return True

        return await self._do(work())

    async def find(self, pattern: Pattern | None) -> None:
        """Search for something else from now on, or (None) for nothing."""
        await self._do(self._find(pattern))

    async def keep(self, pattern: Pattern | None) -> None:
        """Show only lines that match, or (None) all."""
        await self._do(self._keep(pattern))

    async def next_hit(self, *, backward: bool = False) -> bool:
        """Go to the next hit. False if there is none on that side."""
        hit = await self._with(lambda view: view.jump(backward=backward))
        return hit is not None

    async def choose(self, **choices: Any) -> None:
        """Set `wrap`, `left` or `following` of the view."""

        async def work() -> None:
            assert self._view is not None
            for name, value in choices.items():
                setattr(self._view, name, value)
            if choices.get("following"):
                await self._view.to_end()

        await self._do(work())

    async def toggle(self, offset: int) -> None:
        """Open or close the fold at an offset."""
        await self._with(lambda view: view.toggle(offset))

    async def stop(self) -> None:
        """End a count that is under way; what was counted stays."""

        async def work() -> None:
            for search in (self._search, self._filter):
                if search is not None:
                    search.stop()

        await self._do(work())

    async def aclose(self) -> None:
        """Release everything. Idempotent."""
        await self._do(self._close())

    # ------------------------------------------------------------------------- on the services loop

    async def _do(self, work: Coroutine[Any, Any, T]) -> T:
        result: T = await self._bridge(work)
        return result

    async def _with(self, move: Callable[[LogView], Coroutine[Any, Any, T]]) -> T | None:
        async def work() -> T | None:
            return None if self._view is None else await move(self._view)

        return await self._do(work())

    def _source(self) -> BackendSource:
        backend = self._ws.backend(self._ref.backend)
        if not isinstance(backend, SeekableLogs):
            raise BackendError(f"{self._ref.backend} has no logs that can be read.")
        return BackendSource(backend, self._ref, self._rank)

    async def _open(self) -> LogView:
        if self._view is None:
            backend = self._ws.backend(self._ref.backend)
            times = None
            if isinstance(backend, Files):
                path = f"attempts/{self._ref.attempt}/logs/{self._rank}.idx"
                times = Times(RunFileSource(backend, self._ref, path))
            self._view = LogView(self._source(), times=times)
            self._survey = Survey(self._source())
            self._view.following = self._run.active
        return self._view

    async def _look(self, height: int, width: int, below: int, refresh: bool) -> LogShown:
        first = self._view is None
        view = await self._open()
        resized = (view.height, view.width, view.below) != (height, width, below)
        view.height, view.width, view.below = max(1, height), max(1, width), below
        try:
            if first:
                window = await view.open()
            else:
                if refresh:
                    await view.refresh()
                if resized:
                    await (view.to_end() if self._at_end else view.scroll(0))
                window = await view.window()
            await self._look_for_the_end()
        except TraindeckError as error:
            return LogShown(problem=str(error))
        self._at_end = window.at_end
        self._count()
        return await self._shown(view, window, height)

    async def _shown(self, view: LogView, window: Window, height: int) -> LogShown:
        survey = self._survey
        assert survey is not None
        size = max(1, window.size)
        first = await survey.line_number(window.start, view.pages) if window.rows else None
        last_at = max(window.start, window.end - 1)
        last = await survey.line_number(last_at, view.pages) if window.rows else None
        error = survey.first_error
        search = self._search
        hit = await search.rank(view.current) if search and view.current else None
        hit_rows = (
            frozenset(row for row, count in enumerate(search.census.rows(height, size)) if count)
            if search
            else frozenset()
        )
        return LogShown(
            window=window,
            first=first,
            last=last,
            lines=await survey.line_count(view.pages) if window.size else 0,
            pattern=search.pattern if search else None,
            hits=search.total if search else 0,
            hit=hit,
            counting=_how_far(search or self._filter),
            filter=self._filter.pattern if self._filter else None,
            first_error=error,
            first_error_line=(
                await survey.line_number(error, view.pages) if error is not None else None
            ),
            map=tuple(survey.rows(height, size)),
            hit_rows=hit_rows,
            finding=self._finding,
            surveyed=min(1.0, survey.covered / size),
            following=view.following,
            wrap=view.wrap,
            ended=self._ended,
        )

    async def _look_for_the_end(self) -> None:
        """When the attempt is over, once: what ended it."""
        if self._ended:
            return
        fresh = self._ws.index.get(self._run.id) or self._run
        if fresh.attempt == self._ref.attempt and fresh.active:
            return
        self._ended = True
        assert self._view is not None
        pages = self._view.pages
        start = max(0, pages.size - WINDOW)
        failed = fresh.attempt != self._ref.attempt or fresh.state in ("failed", "lost", "timeout")
        if failed and pages.size:
            tail = await pages.read(start, pages.size - start)
            self._finding = failure(tail, start, exit_code=fresh.exit_code, signal=fresh.signal)

    def _count(self) -> None:
        """Let the background go on where the log has grown."""
        assert self._view is not None and self._survey is not None
        size = self._view.pages.size
        if size > self._sized:
            self._sized = size
            self._spawn(self._survey.read(size))
            for search in (self._search, self._filter):
                if search is not None:
                    self._spawn(search.count(size))

    async def _find(self, pattern: Pattern | None) -> None:
        view = await self._open()
        old, self._search = self._search, None
        view.search = view.current = None
        if old is not None:
            await old.aclose()
        if pattern is not None:
            self._search = view.search = Search(self._source(), pattern)
            self._spawn(self._search.count(view.pages.size))

    async def _keep(self, pattern: Pattern | None) -> None:
        view = await self._open()
        old, self._filter = self._filter, None
        view.filter = None
        if old is not None:
            await old.aclose()
        if pattern is not None:
            self._filter = view.filter = Search(self._source(), pattern)
            self._spawn(self._filter.count(view.pages.size))
        await view.scroll(0)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self) -> None:
        for search in (self._search, self._filter):
            if search is not None:
                await search.aclose()
        if self._survey is not None:
            await self._survey.aclose()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._view is not None:
            await self._view.pages.source.aclose()
        self._view = self._survey = self._search = self._filter = None


def _how_far(search: Search | None) -> float | None:
    if search is None or search.progress is not Counting.RUNNING:
        return None
    return search.done / max(1, search.size)
