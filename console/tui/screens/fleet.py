"""Fleet: the accelerators of all places in one list, the one under the cursor in full below.

The places are asked for as long as the screen can be seen. What they say is kept by the list
(fleet_list) and drawn twice a second at most; only rows in sight are ever made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from traindeck.backends.states import Reach
from traindeck.console.present.cells import Line, Span, clean
from traindeck.console.present.chrome import PlaceMark, context
from traindeck.console.present.fleet_columns import Layout, heads, layout
from traindeck.console.present.fleet_detail import device_detail, place_detail
from traindeck.console.present.fleet_heads import (
    context_words,
    header_counts,
    more_line,
    note_line,
    place_head,
    reading_notes,
    user_head,
)
from traindeck.console.present.fleet_rows import HOST, USER, RowId, Shown, is_stale
from traindeck.console.present.fleet_view import Look, device_line
from traindeck.console.store.records import RunRecord
from traindeck.console.tui import keys
from traindeck.console.tui.services import FleetNews
from traindeck.console.tui.widgets.lines import Lines
from traindeck.console.tui.widgets.virtual_table import Section, VirtualTable

from .fleet_filter import FleetFilter
from .fleet_list import FleetList
from .list_screen import ListScreen

if TYPE_CHECKING:
    from traindeck.console.runs.fleet import PlaceDevices

EVERY = 2.0
"""Seconds between two reports of a place."""
TICK = 0.5
"""Seconds between two paintings."""
ROOMY = 30
"""Rows from which on there is room for blank lines and the line of context."""
MARKS = 8
"""Places up to which the header has a mark for each."""


class FleetScreen(ListScreen):
    """The list of devices.

    Attributes:
        list: Its rows.
    """

    scope = "fleet"
    title_words = "Fleet"
    BINDINGS: ClassVar[list[BindingType]] = [
        *keys.bindings(keys.FLEET),
        *keys.bindings(keys.MOVES),
    ]

    def __init__(self) -> None:
        super().__init__()
        ui = self.deck.ui
        group = ui.get("fleet", "group", str, HOST)
        self.list = FleetList(
            Shown(group=USER if group == USER else HOST, idle=ui.get("fleet", "idle", bool, False))
        )
        cursor = ui.strings("fleet", "cursor") or []
        self._wanted = RowId(*cursor) if len(cursor) == len(RowId._fields) else None
        self.filtering = FleetFilter(self)
        self.context_bar = Lines(lambda cells, _: [self._above(cells)], id="context")
        self.gap = Lines(id="gap")
        self.heads_bar = Lines(lambda cells, _: [heads(self._layout(cells))], id="heads")
        self.table = VirtualTable(self._line, self._head, note=self._note, id="table")
        self.table.folded = set(ui.strings("fleet", "folded") or [])
        self.foot_gap = Lines(id="foot_gap")
        self.pane = Lines(self._detail, id="pane")
        self._watching: asyncio.Task[None] | None = None
        self._heard = False
        self._columns: tuple[tuple[int, bool], Layout] | None = None

    # ---------------------------------------------------------------------------------------- build

    def body(self) -> ComposeResult:
        yield self.context_bar
        yield self.filtering.line
        yield self.gap
        yield self.heads_bar
        yield self.table
        yield self.foot_gap
        yield self.pane

    def on_mount(self) -> None:
        self.place_parts()
        self.table.focus()
        self.set_interval(TICK, self._tick)
        self._watch()

    def on_resize(self) -> None:
        self.place_parts()

    def place_parts(self) -> None:
        """Give every part its rows: the less room, the fewer parts."""
        rows, asking, shown = self.app.size.height, self.filtering.asking, self.list.shown
        roomy = rows >= ROOMY
        unusual = bool(shown.text or shown.idle or shown.group != HOST)
        self.filtering.line.display = asking
        self.context_bar.display = (roomy or unusual) and not asking
        self.gap.display = self.foot_gap.display = roomy
        self.pane.display = rows >= 20
        self.pane.styles.height = 4 if rows < 36 else 12 if rows < 50 else 16
        self.table.gap = 1 if roomy else 0
        self.list.show(replace(shown, sample=3 if roomy else 1))
        self._refresh(anew=False)
        self.heads_bar.update()
        self.table.repaint()

    # --------------------------------------------------------------------------------------- asking

    @property
    def in_sight(self) -> bool:
        """Whether the screen can be seen: a dialog or the palette may lie over it."""
        return self.is_current or self in self.deck._background_screens

    def _watch(self) -> None:
        if self._watching is None or self._watching.done():
            work = self.deck.services.watch_fleet(EVERY, self._hear)
            self._watching = self.spawn(work)

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self._watch()

    def on_screen_suspend(self) -> None:
        """Nobody is asked for what nobody sees."""
        if self._watching is not None and not self.in_sight:
            self._watching.cancel()
            self._watching = None

    def _hear(self, news: FleetNews) -> None:
        if not self.is_mounted:
            return
        self.list.hear(news)
        alone = len(self.list.places) == 1
        self.list.show(replace(self.list.shown, alone=alone))
        if not self._heard:
            self._heard = True
            self._tick()

    def _tick(self) -> None:
        """Show what is new, and the ages that have grown."""
        if self._heard and self.in_sight:
            self._refresh(anew=False)
            self.pane.update()
            self.context_bar.update()
            self.update_chrome()

    def _refresh(self, *, anew: bool) -> None:
        if not self.table.is_mounted:
            return
        changed = self.list.look(self.deck.clock(), EVERY)
        if not changed and not anew:
            self.table.refresh_changed()
            return
        at = None
        if self._wanted is not None and (key := self.list.number(self._wanted)) in self.list.keys:
            at, self._wanted = key, None
        self.table.folds = not self.list.shown.text  # what is found is shown
        self.table.set_rows(self.list.keys, self.list.sections, at, anew=anew)

    # ------------------------------------------------------------------------------------ the lines

    def hold_key(self, event: events.Key) -> bool:
        """A person has begun to move: the cursor goes to no row of another day any more."""
        self._wanted = None
        return False

    def _look(self, place: PlaceDevices | None = None, *, selected: bool = False) -> Look:
        return Look(
            now=self.deck.clock(),
            every=EVERY,
            names=self.list.names,
            glyphs=self.deck.painter.glyphs,
            selected=selected,
            # Which key that is takes a look at all of them: only for who needs it.
            connect=self.deck.connect_key if place is not None and place.person else "",
        )

    def _layout(self, cells: int) -> Layout:
        wanted = cells, self.list.shown.group == USER
        if self._columns is None or self._columns[0] != wanted:
            self._columns = wanted, layout(cells, hosts=wanted[1])
        return self._columns[1]

    def _line(self, key: int, selected: bool) -> Line | None:
        row, cells = self.list.row(key), self.table.size.width
        place = self.list.places.get(row.place) if row is not None else None
        if row is None or place is None:
            return None
        if row.kind == "more":
            return more_line(place, self.list.shown.sample, cells, self.deck.painter.glyphs)
        if row.kind == "note":
            alone = self.list.shown.alone
            return note_line(place, int(row.what), self._look(), cells, alone=alone)
        found = self.list.found(key)
        if found is not None and (self.list.shown.text or self.list.shown.idle):
            found = replace(found, above=None)  # that row may be hidden
        look = self._look(selected=selected)
        return None if found is None else device_line(found, self._layout(cells), look)

    def _head(self, section: Section, folded: bool, cells: int) -> Line:
        if self.list.shown.group == USER:
            devices, hosts = self.list.size(section.key)
            return user_head(section.key, devices, hosts, self._look(), cells, folded=folded)
        place = self.list.places.get(section.key)
        return () if place is None else place_head(place, self._look(place), cells, folded=folded)

    def _note(self) -> Sequence[Line]:
        """In place of rows."""
        if not self._heard:
            return ((), (Span("  asking the places", "muted"),))
        shown = self.list.shown
        if shown.text or shown.idle:
            words = "no GPU fits the filter" if shown.text else "no GPU is free or idle"
            return ((), (Span(f"  {words}; ", "muted"), Span("esc", "accent bold"),
                         Span(" shows all", "muted")))  # fmt: skip
        words = "No place here tells of GPUs. Add one: traindeck backends add ssh HOST"
        return ((), (Span(f"  {words}", "muted"),))

    def _detail(self, cells: int, rows: int) -> Sequence[Line]:
        found = self.list.found(self.table.key)
        if found is not None:
            return device_detail(found, self.list.runs, self._look(), cells, rows)
        row = self.list.row(self.table.key)
        place = self.list.places.get(row.place) if row is not None else None
        if place is None:
            return ()
        return place_detail(place, self._look(place), cells, rows, alone=self.list.shown.alone)

    def _above(self, cells: int) -> Line:
        shown = self.list.shown
        rows = len(self.list.keys)
        clauses = context_words(shown.group, shown.idle, shown.text, rows, EVERY)
        return context(clauses, Span(""), cells)

    # ------------------------------------------------------------------------------------- chrome

    def counts(self) -> Sequence[Line]:
        return header_counts(self.list.tally, self.deck.painter.glyphs)

    def places(self) -> Sequence[PlaceMark]:
        # The heads of the list say it too: where there is little room, the counts matter more.
        if len(self.list.places) > MARKS or self.app.size.width < 100:
            return ()
        now = self.deck.clock()
        return [
            PlaceMark(
                name=place.name,
                reach=Reach.DOWN if is_stale(place, now, EVERY) else Reach.OK,
                seen_at=place.report.observed_at if place.report else 0.0,
                next_try=place.next_try,
                connect=self.deck.connect_key if place.person else "",
            )
            for place in self.list.places.values()
        ]

    def context(self) -> Line:
        found = self.list.found(self.table.key)
        row = self.list.row(self.table.key)
        if found is None:
            return (Span(clean(row.place) if row is not None else "", "muted"),)
        number = (found.parent or found.device).index
        words = clean(found.place.name) + ("" if number is None else f"/{number}")
        return (Span(words, "muted"),)

    def run_in_hand(self) -> RunRecord | None:
        return self.list.run(self.table.key)

    def reading_notes(self) -> Sequence[Line]:
        """For the help: how to read a row."""
        return reading_notes(self.deck.painter.glyphs)

    def footer_keys(self) -> list[tuple[str, str]]:
        if self.filtering.asking:
            f1 = self.help_while_typing()
            return [("enter", "keep"), ("↑ ↓", "row"), *f1, ("esc", "as before")]
        clear = [("esc", "all")] if self.list.shown.text or self.list.shown.idle else []
        return [*super().footer_keys(), *clear]

    def label_of(self, action: keys.Action) -> str:
        if action.id == "fleet.group":
            return "by host" if self.list.shown.group == USER else "by user"
        if action.id == "fleet.idle" and self.list.shown.idle:
            return "all"
        row = self.list.row(self.table.key)
        if action.id == "fleet.open" and (row is None or row.kind == "more"):
            return "unfold"
        return action.label

    @on(VirtualTable.Moved)
    def _moved(self) -> None:
        self.pane.update()
        self.footer_bar.update()

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        if self.check_action("open", ()):
            self.action_open()

    def repaint(self) -> None:
        """The theme is another one."""
        self.table.repaint()

    # ------------------------------------------------------------------------------------- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key does something here and now: what does not is shown nowhere."""
        if not self.is_mounted:
            return False
        row = self.list.row(self.table.key)
        if action == "open":
            folded = row is None and len(self.list.keys) > 0
            more = row is not None and row.kind == "more"
            return folded or more or self.run_in_hand() is not None or None
        if action == "copy":
            return self.list.process(self.table.key) is not None or None
        if action == "fold":
            return self.table.folds and len(self.list.keys) > 0
        return True

    def show(self, **changes: Any) -> None:
        """Show other rows, and remember which: `show(idle=True)`."""
        self.list.show(replace(self.list.shown, **changes))
        self._refresh(anew=True)
        self.place_parts()
        self.pane.update()
        self.context_bar.update()
        self.update_chrome()

    def action_open(self) -> None:
        row, run = self.list.row(self.table.key), self.run_in_hand()
        if row is None:
            self.table.toggle_fold()
        elif row.kind == "more":
            self.list.show(replace(self.list.shown, opened=self.list.shown.opened | {row.place}))
            self._refresh(anew=False)
        elif run is not None:
            self.deck.open_run(run, "")

    def action_group(self) -> None:
        row = self.list.row(self.table.key)
        self._wanted = row  # the cursor stays on its device
        self.show(group=HOST if self.list.shown.group == USER else USER)
        self._wanted = None

    def action_idle(self) -> None:
        self.show(idle=not self.list.shown.idle)

    def action_filter(self) -> None:
        self.filtering.begin()

    @on(Input.Changed, "#filter Input")
    def _filter_typed(self) -> None:
        self.filtering.typed()

    def action_fold(self) -> None:
        self.table.toggle_fold()

    def action_copy(self) -> None:
        process = self.list.process(self.table.key)
        if process is not None:
            self.deck.copy(str(process.pid), "pid")

    def action_back(self) -> None:
        """`esc`: all rows again, then the way back."""
        if self.list.shown.text or self.list.shown.idle:
            self.show(text="", idle=False)
        else:
            super().action_back()

    async def on_unmount(self) -> None:
        row = self.list.row(self.table.key) or self._wanted
        self.deck.ui.put(
            "fleet",
            group=self.list.shown.group,
            idle=self.list.shown.idle,
            folded=sorted(self.table.folded),
            cursor=list(row) if row is not None else [],
        )
        await super().on_unmount()
