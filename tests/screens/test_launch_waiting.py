"""The Launch screen while its plan is being made: what is typed meanwhile waits, in its order, and
what is launched is what was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from launch_harness import SIZES, at_rest, fill, launch_screen, open_form
from screen_harness import MakeApp, burst, settle
from screen_svg import screen_text
from tests.fakes.launch import FakeLaunchServices, launch_services
from textual import events

from traindeck.console.runs.drafting import Draft, Drafted
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.screens.launch import LaunchScreen
from traindeck.console.tui.screens.launch_plan import PlanScreen

WIDE, NARROW = SIZES["120x40"], SIZES["80x24"]


async def test_keys_answer_while_the_place_is_slow(make_app: MakeApp) -> None:
    services = launch_services()
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        services.delay = 5
        await fill(pilot, "true")
        assert screen.draft.text("command") == "true"
        assert not screen.plan_state.current
        await pilot.press("ctrl+g")
        assert not services.launched


class Gated(FakeLaunchServices):
    """Makes no plan before the gate opens."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.gate = asyncio.Event()
        self.gate.set()

    async def check(self, draft: Draft) -> Drafted:
        drafted = await super().check(draft)
        await self.gate.wait()
        return drafted


def gated() -> Gated:
    usual = launch_services()
    services = Gated(usual.runs)
    services.specs = usual.specs
    return services


@asynccontextmanager
async def waiting_form(
    make_app: MakeApp,
) -> AsyncIterator[tuple[Gated, TraindeckApp, Any, LaunchScreen]]:
    """The form, whose plan is made when `gate` is open."""
    services = gated()
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        yield services, app, pilot, await open_form(app, pilot)


async def test_a_launch_waits_for_its_plan_and_sends_what_was_typed_before_it(
    make_app: MakeApp,
) -> None:
    async with waiting_form(make_app) as (services, app, pilot, screen):
        services.gate.clear()
        burst(app, *"true", "ctrl+g", *"x", "tab", "ctrl+g", *"y")
        await settle(app, pilot, lambda: screen.draft.text("name") == "y")
        assert not services.launched
        services.gate.set()
        await settle(app, pilot, lambda: bool(services.launched))
        await settle(app, pilot, lambda: "launched calm-fox on local" in screen_text(app))
        assert [plan.argv for plan in services.launched] == [("true",)]
        assert services.launched[0].spec.name == "calm-fox"


async def test_a_launch_in_the_burst_that_mends_a_field_is_not_refused_for_what_stood_there(
    make_app: MakeApp,
) -> None:
    async with waiting_form(make_app) as (services, app, pilot, screen):
        await fill(pilot, "true")
        screen.go_to("time")
        await fill(pilot, "banana")
        await at_rest(app, pilot)
        burst(app, "ctrl+u", *"2h", "ctrl+g")
        await settle(app, pilot, lambda: bool(services.launched))
        assert services.launched[0].spec.limits.time == 7200


async def test_a_launch_that_waited_for_a_plan_there_is_not_says_why(make_app: MakeApp) -> None:
    async with waiting_form(make_app) as (services, app, pilot, screen):
        await fill(pilot, "true")
        screen.go_to("time")
        burst(app, *"soon", "ctrl+g")
        await settle(app, pilot, lambda: "not launched: fix 1 field" in screen_text(app))
        burst(app, "ctrl+u", *"1h", "ctrl+g")
        await settle(app, pilot, lambda: bool(services.launched))


async def test_escape_takes_back_a_launch_that_waits_and_says_so(make_app: MakeApp) -> None:
    async with waiting_form(make_app) as (services, app, pilot, screen):
        services.gate.clear()
        burst(app, *"true", "ctrl+g", "escape")
        await settle(app, pilot, lambda: "not launched: taken back" in screen_text(app))
        services.gate.set()
        await at_rest(app, pilot)
        assert app.screen is screen
        assert not services.launched
        burst(app, "ctrl+g")
        await settle(app, pilot, lambda: bool(services.launched))


async def test_what_is_typed_before_a_form_is_filled_from_its_run_waits_for_that(
    make_app: MakeApp,
) -> None:
    services = gated()
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        await pilot.pause()
        app.open_launch(services.runs[0])
        burst(app, "backspace", "5")
        app.post_message(events.Paste(" --seed 1"))
        burst(app, *"2", "tab", *"second", "ctrl+g")
        await settle(app, pilot, lambda: bool(services.launched))
        sent = services.launched[0]
        assert sent.argv[-4:] == ("--lr", "3e-5", "--seed", "12")
        assert sent.spec.name == "second"


async def test_a_plan_with_no_room_opens_at_once_and_is_launched_once_it_stands_there(
    make_app: MakeApp,
) -> None:
    services = gated()
    app = make_app(services)
    async with app.run_test(size=NARROW) as pilot:
        await pilot.pause()
        services.gate.clear()
        burst(app, "n", *"true", "ctrl+g", "ctrl+g")
        words = "not launched: the plan is being made"
        await settle(app, pilot, lambda: words in screen_text(app))
        assert isinstance(app.screen, PlanScreen)
        services.gate.set()
        await at_rest(app, pilot)
        assert not services.launched
        assert launch_screen(app).plan_state.current
        burst(app, "ctrl+g")
        await settle(app, pilot, lambda: bool(services.launched))


async def test_a_plan_that_is_overtaken_by_a_key_is_never_shown_as_up_to_date(
    make_app: MakeApp,
) -> None:
    async with waiting_form(make_app) as (services, app, pilot, screen):
        services.gate.clear()
        before = len(services.calls)
        await fill(pilot, "true")
        await settle(
            app, pilot, lambda: any(call[0] == "check" for call in services.calls[before:])
        )
        await fill(pilot, "x")
        services.gate.set()
        await at_rest(app, pilot)
        assert screen.plan_state.plan is not None
        assert screen.plan_state.plan.argv == ("truex",)
        assert isinstance(launch_screen(app), LaunchScreen)
