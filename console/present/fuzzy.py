"""Finding by a few letters: how well a query fits a name, letters in order, words' starts first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def score(query: str, text: str) -> float | None:
    """How well `query` fits `text`: higher is better, None if its letters are not in it in order.

    A run of letters counts more than scattered ones, the start of a word more than its middle, and
    a short name more than a long one.
    """
    if not query:
        return 0.0
    wanted, have = query.casefold(), text.casefold()
    whole = have.find(wanted)
    if whole >= 0:
        starts = whole == 0 or not have[whole - 1].isalnum()
        return 100.0 + (40.0 if whole == 0 else 20.0 if starts else 0.0) - len(have) * 0.1
    total = 0.0
    at = -1
    for char in wanted:
        if char == " ":
            continue
        found = have.find(char, at + 1)
        if found < 0:
            return None
        starts = found == 0 or not have[found - 1].isalnum()
        total += 8.0 if starts else 4.0 if found == at + 1 else 1.0
        at = found
    return total - len(have) * 0.05


def best(query: str, items: Iterable[tuple[str, T]], limit: int) -> Sequence[T]:
    """The items whose text fits best, best first; items that fit alike keep their order."""
    scored = []
    for number, (text, item) in enumerate(items):
        points = score(query, text)
        if points is not None:
            scored.append((-points, number, item))
    scored.sort(key=lambda entry: entry[:2])
    return [item for _, _, item in scored[:limit]]
