"""The Log tab in every state: compare with snapshots/*.svg."""

from __future__ import annotations

from dataclasses import replace

import pytest
from log_harness import (
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    SIZES,
    opened,
    press,
    training,
    world,
)
from screen_harness import CheckScreen, MakeApp, settle
from screen_svg import screen_text
from tests.fakes.runs import NOW

from traindeck.backends.base import LinkState, Reach, Unreachable


@pytest.mark.parametrize("size", ["80x24", "120x40"])
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("failed", ""),
        ("searching", "slash m e m o r y enter N N"),
        ("asking", "slash ctrl+r m e m"),
        ("filtered", "ampersand e v a l enter"),
        ("wrapped", "w E z"),
        ("error", "E"),
    ],
)
async def test_looks(
    make_app: MakeApp, check_screen: CheckScreen, name: str, keys: str, size: str
) -> None:
    app = make_app(world())
    async with opened(app, size=size) as (pilot, pane):
        await press(app, pilot, pane, keys)
        check_screen(app, f"run-log-{name}-{size}")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
@pytest.mark.parametrize(("name", "keys"), [("rank", "r"), ("rank-absent", "left_square_bracket")])
@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_looks_of_another_rank(
    make_app: MakeApp, check_screen: CheckScreen, name: str, keys: str, size: str, theme: str
) -> None:
    services = world()
    run = services.runs[FAILED]
    assert run is not None
    lines = training(40)[:-6]
    services.others[run.id] = {1: b"".join(lines), 2: b"", 3: None}
    app = make_app(services, theme=theme)
    async with opened(app, size=size) as (pilot, pane):
        await settle(app, pilot, lambda: "rank 0 of 4" in screen_text(app))
        await press(app, pilot, pane, keys)
        assert "rank 1 of 4" in screen_text(app) or "rank 3 of 4" in screen_text(app)
        check_screen(app, f"run-log-{name}{'' if theme == 'dark' else '-light'}-{size}")


@pytest.mark.parametrize("theme", ["light", "high", "ansi16"])
async def test_looks_in_themes(make_app: MakeApp, check_screen: CheckScreen, theme: str) -> None:
    depth = "16" if theme == "ansi16" else "truecolor"
    app = make_app(world(), theme=theme, depth=depth)
    async with opened(app) as (pilot, pane):
        await press(app, pilot, pane, "slash m e m o r y enter")
        check_screen(app, f"run-log-searching-{theme}-120x40")


async def test_looks_in_ascii(make_app: MakeApp, check_screen: CheckScreen) -> None:
    app = make_app(world(), glyphs="ascii")
    async with opened(app, size="80x24"):
        check_screen(app, "run-log-glyphs-ascii-80x24")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
@pytest.mark.parametrize(("name", "run"), [("following", RUNNING), ("queued", QUEUED)])
async def test_looks_of_other_runs(
    make_app: MakeApp, check_screen: CheckScreen, name: str, run: int, size: str
) -> None:
    app = make_app(world())
    async with opened(app, run, size):
        check_screen(app, f"run-log-{name}-{size}")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_looks_empty(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    services = world()
    run = services.runs[DONE]
    assert run is not None
    services.logs[run.id] = b""
    services.runs[DONE] = replace(run, log_bytes=0)
    app = make_app(services)
    async with opened(app, DONE, size):
        check_screen(app, f"run-log-empty-{size}")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_looks_of_what_is_held_here_while_its_place_is_out_of_reach(
    make_app: MakeApp, check_screen: CheckScreen, size: str
) -> None:
    services = world()
    run = services.runs[RUNNING]
    assert run is not None
    services.runs[RUNNING] = replace(run, reach=Reach.STALE, observed_at=NOW - 4)
    services.links[run.id] = LinkState(
        state=Reach.DOWN,
        since=NOW - 4,
        next_try=NOW + 12,
        why="gpu1 refuses the connection: no sshd listens there.",
    )
    app = make_app(services)
    async with opened(app, RUNNING, size):
        check_screen(app, f"run-log-held-{size}")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
@pytest.mark.parametrize("name", ["loading", "unknown"])
async def test_looks_while_a_place_does_not_answer(
    make_app: MakeApp, check_screen: CheckScreen, name: str, size: str
) -> None:
    services = world()
    run = services.runs[RUNNING]
    assert run is not None
    if name == "unknown":
        run = replace(run, reach=Reach.DOWN, observed_at=NOW - 400)
        services.runs[RUNNING] = run
        services.broken["open_log"] = Unreachable("gpu1 does not answer: connection timed out.")
    else:
        services.delay = 3600
    app = make_app(services)
    words = "opening the log" if name == "loading" else "does not answer"
    async with app.run_test(size=SIZES[size]) as pilot:
        app.open_run(run, "log")
        await settle(app, pilot, lambda: words in screen_text(app))
        await pilot.pause(0.1)
        check_screen(app, f"run-log-{name}-{size}")
