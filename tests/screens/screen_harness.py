"""What tests of screens share besides fixtures: types, and waiting for a screen to settle."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from screen_svg import screen_text
from tests.fakes.runs import FakeServices
from textual import events

from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.screens.overlay import ChoiceScreen
from traindeck.console.tui.screens.runs import RunsScreen

MakeApp = Callable[..., TraindeckApp]
OnRuns = Callable[..., AbstractAsyncContextManager[tuple[TraindeckApp, Any]]]
CheckScreen = Callable[[TraindeckApp, str], None]

SIZE = (120, 40)
"""Of the terminal, where a test does not say another."""


BLOCKED = 1.0
"""Seconds that no test may keep the loop that answers keys from doing so. It is some ten times what
a slow machine needs, and less than anything that waits for a place, a file lock or a process."""


class LoopProbe:
    """Measures for how long the running loop turned to nothing else.

    Time for which the machine let its thread lie does not count. Where that could have run and was
    given no processor, the kernel has counted it; where the whole process was stopped, a thread
    beside the loop measures it, by being late itself while the process used no CPU.
    """

    def __init__(self, every: float = 0.05) -> None:
        self.longest = 0.0
        self._every = every
        self._stopped = 0.0
        self._stop = threading.Event()
        threading.Thread(target=self._lie, daemon=True).start()
        self._queue = _open_queue()
        self._last, self._before = time.monotonic(), (0.0, self._waited())
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def _lie(self) -> None:
        last, used = time.monotonic(), time.process_time()
        while not self._stop.wait(self._every):
            now, cpu = time.monotonic(), time.process_time()
            self._stopped += max(0.0, now - last - self._every - (cpu - used))
            last, used = now, cpu

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self._look()

    def _look(self) -> None:
        gap = time.monotonic() - self._last - self._every
        waited = self._waited()
        if gap > max(self.longest, 0.2):
            time.sleep(2 * self._every)  # the thread may not have had its turn yet
            gap -= max(self._stopped - self._before[0], waited - self._before[1])
        self.longest = max(self.longest, gap)
        self._last, self._before = time.monotonic(), (self._stopped, self._waited())

    def end(self) -> float:
        """Stop. Returns the longest gap in seconds."""
        self._look()
        self._task.cancel()
        self._stop.set()
        if self._queue is not None:
            os.close(self._queue)
        return self.longest

    def _waited(self) -> float:
        """Seconds for which the thread stood in a processor's queue; 0 where nobody counts."""
        if self._queue is None:
            return 0.0
        return int(os.pread(self._queue, 100, 0).split()[1]) / 1e9


def _open_queue() -> int | None:
    """What the kernel counts for this thread, to be read again and again: looks at it are in every
    test of a screen, and it is for the screen that they take time."""
    try:
        return os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


async def settle(app: TraindeckApp, pilot: Any, until: Callable[[], bool]) -> None:
    """Let the application run until something is so; fails after ten seconds."""
    end = time.monotonic() + 10
    while not until():
        if time.monotonic() > end:
            raise AssertionError("it never came to that:\n" + screen_text(app))
        await pilot.pause(0.02)
    await pilot.pause()


def burst(app: TraindeckApp, *keys: str) -> None:
    """Keys that come all at once, as over a slow link or from a fast hand: names as Textual has
    them, or characters."""
    for key in keys:
        app.post_message(events.Key(key, key if len(key) == 1 else None))


async def answer(app: TraindeckApp, pilot: Any, services: FakeServices, key: str) -> None:
    """Answer a question as a person does: once it stands there, and having read it."""
    await settle(app, pilot, lambda: isinstance(app.screen, ChoiceScreen))
    services.now += 1
    await pilot.press(key)


async def still(app: TraindeckApp, pilot: Any) -> None:
    """Let the application run until what is on screen has not changed for a while."""
    before, since = "", time.monotonic()
    end = since + 20
    while time.monotonic() - since < 0.4:
        now = screen_text(app)
        if now != before:
            before, since = now, time.monotonic()
        assert since < end, "it never came to rest"
        await pilot.pause(0.03)


def runs_screen(app: TraindeckApp) -> RunsScreen:
    """The Runs screen, whatever lies over it."""
    screen = app.screen_stack[0]
    assert isinstance(screen, RunsScreen)
    return screen


def drawn(app: TraindeckApp) -> Callable[[], bool]:
    """Whether the Runs screen has everything it waits for."""

    def look() -> bool:
        screen = runs_screen(app)
        if not screen.model.loaded or not screen.model.places:
            return False
        if screen.selected is None or not screen.pane.display:
            return True
        return screen.pane.complete

    return look


def names(app: TraindeckApp) -> list[str]:
    """The listed runs in order."""
    screen = runs_screen(app)
    return [run.name for run in screen.model.records(list(screen.table.keys))]


def cursor(app: TraindeckApp) -> str:
    """The name of the run under the cursor."""
    run = runs_screen(app).selected
    return run.name if run else ""


async def go_to(app: TraindeckApp, pilot: Any, name: str) -> None:
    """Move the cursor down to a run."""
    for _ in range(30):
        if cursor(app) == name:
            return
        await pilot.press("j")
    raise AssertionError(f"{name} is not listed")


def cursor_row(app: TraindeckApp) -> int:
    """The row of the screen that has the cursor."""
    lines = screen_text(app).splitlines()
    return next(y for y, line in enumerate(lines) if y > 0 and line.startswith(("▌", "▏")))


# -------------------------------------------------------------------------------------- moving
