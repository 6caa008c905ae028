"""A path in the Launch form is completed as in a shell, by → behind it, and only if it is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from launch_harness import SIZES, at_rest, fill, open_form
from screen_harness import MakeApp, burst, settle
from screen_svg import screen_text
from tests.fakes.launch import launch_services
from tests.fakes.mounts import DEAD, dead_mount

from traindeck.backends.base import Option
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.screens.launch import LaunchScreen

WIDE = SIZES["120x40"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("models/llama-1b", "data"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data/chats.jsonl").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def offered(app: TraindeckApp, pilot: Any, screen: LaunchScreen, rest: str) -> None:
    """Until so much more is shown behind what is typed."""

    def shown() -> bool:
        caret = screen.caret
        return caret is not None and caret.rest == rest and caret.text + rest in screen_text(app)

    await settle(app, pilot, shown)


@pytest.mark.parametrize("depth", ["truecolor", "256", "none"])
async def test_the_rest_of_a_path_is_shown_and_is_part_of_it_only_once_it_is_taken(
    make_app: MakeApp, home: Path, depth: str
) -> None:
    app = make_app(launch_services(), depth=depth)
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        screen.go_to("cwd")
        assert "→ complete" not in screen_text(app)
        await fill(pilot, "~/mo")
        await offered(app, pilot, screen, "dels/")
        assert "→ complete" in screen_text(app).splitlines()[-1]
        assert screen.draft.text("cwd") == "~/mo"
        await pilot.press("right")
        assert screen.draft.text("cwd") == "~/models/"
        await offered(app, pilot, screen, "llama-1b/")
        await pilot.press("tab")  # the next field, as everywhere
        assert screen.draft.text("cwd") == "~/models/"
        assert "llama-1b" not in screen_text(app)
        assert "→ complete" not in screen_text(app)


async def test_paths_of_a_recipe_are_completed_too_from_the_folder_it_runs_in(
    make_app: MakeApp, home: Path
) -> None:
    app = make_app(launch_services())
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        await pilot.press("up", "space")
        await at_rest(app, pilot)
        screen.go_to("cwd")
        await fill(pilot, "data")
        for key in ("data", "eval_data", "resume"):
            screen.go_to(f"set.{key}")
            await pilot.press("ctrl+e", *["backspace"] * 4)
            await fill(pilot, "chats.")
            await offered(app, pilot, screen, "jsonl")
            await pilot.press("right")
            assert screen.draft.values[key] == "chats.jsonl"
        screen.go_to("name")
        await fill(pilot, "chats.")
        await at_rest(app, pilot)
        assert screen.caret is not None
        assert not screen.caret.rest


async def test_an_arrow_takes_nothing_that_was_not_shown(make_app: MakeApp, home: Path) -> None:
    app = make_app(launch_services())
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        screen.go_to("cwd")
        burst(app, *"mod", "right", "left", "right", "tab")
        await settle(app, pilot, lambda: screen.focus_key != "cwd")
        await at_rest(app, pilot)
        assert screen.draft.text("cwd") == "mod"


async def test_a_dead_mount_delays_no_key(make_app: MakeApp, home: Path) -> None:
    app = make_app(launch_services())
    with dead_mount():
        async with app.run_test(size=WIDE) as pilot:
            screen = await open_form(app, pilot)
            screen.go_to("cwd")
            await fill(pilot, f"{DEAD}/x")
            await at_rest(app, pilot)
            await pilot.press("ctrl+u")
            await fill(pilot, "~/mo")
            await offered(app, pilot, screen, "dels/")


async def test_an_option_of_a_place_is_completed_by_what_the_place_has(make_app: MakeApp) -> None:
    services = launch_services()
    services.options = {"account": Option(help="The account that is charged.")}
    services.offers = {"account": ("ml-speech", "vision")}
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        screen.go_to("on")
        await pilot.press("space")
        await at_rest(app, pilot)
        screen.go_to("option.account")
        await pilot.pause()
        assert "try ml-speech vision" in screen_text(app)
        await fill(pilot, "m")
        await offered(app, pilot, screen, "l-speech")
        await pilot.press("right")
        assert screen.draft.fields["option.account"] == "ml-speech"
