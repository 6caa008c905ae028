"""What a person can do on the Runs screen, and what the screen promises not to do to them."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from screen_harness import MakeApp, drawn, runs_screen, settle
from screen_svg import screen_text
from tests.fakes.runs import (
    NOW,
    FakeServices,
    crowd,
    make_run,
    small_services,
    small_world,
)
from textual import events

from traindeck.backends.base import State, Unreachable
from traindeck.console.settings import Settings
from traindeck.console.store.places import Places
from traindeck.console.tui import model as model_module
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.screens.overlay import ChoiceScreen
from traindeck.console.tui.screens.run_edit import EditScreen
from traindeck.console.tui.screens.runs import RunsScreen

SIZE = (120, 40)


def names(app: TraindeckApp) -> list[str]:
    """The listed runs in order."""
    screen = runs_screen(app)
    return [run.name for run in screen.model.records(list(screen.table.keys))]


def cursor(app: TraindeckApp) -> str:
    """The name of the run under the cursor."""
    run = runs_screen(app).selected
    return run.name if run else ""


async def go_to(app: TraindeckApp, pilot: Any, name: str) -> None:
    """Move the cursor down to a run."""
    for _ in range(30):
        if cursor(app) == name:
            return
        await pilot.press("j")
    raise AssertionError(f"{name} is not listed")


def cursor_row(app: TraindeckApp) -> int:
    """The row of the screen that has the cursor."""
    lines = screen_text(app).splitlines()
    return next(y for y, line in enumerate(lines) if y > 0 and line.startswith(("▌", "▏")))


# -------------------------------------------------------------------------------------- moving


async def test_the_cursor_moves_over_heads_and_stops_at_the_ends(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        order = names(app)
        assert cursor(app) == order[0]
        await pilot.press("k")
        assert cursor(app) == order[0]
        for name in order[1:]:
            await pilot.press("j")
            assert cursor(app) == name
        await pilot.press("j")
        assert cursor(app) == order[-1]
        await pilot.press("g", "g")
        assert cursor(app) == order[0]
        await pilot.press("G")
        assert cursor(app) == order[-1]
        await pilot.press("home")
        assert cursor(app) == order[0]


async def test_pages_of_a_long_list(make_app: MakeApp) -> None:
    app = make_app(FakeServices(crowd(3000)), window=None)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        table = runs_screen(app).table
        await pilot.press("pagedown")
        first = table.position
        assert 15 < first < 25
        await pilot.press("ctrl+d")
        assert first + 8 < table.position < first + 13
        await pilot.press("G")
        assert table.position == 3000
        await settle(app, pilot, lambda: "3,000/3,000" in screen_text(app))
        assert f"{runs_screen(app).selected.name}" in screen_text(app)  # type: ignore[union-attr]


async def test_a_run_that_changes_its_group_keeps_the_cursor_and_its_row(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "REORDER_AFTER", 0.0)
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
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


async def test_rows_do_not_move_while_somebody_uses_the_keys(make_app: MakeApp) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        before = names(app)
        services.add(make_run(50, "brand-new", State.RUNNING, age=1))
        end = time.monotonic() + 1.6
        while time.monotonic() < end:
            await pilot.press("j", "k")
        assert names(app) == before


async def test_keys_on_another_screen_hold_no_rows_in_place(make_app: MakeApp) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
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


async def test_a_run_that_was_opened_keeps_its_row_until_the_person_is_done_with_it(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "REORDER_AFTER", 0.8)
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        home = runs_screen(app)
        await go_to(app, pilot, "nanogpt-big")
        before, row = names(app), cursor_row(app)
        await pilot.press("enter")
        await settle(app, pilot, lambda: ("looked", ("0k01v8c4m2qe",)) in services.calls)
        await pilot.pause(2.0)
        assert names(app) == before
        await pilot.press("escape")
        await settle(app, pilot, lambda: app.screen is home)
        assert (cursor(app), cursor_row(app)) == ("nanogpt-big", row)
        await pilot.press("R")
        assert "Retry 1 run?" in screen_text(app) and "nanogpt-big" in screen_text(app)
        await pilot.press("escape")
        assert names(app) == before
        await settle(app, pilot, lambda: names(app) != before)
        assert names(app).index("nanogpt-big") > before.index("nanogpt-big") + 5
        assert cursor(app) == "sweep-07", "what needs somebody next, as after `x`"


async def test_a_cursor_that_was_moved_stays_when_the_opened_run_leaves(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "REORDER_AFTER", 0.3)
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        before = names(app)
        await go_to(app, pilot, "nanogpt-big")
        await pilot.press("enter", "escape", "j", "j")
        chosen = cursor(app)
        await settle(app, pilot, lambda: names(app) != before)
        assert cursor(app) == chosen


async def test_a_new_run_appears_by_itself(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "REORDER_AFTER", 0.05)
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        name = cursor(app)
        services.add(make_run(50, "brand-new", State.RUNNING, age=1))
        await settle(app, pilot, lambda: "brand-new" in screen_text(app))
        assert cursor(app) == name


async def test_a_value_that_changes_is_painted_in_its_place(make_app: MakeApp) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        run = services.runs[3]
        assert run is not None
        row = next(y for y, t in enumerate(screen_text(app).splitlines()) if run.name in t)
        loss = replace(run.metrics["loss"], last=0.7777)
        services.report(3, replace(run, metrics={**run.metrics, "loss": loss}))
        await settle(app, pilot, lambda: "0.7777" in screen_text(app).splitlines()[row])


async def test_freezing_stops_every_change_until_it_is_lifted(make_app: MakeApp) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("f")
        run = services.runs[3]
        assert run is not None
        loss = replace(run.metrics["loss"], last=0.7777)
        services.report(3, replace(run, metrics={**run.metrics, "loss": loss}))
        asked = len(services.calls)
        await pilot.pause(1.2)
        assert "0.7777" not in screen_text(app)
        assert "frozen" in screen_text(app)
        assert [name for name, _ in services.calls[asked:] if name in ("rows", "listing")] == []
        await pilot.press("f")
        await settle(app, pilot, lambda: "0.7777" in screen_text(app))


# -------------------------------------------------------------------------------- what is shown


async def test_a_filter_works_while_it_is_typed_and_escape_takes_it_back(
    make_app: MakeApp,
) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        everything = names(app)
        await pilot.press("slash", *"lora")
        await settle(app, pilot, lambda: len(names(app)) == 3)
        await pilot.press("escape")
        await settle(app, pilot, lambda: names(app) == everything)
        await pilot.press("slash", *"vit", "enter")
        await settle(app, pilot, lambda: len(names(app)) == 6)
        assert "filter vit · 6 of 21 runs" in screen_text(app)
        await pilot.press("j", "escape")
        await settle(app, pilot, lambda: names(app) == everything)


async def test_a_burst_after_the_slash_is_text_and_no_command(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        for character in "/noisy":
            app.post_message(events.Key("slash" if character == "/" else character, character))
        await settle(app, pilot, lambda: runs_screen(app).model.view.filter == "noisy")
        assert app.screen is runs_screen(app)
        await settle(app, pilot, lambda: "enter keep" in screen_text(app))
        for key in ("escape", "j", "slash", "v", "i", "t", "enter", "a"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await settle(app, pilot, lambda: "filter vit · " in screen_text(app))
        await settle(app, pilot, lambda: "all time" in screen_text(app))
        app.post_message(events.Key("slash", "/"))
        app.post_message(events.Paste("lora\nsdx"))
        app.post_message(events.Key("2", "2"))
        app.post_message(events.Key("backspace", "\x7f"))
        await settle(app, pilot, lambda: runs_screen(app).model.view.filter == "lora")
        assert app.screen is runs_screen(app)


async def test_a_filter_that_is_asked_for_again_is_replaced_by_typing(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("slash", *"lora", "enter", "slash")
        assert runs_screen(app).filter_bar.text == "lora"
        await pilot.press(*"vit", "enter")
        await settle(app, pilot, lambda: "filter vit · " in screen_text(app))


async def test_a_filtered_list_stands_at_its_top_and_the_cursor_on_what_was_chosen(
    make_app: MakeApp,
) -> None:
    app = make_app(FakeServices(crowd(300)), window=None)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        table, everything = runs_screen(app).table, names(app)
        await pilot.press("G")
        rare = next(name for name in everything if name not in everything[-1])
        wanted = sum(rare in name for name in everything)
        await pilot.press("slash", *rare, "enter")
        await settle(app, pilot, lambda: len(table.keys) == wanted)
        assert table.position == 1 and table.scroll_offset.y == 0
        await pilot.press("escape")
        await settle(app, pilot, lambda: len(table.keys) == 300)
        assert cursor(app) == rare and table.scroll_offset.y == 0
        await pilot.press("G", "slash", *rare)
        await settle(app, pilot, lambda: len(table.keys) == wanted)
        assert cursor(app) == rare
        await pilot.press("escape")
        await settle(app, pilot, lambda: len(table.keys) == 300)
        assert table.position == 300


async def test_a_wrong_filter_is_told_and_stays_to_be_mended(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        before = names(app)
        await pilot.press("slash", *"bad:x", "enter")
        await settle(app, pilot, lambda: "says nothing" in screen_text(app))
        assert "esc as before" in screen_text(app)
        await pilot.press("escape")
        await settle(app, pilot, lambda: names(app) == before)


async def test_a_complaint_goes_with_esc_and_with_what_works_next(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(app, pilot, drawn(app))

        def footer() -> str:
            return screen_text(app).splitlines()[-1].strip()

        await pilot.press("slash", *f"bad:{'x' * 26}", "enter")
        await settle(app, pilot, lambda: "in the filter says nothing." in footer())
        assert "For ex" not in footer() and "esc as before" in footer()
        await pilot.press("escape")
        await settle(app, pilot, lambda: "nothing" not in footer() and "? keys" in footer())
        await pilot.press("slash", *f"bad:{'x' * 36}", "enter")
        await settle(app, pilot, lambda: "x` in the filter …" in footer())
        await pilot.press("ctrl+u", *"vit", "enter")
        await settle(app, pilot, lambda: "filter vit · " in screen_text(app))
        assert "✗" not in footer() and "? keys" in footer()


async def test_a_filter_that_fits_nothing_says_how_to_leave(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("slash", *"zzz", "enter")
        await settle(app, pilot, lambda: "No run fits zzz" in screen_text(app))
        assert "esc takes the filter away" in screen_text(app)


async def test_order_group_and_window(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("O", "n")
        await settle(app, pilot, lambda: "not grouped" in screen_text(app))
        await pilot.press("o", "a")
        await settle(app, pilot, lambda: names(app) == sorted(names(app)))
        await pilot.press("a")
        await settle(app, pilot, lambda: "old-baseline" in names(app))
        assert "all time" in screen_text(app)
        await pilot.press("a", "O", "b")
        await settle(app, pilot, lambda: "GPU2 1" in screen_text(app).upper())


async def test_a_folded_group_stays_folded_and_opens_with_enter(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("G", "z")
        assert "eval-harness" not in screen_text(app)
        assert runs_screen(app).table.key is None
        assert "enter unfold" in screen_text(app)
        await pilot.press("k", "j", "enter")
        await settle(app, pilot, lambda: "distil-eval" in screen_text(app))


async def test_columns_can_be_chosen_and_reset(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("vertical_line", "space", "enter")
        await settle(app, pilot, lambda: " ID " in screen_text(app))
        await settle(app, pilot, lambda: "0k05v" in screen_text(app))
        await pilot.press("vertical_line", "0")
        await settle(app, pilot, lambda: " ID " not in screen_text(app))


# ------------------------------------------------------------------------------ acting on runs


async def test_stopping_asks_and_enter_never_does_it(make_app: MakeApp) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("j", "j", "j", "space", "space", "s")
        assert isinstance(app.screen, ChoiceScreen)
        assert "Stop 2 runs?" in screen_text(app)
        await pilot.press("enter")
        assert not isinstance(app.screen, ChoiceScreen)
        assert not [call for call in services.calls if call[0] == "stop"]
        await pilot.press("s", "tab", "x", "escape")
        assert not [call for call in services.calls if call[0] == "stop"]
        await pilot.press("s", "s")
        await settle(app, pilot, lambda: any(call[0] == "stop" for call in services.calls))
        await settle(app, pilot, lambda: "asked to stop: 2 runs" in screen_text(app))
        await settle(app, pilot, lambda: "◐ stopping" in screen_text(app))
        assert runs_screen(app).table.marked == set()


async def test_what_marked_runs_are_skipped_is_said_before_and_while_asking(
    make_app: MakeApp,
) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        screen = runs_screen(app)
        screen.table.mark_all()
        chosen = screen.chosen_runs()
        running = sum(run.active and run.state is not State.STOPPING for run in chosen)
        over = sum(not run.active and not run.foreign for run in chosen)
        await settle(app, pilot, lambda: f"s stop {running}" in screen_text(app))
        await pilot.press("s")
        assert f"Stop {running} runs?" in screen_text(app)
        assert f"{len(chosen) - running} more of those marked are over" in screen_text(app)
        await pilot.press("escape", "R")
        assert f"Retry {over} runs?" in screen_text(app)
        await pilot.press("escape", "delete")
        await settle(app, pilot, lambda: f"Remove {over} runs?" in screen_text(app))
        assert f"{len(chosen) - over} more of those marked cannot be removed" in screen_text(app)


async def test_what_cannot_be_done_here_has_no_key(make_app: MakeApp) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("G")  # a finished run
        assert "s stop" not in screen_text(app)
        await pilot.press("s")
        assert not isinstance(app.screen, ChoiceScreen)


async def test_the_order_can_be_that_of_the_metric(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("o", "M")
        assert runs_screen(app).model.view.order == ("-metric.loss",)
        await settle(app, pilot, lambda: "by loss, highest first" in screen_text(app))


async def test_retry_remove_and_seen(make_app: MakeApp) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await go_to(app, pilot, "nanogpt-big")
        await pilot.press("x")
        await settle(app, pilot, lambda: ("looked", ("0k01v8c4m2qe",)) in services.calls)
        # The cursor goes on to what needs a person next.
        await settle(app, pilot, lambda: cursor(app) == "sweep-07")
        await pilot.press("k", "x")
        await settle(app, pilot, lambda: "NEEDS YOU 1" in screen_text(app))
        assert cursor(app) == "sweep-07"
        await go_to(app, pilot, "nanogpt-big")
        await pilot.press("x")  # it is seen already
        assert services.calls.count(("looked", ("0k01v8c4m2qe",))) == 1
        await pilot.press("R", "r")
        await settle(app, pilot, lambda: "started again: 1 run" in screen_text(app))
        await pilot.press("G", "delete")
        await settle(app, pilot, lambda: "Remove 1 run?" in screen_text(app))
        assert "Frees 1.23 GB, 900 MB of it artifacts" in screen_text(app)
        gone = cursor(app)
        await pilot.press("a")
        await settle(app, pilot, lambda: "removed: 1 run" in screen_text(app))
        assert gone not in names(app)
        assert ("remove", ((services.calls and "0k20v8c4m2qe",), True)) in services.calls


async def test_a_dialog_is_laid_out_anew_when_the_window_changes(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("s")
        await settle(app, pilot, lambda: "Stop 1 run?" in screen_text(app))
        await pilot.resize_terminal(62, 20)
        await settle(app, pilot, lambda: "not saved" in screen_text(app))
        panel = screen_text(app).split("Stop 1 run?")[1]
        assert "is lost" in panel and "…" not in panel.split("is lost")[0][-30:]


async def test_what_could_not_be_done_at_all_is_a_dialog_with_what_to_do(
    make_app: MakeApp,
) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        services.error = Unreachable("gpu2 does not answer.", "Try again when it is back.")
        await pilot.press("s", "s")
        await settle(app, pilot, lambda: "Could not stop 1 run" in screen_text(app))
        assert "try    Try again when it is back." in screen_text(app)
        await pilot.press("y")
        assert app.clipboard.startswith("Could not stop 1 run: nothing was changed\nwhat: gpu2")
        await pilot.press("enter")
        await settle(app, pilot, lambda: "Could not stop" not in screen_text(app))


async def test_editing_keeps_what_was_typed_when_it_is_refused(make_app: MakeApp) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await go_to(app, pilot, "nanogpt-big")
        await pilot.press("e")
        assert isinstance(app.screen, EditScreen)
        await pilot.press("tab", *"x 'y", "enter")
        await settle(app, pilot, lambda: "Tags: a quote is not closed" in screen_text(app))
        await pilot.press("backspace", "backspace", *"lr=3e-4", "tab", *"it broke", "enter")
        await settle(app, pilot, lambda: not isinstance(app.screen, EditScreen))
        run = services.runs[0]
        assert run is not None
        assert (run.tags, run.note) == ({"x": "", "lr": "3e-4"}, "it broke")


async def test_a_name_that_another_run_has_is_given_with_a_word_about_it(
    make_app: MakeApp,
) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await go_to(app, pilot, "nanogpt-big")
        twin = next(run for run in services.runs[1:] if run is not None)
        await pilot.press("e", "ctrl+u", *twin.name, "enter")
        await settle(app, pilot, lambda: f"another run is called {twin.name}" in screen_text(app))
        assert services.runs[0] is not None and services.runs[0].name == twin.name


async def test_copying_goes_to_the_clipboard(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("y", "c")
        assert app.clipboard == "python sft_lora.py --config run.yaml --seed 2"
        assert "copied command" in screen_text(app)


async def test_marking_a_range_and_everything(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("v", "j", "j", "j", "v")
        assert len(runs_screen(app).table.marked) == 4
        assert "4 marked" in screen_text(app)
        await pilot.press("asterisk")
        assert len(runs_screen(app).table.marked) == 20
        await pilot.press("escape")
        assert not runs_screen(app).table.marked


# -------------------------------------------------------------------------------- getting about


async def test_the_palette_goes_to_a_run_that_is_not_listed(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("colon", *"baseline")
        await settle(app, pilot, lambda: "old-baseline" in screen_text(app))
        await pilot.press("enter")
        await settle(app, pilot, lambda: cursor(app) == "old-baseline")


async def test_the_palette_does_what_the_keys_do(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("ctrl+p", *"freeze", "enter")
        await settle(app, pilot, lambda: "frozen" in screen_text(app))
        await pilot.press("colon", *"theme light", "enter")
        await settle(app, pilot, lambda: app.painter.theme.name == "light")


async def test_help_lists_exactly_what_is_bound(make_app: MakeApp) -> None:
    from traindeck.console.tui import keys
    from traindeck.console.tui.screens.base import active_actions
    from traindeck.console.tui.screens.help import help_entries

    app = make_app(small_services(), keys={"runs.freeze": "F"})
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        bound = active_actions(app.screen, resting=True)
        listed = {entry.action for entry in help_entries(app.screen)}
        silent = {a.id for a in keys.all_actions().values() if not a.section}
        assert listed == set(bound) - silent
        assert bound["runs.freeze"] == ["F"]
        await pilot.press("F")
        assert "frozen" in screen_text(app)
        for key, label in runs_screen(app).footer_keys():
            assert any(key in map(keys.key_text, found) for found in bound.values()), (key, label)
        await pilot.press("question_mark")
        assert "F" in screen_text(app)


async def test_nothing_of_the_screen_below_stands_beside_the_help_at_80_columns(
    make_app: MakeApp,
) -> None:
    app = make_app(small_services())
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("question_mark")
        await settle(app, pilot, lambda: "KEYS ON THIS SCREEN" in screen_text(app))
        for line in screen_text(app).splitlines()[:-1]:
            assert not line[77:].strip(), line


async def test_what_ends_before_it_has_begun_leaves_no_warning(
    make_app: MakeApp, recwarn: pytest.WarningsRecorder
) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        app.start(services.refresh(), "").cancel()  # as the program does when it ends
        await pilot.pause()
    gc.collect()
    assert not [str(w.message) for w in recwarn if "never awaited" in str(w.message)]


async def test_escape_never_quits_and_q_does(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("escape", "escape", "question_mark", "escape", "colon", "escape")
        assert app.is_running
        await pilot.press("ctrl+c")
        assert "ctrl+c again quits" in screen_text(app)
        assert app.is_running
        await pilot.press("q")
        await pilot.pause()
        assert not app.is_running


# ----------------------------------------------------------------------- never waits, remembers


async def test_services_that_take_forever_leave_every_key_alive(make_app: MakeApp) -> None:
    services = small_services()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        services.delay = 3600
        services.changes += 1
        for key, seen in [
            ("j", lambda: True),
            ("j", lambda: True),
            ("j", lambda: True),
            ("space", lambda: "1 marked" in screen_text(app)),
            ("s", lambda: "Stop 1 run?" in screen_text(app)),
            ("escape", lambda: "Stop 1 run?" not in screen_text(app)),
            ("o", lambda: "Order by" in screen_text(app)),
            ("escape", lambda: "Order by" not in screen_text(app)),
            ("question_mark", lambda: "KEYS ON THIS SCREEN" in screen_text(app)),
            ("escape", lambda: "KEYS ON THIS SCREEN" not in screen_text(app)),
            ("colon", lambda: "enter go" in screen_text(app)),
            ("escape", lambda: "enter go" not in screen_text(app)),
            ("slash", lambda: "enter keep" in screen_text(app)),
            ("escape", lambda: "enter keep" not in screen_text(app)),
            ("z", lambda: "▸" in screen_text(app)),
            ("G", lambda: cursor(app) == names(app)[-1]),
        ]:
            await pilot.press(key)
            await settle(app, pilot, seen)
        await pilot.press("g", "g", "j", "j", "j", "s", "s")
        await settle(app, pilot, lambda: "◐ stopping 1 run" in screen_text(app))


async def test_what_was_set_is_there_after_a_restart(tmp_path: Path) -> None:
    places = Places(config=tmp_path / "c", state=tmp_path / "s", index=tmp_path / "s" / "i")

    def make() -> TraindeckApp:
        return TraindeckApp(
            small_services(),
            Settings(glyphs="best", path=tmp_path / "c" / "settings.yaml"),
            places=places,
            depth="truecolor",
            clock=lambda: NOW,
        )

    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("G", "z", "slash", *"l", "enter")
        await settle(app, pilot, lambda: "filter l · " in screen_text(app))
        await pilot.press("escape", "o", "a")
        await settle(app, pilot, lambda: "by name" in screen_text(app))
        await settle(app, pilot, lambda: "filter l · " not in screen_text(app))
        await pilot.press("home", "j", "j")
        chosen, order = cursor(app), names(app)
        await pilot.press("slash", *chosen, "enter")
        await settle(app, pilot, lambda: f"filter {chosen} · " in screen_text(app))
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        assert names(app) == order
        assert runs_screen(app).model.view.filter == ""
        assert "▸ FINISHED" in screen_text(app)
        await settle(app, pilot, lambda: cursor(app) == chosen)
        await pilot.press("escape", "o", "n", "G", "z", "G")
        last = cursor(app)
    app = make()
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.pause(0.3)
        assert last and cursor(app) != last and "NEEDS YOU" in screen_text(app)


async def test_a_theme_that_is_edited_is_seen_and_a_broken_one_is_told(tmp_path: Path) -> None:
    places = Places(config=tmp_path / "c", state=tmp_path / "s", index=tmp_path / "s" / "i")
    places.themes.mkdir(parents=True)
    file = places.themes / "mine.yaml"
    file.write_text("base: dark\n")
    app = TraindeckApp(
        small_services(),
        Settings(theme="mine", glyphs="best"),
        places=places,
        depth="truecolor",
        clock=lambda: NOW,
    )
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.pause(1.1)
        file.write_text('base: dark\naccent: "#00ff00"\n')
        await settle(app, pilot, lambda: app.painter.theme.tokens["accent"] == "#00ff00")
        file.write_text('base: dark\naccent: "#00ff00"\nacent: "#00ff00"\n')
        # Where there is little room the file is named without its folders: what is wrong is said.
        wrong = "✗ mine.yaml, line 3: `acent` is not part of a theme"
        await settle(app, pilot, lambda: wrong in screen_text(app))
        assert app.painter.theme.tokens["accent"] == "#00ff00"


async def test_the_first_run_takes_the_place_of_the_first_screen(make_app: MakeApp) -> None:
    services = FakeServices()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, lambda: "No runs yet." in screen_text(app))
        await pilot.press("d")
        await settle(app, pilot, lambda: "demo-lr3e-4" in screen_text(app))
        assert "No runs yet." not in screen_text(app)


async def test_a_terminal_made_small_and_large_again_shows_the_same(make_app: MakeApp) -> None:
    app = make_app(FakeServices(small_world()))
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("j", "j", "j")
        await settle(app, pilot, drawn(app))
        before = screen_text(app)
        for size in ((20, 5), (10, 3), (300, 80), (60, 15), (59, 15)):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.05)
        assert "is too small" in screen_text(app)
        await pilot.resize_terminal(*SIZE)
        await settle(app, pilot, lambda: screen_text(app) == before)


async def test_what_is_done_to_all_that_are_marked_is_done_to_all(make_app: MakeApp) -> None:
    services = FakeServices(crowd(300))
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        screen = runs_screen(app)
        screen.model.show(window=None)
        await settle(app, pilot, lambda: len(screen.table.keys) == 300)
        await pilot.press("asterisk")
        await pilot.press("delete")
        await settle(app, pilot, lambda: isinstance(app.screen, ChoiceScreen))
        over = sum(not run.active and not run.foreign for run in services.runs if run)
        assert over > 200 and f"Remove {over} runs?" in screen_text(app)


async def test_keys_in_one_burst_choose_what_is_there(make_app: MakeApp) -> None:
    app = make_app(small_services())
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        home = app.screen
        await pilot.press("colon")
        await settle(app, pilot, lambda: app.screen is not home)
        palette = app.screen
        for key in ["down"] * 80 + ["up"] * 200:
            palette.take_key(events.Key(key, None))  # type: ignore[attr-defined]
        palette.take_key(events.Key("enter", "\r"))  # type: ignore[attr-defined]
        await settle(app, pilot, lambda: app.screen is not palette)
        assert app.is_running
