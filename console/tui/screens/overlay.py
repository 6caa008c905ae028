"""What lies over a screen: dialogs, menus, help, palette. One at a time, the rest is dimmed.

An overlay draws one panel with an edge on the left and keeps the footer for its own keys. `esc`
always leaves it without doing anything.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from rich.console import RenderableType
from textual import events
from textual.app import ComposeResult
from textual.geometry import Size
from textual.renderables.background_screen import BackgroundScreen
from textual.screen import ModalScreen

from traindeck.console.present.cells import Line, Span, fit, width
from traindeck.console.present.dialogs import Choice, choices, error_lines, panel
from traindeck.console.tui.widgets.bars import FooterBar
from traindeck.console.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from traindeck.console.tui.app import TraindeckApp

T = TypeVar("T")


class Panel(Lines):
    """The panel of an overlay, as large as what its overlay says."""

    ground = "raised"
    DEFAULT_CSS = "Panel { width: auto; height: auto; }"

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        overlay = self.screen
        assert isinstance(overlay, Overlay)
        lines = overlay.lines(overlay.inner_cells)
        return panel(lines, cells, overlay.edge, self.deck.painter.glyphs)[:rows]

    def get_content_width(self, container: Size, viewport: Size) -> int:
        overlay = self.screen
        assert isinstance(overlay, Overlay)
        return overlay.inner_cells + 6

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        overlay = self.screen
        assert isinstance(overlay, Overlay)
        return min(len(overlay.lines(overlay.inner_cells)) + 2, viewport.height - 1)


class Overlay(ModalScreen[T]):
    """Base of everything that lies over a screen.

    Attributes:
        wanted_cells: Width of the text, if the terminal allows it.
        edge: Token for the edge's colour.
    """

    wanted_cells: int = 70
    edge: str = "accent"
    AUTO_FOCUS = ""
    DEFAULT_CSS = """
    Overlay { layers: base; align: center middle; }
    Overlay > FooterBar { dock: bottom; }
    """

    def compose(self) -> ComposeResult:
        yield Panel()
        yield FooterBar()

    @property
    def deck(self) -> TraindeckApp:
        """The application, with its own type."""
        from traindeck.console.tui.app import TraindeckApp

        assert isinstance(self.app, TraindeckApp)
        return self.app

    @property
    def inner_cells(self) -> int:
        """Cells for text in the panel. One that does not fit with some room around it takes the
        whole width: a few columns of the screen below beside it would only be noise."""
        cells = self.app.size.width
        return max(10, self.wanted_cells if self.wanted_cells + 10 <= cells else cells - 6)

    @property
    def inner_rows(self) -> int:
        """Rows for text in the panel, at most."""
        return max(3, self.app.size.height - 4)

    def lines(self, cells: int) -> list[Line]:
        """What the panel says."""
        return []

    def context(self) -> Line:
        """The left of the footer."""
        return ()

    def footer_keys(self) -> list[tuple[str, str]]:
        """The keys of this overlay."""
        return [("esc", "close")]

    def take_key(self, event: events.Key) -> None:
        """A key, while no field has the focus. Called by the application, in order."""
        if event.key in ("escape", "ctrl+c"):
            self.dismiss(None)

    def changed(self) -> None:
        """What the panel says is something else now."""
        for part in self.query(Panel):
            part.repaint()
            part.refresh(layout=True)
        for bar in self.query(FooterBar):
            bar.update()

    def render(self) -> RenderableType:
        below = super().render()
        if isinstance(below, BackgroundScreen):
            return _Dimmed(below, self.deck)
        return below

    def repaint(self) -> None:
        """The theme is another one."""
        self.refresh()


def around(rows: Sequence[Line], at: int, limit: int) -> list[Line]:
    """At most `limit` of the rows, the one at `at` among them."""
    top = min(max(0, at - limit // 2), max(0, len(rows) - limit))
    return list(rows[top : top + limit])


JUMPS = ("home", "end", "pageup", "pagedown")


def jumped(key: str, at: int, count: int, page: int) -> int:
    """Where a key of JUMPS leads in a list of `count`."""
    step = {"home": -count, "end": count, "pageup": -page, "pagedown": page}[key]
    return min(max(0, at + step), count - 1)


class _Dimmed(BackgroundScreen):
    """The screen below, without most of its ink."""

    def __init__(self, below: BackgroundScreen, deck: TraindeckApp) -> None:
        super().__init__(below.screen, below.color)
        self._deck = deck

    def __rich_console__(self, console, options):  # type: ignore[no-untyped-def]
        segments = console.render(self.screen._compositor, options)
        yield from self._deck.painter.dim(segments)


class ChoiceScreen(Overlay[str | None]):
    """A question with a few answers, each on its own key. Returns the result of the one taken, or
    None: `esc` is always there and always safe. `body` is laid out for the cells and rows that
    there are. A harmful answer is one to what was seen: a key that came before the question was
    painted, or that repeats itself (the one that opened it, tapped twice or held), is none."""

    typing = False  # a letter is an answer, and no text

    def __init__(
        self,
        body: Callable[[int, int], Sequence[Line]],
        options: Sequence[Choice],
        *,
        edge: str = "warn",
        note: Line = (),
    ) -> None:
        super().__init__()
        self._body = body
        self.edge = edge
        self._note = note
        self._painted = math.inf
        self.offer(*options)

    def on_mount(self) -> None:
        self.deck.hush()  # what was said before is not about this question

    def was_painted(self) -> None:
        """It stands on the screen. Called by the application."""
        self._painted = min(self._painted, time.monotonic())

    def offer(self, *options: Choice) -> None:
        """The answers there are from now on."""
        self._options = list(options)
        self._focus = next((n for n, o in enumerate(options) if not o.harmful), 0)

    def lines(self, cells: int) -> list[Line]:
        below = [(), (), *choices(self._options, self._focus, cells)]
        return [*self._body(cells, self.inner_rows - len(below)), *below]

    def context(self) -> Line:
        return self._note

    def footer_keys(self) -> list[tuple[str, str]]:
        return [(option.key, option.label) for option in self._options]

    def take_key(self, event: events.Key) -> None:
        if event.key in ("escape", "ctrl+c"):
            self.dismiss(None)
        elif event.key in ("left", "shift+tab", "right", "tab"):
            self._turn(-1 if event.key in ("left", "shift+tab") else 1)
        elif event.key == "enter":
            option = self._options[self._focus]
            if not option.harmful:
                self.dismiss(option.result or None)
        else:
            for option in self._options:
                if option.key in (event.key, event.character):
                    seen = event.time > self._painted and not self.deck.key_repeats
                    if seen or not option.harmful:
                        self.dismiss(option.result or None)
                    return

    def _turn(self, step: int) -> None:
        safe = [n for n, option in enumerate(self._options) if not option.harmful]
        self._focus = safe[(safe.index(self._focus) + step) % len(safe)]
        self.changed()


class ErrorScreen(ChoiceScreen):
    """Something that was just asked for cannot be done: what, where, and what to do about it. Never
    for anything else; a place that does not answer is a mark in the header."""

    def __init__(self, title: str, note: str, facts: Sequence[tuple[str, str]]) -> None:
        options = [Choice("esc", "back", ""), Choice("y", "copy", "copy")]
        super().__init__(
            lambda cells, rows: error_lines(title, note, facts, cells), options, edge="failed"
        )
        self._text = "\n".join([f"{title}: {note}", *(f"{name}: {text}" for name, text in facts)])

    def take_key(self, event: events.Key) -> None:
        if event.key == "y":
            self.deck.copy(self._text, "error")
            return
        super().take_key(event)


class MenuScreen(Overlay[str | None]):
    """A short list to choose from: by its letter, or by cursor and enter.

    Args:
        items: (letter, words, result).
        current: Result that holds now.
    """

    wanted_cells = 44

    def __init__(
        self, title: str, items: Sequence[tuple[str, str, str]], current: str | None = None
    ) -> None:
        super().__init__()
        self._title = title
        self._items = list(items)
        self._current = current
        self._at = next((n for n, item in enumerate(items) if item[2] == current), 0)
        self.wanted_cells = max(44, min(100, max(width(words) for _, words, _ in items) + 8))

    def lines(self, cells: int) -> list[Line]:
        glyphs = self.deck.painter.glyphs
        rows: list[Line] = []
        for number, (letter, words, result) in enumerate(self._items):
            here = number == self._at
            ground = " @select" if here else ""
            sign = "•" if result == self._current else " "
            rows.append(
                (
                    Span(glyphs.cursor if here else " ", f"accent{ground}"),
                    Span(f"{letter:>2}", f"accent bold{ground}"),
                    Span(f" {sign} ", f"muted{ground}"),
                    Span(words.ljust(max(0, cells - 6)), f"{'strong' if here else 'text'}{ground}"),
                )
            )
        head: Line = (Span(self._title, "accent bold"),)
        return [head, (), *around(rows, self._at, self.inner_rows - 2)]

    def footer_keys(self) -> list[tuple[str, str]]:
        return [("enter", "choose"), ("esc", "close")]

    def take_key(self, event: events.Key) -> None:
        if event.key in ("escape", "ctrl+c"):
            self.dismiss(None)
        elif event.key in ("down", "tab", "up", "shift+tab"):
            step = 1 if event.key in ("down", "tab") else -1
            self._at = (self._at + step) % len(self._items)
            self.changed()
        elif event.key in JUMPS:
            self._at = jumped(event.key, self._at, len(self._items), self.inner_rows - 2)
            self.changed()
        elif event.key == "enter":
            self.dismiss(self._items[self._at][2])
        else:
            for letter, _, result in self._items:
                if event.character == letter:
                    self.dismiss(result)
                    return


class PickScreen(Overlay[list[str] | None]):
    """A list whose items are on or off. Returns those that are on. `beside` says something about
    some of those that are on."""

    wanted_cells = 44

    def __init__(
        self,
        title: str,
        items: Sequence[tuple[str, str]],
        chosen: Sequence[str],
        note: str = "",
        beside: Callable[[Collection[str]], Mapping[str, str]] = lambda on: {},
    ) -> None:
        super().__init__()
        self._beside = beside
        self._title = title
        self._items = list(items)
        self._on = set(chosen)
        self._note = note
        self._at = 0

    def offer(self, items: Sequence[tuple[str, str]]) -> None:
        """There are more items; the cursor stays on its own."""
        here = self._items[self._at][0]
        self._items = list(items)
        self._at = next((n for n, (key, _) in enumerate(items) if key == here), 0)
        if self.is_attached:
            self.changed()

    def lines(self, cells: int) -> list[Line]:
        glyphs = self.deck.painter.glyphs
        said = self._beside([key for key, _ in self._items if key in self._on])
        rows: list[Line] = []
        for number, (result, words) in enumerate(self._items):
            here = number == self._at
            ground = " @select" if here else ""
            on = result in self._on
            note = said.get(result, "")
            words = fit(words, max(0, cells - 4 - len(note)))
            rows.append(
                (
                    Span(glyphs.cursor if here else " ", f"accent{ground}"),
                    Span(f" {glyphs.done if on else ' '} ", f"accent{ground}"),
                    Span(words, f"{'text' if on else 'muted'}{ground}"),
                    Span(note, f"faint{ground}"),
                )
            )
        head: Line = (Span(self._title, "accent bold"), Span(f"  {self._note}", "muted"))
        return [head, (), *around(rows, self._at, self.inner_rows - 2)]

    def footer_keys(self) -> list[tuple[str, str]]:
        return [("space", "on or off"), ("enter", "done"), ("0", "as by default"), ("esc", "close")]

    def take_key(self, event: events.Key) -> None:
        if event.key in ("escape", "ctrl+c"):
            self.dismiss(None)
        elif event.key in ("down", "j", "tab", "up", "k", "shift+tab"):
            step = 1 if event.key in ("down", "j", "tab") else -1
            self._at = (self._at + step) % len(self._items)
            self.changed()
        elif event.key in JUMPS:
            self._at = jumped(event.key, self._at, len(self._items), self.inner_rows - 2)
            self.changed()
        elif event.key == "space":
            self._on ^= {self._items[self._at][0]}
            self.changed()
        elif event.key == "enter":
            self.dismiss([key for key, _ in self._items if key in self._on])
        elif event.key == "0":
            self.dismiss([])
