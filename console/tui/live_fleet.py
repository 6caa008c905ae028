"""The accelerators of all places for the screens: asked on the services' loop, told on that of the
keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from traindeck.console.tui.services import FleetNews

if TYPE_CHECKING:
    from traindeck.console.runs.fleet import Fleet
    from traindeck.console.runs.workspace import Workspace

T = TypeVar("T")

GATHER = 0.25
"""Seconds for which news are gathered: what many hosts say becomes one telling."""
RUNS_AGAIN = 2.0
"""Seconds between two looks at the runs that are on devices."""


class LiveFleet:
    """Implements `Watching`, as a part of `LiveServices`."""

    def __init__(self) -> None:
        self._fleet: Fleet | None = None

    async def _await(self, body: Callable[[Workspace], Awaitable[T]]) -> T:
        raise NotImplementedError

    async def watch_fleet(self, every: float, tell: Callable[[FleetNews], None]) -> None:
        from traindeck.console.runs.fleet import Fleet, runs_on

        loop = asyncio.get_running_loop()

        async def watch(ws: Workspace) -> None:
            # Another time goes on with what this one knew: its histories, and values with an age.
            fleet = self._fleet = self._fleet or Fleet(ws, every=every)
            fleet.begin()
            looked = 0.0
            try:
                while True:
                    await fleet.news.wait()
                    places, gone = fleet.changes()
                    runs, now = None, asyncio.get_running_loop().time()
                    if now - looked >= RUNS_AGAIN or not looked:
                        runs, looked = runs_on(ws, fleet), now
                    news = FleetNews(places=places, gone=gone, runs=runs)
                    with suppress(RuntimeError):  # nobody is there any more to be told
                        loop.call_soon_threadsafe(tell, news)
                    await asyncio.sleep(GATHER)
            finally:
                await fleet.aclose()

        await self._await(watch)
