"""What is done to runs from the Runs screen: it asks, says what it leaves out, and does it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from screen_harness import (
    SIZE,
    MakeApp,
    OnRuns,
    answer,
    burst,
    cursor,
    drawn,
    go_to,
    names,
    runs_screen,
    settle,
)
from screen_svg import screen_text
from tests.fakes.runs import FakeServices, crowd, make_run, small_services
from textual import events

from traindeck.backends.base import State, Unreachable
from traindeck.console.tui.screens.overlay import ChoiceScreen
from traindeck.console.tui.screens.run_edit import EditScreen


async def test_stopping_asks_and_enter_never_does_it(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        await pilot.press("j", "j", "j", "space", "space", "s")
        assert isinstance(app.screen, ChoiceScreen)
        assert "Stop 2 runs?" in screen_text(app)
        await pilot.press("enter")
        assert not isinstance(app.screen, ChoiceScreen)
        assert not [call for call in services.calls if call[0] == "stop"]
        await pilot.press("s", "tab", "x", "escape")
        assert not [call for call in services.calls if call[0] == "stop"]
        await pilot.press("s")
        await answer(app, pilot, services, "s")
        await settle(app, pilot, lambda: any(call[0] == "stop" for call in services.calls))
        await settle(app, pilot, lambda: "asked to stop: 2 runs" in screen_text(app))
        await settle(app, pilot, lambda: "◐ stopping" in screen_text(app))
        assert runs_screen(app).table.marked == set()


@pytest.mark.parametrize(
    ("keys", "asks", "act"),
    [
        (("s", "s"), "Stop 1 run?", "stop"),
        (("G", "R", "r"), "Retry 1 run?", "retry"),
        (("G", "delete", "d"), "Remove 1 run?", "remove"),
    ],
)
async def test_keys_that_come_before_the_question_can_be_read_are_no_answer_to_it(
    on_runs: OnRuns, keys: tuple[str, ...], asks: str, act: str
) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        burst(app, *keys)
        await settle(app, pilot, lambda: asks in screen_text(app))
        assert act not in [call for call, *_ in services.calls]
        await answer(app, pilot, services, keys[-1])
        await settle(app, pilot, lambda: act in [call for call, *_ in services.calls])


async def test_a_key_that_is_held_stops_nothing_before_it_is_let_go(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        await pilot.press("s")
        await settle(app, pilot, lambda: "Stop 1 run?" in screen_text(app))
        for _ in range(5):
            services.now += 0.6
            await pilot.press("s")
        assert "Stop 1 run?" in screen_text(app)
        assert "stop" not in [call for call, *_ in services.calls]
        await answer(app, pilot, services, "s")
        await settle(app, pilot, lambda: "stop" in [call for call, *_ in services.calls])


async def test_the_question_before_a_stop_follows_its_runs_and_goes_with_the_last(
    make_app: MakeApp,
) -> None:
    services = small_services()
    app = make_app(services)

    def end(name: str) -> None:
        key, run = next((k, r) for k, r in enumerate(services.runs) if r and r.name == name)
        services.change(key, replace(run, state=State.SUCCEEDED, ended=services.now))

    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await go_to(app, pilot, "llama1b-lora-lr3e4")
        await pilot.press("space", "space", "s")
        assert "1h04 in" in screen_text(app) and "stop both" in screen_text(app)
        services.now += 120
        await settle(app, pilot, lambda: "1h06 in" in screen_text(app))
        end("llama1b-lora-lr3e4")
        await settle(app, pilot, lambda: "Stop 1 run?" in screen_text(app))
        assert "1 more of those marked is over" in screen_text(app)
        assert "stop both" not in screen_text(app)
        end("vit-b16-aug-s0")
        await settle(app, pilot, lambda: not isinstance(app.screen, ChoiceScreen))
        assert "vit-b16-aug-s0 is over already" in screen_text(app)
        assert not [call for call in services.calls if call[0] == "stop"]


async def test_what_marked_runs_are_skipped_is_said_before_and_while_asking(
    on_runs: OnRuns,
) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        screen = runs_screen(app)
        screen.table.mark_all()
        chosen = list(screen.chosen.runs().values())
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


async def test_of_an_adopted_process_that_goes_on_only_the_watching_is_removed(
    on_runs: OnRuns,
) -> None:
    runs = [make_run(1, "tmux", State.RUNNING, adopted=True)]
    async with on_runs(FakeServices(runs)) as (app, pilot):
        await pilot.press("delete")
        await settle(app, pilot, lambda: "Remove 1 run?" in screen_text(app))
        assert "The process goes on; only the watching ends." in screen_text(app)


async def test_a_run_that_goes_on_is_neither_removed_nor_retried_and_that_is_said(
    on_runs: OnRuns,
) -> None:
    async with on_runs(FakeServices([make_run(1, "long", State.RUNNING)])) as (app, pilot):
        await pilot.press("delete")
        await settle(app, pilot, lambda: "long is running, not over." in screen_text(app))
        app.hush(all=True)
        await pilot.press("R")
        await settle(app, pilot, lambda: "long is running, not over." in screen_text(app))


async def test_a_run_that_is_ending_is_not_to_be_stopped_before_it_is_retried(
    on_runs: OnRuns,
) -> None:
    async with on_runs(FakeServices([make_run(1, "late", State.STOPPING)])) as (app, pilot):
        await pilot.press("R")
        await settle(app, pilot, lambda: "late is ending, not over." in screen_text(app))


async def test_what_cannot_be_done_here_has_no_key(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        await pilot.press("G")  # a finished run
        assert "s stop" not in screen_text(app)
        await pilot.press("s")
        assert not isinstance(app.screen, ChoiceScreen)
        assert f"{cursor(app)} is over already" in screen_text(app)
        await pilot.press("x")
        await settle(app, pilot, lambda: f"{cursor(app)} does not need you" in screen_text(app))
        await pilot.press("k", "R")
        await settle(app, pilot, lambda: "Retry 1 run?" in screen_text(app))
        assert "over already" not in screen_text(app)


async def test_retry_remove_and_seen(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        await go_to(app, pilot, "nanogpt-big")
        await pilot.press("x")
        await settle(app, pilot, lambda: ("looked", ("0k01v8c4m2qe",)) in services.calls)
        # The cursor goes on to what needs a person next.
        await settle(app, pilot, lambda: cursor(app) == "sweep-07")
        assert "seen: nanogpt-big · now in FINISHED" in screen_text(app)
        await pilot.press("k", "x")
        await settle(app, pilot, lambda: "NEEDS YOU 1" in screen_text(app))
        assert cursor(app) == "sweep-07"
        await go_to(app, pilot, "nanogpt-big")
        await pilot.press("x")  # it is seen already
        assert services.calls.count(("looked", ("0k01v8c4m2qe",))) == 1
        await pilot.press("R")
        await answer(app, pilot, services, "r")
        await settle(app, pilot, lambda: "started again: 1 run" in screen_text(app))
        await pilot.press("G", "delete")
        await settle(app, pilot, lambda: "Remove 1 run?" in screen_text(app))
        assert "Frees 1.23 GB, 900 MB of it artifacts" in screen_text(app)
        gone = cursor(app)
        await pilot.press("a")
        await settle(app, pilot, lambda: "removed: 1 run" in screen_text(app))
        assert gone not in names(app)
        assert ("remove", ((services.calls and "0k20v8c4m2qe",), True)) in services.calls


async def test_a_dialog_is_laid_out_anew_when_the_window_changes(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("s")
        await settle(app, pilot, lambda: "Stop 1 run?" in screen_text(app))
        await pilot.resize_terminal(62, 20)
        await settle(app, pilot, lambda: "not saved" in screen_text(app))
        panel = screen_text(app).split("Stop 1 run?")[1]
        assert "is lost" in panel and "…" not in panel.split("is lost")[0][-30:]


async def test_what_could_not_be_done_at_all_is_a_dialog_with_what_to_do(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        services.error = Unreachable("gpu2 does not answer.", "Try again when it is back.")
        await pilot.press("s")
        await answer(app, pilot, services, "s")
        await settle(app, pilot, lambda: "Could not stop 1 run" in screen_text(app))
        assert "try    Try again when it is back." in screen_text(app)
        await pilot.press("y")
        assert app.clipboard.startswith("Could not stop 1 run: nothing was changed\nwhat: gpu2")
        await pilot.press("enter")
        await settle(app, pilot, lambda: "Could not stop" not in screen_text(app))


@pytest.mark.parametrize("size", [(60, 15), (80, 24)])
async def test_what_is_said_of_many_runs_is_never_cut(
    on_runs: OnRuns, size: tuple[int, int]
) -> None:
    async with on_runs(size=size) as (app, pilot):
        for key, says, way in (
            ("delete", "cannot be removed and will stay.", "d delete"),
            ("R", "and left alone.", "r retry"),
            ("s", "or ending already.", "s stop"),
        ):
            await pilot.press("asterisk", key)
            await settle(app, pilot, lambda: isinstance(app.screen, ChoiceScreen))
            rows = [row.partition("▌")[2].strip() for row in screen_text(app).splitlines()[:-1]]
            panel = " ".join(row.split("    ")[0] for row in rows)  # beside it is what it lies over
            assert says in panel and any(way in row for row in rows)
            await pilot.press("escape", "escape")


async def test_editing_keeps_what_was_typed_when_it_is_refused(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
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


async def test_editing_leaves_alone_what_is_tagged_elsewhere_meanwhile(on_runs: OnRuns) -> None:
    services = small_services()
    run = services.runs[0]
    assert run is not None
    services.change(0, replace(run, tags={"keep": "", "gone": "1"}))
    async with on_runs(services) as (app, pilot):
        await go_to(app, pilot, "nanogpt-big")
        await pilot.press("e", "tab", "ctrl+u", *"keep mine")
        services.change(0, replace(run, tags={"keep": "", "gone": "1", "other": "x"}))
        await pilot.press("enter")
        await settle(app, pilot, lambda: not isinstance(app.screen, EditScreen))
        now = services.runs[0]
        assert now is not None and dict(now.tags) == {"keep": "", "other": "x", "mine": ""}


async def test_what_follows_the_key_that_opens_a_form_in_one_burst_is_text_for_its_fields(
    on_runs: OnRuns,
) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        await go_to(app, pilot, "nanogpt-big")
        for key in ("e", *"_2", "tab", *"ok", "down", *"why", "backspace"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        app.post_message(events.Paste("o?\nmore"))
        app.post_message(events.Key("enter", "\r"))
        await settle(app, pilot, lambda: not isinstance(app.screen, EditScreen))
        run = services.runs[0]
        assert run is not None
        assert (run.name, run.tags, run.note) == ("nanogpt-big_2", {"ok": ""}, "who?")


async def test_what_follows_enter_in_a_form_in_one_burst_is_for_the_screen_below(
    on_runs: OnRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_runs() as (app, pilot):
        keep = app.services.describe

        async def slowly(run_id: str, **words: object) -> str:
            await asyncio.sleep(0.2)
            return str(await keep(run_id, **words))

        monkeypatch.setattr(app.services, "describe", slowly)
        burst(app, "e", "ctrl+u", *"new", "enter", "slash", *"new", "enter")
        await settle(app, pilot, lambda: runs_screen(app).model.view.filter == "new")
        assert app.screen is runs_screen(app)


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (120, 40)])
async def test_the_fields_of_a_run_stand_beside_their_labels_whatever_the_size(
    on_runs: OnRuns, size: tuple[int, int]
) -> None:
    services = small_services()
    async with on_runs(services, size=size) as (app, pilot):
        await go_to(app, pilot, "nanogpt-big")
        await pilot.press("e", "tab", *"'tag", "tab", *"remark")

        def lined_up() -> bool:
            rows = [row.partition("▌")[2].split() for row in screen_text(app).splitlines()]
            wanted = (["name", "nanogpt-big"], ["tags", "'tag"], ["note", "remark"])
            return all(any(row[:2] == pair for row in rows) for pair in wanted)

        await settle(app, pilot, lined_up)
        for wide, high in ((100, 40), (60, 15), (72, 20), size):
            await pilot.resize_terminal(wide, high)
            await settle(app, pilot, lined_up)
        await pilot.press("enter")
        await settle(app, pilot, lambda: "a quote is not closed" in screen_text(app))
        await settle(app, pilot, lined_up)


async def test_a_name_that_another_run_has_is_given_with_a_word_about_it(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        await go_to(app, pilot, "nanogpt-big")
        twin = next(run for run in services.runs[1:] if run is not None)
        await pilot.press("e", "ctrl+u", *twin.name, "enter")
        await settle(app, pilot, lambda: f"another run is called {twin.name}" in screen_text(app))
        assert services.runs[0] is not None and services.runs[0].name == twin.name


async def test_copying_goes_to_the_clipboard(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("y", "c")
        assert app.clipboard == "python sft_lora.py --config run.yaml --seed 2"
        assert "copied command" in screen_text(app)


async def test_marking_a_range_and_everything(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("v", "j", "j", "j", "v")
        assert len(runs_screen(app).table.marked) == 4
        assert "4 marked" in screen_text(app)
        await pilot.press("asterisk")
        assert len(runs_screen(app).table.marked) == 20
        await pilot.press("escape")
        assert not runs_screen(app).table.marked


async def test_what_is_done_to_all_that_are_marked_is_done_to_all(on_runs: OnRuns) -> None:
    services = FakeServices(crowd(300))
    async with on_runs(services) as (app, pilot):
        screen = runs_screen(app)
        screen.model.show(window=None)
        await settle(app, pilot, lambda: len(screen.table.keys) == 300)
        await pilot.press("asterisk")
        await pilot.press("delete")
        await settle(app, pilot, lambda: isinstance(app.screen, ChoiceScreen))
        over = sum(not run.active and not run.foreign for run in services.runs if run)
        assert over > 200 and f"Remove {over} runs?" in screen_text(app)
