"""Marks on the Runs screen: what they survive, and that nothing happens to what cannot be seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from screen_harness import OnRuns, answer, cursor, go_to, names, runs_screen, settle
from screen_svg import screen_text
from tests.fakes.runs import FakeServices, crowd, small_services

from traindeck.backends.base import State
from traindeck.console.tui.screens.overlay import ChoiceScreen


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_marks_survive_a_filter_and_what_it_hides_is_counted_and_left_alone(
    on_runs: OnRuns, size: tuple[int, int]
) -> None:
    services = small_services()
    async with on_runs(services, size=size) as (app, pilot):
        await go_to(app, pilot, "llama1b-lora-lr3e4")
        await pilot.press("space", "space")  # that and vit-b16-aug-s0
        await settle(app, pilot, lambda: "2 marked · " in screen_text(app))
        await pilot.press("slash", *"lora")
        await settle(app, pilot, lambda: "2 marked, 1 hidden · " in screen_text(app))
        await pilot.press("enter")
        await settle(app, pilot, lambda: "s stop 1" in screen_text(app))
        assert "2 marked, 1 hidden · selected " in screen_text(app)
        await pilot.press("s")
        await settle(app, pilot, lambda: "Stop 1 run?" in screen_text(app))
        said = " ".join(screen_text(app).replace("▌", " ").split())
        assert "1 more, marked but hidden, is left alone." in said
        await answer(app, pilot, services, "s")
        await settle(app, pilot, lambda: "asked to stop: 1 run" in screen_text(app))
        assert [call for call in services.calls if call[0] == "stop"] == [
            ("stop", ("0k04v8c4m2qe",))
        ]
        # What was stopped is marked no more; what was hidden still is.
        await settle(app, pilot, lambda: runs_screen(app).table.marked == set())
        await pilot.press("escape")
        await settle(app, pilot, lambda: len(names(app)) == 20)
        (marked,) = runs_screen(app).chosen.runs().values()
        assert marked.name == "vit-b16-aug-s0"
        await settle(app, pilot, lambda: "1 marked · " in screen_text(app))


async def test_what_the_filter_hides_while_it_is_done_is_not_marked_when_it_is_back(
    on_runs: OnRuns,
) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        screen = runs_screen(app)
        await pilot.press("slash", *"state:failed", "enter")
        await settle(app, pilot, lambda: bool(names(app)) and screen.model.view.filter != "")
        keys = list(screen.table.keys)
        await pilot.press("asterisk", "R")
        await settle(app, pilot, lambda: isinstance(app.screen, ChoiceScreen))
        failed = {key: run for key in keys if (run := services.runs[key]) is not None}
        for key, run in failed.items():  # they are started, and leave the list
            services.change(key, replace(run, state=State.RUNNING, ended=None))
        screen.model.relist()
        await settle(app, pilot, lambda: not screen.table.keys)
        await answer(app, pilot, services, "r")
        await settle(app, pilot, lambda: "started again" in screen_text(app))
        for key, run in failed.items():
            services.change(key, run)
        screen.model.relist()
        await settle(app, pilot, lambda: sorted(screen.table.keys) == sorted(keys))
        assert not screen.table.marked


async def test_with_all_marks_hidden_a_key_means_the_run_under_the_cursor_and_says_so(
    on_runs: OnRuns,
) -> None:
    async with on_runs() as (app, pilot):
        await go_to(app, pilot, "vit-b16-aug-s0")
        await pilot.press("space", "slash", *"lora", "enter")
        await settle(app, pilot, lambda: "1 marked, 1 hidden" in screen_text(app))
        here = cursor(app)
        await pilot.press("s")
        await settle(app, pilot, lambda: isinstance(app.screen, ChoiceScreen))
        assert "Stop 1 run?" in screen_text(app) and here in screen_text(app)
        assert "1 more, marked but hidden, is left alone." in screen_text(app)


async def test_the_tags_of_marked_runs_are_edited_in_one_go(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        await pilot.press("slash", *"lora", "enter", "asterisk")
        assert len(runs_screen(app).table.marked) == 3
        await pilot.press("e")
        await settle(app, pilot, lambda: "Edit the tags of 3 runs" in screen_text(app))
        assert "names and notes are edited one run at a time" in " ".join(
            screen_text(app).replace("▌", " ").split()
        )
        await pilot.press(*"best seed=1 -sft", "enter")
        await settle(app, pilot, lambda: app.screen is runs_screen(app))
        for run in services.runs[3:6]:
            assert run is not None
            assert dict(run.tags) == {"lr": run.tags["lr"], "best": "", "seed": "1"}
        await pilot.press("e", *"-", "enter")
        await settle(app, pilot, lambda: "a tag's name has 1 to 64 characters" in screen_text(app))


async def test_esc_and_the_star_touch_only_marks_that_are_listed(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        table = runs_screen(app).table
        await go_to(app, pilot, "vit-b16-aug-s0")
        await pilot.press("space", "slash", *"lora", "enter")
        await settle(app, pilot, lambda: len(table.waiting) == 1)
        await pilot.press("asterisk")
        assert len(table.marked) == 3 == len(table.keys)
        await pilot.press("asterisk")
        assert not table.marked and len(table.waiting) == 1
        await pilot.press("asterisk", "escape")
        assert not table.marked and runs_screen(app).model.view.filter == "lora"
        await pilot.press("escape")
        await settle(app, pilot, lambda: len(names(app)) == 20)
        assert len(table.marked) == 1 and not table.waiting
        await pilot.press("escape")
        assert not table.marked


async def test_the_mark_of_a_run_that_is_gone_is_gone(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        table = runs_screen(app).table
        await go_to(app, pilot, "vit-b16-aug-s0")
        key = table.key
        assert key is not None
        await pilot.press("space", "space", "slash", *"lora", "enter")
        await settle(app, pilot, lambda: "2 marked, 2 hidden" in screen_text(app))
        services.change(key, None)  # removed elsewhere
        runs_screen(app).model.relist()
        await settle(app, pilot, lambda: "1 marked, 1 hidden" in screen_text(app))


async def test_marks_that_no_filter_hides_can_be_taken_away_all_the_same(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("a")
        await settle(app, pilot, lambda: "old-baseline" in names(app))
        await go_to(app, pilot, "old-baseline")
        await pilot.press("space", "a")
        await settle(app, pilot, lambda: "1 marked, 1 hidden" in screen_text(app))
        await pilot.press("escape")
        await settle(app, pilot, lambda: "marked" not in screen_text(app))


async def test_what_is_folded_away_is_not_touched(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        table = runs_screen(app).table
        await pilot.press(
            "G", "space", "k", "space", "k", "z"
        )  # two of FINISHED, then it is folded
        await settle(app, pilot, lambda: "2 marked, 2 hidden" in screen_text(app))
        await pilot.press("g", "g", "asterisk")
        await settle(
            app, pilot, lambda: f"{len(table.marked) + 2} marked, 2 hidden" in screen_text(app)
        )
        assert len(table.marked) == 11
        await pilot.press("delete")
        await settle(
            app, pilot, lambda: "2 more, marked but hidden, are left alone." in screen_text(app)
        )
        await pilot.press("escape", "escape", "G", "z")
        await settle(app, pilot, lambda: "2 marked · " in screen_text(app))


@pytest.mark.parametrize("frozen", [False, True])
async def test_marks_out_of_sight_are_judged_as_they_are_now(on_runs: OnRuns, frozen: bool) -> None:
    services = FakeServices(crowd(200))
    async with on_runs(services, size=(80, 24)) as (app, pilot):
        screen = runs_screen(app)
        await screen.model.learn(screen.table.keys)  # all were in sight once
        await pilot.press(*(["f"] if frozen else []), "G")
        late = screen.table.keys[0]
        run = screen.model.record(late)
        assert run is not None and run.active
        services.change(late, replace(run, state=State.FAILED, ended=services.now, exit_code=1))
        shown = [services.runs[key] for key in screen.table.keys]
        over = sum(run is not None and run.state.terminal for run in shown)
        await pilot.press("asterisk", "R")
        await settle(app, pilot, lambda: isinstance(app.screen, ChoiceScreen))
        assert f"Retry {over} runs?" in screen_text(app)


async def test_how_many_marks_a_key_is_for_is_said_only_while_it_is_known(
    on_runs: OnRuns,
) -> None:
    services = FakeServices(crowd(60))
    async with on_runs(services, size=(120, 24)) as (app, pilot):
        screen = runs_screen(app)
        await pilot.press("asterisk")
        await settle(app, pilot, lambda: screen.model.current(screen.table.marked))
        active = len(screen.chosen.of("stop"))
        await settle(app, pilot, lambda: f"s stop {active}" in screen_text(app))
        far = next(key for key in reversed(screen.table.keys) if key in screen.chosen.of("stop"))
        run = screen.model.record(far)
        assert run is not None
        services.change(far, replace(run, state=State.SUCCEEDED, ended=services.now, exit_code=0))
        await settle(app, pilot, lambda: f"s stop {active - 1}" in screen_text(app))
        await pilot.press("f")
        await settle(app, pilot, lambda: "s stop  " in screen_text(app))
