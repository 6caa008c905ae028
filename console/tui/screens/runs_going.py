"""Where the cursor of Runs goes: to a run that was asked for, to where it was on another day; and
what is said of a run that it lets go."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from traindeck.console.present.runs_footer import gone_words
from traindeck.console.store.records import RunRecord

if TYPE_CHECKING:
    from textual import events

    from .runs import RunsScreen

LIST_WITHIN = 3.0
"""Seconds in which a list that was asked for is expected."""


class Going:
    """Takes the cursor to runs, also to such as are not listed yet.

    Attributes:
        wanted: The key that the cursor goes to when the next list comes in.
        saved: The id of the run that the cursor was on when the program ended last.
    """

    def __init__(self, screen: RunsScreen) -> None:
        self._screen = screen
        self.wanted: int | None = None
        self.saved: str | None = None
        self._held: list[events.Key] | None = None
        self._late: events.Key | None = None
        self._finding: asyncio.Task[None] | None = None

    def listed(self) -> int | None:
        """There is a list: the key that the cursor goes to in it."""
        wanted, self.wanted = self.wanted, None
        return wanted

    def resume(self) -> None:
        """The first list is shown: back to where the cursor was."""
        if self.saved is not None:
            saved, self.saved = self.saved, None
            self._screen.spawn(self._back_to(saved))

    def let_go(self, key: int) -> None:
        """The cursor was on this key before the list changed by itself. If the run went to where it
        cannot be seen, and the cursor stayed, what became of it is said."""
        screen = self._screen
        run, group = screen.model.record(key), screen.table.group_of(key)
        gone = screen.table.key != key and screen.model.view.group == "state"
        if gone and run is not None and group is not None:
            screen.deck.notice(gone_words(run, group.title, screen.deck.painter.glyphs))

    def find(self, run: RunRecord) -> None:
        """To a run that is not listed: the list is widened. What is typed from now on is meant for
        that run; it waits until the cursor is there, and is for no other if it does not get there.
        """
        self._held = self._held or []
        self._finding = self._screen.spawn(self._find(run))

    def hold(self, event: events.Key) -> bool:
        """Whether a key waits for the run that is being found. `esc` gives it up."""
        if self._held is None or event is self._late or event.key == "ctrl+c":
            return False
        if event.key == "escape" and self._finding is not None:
            self._finding.cancel()
            self._held = None
        else:
            self._held.append(event)
        return True

    async def _find(self, run: RunRecord) -> None:
        screen, name = self._screen, run.name or run.id
        try:
            async with asyncio.timeout(LIST_WITHIN):
                key = await screen.deck.services.key_of(run.id)
                if key is None:
                    screen.deck.notice(f"{name} is gone", "warn")
                    return
                await screen.model.learn([key])  # who acts on a row has to know it
                self.wanted = key
                screen.show(filter="", window=None)
                while not screen.table.go_to(key):
                    await screen.model.relisted()
            while self._held and self._finding is asyncio.current_task():
                self._late = self._held.pop(0)
                await screen.deck.take_late(self._late)
        except TimeoutError:
            if self._held:
                screen.deck.notice(f"{name} is not listed yet: nothing was done to it", "warn")
        except asyncio.CancelledError:
            self.wanted = None
            raise
        finally:
            if self._finding is asyncio.current_task():  # else a key that had waited finds another
                self._held = None

    async def to(self, run: RunRecord) -> None:
        """To a run. One that is not listed is named."""
        screen, name = self._screen, run.name or run.id
        key = await screen.deck.services.key_of(run.id)
        if key is None:
            screen.deck.notice(f"{name} is gone", "warn")
        elif not screen.table.go_to(key):
            self.wanted = key
            screen.model.relist()  # it may be new
            with suppress(TimeoutError):
                await asyncio.wait_for(screen.model.relisted(), LIST_WITHIN)
            if not screen.table.go_to(key):
                self.wanted = None
                hides = "the filter hides it" if screen.model.view.filter else "it is not listed"
                screen.deck.notice(f"{name}: {hides}", "warn")

    async def _back_to(self, run_id: str) -> None:
        """To where the cursor was on another day, unless what needs a person would be out of sight
        from there."""
        screen = self._screen
        key = await screen.deck.services.key_of(run_id)
        if key is None or screen.deck.idle <= 1.0:
            return
        # The table may not be laid out yet: what stands in the first third of the screen is seen.
        before = screen.table.rows_before(key)
        near = before is not None and before < screen.app.size.height // 3
        if near or not screen.model.listing.counts.needs_you:
            screen.table.go_to(key)
