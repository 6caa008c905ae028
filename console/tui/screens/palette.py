"""Go anywhere: screens, runs and actions by a few letters of their names. `:` or ctrl+p."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from textual import events
from textual.screen import Screen

from traindeck.backends.data import dataclass
from traindeck.backends.errors import TraindeckError
from traindeck.console.present.ages import age
from traindeck.console.present.caret import Caret
from traindeck.console.present.cells import Line, Span, clean, clip, fit_line, width
from traindeck.console.present.fuzzy import best
from traindeck.console.present.runs_table import run_age, where
from traindeck.console.present.states import mark
from traindeck.console.store.records import RunRecord
from traindeck.console.tui import keys
from traindeck.console.tui.services import View
from traindeck.console.tui.typed import put, typed

from .base import DeckScreen, active_actions
from .overlay import Overlay, around

RUNS_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to go to or to do. `also`: other words for it."""

    kind: str
    words: str
    hint: str
    do: Callable[[], object]
    sign: str = ""
    style: str = "muted"
    also: str = ""


class PaletteScreen(Overlay[None]):
    """The palette. What is typed narrows it at once; runs come in as they are found."""

    wanted_cells = 84

    def __init__(self, below: Screen[Any]) -> None:
        super().__init__()
        self._below = below
        self._caret = Caret()
        self._fixed: list[Entry] = []
        self._runs: list[Entry] = []
        self._at = 0
        self._searching: asyncio.Task[None] | None = None
        self._held: list[events.Key] | None = None

    def on_mount(self) -> None:
        from traindeck.console.present.theme import available

        self._fixed = [*self._screens(), *self._actions(), *map(self._theme, available(None))]
        self.deck.start(self._find_themes(), "")
        self._search()
        self.changed()

    # -------------------------------------------------------------------------------------- entries

    def _screens(self) -> list[Entry]:
        from .index import SCREENS

        entries = [Entry("screen", "Runs", "home", self.deck.go_home)]
        for name, found in SCREENS.items():
            if found.words:
                entries.append(
                    Entry("screen", found.words, "", self._opener(name), also=found.also)
                )
        return entries

    def _opener(self, name: str) -> Callable[[], object]:
        def open_screen() -> None:
            screen = self.deck.new_screen(name)
            if screen is not None:
                self.deck.push_screen(screen)

        return open_screen

    def _actions(self) -> list[Entry]:
        known, below = keys.all_actions(), self._below
        run = below.run_in_hand() if isinstance(below, DeckScreen) else None
        entries = []
        for name, bound in active_actions(self._below).items():
            action = known.get(name)
            if action is None or name.startswith("list.") or name in ("app.palette", "app.back"):
                continue
            tab = run is not None and "tab(" in action.action
            if not action.section and not tab and name != "app.help":
                continue
            words = f"{action.label} of {clean(run.name or run.id)}" if run and tab else action.help
            shown = keys.shown_keys(action, bound)
            if self.deck.painter.glyphs.name == "ascii":
                shown = keys.in_words(shown)
            entries.append(
                Entry(
                    "tab" if tab else "action",
                    words,
                    shown,
                    self._doer(action.action),
                    also=action.also,
                )
            )
        return entries

    def _doer(self, action: str) -> Callable[[], object]:
        node = next(
            (
                active.node
                for active in self._below.active_bindings.values()
                if active.binding.action == action
            ),
            self._below,
        )
        return lambda: self.deck.start(self._act(action, node), "")

    async def _act(self, action: str, node: Any) -> None:
        await self.deck.run_action(action, node)

    def _theme(self, name: str) -> Entry:
        return Entry(
            "theme", f"theme: {clean(name)}", "", self._themer(name), also="colours colors"
        )

    async def _find_themes(self) -> None:
        """The user's own: their folder may be slow."""
        known = {entry.words for entry in self._fixed}
        found = map(self._theme, await asyncio.to_thread(self.deck.looks.names))
        self._fixed += [entry for entry in found if entry.words not in known]
        self.changed()

    def _themer(self, name: str) -> Callable[[], object]:
        return lambda: self.deck.start(self.deck.keep_theme(name), "")

    # ----------------------------------------------------------------------------------------- runs

    def _search(self) -> None:
        if self._searching is not None:
            self._searching.cancel()
        self._searching = self.deck.start(self._find(self._caret.text), "")

    async def _find(self, query: str) -> None:
        words = query.strip()
        await asyncio.sleep(0.05 if words else 0)
        plain = "".join(char for char in words if char.isalnum() or char in "-_./")
        view = View(filter=plain, group="", window=None)
        try:
            listing = await self.deck.services.listing(view)
            found = await self.deck.services.rows(list(listing.keys[:RUNS_SHOWN]))
        except TraindeckError:
            found = {}
        self._runs = [self._run_entry(key, run) for key, run in found.items()]
        self.changed()

    def _run_entry(self, key: int, run: RunRecord) -> Entry:
        sign = mark(run)
        glyphs = self.deck.painter.glyphs
        hint = f"{where(run)}  {age(run_age(run, self.deck.clock())):>5}"
        name = clean(run.name or run.id)
        return Entry("run", name, hint, self._goer(key, run), sign.glyph(glyphs), sign.style)

    def _goer(self, key: int, run: RunRecord) -> Callable[[], object]:
        def go() -> None:
            from .runs import RunsScreen

            self.deck.go_home()
            home = self.deck.screen
            # At once, if it is listed: the next key may be for it.
            if isinstance(home, RunsScreen) and not home.table.go_to(key):
                home.going.find(run)

        return go

    # ----------------------------------------------------------------------------------------- show

    def _shown(self) -> Sequence[Entry]:
        every = [*self._fixed, *self._runs]
        query = self._caret.text.strip().casefold()
        if not query:
            return every[:60]
        items = [(entry.words, entry) for entry in every]
        # Another word for something counts only by its beginning: more would be chance.
        items += [
            (word, entry)
            for entry in every
            for word in entry.also.split()
            if word.startswith(query)
        ]
        return list(dict.fromkeys(best(query, items, 60)))

    def _within(self, shown: Sequence[Entry]) -> int:
        """The chosen place among what is shown now, which may be less than at the last key."""
        return max(0, min(self._at, len(shown) - 1))

    def lines(self, cells: int) -> list[Line]:
        shown = self._shown()
        self._at = self._within(shown)
        room = min(self.inner_rows - 3, 16)
        query, at = self._caret.text, self._caret.at
        rows = [self._entry_line(entry, n == self._at, cells) for n, entry in enumerate(shown)]
        field: Line = (
            Span(" : ", "accent bold @select"),
            Span(query[:at], "strong @select"),
            Span(self.deck.painter.glyphs.cursor_dim, "accent @select"),
            Span(query[at:], "strong @select"),
            Span(" " * max(0, cells - 4 - width(query)), "text @select"),
        )
        body = around(rows, self._at, room) or [(Span("nothing fits", "muted"),)]
        return [field, (), *body, *[()] * (room - len(body))]

    def _entry_line(self, entry: Entry, here: bool, cells: int) -> Line:
        ground = " @select" if here else ""
        glyphs = self.deck.painter.glyphs
        room = max(8, cells - 12 - width(entry.hint) - 2)
        return fit_line(
            (
                Span(glyphs.cursor if here else " ", f"accent{ground}"),
                Span(f" {entry.kind:<8}", f"muted{ground}"),
                Span(f"{entry.sign} " if entry.sign else "", f"{entry.style}{ground}"),
                Span(
                    clip(entry.words, room - (2 if entry.sign else 0), "both").ljust(
                        room - (2 if entry.sign else 0)
                    ),
                    f"{'strong' if here else 'text'}{ground}",
                ),
                Span(f"  {entry.hint}", f"muted{ground}"),
            ),
            cells,
            f"text{ground}",
        )

    def footer_keys(self) -> list[tuple[str, str]]:
        return [("enter", "go"), ("↑ ↓", "choose"), ("esc", "close")]

    def take_key(self, event: events.Key) -> None:
        if event.key in ("escape", "ctrl+c"):
            self.dismiss(None)
            return
        if self._held is not None:
            self._held.append(event)
            return
        if event.key == "enter":
            if self._searches:
                self._held = []
                self.deck.start(self._go_once_found(), "")
            else:
                self._go()
            return
        if event.key in ("down", "tab", "ctrl+n"):
            self._at = self._within(self._shown()) + 1
        elif event.key in ("up", "shift+tab", "ctrl+p"):
            self._at = self._within(self._shown()) - 1
        elif (after := typed(self._caret, event.key, event.character)) is not None:
            self._type(after)
        self.changed()

    @property
    def _searches(self) -> bool:
        """Whether the runs that fit what is typed are not known yet."""
        searching = self._searching is not None and not self._searching.done()
        return searching and bool(self._caret.text.strip())

    def _go(self) -> bool:
        """To what is chosen, at once: the next key may be for where it leads. False where nothing
        fits: the palette stays, for the next key is not for the screen below."""
        shown = self._shown()
        if shown:
            self.dismiss(None)
            shown[self._within(shown)].do()
        return bool(shown)

    async def _go_once_found(self) -> None:
        """Typed faster than the runs are found: what came since is for where it leads, and for
        nothing if it leads nowhere."""
        if self._searching is not None:
            await asyncio.wait([self._searching])
        held, self._held = self._held or [], None
        if self.is_current and self._go():
            for event in held:
                await self.deck.take_late(event)

    def take_paste(self, text: str) -> None:
        """Text that was pasted. Called in the order of typing."""
        self._type(put(self._caret, text.strip()[:100]))
        self.changed()

    def _type(self, after: Caret) -> None:
        before, self._caret = self._caret, after
        if after.text != before.text:
            self._at = 0
            self._search()
