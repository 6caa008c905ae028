"""Searches that a screen asks: it waits for none of them for long."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from traindeck.backends.errors import TraindeckError, UsageError
from traindeck.console.logs.search import Progress, Search

V = TypeVar("V")

PATIENCE = 1.0
"""Seconds that the screen waits for an expression to be matched against what it shows."""


class Patience:
    """That of one screen."""

    def __init__(self) -> None:
        self._slow: Search | None = None

    async def answer(self, search: Search, asked: Coroutine[Any, Any, V]) -> V | None:
        """The answer of a search, or None: if it was stopped or the log does not answer for now,
        and from now on if its expression is wrong or takes so long that the screen would stand
        still."""
        try:
            return await asyncio.wait_for(asked, PATIENCE)
        except (TimeoutError, UsageError):
            self._slow = search
            return None
        except TraindeckError:
            return None

    def is_over(self, search: Search) -> bool:
        """Whether a search is not to be waited for. One that has been counted through the whole log
        is not endless: it was this machine that was busy, and now it is known where to look."""
        return search is self._slow and search.progress is not Progress.DONE
