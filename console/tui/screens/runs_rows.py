"""The rows of Runs as lines: in which columns, and each line made once for what it shows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from traindeck.console.present.cells import Line
from traindeck.console.present.runs_columns import (
    Layout,
    default_columns,
    heads,
    layout,
    metric_head,
)
from traindeck.console.present.runs_table import Look, needs, row
from traindeck.console.store.records import RunRecord

if TYPE_CHECKING:
    from traindeck.console.tui.app import TraindeckApp

KEPT = 500
"""Lines that are kept: several screens of them."""


class RowLines:
    """Makes the lines of rows and of their heads.

    Args:
        deck: The application: its glyphs and services.
        learned: Called when lines may say more than they did.
        now: The moment that is shown.
        tries: Backend -> when it is tried again, of those that do not answer.

    Attributes:
        columns: Those that the person has chosen; empty for the usual ones.
    """

    def __init__(
        self,
        deck: Callable[[], TraindeckApp],
        learned: Callable[[], None],
        now: Callable[[], float],
        tries: Callable[[], Mapping[str, float]],
    ) -> None:
        self._deck = deck
        self._now = now
        self._tries = tries
        self._learned = learned
        self.columns: list[str] = []
        self.layout: Layout = layout(80)
        self._metric = ""
        self._cells = 80
        self._needed: dict[str, int] = {}
        self._short: dict[str, str] = {}
        self._lines: dict[int, tuple[tuple[object, ...], Line]] = {}

    def lay_out(self, cells: int, shown: Sequence[RunRecord]) -> None:
        """Choose the columns for a width and the runs in sight. One that needed room once keeps it:
        scrolling back and forth shifts nothing."""
        if cells != self._cells:
            self.forget()
        self._metric, self._cells = metric_head(shown), cells
        for key, needed in needs(shown, self.chosen).items():
            self._needed[key] = max(needed, self._needed.get(key, 0))
        self.layout = self.layout_of(self.columns)

    def layout_of(self, columns: Collection[str], shown: Sequence[RunRecord] = ()) -> Layout:
        """The columns that there is room for, of these or (none) of the usual ones. What some of
        them take is only known if `shown` are the runs in sight."""
        needed = {**needs(shown, columns), **self._needed}
        return layout(self._cells, columns or None, metric=self._metric, needed=needed)

    @property
    def chosen(self) -> Sequence[str]:
        """The columns that are to be shown, if there is room."""
        return self.columns or default_columns(self._cells)

    def suits(self, shown: Sequence[RunRecord]) -> bool:
        """Whether the columns are right for the runs in sight."""
        found = needs(shown, self.chosen)
        return metric_head(shown) == self._metric and all(
            cells <= self._needed.get(key, 0) for key, cells in found.items()
        )

    def forget(self) -> None:
        """Other runs are to be shown: what those before needed is past."""
        self._needed = {}

    def heads(self) -> Line:
        """The line above the rows."""
        return heads(self.layout)

    def line(self, key: int, record: RunRecord, selected: bool) -> Line:
        """The line of a run. Ages grow by the second: scrolling makes no line twice."""
        now, glyphs = self._now(), self._deck().painter.glyphs
        short = self._short.get(record.id)
        tries = self._tries()
        again = tries.get(record.backend)
        made_of = (record, selected, self.layout, glyphs, int(now), short, again)
        kept = self._lines.get(key)
        if kept is not None and kept[0] == made_of:
            return kept[1]
        look = Look(now=now, glyphs=glyphs, selected=selected, short_ids=self._short, tries=tries)
        line = row(record, self.layout, look)
        if len(self._lines) > KEPT:
            self._lines.clear()
        self._lines[key] = (made_of, line)
        return line

    async def learn_short_ids(self, shown: Sequence[RunRecord]) -> None:
        """Ask for the short ids of these runs, as far as they are shown and not known."""
        ids = [run.id for run in shown]
        if "id" in self.layout and not all(run_id in self._short for run_id in ids):
            self._short.update(await self._deck().services.short_ids(ids))
            self._learned()
