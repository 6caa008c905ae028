"""What keys ask of a log: done one after the other, said where it takes its time, stopped by `esc`.

Looking goes on beside it, so that a long search shows its progress.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from traindeck.backends.data import dataclass
from traindeck.backends.errors import TraindeckError, UsageError

if TYPE_CHECKING:
    from traindeck.console.runs.log_session import LogSession
    from traindeck.console.tui.saying import Notice

    from .run_log import LogPane

Work = Callable[["LogSession"], Awaitable[object]]

SLOW = 0.2
"""Seconds after which it is said what a key has begun."""


@dataclass(slots=True)
class Request:
    """Something a key asked for. `rows` are added up while they wait their turn; with `step` it is
    a filter's line that moves, not the screen. What was `refused` is only to be said."""

    work: Work
    otherwise: str = ""
    doing: str = ""
    rows: int = 0
    step: bool = False
    refused: str = ""


class Requests:
    """The requests of a pane, in their order.

    Attributes:
        doing: What goes on for longer than a moment, in words.
    """

    def __init__(self, pane: LogPane) -> None:
        self.doing = ""
        self._pane = pane
        self._waiting: deque[Request] = deque()
        self._awake = asyncio.Event()
        self._acting = False
        self._request: Request | None = None
        self._current: asyncio.Future[object] | None = None
        self._stopped = False
        self._refused: Notice | None = None
        """What was said last of a key that could not do what it was asked."""

    @property
    def busy(self) -> bool:
        """Whether anything that was asked for is not done yet."""
        return bool(self._waiting) or self._acting

    def add(self, work: Work, *, otherwise: str = "", doing: str = "") -> None:
        """Ask the session for something; say what it answers in words, and `otherwise` if it
        answers False."""
        self._waiting.append(Request(work, otherwise, doing))
        self._awake.set()

    def scroll(self, rows: int, *, step: bool = False) -> None:
        """Move by rows, together with what waits to move already."""
        last = self._waiting[-1] if self._waiting else None
        if last is not None and last.rows and last.step == step:
            last.rows += rows
            return
        self._waiting.append(Request(nothing, rows=rows, step=step))
        self._awake.set()

    def clear(self) -> None:
        """Forget what was not begun."""
        self._waiting.clear()

    def stop(self) -> None:
        """Forget what was not begun, and end what was."""
        self._waiting.clear()
        if self._current is not None:
            self._stopped = True
            self._current.cancel()

    def refuse(self, words: str) -> None:
        """Say why nothing will be done, once what was asked for before is; what is done afterwards
        takes it back."""
        self._waiting.append(Request(nothing, refused=words))
        self._awake.set()

    async def serve(self) -> None:
        """Do what keys asked for, in their order, until cancelled."""
        while True:
            # What was typed before there is a place to show it waits for that.
            while self._waiting and self._pane.has_room:
                self._acting = True
                try:
                    await self._act(self._waiting.popleft())
                finally:
                    self._acting = False
            self._awake.clear()
            await self._awake.wait()

    async def _act(self, request: Request) -> None:
        pane = self._pane
        if request.refused:
            self._refused = pane.deck.notice(request.refused, "warn")
            return
        session = await pane.session()
        if session is None:
            return
        self._request = request
        slow = pane.set_timer(SLOW, lambda: self._is_slow(request)) if request.doing else None
        try:
            if request.rows:
                await (session.step if request.step else session.scroll)(request.rows)
            self._current = asyncio.ensure_future(request.work(session))
            answer = await self._current
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            self._stopped = False
            pane.deck.notice("stopped", "muted")
            answer = None
        except UsageError as error:
            self._refused = pane.deck.complain(error)
            return
        except TraindeckError as error:
            from traindeck.console.logs.worker import ScanEnded

            stopped = isinstance(error, ScanEnded)
            pane.deck.notice("stopped" if stopped else error.what, "muted")
            return
        finally:
            self._current = self._request = None
            if slow is not None:
                slow.stop()
                self._say("")
        words = request.otherwise if answer is False else answer
        if isinstance(words, str) and words:
            self._refused = pane.deck.notice(words, "muted")
        elif request.work is not nothing:
            pane.deck.take_back(self._refused)
        await pane.look(refresh=False)

    def _is_slow(self, request: Request) -> None:
        """A timer that has run out may be heard only after what it was set for is done."""
        if self._request is request:
            self._say(request.doing)

    def _say(self, words: str) -> None:
        if words != self.doing:
            self.doing = words
            self._pane.chrome()


async def nothing(session: LogSession) -> None:
    """A request that only looks again."""
