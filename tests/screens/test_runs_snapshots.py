"""What the Runs screen looks like, in every state and theme: compare with snapshots/*.svg.

After a wanted change: SNAPSHOT_UPDATE=1 pytest tests/screens, and look at every picture that git
shows as changed (rsvg-convert makes PNGs of them).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from screen_harness import CheckScreen, MakeApp, answer, drawn, runs_screen, settle, still
from screen_svg import screen_text
from tests.fakes.runs import (
    LOG,
    NOW,
    FakeServices,
    crowd,
    make_run,
    small_services,
    small_world,
    troubled_world,
    waiting_world,
)

from traindeck.backends.base import Reach, State, Unreachable
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.services import Place

SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}


async def show(app: TraindeckApp, size: str, keys: str, check: CheckScreen, name: str) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await settle(app, pilot, drawn(app))
        for key in keys.split():
            await pilot.press(key)
        await settle(app, pilot, drawn(app))
        await still(app, pilot)
        check(app, f"{name}-{size}")


@pytest.mark.parametrize("size", ["80x24", "120x40", "200x60"])
async def test_many(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    await show(make_app(small_services()), size, "j j j j j", check_screen, "runs")


@pytest.mark.parametrize("theme", ["light", "high", "ansi16"])
@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_themes(make_app: MakeApp, check_screen: CheckScreen, theme: str, size: str) -> None:
    depth = "16" if theme == "ansi16" else "truecolor"
    app = make_app(small_services(), theme=theme, depth=depth)
    await show(app, size, "j j j space j j", check_screen, f"runs-{theme}")


@pytest.mark.parametrize("depth", ["256", "none"])
async def test_fewer_colours(make_app: MakeApp, check_screen: CheckScreen, depth: str) -> None:
    app = make_app(small_services(), depth=depth)
    await show(app, "80x24", "j j j", check_screen, f"runs-colours-{depth}")


@pytest.mark.parametrize("glyphs", ["plain", "ascii"])
async def test_other_glyphs(make_app: MakeApp, check_screen: CheckScreen, glyphs: str) -> None:
    app = make_app(small_services(), glyphs=glyphs)
    await show(app, "120x40", "j j j", check_screen, f"runs-glyphs-{glyphs}")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_empty(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    await show(make_app(FakeServices()), size, "", check_screen, "runs-empty")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_one_row(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    run = small_world()[4]
    app = make_app(FakeServices([run], logs={run.id: LOG}))
    await show(app, size, "", check_screen, "runs-one")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_what_goes_on_though_something_is_wrong_with_it(
    make_app: MakeApp, check_screen: CheckScreen, size: str
) -> None:
    runs = troubled_world()
    app = make_app(FakeServices(runs, logs={run.id: LOG for run in runs}))
    await show(app, size, "j", check_screen, "runs-troubled")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_what_will_not_be_done_within_its_limit(
    make_app: MakeApp, check_screen: CheckScreen, size: str
) -> None:
    first, second, third, *_ = small_world()[3:]
    runs = [
        replace(first, time_limit=7200.0, backend="lab"),
        replace(second, place_limit=86400.0, backend="lab"),
        third,
    ]
    app = make_app(FakeServices(runs, logs={run.id: LOG for run in runs}))
    await show(app, size, "j", check_screen, "runs-limit")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_why_jobs_of_a_cluster_wait(
    make_app: MakeApp, check_screen: CheckScreen, size: str
) -> None:
    runs = waiting_world()
    places = (Place(name="local", seen_at=NOW), Place(name="lab", seen_at=NOW))
    app = make_app(FakeServices(runs, places=places, logs={runs[0].id: LOG}))
    await show(app, size, "j j j j", check_screen, "runs-waiting")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_loading(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    app = make_app(FakeServices(small_world(), delay=3600))
    async with app.run_test(size=SIZES[size]) as pilot:
        await settle(app, pilot, lambda: "reading the runs" in screen_text(app))
        check_screen(app, f"runs-loading-{size}")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_error(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    broken = Unreachable("The index /state/index.db cannot be read: disk I/O error.", "Run doctor.")
    app = make_app(FakeServices(small_world(), error=broken))
    async with app.run_test(size=SIZES[size]) as pilot:
        screen = runs_screen(app)
        await settle(app, pilot, lambda: screen.model.error is not None)
        app._notice = None
        check_screen(app, f"runs-error-{size}")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_stale(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    runs = [
        replace(run, reach=Reach.DOWN, observed_at=NOW - 400) if run.active else run
        for run in small_world()
    ]
    places = (Place(name="local", reach=Reach.DOWN, seen_at=NOW - 400, next_try=NOW + 12),)
    app = make_app(FakeServices(runs, places=places, logs={run.id: LOG for run in runs}))
    await show(app, size, "j j", check_screen, "runs-stale")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_lost_for_a_moment(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    runs = [
        replace(run, reach=Reach.STALE, observed_at=NOW - 4) if run.active else run
        for run in small_world()
    ]
    place = Place(name="local", reach=Reach.STALE, seen_at=NOW - 4, next_try=NOW + 12)
    app = make_app(FakeServices(runs, places=(place,), logs={run.id: LOG for run in runs}))
    await show(app, size, "j j", check_screen, "runs-lost")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_an_error_that_stops_what_was_asked(
    make_app: MakeApp, check_screen: CheckScreen, size: str
) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZES[size]) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("j", "j", "j", "j", "space", "space")
        await settle(app, pilot, drawn(app))  # the pane is of the run under the cursor by now
        services.now = NOW - 1
        await pilot.press("s")
        services.error = Unreachable(
            "The agent on box did not answer within 5 s: connection refused.",
            "Look at it with `traindeck doctor`, then stop the runs again.",
        )
        await answer(app, pilot, services, "s")
        await settle(app, pilot, lambda: "Could not stop 2 runs" in screen_text(app))
        # The next looks fail too, that of the list and that of the pane.
        said = "✗ The agent on box"
        await settle(app, pilot, lambda: said in screen_text(app).splitlines()[-1])
        await settle(app, pilot, lambda: said in screen_text(app).splitlines()[1])
        await still(app, pilot)
        check_screen(app, f"runs-error-dialog-{size}")


async def test_names_of_every_kind(make_app: MakeApp, check_screen: CheckScreen) -> None:
    names = [
        "実験-学習率-とても長い名前です-その二",
        "emoji 🚀 👨‍👩‍👧 🇩🇪 ❤️",
        "e\u0301\u0301\u0301\u0301\u0301 combining",
        "שלום עולם",
        "مرحبا بالعالم",
        "[bold red]markup[/]", "\x1b[31mescape\x07", "two\nlines\tand a tab", "x" * 4000,
    ]  # fmt: skip
    runs = [
        replace(
            make_run(number, name, State.RUNNING, step=10, total=20, loss=1.5),
            tags={name[:40]: "v"},
        )
        for number, name in enumerate(names, 1)
    ]
    runs += [
        make_run(number, name, State.FAILED, reason=f"{name} happened · exit 1")
        for number, name in enumerate(names[:7], 20)
    ]
    await show(make_app(FakeServices(runs)), "120x40", "", check_screen, "runs-names")


async def test_a_hundred_thousand(make_app: MakeApp, check_screen: CheckScreen) -> None:
    app = make_app(FakeServices(crowd(5000)), window=None)
    await show(app, "120x40", "G", check_screen, "runs-crowd")


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("help", "j j j j question_mark"),
        ("help-search", "question_mark slash m a r k"),
        ("stop", "j j j space space s"),
        ("remove", "j j delete"),
        ("retry", "j j R"),
        ("order", "o"),
        ("columns", "vertical_line"),
        ("edit", "j j j j e"),
        ("copy", "j j j j y"),
        ("palette", "colon l o r"),
        ("filter", "slash l o r"),
        ("filtered", "slash l o r enter"),
        ("nothing-fits", "slash z z z enter"),
        ("folded", "G z"),
        ("frozen", "f"),
    ],
)
@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_overlays(
    make_app: MakeApp, check_screen: CheckScreen, name: str, keys: str, size: str
) -> None:
    await show(make_app(small_services()), size, keys, check_screen, f"runs-{name}")


@pytest.mark.parametrize("size", [(40, 6), (10, 3), (59, 20)])
async def test_too_small(
    make_app: MakeApp, check_screen: CheckScreen, size: tuple[int, int]
) -> None:
    app = make_app(small_services())
    async with app.run_test(size=size) as pilot:
        screen = runs_screen(app)
        await settle(app, pilot, lambda: screen.model.loaded and bool(screen.model.places))
        await pilot.pause(0.6)
        check_screen(app, f"too-small-{size[0]}x{size[1]}")
