"""The filter of an open log: its lines around where one was, one of them looked at among its
neighbours, and the place given back when it goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from traindeck.backends.data import dataclass
from traindeck.console.logs.rows import Anchor, chosen
from traindeck.console.logs.search import Search
from traindeck.console.logs.window import LogView


@dataclass(frozen=True, slots=True)
class _Before:
    """Where one was when a filter was set: the row at the top, the one that was jumped to; the line
    that one looks at and the rows above it; whether it was the end."""

    top: Anchor
    target: Anchor | None
    at: int
    above: int
    ended: bool


@dataclass(frozen=True, slots=True)
class _Aside:
    """Where one was in the filter's lines when one of them was looked at in its place."""

    top: Anchor
    target: Anchor
    following: bool


class LogFilter:
    """The filter of one view.

    Attributes:
        search: Whose lines are kept; None if all are.
        placed: Whether all of its lines around the place are known that it was set at.
    """

    def __init__(self) -> None:
        self.search: Search | None = None
        self.placed = True
        self._before: _Before | None = None
        self._moved = False  # since it was set
        self._aside: _Aside | None = None

    @property
    def aside(self) -> bool:
        """Whether it is set aside: all lines are shown around one of its own."""
        return self._aside is not None

    def moved(self) -> None:
        """The person has moved. What one does beside a filter that is set aside does not count."""
        self._moved = self._moved or not self.aside

    def begin_anew(self, view: LogView, fresh: Search | None) -> None:
        """The log was cut or replaced: no place in it holds any more."""
        self.search = view.filter = fresh
        self._before = self._aside = None
        self.placed = True

    async def change(
        self, view: LogView, fresh: Search | None, count: Callable[[], Awaitable[None]]
    ) -> None:
        """Show only the lines of a search, those nearest to where one is, or (None) all: then the
        chosen line or else the first one on the screen stays where it is; without a move since
        the filter, or a line that it shows, it is the very place before.

        Args:
            count: Learns what can be known of the search at once.
        """
        window, aside = await view.window(), self.aside
        rows, here = window.rows, chosen(window.rows) or 0
        if fresh is not None and (self._before is None or self._moved or aside):
            at = rows[here].anchor.offset if rows else view.top.offset
            ended = window.at_end or view.following
            self._before = _Before(view.top, view.target, at, here, ended)
            self._moved = False
        old, self.search, view.filter = self.search, fresh, fresh
        self.placed, self._aside = True, None
        if old is not None:
            await old.aclose()
        await count()
        if fresh is not None:
            await self._to_nearest(view)
            return
        before, self._before = self._before, None
        if before is None or aside:
            return
        if view.following or (before.ended and not self._moved):
            await view.to_end()
        elif self._moved and rows:
            jumped = not rows[here].current
            await view.to_offset(rows[here].anchor.offset, above=here, mark=jumped)
        else:
            await view.to_place(before.top, before.target)

    async def settle(self, view: LogView, *, pending: bool) -> None:
        """More of its lines may be known now.

        Args:
            pending: Whether not all were that the last look showed.
        """
        if self.search is None or self.aside:
            return
        if not self.placed:
            await self._to_nearest(view)
        elif self._moved and view.ending and pending:
            await view.to_end()

    async def _to_nearest(self, view: LogView) -> None:
        """To its lines around the place that it was set at; again as long as not all of them are
        known and the person has not moved."""
        if self.search is None or self._before is None or self._moved:
            self.placed = True
            return
        self.placed = self.search.census.covered >= view.pages.size
        if self._before.ended:
            await view.to_end()
        else:
            above = self._before.above
            await view.to_offset(self._before.at, above=above, reveal=False, mark=True)

    async def peek(self, view: LogView) -> bool:
        """Show the chosen line among its neighbours, those before it too; again: only the filter's
        own, as before. False if there is no filter, or no line of it."""
        if self._aside is not None:
            aside, self._aside = self._aside, None
            view.filter = self.search
            await view.to_place(aside.top, aside.target)
            view.following = aside.following
            return True
        rows = (await view.window()).rows
        here = chosen(rows)
        if view.filter is None or here is None:
            return False
        anchor, self.placed = rows[here].anchor, True
        self._aside = _Aside(view.top, anchor, view.following)
        view.filter = None
        await view.to_offset(anchor.offset, mark=True)
        return True
