"""The quiet tabs of a run (Overview, Files, Config) and moving between them, driven by keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from screen_harness import CheckScreen, MakeApp, answer, burst, runs_screen, settle
from screen_svg import screen_text
from tests.fakes.run import FakeRunServices, run_world

from traindeck.backends.base import BackendError, State
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.screens.run import RunScreen

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}


@asynccontextmanager
async def opened(
    app: TraindeckApp, tab: str, until: str, *, size: str = "120x40", run: int = 0
) -> AsyncIterator[Any]:
    """A run's screen, once some words are on it and nothing is being read."""
    services = app.services
    assert isinstance(services, FakeRunServices)
    async with app.run_test(size=SIZES[size]) as pilot:
        record = services.runs[run]
        assert record is not None
        app.open_run(record, tab)
        await settle(app, pilot, lambda: until in screen_text(app))
        await pilot.pause(0.4)
        yield pilot


def footer(app: TraindeckApp) -> str:
    return screen_text(app).splitlines()[-1]


# --------------------------------------------------------------------------------------- behaviour


@pytest.mark.parametrize(
    ("tab", "until"),
    [("overview", "LOG"), ("charts", "METRICS"), ("log", "step 3120"), ("files", "run.json")],
)
async def test_what_comes_for_a_tab_that_was_left_is_dropped(
    make_app: MakeApp, tab: str, until: str
) -> None:
    app = make_app(run_world())
    async with opened(app, tab, until) as pilot:
        screen = app.screen
        assert isinstance(screen, RunScreen)
        pane = screen._now()
        assert pane is not None
        await pilot.press("escape")
        await settle(app, pilot, lambda: not pane.is_attached)
        say: Any = getattr(pane, "_chrome", None) or pane.chrome  # type: ignore[attr-defined]
        say()  # as it does when something was read for it


async def test_each_tab_has_its_number_and_the_footer_its_keys(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with opened(app, "overview", "LOG") as pilot:
        assert "s stop" in footer(app)
        for key, words, keys in [
            ("2", "METRICS", "zoom"),
            ("3", "step 3120", "search"),
            ("6", "run.json", "enter"),
            ("7", "PARAMETERS", "s stop"),
            ("1", "progress", "s stop"),
            ("l", "step 3120", "search"),
        ]:
            await pilot.press(key)
            await settle(app, pilot, lambda w=words: w in screen_text(app))  # type: ignore[misc]
            await settle(app, pilot, lambda k=keys: k in footer(app))  # type: ignore[misc]
            if key != "2":
                assert "zoom" not in footer(app), "no other tab's keys"


@pytest.mark.parametrize("tabs", ["123", "13267"])
async def test_tabs_in_one_burst_leave_the_last_one_with_its_keys(
    make_app: MakeApp, tabs: str
) -> None:
    app = make_app(run_world())
    async with opened(app, "overview", "LOG") as pilot:
        screen = app.screen
        assert isinstance(screen, RunScreen)
        for _ in range(2):  # the second time every tab is there already
            burst(app, *tabs)
            await pilot.pause(0.4)
            await settle(app, pilot, lambda: "/ search" in footer(app))
            shown = [child for child in screen.query_one("#body").children if child.display]
            assert shown == [screen._now()]
            assert screen.focused is not None
            assert shown[0] in screen.focused.ancestors_with_self


@pytest.mark.parametrize("tab", ["overview", "charts", "log"])
@pytest.mark.parametrize("tabs", ["3", "23123"])
async def test_what_follows_a_tab_in_one_burst_is_for_that_tab(
    make_app: MakeApp, tab: str, tabs: str
) -> None:
    app = make_app(run_world())
    until = {"overview": "LOG", "charts": "METRICS", "log": "step 3120"}
    async with opened(app, tab, until[tab]) as pilot:
        burst(app, *tabs, "slash", *"step 31", "enter", "n")
        await settle(app, pilot, lambda: "/step 31   " in screen_text(app))
        assert isinstance(app.screen, RunScreen), "no letter of it was a key"


async def test_a_run_that_is_stopping_is_not_asked_again(make_app: MakeApp) -> None:
    services = run_world()
    app = make_app(services)
    async with opened(app, "overview", "LOG") as pilot:
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await pilot.press("s")
        await settle(app, pilot, lambda: "nothing is stopped yet" in screen_text(app))
        # Somebody else stops it meanwhile: there is nothing to ask any more.
        services.change(0, replace(screen.record, state=State.STOPPING))
        await settle(app, pilot, lambda: app.screen is screen)
        assert f"{screen.record.name} is stopping already" in screen_text(app)
        await settle(app, pilot, lambda: screen.record.state is State.STOPPING)
        app.hush(all=True)
        await pilot.press("s")
        await settle(app, pilot, lambda: "is stopping already" in screen_text(app))
        assert app.screen is screen


@pytest.mark.parametrize(
    ("key", "why"), [("R", "is running, not over"), ("delete", "is running, not over")]
)
async def test_a_key_that_this_run_is_not_for_says_why(
    make_app: MakeApp, key: str, why: str
) -> None:
    app = make_app(run_world())
    async with opened(app, "overview", "LOG") as pilot:
        assert "retry" not in footer(app)
        await pilot.press(key)
        await settle(app, pilot, lambda: why in footer(app))


async def test_an_overview_says_nothing_of_a_log_that_it_has_not_read(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, come = run_world(), asyncio.Event()
    read = services.log_tail

    async def log_tail(run_id: str, size: int) -> bytes:
        await come.wait()
        return await read(run_id, size)

    monkeypatch.setattr(services, "log_tail", log_tail)
    app = make_app(services)
    async with opened(app, "overview", "LOG") as pilot:
        assert "nothing written" not in screen_text(app)
        come.set()
        await settle(app, pilot, lambda: "step 3120" in screen_text(app))


async def test_the_help_lists_the_keys_of_the_tab_in_sight(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with opened(app, "charts", "METRICS") as pilot:
        await pilot.press("question_mark")
        await settle(app, pilot, lambda: "KEYS ON THIS SCREEN" in screen_text(app))
        text = screen_text(app)
        assert "smoothing" in text and "logarithmic y" in text and "1 2 3 6 7" in text
        assert "wrap long lines" not in text


async def test_escape_leaves_for_the_list(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with opened(app, "overview", "LOG") as pilot:
        await pilot.press("escape")
        await settle(app, pilot, lambda: not isinstance(app.screen, RunScreen))


async def test_a_run_that_is_removed_closes_its_screen_and_says_so(make_app: MakeApp) -> None:
    world = run_world()
    app = make_app(world)
    async with opened(app, "overview", "LOG") as pilot:
        world.change(0, None)
        await settle(app, pilot, lambda: not isinstance(app.screen, RunScreen))
        assert "was removed" in footer(app)


@pytest.mark.parametrize("method", ["run", "spec", "log_tail", "series", "files", "read_file"])
async def test_what_cannot_be_read_is_a_line_in_the_footer(make_app: MakeApp, method: str) -> None:
    world = run_world()
    app = make_app(world)
    async with opened(app, "overview", "progress") as pilot:
        world.broken[method] = BackendError("The disk of gpu2 is gone.", "Look at it.")
        for key in ("6", "7", "2", "1", "6"):
            await pilot.press(key)
            await pilot.pause(0.2)
        await pilot.press("down", "down", "down", "down", "down", "enter")
        await pilot.pause(0.5)
        text = screen_text(app)
        assert "Traceback" not in text and "a bug in traindeck" not in text
        assert isinstance(app.screen, RunScreen)


async def test_another_search_in_the_config_begins_with_nothing(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with opened(app, "config", "PARAMETERS") as pilot:
        await pilot.press("slash", *"argv", "enter")
        await settle(app, pilot, lambda: "hit 1/" in screen_text(app))
        await pilot.press("slash", *"zzz", "enter")
        await settle(app, pilot, lambda: "0 lines with 'zzz'" in screen_text(app))


async def test_a_long_config_scrolls_to_its_end_and_back(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with opened(app, "config", "PARAMETERS", size="80x24") as pilot:
        await pilot.press("G")
        await settle(app, pilot, lambda: "transformers" in screen_text(app))
        await pilot.press("home")
        await settle(app, pilot, lambda: "PARAMETERS" in screen_text(app))
        await pilot.press("pagedown")
        await settle(app, pilot, lambda: "PARAMETERS" not in screen_text(app))


# -------------------------------------------------------------------------------------- snapshots

RUNS = {"running": 0, "failed": 1, "done": 2, "queued": 3}


@pytest.mark.parametrize("size", ["80x24", "120x40"])
@pytest.mark.parametrize("name", ["running", "failed", "done", "queued"])
async def test_overview(make_app: MakeApp, check_screen: CheckScreen, name: str, size: str) -> None:
    app = make_app(run_world())
    until = "folder"
    async with opened(app, "overview", until, size=size, run=RUNS[name]) as pilot:
        if size == "120x40" and name != "queued":
            await settle(app, pilot, lambda: "┈" in screen_text(app))
        check_screen(app, f"run-overview-{name}-{size}")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_an_overview_says_what_is_wrong_with_a_run_that_goes_on(
    make_app: MakeApp, check_screen: CheckScreen, size: str
) -> None:
    world = run_world()
    assert world.runs[0] is not None
    wrong = "its supervisor was killed; it runs on, exit code will not be known"
    world.change(0, replace(world.runs[0], reason=wrong))
    async with opened(app := make_app(world), "overview", "supervisor was killed", size=size) as p:
        if size == "120x40":
            await settle(app, p, lambda: "┈" in screen_text(app))
        assert "progress" in screen_text(app)
        check_screen(app, f"run-overview-troubled-{size}")


@pytest.mark.parametrize("theme", ["light", "ansi16"])
async def test_overview_in_themes(make_app: MakeApp, check_screen: CheckScreen, theme: str) -> None:
    depth = "16" if theme == "ansi16" else "truecolor"
    app = make_app(run_world(), theme=theme, depth=depth)
    async with opened(app, "overview", "┈", run=1):
        check_screen(app, f"run-overview-failed-{theme}-120x40")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_files(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    app = make_app(run_world())
    async with opened(app, "files", "files · ", size=size, run=1) as pilot:
        await pilot.press("j", "j", "j")
        await pilot.pause(0.2)
        check_screen(app, f"run-files-{size}")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_config(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    app = make_app(run_world())
    async with opened(app, "config", "COMMAND", size=size):
        check_screen(app, f"run-config-{size}")


async def test_what_is_left_of_a_run_that_is_over_is_read_once_when_it_is_opened(
    make_app: MakeApp,
) -> None:
    services = run_world()
    over = next(n for n, run in enumerate(services.runs) if run and not run.active)
    app = make_app(services)
    async with opened(app, "overview", "LOG", run=over) as pilot:
        await pilot.press("2")
        await pilot.press("1")
        record = services.runs[over]
        assert record is not None
        asked = [detail for name, detail in services.calls if name == "measure"]
        assert asked == [record.id]


async def test_a_stop_goes_on_when_the_screen_is_left(make_app: MakeApp) -> None:
    services = run_world()
    app = make_app(services)
    async with opened(app, "overview", "LOG") as pilot:
        services.delay = 0.3
        await pilot.press("s")
        await answer(app, pilot, services, "s")
        await pilot.press("q")
        await settle(app, pilot, lambda: not isinstance(app.screen, RunScreen))
        await settle(app, pilot, lambda: "asked to stop: 1 run" in screen_text(app))


async def test_stopping_a_run_that_is_over_says_so(make_app: MakeApp) -> None:
    services = run_world()
    app = make_app(services)
    async with opened(app, "overview", "LOG") as pilot:
        assert isinstance(app.screen, RunScreen)
        record = app.screen.record
        key = services.runs.index(record)
        services.change(key, replace(record, state=State.SUCCEEDED, ended=services.now))
        await settle(app, pilot, lambda: "s stop" not in screen_text(app))
        await pilot.press("s")
        await settle(app, pilot, lambda: f"{record.name} is over already" in screen_text(app))


async def test_leaving_while_something_is_kept_leaves_one_screen_only(make_app: MakeApp) -> None:
    services = run_world()
    app = make_app(services)
    async with opened(app, "overview", "LOG") as pilot:
        await pilot.press("ctrl+e")
        await settle(app, pilot, lambda: "Edit " in screen_text(app))
        services.delay = 2.0  # that is how long it is kept for
        await pilot.press("enter", "escape")
        services.delay = 0.0
        await settle(app, pilot, lambda: "Edit " not in screen_text(app))
        await pilot.pause(0.5)
        assert isinstance(app.screen, RunScreen)


async def test_enter_twice_opens_one_file(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with opened(app, "files", "run.json") as pilot:
        await pilot.press("end", "enter", "enter")
        await settle(app, pilot, lambda: "end of file" in screen_text(app))
        assert len(app.screen.query("LogPane")) == 1


async def test_of_a_log_that_was_deleted_every_tab_and_the_list_say_so(make_app: MakeApp) -> None:
    services = run_world()
    failed = services.runs[1]
    assert failed is not None
    services.logs[failed.id] = b""
    gone = services.no_log[failed.id] = "its log is gone: it was deleted"
    app = make_app(services)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(app, pilot, lambda: runs_screen(app).selected == failed)
        await settle(app, pilot, lambda: "its log is gone: it was" in screen_text(app))
        await pilot.press("l")
        await settle(app, pilot, lambda: gone in screen_text(app))
        assert "wrote nothing" not in screen_text(app)
        await pilot.press("1")
        await settle(app, pilot, lambda: f"{gone} " in screen_text(app).partition(" LOG ")[2])
