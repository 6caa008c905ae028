"""What the Launch screen looks like: compare with snapshots/launch-*.svg."""

from __future__ import annotations

import pytest
from launch_harness import SIZES, at_rest, fill, launch_screen, open_form
from screen_harness import CheckScreen, MakeApp, settle
from screen_svg import screen_text
from tests.fakes.launch import launch_services
from tests.fakes.runs import NOW

from traindeck.backends.base import Reach
from traindeck.console.tui.services import Place

BOTH = pytest.mark.parametrize("size", ["80x24", "120x40"])


@BOTH
async def test_an_empty_form(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    app = make_app(launch_services())
    async with app.run_test(size=SIZES[size]) as pilot:
        await open_form(app, pilot)
        check_screen(app, f"launch-empty-{size}")


@BOTH
async def test_a_command(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    services = launch_services()
    services.warnings = ("2 changed files are not committed; the difference is kept",)
    app = make_app(services)
    async with app.run_test(size=SIZES[size]) as pilot:
        await open_form(app, pilot)
        await fill(pilot, "python train.py --lr 3e-4")
        await at_rest(app, pilot)
        check_screen(app, f"launch-command-{size}")


@BOTH
@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_on_another_place_than_the_chosen_one(
    make_app: MakeApp, check_screen: CheckScreen, size: str, theme: str
) -> None:
    app = make_app(launch_services(), theme=theme)
    async with app.run_test(size=SIZES[size]) as pilot:
        await open_form(app, pilot)
        await fill(pilot, "python train.py")
        await pilot.press("down", "down", "down")
        await at_rest(app, pilot)
        check_screen(app, f"launch-places{'' if theme == 'dark' else '-light'}-{size}")


@BOTH
async def test_the_choice_of_places_of_every_kind(
    make_app: MakeApp, check_screen: CheckScreen, size: str
) -> None:
    services = launch_services()
    services._places = (
        Place(name="local", seen_at=NOW),
        Place(name="gpu1", seen_at=NOW),
        Place(name="gpu2", reach=Reach.STALE, seen_at=NOW - 4),
        Place(name="gpu3", reach=Reach.DOWN, person=True),
        Place(name="lab", seen_at=NOW),
    )
    kinds = ("process", "ssh", "ssh", "ssh", "slurm")
    services.kinds = dict(zip((place.name for place in services._places), kinds, strict=True))
    services.kinds["auto"] = "the first that can start it"
    app = make_app(services)
    async with app.run_test(size=SIZES[size]) as pilot:
        screen = await open_form(app, pilot)
        await fill(pilot, "python train.py")
        screen.go_to("on")
        await at_rest(app, pilot)
        check_screen(app, f"launch-kinds-{size}")


@BOTH
@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_an_array(
    make_app: MakeApp, check_screen: CheckScreen, size: str, theme: str
) -> None:
    services = launch_services()
    services.schedulers = frozenset({"gpu2"})
    app = make_app(services, theme=theme)
    async with app.run_test(size=SIZES[size]) as pilot:
        screen = await open_form(app, pilot)
        await fill(pilot, "python sweep.py")
        screen.go_to("on")
        await pilot.press("space")
        screen.go_to("array")
        await fill(pilot, "0-7%2")
        await at_rest(app, pilot)
        check_screen(app, f"launch-array{'' if theme == 'dark' else '-light'}-{size}")
        if size == "80x24":
            await pilot.press("ctrl+o")
            await settle(app, pilot, lambda: "ctrl+g launches" in screen_text(app))
            check_screen(app, f"launch-array-plan{'' if theme == 'dark' else '-light'}-{size}")


@BOTH
async def test_a_recipe_with_one_wrong_value(
    make_app: MakeApp, check_screen: CheckScreen, size: str
) -> None:
    app = make_app(launch_services())
    async with app.run_test(size=SIZES[size]) as pilot:
        screen = await open_form(app, pilot)
        await pilot.press("up", "space")
        await at_rest(app, pilot)
        await pilot.press("down")
        await fill(pilot, "models/llama-1b")
        await pilot.press("down")
        await fill(pilot, "chats.jsonl")
        await at_rest(app, pilot)
        screen.go_to("set.batch")
        await pilot.press("ctrl+u")
        await fill(pilot, "0")
        await at_rest(app, pilot)
        check_screen(app, f"launch-wrong-{size}")


@BOTH
async def test_launch_again(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    services = launch_services()
    app = make_app(services)
    async with app.run_test(size=SIZES[size]) as pilot:
        await open_form(app, pilot, like=services.runs[4])
        await at_rest(app, pilot)
        check_screen(app, f"launch-again-{size}")


@pytest.mark.parametrize("theme", ["light", "ansi16"])
async def test_themes(make_app: MakeApp, check_screen: CheckScreen, theme: str) -> None:
    depth = "16" if theme == "ansi16" else "truecolor"
    services = launch_services()
    app = make_app(services, theme=theme, depth=depth)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await open_form(app, pilot, like=services.runs[0])
        await at_rest(app, pilot)
        check_screen(app, f"launch-again-{theme}-120x40")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_the_whole_plan(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    app = make_app(launch_services())
    async with app.run_test(size=SIZES[size]) as pilot:
        await open_form(app, pilot)
        await fill(pilot, "python train.py --lr 3e-4")
        await at_rest(app, pilot)
        await pilot.press("ctrl+o")
        await pilot.pause()
        check_screen(app, f"launch-plan-{size}")


async def test_ascii(make_app: MakeApp, check_screen: CheckScreen) -> None:
    app = make_app(launch_services(), glyphs="ascii")
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        await open_form(app, pilot)
        await fill(pilot, "python train.py")
        await at_rest(app, pilot)
        assert launch_screen(app).plan_state.current
        check_screen(app, "launch-glyphs-ascii-80x24")
