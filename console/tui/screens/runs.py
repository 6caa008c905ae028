"""Runs, the home screen: every run in groups, what needs a person first, the selected one below.

The screen only shows and asks: what it knows comes from its model, what it does goes to the
services as a task in the background. What it is made of beside its widgets has a module each: the
filter (runs_filter), which runs are meant (runs_chosen), which are seen (runs_seen), where the
cursor goes (runs_going), what is said around the list (runs_says), what is kept for another day
(runs_memory), and what is asked (runs_menus, run_actions).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from traindeck.backends.errors import TraindeckError
from traindeck.console.present.cells import Line
from traindeck.console.present.chrome import PlaceMark
from traindeck.console.present.runs_counts import header_counts, sign_counts
from traindeck.console.present.runs_table import group_head
from traindeck.console.store.records import RunRecord
from traindeck.console.tui import keys
from traindeck.console.tui.model import RunsModel
from traindeck.console.tui.services import Counts, View
from traindeck.console.tui.widgets.lines import Lines
from traindeck.console.tui.widgets.virtual_table import Section, VirtualTable

from . import runs_says
from .base import place_mark, tries_of
from .index import SCREENS
from .list_screen import ListScreen
from .runs_chosen import ACTIONS, Chosen
from .runs_filter import Filtering
from .runs_going import Going
from .runs_memory import keep, restore
from .runs_pane import RunPane
from .runs_rows import RowLines
from .runs_seen import Seen

ROOMY = 30
"""Rows from which on there is room for blank lines and the line of context."""


MARKED = 500
"""Marks out of sight that are followed; of more, no count is given for what their keys do."""


class RunsScreen(ListScreen):
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
        self._footer: tuple[object, list[tuple[str, str]]] | None = None
        self._slow = False
        self._following = False
        self._shown: View | None = None
        self.filtering = Filtering(self)
        self.chosen = Chosen(self)
        self.seen = Seen(self)
        self.going = Going(self)
        self.context_bar = Lines(lambda cells, _: [runs_says.above(self, cells)], id="context")
        self.gap = Lines(lambda cells, _: runs_says.refused(self, cells), id="gap")
        self.heads_bar = Lines(lambda *_: [self.rows.heads()], id="heads")
        self.table = VirtualTable(
            self._row_line,
            self._head_line,
            note=lambda: runs_says.in_place_of_rows(self, slow=self._slow),
            id="table",
        )
        self.rows = RowLines(
            lambda: self.deck,
            learned=self.table.refresh_changed,
            now=lambda: self.model.frozen_at or self.deck.clock(),
            tries=lambda: tries_of(self.model.places),
        )
        self.empty = Lines(partial(runs_says.in_place_of_the_list, self), id="empty")
        self.foot_gap = Lines(id="foot_gap")
        self.pane = RunPane(id="pane")
        self._early = False
        self.model = RunsModel(
            self.deck.services,
            restore(self.deck.ui, self),
            on_listing=self._listed,
            on_rows=self._rows_known,
            on_error=self._failed,
            visible=lambda: self._followed() if self.table.is_mounted else (),
            idle=self._idle,
        )
        # The list is asked for before the widgets are mounted: both take their time.
        self.spawn(self.model.run())

    # ---------------------------------------------------------------------------------------- build

    def body(self) -> ComposeResult:
        yield self.context_bar
        yield self.filtering.line
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

    def _idle(self) -> float:
        """Seconds since a key was pressed here: keys on another screen hold no rows in place."""
        in_sight = self.is_current or self in self.deck._background_screens
        return self.deck.idle if in_sight else math.inf

    def _remember(self) -> None:
        keep(self.deck.ui, self)

    # ----------------------------------------------------------------------------------- the parts

    @property
    def has_content(self) -> bool:
        """Whether there is something to show: the first frame waits for it."""
        return self.model.loaded and self._shown is not None

    @property
    def is_empty(self) -> bool:
        """Whether there are no runs at all."""
        return self.has_class("-empty")

    @property
    def selected(self) -> RunRecord | None:
        """The run under the cursor."""
        key = self.table.key
        return self.model.record(key) if key is not None else None

    def in_sight(self, pages: int = 0) -> list[RunRecord]:
        """The runs on screen, and those of `pages` screens above and below."""
        return self.model.records(self.table.visible_keys(pages))

    def _followed(self) -> Sequence[int]:
        """Of which runs every change is to be known: what is in sight, and what is marked."""
        marked = [] if len(self.table.marked) > MARKED else self.table.marked
        return list(dict.fromkeys([*self.table.visible_keys(pages=1), *marked]))

    def on_resize(self) -> None:
        self.place_parts()

    def place_parts(self) -> None:
        """Give every part its rows: the less room, the fewer parts."""
        rows = self.app.size.height
        roomy = rows >= ROOMY
        empty = self.is_empty
        asking = self.filtering.asking
        telling = roomy or runs_says.is_unusual(self)
        self.empty.display = empty
        self.filtering.line.display = asking
        self.context_bar.display = telling and not asking and not empty
        refused = runs_says.refused(self, self.app.size.width)
        self.gap.display = bool(roomy or refused) and not empty
        self.gap.styles.height = max(1, len(refused))
        self.gap.update()
        self.foot_gap.display = roomy and not empty
        self.heads_bar.display = self.table.display = not empty
        self.pane.display = rows >= 20 and not empty
        self.pane.styles.height = 4 if rows < 36 else 12 if rows < 50 else 16
        self._lay_out()

    def _lay_out(self) -> None:
        self.rows.lay_out(self.app.size.width, self.in_sight())
        self.heads_bar.update()
        self.table.repaint()

    # ----------------------------------------------------------------------------------- view lines

    def _row_line(self, key: int, selected: bool) -> Line | None:
        record = self.model.record(key)
        return self.rows.line(key, record, selected) if record is not None else None

    def _head_line(self, section: Section, folded: bool, cells: int) -> Line:
        return group_head(
            section.title, section.count, cells, self.deck.painter.glyphs, folded=folded
        )

    def crumbs(self) -> Sequence[str]:
        return ("Runs",)

    def counts(self) -> Sequence[Line]:
        if not self.model.loaded or self.is_empty:
            return ()
        found = self.model.listing.counts
        return header_counts(found.running, found.queued, found.needs_you)

    def sign_counts(self) -> Sequence[Line]:
        """The counts for a screen that is too small."""
        found: Counts = self.model.listing.counts
        glyphs = self.deck.painter.glyphs
        return sign_counts(found.running, found.queued, found.needs_you, glyphs)

    def places(self) -> Sequence[PlaceMark]:
        return [place_mark(place, self.deck.connect_key) for place in self.model.places]

    def run_in_hand(self) -> RunRecord | None:
        return self.selected

    def context(self) -> Line:
        return runs_says.below(self)

    def able(self) -> set[str]:
        """What can be begun from here."""
        return {*SCREENS, *self.deck.services.able}

    @property
    def explains_line(self) -> bool:
        return self.filtering.asking

    def reading_notes(self) -> Sequence[Line]:
        """For the help: how to read a row; while a filter is typed, its language."""
        from traindeck.console.present.help import language_notes, state_notes

        if self.filtering.asking:
            from traindeck.console.runs.filters import LANGUAGE

            return language_notes(LANGUAGE, self.deck.painter.glyphs)
        return state_notes(max(40, self.app.size.width - 16), self.deck.painter.glyphs)

    def footer_keys(self) -> list[tuple[str, str]]:
        if self.filtering.asking:
            f1 = self.help_while_typing()
            ways = [(key, "language") for key, _ in f1]
            return [("enter", "keep"), ("tab", "complete"), ("↑ ↓", "row"), *ways,
                    ("esc", "as before")]  # fmt: skip
        run, marked, empty = self.selected, len(self.table.marked), self.is_empty
        # What can be done depends on no more than this, as long as nothing is marked.
        place = (self.table.key is None, len(self.table.keys) > 0, empty, self.focused)
        bound = tuple(self.deck.settings.keys.items())
        depends = (run and (run.state, run.foreign, self.seen.needs_you(run)), place, bound)
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
        counted = name in ("seen", "stop", "retry", "remove", "edit") and self.table.marked
        if counted and self.model.current(self.table.marked):
            return f"{action.label} {len(self.chosen.of(name)):,}"
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
        # With another filter, order or grouping it is another list; a wider window only adds to it.
        shown, self._shown = self._shown, replace(self.model.view, window=None)
        anew = shown != self._shown
        if anew:
            self.rows.forget()
        widened, wanted = self.filtering.listed(listing.keys), self.going.listed()
        before = self.table.key
        self.table.folds = not self.model.view.filter  # what it finds is shown
        at = widened if wanted is None else wanted
        self.table.set_rows(listing.keys, sections, at=at, anew=anew)
        self.going.resume()
        if before is not None and wanted is None and not anew:
            self.going.let_go(before)
        self.seen.listed()
        self.chosen.listed()
        self.place_parts()
        self.empty.update()
        self._update_lines()

    async def go_to_run(self, run: RunRecord) -> None:
        """Put the cursor on a run. One that is not listed is named."""
        await self.going.to(run)

    def hold_key(self, event: events.Key) -> bool:
        """Whether a key waits until its run is listed. Called in the order of typing."""
        return self.going.hold(event)

    def _rows_known(self, changed: Sequence[int]) -> None:
        if not self.table.is_mounted:
            return
        if self.rows.suits(self.in_sight()):
            self.table.known(changed)
        else:
            self._lay_out()
        if self.table.key in changed:
            self.pane.select(self.table.key, self.selected)
            self.seen.back()
        self._update_lines()
        if "id" in self.rows.layout:
            self.spawn(self.rows.learn_short_ids(self.in_sight(pages=1)))

    def _failed(self, error: TraindeckError | None) -> None:
        if not self.table.is_mounted:
            return
        self._follow()
        self.place_parts()
        self._update_lines()
        if self.filtering.asking:
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
        self.seen.moved(self.table.key)
        self.pane.select(event.key, self.selected)
        self.footer_bar.update()

    def on_screen_resume(self) -> None:
        self.seen.back()

    @on(VirtualTable.Scrolled)
    def _scrolled(self) -> None:
        self.model.want()
        if not self.rows.suits(self.in_sight()):
            self._lay_out()

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
        if action in ACTIONS:
            return bool(self.chosen.of(action)) or None
        if action == "demo":
            return self.is_empty and "demo" in self.deck.services.able
        if action in ("move", "page", "half", "first", "last", "prefix_g", "mark", "mark_range",
                      "mark_all", "filter", "order", "group", "columns", "window",
                      "freeze"):  # fmt: skip
            return not self.is_empty
        if action == "fold":
            return bool(self.model.view.group) and self.table.folds and len(self.table.keys) > 0
        return True

    def action_back(self) -> None:
        """`esc`: the marks that can be seen go first, then the filter, then marks that nothing can
        be seen of even so."""
        if self.table.clear_marks():
            return
        if self.model.view.filter:
            self.show(filter="")
        else:
            self.table.clear_marks(waiting=True)

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
        self.place_parts()
        self._update_lines()

    def action_window(self) -> None:
        usual = self.deck.settings.window
        self.show(window=usual if self.model.view.window is None else None)

    def show(self, **changes: object) -> None:
        """Show another view, and remember it: `show(filter="tag:sft")`."""
        self.model.show(**changes)
        self._remember()
        self.place_parts()
        self._update_lines()

    def action_open(self) -> None:
        if self.table.key is None:
            self.table.toggle_fold()
            return
        self.action_open_tab("")

    def action_open_tab(self, tab: str) -> None:
        run = self.selected
        if run is not None:
            self._remember()
            self.deck.open_run(run, tab)
            if self.table.key is not None:
                self.seen.opened(self.table.key, run)

    def action_demo(self) -> None:
        self.spawn(self._demo(), "launching the demo")

    async def _demo(self) -> None:
        await self.deck.services.demo()
        self.model.relist()

    def action_fleet(self) -> None:
        self._remember()
        self.deck.open_fleet()

    def action_launch(self) -> None:
        self.deck.open_launch(None)

    def action_launch_again(self) -> None:
        if self.selected is not None:
            self.deck.open_launch(self.selected)

    # --- filter, order, group, columns

    def action_filter(self) -> None:
        self.filtering.begin()

    @on(Input.Changed, "#filter Input")
    def _filter_typed(self) -> None:
        self.filtering.typed()

    def action_order(self) -> None:
        from .runs_menus import ask_order

        ask_order(self, lambda order: self.show(order=(order,)))

    def action_group(self) -> None:
        from .runs_menus import ask_group

        ask_group(self, lambda group: self.show(group=group))

    def action_columns(self) -> None:
        from .runs_menus import ask_columns

        ask_columns(self, self._columns_chosen)

    def _columns_chosen(self, columns: list[str]) -> None:
        self.rows.columns = ["state", "name", *columns] if columns else []
        self.rows.forget()
        self._remember()
        self._lay_out()

    # --- acting on runs

    def name_of(self, run_id: str) -> str:
        found = (run.name for run in self.model.records(list(self.table.keys)) if run.id == run_id)
        return next(found, "") or run_id

    def action_seen(self) -> None:
        self.chosen.asked = frozenset()
        # The cursor goes on to what is next in line, not with the run to the end of the list.
        self.spawn(self.seen.say(self.chosen.of("seen"), self.table.key_after()))

    def on_key(self, event: events.Key) -> None:
        from .run_actions import say_why_not

        say_why_not(self, event.key, list(self.chosen.runs().values()))

    def action_stop(self) -> None:
        from .run_actions import ask_stop

        self.chosen.ask("stop", ask_stop)

    def action_retry(self) -> None:
        from .run_actions import ask_retry

        self.chosen.ask("retry", ask_retry)

    def action_remove(self) -> None:
        from .run_actions import ask_remove

        self.chosen.ask("remove", ask_remove)

    def action_edit(self) -> None:
        """Edit the run under the cursor, or the tags of those that are marked. Marks stay: there
        may be more to say of them."""
        from .run_edit import EditScreen

        def edit(_: RunsScreen, runs: Sequence[RunRecord], *left: int) -> None:
            form = EditScreen(*runs)
            self.app.push_screen(form, lambda done: self.model.relist() if done else None)

        if self.table.marked:
            self.chosen.ask("edit", edit)
        elif self.selected is not None:
            edit(self, [self.selected])

    def action_shell(self) -> None:
        if self.selected is not None:
            from .reaching import open_shell

            open_shell(self.deck, self.selected)

    def action_forward(self) -> None:
        if self.selected is not None:
            from .reaching import ask_forward

            ask_forward(self.deck, self.selected)

    def action_copy(self) -> None:
        if self.selected is not None:
            from .run_actions import ask_copy

            ask_copy(self, self.selected)

    def acted(self) -> None:
        """Something was done to runs: show it now, and let their marks go; of those too that the
        filter hides since then: they would be back with them."""
        self.table.clear_marks()
        self.table.waiting -= self.chosen.asked
        self.model.relist()

    async def on_unmount(self) -> None:
        self._remember()
        await self.seen.end()
        await super().on_unmount()
