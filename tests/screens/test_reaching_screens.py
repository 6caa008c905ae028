"""A port of a run, its files and a shell from the screens: asked for, shown, ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from screen_harness import CheckScreen, MakeApp, settle
from screen_svg import screen_text
from tests.fakes.run import FakeRunServices, run_world
from tests.fakes.runs import NOW

from traindeck.backends.base import BackendError, Listener, Reach, State
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.services import Place

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}


def world() -> FakeRunServices:
    services = run_world()
    run = services.runs[0]
    assert run is not None
    services.listeners[run.id] = [
        Listener(port=6006, program="tensorboard"),
        Listener(port=7777, program="python3"),
    ]
    return services


async def opened(app: TraindeckApp, pilot: Any, tab: str = "overview") -> str:
    """The first run's screen. Its id."""
    assert isinstance(app.services, FakeRunServices)
    run = app.services.runs[0]
    assert run is not None
    app.open_run(run, tab)
    await settle(app, pilot, lambda: ("run.json" if tab == "files" else "LOG") in screen_text(app))
    return run.id


def calls(app: TraindeckApp, name: str) -> list[Any]:
    assert isinstance(app.services, FakeRunServices)
    return [detail for called, detail in app.services.calls if called == name]


@pytest.mark.parametrize("size", SIZES)
async def test_ports_are_offered_opened_and_ended(
    make_app: MakeApp, check_screen: CheckScreen, size: str
) -> None:
    app = make_app(world())
    async with app.run_test(size=SIZES[size]) as pilot:
        run = await opened(app, pilot)
        await pilot.press("P")
        await settle(app, pilot, lambda: "6006 TensorBoard" in screen_text(app))
        await pilot.press("enter")
        await settle(app, pilot, lambda: "http://127.0.0.1:6006" in screen_text(app))
        assert calls(app, "forward") == [(run, 6006)]
        app.hush(all=True)
        await pilot.press("8", "8", "8", "x", "9", "backspace", "8")
        await settle(app, pilot, lambda: "another port  8888" in screen_text(app))
        check_screen(app, f"run-forward-{size}")
        await pilot.press("enter")
        await settle(app, pilot, lambda: "http://127.0.0.1:8888" in screen_text(app))
        await pilot.press("x")
        await settle(app, pilot, lambda: "http://127.0.0.1:8888" not in screen_text(app))
        assert calls(app, "end_forward") == [8888]
        await pilot.press("7", "0", "0", "0", "0", "enter")
        await settle(app, pilot, lambda: "is no port" in screen_text(app))
        await pilot.press("escape")
        await settle(app, pilot, lambda: "another port" not in screen_text(app))


async def test_a_place_that_forwards_nothing_says_so(make_app: MakeApp) -> None:
    services = world()
    services.broken["ports"] = BackendError("lab cannot forward a port of its runs.")
    app = make_app(services)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await opened(app, pilot)
        await pilot.press("P")
        await settle(app, pilot, lambda: "lab cannot forward" in screen_text(app))


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_is_brought_where_one_says(
    make_app: MakeApp, check_screen: CheckScreen, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    app = make_app(world())
    async with app.run_test(size=SIZES[size]) as pilot:
        run = await opened(app, pilot, "files")
        await pilot.press("p")
        await settle(app, pilot, lambda: "Bring it here" in screen_text(app))
        check_screen(app, f"run-pull-{size}")
        await pilot.press("ctrl+u", *"/data", "enter")
        await settle(app, pilot, lambda: "1 file, 7 B" in screen_text(app))
        ((asked, paths, to),) = calls(app, "pull")
        assert (asked, len(paths), to) == (run, 1, "/data")


async def test_what_is_on_its_way_here_ends_when_one_goes_back(make_app: MakeApp) -> None:
    services = world()
    services.pulls = asyncio.Event()
    app = make_app(services)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await opened(app, pilot, "files")
        await pilot.press("p")
        await settle(app, pilot, lambda: "Bring it here" in screen_text(app))
        await pilot.press("ctrl+u", *"/data", "enter")
        await settle(app, pilot, lambda: "esc stops it" in screen_text(app))
        await pilot.press("escape")
        await settle(app, pilot, lambda: "p goes on where it was" in screen_text(app))
        assert calls(app, "pull cancelled") == [None]
        assert "run.json" in screen_text(app)  # the screen is still there
        await pilot.press("escape")
        await settle(app, pilot, lambda: "run.json" not in screen_text(app))


async def test_a_run_says_when_its_place_is_tried_again(make_app: MakeApp) -> None:
    services = world()
    run = services.runs[0]
    assert run is not None
    down = replace(run, state=State.RUNNING, reach=Reach.DOWN, observed_at=NOW - 400)
    services.change(0, down)
    services._places = (
        Place(name=down.backend, reach=Reach.DOWN, seen_at=NOW - 400, next_try=NOW + 12),
    )
    app = make_app(services)
    words = f"{down.backend} does not answer · next try in 12 s"
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await opened(app, pilot)
        await settle(app, pilot, lambda: words in screen_text(app))
        await pilot.press("escape")
        await settle(app, pilot, lambda: words in screen_text(app))


async def test_a_shell_that_cannot_be_is_said_with_the_screen_still_there(
    make_app: MakeApp,
) -> None:
    app = make_app(world())
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await opened(app, pilot)
        await pilot.press("S")
        await settle(app, pilot, lambda: "cannot open a shell" in screen_text(app))
        assert "LOG" in screen_text(app)
