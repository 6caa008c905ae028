"""The loop never waits for a place: over the real services, with a backend of which every method
takes five seconds, each key is on screen before any of them can have answered."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from screen_harness import BLOCKED, SIZE, LoopProbe, cursor, runs_screen, settle
from screen_svg import screen_text
from tests.conformance.fake import FakeBackend, Place
from tests.fakes.runs import make_run

from traindeck.backends.base import BackendError, State, Status
from traindeck.backends.devices.readings import DeviceReport
from traindeck.console.runs.workspace import Workspace, open_workspace
from traindeck.console.settings import Settings
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.live import LiveServices

DELAY = 5.0
SOON = DELAY / 2
"""What is on screen by then did not wait for the backend. No claim of speed: see the benchmarks."""


class SlowBackend(FakeBackend):
    """Counts what it was asked and has answered, so that a test knows that it is waited for."""

    asked = 0
    answered = 0

    async def _visit(self) -> None:
        self.asked += 1
        await super()._visit()
        self.answered += 1

    @asynccontextmanager
    async def devices(
        self, every: float | None = None
    ) -> AsyncIterator[AsyncIterator[DeviceReport]]:
        await self._visit()
        raise BackendError("local has not told of its devices.")
        yield


Opened = tuple[TraindeckApp, Any, SlowBackend]


@pytest.fixture
async def slow(home: Path) -> AsyncIterator[Opened]:
    """The Runs screen over an index of twelve active runs on such a backend."""
    now = time.time()
    place = Place()
    runs = []
    for number in range(12):
        run = make_run(number, f"run-{number}", State.RUNNING, now=now, step=50, total=100, loss=1)
        runs.append(replace(run, backend="local"))
        place.put(run.id, Status(state=State.RUNNING), log=b"step 1 loss 0.5\n" * 100)
    with_runs = open_workspace()
    with_runs.index.put_many(runs)
    await with_runs.aclose()
    backend = SlowBackend("local", place, DELAY)

    def make() -> Workspace:
        workspace = open_workspace()
        workspace._backends["local"] = backend
        return workspace

    services = LiveServices(make)
    app = TraindeckApp(
        services,
        Settings(glyphs="best", refresh=0.5),
        environ={"TERM": "xterm-256color", "LANG": "C.UTF-8"},
        depth="truecolor",
    )
    async with app.run_test(size=SIZE) as pilot:
        yield app, pilot, backend
    await services.aclose()


async def press(opened: Opened, key: str, until: Callable[[str], bool]) -> None:
    """Press a key; what it is to show has to be on screen soon, and not there yet."""
    app, pilot, _ = opened
    assert not until(screen_text(app)), key
    begin = time.monotonic()
    await pilot.press(key)
    await settle(app, pilot, lambda: until(screen_text(app)))
    took = time.monotonic() - begin
    assert took < SOON, f"{key} took {took:.2f} s"


async def test_no_key_waits_for_a_backend_that_takes_five_seconds(slow: Opened) -> None:
    app, pilot, backend = slow
    begin = time.monotonic()
    await settle(app, pilot, lambda: runs_screen(app).model.loaded)
    assert time.monotonic() - begin < SOON, "the list is in the index"
    await settle(app, pilot, lambda: backend.asked > 0)

    # Runs: moving, the filter, help, the palette, and a question.
    await press(slow, "j", lambda t: "selected 2/12" in t)
    await press(slow, "k", lambda t: "selected 1/12" in t)
    await press(slow, "G", lambda t: "selected 12/12" in t)
    await press(slow, "/", lambda t: "enter keep" in t)
    await press(slow, "escape", lambda t: "enter keep" not in t)
    await press(slow, "?", lambda t: "KEYS ON THIS SCREEN" in t)
    await press(slow, "escape", lambda t: "KEYS ON THIS SCREEN" not in t)
    await press(slow, ":", lambda t: "enter go" in t)
    await press(slow, "escape", lambda t: "enter go" not in t)
    await press(slow, "s", lambda t: "Stop 1 run?" in t)
    await press(slow, "escape", lambda t: "Stop 1 run?" not in t)

    # A run: its tabs, help over one, and back.
    name = cursor(app)
    await press(slow, "enter", lambda t: name in t.splitlines()[0])
    for key, word in (
        ("2", "METRICS 1"), ("3", "f follow"), ("6", "reading"), ("7", "/ search"),
        ("1", "50 / 100"), ("l", "f follow"), ("?", "KEYS ON THIS SCREEN"),
    ):  # fmt: skip
        await press(slow, key, lambda t, word=word: word in t)  # type: ignore[misc]
    await press(slow, "escape", lambda t: "KEYS ON THIS SCREEN" not in t)
    await press(slow, "escape", lambda t: "selected 12/12" in t)
    await press(slow, "k", lambda t: "selected 11/12" in t)
    # The Fleet: it is there at once, and says whom it asks.
    await press(slow, "F", lambda t: "asking local…" in t)
    await press(slow, "i", lambda t: "idle and free only" in t)
    await press(slow, "i", lambda t: "idle and free only" not in t)
    await press(slow, "u", lambda t: "by user" in t.splitlines()[1])
    await press(slow, "/", lambda t: "enter keep" in t)
    await press(slow, "escape", lambda t: "enter keep" not in t)
    await press(slow, "?", lambda t: "KEYS ON THIS SCREEN" in t)
    await press(slow, "escape", lambda t: "KEYS ON THIS SCREEN" not in t)
    await press(slow, "escape", lambda t: "selected 11/12" in t)
    assert backend.asked > backend.answered, "it was waited for, by no key"


async def test_the_probe_of_every_test_here_measures_how_long_the_loop_was_blocked() -> None:
    def works() -> None:
        end = time.thread_time() + 0.3
        while time.thread_time() < end:
            sum(range(1000))

    for blocks in (lambda: time.sleep(0.3), works):
        probe = LoopProbe()
        await asyncio.sleep(0.1)
        blocks()
        await asyncio.sleep(0.1)
        assert 0.2 < probe.end() < BLOCKED


async def test_a_process_that_was_stopped_is_not_a_loop_that_was_blocked() -> None:
    probe = LoopProbe()
    await asyncio.sleep(0.1)
    me = os.getpid()
    with subprocess.Popen(["sh", "-c", f"kill -STOP {me}; sleep 1.5; kill -CONT {me}"]):
        await asyncio.sleep(0.3)
    assert probe.end() < 0.5
