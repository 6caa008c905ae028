"""The Config tab of a run: everything it was started from, to be scrolled and searched."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from traindeck.backends.base import RunSpec
from traindeck.backends.errors import TraindeckError
from traindeck.console.present.cells import Line, Span, clean
from traindeck.console.present.numbers import plural
from traindeck.console.present.run_config import config_lines, found_in, marked
from traindeck.console.runs.captured import PACKAGES, PATCH
from traindeck.console.store.records import RunRecord
from traindeck.console.tui import keys
from traindeck.console.tui.services import Services
from traindeck.console.tui.widgets.ask_line import AskLine, Question

from .run_tab import ScrolledTab, visible

CAPTURED = 1 << 20
"""Bytes that are read of what was captured with the code."""

FIND = Question("/", "what to look for", "search")


class ConfigLines(ScrolledTab):
    """The lines."""

    def __init__(self, services: Services, *, id: str | None = None) -> None:
        super().__init__(services, id=id)
        self._spec: RunSpec | None = None
        self._files: dict[str, bytes] = {}
        self._lines: list[Line] = []
        self._made: object = None
        self.text = ""
        self.hits: list[int] = []
        self.hit = 0

    async def read(self, run: RunRecord) -> None:
        self._spec = await self.services.spec(run.id)
        for path in (PACKAGES, PATCH):
            try:
                self._files[path] = await self.services.read_file(run.id, path, CAPTURED)
            except TraindeckError:
                self._files[path] = b""  # nothing of the kind was captured
        self._made = None
        await asyncio.sleep(0)

    def lines(self) -> list[Line]:
        """All of them, made anew when something they depend on is another."""
        run = self.shown
        of = (run and (run.id, run.params), self.size.width, self.deck.painter.glyphs.name)
        if run is not None and of != self._made:
            glyphs = self.deck.painter.glyphs
            self._lines = config_lines(run, self._spec, self._files, self.size.width, glyphs)
            self._made = of
            self.hits = found_in(self._lines, self.text)
        return self._lines

    def length(self) -> int:
        return len(self.lines())

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        if not self.loaded or self.problem:
            return self.note()
        lines = list(visible(self.lines(), self.top, rows))
        if self.text:
            current = self.hits[self.hit] if self.hits else -1
            lines = [
                marked(line, self.text, current=self.top + number == current)
                for number, line in enumerate(lines)
            ]
        return lines

    def find(self, text: str) -> bool:
        """Look for a text from here on. Whether it is there."""
        self.text = text
        self.hits = found_in(self.lines(), text)
        below = [n for n, line in enumerate(self.hits) if line >= self.top]
        self.hit = below[0] if below else 0
        self._reveal()
        return bool(self.hits)

    def step(self, by: int) -> None:
        """To another hit; after the last comes the first."""
        if self.hits:
            self.hit = (self.hit + by) % len(self.hits)
            self._reveal()

    def _reveal(self) -> None:
        if self.hits:
            line = self.hits[self.hit]
            if not self.top <= line < self.top + self.room:
                self.go(line - self.room // 3)
        self.update()
        self.chrome()


class ConfigPane(Vertical, inherit_bindings=False):
    """The lines, and where a search is typed."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(keys.CONFIG)]
    DEFAULT_CSS = """
    ConfigPane { height: 1fr; }
    """

    def __init__(self, services: Services, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ask = AskLine(self._answered)
        self._lines = ConfigLines(services)

    def compose(self) -> ComposeResult:
        yield self._lines
        yield self._ask

    def focus(self, scroll_visible: bool = True) -> ConfigPane:
        """Keys go to the lines, or to the one that is typed."""
        wanted = self._ask.field if self._ask.question else self._lines
        self.screen.set_focus(wanted, scroll_visible)
        return self

    # ------------------------------------------------------------------------------ for the frame

    def show_run(self, run: RunRecord) -> None:
        """Show this run."""
        self._lines.show_run(run)

    def start(self) -> None:
        """The tab is in sight."""
        self._lines.start()

    def stop(self) -> None:
        """The tab is out of sight."""
        self._lines.stop()

    def words(self) -> Sequence[Line]:
        """For the right of the line of tabs."""
        return self._lines.words()

    def context(self) -> Line:
        """The left of the footer."""
        lines = self._lines
        if not lines.text:
            return ()
        if not lines.hits:
            return (Span("no ", "muted"), Span(clean(lines.text), "strong"))
        place = f"hit {lines.hit + 1:,}/{len(lines.hits):,}"
        return (Span(place, "accent bold"), Span(f" {clean(lines.text)}", "muted"))

    def asking_keys(self) -> list[tuple[str, str]]:
        """The footer's keys while something is typed."""
        return self._ask.keys()

    def escape(self) -> bool:
        """Forget the search, if there is one."""
        if not self._lines.text:
            return False
        self._lines.find("")
        return True

    # ------------------------------------------------------------------------------------ actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self._ask.question is not None:
            return False
        return bool(self._lines.hits) or None if action == "hit" else True

    def action_rows(self, by: int) -> None:
        self._lines.action_rows(by)

    def action_pages(self, by: float) -> None:
        self._lines.action_pages(by)

    def action_prefix_g(self) -> None:
        self._lines.action_prefix_g()

    def action_find(self) -> None:
        self._ask.ask(FIND)
        self._lines.chrome()

    def action_hit(self, by: int) -> None:
        self._lines.step(by)

    def _answered(self, text: str | None) -> None:
        self.screen.set_focus(self._lines)
        if text is not None:
            found = self._lines.find(text.strip())
            if text.strip() and not found and self._lines.loaded:
                app = self._lines.deck
                app.notice(f"{plural(0, 'line')} with {clean(text)!r}", "muted")
        self._lines.chrome()
