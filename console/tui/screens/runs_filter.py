"""The filter of Runs: asking for one, and what completes it. It acts while it is typed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from textual.suggester import Suggester

from traindeck.console.tui.widgets.filter_line import FilterLine

if TYPE_CHECKING:
    from .runs import RunsScreen

PATIENCE = 0.3
"""Seconds that keys wait for a filter that was just entered."""

HINT = "say state:running tag:sft name:*lora* lr>1e-4 since:2d"


class _Words(Suggester):
    """Completes the word that is being typed."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        from traindeck.console.runs.filters import completed

        return value + completed(value)[0]


class Filtering:
    """Asking for a filter on the Runs screen, and where the cursor goes meanwhile: back to where it
    was when the filter is widened again, unless the person has chosen another row.

    Attributes:
        line: Where it is typed.
        asking: Whether it is.
    """

    def __init__(self, screen: RunsScreen) -> None:
        self._screen = screen
        self.line = FilterLine(self, HINT, _Words())
        self.asking = False
        self._asked_at: int | None = None
        self._shown = ""

    @property
    def fitting(self) -> Sequence[str]:
        """The words that what is being typed could become, if there are several."""
        from traindeck.console.runs.filters import completed

        found = completed(self.line.typed)[1]
        return found if len(found) > 1 else ()

    def begin(self) -> None:
        """Ask for a filter."""
        screen = self._screen
        screen.deck.hush()
        if not self.asking:
            self._asked_at = screen.table.key
        self.asking = True
        screen.place_parts()
        self.line.ask(screen.model.view.filter)
        screen.footer_bar.update()

    def typed(self) -> None:
        """Something else stands in the line."""
        if self.asking:
            self._screen.deck.hush(all=True)  # a complaint was about what stood there
            self._screen.model.show(filter=self.line.text)
            self._screen.footer_bar.update()

    def move(self, step: int) -> None:
        """Up and down choose a row without leaving the line: it counts, not the one they came
        from."""
        self._screen.table.move(step)
        self._asked_at = self._screen.table.key

    async def keep(self) -> None:
        """Enter: keep what is typed. The keys that follow wait a moment for what it says: they are
        meant for the list if the filter is good, and mend it if not."""
        asked = self._screen.spawn(self._take(self.line.text), "looking")
        await asyncio.wait([asked], timeout=PATIENCE)

    async def _take(self, text: str) -> None:
        """Keep a filter that says something; one that does not stays to be mended."""
        screen = self._screen
        await screen.deck.services.listing(replace(screen.model.view, filter=text))
        if self.asking:
            self._asked_at = None  # from here on the cursor is where it is
            self.end(text)
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await screen.model.listed()  # the next key is meant for what is found

    def end(self, text: str) -> None:
        """Leave the line with this filter."""
        self.asking = False
        if text == self._shown:
            self._asked_at = None  # no other list will come that it could matter for
        self._screen.set_focus(self._screen.table, scroll_visible=False)
        self._screen.show(filter=text)

    def listed(self, keys: Collection[int]) -> int | None:
        """There is a new list: the key to put the cursor on, if it is that of another filter and
        gives back the row that an earlier one hid."""
        now = self._screen.model.view.filter
        other, self._shown = self._shown != now, now
        wanted = self._asked_at if other and self._asked_at in keys else None
        if other and not self.asking:
            self._asked_at = None
        return wanted
