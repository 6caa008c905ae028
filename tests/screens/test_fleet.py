"""The Fleet screen: what its keys do, whom it asks, and what it costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from screen_harness import MakeApp, burst, runs_screen, settle
from screen_svg import screen_text
from tests.fakes.fleet import (
    crowd_of_hosts,
    eight,
    fleet_services,
    four_hosts,
    gpu,
    host,
)
from tests.fakes.runs import FakeServices

from traindeck.console.present import fleet_view
from traindeck.console.runs.fleet import PlaceDevices
from traindeck.console.store.places import Places
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.screens import fleet as fleet_screen
from traindeck.console.tui.screens.fleet import FleetScreen
from traindeck.console.tui.screens.run import RunScreen
from traindeck.console.tui.state import UiState

HOSTS = 1000


@pytest.fixture(scope="module")
def crowd() -> list[PlaceDevices]:
    """A thousand hosts of eight devices."""
    return crowd_of_hosts(HOSTS)


@asynccontextmanager
async def opened(
    app: TraindeckApp, size: tuple[int, int] = (120, 40)
) -> AsyncIterator[tuple[FleetScreen, Any]]:
    """The Fleet, reached from Runs by its key."""
    async with app.run_test(size=size) as pilot:
        await settle(app, pilot, lambda: runs_screen(app).model.loaded)
        await pilot.press("F")
        await settle(app, pilot, lambda: isinstance(app.screen, FleetScreen))
        screen = app.screen
        assert isinstance(screen, FleetScreen)
        await settle(app, pilot, lambda: len(screen.table.keys) > 0)
        yield screen, pilot


def at(screen: FleetScreen) -> str:
    """Where the cursor is: `gpu1/0`."""
    return "".join(span.text for span in screen.context())


async def test_the_cursor_goes_over_the_devices_of_all_hosts(make_app: MakeApp) -> None:
    app = make_app(fleet_services(*four_hosts()))
    async with opened(app) as (screen, pilot):
        assert at(screen) == "local/0"
        await pilot.press("j", "down", "j")
        assert at(screen) == "gpu1/1"
        await pilot.press("k", "k", "k")
        assert at(screen) == "local/0"
        await pilot.press("G")
        assert at(screen) == "gpu3/2"
        await pilot.press("g", "g")
        assert at(screen) == "local/0"
        burst(app, "j", "j", "j", "j")
        await settle(app, pilot, lambda: at(screen) == "gpu1/2")
        assert "gpu1 · H100 2" in screen_text(app)


async def test_enter_opens_the_run_that_is_on_a_device_and_esc_leads_back(
    make_app: MakeApp,
) -> None:
    app = make_app(fleet_services(*four_hosts()))
    async with opened(app) as (screen, pilot):
        await pilot.press("j", "j")
        assert "enter" not in screen_text(app).splitlines()[-1], "another user's process is no run"
        await pilot.press("enter")
        assert app.screen is screen
        await pilot.press("j", "j")
        assert "enter open run" in screen_text(app).splitlines()[-1]
        await pilot.press("enter")
        await settle(app, pilot, lambda: isinstance(app.screen, RunScreen))
        assert "llama1b-lora-lr3e4" in screen_text(app).splitlines()[0]
        await pilot.press("escape")
        await settle(app, pilot, lambda: app.screen is screen)
        assert at(screen) == "gpu1/2"
        await pilot.press("q")
        assert app.screen is runs_screen(app)


async def test_nobody_is_asked_for_what_nobody_sees(make_app: MakeApp) -> None:
    services = fleet_services(*four_hosts())
    app = make_app(services)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(app, pilot, lambda: runs_screen(app).model.loaded)
        assert not services.watchers, "not before the screen is opened"
        await pilot.press("F")
        await settle(app, pilot, lambda: len(services.watchers) == 1)
        await pilot.press("question_mark")
        await pilot.pause(0.1)
        assert len(services.watchers) == 1, "it can be seen behind the help"
        await pilot.press("escape", "enter")
        await settle(app, pilot, lambda: isinstance(app.screen, RunScreen))
        await settle(app, pilot, lambda: not services.watchers)
        await pilot.press("escape")
        await settle(app, pilot, lambda: len(services.watchers) == 1)
        await pilot.press("escape")
        await settle(app, pilot, lambda: not services.watchers)


async def test_by_user_the_cursor_stays_on_its_device(make_app: MakeApp) -> None:
    app = make_app(fleet_services(*four_hosts()))
    async with opened(app) as (screen, pilot):
        await pilot.press("j", "j")
        before = at(screen)
        await pilot.press("u")
        assert at(screen) == before == "gpu1/0"
        assert "user2  1 GPU on 1 host" in screen_text(app)
        assert "u by host" in screen_text(app).splitlines()[-1]
        await pilot.press("u")
        assert at(screen) == before
        assert "user2  1 GPU" not in screen_text(app)


async def test_idle_only_hides_what_is_at_work_and_esc_brings_it_back(make_app: MakeApp) -> None:
    app = make_app(fleet_services(*four_hosts()))
    async with opened(app) as (screen, pilot):
        count = len(screen.table.keys)
        await pilot.press("i")
        assert len(screen.table.keys) == 2
        shown = screen_text(app)
        assert "idle and free only · 2 rows" in shown and "7/17 busy" in shown
        await pilot.press("escape")
        assert len(screen.table.keys) == count and app.screen is screen


async def test_a_filter_acts_while_it_is_typed_enter_keeps_it_and_esc_takes_it_back(
    make_app: MakeApp,
) -> None:
    app = make_app(fleet_services(*four_hosts()))
    async with opened(app) as (screen, pilot):
        count = len(screen.table.keys)
        burst(app, "slash", "s", "l", "o", "w", "e", "d")
        await settle(app, pilot, lambda: len(screen.table.keys) == 1)
        burst(app, "enter", "i")
        await settle(app, pilot, lambda: not screen.filtering.asking)
        await settle(app, pilot, lambda: len(screen.table.keys) == 0)
        assert "no GPU fits the filter; esc shows all" in screen_text(app)
        await pilot.press("escape")
        assert len(screen.table.keys) == count
        burst(app, "slash", "x", "y", "escape")
        await settle(app, pilot, lambda: not screen.filtering.asking)
        assert len(screen.table.keys) == count and not screen.list.shown.text


async def test_a_rank_that_stands_alone_says_of_which_run_it_is(make_app: MakeApp) -> None:
    app = make_app(fleet_services(*four_hosts()))
    async with opened(app) as (screen, pilot):
        assert "└ rank 1" in screen_text(app)
        burst(app, "slash", "5", "1", "0", "2", "enter")
        await settle(app, pilot, lambda: len(screen.table.keys) == 1)
        (row,) = [line for line in screen_text(app).splitlines() if "71.8 / 80" in line]
        assert "you llama1b-lora-lr3e4" in row


async def test_y_copies_the_pid_of_who_is_on_a_device(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(fleet_services(*four_hosts()))
    copied: list[str] = []
    monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
    async with opened(app) as (screen, pilot):
        await pilot.press("j", "j", "y")
        assert copied == ["41277"]
        assert "copied pid: 41277" in screen_text(app).splitlines()[-1]
        await pilot.press("G", "k", "k")
        assert at(screen) == "gpu3/0"
        await pilot.press("y")
        assert copied == ["41277"], "nobody is on it"


async def test_what_is_folded_of_a_silent_host_unfolds(make_app: MakeApp) -> None:
    app = make_app(fleet_services(*four_hosts()))
    async with opened(app) as (screen, pilot):
        for _ in range(9):
            await pilot.press("j")
        assert screen.list.row(screen.table.key) is not None
        assert "enter unfold" in screen_text(app).splitlines()[-1]
        await pilot.press("enter")
        assert "5 more" not in screen_text(app)
        assert at(screen) == "gpu2/3", "the cursor is on the first that was hidden"


async def test_a_host_folds_and_its_head_still_says_how_it_is(make_app: MakeApp) -> None:
    app = make_app(fleet_services(eight(), host("gpu2", gpu(0))))
    async with opened(app) as (screen, pilot):
        await pilot.press("z")
        (head,) = [line for line in screen_text(app).splitlines() if "8 × H100" in line]
        assert "▸" in head and "2 of 8 free" in head
        await pilot.press("j")
        assert at(screen) == "gpu2/0"
        await pilot.press("k", "enter")
        assert at(screen) == "gpu1/0"


async def test_a_host_that_falls_silent_turns_old_and_counts_as_unknown(make_app: MakeApp) -> None:
    services = fleet_services(*four_hosts())
    app = make_app(services)
    async with opened(app) as (_, pilot):
        assert "7/17 busy" in screen_text(app)
        _, gpu1, _, _ = services.fleet
        services.say(replace(gpu1, problem="gpu1 does not answer.", next_try=services.now + 5))
        await settle(app, pilot, lambda: "3/17 busy" in screen_text(app))
        assert "◌ 12 unknown" in screen_text(app)
        services.say(gpu1)
        await settle(app, pilot, lambda: "7/17 busy" in screen_text(app))


async def test_values_grow_old_although_nobody_says_so(make_app: MakeApp) -> None:
    services = fleet_services(eight())
    app = make_app(services)
    async with opened(app) as (_, pilot):
        assert "6/8 busy · 2 free" in screen_text(app)
        services.now += 30
        await settle(app, pilot, lambda: "0/8 busy · 0 free · ◌ 8 unknown" in screen_text(app))
        assert "not answering for 30 s" in screen_text(app)


async def test_rows_do_not_move_under_the_cursor_when_a_host_is_added(make_app: MakeApp) -> None:
    services = fleet_services(*four_hosts())
    app = make_app(services)
    async with opened(app) as (screen, pilot):
        await pilot.press("j", "j", "j")
        services.say(host("gpu9", gpu(0)))
        await settle(app, pilot, lambda: "18 busy" in screen_text(app))
        assert at(screen) == "gpu1/1"
        services.say(gone=["gpu9"])
        await settle(app, pilot, lambda: "17 busy" in screen_text(app))
        assert at(screen) == "gpu1/1" and "gpu9" not in screen_text(app)


async def test_how_the_list_was_shown_and_where_the_cursor_was_are_kept_for_another_day(
    make_app: MakeApp, tmp_path: Path
) -> None:
    places = Places(config=tmp_path / "c", state=tmp_path / "s", index=tmp_path / "s" / "i")
    places.state.mkdir()

    def make(services: FakeServices) -> TraindeckApp:
        app = make_app(services)
        app.ui = UiState.load(places.state / "screens.json")
        return app

    async with opened(make(fleet_services(*four_hosts()))) as (screen, pilot):
        await pilot.press("u", "G", "k", "z")
        await pilot.press("g", "g", "j", "j")
        assert at(screen) == "gpu1/1"
    first, second, *rest = four_hosts()
    services = fleet_services(first, PlaceDevices(name="gpu1", asked=1.0), *rest)
    app = make(services)
    async with opened(app) as (screen, pilot):
        assert screen.list.shown.group == "user"
        assert screen.table.folded == {"not answering"}
        services.say(second)  # it has answered late
        await settle(app, pilot, lambda: at(screen) == "gpu1/1")


async def test_only_rows_in_sight_are_made_of_a_thousand_hosts(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, crowd: list[PlaceDevices]
) -> None:
    made: list[str] = []

    def count(found: Any, *rest: Any) -> Any:
        made.append(found.device.uuid)
        return fleet_view.device_line(found, *rest)

    monkeypatch.setattr(fleet_screen, "device_line", count)
    services = fleet_services(*crowd)
    app = make_app(services)
    async with opened(app) as (screen, pilot):
        assert len(screen.table.keys) == 8 * HOSTS
        rows = screen.table.size.height
        for key in ("j", "G", "k", "pageup", "g", "g"):
            made.clear()
            await pilot.press(key)
            await pilot.pause(0.05)
            assert len(set(made)) <= 2 * rows + 2, key
        made.clear()
        services.say(*crowd)
        before = screen.list.tally
        await settle(app, pilot, lambda: bool(made))
        assert len(set(made)) <= rows
        assert screen.list.tally == before


async def test_what_one_host_says_is_worked_out_for_it_alone(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, crowd: list[PlaceDevices]
) -> None:
    from traindeck.console.tui.screens import fleet_list

    services = fleet_services(*crowd)
    app = make_app(services)
    async with opened(app) as (screen, pilot):
        seen: list[str] = []
        real = fleet_list.part_of

        def count(place: PlaceDevices, *rest: Any) -> Any:
            seen.append(place.name)
            return real(place, *rest)

        monkeypatch.setattr(fleet_list, "part_of", count)
        services.say(crowd[17])
        await settle(app, pilot, lambda: bool(seen))
        await pilot.pause(0.1)
        assert seen == ["node0017"]
        assert at(screen) == "node0000/0"
