"""Settings: every value, where it comes from, and changing it. What is changed is written into
settings.yaml at once, comments kept, and holds at once where it can; what is wrong is refused in
words and changes nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from traindeck.backends.base import Health
from traindeck.backends.errors import TraindeckError, UsageError
from traindeck.backends.states import Reach
from traindeck.console import settings as settings_module
from traindeck.console.present.caret import Caret
from traindeck.console.present.cells import Line, Span, clean
from traindeck.console.present.form import TALL, help_lines, window_over
from traindeck.console.present.help import typing_notes
from traindeck.console.present.launch_fields import Entry, Section, flat
from traindeck.console.present.settings_view import (
    BACKEND,
    FOUND,
    KEY,
    found_key,
    narrowed,
    nothing_found,
    settings_form,
    settings_lines,
    source_words,
)
from traindeck.console.settings import Settings, Source
from traindeck.console.tui import keys
from traindeck.console.tui.typed import put, typed
from traindeck.console.tui.widgets.lines import Lines

from .base import DeckScreen, place_mark
from .settings_filter import SettingsFilter

if TYPE_CHECKING:
    from traindeck.console.present.chrome import PlaceMark
    from traindeck.console.runs.placing import Found
    from traindeck.console.tui.saying import Notice

AGAIN = 1.0
"""Seconds between two looks at the file."""

UNREAD = object()
"""The state of a file that was not looked at yet."""


class SettingsPane(Lines):
    """The list, scrolled so that the focused line is in sight, and its help below."""

    DEFAULT_CSS = "SettingsPane { height: 1fr; width: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self._top = 0

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        screen = cast(SettingsScreen, self.screen)
        airy = rows >= TALL - 2
        glyphs = self.deck.painter.glyphs
        if not screen.form:
            return nothing_found(screen.filtering.text)
        lines, at = settings_lines(
            screen.form, screen.focus_key, screen.caret, screen.health, cells,
            airy=airy, marks=screen.marks, now=self.deck.clock(), glyphs=glyphs,
        )  # fmt: skip
        below = 4
        room = rows - below - (2 if airy else 1)
        self._top = window_over(len(lines), at, room, self._top)
        shown: list[Line] = [()] if airy else []
        shown += lines[self._top : self._top + room]
        shown += [()] * (rows - below - 1 - len(shown))
        more = len(lines) - self._top - room
        note = f"{glyphs.ellipsis} {more} more " if more > 0 else ""
        shown.append((Span(" "), Span(glyphs.rule * max(0, cells - 2 - len(note)), "rule"),
                      Span(note, "faint")))  # fmt: skip
        entry = screen.entry
        return [*shown, *(help_lines(entry, cells, below, glyphs) if entry else ())]


class SettingsScreen(DeckScreen):
    """The settings of this user.

    Attributes:
        caret: The value being typed; None if none is.
        health: Entry of a place -> what it said, None while it is asked.
        found: Machines that could be added.
        marks: Backend -> how it stands with it, as the header shows it.
    """

    scope = "settings"
    title_words = "Settings"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(keys.SETTINGS)]

    def __init__(self) -> None:
        super().__init__()
        self.form: tuple[Section, ...] = ()
        self.focus_key = "theme"
        self.caret: Caret | None = None
        self.health: dict[str, Health | None] = {}
        self.found: Sequence[Found] = ()
        self.marks: dict[str, PlaceMark] = {}
        self._problems: dict[str, str] = {}
        self.filtering = SettingsFilter(self)
        self._every: tuple[Section, ...] = ()
        self._pane = SettingsPane()
        self._turn = asyncio.Lock()
        self._stamp: object = UNREAD
        self._broken: Notice | None = None

    def body(self) -> ComposeResult:
        yield self.filtering.line
        yield self._pane

    def on_mount(self) -> None:
        self.filtering.line.display = False
        self.look_again()
        self.spawn(self._follow_file(), "")
        self.spawn(self._look_for_more(), "")
        self.spawn(self._follow_places(), "")

    async def _look_for_more(self) -> None:
        """What this user's files name and is no backend yet."""
        with suppress(TraindeckError):  # what is wrong with them is said where they are used
            self.found = await self.deck.services.found()
        self.look_again()

    async def _follow_places(self) -> None:
        """Ask every backend once; then again as soon as one is heard to answer, or not to. Nobody
        has asked for this: it asks the person nothing."""
        while True:
            with suppress(TraindeckError):
                for place in await self.deck.services.places():
                    before = self.marks.get(place.name)
                    self.marks[place.name] = mark = place_mark(place, self.deck.connect_key)
                    key = f"{BACKEND}{place.name}"
                    health = self.health.get(key)
                    turned = before is not None and before.reach is not mark.reach
                    if key not in self.health or (health is not None and turned):
                        self.spawn(self._probe(place.name), "")
                if any(mark.reach is not Reach.OK for mark in self.marks.values()):
                    self._pane.update()  # its next try comes nearer
            self.header_bar.update()
            await asyncio.sleep(AGAIN)

    async def _follow_file(self) -> None:
        """What is shown is the file as it is: an editor may be open on it."""
        path = self.deck.settings.path
        while path is not None:
            async with self._turn:
                stamp = await asyncio.to_thread(_stamp_of, path)
                news, self._stamp = stamp != self._stamp, stamp
                if news or self._broken is not None:  # that may be mended in the theme's file
                    await self._take(path, aloud=news)
            await asyncio.sleep(AGAIN)

    async def _take(self, path: Path, *, aloud: bool) -> None:
        try:
            self.deck.apply_settings(await asyncio.to_thread(settings_module.load, path))
        except TraindeckError as error:
            if aloud:
                self._broken = self.deck.complain(error)
        else:
            self.deck.take_back(self._broken)
            self._broken = None
            if self.caret is None:
                self._problems.clear()  # they were of another file
            await self.deck.services.settings_changed()
        self.look_again()

    # ------------------------------------------------------------------------------------ the list

    @property
    def entry(self) -> Entry | None:
        """The focused line."""
        if not self.form:
            self._shape()  # a key may come before there is anything to see
        return next((entry for entry in flat(self.form) if entry.key == self.focus_key), None)

    def _shape(self) -> None:
        actions = {
            name: (keys.settings_text(action.keys), action.help)
            for name, action in keys.all_actions().items()
            if name not in ("app.quit_now", "app.back")
        }
        names = self.deck.looks.names()
        self._every = settings_form(self.deck.settings, names, actions, self._problems, self.found)
        self.place_cursor()

    def place_cursor(self) -> None:
        """Show the rows that are filtered for; the cursor is on one of them. A row does not go away
        from under it, whatever is set there."""
        keep = "" if self.filtering.asking else self.focus_key
        text = self.filtering.text
        self.form = narrowed(self._every, text, keep) if text else self._every
        self.focus_key = self.filtering.row

    def look_again(self) -> None:
        """Make the rows anew, and show them."""
        self._shape()
        self._pane.update()
        self.update_chrome()

    def action_row(self, step: int) -> None:
        if not self.form:
            self._shape()
        order = [entry.key for entry in flat(self.form)]
        if not order:
            return
        at = order.index(self.focus_key) if self.focus_key in order else 0
        self.focus_key = order[max(0, min(len(order) - 1, at + step))]
        self.look_again()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        entry = self.entry
        if self.caret is not None:
            return False
        if entry is None:
            return action not in ("edit", "change", "unset", "check", "add")
        fixed = entry.key.startswith((BACKEND, FOUND))
        if action == "add":
            return entry.key.startswith(FOUND)
        if action == "change":
            return bool(entry.choices)
        if action == "edit":
            return not fixed
        if action == "unset":
            return entry.changed and not fixed
        return True

    # ------------------------------------------------------------------------------------- finding

    def action_filter(self) -> None:
        self.filtering.begin()

    @on(Input.Changed, "#filter Input")
    def _filter_typed(self) -> None:
        self.filtering.typed()

    def action_back(self) -> None:
        """`esc`: all rows again, then the way back."""
        if self.filtering.text:
            self.filtering.end("")
        else:
            super().action_back()

    # -------------------------------------------------------------------------------------- typing

    @property
    def typing(self) -> bool:
        return self.caret is not None or super().typing

    def take_key(self, event: events.Key) -> bool:
        """Keys of the value being typed; otherwise all are bound."""
        entry = self.entry
        if self.caret is None or entry is None:
            return False
        if event.key == "escape":
            self.caret = None
            self._problems.pop(entry.key, None)
        elif event.key == "enter":
            text, self.caret = self.caret.text.strip(), None
            self._store(entry, text)
        else:
            after = typed(self.caret, event.key, event.character)
            if after is None:
                return False  # it may be bound: the help, the palette
            self.caret = after
        self.look_again()
        return True

    def take_paste(self, text: str) -> None:
        """Text that was pasted. Called in the order of typing."""
        if self.caret is not None:
            self.caret = put(self.caret, text)
            self.look_again()

    def action_edit(self) -> None:
        entry = self.entry
        if entry is None or entry.key.startswith((BACKEND, FOUND)):
            return
        if entry.choices:
            self.action_change(1)
            return
        self._problems.pop(entry.key, None)
        # Selected: what is typed replaces it, and a key that moves begins to mend it.
        self.caret = Caret(entry.text, len(entry.text), mark=0)
        self.look_again()

    def action_change(self, step: int) -> None:
        entry = self.entry
        if entry is None or not entry.choices:
            return
        at = entry.choices.index(entry.text) if entry.text in entry.choices else -1
        self._store(entry, entry.choices[(at + step) % len(entry.choices)])

    def action_unset(self) -> None:
        entry = self.entry
        if entry is not None:
            self._store(entry, None)

    # ------------------------------------------------------------------------------------- storing

    def _store(self, entry: Entry, text: str | None) -> None:
        """Write a value, or take it out of the file with None."""
        self._problems.pop(entry.key, None)
        self.spawn(self._write(entry.key, text or None), f"writing {entry.label}")

    async def _write(self, name: str, text: str | None) -> None:
        async with self._turn:
            deck = self.deck
            path = deck.settings.path
            try:
                if path is None:
                    raise UsageError("There is no settings file in this session.")
                await self._check(path, name, text)
                if text is None:
                    new = await asyncio.to_thread(settings_module.unset, path, name)
                else:
                    new = await asyncio.to_thread(settings_module.set_value, path, name, text)
                deck.apply_settings(new)
                self._stamp, self._broken = await asyncio.to_thread(_stamp_of, path), None
            except TraindeckError as error:
                self._problems[name] = str(error)
                if text is not None and self.focus_key == name and self.caret is None:
                    entry = self.entry
                    if entry is not None and not entry.choices:
                        self.caret = Caret(text, len(text))  # what was typed can be mended
                self.look_again()
                return
            source = new.source(name)
            if source.kind == "environment":
                late = f"{name} is written, but {source.where} goes before it here"
                deck.notice(late, "warn", urgent=True)
            else:
                words = "as by default" if source.kind == "default" else "set"
                late = "; from the next start" if name == "mouse" else ""
                deck.notice(f"{name} {words}: {source_words(source)}{late}", urgent=True)
            await deck.services.settings_changed()
            self.look_again()

    async def _check(self, path: Path, name: str, text: str | None) -> None:
        """Refuse what the screen could not take over, before anything is written: the rest of the
        file may be another one than it was."""
        there = await asyncio.to_thread(settings_module.load, path)
        if name.startswith(KEY):
            _check_keys(there, name.removeprefix(KEY), text)
        else:
            keys.keymap(there)
        theme = there.theme if name != "theme" else text
        if theme is not None:
            await asyncio.to_thread(self.deck.looks.load, theme)

    # ---------------------------------------------------------------------------------- the places

    def action_check(self) -> None:
        """Ask the focused place, or all backends. A person asks: it is tried at once."""
        entry = self.entry
        if entry is not None and (found := self._found(entry)) is not None:
            self.health[entry.key] = None
            self.spawn(self._probe_found(entry.key, found), "")
        elif entry is not None and entry.key.startswith(BACKEND):
            self.spawn(self._probe(entry.key.removeprefix(BACKEND), asked=True), "")
        else:
            names = list(self.deck.settings.backends)
            self.focus_key = f"{BACKEND}{names[0]}"
            for name in names:
                self.spawn(self._probe(name, asked=True), "")
        self.look_again()

    def action_add(self) -> None:
        """Make a backend of the focused machine that was found."""
        entry = self.entry
        if entry is not None and (found := self._found(entry)) is not None:
            self.spawn(self._add(entry.key, found), f"adding {entry.label}")

    def _found(self, entry: Entry) -> Found | None:
        return next((each for each in self.found if found_key(each) == entry.key), None)

    async def _probe(self, name: str, *, asked: bool = False) -> None:
        key = f"{BACKEND}{name}"
        self.health[key] = None
        self.look_again()
        await self._hear(key, self.deck.services.probe(name, asked=asked))

    async def _probe_found(self, key: str, found: Found) -> None:
        await self._hear(key, self.deck.services.probe_found(found))

    async def _hear(self, key: str, answer: Awaitable[Health]) -> None:
        try:
            self.health[key] = await answer
        except TraindeckError as error:
            self.health[key] = Health(reach=Reach.DOWN, checks=((False, str(error)),))
        self.look_again()

    async def _add(self, key: str, found: Found) -> None:
        async with self._turn:
            deck = self.deck
            path = deck.settings.path
            try:
                if path is None:
                    raise UsageError("There is no settings file in this session.")
                name = await deck.services.add_found(found)
                deck.apply_settings(await asyncio.to_thread(settings_module.load, path))
                self._stamp, self._broken = await asyncio.to_thread(_stamp_of, path), None
            except TraindeckError as error:
                self._problems[key] = str(error)
                deck.complain(error)
                self.look_again()
                return
            known = self.health.pop(key, None)
            self.focus_key = f"{BACKEND}{name}"
            if known is not None:
                self.health[self.focus_key] = known
            deck.notice(f"{name} is a backend now; c checks it", urgent=True)
        await deck.services.settings_changed()
        await self._look_for_more()

    # ---------------------------------------------------------------------------------- the chrome

    def places(self) -> Sequence[PlaceMark]:
        return list(self.marks.values())

    def repaint(self) -> None:
        """The theme is another one."""
        self.look_again()

    def reading_notes(self) -> Sequence[Line]:
        """For the help: the keys of a field."""
        return typing_notes(self.deck.painter.glyphs)

    def counts(self) -> Sequence[Line]:
        every = flat(self._every)
        changed = sum(entry.changed for entry in every)
        clauses: list[Line] = [(Span("changed ", "muted"), Span(str(changed), "accent"))]
        if text := self.filtering.text:
            count = (
                Span(f"{len(flat(self.form)):,}", "text"),
                Span(f" of {len(every):,}", "muted"),
            )
            words = () if self.filtering.asking else (Span(f"{clean(text)}  ", "accent"),)
            clauses.insert(0, (Span("filter ", "muted"), *words, *count))
        return clauses

    def context(self) -> Line:
        path = self.deck.settings.path
        if path is None:
            return (Span("no file", "muted"),)
        if self._broken is not None:  # once what is wrong was said long enough
            sign = self.deck.painter.glyphs.failed
            return (Span(f"{sign} ", "failed"), Span("the file is wrong: what was holds", "text"))
        home = os.path.expanduser("~").rstrip("/")
        shown = str(path)
        if home and shown.startswith(home + "/"):
            shown = "~" + shown[len(home) :]
        return (Span(shown, "muted"),)

    def footer_keys(self) -> list[tuple[str, str]]:
        if self.caret is not None:
            return [("enter", "keep"), *self.help_while_typing(), ("esc", "as it was")]
        if self.filtering.asking:
            f1 = self.help_while_typing()
            return [("enter", "keep"), ("↑ ↓", "row"), *f1, ("esc", "as before")]
        clear = [("esc", "all rows")] if self.filtering.text else []
        return [*super().footer_keys(), *clear]


def _stamp_of(path: Path) -> object:
    """Which state of a file this is; None if there is none."""
    try:
        there = path.stat()
    except OSError:
        return None
    return there.st_ino, there.st_size, there.st_mtime_ns


def _check_keys(settings: Settings, action: str, text: str | None) -> None:
    """Refuse keys that cannot be, before anything is written."""
    own: Mapping[str, str] = {k: v for k, v in settings.keys.items() if k != action}
    if text is not None:
        own = {**own, action: text}
    sources = {**settings.sources, f"keys.{action}": Source(kind="file", where=action)}
    keys.keymap(dataclasses.replace(settings, keys=own, sources=MappingProxyType(sources)))
