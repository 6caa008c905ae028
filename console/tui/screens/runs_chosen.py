"""Which runs a key of the Runs screen means: the marked ones, or the one under the cursor.

Only marks that can be seen count. What is marked and hidden by the filter, the window or a fold
waits: it is left alone, which is said before anything is done, and is marked when it is back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from traindeck.console.present.numbers import plural
from traindeck.console.store.records import RunRecord

if TYPE_CHECKING:
    from .runs import RunsScreen

Ask = Callable[["RunsScreen", list[RunRecord], int, int], None]
"""Asks about runs: the screen, the runs, how many more are chosen that it is not for, and how many
more are marked where they cannot be seen."""


def _can_retry(run: RunRecord) -> bool:
    from traindeck.console.runs.retrying import can_retry

    return can_retry(run)


_NEED: dict[str, Callable[[RunRecord], bool]] = {
    "stop": lambda run: run.stoppable,
    "retry": _can_retry,
    "remove": lambda run: run.removable,
    "edit": lambda run: not run.foreign,
    "copy": lambda run: True,
}
"""Actions on runs, and which runs they are for."""

ACTIONS = frozenset({"seen", *_NEED})


class Chosen:
    """The runs that are chosen on the Runs screen.

    Attributes:
        asked: The keys that were last asked about.
    """

    def __init__(self, screen: RunsScreen) -> None:
        self._screen = screen
        self.asked: frozenset[int] = frozenset()

    def keys(self) -> list[int]:
        """Their keys, in the order of the list."""
        table = self._screen.table
        if table.marked:
            return [key for key in table.keys if key in table.marked]
        return [table.key] if table.key is not None else []

    def runs(self) -> dict[int, RunRecord]:
        """All of them by their keys, as far as they are known."""
        found = {key: self._screen.model.record(key) for key in self.keys()}
        return {key: run for key, run in found.items() if run is not None}

    def of(self, action: str) -> dict[int, RunRecord]:
        """Those that an action is for."""
        return self._fitting(action, self.runs())

    def _fitting(self, action: str, runs: Mapping[int, RunRecord]) -> dict[int, RunRecord]:
        fits = self._screen.seen.needs_you if action == "seen" else _NEED[action]
        return {key: run for key, run in runs.items() if fits(run)}

    def listed(self) -> None:
        """There is a new list: marks that wait in it are of runs that there are."""
        if self._screen.table.waiting:
            self._screen.spawn(self._forget_gone())

    async def _forget_gone(self) -> None:
        screen = self._screen
        gone = await screen.model.gone(screen.table.waiting)
        if gone:
            screen.table.waiting -= gone
            screen.footer_bar.update()

    def ask(self, action: str, ask: Ask) -> None:
        """Ask about those that an action is for. Marks out of sight, or in a list that is frozen,
        are read first: what is asked is about the runs as they are, not as they were last seen."""
        screen, keys = self._screen, self.keys()
        self.asked = frozenset(keys)
        model = screen.model

        def now(chosen: Mapping[int, RunRecord]) -> None:
            runs = list(self._fitting(action, chosen).values())
            if not runs:
                why_not(screen, action, list(chosen.values()))
                return
            if action != "remove":
                model.acted_on(run.id for run in runs)
            ask(screen, runs, len(chosen) - len(runs), len(screen.table.waiting))

        async def later() -> None:
            chosen = await model.learn(keys)
            if screen.is_current:
                now({key: chosen[key] for key in keys if key in chosen})

        from .run_actions import why_not

        if model.current(keys):
            now(self.runs())
        else:
            screen.spawn(later(), f"reading {plural(len(keys), 'run')}")
