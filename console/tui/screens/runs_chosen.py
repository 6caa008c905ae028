"""Which runs a key of the Runs screen means: the marked ones, or the one under the cursor.

Only marks that can be seen count. What is marked and hidden by the filter, the window or a fold
waits: it is left alone, which is said before anything is done, and is marked when it is back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from traindeck.backends.base import State
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
    "stop": lambda run: run.active and run.state is not State.STOPPING,
    "retry": _can_retry,
    "remove": lambda run: run.removable,
    "edit": lambda run: not run.foreign,
    "copy": lambda run: True,
}
"""Actions on runs, and which runs they are for."""

ACTIONS = frozenset({"seen", *_NEED})


class Chosen:
    """The runs that are chosen on the Runs screen."""

    def __init__(self, screen: RunsScreen) -> None:
        self._screen = screen

    def runs(self) -> dict[int, RunRecord]:
        """All of them by their keys, in the order of the list, as far as they are known."""
        table, model = self._screen.table, self._screen.model
        keys = [key for key in table.keys if key in table.marked] if table.marked else [table.key]
        found = {key: model.record(key) for key in keys if key is not None}
        return {key: run for key, run in found.items() if run is not None}

    def of(self, action: str) -> dict[int, RunRecord]:
        """Those that an action is for."""
        fits = self._screen.seen.needs_you if action == "seen" else _NEED[action]
        return {key: run for key, run in self.runs().items() if fits(run)}

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
        """Ask about those that an action is for. Of many marked ones, those that were never in
        sight are read first: what is done is done to all that are marked and not hidden."""
        screen = self._screen
        table, model = screen.table, screen.model
        unknown = [key for key in table.marked if model.record(key) is None]

        def now() -> None:
            runs = list(self.of(action).values())
            if runs:
                if action != "remove":
                    model.acted_on(run.id for run in runs)
                ask(screen, runs, len(self.runs()) - len(runs), len(table.waiting))

        async def later() -> None:
            await model.learn(unknown)
            if screen.is_current:
                now()

        if unknown:
            screen.spawn(later(), f"reading {plural(len(unknown), 'marked run')}")
        else:
            now()
