"""What a person can do on the Launch screen, and what it promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
from launch_harness import SIZES, at_rest, fill, open_form
from screen_harness import MakeApp, cursor, runs_screen, settle
from screen_svg import screen_text
from tests.fakes.launch import launch_services
from tests.fakes.runs import NOW
from textual import events

from traindeck.backends.base import BackendError, Option, Reach
from traindeck.console.runs.drafting import Draft, Drafted
from traindeck.console.tui.screens import launch
from traindeck.console.tui.screens.help import help_entries
from traindeck.console.tui.screens.launch_plan import PlanScreen
from traindeck.console.tui.screens.overlay import ChoiceScreen
from traindeck.console.tui.services import Place

WIDE, NARROW = SIZES["120x40"], SIZES["80x24"]


async def test_what_is_launched_is_the_very_plan_that_was_shown(make_app: MakeApp) -> None:
    services = launch_services()
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        await fill(pilot, "python train.py --lr 3e-4")
        await at_rest(app, pilot)
        shown = screen.plan_state.plan
        await pilot.press("ctrl+g")
        await settle(app, pilot, lambda: bool(services.launched))
        assert services.launched == [shown]
        assert services.launched[0].argv == ("python", "train.py", "--lr", "3e-4")
        await settle(app, pilot, lambda: app.screen is runs_screen(app))
        await settle(app, pilot, lambda: "launched calm-fox on local" in screen_text(app))
        await settle(
            app, pilot, lambda: getattr(runs_screen(app).selected, "name", "") == "calm-fox"
        )


async def test_every_letter_is_text_in_a_text_field(make_app: MakeApp) -> None:
    app = make_app(launch_services())
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        await fill(pilot, "quit? v: n/N")
        assert screen.draft.text("command") == "quit? v: n/N"
        await pilot.press("home", "x", "end", "backspace", "left", "delete")
        assert screen.draft.text("command") == "xquit? v: n"
        await pilot.press("left", "ctrl+u")
        assert screen.draft.text("command") == "n"


async def test_what_is_typed_into_a_number_takes_its_place(make_app: MakeApp) -> None:
    app = make_app(launch_services())
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        screen = await open_form(app, pilot)
        screen.go_to("retries")
        await fill(pilot, "12")
        assert screen.draft.text("retries") == "12"
        screen.go_to("cwd")
        screen.go_to("retries")
        await pilot.press("end")
        await fill(pilot, "0")
        assert screen.draft.text("retries") == "120"


async def test_what_is_pasted_is_one_line_of_text(make_app: MakeApp) -> None:
    app = make_app(launch_services())
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        app.post_message(events.Paste("python a.py\n--lr \x1b[31m3"))
        await settle(app, pilot, lambda: bool(screen.draft.text("command")))
        assert screen.draft.text("command") == "python a.py --lr ␛[31m3"


async def test_nothing_is_launched_while_something_is_wrong(make_app: MakeApp) -> None:
    services = launch_services()
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        await pilot.press("ctrl+g")
        assert "what is to run?" in screen_text(app)
        await fill(pilot, "true")
        screen.go_to("time")
        await fill(pilot, "banana")
        await at_rest(app, pilot)
        await pilot.press("ctrl+g")
        assert "fix 1 field to launch" in screen_text(app)
        assert "not a duration" in screen_text(app)
        await pilot.press("ctrl+u")
        await fill(pilot, "2h")
        await at_rest(app, pilot)
        await pilot.press("ctrl+g")
        await settle(app, pilot, lambda: bool(services.launched))
        assert services.launched[0].spec.limits.time == 7200


async def test_where_the_plan_has_no_room_it_is_shown_before_anything_starts(
    make_app: MakeApp,
) -> None:
    services = launch_services()
    app = make_app(services)
    async with app.run_test(size=NARROW) as pilot:
        await open_form(app, pilot)
        await fill(pilot, "true")
        await at_rest(app, pilot)
        await pilot.press("ctrl+g")
        assert isinstance(app.screen, PlanScreen)
        assert not services.launched
        await pilot.press("ctrl+g")
        await settle(app, pilot, lambda: bool(services.launched))


async def test_a_refused_launch_keeps_what_was_typed(make_app: MakeApp) -> None:
    services = launch_services()
    services.refusal = BackendError("The disk of gpu2 is full.", "Free some space.")
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        await fill(pilot, "python train.py")
        await at_rest(app, pilot)
        await pilot.press("ctrl+g")
        await settle(app, pilot, lambda: "The disk of gpu2 is full." in screen_text(app))
        assert screen.draft.text("command") == "python train.py"
        services.refusal = None
        await at_rest(app, pilot)
        await pilot.press("ctrl+g")
        await settle(app, pilot, lambda: bool(services.launched))


async def test_leaving_asks_only_if_something_was_typed(make_app: MakeApp) -> None:
    app = make_app(launch_services())
    async with app.run_test(size=WIDE) as pilot:
        await open_form(app, pilot)
        await pilot.press("escape")
        assert app.screen is runs_screen(app)
        screen = await open_form(app, pilot)
        await fill(pilot, "true")
        await pilot.press("escape")
        assert isinstance(app.screen, ChoiceScreen)
        await pilot.press("enter")
        assert app.screen is screen
        await pilot.press("escape", "l")
        await pilot.pause()
        assert app.screen is runs_screen(app)


async def test_launch_again_fills_the_form_from_the_run(make_app: MakeApp) -> None:
    services = launch_services()
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot, like=services.runs[0])
        draft = screen.draft
        assert draft.text("command") == "python train.py --config 'big model.yaml' --lr 3e-4"
        assert draft.text("cwd") == "/home/user1/nanogpt"
        assert draft.text("env") == "WANDB_MODE=offline"
        assert draft.text("secrets") == "HF_TOKEN"
        assert draft.text("tags") == "sft lr=3e-4"
        assert (draft.text("time"), draft.text("retries")) == ("2h", "1")
        await pilot.press("escape")
        assert app.screen is runs_screen(app)


async def test_a_run_whose_directory_is_gone_leaves_an_empty_form_and_says_so(
    make_app: MakeApp,
) -> None:
    services = launch_services()
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        await pilot.pause()
        app.open_launch(services.runs[7])
        await settle(app, pilot, lambda: "The directory of this run is gone." in screen_text(app))


async def test_what_is_marked_and_counted_as_changed_is_what_a_person_changed(
    make_app: MakeApp,
) -> None:
    services = launch_services()
    app = make_app(services)

    def changed() -> set[str]:
        marked = {e.key for s in screen.form for e in s.entries if e.changed}
        head = screen_text(app).splitlines()[0]
        assert f"changed {len(marked)} of " in head
        return marked

    async with app.run_test(size=WIDE) as pilot:
        await pilot.pause()
        screen = await open_form(app, pilot, services.runs[0])
        assert screen.draft.fields and changed() == set()
        screen.go_to("tags")
        await fill(pilot, " x")
        await settle(app, pilot, lambda: changed() == {"tags"})
        await pilot.press("backspace", "backspace")
        await settle(app, pilot, lambda: changed() == set())
        screen.go_to("start")
        await pilot.press("space")
        await settle(app, pilot, lambda: changed() == {"start"})


async def test_where_the_plan_is_shown_first_the_form_and_the_plan_say_so(
    make_app: MakeApp,
) -> None:
    services = launch_services()
    app = make_app(services)
    async with app.run_test(size=NARROW) as pilot:
        await open_form(app, pilot)
        await fill(pilot, "true")
        await at_rest(app, pilot)
        assert "ctrl+g plan, then launch" in screen_text(app)
        await pilot.press("ctrl+g")
        await settle(app, pilot, lambda: isinstance(app.screen, PlanScreen))
        assert "not launched yet · ctrl+g launches · esc back" in screen_text(app)
        await pilot.press("escape")
        # It was seen: now it is launched at once.
        await settle(app, pilot, lambda: "ctrl+g launch" in screen_text(app))
        await pilot.press("ctrl+g")
        await settle(app, pilot, lambda: bool(services.launched))


async def test_a_recipe_is_chosen_preset_and_kept(make_app: MakeApp) -> None:
    services = launch_services()
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        await pilot.press("up", "space")
        await at_rest(app, pilot)
        assert screen.draft.recipe == "sft"
        assert "fix 2 fields to launch" in screen_text(app)
        await pilot.press("down")
        await fill(pilot, "./base")
        await pilot.press("tab")
        await fill(pilot, "chats.jsonl")
        await pilot.press("ctrl+r")
        await settle(app, pilot, lambda: "go together, in twenty steps." in screen_text(app))
        await pilot.press("a")
        await at_rest(app, pilot)
        assert screen.draft.preset == "quick"
        steps = next(e for s in screen.form for e in s.entries if e.key == "set.steps")
        assert (steps.text, steps.source, steps.changed) == ("20", "preset quick", False)
        await pilot.press("ctrl+s", "enter")
        await settle(app, pilot, lambda: "sft-mine" in services.saved)
        await pilot.press("ctrl+s", "enter")
        await settle(app, pilot, lambda: "There is a recipe sft-mine already" in screen_text(app))
        await pilot.press("escape")
        # Going over to a command and back loses nothing.
        screen.go_to("start")
        await pilot.press("space", "left")
        await at_rest(app, pilot)
        assert screen.draft.values["model"] == "./base"


async def test_a_place_brings_its_own_options(make_app: MakeApp) -> None:
    services = launch_services()
    services.options = {"partition": Option(help="Where in the cluster.", choices=("gpu", "cpu"))}
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        assert "partition" not in screen_text(app)
        screen.go_to("on")
        await pilot.press("space")
        assert screen.draft.on == "gpu2"
        assert "partition" in screen_text(app)


async def test_a_place_that_answers_again_is_seen_to_while_the_form_is_open(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "LOOKS_EVERY", 0.01)
    services = launch_services()
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        assert "no answer for 6 min" in screen_text(app)
        local, gpu2 = services._places
        services._places = (local, replace(gpu2, reach=Reach.OK, note=""))
        await settle(app, pilot, lambda: "no answer" not in screen_text(app))
        screen.go_to("on")
        await pilot.press("space")
        await at_rest(app, pilot)
        checked: list[Draft] = []
        check = services.check

        async def noted(draft: Draft) -> Drafted:
            checked.append(draft)
            return await check(draft)

        monkeypatch.setattr(services, "check", noted)
        services._places = (local, gpu2)
        await settle(app, pilot, lambda: "no answer for 6 min" in screen_text(app))
        await settle(app, pilot, lambda: bool(checked))  # its plan may be another now


async def test_down_goes_through_the_places_and_on_and_up_comes_back(make_app: MakeApp) -> None:
    services = launch_services()
    services._places = (*services._places, Place(name="lab", seen_at=NOW))
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)

        def here() -> str:
            rows = [row for row in screen_text(app).splitlines()[1:] if row.startswith("▌  ")]
            return rows[0].split("  ")[1].strip() if rows else ""

        seen = []
        for key in ["down"] * 5 + ["up"] * 4:
            await pilot.press(key)
            seen.append((screen.focus_key, here()))
        through = ["(•) local", "( ) gpu2", "( ) lab"]
        assert seen[1:4] == [("on", line) for line in through]
        assert [key for key, _ in (seen[0], seen[4], seen[8])] == ["name", "cwd", "name"]
        assert seen[5:8] == [("on", line) for line in reversed(through)]
        assert screen.draft.on == "local", "who only passes by chooses nothing"
        await pilot.press("down", "down")
        assert "space choose" in screen_text(app).splitlines()[-1]
        await pilot.press("space")
        assert screen.draft.on == "gpu2" and here() == "(•) gpu2"
        assert "space change" in screen_text(app).splitlines()[-1]
        await pilot.press("space")
        assert screen.draft.on == "lab" and here() == "(•) lab", "as before: the next one"
        await pilot.press("up", "up", "enter")
        assert screen.draft.on == "local" and screen.focus_key == "cwd"
        await pilot.press("shift+tab")
        assert here() == "(•) local", "who comes by tab is on the chosen one"
        await pilot.press("down", "tab")
        assert screen.draft.on == "local" and screen.focus_key == "cwd", "tab chooses nothing"


async def test_an_array_is_asked_for_planned_and_launched_where_there_are_any(
    make_app: MakeApp,
) -> None:
    services = launch_services()
    services.schedulers = frozenset({"gpu2"})
    app = make_app(services)
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        await fill(pilot, "python sweep.py")
        await at_rest(app, pilot)
        assert "array" not in screen_text(app)
        screen.go_to("on")
        await pilot.press("space")
        screen.go_to("array")
        await fill(pilot, "0-x")
        await at_rest(app, pilot)
        assert "array 0-x: '0-x' is neither an index nor a range." in screen_text(app)
        await pilot.press("backspace")
        await fill(pilot, "7%2")
        await at_rest(app, pilot)
        text = screen_text(app)
        assert "array     task 0 of 0-7%2" in text and "PLAN  8 runs" in text
        assert "of 8 plans this is the first" in text and "launch 8 runs on gpu2" in text
        assert screen.draft.made_name == "calm-fox", "the name of all, not of the first"
        # A place without any has no such field; the way back finds what stood there.
        screen.go_to("on")
        await pilot.press("space")
        await at_rest(app, pilot)
        text = screen_text(app)
        assert "array" not in text and "launch calm-fox on local" in text
        await pilot.press("space")
        await at_rest(app, pilot)
        await pilot.press("ctrl+g")
        await settle(app, pilot, lambda: len(services.launched) == 8)
        assert [plan.spec.name for plan in services.launched[::7]] == ["calm-fox-0", "calm-fox-7"]
        await settle(app, pilot, lambda: "launched 8 runs on gpu2" in screen_text(app))
        await settle(app, pilot, lambda: cursor(app) == "calm-fox-0")


async def test_where_there_is_nothing_to_choose_no_key_is_offered_for_it(
    make_app: MakeApp,
) -> None:
    for places, offered in ((2, True), (1, False)):
        services = launch_services()
        services._places = services._places[:places]
        app = make_app(services)
        async with app.run_test(size=WIDE) as pilot:
            screen = await open_form(app, pilot)
            screen.go_to("on")
            await pilot.pause()
            text = screen_text(app)
            assert (text.count("space change") == 2, text.count("space change") == 0) == (
                offered,
                not offered,
            )


async def test_a_choice_is_set_back_to_its_default_only_where_one_was_made(
    make_app: MakeApp,
) -> None:
    app = make_app(launch_services())

    def offered() -> bool:
        return next(e.usable for e in help_entries(app.screen) if e.action == "launch.default")

    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        for key in ("start", "on", "pty"):
            screen.go_to(key)
            assert not offered()
        await pilot.press("space")
        assert screen.draft.text("pty") == "yes"
        assert offered()
        await pilot.press("ctrl+u")
        assert screen.draft.text("pty") == "no"
        assert not offered()


async def test_a_click_below_a_long_command_finds_the_field_that_stands_there(
    make_app: MakeApp,
) -> None:
    app = make_app(launch_services())
    async with app.run_test(size=WIDE) as pilot:
        screen = await open_form(app, pilot)
        app.post_message(events.Paste("python train.py " + "--flag value " * 12))
        await at_rest(app, pilot)
        for label, key in (("folder", "cwd"), ("GPUs", "gpus"), ("command", "command")):
            rows = screen_text(app).splitlines()
            await pilot.click(
                offset=(25, next(y for y, row in enumerate(rows) if label in row[:20]))
            )
            assert screen.focus_key == key
