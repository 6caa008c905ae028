"""What completes what is being typed, shown behind the cursor and taken by a key: of a path found
elsewhere, of an option's value what the place has."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from traindeck.console.present.cells import clean
from traindeck.console.present.launch_fields import VALUE
from traindeck.console.runs.drafting import OPTION
from traindeck.console.tui import keys

if TYPE_CHECKING:
    from traindeck.console.present.caret import Caret

    from .launch import LaunchScreen

SETTLE = 0.03
"""Seconds without a key after which it is looked for: not for what is typed over at once."""


class Completing:
    """Completes paths and options of the form. What comes when more was typed is not shown any
    more, so that only what is seen is taken."""

    def __init__(self, screen: LaunchScreen) -> None:
        self._screen = screen
        self._looking: asyncio.Task[None] | None = None

    def look(self) -> None:
        """The line was edited: look for the rest of what it says now."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        entry, caret = self._screen.entry, self._screen.caret
        if entry is None or caret is None or caret.at != len(caret.text):
            return
        if entry.key.startswith(OPTION) and caret.text:
            begun = (word for word in entry.suggest if word.startswith(caret.text))
            rest = next(begun, "").removeprefix(caret.text)
            if rest and rest == clean(rest):
                self._screen.offer(replace(caret, rest=rest))
        if entry.path:
            self._looking = self._screen.spawn(self._find(entry.key, caret))

    async def _find(self, key: str, caret: Caret) -> None:
        screen = self._screen
        await asyncio.sleep(SETTLE)
        field = key.removeprefix(VALUE)
        rest = await screen.deck.services.path_rest(screen.draft, field, caret.text)
        if rest and rest == clean(rest) and caret is screen.caret:
            screen.offer(replace(caret, rest=rest))

    def keys(self) -> list[tuple[str, str]]:
        """For the footer: the key that takes what is shown."""
        caret = self._screen.caret
        if caret is None or not caret.rest:
            return []
        key = keys.key_text("right")
        ascii_only = self._screen.deck.painter.glyphs.name == "ascii"
        return [(keys.in_words(key) if ascii_only else key, "complete")]
