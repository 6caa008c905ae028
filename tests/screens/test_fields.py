"""Every field takes the keys of a shell's line, also when they come in one burst."""

from __future__ import annotations

from pathlib import Path

from launch_harness import fill, open_form
from screen_harness import MakeApp, OnRuns, burst, runs_screen, settle
from screen_svg import screen_text
from test_settings import from_file, open_settings
from tests.fakes.launch import launch_services
from textual import events

from traindeck.console.tui.screens.help import HelpScreen, help_entries
from traindeck.console.tui.screens.palette import PaletteScreen
from traindeck.console.tui.screens.run_edit import EditScreen
from traindeck.console.tui.widgets.field import Field

KEYS = (*"one two", "ctrl+a", "X", "alt+f", "Y", "ctrl+e", "left", "left", "Z", "ctrl+left", "W",
        "end", "delete", "home", "right", "delete")  # fmt: skip
COMES_TO = "XneY WtZwo"


async def test_in_the_launch_form(make_app: MakeApp) -> None:
    app = make_app(launch_services())
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await open_form(app, pilot)
        burst(app, *KEYS)
        await settle(app, pilot, lambda: screen.draft.text("command") == COMES_TO)
        burst(app, "ctrl+w", "ctrl+a", "ctrl+k", *"ok")
        await settle(app, pilot, lambda: screen.draft.text("command") == "ok")


async def test_in_the_settings(make_app: MakeApp, tmp_path: Path) -> None:
    app, _ = from_file(make_app, tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await open_settings(app, pilot)
        screen.focus_key = "keys.runs.stop"
        burst(app, "enter", *KEYS)
        await settle(app, pilot, lambda: screen.caret is not None and screen.caret.at == 1)
        assert screen.caret is not None
        assert screen.caret.text == COMES_TO


async def test_in_the_filter_of_runs(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        burst(app, "slash", *KEYS)
        await settle(app, pilot, lambda: runs_screen(app).model.view.filter == COMES_TO)
        burst(app, "ctrl+w", "alt+b", "ctrl+u", "ctrl+k", *"lora")
        await settle(app, pilot, lambda: runs_screen(app).model.view.filter == "lora")


async def test_in_name_tags_and_note(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        burst(app, "e", "ctrl+a", "ctrl+k", *KEYS)
        await settle(app, pilot, lambda: isinstance(app.screen, EditScreen))
        await settle(app, pilot, lambda: app.screen.query_one("#name", Field).value == COMES_TO)


async def test_in_the_palette(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        burst(app, "colon", *KEYS)
        app.post_message(events.Paste("!"))
        await settle(app, pilot, lambda: "X!│neY WtZwo" in screen_text(app).replace("▏", "│"))
        assert isinstance(app.screen, PaletteScreen)


async def test_in_the_palette_before_anything_has_the_focus(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        app.screen.set_focus(None)  # as for a moment at the start
        burst(app, "colon", *KEYS)
        await settle(app, pilot, lambda: "X│neY WtZwo" in screen_text(app).replace("▏", "│"))
        assert isinstance(app.screen, PaletteScreen)


async def test_f1_opens_the_help_where_a_question_mark_is_text(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app, _ = from_file(make_app, tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:

        async def f1_helps(below: object, word: str = "keys") -> None:
            await settle(app, pilot, lambda: f"f1 {word}" in screen_text(app).splitlines()[-1])
            await pilot.press("?", "f1")
            assert isinstance(app.screen, HelpScreen)
            assert "KEYS ON THIS SCREEN" in screen_text(app)
            await pilot.press("f1")
            assert app.screen is below

        await settle(app, pilot, lambda: "selected 1/" in screen_text(app))
        await pilot.press("f1")
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("f1", "slash")
        await f1_helps(runs_screen(app), "language")
        assert runs_screen(app).filtering.line.text == "?"
        await pilot.press("escape")
        form = await open_form(app, pilot)
        await f1_helps(form)
        usable = {entry.action: entry.usable for entry in help_entries(form)}
        assert (usable["app.quit"], usable["launch.default"]) == (False, False)
        assert usable["launch.plan"]
        assert "ctrl+p" in [entry.keys for entry in help_entries(form)]  # and no colon: it is text
        assert form.draft.text("command") == "?"
        form.go_to("start")
        await settle(app, pilot, lambda: "? keys" in screen_text(app).splitlines()[-1])
        settings = await open_settings(app, pilot)
        settings.focus_key = "refresh"
        await pilot.press("enter")
        await f1_helps(settings)
        assert settings.caret is not None
        assert settings.caret.text == "?"


async def test_what_is_pasted_stands_before_the_key_that_follows(make_app: MakeApp) -> None:
    app = make_app(launch_services())
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await open_form(app, pilot)
        app.post_message(events.Paste("python a.py"))
        burst(app, "!", "tab", "x")
        await settle(app, pilot, lambda: screen.draft.text("name") == "x")
        assert screen.draft.text("command") == "python a.py!"


async def test_typing_replaces_a_setting_and_a_key_that_moves_mends_it(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app, path = from_file(make_app, tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await open_settings(app, pilot)
        screen.focus_key = "refresh"
        await pilot.press("enter", "1", "s", "enter")
        await settle(app, pilot, lambda: "refresh: 1s" in path.read_text())
        await pilot.press("enter", "home", "1", "enter")
        await settle(app, pilot, lambda: "refresh: 11s" in path.read_text())
        await pilot.press("enter", "left")
        await fill(pilot, "0")
        await pilot.press("enter")
        await settle(app, pilot, lambda: "refresh: 110s" in path.read_text())
