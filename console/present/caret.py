"""Where one types. By itself, because every screen has a line to type in and few have a form."""

from __future__ import annotations

from traindeck.backends.data import dataclass


@dataclass(frozen=True, slots=True)
class Caret:
    """Where one types: the text of the focused field as it stands, and the place in it.

    Attributes:
        mark: Where a selection begins that ends at `at`: typing replaces it. None for none.
        rest: What would complete the text, shown behind its end: no part of it until it is taken.
    """

    text: str = ""
    at: int = 0
    mark: int | None = None
    rest: str = ""
