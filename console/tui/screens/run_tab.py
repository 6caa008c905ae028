"""What the quiet tabs of a run share: one run in sight, what it takes beyond the record read in the
background, and lines that are longer than the screen."""

from __future__ import annotations

import time
from collections.abc import Sequence

from textual.widget import Widget

from traindeck.backends.errors import TraindeckError
from traindeck.console.present.cells import Line, Span, clean
from traindeck.console.store.records import RunRecord
from traindeck.console.tui.services import Services
from traindeck.console.tui.widgets.lines import Lines

SECOND_G = 1.0
"""Seconds within which the second `g` must follow the first."""


def update_chrome(tab: Widget) -> None:
    """The lines around a tab say how it is looked at, and which keys do something now. Nothing for
    one that is not shown, or whose screen has gone while something was read for it."""
    if tab.is_mounted and tab.is_attached and tab.display:
        update = getattr(tab.screen, "update_chrome", None)
        if update is not None:
            update()


class RunTab(Lines, can_focus=True, inherit_bindings=False):
    """A tab that shows one run.

    Attributes:
        shown: The run.
        loaded: Whether everything has been read at least once.
        problem: Why it cannot be read, in words; "" if it can.
    """

    DEFAULT_CSS = "RunTab { height: 1fr; }"

    keys_in_order = True
    """It edits no text: the application may act on its keys at once."""

    def __init__(self, services: Services, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.services = services
        self.shown: RunRecord | None = None
        self.loaded = False
        self.problem = ""
        self._reading = False
        self._again_then = False

    def show_run(self, run: RunRecord) -> None:
        """Show this run; call again whenever its record is new."""
        another = self.shown is not None and self.shown.attempt != run.attempt
        self.shown = run
        self.update()
        if another:
            self.load()

    def start(self) -> None:
        """The tab is in sight."""
        self.load()

    def stop(self) -> None:
        """The tab is out of sight."""

    def focus(self, scroll_visible: bool = True) -> RunTab:
        """At once: the next key may be here already."""
        self.screen.set_focus(self, scroll_visible)
        return self

    def escape(self) -> bool:
        """What `esc` does here before it leaves the screen. Whether it did anything."""
        return False

    def load(self) -> None:
        """Read what there is; once more when that is going on."""
        self._again_then = self._reading
        if not self._reading and self.shown is not None:
            self._reading = True
            self.deck.start(self._load(self.shown), "")

    async def _load(self, run: RunRecord) -> None:
        try:
            await self.read(run)
            self.problem, self.loaded = "", True
        except TraindeckError as error:
            self.problem = str(error)
        finally:
            self._reading = False
            if self._again_then and self.is_mounted:
                self.load()
        self.update()
        self.chrome()

    async def read(self, run: RunRecord) -> None:
        """Fetch what the tab shows beyond the record."""
        raise NotImplementedError

    def chrome(self) -> None:
        """Other keys do something now than before: the footer is to say so."""
        update_chrome(self)

    def note(self) -> list[Line]:
        """What is said while there is nothing to show."""
        if self.problem:
            sign = self.deck.painter.glyphs.warning
            return [(), (Span(f"  {sign} ", "warn"), Span(clean(self.problem)))]
        return [(), (Span("   nothing here" if self.loaded else "   reading", "muted"),)]


class ScrolledTab(RunTab):
    """A tab whose lines are longer than the screen, with a place in them."""

    def __init__(self, services: Services, *, id: str | None = None) -> None:
        super().__init__(services, id=id)
        self.top = 0
        self._g = 0.0

    @property
    def room(self) -> int:
        """Rows for lines."""
        return max(1, self.size.height)

    def length(self) -> int:
        """How many lines there are."""
        raise NotImplementedError

    def go(self, top: int) -> None:
        """Show the lines from this one on, as far as there are so many."""
        self.top = max(0, min(top, self.length() - self.room))
        self.update()

    def action_rows(self, by: int) -> None:
        self.go(self.top + by)

    def action_pages(self, by: float) -> None:
        self.action_rows(round(by * max(1, self.room - 1)))

    def action_prefix_g(self) -> None:
        """`g g` goes to the top; one `g` alone waits a second for the other."""
        now = time.monotonic()
        if now - self._g < SECOND_G:
            self._g = 0.0
            self.action_rows(-self.length())
        else:
            self._g = now

    def words(self) -> Sequence[Line]:
        """Where one is, for the right of the line of tabs."""
        count = self.length()
        if count <= self.room or not self.size.height:  # not laid out yet
            return ()
        last = min(count, self.top + self.room)
        place = (
            Span("line ", "muted"),
            Span(f"{self.top + 1:,}–{last:,}", "text"),
            Span(f" of {count:,}", "muted"),
        )
        return (place,)


def visible(lines: Sequence[Line], top: int, rows: int) -> Sequence[Line]:
    """The lines that are on the screen."""
    return lines[top : top + rows]
