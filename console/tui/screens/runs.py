"""Runs, the home screen: every run in groups, what needs a person first, the selected one below.

The screen only shows and asks: what it knows comes from its model, what it does goes to the
services as a task in the background.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from traindeck.backends.base import State, TraindeckError
from traindeck.console.present.cells import Line, Span, clean
from traindeck.console.present.chrome import PlaceMark, context
from traindeck.console.present.numbers import plural
from traindeck.console.present.runs_counts import (
    header_counts,
    list_context,
    listed_meanwhile,
    nothing_listed,
    refused_filter,
    sign_counts,
    window_words,
)
from traindeck.console.present.runs_table import (
    Layout,
    group_head,
    heads,
    layout,
    metric_head,
)
from traindeck.console.store.records import RunRecord, needs_you
from traindeck.console.tui import keys
from traindeck.console.tui.model import RunsModel
from traindeck.console.tui.services import Counts, View
from traindeck.console.tui.widgets.lines import Lines
from traindeck.console.tui.widgets.virtual_table import Section, VirtualTable

from .base import DeckScreen
from .index import SCREENS
from .runs_filter import FilterLine
from .runs_pane import RunPane
from .runs_rows import RowLines

PATIENCE = 0.3
"""Seconds that keys wait for a filter that was just entered."""

LIST_WITHIN = 3.0
"""Seconds in which a list that was asked for is expected."""

LAST_LOOK = 1.0
"""Seconds that the end of the program waits for what was looked at to be noted."""

ROOMY = 30
"""Rows from which on there is room for blank lines and the line of context."""


class RunsScreen(DeckScreen):
    """The list of runs."""

    scope = "runs"
    title_words = "Runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        *keys.bindings(keys.RUNS),
        *keys.bindings(keys.MOVES),
    ]
    DEFAULT_CSS = """
    RunsScreen #empty { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.chosen: list[str] = []
        self._layout: Layout = layout(80)
        self._heads_for = ""
        self._saved_run: str | None = None
        self._pending_g = False
        self._footer: tuple[object, list[tuple[str, str]]] | None = None
        self._wanted: int | None = None
        self._asked_at: int | None = None
        self._visited: tuple[int, str] | None = None  # key and id
        self._filter_shown = ""
        self._slow = False
        self._following = False
        self.context_bar = Lines(lambda cells, _: [self._context_line(cells)], id="context")
        self.filter_bar = FilterLine(self)
        self.gap = Lines(lambda cells, _: self._refused_lines(cells), id="gap")
        self.heads_bar = Lines(lambda *_: [heads(self._layout)], id="heads")
        self.table = VirtualTable(
            self._row_line, self._head_line, note=self._nothing_listed, id="table"
        )
        self._rows = RowLines(
            lambda: self.deck,
            learned=self.table.refresh_changed,
            now=lambda: self.model.frozen_at or self.deck.clock(),
        )
        self.empty = Lines(self._first_start, id="empty")
        self.foot_gap = Lines(id="foot_gap")
        self.pane = RunPane(id="pane")
        self._early = False
        self._restore()
        # The list is asked for before the widgets are mounted: both take their time.
        self.spawn(self.model.run())

    # ---------------------------------------------------------------------------------------- build

    def body(self) -> ComposeResult:
        yield self.context_bar
        yield self.filter_bar
        yield self.gap
        yield self.heads_bar
        yield self.table
        yield self.empty
        yield self.foot_gap
        yield self.pane

    def on_mount(self) -> None:
        self.table.focus()
        self.set_timer(1.0, self._is_slow)
        if self._early:
            self._listed()

    def _is_slow(self) -> None:
        """After a second without runs, say what is waited for."""
        self._slow = True
        if not self.model.loaded:
            self.table.repaint()

    def _follow(self) -> None:
        """What waits until the first frame is on screen: asking the places means importing them."""
        if self._following:
            return
        self._following = True
        self.spawn(self.model.follow_places(self.deck.settings.refresh))
        self.set_interval(0.5, self._tick)

    def _restore(self) -> None:
        ui = self.deck.ui
        # What the menu called newest first was kept as `-created` once.
        order = [kept.replace("created", "latest") for kept in ui.strings("runs", "order") or ()]
        group = ui.get("runs", "group", str, "state")
        view = View(
            order=tuple(order) if order else View().order,
            group=group if group in ("state", "backend", "") else "state",
            window=None if ui.get("runs", "all", bool, False) else self.deck.settings.window,
        )
        self.chosen = ui.strings("runs", "columns") or []
        self.table.folded = set(ui.strings("runs", "folded") or [])
        self._saved_run = ui.get("runs", "cursor", str, None)
        self.model = RunsModel(
            self.deck.services,
            view,
            on_listing=self._listed,
            on_rows=self._rows_known,
            on_error=self._failed,
            visible=lambda: self.table.visible_keys(pages=1) if self.table.is_mounted else (),
            idle=self._idle,
        )

    def _idle(self) -> float:
        """Seconds since a key was pressed here: keys on another screen hold no rows in place."""
        in_sight = self.is_current or self in self.deck._background_screens
        return self.deck.idle if in_sight else math.inf

    def _remember(self) -> None:
        selected = self.selected
        view = self.model.view
        self.deck.ui.put(
            "runs",
            order=list(view.order),
            group=view.group,
            all=view.window is None,
            columns=self.chosen,
            folded=sorted(self.table.folded),
            cursor=selected.id if selected else self._saved_run,
        )

    # ----------------------------------------------------------------------------------- the parts

    @property
    def has_content(self) -> bool:
        """Whether there is something to show: the first frame waits for it."""
        return self.model.loaded and self.table.is_mounted

    @property
    def selected(self) -> RunRecord | None:
        """The run under the cursor."""
        key = self.table.key
        return self.model.record(key) if key is not None else None

    def chosen_runs(self) -> list[RunRecord]:
        """The marked runs, or the one under the cursor."""
        if self.table.marked:
            marked = [key for key in self.table.keys if key in self.table.marked]
            return self.model.records(marked)
        return [self.selected] if self.selected is not None else []

    def main_metric(self) -> str | None:
        """The main metric of most runs in sight."""
        shown = self.model.records(self.table.visible_keys())
        found = Counter(run.main for run in shown if run.main)
        return found.most_common(1)[0][0] if found else None

    def on_resize(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        """Give every part its rows: the less room, the fewer parts."""
        rows = self.app.size.height
        roomy = rows >= ROOMY
        empty = self.has_class("-empty")
        asking = self.has_class("-asking")
        telling = bool(self.model.view.filter) or self.model.frozen or self.model.error is not None
        self.empty.display = empty
        self.filter_bar.display = asking
        self.context_bar.display = (roomy or telling) and not asking and not empty
        refused = self._refused_lines(self.app.size.width)
        self.gap.display = bool(roomy or refused) and not empty
        self.gap.styles.height = max(1, len(refused))
        self.gap.update()
        self.foot_gap.display = roomy and not empty
        self.heads_bar.display = self.table.display = not empty
        self.pane.display = rows >= 20 and not empty
        self.pane.styles.height = 4 if rows < 36 else 12 if rows < 50 else 16
        self._lay_out()

    def _lay_out(self) -> None:
        shown = self.model.records(self.table.visible_keys())
        head = metric_head(shown)
        self._heads_for = head
        self._layout = layout(self.app.size.width, self.chosen or None, metric=head)
        self.heads_bar.update()
        self.table.repaint()

    # ----------------------------------------------------------------------------------- view lines

    def _row_line(self, key: int, selected: bool) -> Line | None:
        record = self.model.record(key)
        return self._rows.line(key, record, selected, self._layout) if record is not None else None

    def _head_line(self, section: Section, folded: bool, cells: int) -> Line:
        return group_head(
            section.title, section.count, cells, self.deck.painter.glyphs, folded=folded
        )

    def _first_start(self, cells: int, rows: int) -> Sequence[Line]:
        """What is said when there are no runs: what is possible here, and the key for it."""
        from traindeck.console.present.first_start import first_start

        if not self.model.loaded:
            return ()
        return first_start(cells, rows, self.able(), self.deck.painter.glyphs)

    def _nothing_listed(self) -> Sequence[Line]:
        model = self.model
        if not model.loaded:
            return ((), (Span("  reading the runs", "muted"),)) if self._slow else ()
        return nothing_listed(model.filter, model.view.window, model.listing.counts.total)

    def crumbs(self) -> Sequence[str]:
        return ("Runs",)

    def counts(self) -> Sequence[Line]:
        if not self.model.loaded or self.has_class("-empty"):
            return ()
        found = self.model.listing.counts
        return header_counts(found.running, found.queued, found.needs_you)

    def sign_counts(self) -> Sequence[Line]:
        """The counts for a screen that is too small."""
        found: Counts = self.model.listing.counts
        glyphs = self.deck.painter.glyphs
        return sign_counts(found.running, found.queued, found.needs_you, glyphs)

    def places(self) -> Sequence[PlaceMark]:
        return [
            PlaceMark(name=place.name, reach=place.reach, seen_at=place.seen_at)
            for place in self.model.places
        ]

    def _refused_lines(self, cells: int) -> Sequence[Line]:
        """Why what is typed is no filter yet, below the line it is typed in."""
        refused = self.model.refused if self.has_class("-asking") else None
        return refused_filter(refused, cells) if refused is not None else ()

    def context(self) -> Line:
        if self.has_class("-empty"):
            return (Span("no runs" if self.model.loaded else "", "muted"),)
        if self.has_class("-asking") and self.model.refused is not None:
            return listed_meanwhile(self.model.filter)
        line: list[Span] = []
        marked = len(self.table.marked)
        if marked:
            line += [Span(f"{marked:,} marked", "accent bold"), Span(" · ", "muted")]
        if self.table.in_range:
            line += [Span("marking", "accent"), Span(" · ", "muted")]
        if self.table.position:
            line += [
                Span("selected ", "muted"),
                Span(f"{self.table.position:,}", "text"),
                Span(f"/{len(self.table.keys):,}", "muted"),
            ]
        return tuple(line)

    def _context_line(self, cells: int) -> Line:
        """The line below the header."""
        model = self.model
        if model.error is not None:
            glyph = self.deck.painter.glyphs.failed
            return (Span(f"  {glyph} ", "failed"), Span(clean(str(model.error)), "text"))
        if not model.loaded:
            return ()
        clauses = list_context(
            len(model.listing.keys),
            model.listing.counts.total,
            model.filter,
            model.view.group,
            (*model.listing.order, *model.view.order),
            frozen=model.frozen,
        )
        return context(clauses, window_words(model.listing.window), cells)

    def able(self) -> set[str]:
        """What can be begun from here."""
        return {*SCREENS, *self.deck.services.able}

    def reading_notes(self) -> Sequence[Line]:
        """For the help: how to read a row."""
        from traindeck.console.present.help import state_notes

        return state_notes(max(40, self.app.size.width - 16), self.deck.painter.glyphs)

    def footer_keys(self) -> list[tuple[str, str]]:
        if self.has_class("-asking"):
            return [("enter", "keep"), ("↑ ↓", "row"), ("esc", "as before")]
        run, marked, empty = self.selected, len(self.table.marked), self.has_class("-empty")
        # What can be done depends on no more than this, as long as nothing is marked.
        place = (self.table.key is None, empty, self.focused)
        bound = tuple(self.deck.settings.keys.items())
        depends = (run and (run.state, run.foreign, run.looked_at, run.broken_at), place, bound)
        if marked == 0 and self._footer is not None and self._footer[0] == depends:
            return self._footer[1]
        shown = super().footer_keys()
        if empty:
            shown.append(("q", "quit"))
        self._footer = (depends, shown) if marked == 0 else None
        return shown

    def label_of(self, action: keys.Action) -> str:
        if action.id == "runs.open" and self.table.key is None:
            return "unfold"
        name = action.id.removeprefix("runs.")
        if self.table.marked and name in ("seen", "stop", "retry", "remove"):
            return f"{action.label} {sum(self._is_for(name, run) for run in self.chosen_runs()):,}"
        return action.label

    # ------------------------------------------------------------------------------ model → screen

    def _listed(self) -> None:
        if not self.table.is_mounted:
            self._early = True
            return  # on_mount comes back to it
        self.set_timer(0.1, self._follow)
        listing = self.model.listing
        empty = listing.counts.total == 0 and not self.model.view.filter
        self.set_class(empty, "-empty")
        sections = [Section(group.key, group.title, group.count) for group in listing.groups]
        wanted, self._wanted = self._wanted, None
        anew, self._filter_shown = (
            self._filter_shown != self.model.view.filter,
            self.model.view.filter,
        )
        if wanted is None and anew and self._asked_at in listing.keys:
            wanted = self._asked_at  # a filter that is widened again gives back what it hid
        if anew and not self.has_class("-asking"):
            self._asked_at = None
        self.table.set_rows(listing.keys, sections, at=wanted, anew=anew)
        if self._saved_run is not None:
            saved, self._saved_run = self._saved_run, None
            self.spawn(self._return_to(saved))
        self._arrange()
        self.empty.update()
        self._update_lines()

    async def go_to_run(self, run: RunRecord, *, widen: bool = False) -> None:
        """Put the cursor on a run. One that is not listed is named, or the list is widened."""
        key = await self.deck.services.key_of(run.id)
        if key is None:
            self.deck.notice(f"{run.name or run.id} is gone", "warn")
        elif not self.table.go_to(key):
            self._wanted = key
            if widen:
                self._show(filter="", window=None)
                return
            self.model.relist()  # it may be new
            with suppress(TimeoutError):
                await asyncio.wait_for(self.model.relisted(), LIST_WITHIN)
            if not self.table.go_to(key):
                self._wanted = None
                hides = "the filter hides it" if self.model.view.filter else "it is not listed"
                self.deck.notice(f"{run.name or run.id}: {hides}", "warn")

    async def _return_to(self, run_id: str) -> None:
        """To where the cursor was on another day, unless what needs a person would be out of sight
        from there."""
        key = await self.deck.services.key_of(run_id)
        if key is None or self.deck.idle <= 1.0:
            return
        # The table may not be laid out yet: what stands in the first third of the screen is seen.
        before = self.table.rows_before(key)
        near = before is not None and before < self.app.size.height // 3
        if near or not self.model.listing.counts.needs_you:
            self.table.go_to(key)

    def _rows_known(self, changed: Sequence[int]) -> None:
        if not self.table.is_mounted:
            return
        if metric_head(self.model.records(self.table.visible_keys())) != self._heads_for:
            self._lay_out()
        else:
            self.table.known(changed)
        if self.table.key in changed:
            self.pane.select(self.table.key, self.selected)
            self._leave_in_peace()
        self._update_lines()
        if "id" in self._layout:
            shown = self.model.records(self.table.visible_keys(pages=1))
            self.spawn(self._rows.learn_short_ids(shown))

    def _failed(self, error: TraindeckError | None) -> None:
        if not self.table.is_mounted:
            return
        self._follow()
        self._arrange()
        self._update_lines()
        if self.has_class("-asking"):
            return  # half a word is no filter yet: enter complains
        if error is not None and self.model.loaded:
            self.deck.complain(error)

    def _tick(self) -> None:
        """Ages grow also when nothing happens."""
        if not self.model.frozen:
            self.table.refresh_changed()
            self.pane.look_again()
            self._update_lines()

    def _update_lines(self) -> None:
        self.context_bar.update()
        self.heads_bar.update()
        self.update_chrome()

    @on(VirtualTable.Moved)
    def _moved(self, event: VirtualTable.Moved) -> None:
        if self._visited is not None and self._visited[0] != self.table.key:
            self._leave_opened()
        self.pane.select(event.key, self.selected)
        self.footer_bar.update()

    def on_screen_resume(self) -> None:
        self._leave_in_peace()

    def _leave_in_peace(self) -> None:
        """Back here, what was opened and needs nobody (any more) is seen at once: no row moves for
        that, and what becomes of it later is news."""
        run = self.model.record(self._visited[0]) if self._visited is not None else None
        if run is not None and self.is_current and not self._needs_you(run):
            self._leave_opened()

    def _leave_opened(self) -> None:
        """The person is done with the run that was opened: it is seen now and not before, so that
        its row, its keys and the cursor wait for them until then."""
        if self._visited is not None:
            run_id, self._visited = self._visited[1], None
            self.spawn(self.deck.services.looked([run_id]))

    @on(VirtualTable.Scrolled)
    def _scrolled(self) -> None:
        self.model.want()

    @on(VirtualTable.Opened)
    def _opened(self) -> None:
        self.action_open()

    # -------------------------------------------------------------------------------------- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key does something here and now: what does not is shown nowhere."""
        if not self.is_mounted:
            return False
        if action in ("launch", "launch_again") and "launch" not in SCREENS:
            return False
        if action in ("open", "open_tab") and self.selected is None:
            return (action == "open" and len(self.table.keys) > 0) or None
        if action in ("open", "open_tab") and "run" not in SCREENS:
            return False
        if action in ("seen", *_NEED):
            return any(self._is_for(action, run) for run in self.chosen_runs()) or None
        if action == "demo":
            return self.has_class("-empty") and "demo" in self.deck.services.able
        if action == "filter":
            return not self.has_class("-empty")
        if action in ("move", "page", "half", "first", "last", "prefix_g", "mark", "mark_range",
                      "mark_all", "order", "group", "columns", "window", "freeze"):  # fmt: skip
            return not self.has_class("-empty")
        if action == "fold":
            return bool(self.model.view.group) and len(self.table.keys) > 0
        return True

    def action_move(self, step: int) -> None:
        self.table.move(step)

    def action_page(self, step: int) -> None:
        self.table.page(step)

    def action_half(self, step: int) -> None:
        self.table.page(step / 2)

    def action_first(self) -> None:
        self.table.first()

    def action_last(self) -> None:
        self.table.last()

    def action_prefix_g(self) -> None:
        """`g g` goes to the top; one `g` alone waits a second for the other."""
        if self._pending_g:
            self._pending_g = False
            self.table.first()
            return
        self._pending_g = True
        self.set_timer(1.0, self._forget_g)

    def _forget_g(self) -> None:
        self._pending_g = False

    def action_back(self) -> None:
        """`esc`: marks go first, then the filter."""
        if self.table.clear_marks():
            return
        if self.model.view.filter:
            self._show(filter="")

    def action_mark(self) -> None:
        self.table.toggle_mark()

    def action_mark_range(self) -> None:
        self.table.toggle_range()

    def action_mark_all(self) -> None:
        self.table.mark_all()

    def action_fold(self) -> None:
        self.table.toggle_fold()
        self._remember()

    def action_freeze(self) -> None:
        self.model.freeze(None if self.model.frozen else self.deck.clock())
        self._arrange()
        self._update_lines()

    def action_window(self) -> None:
        window = None if self.model.view.window is not None else self.deck.settings.window
        self._show(window=window if window is not None or self.model.view.window else None)

    def _show(self, **changes: object) -> None:
        self.model.show(**changes)
        self._remember()
        self._arrange()
        self._update_lines()

    def action_open(self) -> None:
        if self.table.key is None:
            self.table.toggle_fold()
            return
        self.action_open_tab("overview")

    def action_open_tab(self, tab: str) -> None:
        run = self.selected
        if run is not None:
            self._remember()
            self.deck.open_run(run, tab)
            if self.table.key is not None:
                self._visited = (self.table.key, run.id)

    def action_demo(self) -> None:
        self.spawn(self._demo(), "launching the demo")

    async def _demo(self) -> None:
        await self.deck.services.demo()
        self.model.relist()

    def action_launch(self) -> None:
        self.deck.open_launch(None)

    def action_launch_again(self) -> None:
        if self.selected is not None:
            self.deck.open_launch(self.selected)

    # --- filter, order, group, columns

    def action_filter(self) -> None:
        self.deck.hush()
        if not self.has_class("-asking"):
            self._asked_at = self.table.key
        self.add_class("-asking")
        self._arrange()
        self.filter_bar.ask(self.model.view.filter)
        self.footer_bar.update()

    @on(Input.Changed, "#filter Input")
    def _filter_typed(self) -> None:
        if self.has_class("-asking"):
            self.deck.hush(all=True)  # a complaint was about what stood there
            self.model.show(filter=self.filter_bar.text)

    async def keep_filter(self) -> None:
        """Enter in the filter line. The keys that follow wait a moment for what it says: they are
        meant for the list if the filter is good, and mend it if not."""
        asked = self.spawn(self._take_filter(self.filter_bar.text), "looking")
        await asyncio.wait([asked], timeout=PATIENCE)

    async def _take_filter(self, text: str) -> None:
        """Keep a filter that says something; one that does not stays to be mended."""
        await self.deck.services.listing(replace(self.model.view, filter=text))
        if self.has_class("-asking"):
            self._asked_at = None  # from here on the cursor is where it is
            self.end_filter(text)
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self.model.listed()  # the next key is meant for what is found

    def end_filter(self, text: str) -> None:
        """Leave the filter line with this filter."""
        self.remove_class("-asking")
        if text == self._filter_shown:
            self._asked_at = None  # no other list will come that it could matter for
        self._arrange()
        self.set_focus(self.table, scroll_visible=False)
        self._show(filter=text)

    def move_while_asking(self, step: int) -> None:
        """The person chooses a row while asking: it counts, not the one they came from."""
        self.table.move(step)
        self._asked_at = self.table.key

    def action_order(self) -> None:
        from .runs_menus import ask_order

        ask_order(self, lambda order: self._show(order=(order,)))

    def action_group(self) -> None:
        from .runs_menus import ask_group

        ask_group(self, lambda group: self._show(group=group))

    def action_columns(self) -> None:
        from .runs_menus import ask_columns

        shown = [column.key for column in self._layout.columns]
        ask_columns(self, shown, self._columns_chosen)

    def _columns_chosen(self, columns: list[str]) -> None:
        self.chosen = ["state", "name", *columns] if columns else []
        self._remember()
        self._lay_out()

    # --- acting on runs

    def name_of(self, run_id: str) -> str:
        found = (run.name for run in self.model.records(list(self.table.keys)) if run.id == run_id)
        return next(found, "") or run_id

    def action_seen(self) -> None:
        runs, _ = self._meant_by("seen")
        # The cursor goes on to what is next in line, not with the run to the end of the list.
        self.spawn(self._seen([run.id for run in runs], self.table.key_after()))

    async def _seen(self, run_ids: Sequence[str], then: int | None) -> None:
        if self._visited is not None and self._visited[1] in run_ids:
            self._visited = None
        await self.deck.services.looked(run_ids)
        self._wanted = then
        self.table.clear_marks()
        self.model.relist()

    def _meant_by(self, action: str) -> tuple[list[RunRecord], int]:
        """The chosen runs that an action is for, and how many others are chosen."""
        chosen = self.chosen_runs()
        runs = [run for run in chosen if self._is_for(action, run)]
        return runs, len(chosen) - len(runs)

    def _is_for(self, action: str, run: RunRecord) -> bool:
        """Whether an action can be done to a run."""
        return self._needs_you(run) if action == "seen" else _NEED[action](run)

    def _needs_you(self, run: RunRecord) -> bool:
        return needs_you(run, self.deck.clock())

    def _ask(self, action: str, ask: Callable[[RunsScreen, list[RunRecord], int], None]) -> None:
        """Ask about the chosen runs that an action is for. Of many marked ones, those that were
        never in sight are read first: what is done is done to all that are marked."""
        unknown = [key for key in self.table.marked if self.model.record(key) is None]

        def now() -> None:
            runs, others = self._meant_by(action)
            if runs:
                if action != "remove":
                    self.model.acted_on(run.id for run in runs)
                ask(self, runs, others)

        async def later() -> None:
            await self.model.learn(unknown)
            if self.is_current:
                now()

        if unknown:
            self.spawn(later(), f"reading {plural(len(unknown), 'marked run')}")
        else:
            now()

    def on_key(self, event: events.Key) -> None:
        from .run_actions import say_why_not

        say_why_not(self, event.key, self.chosen_runs())

    def action_stop(self) -> None:
        from .run_actions import ask_stop

        self._ask("stop", ask_stop)

    def action_retry(self) -> None:
        from .run_actions import ask_retry

        self._ask("retry", ask_retry)

    def action_remove(self) -> None:
        from .run_actions import ask_remove

        self._ask("remove", ask_remove)

    def action_edit(self) -> None:
        if self.selected is not None:
            from .run_edit import EditScreen

            # Marks stay: only the run under the cursor is edited.
            edit = EditScreen(self.selected)
            self.app.push_screen(edit, lambda done: self.model.relist() if done else None)

    def action_copy(self) -> None:
        if self.selected is not None:
            from .run_actions import ask_copy

            ask_copy(self, self.selected)

    def acted(self) -> None:
        """Something was done to runs: show it now, and let the marks go."""
        self.table.clear_marks()
        self.model.relist()

    async def on_unmount(self) -> None:
        self._remember()
        if self._visited is not None:  # the end of the program leaves it too
            with suppress(TraindeckError, TimeoutError):
                async with asyncio.timeout(LAST_LOOK):
                    await self.deck.services.looked([self._visited[1]])
        await super().on_unmount()


def _can_retry(run: RunRecord) -> bool:
    from traindeck.console.runs.retrying import can_retry

    return can_retry(run)


_NEED: dict[str, Callable[[RunRecord], bool]] = {
    "stop": lambda run: run.active and run.state is not State.STOPPING,
    "retry": _can_retry,
    "remove": lambda run: run.removable,
    "edit": lambda run: not run.foreign,
    "copy": lambda run: True,
}
"""Actions on runs, and which runs they are for."""
