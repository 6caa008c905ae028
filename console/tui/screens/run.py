"""One run: a line of tabs, the tab in sight, and what can be done to the run.

The frame fetches the run's record again while it is open and hands it to the tab in sight; each tab
reads the rest of what it shows itself. Tab numbers are fixed: 4 and 5 belong to tabs to come. Where
one was (the tab, the place in the log) is kept by run, so that coming back goes on there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from traindeck.backends.errors import TraindeckError
from traindeck.console.present.cells import Line, clean
from traindeck.console.present.run_head import head_line, state_words, tab_line
from traindeck.console.runs.retrying import can_retry
from traindeck.console.store.records import RunRecord
from traindeck.console.tui import keys
from traindeck.console.tui.widgets.bars import HeaderBar
from traindeck.console.tui.widgets.lines import Lines

from .base import DeckScreen
from .run_actions import ask_copy, ask_remove, ask_retry, ask_stop, say_why_not

if TYPE_CHECKING:
    from .run_files import FilesPane

TABS: dict[str, tuple[str, str]] = {
    "overview": ("1", "Overview"),
    "charts": ("2", "Charts"),
    "log": ("3", "Log"),
    "files": ("6", "Files"),
    "config": ("7", "Config"),
}

AGAIN, RARELY = 0.5, 2.0
"""Seconds between looks at the record of an active run, and of one that is over."""

TAB_FIRST = 0.3
"""Seconds after which the metrics of a run that is over are read to the end."""

_WAY_ON = (("2", "charts"), ("3", "log"))
KEPT = 40
"""Runs of which is remembered where one was."""


class Tab(Protocol):
    """What the frame asks of a tab."""

    def show_run(self, run: RunRecord) -> None: ...

    def start(self) -> None:
        """It is in sight."""
        ...

    def stop(self) -> None:
        """It is out of sight."""
        ...

    def escape(self) -> bool:
        """Take `esc` for itself, if there is something to leave. Whether it did."""
        ...


class RunHeader(HeaderBar):
    """The top line: where one is, and the run's state."""

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        run = cast(RunScreen, self.screen).record
        return [head_line(run, cells, self.deck.clock(), self.deck.painter.glyphs)]


class RunScreen(DeckScreen):
    """A run.

    Args:
        run: As the list knows it.
        tab: Which tab is in sight first; "" is the one that was, when one looked last.
    """

    scope = "run"
    title_words = "Run"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(keys.RUN)]
    CSS = """
    RunScreen #tabs { height: 1; }
    RunScreen #body { height: 1fr; }
    """

    def __init__(self, run: RunRecord, tab: str = "") -> None:
        super().__init__()
        self.header_bar = RunHeader()
        self._tab_line = Lines(self._tab_lines, id="tabs")
        self.record = run
        self.tab = tab if tab in TABS else "overview"
        self._returns = not tab
        self._tabs: dict[str, Any] = {}
        self._file: Any = None
        self._said = ""
        self._to_follow = tab == "log" and run.active
        self._measured: int | None = None  # the attempt whose metrics are all there

    def _tab_lines(self, cells: int, rows: int) -> Sequence[Line]:
        """The tabs, the one in sight underlined."""
        return [tab_line(TABS, self.tab, self.chosen(), cells)]

    def body(self) -> ComposeResult:
        yield self._tab_line
        yield Container(id="body")

    async def on_mount(self) -> None:
        kept = self._kept().get(self.record.id)
        if self._returns and isinstance(kept, dict) and kept.get("tab") in TABS:
            self.tab = kept["tab"]
        await self._show(self.tab)
        self.spawn(self._follow())

    def on_descendant_focus(self) -> None:
        """The keys of the tab in sight are known only now."""
        self.update_chrome()

    # ---------------------------------------------------------------------------------- the chrome

    def crumbs(self) -> Sequence[str]:
        return ("Runs", self.record.name)

    def counts(self) -> Sequence[Line]:
        return state_words(self.record, self.deck.clock(), self.deck.painter.glyphs)

    def run_in_hand(self) -> RunRecord:
        return self.record

    def chosen(self) -> Sequence[Line]:
        """What was chosen in the tab in sight."""
        words = getattr(self._now(), "words", None)
        return words() if words is not None else ()

    def context(self) -> Line:
        words = getattr(self._now(), "context", None)
        return words() if words is not None else ()

    def update_chrome(self) -> None:
        super().update_chrome()
        self._tab_line.update()

    def footer_keys(self) -> list[tuple[str, str]]:
        asking = getattr(self._now(), "asking_keys", None)
        shown = (asking() if asking is not None else []) or super().footer_keys()
        # The tabs are numbered above; from the first one the way on is named.
        return [item for item in shown if self.tab == "overview" or item not in _WAY_ON]

    def label_of(self, action: keys.Action) -> str:
        label_of = getattr(self._now(), "label_of", super().label_of)
        return str(label_of(action))

    def acted(self) -> None:
        self.spawn(self._look())

    def name_of(self, run_id: str) -> str:
        return self.record.name or run_id

    # ------------------------------------------------------------------------------------ the tabs

    def _made(self, name: str) -> Any:
        """The pane of a tab, made when it is first shown."""
        found = self._tabs.get(name)
        if found is not None:
            return found
        services = self.deck.services
        if name == "charts":
            from .run_charts import ChartsPane

            found = ChartsPane(services)
            ui = self.deck.ui
            found.restore(
                {
                    "smoothing": ui.get("charts", "smoothing", int, 2),
                    "axis": ui.get("charts", "axis", str, "step"),
                    "log": ui.get("charts", "log", bool, False),
                }
            )
        elif name == "log":
            from .run_log import LogPane

            # Who asked for the log of a run that goes on wants its end; tab 3 is where one was.
            spot = None if self._to_follow else self._spot()
            wrap = self.deck.ui.get("log", "wrap", bool, False)
            found = LogPane(services, spot=spot, wrap=wrap)
        else:
            found = _pane_of(name)(services)
        self._tabs[name] = found
        return found

    async def _show(self, name: str) -> None:
        old = self._tabs.get(self.tab)
        if old is not None and name != self.tab:
            old.stop()
            old.display = False
        if self._file is not None and name != "files":
            self._file.stop()
            self._file.display = False
        self.tab = name
        pane = self._file if self._file is not None and name == "files" else self._made(name)
        if not pane.is_mounted:
            if pane.is_attached:
                return  # on its way: shown when it is there
            await self.query_one("#body").mount(pane)
            if pane is not self._now():  # another key came meanwhile
                pane.display = False
                return
        pane.display = True
        pane.show_run(self.record)
        pane.focus()
        pane.start()
        self.update_chrome()

    def _now(self) -> Any:
        if self._file is not None and self.tab == "files":
            return self._file
        return self._tabs.get(self.tab)

    async def on_files_pane_opened(self, event: FilesPane.Opened) -> None:
        """A file of the run, read as its log is: whatever is in it does no harm."""
        from .run_log import LogPane

        if self.tab != "files" or self._file is not None:
            return  # another key came first
        self._tabs["files"].stop()
        self._tabs["files"].display = False
        self._file = LogPane(self.deck.services, path=event.path)
        await self._show("files")

    async def _close_file(self) -> None:
        file, self._file = self._file, None
        file.stop()
        await file.remove()
        await self._show("files")

    # --------------------------------------------------------------------------- where one was

    def _kept(self) -> dict[str, Any]:
        kept: dict[str, Any] = self.deck.ui.get("run", "places", dict, {})
        return kept

    def _spot(self) -> Any:
        from traindeck.console.runs.log_shown import Spot

        kept = self._kept().get(self.record.id)
        place = kept.get("log") if isinstance(kept, dict) else None
        if not isinstance(place, list) or len(place) != 3:
            return None
        offset, identity, wrap = place
        if not isinstance(offset, int) or not isinstance(identity, str):
            return None
        return Spot(offset=offset, identity=identity, wrap=wrap is True)

    def _remember(self) -> None:
        kept = {run: value for run, value in self._kept().items() if run != self.record.id}
        log = self._tabs.get("log")
        spot = log.spot() if log is not None else self._spot()
        if log is not None:
            self.deck.ui.put("log", wrap=log.wraps)
        here: dict[str, Any] = {"tab": self.tab}
        if spot is not None:
            here["log"] = [spot.offset, spot.identity, spot.wrap]
        kept[self.record.id] = here
        self.deck.ui.put("run", places=dict(list(kept.items())[-KEPT:]))

    async def _follow(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(AGAIN if self.record.active else RARELY)

    async def _look(self) -> None:
        try:
            found = await self.deck.services.run(self.record.id)
        except TraindeckError as error:
            if error.what != self._said:  # once, not at every look
                self._said = error.what
                self.deck.complain(error)
            return
        self._said = ""
        if found is None:
            self._gone()
            return
        if found != self.record:
            self.record = found
            pane = self._now()
            if pane is not None:
                pane.show_run(found)
        self.update_chrome()
        if not found.active and self._measured != found.attempt:
            self._measured = found.attempt
            # The tab that was opened comes first: both are read by one thread.
            self.set_timer(TAB_FIRST, self._read_on)

    def _read_on(self) -> None:
        self.spawn(self._measure(), "reading what it measured")

    async def _measure(self) -> None:
        """What the looks of the list have left: a process reads it, which is waited for."""
        await self.deck.services.measure(self.record.id)
        await self._look()

    def _gone(self) -> None:
        """It was removed, here or elsewhere: there is nothing left to show."""
        if self.is_current:
            self.deck.notice(f"{clean(self.record.name)} was removed", "muted")
            self._leave()

    # ------------------------------------------------------------------------------------- actions

    async def action_tab(self, name: str) -> None:
        await self._show(name)

    def action_back(self) -> None:
        pane = self._now()
        if pane is not None and pane.escape():
            self.update_chrome()
        elif self._file is not None and self.tab == "files":
            self.spawn(self._close_file())
        else:
            self._leave()

    def action_leave(self) -> None:
        self._leave()

    def _leave(self) -> None:
        charts = self._tabs.get("charts")
        if charts is not None:
            self.deck.ui.put("charts", **charts.state())
        self._remember()
        self.deck.pop_screen()

    async def on_unmount(self) -> None:
        self._remember()
        await super().on_unmount()

    def on_key(self, event: events.Key) -> None:
        say_why_not(self, event.key, [self.record])

    def action_stop(self) -> None:
        ask_stop(self, [self.record])

    def action_retry(self) -> None:
        ask_retry(self, [self.record])

    def action_remove(self) -> None:
        ask_remove(self, [self.record])

    def action_shell(self) -> None:
        from .reaching import open_shell

        open_shell(self.deck, self.record)

    def action_forward(self) -> None:
        from .reaching import ask_forward

        ask_forward(self.deck, self.record)

    def action_copy(self) -> None:
        ask_copy(self, self.record)

    def action_edit(self) -> None:
        from .run_edit import EditScreen

        def edited(changed: bool | None) -> None:
            if changed:
                self.acted()

        self.app.push_screen(EditScreen(self.record), edited)

    def action_launch_again(self) -> None:
        self.deck.open_launch(self.record)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        from .index import SCREENS

        if action == "stop":
            return self.record.stoppable or None
        if action == "retry":
            return can_retry(self.record) or None  # the key says why not
        if action == "remove":
            return self.record.removable or None
        if action == "launch_again":
            return "launch" in SCREENS
        return True


def _pane_of(name: str) -> Any:
    """The class of a tab that is imported only when it is opened."""
    if name == "files":
        from .run_files import FilesPane

        return FilesPane
    if name == "config":
        from .run_config import ConfigPane

        return ConfigPane
    from .run_overview import OverviewPane

    return OverviewPane
