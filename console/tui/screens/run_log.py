"""The Log tab: a log of any size, searched, filtered and followed without waiting for it.

The session does the work elsewhere; a key sends it one request and the answer is painted when it
comes. While a log grows it is looked at five times a second, and painted only where it changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import BindingType

from traindeck.backends.base import TraindeckError
from traindeck.console.present.cells import Line, Span
from traindeck.console.present.log_view import (
    after_rows,
    log_lines,
    question,
    text_cells,
    text_rows,
)
from traindeck.console.runs.log_session import LogShown
from traindeck.console.store.records import RunRecord
from traindeck.console.tui import keys
from traindeck.console.tui.services import RunReader
from traindeck.console.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from traindeck.console.runs.log_session import LogSession

ACTIVE, QUIET = 0.2, 0.5
"""Seconds between looks: while it grows or is being read through, and otherwise."""

SECOND_G = 1.0
"""Seconds within which the second `g` must follow the first."""

_HINTS = {
    "find": "enter searches · ctrl+r regex · ctrl+t any case · esc",
    "filter": "enter keeps lines with it · empty shows all · ctrl+r regex · ctrl+t any case · esc",
    "percent": "0 to 100 · enter · esc",
    "time": "HH:MM or HH:MM:SS · enter · esc",
    "line": "a line's number · enter · esc",
}
_LABELS = {"find": "/", "filter": "&", "percent": "%", "time": "time", "line": "line"}


class LogPane(Lines, can_focus=True, inherit_bindings=False):
    """Shows one log."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(keys.LOG)]
    DEFAULT_CSS = "LogPane { height: 1fr; }"

    def __init__(self, reader: RunReader, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._reader = reader
        self._run: RunRecord | None = None
        self._session: LogSession | None = None
        self._shown = LogShown()
        self._opened = False
        self._asking = ""
        self._typed = ""
        self._regex = False
        self._any_case = False
        self._left = 0
        self._wrap = False
        self._g = 0.0
        self._turn = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None

    # -------------------------------------------------------------------------------- from outside

    def show_run(self, run: RunRecord) -> None:
        """Show this run's log from now on."""
        another = self._run is None or (self._run.id, self._run.attempt) != (run.id, run.attempt)
        self._run = run
        if another:
            self._restart()

    def start(self) -> None:
        """The tab is in sight: look at the log until `stop`."""
        if self._loop is None:
            self._loop = self.deck.start(self._live(), "")

    def stop(self) -> None:
        """The tab is out of sight."""
        if self._loop is not None:
            self._loop.cancel()
            self._loop = None

    def on_unmount(self) -> None:
        self.stop()
        session, self._session = self._session, None
        if session is not None:
            self.deck.start(session.aclose(), "")

    def _restart(self) -> None:
        session, self._session = self._session, None
        self._shown, self._opened = LogShown(), False
        if session is not None:
            self.deck.start(session.aclose(), "")

    async def _live(self) -> None:
        while True:
            await self._look()
            busy = self._shown.following or self._shown.surveyed < 1
            busy = busy or self._shown.counting is not None
            await asyncio.sleep(ACTIVE if busy else QUIET)

    async def _look(self, *, refresh: bool = True) -> None:
        async with self._turn:
            run = self._run
            if run is None or self.size.height < 2:
                return
            try:
                if self._session is None:
                    self._session = await self._reader.open_log(run.id, run.attempt)
                cells, rows = self.size.width, self.size.height
                below = 0
                if self._shown.ended:
                    below = after_rows(self._shown.finding, run, cells)
                shown = await self._session.look(
                    text_rows(rows), text_cells(cells), below=below, refresh=refresh
                )
                first_end = shown.ended and not self._shown.ended
                self._shown = shown
                self._opened = True
                if first_end:
                    below = after_rows(shown.finding, run, cells)
                    self._shown = await self._session.look(
                        text_rows(rows), text_cells(cells), below=below, refresh=False
                    )
            except TraindeckError as error:
                self._shown = LogShown(problem=str(error))
                self._opened = True
        self.update()

    def _do(self, work: Callable[[LogSession], Awaitable[object]], otherwise: str = "") -> None:
        """Send the session one request, then paint; say `otherwise` if it answers False."""

        async def act() -> None:
            session = self._session
            if session is None:
                return
            try:
                async with self._turn:  # keys take effect in the order they were pressed
                    answer = await work(session)
            except TraindeckError as error:
                self.deck.notice(error.what, "warn")
                return
            if answer is False and otherwise:
                self.deck.notice(otherwise, "muted")
            await self._look(refresh=False)

        self.deck.start(act(), "")

    # -------------------------------------------------------------------------------------- content

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        if self._run is None or not self._opened:
            return [(), (Span("  opening the log…", "muted"),)]
        asking = None
        if self._asking:
            how = "regex " * self._regex + "any case " * self._any_case
            asking = question(
                _LABELS[self._asking] + (f" {how}".rstrip() if how else ""),
                self._typed,
                _HINTS[self._asking],
                cells,
            )
        return log_lines(
            self._shown, self._run, cells, rows, glyphs=self.deck.painter.glyphs, asking=asking
        )

    def on_resize(self) -> None:
        super().on_resize()
        self._do(lambda session: session.scroll(0))

    # -------------------------------------------------------------------------------------- actions

    def action_rows(self, by: int) -> None:
        self._do(lambda session: session.scroll(by))

    def action_pages(self, by: float) -> None:
        rows = round(by * max(1, text_rows(self.size.height) - 1))
        self._do(lambda session: session.scroll(rows))

    def action_first(self) -> None:
        self._do(lambda session: session.to_start())

    def action_prefix_g(self) -> None:
        now = time.monotonic()
        if now - self._g < SECOND_G:
            self._g = 0.0
            self.action_first()
        else:
            self._g = now

    def action_last(self) -> None:
        self._do(lambda session: session.to_end())

    def action_follow(self) -> None:
        wanted = not self._shown.following
        self._do(lambda session: session.choose(following=wanted))

    def action_wrap(self) -> None:
        self._wrap, self._left = not self._wrap, 0
        self._do(lambda session: session.choose(wrap=self._wrap, left=0))

    def action_side(self, by: int) -> None:
        if not self._wrap:
            self._left = max(0, self._left + by)
            self._do(lambda session: session.choose(left=self._left))

    def action_error(self) -> None:
        waiting = self._shown.surveyed < 1
        words = "no error so far, still reading" if waiting else "no error in this log"
        self._do(lambda session: session.to_error(), words)

    def action_hit(self, backward: bool) -> None:
        if self._shown.pattern is None:
            self.action_ask("find")
            return
        side = "before" if backward else "after"
        self._do(lambda session: session.next_hit(backward=backward), f"no hit {side} this one")

    def action_fold(self) -> None:
        """The first fold on the screen."""
        folds = [row.fold for row in self._shown.window.rows if row.fold is not None]
        if not folds:
            self.deck.notice("nothing to fold here", "muted")
            return
        offset = folds[0].offset
        self._do(lambda session: session.toggle(offset))

    def action_ask(self, what: str) -> None:
        self._asking, self._typed = what, ""
        kept = self._shown.filter if what == "filter" else self._shown.pattern
        if what in ("find", "filter") and kept is not None:
            self._regex, self._any_case = kept.regex, kept.ignore_case
        self.update()

    # --------------------------------------------------------------------------------------- typing

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While something is typed, letters are letters."""
        return not self._asking

    def escape(self) -> bool:
        """What `esc` does here before it leaves the screen: stop typing, stop counting, show
        everything again. Whether it did anything."""
        if self._asking:
            self._asking = ""
            self.update()
            return True
        if self._shown.counting is not None:
            self._do(lambda session: session.stop())
            return True
        if self._shown.filter is not None:
            self._do(lambda session: session.keep(None))
            return True
        if self._shown.pattern is not None:
            self._do(lambda session: session.find(None))
            return True
        return False

    def on_key(self, event: events.Key) -> None:
        if not self._asking:
            return
        event.stop()
        event.prevent_default()
        if event.key == "escape":
            self._asking = ""
        elif event.key == "enter":
            self._answer()
        elif event.key in ("backspace", "ctrl+h"):
            self._typed = self._typed[:-1]
        elif event.key == "ctrl+u":
            self._typed = ""
        elif event.key == "ctrl+r":
            self._regex = not self._regex
        elif event.key == "ctrl+t":
            self._any_case = not self._any_case
        elif event.character and event.is_printable:
            self._typed += event.character
        self.update()

    def on_paste(self, event: events.Paste) -> None:
        if self._asking:
            event.stop()
            self._typed += event.text.splitlines()[0] if event.text else ""
            self.update()

    def _answer(self) -> None:
        from traindeck.console.logs.search import Pattern

        what, text = self._asking, self._typed
        self._asking = ""
        if what in ("find", "filter"):
            pattern = Pattern(text, self._regex, self._any_case) if text else None

            async def search(session: LogSession) -> bool:
                if what == "filter":
                    await session.keep(pattern)
                    return True
                await session.find(pattern)
                if pattern is None:
                    return True
                return await session.next_hit() or await session.next_hit(backward=True)

            self._do(search, f"no {text!r} in this log")
        elif what == "percent":
            with contextlib.suppress(ValueError):
                share = float(text.rstrip(" %"))
                self._do(lambda session: session.to_percent(share))
        elif what == "line":
            if text.replace(",", "").isdecimal():
                number = int(text.replace(",", ""))
                words = f"line {number:,} is not counted yet, or beyond the end"
                self._do(lambda session: session.to_line(number), words)
        elif what == "time":
            moment = _moment(text, self.deck.clock(), self._run)
            if moment is None:
                self.deck.notice(f"{text!r} is no time: write HH:MM or HH:MM:SS", "warn")
            else:
                self._do(lambda session: session.to_time(moment), "nobody noted times for this log")


def _moment(text: str, now: float, run: RunRecord | None) -> float | None:
    """A clock time on the run's last day, at most now."""
    parts = text.strip().split(":")
    if not 2 <= len(parts) <= 3 or not all(part.isdecimal() for part in parts):
        return None
    numbers = [int(part) for part in parts] + [0]
    if numbers[0] > 23 or numbers[1] > 59 or numbers[2] > 59:
        return None
    end = (run.ended if run is not None and run.ended else None) or now
    day = time.localtime(end)
    moment = time.mktime(
        (day.tm_year, day.tm_mon, day.tm_mday, numbers[0], numbers[1], numbers[2], 0, 0, -1)
    )
    return moment if moment <= end else moment - 86400
