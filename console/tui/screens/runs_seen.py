"""When what needs a person is seen: what leaves NEEDS YOU, and that this is said.

A run that was opened from the list is seen when the person is done with it, not before: its row,
its keys and the cursor wait for them. They are done when the cursor moves on, when they open
another, and when the program ends; if it needs nobody, as soon as they are back, for no row moves
for that, and what becomes of it later is news. `x` says the same of runs that were not opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from traindeck.backends.errors import TraindeckError
from traindeck.console.present.runs_footer import seen_words
from traindeck.console.store.records import GROUPS, RunRecord, needs_you

if TYPE_CHECKING:
    from .runs import RunsScreen

LAST_LOOK = 1.0
"""Seconds that the end of the program waits for what was looked at to be noted."""


class Seen:
    """What a person has looked at on the Runs screen."""

    def __init__(self, screen: RunsScreen) -> None:
        self._screen = screen
        self._opened: tuple[int, str] | None = None  # key and id
        self._leaving: dict[int, str] = {}  # keys and names of what is about to leave NEEDS YOU

    def needs_you(self, run: RunRecord) -> bool:
        """Whether a run needs a person at this moment."""
        return needs_you(run, self._screen.deck.clock())

    def opened(self, key: int, run: RunRecord) -> None:
        """The person has opened a run."""
        self._opened = (key, run.id)

    def moved(self, key: int | None) -> None:
        """The cursor is on this key now."""
        if self._opened is not None and self._opened[0] != key:
            self._done()

    def back(self) -> None:
        """The person is back, or what was opened has changed."""
        run = self._record()
        if run is not None and self._screen.is_current and not self.needs_you(run):
            self._done()

    def _record(self) -> RunRecord | None:
        return self._screen.model.record(self._opened[0]) if self._opened is not None else None

    def _done(self) -> None:
        assert self._opened is not None
        run, (key, run_id) = self._record(), self._opened
        self._opened = None
        leaving = {key: run.name or run.id} if run is not None and self.needs_you(run) else {}
        self._screen.spawn(self._look([run_id], leaving))

    async def say(self, runs: Mapping[int, RunRecord], then: int | None) -> None:
        """The person says that these are seen, by their keys. `then`: where the cursor goes."""
        if self._opened is not None and self._opened[0] in runs:
            self._opened = None
        names = {key: run.name or run.id for key, run in runs.items()}
        await self._look([run.id for run in runs.values()], names)
        self._screen.going.wanted = then
        self._screen.acted()

    async def _look(self, run_ids: Sequence[str], leaving: Mapping[int, str]) -> None:
        await self._screen.deck.services.looked(run_ids)
        self._leaving |= leaving

    def listed(self) -> None:
        """There is a new list: if rows have left NEEDS YOU because they were seen, say so once."""
        if not self._leaving:
            return
        screen = self._screen
        groups = {key: screen.table.group_of(key) for key in self._leaving}
        left = [key for key, group in groups.items() if group is None or group.key != GROUPS[0]]
        names = [self._leaving.pop(key) for key in left]
        titles = {group.title for key in left if (group := groups[key]) is not None}
        if names:
            by_state = screen.model.view.group == "state" and len(titles) == 1
            screen.deck.notice(seen_words(names, titles.pop() if by_state else ""))

    async def end(self) -> None:
        """The program ends, and with it the look at what was opened."""
        if self._opened is not None:
            with suppress(TraindeckError, TimeoutError):
                async with asyncio.timeout(LAST_LOOK):
                    await self._screen.deck.services.looked([self._opened[1]])
