"""Fixtures that every screen's tests inherit: an application over a fake world, and snapshots."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from screen_harness import BLOCKED, SIZE, CheckScreen, LoopProbe, MakeApp, OnRuns, drawn, settle
from screen_svg import screen_rows, screen_text, to_svg
from tests.fakes.runs import FakeServices, small_services

from traindeck.console.settings import Settings
from traindeck.console.tui.app import TraindeckApp

SNAPSHOTS = Path(__file__).resolve().parents[2] / "snapshots"


@pytest.fixture(autouse=True)
def _fixed_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """Keeps what other tests left in this process out of the collector's way: with a training
    library among it, one collection takes a second, in the middle of a screen's test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
async def loop_probe() -> AsyncIterator[LoopProbe]:
    """Watches the loop in every test here, which fails if a key would have had to wait."""
    probe = LoopProbe()
    yield probe
    longest = probe.end()
    assert longest < BLOCKED, f"the loop answered nothing for {longest:.2f} s"


@pytest.fixture
def make_app() -> MakeApp:
    """Makes an application over services, with a fixed clock and no files."""

    def make(services: FakeServices, **settings: Any) -> TraindeckApp:
        depth, told = settings.pop("depth", "truecolor"), settings.pop("told", None)
        asker = settings.pop("asker", None)
        return TraindeckApp(
            services,
            Settings(**{"glyphs": "best", **settings}),
            environ={"TERM": "xterm-256color", "LANG": "C.UTF-8"},
            depth=depth,
            clock=lambda: services.now,
            told=told,
            asker=asker,
        )

    return make


@pytest.fixture
def on_runs(make_app: MakeApp) -> OnRuns:
    """Opens the Runs screen and waits until it shows everything, over the small world if no other
    is given: `async with on_runs(services, size=(80, 24)) as (app, pilot)`."""

    @asynccontextmanager
    async def opened(
        services: FakeServices | None = None, *, size: tuple[int, int] = SIZE, **settings: Any
    ) -> AsyncIterator[tuple[TraindeckApp, Any]]:
        app = make_app(small_services() if services is None else services, **settings)
        async with app.run_test(size=size) as pilot:
            await settle(app, pilot, drawn(app))
            yield app, pilot

    return opened


@pytest.fixture
def check_screen(request: pytest.FixtureRequest, tmp_path: Path) -> CheckScreen:
    """Compares what is on screen with `snapshots/NAME.svg`.

    `pytest --snapshot-update`, or SNAPSHOT_UPDATE=1, writes it anew. If it differs, the message
    shows the lines of text that do, and names a file with the SVG as it is now.
    """

    def check(app: TraindeckApp, name: str) -> None:
        __tracebackhide__ = True
        text, svg = screen_text(app), to_svg(screen_rows(app), name)
        path = SNAPSHOTS / f"{name}.svg"
        update = bool(getattr(request.config.option, "update_snapshots", False))
        if update or os.environ.get("SNAPSHOT_UPDATE"):
            if not path.exists() or path.read_text() != svg:
                path.write_text(svg)
            return
        if not path.exists():
            pytest.fail(f"there is no {path.name} yet: run with --snapshot-update and look at it")
        if path.read_text() != svg:
            now = tmp_path / path.name
            now.write_text(svg)
            pytest.fail(f"{path.name} differs; it is now {now}:\n{_different(path, text)}", False)

    return check


def _different(path: Path, text: str) -> str:
    """The rows whose text is not in the stored snapshot; colours alone may differ too."""
    import html
    import re

    stored = html.unescape(" ".join(re.findall(r">([^<>]+)</text>", path.read_text())))
    words = set(stored.split())
    lines = [line for line in text.splitlines() if set(line.split()) - words]
    return "\n".join(lines) or "(only colours or places differ)"
