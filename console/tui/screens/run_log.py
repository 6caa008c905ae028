"""The Log tab: a log of any size, searched, filtered and followed without waiting for it.

The session does the work elsewhere. Keys become requests (run_log_requests); looking goes on beside
them. While a log grows it is looked at five times a second, and only what is different is painted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from traindeck.backends.errors import TraindeckError
from traindeck.console.present.cells import Line, Span, clean
from traindeck.console.present.log_view import (
    Subject,
    after_rows,
    body,
    choices,
    footing,
    startable,
    status,
    text_cells,
)
from traindeck.console.runs.log_shown import LogShown, Spot
from traindeck.console.store.records import RunRecord, failed_rank
from traindeck.console.tui import keys
from traindeck.console.tui.widgets.ask_line import AskLine, Question
from traindeck.console.tui.widgets.lines import Lines

from .run_log_requests import Requests, nothing
from .run_tab import SECOND_G, update_chrome

if TYPE_CHECKING:
    from traindeck.console.logs.search import Pattern
    from traindeck.console.runs.log_session import LogSession
    from traindeck.console.tui.app import TraindeckApp
    from traindeck.console.tui.services import Services

ACTIVE, QUIET, OVER = 0.2, 0.5, 2.0
"""Seconds between looks: while there is something new each time, while something may come, and when
nothing more will."""

UPWARDS = "none below: the nearest above"
"""What is said where a search has turned back."""

QUESTIONS = {
    "find": Question("/", "what to look for; nothing: the same again", "search", True),
    "filter": Question("&", "only lines with it; nothing shows all", "filter", True),
    "percent": Question("%", "0 to 100", "go"),
    "time": Question("time", "HH:MM or HH:MM:SS", "go"),
    "line": Question("line", "its number", "go"),
}

_NOTHING = {
    "error": "no error so far",
    "try": "nothing to try again",
    "fold": "nothing to fold here",
    "ask('time')": "nobody noted times for this log",
}
"""What is said to a key that there is nothing for."""


class LogPane(Vertical, inherit_bindings=False):
    """Shows one log of a run, or one of its files as if it were a log.

    Args:
        path: A file of the run's directory; "" is the run's log.
        spot: Where to begin instead of at the end.
        wrap: Whether long lines go on below, where no spot says it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(keys.LOG)]
    DEFAULT_CSS = """
    LogPane { height: 1fr; }
    LogPane > LogRows { height: 1fr; }
    """

    def __init__(
        self,
        services: Services,
        *,
        path: str = "",
        spot: Spot | None = None,
        wrap: bool = False,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._services = services
        self._path = path
        self._spot = spot
        self._run: RunRecord | None = None
        self._attempt: int | None = None
        self._rank = 0
        self._ranks: Sequence[int] = ()
        self._session: LogSession | None = None
        self.shown = LogShown()
        self._opened = False
        self._wrap = wrap if spot is None else spot.wrap
        self._asking = ""
        self._asked: set[str] = set()
        """What was searched or filtered for: `/loss`, enter, `N` may come in one burst."""
        self._g = 0.0
        self._requests = Requests(self)
        self._tasks: list[asyncio.Task[None]] = []
        self._looking = asyncio.Lock()
        self._status = Lines(lambda cells, _: [self.status_line(cells)])
        self._ask = AskLine(self._answered)
        self._rows = LogRows()

    def compose(self) -> ComposeResult:
        yield self._status
        yield self._ask
        yield self._rows

    @property
    def deck(self) -> TraindeckApp:
        """The application, with its own type."""
        from traindeck.console.tui.app import TraindeckApp

        assert isinstance(self.app, TraindeckApp)
        return self.app

    @property
    def settled(self) -> bool:
        """Whether everything that was asked for is on the screen, and all there is to know too."""
        shown = self.shown
        ranked = shown.hit is not None or not shown.hits
        asked = self._requests.busy or self._ask.question is not None
        return self._opened and not asked and not shown.busy and ranked

    @property
    def subject(self) -> Subject | None:
        """What is shown."""
        if self._run is None:
            return None
        attempt = self._run.attempt if self._attempt is None else self._attempt
        return Subject(
            run=self._run,
            path=self._path,
            attempt=attempt,
            rank=self._rank,
            ranks=self._ranks,
        )

    # -------------------------------------------------------------------------------- from outside

    def focus(self, scroll_visible: bool = True) -> LogPane:
        """Keys go to the log, or to the line that is typed."""
        self.screen.set_focus(self._ask.field if self._asking else self._rows, scroll_visible)
        return self

    def show_run(self, run: RunRecord) -> None:
        """Show this run's log from now on."""
        before = self._run
        self._run = run
        if before is None and self._spot is None and not self._path:
            self._rank = failed_rank(run.reason)[0]
        if before is not None and (before.id, before.attempt) != (run.id, run.attempt):
            self._attempt = None
            self._spot = None
            self._restart()
        else:
            turned = before is not None and (before.state, before.reach) != (run.state, run.reach)
            if turned and self._tasks:
                self._tasks.append(self.deck.start(self._look_for_ranks(), ""))
            self._paint()

    def start(self) -> None:
        """The tab is in sight: look at the log until `stop`."""
        if not self._tasks:
            self._tasks = [
                self.deck.start(self._live(), ""),
                self.deck.start(self._look_for_ranks(), ""),
                self.deck.start(self._requests.serve(), ""),
            ]

    def stop(self) -> None:
        """The tab is out of sight."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    def spot(self) -> Spot | None:
        """The place to come back to; None is the end."""
        at_end = self.shown.window.at_end or self.shown.following
        return None if at_end or not self._opened else self.shown.spot

    @property
    def wraps(self) -> bool:
        """Whether long lines go on below."""
        return self._wrap

    async def on_unmount(self) -> None:
        self.stop()
        session, self._session = self._session, None
        if session is not None:
            await session.aclose()  # its processes end before the program does

    def _forget_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self.deck.start(session.aclose(), "")

    def _restart(self) -> None:
        self._forget_session()
        self.shown, self._opened = LogShown(), False
        self._requests.clear()
        self._paint()
        if self._tasks:
            self.stop()
            self.start()

    # ------------------------------------------------------------------------------ what goes on

    async def _live(self) -> None:
        while True:
            await self.look()
            shown = self.shown
            pause = ACTIVE if shown.busy or shown.following else OVER if shown.over else QUIET
            await asyncio.sleep(pause)

    async def _look_for_ranks(self) -> None:
        """Which ranks there are: a job on several nodes has a log on each."""
        subject = self.subject
        if subject is None or subject.path:
            return
        try:
            found = await self._services.ranks(subject.run.id, subject.attempt)
        except TraindeckError:
            return  # why its place does not answer the log says
        now = self.subject
        if now is None or (now.run.id, now.attempt) != (subject.run.id, subject.attempt):
            return
        self._ranks = tuple(found)
        self._paint()

    @property
    def has_room(self) -> bool:
        """Whether there are rows to show anything in (see `resized`)."""
        return bool(self._rows.size.height)

    async def session(self) -> LogSession | None:
        """The open log; opened now if it is not yet. None if it cannot be."""
        if self._session is None:
            await self.look()
        return self._session

    async def look(self, *, refresh: bool = True) -> None:
        """Look at the log, and show what is there."""
        async with self._looking:
            subject, cells, rows = self.subject, self._rows.size.width, self._rows.size.height
            if subject is None or rows < 1:
                return
            try:
                shown = await self._shown(subject, cells, rows, refresh)
            except TraindeckError as error:
                shown = LogShown(problem=str(error))
            if (now := self.subject) is None or now.attempt != subject.attempt:
                return
            if now.rank != subject.rank:
                return
            if shown.problem and self.shown.window.rows:
                # What was read stays in sight; that nobody answers is said beside it.
                shown = replace(self.shown, broken=shown.problem, link=shown.link)
            self.shown, self._opened = shown, True
        self._paint()

    async def _shown(self, subject: Subject, cells: int, rows: int, refresh: bool) -> LogShown:
        if self._session is None:
            self._session = await self._open(subject)
        session = self._session

        def width(shown: LogShown) -> int:
            return text_cells(cells, timed=shown.timed)

        def below(shown: LogShown) -> int:
            return after_rows(shown, subject, cells)

        before = self.shown
        shown = await session.look(rows, width(before), below=below(before), refresh=refresh)
        if below(shown) != below(before) or width(shown) != width(before):
            shown = await session.look(rows, width(shown), below=below(shown), refresh=False)
        return shown

    async def _open(self, subject: Subject) -> LogSession:
        if self._path:
            return await self._services.open_file(subject.run.id, self._path)
        spot, self._spot = self._spot, None
        if spot is None and self._wrap:
            spot = Spot(wrap=True)  # no place, only how it is shown
        return await self._services.open_log(
            subject.run.id, subject.attempt, rank=subject.rank, spot=spot
        )

    def _paint(self) -> None:
        if self.is_mounted:
            self._status.update()
            self._rows.update()
            self.chrome()

    def chrome(self) -> None:
        """Other keys do something now than before: the footer is to say so."""
        update_chrome(self)

    # -------------------------------------------------------------------------------------- content

    def status_line(self, cells: int) -> Line:
        """The line above the log."""
        subject = self.subject
        return status(self.shown, subject, cells) if subject is not None and self._opened else ()

    def rows(self, cells: int, rows: int) -> Sequence[Line]:
        """The log."""
        subject = self.subject
        if subject is None or not self._opened:
            return [(), (Span("   opening the log", "muted"),)]
        return body(self.shown, subject, cells, rows, glyphs=self.deck.painter.glyphs)

    def words(self) -> Sequence[Line]:
        """What was chosen, for the right of the line of tabs."""
        subject = self.subject
        return choices(self.shown, subject) if subject and self._opened else ()

    def context(self) -> Line:
        """The left of the footer."""
        glyphs, now = self.deck.painter.glyphs, self.deck.clock()
        return footing(self.shown, glyphs, self._requests.doing, now)

    def resized(self) -> None:
        """There is another number of rows or cells."""
        self._requests.add(nothing)

    # -------------------------------------------------------------------------------------- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What does nothing here and now is shown nowhere."""
        if self._asking and action != "switch":
            return False
        shown = self.shown
        if action == "rank":
            return len(self._ranks) > 1 and not self._path
        if shown.problem and action != "attempt":
            return False
        if action == "try":
            return bool(self._tries()) or None
        if action == "attempt":
            return self._run is not None and self._run.attempt > 0 and not self._path
        if action == "follow":
            return not shown.over
        if action == "hit":
            return shown.pattern is not None or "find" in self._asked or None
        if action == "peek":
            asked = "filter" in self._asked and self._requests.busy
            return asked or shown.aside or (shown.filtered and bool(shown.window.rows)) or None
        if action == "error":
            places = (shown.first_error, shown.finding, shown.not_finite)
            return any(place is not None for place in places) or None
        if action == "ask" and parameters == ("time",):
            return shown.timed or None
        if action == "fold":
            return any(row.fold is not None for row in shown.window.rows) or None
        if action == "side":
            return not self._wrap
        return True

    def action_rows(self, by: int) -> None:
        self._requests.scroll(by, step=True)

    def wheel(self, rows: int) -> None:
        """A turn of the mouse's wheel."""
        self._requests.scroll(rows)

    def action_pages(self, by: float) -> None:
        self._requests.scroll(round(by * max(1, self._rows.size.height - 1)))

    def action_first(self) -> None:
        self._requests.add(lambda session: session.to_start())

    def action_prefix_g(self) -> None:
        now = time.monotonic()
        if now - self._g < SECOND_G:
            self._g = 0.0
            self.action_first()
        else:
            self._g = now

    def action_last(self) -> None:
        self._requests.add(lambda session: session.to_end())

    def action_follow(self) -> None:
        wanted = not self.shown.following
        self._requests.add(lambda session: session.choose(following=wanted))

    def action_wrap(self) -> None:
        wanted = self._wrap = not self._wrap
        self._requests.add(lambda session: session.choose(wrap=wanted))

    def action_side(self, by: int) -> None:
        self._requests.add(lambda session: session.side(by))

    def on_key(self, event: events.Key) -> None:
        """A key for what is not there says so."""
        bound = self.screen.active_bindings.get(event.key)
        if bound is not None and not bound.enabled and bound.binding.action in _NOTHING:
            self._requests.refuse(self._nothing(bound.binding.action))

    def action_error(self) -> None:
        self._requests.add(lambda session: session.to_error(), otherwise=self._nothing("error"))

    def _nothing(self, action: str) -> str:
        """What is said to a key that there is nothing for."""
        if action != "error" or not self.shown.over:
            return _NOTHING[action]
        failed, named = failed_rank(self._run.reason) if self._run is not None else (0, "")
        elsewhere = named and failed != self._rank and failed in self._ranks
        return f"no error in it; rank {failed} failed first" if elsewhere else "no error in it"

    def action_hit(self, backward: bool) -> None:
        words = "no hit before this one" if backward else "no hit after this one"
        self._requests.add(
            lambda session: session.next_hit(backward=backward),
            otherwise=words,
            doing="searching",
        )

    def action_fold(self) -> None:
        self._requests.add(lambda session: session.fold(), otherwise=_NOTHING["fold"])

    def action_peek(self) -> None:
        self._requests.add(lambda session: session.peek(), otherwise="no line has it")

    def action_attempt(self) -> None:
        """The attempt before this one; before the first one the present one."""
        subject = self.subject
        if subject is not None and subject.run.attempt:
            self._attempt = (subject.attempt - 1) % (subject.run.attempt + 1)
            self._spot = None
            self._restart()

    def action_rank(self, by: int) -> None:
        """Another rank's log, the first after the last; what was searched for is, there too."""
        ranks, before = self._ranks, self.shown
        at = ranks.index(self._rank) if self._rank in ranks else 0
        self._rank = ranks[(at + by) % len(ranks)]
        self._spot = None
        self._restart()
        if before.filter is not None:
            self._search("filter", before.filter)
        if (pattern := before.pattern) is None:
            return
        if before.following:  # who follows the end goes on with it; what is found is marked
            self._asked.add("find")
            self._requests.add(lambda session: session.find(pattern))
        else:
            self._search("find", pattern)

    # --- tries

    def _tries(self) -> dict[str, Any]:
        subject = self.subject
        if subject is None or not subject.current or not self.shown.over:
            return {}
        return startable(self.shown.finding, subject.run)

    def action_try(self) -> None:
        """Choose one of what can be tried; it is started as a run of its own."""
        from .overlay import MenuScreen

        class TryMenu(MenuScreen):
            wanted_cells = 76

        tries = self._tries()
        items = [(letter, clean(found.text), letter) for letter, found in tries.items()]

        def chosen(letter: str | None) -> None:
            if letter is not None and self._run is not None:
                work = self._start(self._run, dict(tries[letter].env))
                self.deck.start(work, f"starting {clean(self._run.name)} again")

        self.app.push_screen(TryMenu("Start a new run like this one", items), chosen)

    async def _start(self, run: RunRecord, env: dict[str, str]) -> None:
        outcome = await self._services.again(run.id, env)
        words = " ".join(f"{name}={value}" for name, value in env.items())
        name = Span(clean(outcome.text or outcome.run_id), "strong")
        self.deck.notice((Span("started ", "text"), name, Span(f" with {clean(words)}", "muted")))

    # --------------------------------------------------------------------------------------- typing

    def action_ask(self, what: str) -> None:
        """Let something be typed."""
        self._asking = what
        kept = self.shown.filter if what == "filter" else None
        if kept is not None:
            self._ask.regex, self._ask.any_case = kept.regex, kept.ignore_case
        self._status.display = False
        self._ask.ask(QUESTIONS[what], kept.text if kept is not None else "")
        self.chrome()

    def label_of(self, action: keys.Action) -> str:
        """The word for an action in the footer, here and now."""
        aside = action.id == "log.peek" and self.shown.aside
        return "filter again" if aside else action.label

    def asking_keys(self) -> list[tuple[str, str]]:
        """The footer's keys while something is typed."""
        return self._ask.keys()

    def _answered(self, text: str | None) -> None:
        what, self._asking = self._asking, ""
        self._status.display = True
        self.screen.set_focus(self._rows)
        if text is not None:
            self._take(what, text)
        self.chrome()

    def _take(self, what: str, text: str) -> None:
        if what == "find" and not text:
            if self.shown.pattern is not None:
                self.action_hit(False)  # the same again
        elif what in ("find", "filter"):
            from traindeck.console.logs.search import Pattern

            found = Pattern(text, self._ask.regex, self._ask.any_case) if text else None
            self._search(what, found)
        elif what == "percent":
            share = _number(text.strip().removesuffix("%"))
            if not 0 <= share <= 100:
                self._requests.refuse(f"{text!r} is no percentage: write 0 to 100")
            else:
                self._requests.add(lambda session: session.to_percent(share))
        elif what == "line":
            number = _number(text.replace(",", ""))
            if not (1 <= number < math.inf and number == int(number)):
                self._requests.refuse(f"{text!r} is no line: write its number")
            else:
                words = f"line {int(number):,} is not counted yet, or beyond the end"
                self._requests.add(lambda session: session.to_line(int(number)), otherwise=words)
        elif what == "time":
            from traindeck.console.logs.times import moment_of

            ended = self._run.ended if self._run is not None else None
            moment = moment_of(text, ended or self.deck.clock())
            if moment is None:
                self._requests.refuse(f"{text!r} is no time: write HH:MM or HH:MM:SS")
            else:
                words = _NOTHING["ask('time')"]
                self._requests.add(lambda session: session.to_time(moment), otherwise=words)

    def _search(self, what: str, pattern: Pattern | None) -> None:
        async def search(session: LogSession) -> bool | str:
            if what == "filter":
                await session.keep(pattern)
                return True
            await session.find(pattern)
            if pattern is None:
                return True
            if await session.next_hit():
                return True
            # From the end of a log what there is lies above. Like `n` it does not begin anew.
            return await session.next_hit(backward=True) and UPWARDS

        self._asked -= {what}
        if pattern is not None:
            self._asked.add(what)
        where = "the filtered lines" if self.shown.filtered else "this log"
        words = f"no '{clean(pattern.text)}' in {where}" if pattern else ""
        self._requests.add(search, otherwise=words, doing="searching" if pattern else "")

    def escape(self) -> bool:
        """What `esc` does here before it leaves the screen: stop what is going on, go back to a
        filter that is set aside, show everything again, forget the search. Whether it did
        anything."""
        if self._requests.doing or self.shown.counting is not None:
            self._requests.stop()
            if self._session is not None:
                self.deck.start(self._session.stop(), "")
        elif self.shown.aside:
            self.action_peek()
        elif self.shown.filter is not None:
            self._search("filter", None)
        elif self.shown.pattern is not None:
            self._search("find", None)
        else:
            return False
        return True


class LogRows(Lines, can_focus=True, inherit_bindings=False):
    """The log, its map, and what stands after its end."""

    keys_in_order = True
    """It edits no text: the application may act on its keys at once, and over a slow link
    `/loss`, enter, `N` arrive at once."""

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        pane = self.parent
        assert isinstance(pane, LogPane)
        return pane.rows(cells, rows)

    def on_resize(self) -> None:
        super().on_resize()
        pane = self.parent
        assert isinstance(pane, LogPane)
        pane.resized()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, 3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, -3)

    def _wheel(self, event: events.MouseEvent, rows: int) -> None:
        event.stop()
        pane = self.parent
        assert isinstance(pane, LogPane)
        pane.wheel(rows)


def _number(text: str) -> float:
    """A number that a person typed; NaN if it is none."""
    try:
        return float(text) if len(text) < 20 else math.nan
    except ValueError:
        return math.nan
