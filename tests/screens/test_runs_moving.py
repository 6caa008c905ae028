"""When rows of the Runs screen move and when they do not, and where that leaves the cursor."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from screen_harness import OnRuns, answer, cursor, cursor_row, go_to, names, runs_screen, settle
from screen_svg import screen_text
from tests.fakes.runs import NOW, FakeServices, crowd, make_run, small_services

from traindeck.backends.base import State
from traindeck.console.tui import model as model_module
from traindeck.console.tui.screens.runs import RunsScreen


async def test_a_run_that_changes_its_group_keeps_the_cursor_and_its_row(
    on_runs: OnRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "REORDER_AFTER", 0.0)
    services = small_services()
    async with on_runs(services) as (app, pilot):
        for _ in range(4):
            await pilot.press("j")
        name, row = cursor(app), cursor_row(app)
        key = runs_screen(app).table.key
        assert key is not None
        run = services.runs[key]
        assert run is not None
        services.change(key, replace(run, state=State.FAILED, ended=NOW, reason="boom"))
        await settle(app, pilot, lambda: names(app).index(name) < 3)
        assert cursor(app) == name
        # It is in the first group now; the list cannot scroll above its top to keep the row.
        assert cursor_row(app) <= row


async def test_another_order_is_another_list_and_a_wider_window_is_not(on_runs: OnRuns) -> None:
    async with on_runs(FakeServices(crowd(300)), size=(80, 24)) as (app, pilot):
        table = runs_screen(app).table
        assert len(table.keys) < 300
        await pilot.press("pagedown", "pagedown")
        name, row = cursor(app), cursor_row(app)
        await pilot.press("a")
        await settle(app, pilot, lambda: len(table.keys) == 300)
        # The rows are where they were, but for the line that says now that all are listed.
        assert cursor(app) == name and cursor_row(app) - row in (0, 1)
        place = table.position
        await pilot.press("o", "a")
        await settle(app, pilot, lambda: table.position != place)
        assert cursor(app) == name and "now in" not in screen_text(app)


async def test_a_run_that_ends_out_of_sight_leaves_the_cursor_and_the_list_where_they_are(
    on_runs: OnRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "REORDER_AFTER", 0.0)
    services = FakeServices(
        [make_run(1, "broken", State.FAILED, ended=NOW - 60)]
        + [make_run(n, f"run-{n}", State.RUNNING, age=n) for n in range(2, 7)]
        + [make_run(n, f"queued-{n}", State.QUEUED, age=n) for n in range(10, 40)]
    )
    async with on_runs(services, size=(80, 24)) as (app, pilot):
        await pilot.press("j", "j")
        before, name, row, key = (
            names(app),
            cursor(app),
            cursor_row(app),
            runs_screen(app).table.key,
        )
        following = before[before.index(name) + 1]
        assert key is not None and services.runs[key] is not None
        run = services.runs[key]
        assert run is not None
        services.change(key, replace(run, state=State.SUCCEEDED, ended=NOW))
        await settle(app, pilot, lambda: names(app)[-1] == name)
        assert (cursor(app), cursor_row(app)) == (following, row)
        assert "NEEDS YOU 1" in screen_text(app)
        await settle(app, pilot, lambda: f"✓ {name}: done · now in FINISHED" in screen_text(app))


async def test_rows_do_not_move_while_somebody_uses_the_keys(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        before = names(app)
        services.add(make_run(50, "brand-new", State.RUNNING, age=1))
        end = time.monotonic() + 1.6
        while time.monotonic() < end:
            await pilot.press("j", "k")
        assert names(app) == before


async def test_keys_on_another_screen_hold_no_rows_in_place(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        home = app.screen
        assert isinstance(home, RunsScreen)
        await pilot.press("n")
        await settle(app, pilot, lambda: app.screen is not home)
        services.add(make_run(50, "brand-new", State.RUNNING, age=1))
        listed = len(home.model.listing.keys)
        end = time.monotonic() + 10
        while len(home.model.listing.keys) == listed:
            assert time.monotonic() < end
            await pilot.press("down", "up")
        await pilot.press("escape")
        await settle(app, pilot, lambda: app.screen is home)
        assert "brand-new" in screen_text(app)


LOOKED = ("looked", ("0k01v8c4m2qe",))


async def test_a_run_that_was_opened_keeps_its_row_until_the_cursor_leaves_it(
    on_runs: OnRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "REORDER_AFTER", 0.3)
    services = small_services()
    async with on_runs(services) as (app, pilot):
        home = runs_screen(app)
        await go_to(app, pilot, "nanogpt-big")
        before, row = names(app), cursor_row(app)
        await pilot.press("enter")
        await settle(app, pilot, lambda: app.screen is not home)
        await pilot.pause(1.0)
        await pilot.press("escape")
        await settle(app, pilot, lambda: app.screen is home)
        await pilot.pause(2.0)  # the rows could move now
        assert names(app) == before and LOOKED not in services.calls
        assert (cursor(app), cursor_row(app)) == ("nanogpt-big", row)
        assert "NEEDS YOU 3" in screen_text(app) and "x seen" in screen_text(app)
        await pilot.press("R")
        assert "Retry 1 run?" in screen_text(app) and "nanogpt-big" in screen_text(app)
        await pilot.press("escape")
        assert names(app) == before and LOOKED not in services.calls
        await pilot.press("j", "j")
        chosen = cursor(app)
        await settle(app, pilot, lambda: names(app) != before)
        assert names(app).index("nanogpt-big") > before.index("nanogpt-big") + 5
        assert cursor(app) == chosen and services.calls.count(LOOKED) == 1
        # It went without being told to: that is said, once it has gone.
        await settle(app, pilot, lambda: "seen: nanogpt-big · now in FINISHED" in screen_text(app))


async def test_a_run_that_was_opened_is_seen_once_by_x_and_by_the_end_of_the_program(
    on_runs: OnRuns,
) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        await go_to(app, pilot, "nanogpt-big")
        await pilot.press("enter", "escape", "x")
        await settle(app, pilot, lambda: cursor(app) == "sweep-07")
        await pilot.press("enter")
        await pilot.pause(0.5)
        assert [call for call in services.calls if call[0] == "looked"] == [LOOKED]
        app.exit()
        await settle(app, pilot, lambda: not app.is_running)
    assert [call for call in services.calls if call[0] == "looked"] == [
        LOOKED,
        ("looked", ("0k03v8c4m2qe",)),
    ]


async def test_what_was_opened_and_tried_again_is_news_when_it_fails(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        await go_to(app, pilot, "nanogpt-big")
        await pilot.press("enter", "escape", "R")
        await answer(app, pilot, services, "r")
        await settle(app, pilot, lambda: LOOKED in services.calls)
        run = services.runs[0]
        assert run is not None
        services.change(0, replace(run, state=State.FAILED, ended=services.now + 1))
        await settle(app, pilot, lambda: "x seen" in screen_text(app))
        await pilot.press("j", "k")
        await pilot.pause(0.3)
        assert services.calls.count(LOOKED) == 1


async def test_a_new_run_appears_by_itself(
    on_runs: OnRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "REORDER_AFTER", 0.05)
    services = small_services()
    async with on_runs(services) as (app, pilot):
        name = cursor(app)
        services.add(make_run(50, "brand-new", State.RUNNING, age=1))
        await settle(app, pilot, lambda: "brand-new" in screen_text(app))
        assert cursor(app) == name
