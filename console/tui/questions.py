"""Questions that a connection has for the person: brought from its thread to the screen, one after
the other, and never in the way of what is being typed.

A question opens by itself only where the person waits: nothing was pressed for a moment, the last
key was no text, and nothing else lies over the screen. Otherwise the footer names the key that
opens it. What is answered is kept nowhere.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING

from traindeck.backends.asking import Stranger

if TYPE_CHECKING:
    from traindeck.console.tui.app import TraindeckApp
    from traindeck.console.tui.saying import Notice

MOMENT = 0.7
"""Seconds without a key after which a person is taken to wait."""

READ = 15.0
"""Seconds for which it stays that there is something to do."""

LOOK = 0.1
"""Seconds between two looks whether a question can be put."""


class Asked:
    """One question: about a `stranger`, else for a secret. Its answer is True or False, or the
    secret, or None for none."""

    __slots__ = ("answer", "host", "prompt", "stranger")

    def __init__(self, host: str, prompt: str = "", stranger: Stranger | None = None) -> None:
        self.host = host
        self.prompt = prompt
        self.stranger = stranger
        self.answer: Future[str | bool | None] = Future()


class ScreenAsker:
    """An `Asker` for who has the screen. Questions from any thread wait in a line until they are
    answered; once it is closed, and that is before the services are, nobody is trusted and nothing
    known."""

    again = "`:connect` asks again."

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: list[Asked] = []
        self._closed = False
        self._wake: Callable[[], None] = lambda: None
        self._tell: Callable[[str], None] = lambda text: None

    def trusts(self, stranger: Stranger) -> bool:
        """See `Asker.trusts`."""
        return self._ask(Asked(stranger.host, stranger=stranger)) is True

    def secret(self, host: str, prompt: str) -> str | None:
        """See `Asker.secret`."""
        given = self._ask(Asked(host, prompt))
        return given if isinstance(given, str) and given else None

    def notice(self, host: str, text: str) -> None:
        """See `Asker.notice`."""
        self._tell(f"{host}: {text}")

    def _ask(self, asked: Asked) -> str | bool | None:
        with self._lock:
            if self._closed:
                return None
            self._line.append(asked)
            wake = self._wake
        wake()
        return asked.answer.result()

    @property
    def waiting(self) -> int:
        """How many questions have no answer yet."""
        return len(self._line)

    def first(self) -> Asked | None:
        """The question that has waited longest."""
        with self._lock:
            return self._line[0] if self._line else None

    def take(self, asked: Asked, answer: str | bool | None) -> None:
        """A person has answered."""
        with self._lock:
            if asked in self._line:
                self._line.remove(asked)
                asked.answer.set_result(answer)

    def open(self, wake: Callable[[], None], tell: Callable[[str], None]) -> None:
        """Somebody can be asked from now on: `wake` is called, from any thread, for each question
        that comes, and `tell` with what is only to be read."""
        with self._lock:
            self._wake, self._tell = wake, tell
        if self._line:
            wake()

    def close(self) -> None:
        """Nobody can be asked any more. Idempotent."""
        with self._lock:
            self._closed = True
            left, self._line = self._line, []
            self._wake, self._tell = lambda: None, lambda text: None
        for asked in left:
            asked.answer.set_result(None)


class Questions:
    """Puts the questions of an asker to the person in front of the application."""

    def __init__(self, deck: TraindeckApp, asker: ScreenAsker) -> None:
        self._deck = deck
        self._asker = asker
        self._wanted = False
        self._putting: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Take questions. Called on the application's loop."""
        loop = asyncio.get_running_loop()
        context = copy_context()  # the application's, which its screens find it by

        def wake() -> None:
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(self._wake, context=context)

        def show(text: str) -> None:
            self._deck.notice(text, "warn", seconds=READ, urgent=True)

        def tell(text: str) -> None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(show, text, context=context)

        self._asker.open(wake, tell)

    def open_now(self) -> bool:
        """The person wants to be asked now. False if there is no question."""
        self._wanted = self._asker.waiting > 0
        return self._wanted

    def _wake(self) -> None:
        if self._putting is None or self._putting.done():
            self._putting = self._deck.start(self._put(), "")

    async def _put(self) -> None:
        while (asked := self._asker.first()) is not None:
            answer: str | bool | None = None
            try:
                if await self._moment(asked):
                    answer = await self._show(asked)
            finally:
                self._asker.take(asked, answer)
            answer = None

    async def _moment(self, asked: Asked) -> bool:
        """Wait until a question may come up. False if it needs no answer any more."""
        said: Notice | None = None
        waited = 0.0
        try:
            while not asked.answer.done():
                if self._deck.can_be_asked and (self._wanted or self._deck.waits(MOMENT)):
                    return True
                if said is None and waited >= MOMENT:
                    key = self._deck.connect_key
                    way = f"{key} shows it" if self._deck.can_be_asked else "close this to see it"
                    said = self._deck.notice(
                        f"{asked.host} asks something before it can be reached: {way}",
                        "warn",
                        seconds=3600,
                        urgent=True,
                    )
                await asyncio.sleep(LOOK)
                waited += LOOK
            return False
        finally:
            self._wanted = False
            self._deck.take_back(said)

    async def _show(self, asked: Asked) -> str | bool | None:
        from .screens.asking import TRUST, SecretScreen, TrustScreen

        screen: TrustScreen | SecretScreen
        if asked.stranger is not None:
            screen = TrustScreen(asked.stranger)
        else:
            screen = SecretScreen(asked.host, asked.prompt)
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

        def decide(result: str | None) -> None:
            if not done.done():
                done.set_result(result)

        self._deck.push_screen(screen, decide)
        while not done.done():
            await asyncio.wait((done,), timeout=LOOK)
            if screen not in self._deck.screen_stack and not done.done():
                return None  # something else has taken it away
        return done.result() == TRUST if asked.stranger is not None else done.result()
