"""What fits a filter and is not listed: what ended before the list's window or is archived."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traindeck.console.store.filtering import Filter
    from traindeck.console.store.index import Index


def fit_beyond(index: Index, wanted: Filter, now: float) -> tuple[int, int]:
    """How many older and how many archived runs fit a filter that no run within the window fits."""
    from traindeck.console.store.filtering import Condition

    archived = Condition(kind="is", values=("archived",))
    both = replace(wanted, conditions=(*wanted.conditions, archived))
    kept = len(index.ids(both, now=now))
    return len(index.ids(wanted, now=now)) - kept, kept
