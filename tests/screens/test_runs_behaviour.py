"""What a person can do on the Runs screen, and what the screen promises not to do to them."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from screen_harness import (
    SIZE,
    MakeApp,
    OnRuns,
    answer,
    burst,
    cursor,
    drawn,
    names,
    runs_screen,
    settle,
)
from screen_svg import screen_text
from tests.fakes.runs import NOW, FakeServices, crowd, small_services, small_world
from textual import events

from traindeck.backends.base import Limits, RunSpec
from traindeck.console.runs.told import Told
from traindeck.console.settings import Settings
from traindeck.console.store.places import Places
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.screens import runs_going
from traindeck.console.tui.screens.palette import PaletteScreen
from traindeck.console.tui.screens.run import RunScreen
from traindeck.console.tui.services import Listing, View


async def test_the_cursor_moves_over_heads_and_stops_at_the_ends(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
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


async def test_pages_of_a_long_list(on_runs: OnRuns) -> None:
    async with on_runs(FakeServices(crowd(3000)), window=None) as (app, pilot):
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


async def test_a_value_that_changes_is_painted_in_its_place(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        run = services.runs[3]
        assert run is not None
        row = next(y for y, t in enumerate(screen_text(app).splitlines()) if run.name in t)
        loss = replace(run.metrics["loss"], last=0.7777)
        services.report(3, replace(run, metrics={**run.metrics, "loss": loss}))
        await settle(app, pilot, lambda: "0.7777" in screen_text(app).splitlines()[row])


async def test_freezing_stops_every_change_until_it_is_lifted(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
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


async def test_order_group_and_window(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("O", "n")
        await settle(app, pilot, lambda: "not grouped" in screen_text(app))
        await pilot.press("o", "a")
        await settle(app, pilot, lambda: names(app) == sorted(names(app)))
        await pilot.press("a")
        await settle(app, pilot, lambda: "old-baseline" in names(app))
        assert "all time" in screen_text(app)
        await pilot.press("a", "O", "b")
        await settle(app, pilot, lambda: "GPU2 1" in screen_text(app).upper())


@pytest.mark.parametrize(
    ("press", "said"),
    [
        (("o", "a"), "by name · 20 of 21 runs"),
        (("a",), "all time"),
        (("o", "M"), "by loss, highest first · "),
        (("slash", *"vit", "enter", "o", "r"), "filter vit · by runtime, highest first"),
        (("slash", *f"vit {'vit ' * 20}", "enter", "o", "a"), "v… · by name · 6 of 21"),
    ],
)
async def test_what_is_not_as_usual_in_the_list_is_said_at_80_columns(
    on_runs: OnRuns, press: tuple[str, ...], said: str
) -> None:
    async with on_runs(size=(80, 24)) as (app, pilot):
        top = screen_text(app).splitlines()[1]
        assert "STATE" in top, "no line is spent on what is as usual"
        await pilot.press(*press)
        await settle(app, pilot, lambda: said in screen_text(app).splitlines()[1])


async def test_a_folded_group_stays_folded_and_opens_with_enter(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("G", "z")
        assert "eval-harness" not in screen_text(app)
        assert runs_screen(app).table.key is None
        assert "enter unfold" in screen_text(app)
        await pilot.press("k", "j", "enter")
        await settle(app, pilot, lambda: "distil-eval" in screen_text(app))


async def test_a_list_without_rows_offers_nothing_to_unfold(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("G", "z")
        await settle(app, pilot, lambda: "enter unfold" in screen_text(app))
        await pilot.press("slash", *"nosuch", "enter")
        await settle(app, pilot, lambda: "No run fits nosuch" in screen_text(app))
        await settle(app, pilot, lambda: "unfold" not in screen_text(app))
        await pilot.press("escape", "G")
        await settle(app, pilot, lambda: "enter unfold" in screen_text(app))


async def test_that_archived_runs_are_left_out_is_said_with_the_key_that_shows_them(
    on_runs: OnRuns,
) -> None:
    runs = [replace(run, archived=run.name == "distil-eval") for run in small_world()[:-1]]
    async with on_runs(FakeServices(runs)) as (app, pilot):
        assert "19 of 20 runs · 1 archived: a shows it ·" in screen_text(app)
        await pilot.press("a")
        await settle(app, pilot, lambda: "20 of 20 runs" in screen_text(app))
        assert "archived" not in screen_text(app) and "distil-eval" in screen_text(app)


async def test_the_order_can_be_that_of_the_metric(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("o", "M")
        assert runs_screen(app).model.view.order == ("-metric.loss",)
        await settle(app, pilot, lambda: "by loss, highest first" in screen_text(app))


async def test_the_palette_goes_to_a_run_that_is_not_listed(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("colon", *"baseline")
        await settle(app, pilot, lambda: "old-baseline" in screen_text(app))
        await pilot.press("enter")
        await settle(app, pilot, lambda: cursor(app) == "old-baseline")


async def test_a_key_right_after_the_palette_is_for_the_run_that_it_goes_to(
    on_runs: OnRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_runs() as (app, pilot):
        find = app.services.key_of

        async def slowly(run_id: str) -> int | None:
            await asyncio.sleep(0.2)
            return await find(run_id)

        monkeypatch.setattr(app.services, "key_of", slowly)
        await pilot.press("colon", *"llama1b-dpo")
        await settle(app, pilot, lambda: "run     " in screen_text(app))
        burst(app, "enter", "enter")
        await settle(app, pilot, lambda: isinstance(app.screen, RunScreen))
        assert isinstance(app.screen, RunScreen)
        assert app.screen.record.name == "llama1b-dpo"


@pytest.mark.parametrize(("typed", "then"), [("llama1b-dpo", "llama1b-dpo"), ("no-such-run", None)])
async def test_what_is_typed_faster_than_the_palette_finds_is_for_no_other_run(
    on_runs: OnRuns, monkeypatch: pytest.MonkeyPatch, typed: str, then: str | None
) -> None:
    async with on_runs() as (app, pilot):
        find, asked, before = app.services.listing, False, cursor(app)
        assert before != "llama1b-dpo"

        async def slowly(view: View) -> Listing:
            nonlocal asked
            await asyncio.sleep(0.1)
            asked = asked or view.filter == typed
            return await find(view)

        monkeypatch.setattr(app.services, "listing", slowly)
        burst(app, "colon", *typed, "enter", "enter")
        if then is None:
            await settle(app, pilot, lambda: asked and "nothing fits" in screen_text(app))
            assert isinstance(app.screen, PaletteScreen)
            return
        await settle(app, pilot, lambda: isinstance(app.screen, RunScreen))
        assert isinstance(app.screen, RunScreen)
        assert app.screen.record.name == then


async def test_a_question_before_a_stop_says_the_grace_that_the_run_was_given(
    on_runs: OnRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_runs() as (app, pilot):

        async def spec(run_id: str) -> RunSpec:
            limits = Limits(grace=60)
            return RunSpec(run_id=run_id, name="x", argv=("x",), cwd="/", limits=limits)

        monkeypatch.setattr(app.services, "spec", spec)
        await pilot.press("j", "j", "j", "s")
        await settle(app, pilot, lambda: "SIGKILL after 1 min." in screen_text(app))


async def to_one_that_is_not_listed(app: TraindeckApp, pilot: Any, *then: str) -> None:
    """Choose a run in the palette that the list does not have, and type on in the same burst."""
    await pilot.press("colon", *"baseline")
    await settle(app, pilot, lambda: "old-baseline" in screen_text(app))
    burst(app, "enter", *then)


async def test_a_key_right_after_the_palette_waits_for_a_run_that_is_not_listed(
    on_runs: OnRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_runs() as (app, pilot):
        find = app.services.listing

        async def slowly(view: View) -> Listing:
            await asyncio.sleep(0.3)
            return await find(view)

        monkeypatch.setattr(app.services, "listing", slowly)
        await to_one_that_is_not_listed(app, pilot, "enter", "7")
        await settle(app, pilot, lambda: isinstance(app.screen, RunScreen))
        assert isinstance(app.screen, RunScreen)
        assert app.screen.record.name == "old-baseline"
        assert app.screen.tab == "config"
        await pilot.press("escape", "k")
        assert cursor(app) != "old-baseline"


@pytest.mark.parametrize("given_up", [True, False])
async def test_keys_for_a_run_that_does_not_come_are_for_no_other(
    on_runs: OnRuns, monkeypatch: pytest.MonkeyPatch, given_up: bool
) -> None:
    monkeypatch.setattr(runs_going, "LIST_WITHIN", 60.0 if given_up else 0.2)
    async with on_runs() as (app, pilot):
        gate, find = asyncio.Event(), app.services.listing

        async def slowly(view: View) -> Listing:
            if view.group:  # the list, not what the palette finds
                await gate.wait()
            return await find(view)

        monkeypatch.setattr(app.services, "listing", slowly)
        await to_one_that_is_not_listed(app, pilot, "s", *(["escape"] if given_up else []))
        if not given_up:
            words = "old-baseline is not listed yet: nothing was done to it"
            await settle(app, pilot, lambda: words in screen_text(app))
        before = cursor(app)
        await pilot.press("j")
        assert app.screen is runs_screen(app)
        assert cursor(app) not in (before, "old-baseline")
        gate.set()


async def test_the_palette_does_what_the_keys_do(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("ctrl+p", *"freeze", "enter")
        await settle(app, pilot, lambda: "frozen" in screen_text(app))
        await pilot.press("colon", *"theme light", "enter")
        await settle(app, pilot, lambda: app.painter.theme.name == "light")


@pytest.mark.parametrize(
    ("word", "means"),
    [
        ("sort", "order by…"),
        ("columns", "columns…"),
        ("kill", "stop…"),
        ("rm", "remove…"),
        ("quit", "back, or quit"),
        ("exit", "back, or quit"),
        ("logs", "log of "),
        ("help", "these keys"),
        ("rename", "edit name"),
        ("theme", "theme: "),
    ],
)
async def test_the_palette_knows_other_words_for_what_there_is(
    on_runs: OnRuns, word: str, means: str
) -> None:
    async with on_runs() as (app, pilot):
        if word == "rm":
            await pilot.press("G")  # one that is over
        await pilot.press("colon", *word)
        await settle(app, pilot, lambda: f" : {word}" in screen_text(app))
        rows = screen_text(app).splitlines()
        field = next(n for n, row in enumerate(rows) if f" : {word}" in row)
        assert means in rows[field + 2]


async def test_the_palette_offers_the_themes_of_the_user_too(tmp_path: Path) -> None:
    places = Places(config=tmp_path / "c", state=tmp_path / "s", index=tmp_path / "s" / "i")
    places.themes.mkdir(parents=True)
    (places.themes / "mine.yaml").write_text("base: dark\n")
    app = TraindeckApp(small_services(), Settings(glyphs="best"), places=places, clock=lambda: NOW)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, drawn(app))
        await pilot.press("colon", *"mine")
        await settle(app, pilot, lambda: "theme: mine" in screen_text(app))
        await pilot.press("enter")
        await settle(app, pilot, lambda: app.looks.name == "mine")


@pytest.mark.parametrize(
    ("keys", "tab"),
    [
        ("colon c h a r t enter", "charts"),
        ("colon f i l e s enter", "files"),
        ("colon c o n f i g enter", "config"),
        ("colon l o g enter", "log"),
        ("2 escape colon o v e r v i e w enter", "overview"),
        ("2 colon f i l e s enter", "files"),
        ("2", "charts"),
        ("7", "config"),
    ],
)
async def test_a_tab_of_the_selected_run_is_one_key_or_word_away(
    on_runs: OnRuns, keys: str, tab: str
) -> None:
    from traindeck.console.tui.screens.run import RunScreen

    async with on_runs() as (app, pilot):
        name = cursor(app)
        for key in keys.split():
            await pilot.press(key)
            await pilot.pause()
        await settle(
            app, pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.tab == tab
        )
        assert name in screen_text(app).splitlines()[0]


async def test_what_is_told_while_the_screen_is_open_is_said_there_once(on_runs: OnRuns) -> None:
    told = Told()
    async with on_runs(told=told) as (app, pilot):
        for line in ("waiting for another Traindeck", "waiting for another Traindeck", "x" * 200):
            told.tell(line)
        await settle(app, pilot, lambda: "waiting for another" in screen_text(app).splitlines()[-1])
        assert told.rest() == ["x" * 200], "one at a time"
        app.hush(all=True)
        await settle(app, pilot, lambda: "xxxx" in screen_text(app).splitlines()[-1])
        assert told.rest() == ["x" * 200], "what had no room is said at the end too"


async def test_the_palette_says_whose_tab_it_is(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        name = cursor(app)
        await pilot.press("colon", *"chart")
        await settle(app, pilot, lambda: f"charts of {name}" in screen_text(app))


async def test_help_lists_exactly_what_is_bound(on_runs: OnRuns) -> None:
    from traindeck.console.tui import keys
    from traindeck.console.tui.screens.base import active_actions
    from traindeck.console.tui.screens.help import help_entries

    async with on_runs(keys={"runs.freeze": "W"}) as (app, pilot):
        bound = active_actions(app.screen, resting=True)
        listed = {entry.action for entry in help_entries(app.screen)}
        silent = {a.id for a in keys.all_actions().values() if not a.section}
        assert listed == set(bound) - silent
        assert bound["runs.freeze"] == ["W"]
        await pilot.press("W")
        assert "frozen" in screen_text(app)
        for key, label in runs_screen(app).footer_keys():
            assert any(key in map(keys.key_text, found) for found in bound.values()), (key, label)
        await pilot.press("question_mark")
        assert "W" in screen_text(app)


async def test_nothing_of_the_screen_below_stands_beside_the_help_at_80_columns(
    on_runs: OnRuns,
) -> None:
    async with on_runs(size=(80, 24)) as (app, pilot):
        await pilot.press("question_mark")
        await settle(app, pilot, lambda: "KEYS ON THIS SCREEN" in screen_text(app))
        for line in screen_text(app).splitlines()[:-1]:
            assert not line[77:].strip(), line


async def test_what_ends_before_it_has_begun_leaves_no_warning(
    on_runs: OnRuns, recwarn: pytest.WarningsRecorder
) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
        app.start(services.refresh(), "").cancel()  # as the program does when it ends
        await pilot.pause()
    gc.collect()
    assert not [str(w.message) for w in recwarn if "never awaited" in str(w.message)]


async def test_escape_never_quits_and_q_does(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("escape", "escape", "question_mark", "escape", "colon", "escape")
        assert app.is_running
        await pilot.press("ctrl+c")
        assert "ctrl+c again quits" in screen_text(app)
        assert app.is_running
        await pilot.press("q")
        await pilot.pause()
        assert not app.is_running


# ----------------------------------------------------------------------- never waits, remembers


async def test_services_that_take_forever_leave_every_key_alive(on_runs: OnRuns) -> None:
    services = small_services()
    async with on_runs(services) as (app, pilot):
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
        await pilot.press("g", "g", "j", "j", "j", "z", "s")
        await answer(app, pilot, services, "s")
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


async def test_a_theme_whose_file_is_wrong_keeps_nobody_out_and_is_taken_over_once_mended(
    tmp_path: Path,
) -> None:
    places = Places(config=tmp_path / "c", state=tmp_path / "s", index=tmp_path / "s" / "i")
    places.themes.mkdir(parents=True)
    file = places.themes / "mine.yaml"
    file.write_text("bse: dark\n")
    app = TraindeckApp(
        small_services(),
        Settings(theme="mine", glyphs="best"),
        places=places,
        depth="truecolor",
        clock=lambda: NOW,
    )
    async with app.run_test(size=SIZE) as pilot:
        wrong = "mine.yaml, line 1: `bse` is not part of a theme"
        await settle(app, pilot, lambda: drawn(app)() and wrong in screen_text(app))
        assert app.painter.theme.name == "dark"
        await settle(app, pilot, lambda: app.looks._stamp is not None)
        file.write_text('base: dark\naccent: "#00ff00"\n')
        await settle(app, pilot, lambda: app.painter.theme.tokens["accent"] == "#00ff00")


async def test_the_first_run_takes_the_place_of_the_first_screen(make_app: MakeApp) -> None:
    services = FakeServices()
    app = make_app(services)
    async with app.run_test(size=SIZE) as pilot:
        await settle(app, pilot, lambda: "No runs yet." in screen_text(app))
        await pilot.press("d")
        await settle(app, pilot, lambda: "demo-lr3e-4" in screen_text(app))
        assert "No runs yet." not in screen_text(app)


async def test_a_terminal_made_small_and_large_again_shows_the_same(on_runs: OnRuns) -> None:
    async with on_runs(FakeServices(small_world())) as (app, pilot):
        await pilot.press("j", "j", "j")
        await settle(app, pilot, drawn(app))
        before = screen_text(app)
        for size in ((20, 5), (10, 3), (300, 80), (60, 15), (59, 15)):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.05)
        assert "is too small" in screen_text(app)
        await pilot.resize_terminal(*SIZE)
        await settle(app, pilot, lambda: screen_text(app) == before)


async def test_keys_in_one_burst_choose_what_is_there(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        home = app.screen
        await pilot.press("colon")
        await settle(app, pilot, lambda: app.screen is not home)
        palette = app.screen
        for key in ["down"] * 80 + ["up"] * 200:
            palette.take_key(events.Key(key, None))  # type: ignore[attr-defined]
        palette.take_key(events.Key("enter", "\r"))  # type: ignore[attr-defined]
        await settle(app, pilot, lambda: app.screen is not palette)
        assert app.is_running
