"""What the Fleet screen looks like, in every state: compare with snapshots/fleet-*.svg."""

from __future__ import annotations

from dataclasses import replace

import pytest
from screen_harness import CheckScreen, MakeApp, settle, still
from tests.fakes.fleet import crowd_of_hosts, eight, fleet_services, four_hosts, gpu, host, sliced
from tests.fakes.runs import FakeServices

from traindeck.backends.devices.readings import DeviceReport
from traindeck.console.runs.fleet import PlaceDevices
from traindeck.console.tui.screens.fleet import FleetScreen

SIZES = {"60x20": (60, 20), "80x24": (80, 24), "120x40": (120, 40), "160x45": (160, 45),
         "200x50": (200, 50)}  # fmt: skip
BOTH = ("80x24", "120x40")


async def show(
    make_app: MakeApp, services: FakeServices, size: str, keys: str, check: CheckScreen, name: str,
    **settings: object,
) -> None:  # fmt: skip
    app = make_app(services, **settings)
    async with app.run_test(size=SIZES[size]) as pilot:
        app.open_fleet()
        await settle(app, pilot, lambda: isinstance(app.screen, FleetScreen))
        screen = app.screen
        assert isinstance(screen, FleetScreen)
        await settle(app, pilot, lambda: len(screen.table.keys) > 0 or not services.fleet)
        for key in keys.split():
            await pilot.press(key)
        await still(app, pilot)
        check(app, f"{name}-{size}")


@pytest.mark.parametrize("size", ["60x20", *BOTH, "160x45", "200x50"])
async def test_something_of_everything(
    make_app: MakeApp, check_screen: CheckScreen, size: str
) -> None:
    await show(make_app, fleet_services(*four_hosts()), size, "j j", check_screen, "fleet")


@pytest.mark.parametrize("theme", ["light", "high", "ansi16"])
@pytest.mark.parametrize("size", BOTH)
async def test_themes(make_app: MakeApp, check_screen: CheckScreen, theme: str, size: str) -> None:
    depth = "16" if theme == "ansi16" else "truecolor"
    services = fleet_services(*four_hosts())
    await show(make_app, services, size, "j j", check_screen, f"fleet-{theme}",
               theme=theme, depth=depth)  # fmt: skip


@pytest.mark.parametrize("glyphs", ["plain", "ascii"])
async def test_glyphs(make_app: MakeApp, check_screen: CheckScreen, glyphs: str) -> None:
    services = fleet_services(*four_hosts())
    await show(make_app, services, "80x24", "j j", check_screen, f"fleet-glyphs-{glyphs}",
               glyphs=glyphs)  # fmt: skip


@pytest.mark.parametrize("size", BOTH)
async def test_by_user(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    await show(make_app, fleet_services(*four_hosts()), size, "j j u", check_screen, "fleet-users")


@pytest.mark.parametrize("size", BOTH)
async def test_one(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    services = fleet_services(host("local", gpu(0, "NVIDIA GeForce RTX 4090", 24)))
    await show(make_app, services, size, "", check_screen, "fleet-one")


@pytest.mark.parametrize("size", BOTH)
async def test_eight(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    await show(make_app, fleet_services(eight()), size, "j j j j", check_screen, "fleet-eight")


@pytest.mark.parametrize("size", BOTH)
async def test_slices(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    await show(make_app, fleet_services(sliced()), size, "j", check_screen, "fleet-slices")


@pytest.mark.parametrize("size", BOTH)
@pytest.mark.parametrize(
    ("state", "find"), [("lost", "lost"), ("slowed", "slowed"), ("stale", "gpu2")]
)
async def test_trouble(
    make_app: MakeApp, check_screen: CheckScreen, size: str, state: str, find: str
) -> None:
    services = fleet_services(*four_hosts())
    keys = f"slash {' '.join(find)} enter"
    await show(make_app, services, size, keys, check_screen, f"fleet-{state}")


@pytest.mark.parametrize("size", BOTH)
async def test_no_gpu_here(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    await show(make_app, fleet_services(host("local")), size, "", check_screen, "fleet-empty")


@pytest.mark.parametrize("size", BOTH)
async def test_places_of_which_nothing_is_known_yet(
    make_app: MakeApp, check_screen: CheckScreen, size: str
) -> None:
    services = fleet_services()
    broken = DeviceReport(
        observed_at=services.now,
        problems={"nvidia": "NVIDIA's driver and its library are of different versions (570.86, "
                  "550.54). Restart the machine."},
    )  # fmt: skip
    services.fleet = [
        host("local", gpu(0, "NVIDIA GeForce RTX 4090", 24)),
        PlaceDevices(name="gpu1", asked=services.now),
        PlaceDevices(name="gpu2", asked=services.now, problem="gpu2 does not answer: no route to "
                     "host.", next_try=services.now + 20),
        PlaceDevices(name="gpu3", asked=services.now, problem="gpu3 asks for a password.",
                     person=True),
        replace(host("gpu4"), report=broken),
    ]  # fmt: skip
    await show(make_app, services, size, "j j j", check_screen, "fleet-connecting")


@pytest.mark.parametrize("size", BOTH)
async def test_idle_only(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    await show(make_app, fleet_services(*four_hosts()), size, "i", check_screen, "fleet-idle")


@pytest.mark.parametrize("size", BOTH)
async def test_a_thousand_hosts(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    services = fleet_services(*crowd_of_hosts(1000))
    await show(make_app, services, size, "G", check_screen, "fleet-crowd")


@pytest.mark.parametrize("size", BOTH)
async def test_help(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    services = fleet_services(*four_hosts())
    await show(make_app, services, size, "question_mark", check_screen, "fleet-help")
