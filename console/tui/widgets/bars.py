"""Header and footer: the two lines that every screen has. Both ask their screen what to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from traindeck.console.present.cells import Line
from traindeck.console.present.chrome import PlaceMark, footer, header

from .lines import Lines


@runtime_checkable
class Footed(Protocol):
    """A screen with a footer."""

    def context(self) -> Line:
        """The left of the footer while there is nothing else to say."""
        ...

    def footer_keys(self) -> list[tuple[str, str]]:
        """Key and label of what can be done now, most used first."""
        ...


@runtime_checkable
class Headed(Protocol):
    """A screen with a header."""

    def crumbs(self) -> Sequence[str]:
        """Where one is, from Runs down."""
        ...

    def counts(self) -> Sequence[Line]:
        """The screen's own counts, as clauses."""
        ...

    def places(self) -> Sequence[PlaceMark]:
        """The backends."""
        ...


class HeaderBar(Lines):
    """The top line: where one is, the screen's counts, the places."""

    ground = "surface"

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        screen = self.screen
        assert isinstance(screen, Headed)
        return [
            header(
                screen.crumbs(),
                screen.counts(),
                screen.places(),
                cells,
                self.deck.clock(),
                self.deck.painter.glyphs,
            )
        ]


class FooterBar(Lines):
    """The bottom line: what is going on, and the keys that do something here and now."""

    ground = "surface"

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        screen = self.screen
        assert isinstance(screen, Footed)
        deck, keys = self.deck, screen.footer_keys()
        left = deck.said or screen.context()
        urgent = deck.said_urgently
        return [footer(left, keys, cells, urgent=urgent, shorter=deck.said_shorter)]
