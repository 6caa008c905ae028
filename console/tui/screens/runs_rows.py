"""The rows of Runs as lines: each made once for what it shows, with the names and short ids that it
takes from other runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from traindeck.console.present.cells import Line
from traindeck.console.present.runs_table import Layout, Look, row
from traindeck.console.present.sentences import runs_named
from traindeck.console.store.records import RunRecord

if TYPE_CHECKING:
    from traindeck.console.tui.app import TraindeckApp

KEPT = 500
"""Lines that are kept: several screens of them."""


class RowLines:
    """Makes the lines of rows.

    Args:
        deck: The application: its clock, glyphs and services.
        learned: Called when lines may say more than they did.
    """

    def __init__(self, deck: Callable[[], TraindeckApp], learned: Callable[[], None]) -> None:
        self._deck = deck
        self._learned = learned
        self._short: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._lines: dict[int, tuple[tuple[object, ...], Line]] = {}

    def line(self, key: int, record: RunRecord, selected: bool, layout: Layout) -> Line:
        """The line of a run. Ages grow by the second: scrolling makes no line twice."""
        deck = self._deck()
        now, glyphs = deck.clock(), deck.painter.glyphs
        named = tuple(map(self._names.get, runs_named(record)))
        short = self._short.get(record.id)
        made_of = (record, selected, layout, glyphs, int(now), short, named)
        kept = self._lines.get(key)
        if kept is not None and kept[0] == made_of:
            return kept[1]
        look = Look(
            now=now, glyphs=glyphs, selected=selected, short_ids=self._short, names=self._names
        )
        line = row(record, layout, look)
        if len(self._lines) > KEPT:
            self._lines.clear()
        self._lines[key] = (made_of, line)
        return line

    def learning(
        self, shown: Sequence[RunRecord], *, short_ids: bool
    ) -> Coroutine[Any, Any, None] | None:
        """What has to be asked to show these runs in full; None if all is known."""
        named = {other for run in shown for other in runs_named(run)} - self._names.keys()
        ids = [run.id for run in shown] if short_ids else []
        if not named and all(run_id in self._short for run_id in ids):
            return None
        self._names.update(dict.fromkeys(named, ""))  # asked once
        return self._learn(sorted(named), ids)

    async def _learn(self, named: Sequence[str], ids: Sequence[str]) -> None:
        services = self._deck().services
        if ids:
            self._short.update(await services.short_ids(ids))
        keys = {run_id: await services.key_of(run_id) for run_id in named}
        found = await services.rows([key for key in keys.values() if key is not None])
        for run_id, key in keys.items():
            record = found.get(key) if key is not None else None
            # A run that is not known here stays nameless.
            self._names[run_id] = record.name if record is not None else ""
        self._learned()
