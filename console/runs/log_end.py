"""What became of whatever writes a log: what ended it, and since when its loss is no number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from traindeck.backends.errors import TraindeckError, Unreachable
from traindeck.console.logs.evidence import what_ended
from traindeck.console.logs.findings import Finding
from traindeck.console.logs.search import Pattern, Search
from traindeck.console.logs.severity import LOOK, NOT_FINITE
from traindeck.console.logs.source import Pages
from traindeck.console.logs.window import LogView
from traindeck.console.runs.log_opening import Opening


class LogEnd:
    """The end of a log, looked for once nothing more is written.

    Args:
        opening: Says how it stands with the writer now.
        spawn: Begins a task that ends with the session at the latest.

    Attributes:
        over: Whether nothing more will be written, and `finding` is all there is to find.
        finding: What ended it, if it ended badly and its log or end says so.
        not_finite: Where the line begins whose loss was no number for the first time.
        why_none: Where there is nothing, why there is no log.
    """

    def __init__(
        self,
        opening: Opening,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self.over = False
        self.finding: Finding | None = None
        self.not_finite: int | None = None
        self.why_none = ""
        self._opening = opening
        self._asked: bool | None = None
        self._spawn = spawn
        self._seeking: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether the first line whose loss is no number is being looked for."""
        return self._seeking is not None and not self._seeking.done()

    async def look(self, view: LogView) -> None:
        """When nothing more is written, once: what ended it."""
        if self.over:
            return
        fate = self._opening.fate()
        if not view.pages.size and self._asked is not fate.over:
            self._asked = fate.over  # at first, and once nothing more can come
            self.why_none = await self._opening.why_none()
        if fate.diverged and self._seeking is None:
            self._seeking = self._spawn(self._find_nan(view.pages))
        if not fate.over:
            return
        if fate.failed:
            await view.refresh()
            try:
                self.finding = await what_ended(
                    view.pages, exit_code=fate.exit_code, signal=fate.signal, step=fate.step
                )
            except Unreachable:
                return  # less is held here than that takes: the log is shown all the same
        self.over = True
        view.following = False

    async def _find_nan(self, pages: Pages) -> None:
        search = Search(pages.source, Pattern(NOT_FINITE, regex=True))
        try:
            hit = await search.next(0, pages.size)
            if hit is not None:
                near = max(0, hit.start - LOOK)
                before = await pages.read(near, hit.start - near)
                self.not_finite = near + before.rfind(b"\n") + 1
        except TraindeckError:
            pass  # a convenience
        finally:
            await search.aclose()
