"""The Settings screen: what it looks like, and what changing a setting promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from launch_harness import SIZES
from screen_harness import CheckScreen, MakeApp, settle
from screen_svg import screen_text
from tests.fakes.launch import launch_services
from textual import events

from traindeck.console.settings import BackendSettings, Settings, Source, load
from traindeck.console.tui import keys
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.screens import settings as settings_screen
from traindeck.console.tui.screens.settings import SettingsScreen

FILE = """\
# mine
theme: dark   # easy on the eyes

grace: 30s
keys:
  runs.stop: X
"""


async def open_settings(app: TraindeckApp, pilot: Any) -> SettingsScreen:
    screen = app.new_screen("settings")
    assert isinstance(screen, SettingsScreen)
    app.push_screen(screen)
    await settle(app, pilot, lambda: bool(screen.form) and app.screen is screen)
    return screen


def from_file(make_app: MakeApp, folder: Path) -> tuple[TraindeckApp, Path]:
    """An application over a settings file."""
    path = folder / "settings.yaml"
    path.write_text(FILE)
    app = make_app(launch_services())
    app.settings = load(path, {})
    return app, path


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_the_list(
    make_app: MakeApp, check_screen: CheckScreen, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_screen, "_stamp_of", lambda _: settings_screen.UNREAD)
    path = Path("/home/user1/.config/traindeck/settings.yaml")
    app = make_app(
        launch_services(),
        path=path,
        grace=30.0,
        backends={
            "local": BackendSettings(),
            "gpu2": BackendSettings(name="gpu2", options={"root": "/scratch/user1/traindeck"}),
        },
        sources={
            "grace": Source(kind="file", where=f"{path}, line 4"),
            "backends.gpu2": Source(kind="file", where=f"{path}, line 7"),
            "glyphs": Source(kind="environment", where="TRAINDECK_GLYPHS"),
        },
    )
    async with app.run_test(size=SIZES[size]) as pilot:
        screen = await open_settings(app, pilot)
        await pilot.press("c")
        await settle(app, pilot, lambda: screen.health and None not in screen.health.values())
        check_screen(app, f"settings-{size}")


async def test_a_choice_holds_at_once_and_comments_stay(make_app: MakeApp, tmp_path: Path) -> None:
    app, path = from_file(make_app, tmp_path)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await open_settings(app, pilot)
        assert app.looks.name == "dark"
        before = list(app.looks.names())
        await pilot.press("space")
        wanted = before[(before.index("dark") + 1) % len(before)]
        await settle(app, pilot, lambda: app.looks.name == wanted)
        await settle(app, pilot, lambda: f"theme: {wanted}   # easy" in path.read_text())
        assert path.read_text().startswith("# mine\n")
        await settle(app, pilot, lambda: app.settings.theme == wanted)
        await pilot.press("u")
        await settle(app, pilot, lambda: "theme" not in path.read_text())
        await settle(app, pilot, lambda: app.looks.name == "dark")


async def test_what_was_set_is_said_whole_at_80_columns(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, path = from_file(make_app, tmp_path)
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        screen = await open_settings(app, pilot)
        screen.focus_key = "mouse"
        await pilot.press("space")
        words = "mouse set: settings.yaml, line 7; from the next start"
        await settle(app, pilot, lambda: words in screen_text(app).splitlines()[-1])
        monkeypatch.setenv("TRAINDECK_THEME", "light")
        screen.focus_key = "theme"
        await pilot.press("space")
        words = "theme is written, but TRAINDECK_THEME goes before it here"
        await settle(app, pilot, lambda: words in screen_text(app).splitlines()[-1])
        assert path.read_text() != FILE


async def test_what_follows_the_palette_in_one_burst_is_for_where_it_leads(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app, path = from_file(make_app, tmp_path)
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        await settle(app, pilot, lambda: "selected 1/" in screen_text(app))
        for key in ("colon", *"sett", "enter", "j", "j", "j", "enter", "ctrl+u", *"5s", "enter"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await settle(app, pilot, lambda: "refresh: 5s" in path.read_text())
        assert "theme: dark" in path.read_text()


async def test_a_wrong_value_is_refused_in_words_and_writes_nothing(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app, path = from_file(make_app, tmp_path)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        screen = await open_settings(app, pilot)
        screen.focus_key = "grace"
        await pilot.press("enter", "ctrl+u", "s", "o", "o", "n", "enter")
        await settle(app, pilot, lambda: "expected a time from 0s to 1d" in screen_text(app))
        assert path.read_text() == FILE
        await pilot.press("enter", "ctrl+u", "1", "m", "enter")
        await settle(app, pilot, lambda: app.settings.grace == 60.0)
        assert "grace: 1m" in path.read_text()


async def test_a_key_that_is_taken_is_refused_and_a_free_one_works_at_once(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app, path = from_file(make_app, tmp_path)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        screen = await open_settings(app, pilot)
        screen.focus_key = "keys.runs.retry"
        await pilot.press("enter", "ctrl+u", "n", "enter")
        await settle(app, pilot, lambda: "is already runs.new" in screen_text(app))
        assert path.read_text() == FILE
        await pilot.press("enter", "ctrl+u", "W", "enter")
        await settle(app, pilot, lambda: app.settings.keys.get("runs.retry") == "W")
        assert "runs.retry: W" in path.read_text()
        assert "runs.stop: X" in path.read_text()


async def test_the_list_is_the_file_as_it_is_though_an_editor_wrote_it_meanwhile(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app, path = from_file(make_app, tmp_path)
    path.write_text("# new\n" + FILE.replace("30s", "45s"))  # since the start
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await open_settings(app, pilot)
        await settle(app, pilot, lambda: "settings.yaml, line 5" in screen_text(app))
        assert "45s" in screen_text(app) and app.settings.grace == 45.0
        wrong = FILE.replace("30s", "soon")
        path.write_text(wrong)
        await settle(app, pilot, lambda: "expected a time" in screen_text(app))
        assert "45s" in screen_text(app) and app.settings.grace == 45.0
        path.write_text(FILE)
        await settle(app, pilot, lambda: app.settings.grace == 30.0)
        assert "expected a time" not in screen_text(app)
        path.write_text(wrong)
        await settle(app, pilot, lambda: "expected a time" in screen_text(app))
        app.take_back(app._notice)
        assert "✗ the file is wrong" in screen_text(app)


async def test_a_theme_that_is_mended_is_taken_over(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, path = from_file(make_app, tmp_path)
    monkeypatch.setattr(app.looks, "_folder", tmp_path)
    theme = tmp_path / "mine.yaml"
    theme.write_text("base: dark\nink:\n  text: banana\n")
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await open_settings(app, pilot)
        path.write_text(FILE.replace("theme: dark ", "theme: mine "))
        await settle(app, pilot, lambda: "mine.yaml, line 3" in screen_text(app))
        app.take_back(app._notice)
        assert "the file is wrong" in screen_text(app)
        theme.write_text('base: dark\nink:\n  text: "#ffffff"\n')
        await settle(app, pilot, lambda: app.looks.name == "mine")
        await settle(app, pilot, lambda: "the file is wrong" not in screen_text(app))


async def test_a_file_that_was_deleted_since_the_start_says_nothing_any_more(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app, path = from_file(make_app, tmp_path)
    path.unlink()
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        await open_settings(app, pilot)
        await settle(app, pilot, lambda: "settings.yaml, line" not in screen_text(app))
        assert app.settings.grace == 10.0


async def test_nothing_is_written_into_a_file_that_could_not_be_taken_over(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app, path = from_file(make_app, tmp_path)
    async with app.run_test(size=SIZES["120x40"]) as pilot:
        screen = await open_settings(app, pilot)
        for wrong in (FILE.replace("X", "n"), FILE.replace("dark ", "none ")):
            path.write_text(wrong)
            screen.focus_key = "grace"
            await pilot.press("enter", "ctrl+u", "1", "m", "enter")
            await settle(
                app, pilot, lambda: screen.entry is not None and screen.entry.problem != ""
            )
            assert path.read_text() == wrong and app.settings.grace == 30.0
            await pilot.press("escape")


async def test_escape_leaves_a_value_as_it_was(make_app: MakeApp, tmp_path: Path) -> None:
    app, path = from_file(make_app, tmp_path)
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        screen = await open_settings(app, pilot)
        screen.focus_key = "grace"
        await pilot.press("enter", "x", "escape")
        assert screen.caret is None
        assert app.screen is screen
        assert path.read_text() == FILE


def test_every_key_is_shown_as_it_may_be_written() -> None:
    for name, action in keys.all_actions().items():
        if name in ("app.quit_now", "app.back"):
            continue  # these are not to be given away
        written = keys.settings_text(action.keys)
        assert keys.keymap(Settings(keys={name: written})) == {name: action.keys}, name


def labels(screen: SettingsScreen) -> list[str]:
    return [entry.label for section in screen.form for entry in section.entries]


async def test_a_setting_is_found_by_typing_a_word_of_what_it_does(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app, path = from_file(make_app, tmp_path)
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        screen = await open_settings(app, pilot)
        every = labels(screen)
        await pilot.press("j", "j", "slash", *"retry")
        await settle(app, pilot, lambda: "run.retry" in labels(screen))
        assert len(labels(screen)) < 6 and screen.focus_key == "keys.runs.retry"
        assert f"of {len(every)}" in screen_text(app).splitlines()[0]
        await pilot.press("ctrl+u", *"Killing", "space", *"ASKING")
        await settle(app, pilot, lambda: labels(screen) == ["grace"])
        # Kept, the list is as it was: what is found can be changed at once.
        await pilot.press("enter", "enter", *"45s", "enter")
        await settle(app, pilot, lambda: "grace: 45s" in path.read_text())
        assert labels(screen) == ["grace"] and "filter Killing ASKING" in screen_text(app)
        await pilot.press("escape")
        await settle(app, pilot, lambda: labels(screen) == every)
        assert screen.focus_key == "grace" and app.screen is screen, "esc shows all, and stays"
        await pilot.press("escape")
        await settle(app, pilot, lambda: app.screen is not screen)


async def test_what_is_filtered_while_typing_is_as_before_after_esc(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app, _ = from_file(make_app, tmp_path)
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        screen = await open_settings(app, pilot)
        every = labels(screen)
        await pilot.press("j", "j")
        before = screen.focus_key
        await pilot.press("slash", *"zzzq")
        await settle(app, pilot, lambda: "No setting fits zzzq" in screen_text(app))
        await pilot.press("down", "escape")
        await settle(app, pilot, lambda: labels(screen) == every)
        assert screen.focus_key == before
        # All in one burst: what follows enter is for the rows that it leaves.
        for key in ("slash", *"runs.", "enter", "down", "down"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await settle(app, pilot, lambda: "filter runs." in screen_text(app))
        assert screen.focus_key == f"keys.{labels(screen)[2]}"


async def test_the_row_under_the_cursor_stays_though_it_fits_no_more(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app, path = from_file(make_app, tmp_path)
    async with app.run_test(size=SIZES["80x24"]) as pilot:
        screen = await open_settings(app, pilot)
        await pilot.press("slash", *"yaml,", "enter")
        await settle(app, pilot, lambda: labels(screen) == ["theme", "grace", "runs.stop"])
        await pilot.press("j", "u")
        await settle(app, pilot, lambda: "grace" not in path.read_text())
        await pilot.pause()
        assert labels(screen) == ["theme", "grace", "runs.stop"] and screen.focus_key == "grace"
        await pilot.press("j")
        assert labels(screen) == ["theme", "runs.stop"], "it is left: now it goes"


@pytest.mark.parametrize("size", ["80x24", "120x40"])
@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize(
    ("name", "keys_pressed"),
    [("filtering", "slash r u n s"), ("filtered", "slash r u n s enter j j"),
     ("filter-empty", "slash z z z")],
)  # fmt: skip
async def test_what_a_filter_looks_like(
    make_app: MakeApp, check_screen: CheckScreen, name: str, keys_pressed: str, size: str,
    theme: str,
) -> None:  # fmt: skip
    app = make_app(launch_services(), theme=theme)
    async with app.run_test(size=SIZES[size]) as pilot:
        screen = await open_settings(app, pilot)
        await settle(app, pilot, lambda: screen.health and None not in screen.health.values())
        await pilot.press(*keys_pressed.split())
        await pilot.pause()
        check_screen(app, f"settings-{name}{'' if theme == 'dark' else '-light'}-{size}")
