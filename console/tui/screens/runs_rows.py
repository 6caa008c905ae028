"""The rows of Runs as lines: each made once for what it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from traindeck.console.present.cells import Line
from traindeck.console.present.runs_table import Layout, Look, row
from traindeck.console.store.records import RunRecord

if TYPE_CHECKING:
    from traindeck.console.tui.app import TraindeckApp

KEPT = 500
"""Lines that are kept: several screens of them."""


class RowLines:
    """Makes the lines of rows.

    Args:
        deck: The application: its glyphs and services.
        learned: Called when lines may say more than they did.
        now: The moment that is shown.
    """

    def __init__(
        self,
        deck: Callable[[], TraindeckApp],
        learned: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._deck = deck
        self._now = now
        self._learned = learned
        self._short: dict[str, str] = {}
        self._lines: dict[int, tuple[tuple[object, ...], Line]] = {}

    def line(self, key: int, record: RunRecord, selected: bool, layout: Layout) -> Line:
        """The line of a run. Ages grow by the second: scrolling makes no line twice."""
        now, glyphs = self._now(), self._deck().painter.glyphs
        short = self._short.get(record.id)
        made_of = (record, selected, layout, glyphs, int(now), short)
        kept = self._lines.get(key)
        if kept is not None and kept[0] == made_of:
            return kept[1]
        look = Look(now=now, glyphs=glyphs, selected=selected, short_ids=self._short)
        line = row(record, layout, look)
        if len(self._lines) > KEPT:
            self._lines.clear()
        self._lines[key] = (made_of, line)
        return line

    async def learn_short_ids(self, shown: Sequence[RunRecord]) -> None:
        """Ask for the short ids of these runs, as far as they are not known."""
        ids = [run.id for run in shown]
        if not all(run_id in self._short for run_id in ids):
            self._short.update(await self._deck().services.short_ids(ids))
            self._learned()
