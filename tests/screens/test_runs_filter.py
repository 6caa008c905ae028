"""The filter of the Runs screen: typed, kept, taken back, wrong."""

from __future__ import annotations

import pytest
from screen_harness import OnRuns, cursor, names, runs_screen, settle
from screen_svg import screen_text
from tests.fakes.runs import FakeServices, crowd, make_run, small_services
from textual import events

from traindeck.backends.base import State
from traindeck.console.runs.filters import LANGUAGE


async def test_a_filter_works_while_it_is_typed_and_escape_takes_it_back(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
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


async def test_a_burst_after_the_slash_is_text_and_no_command(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
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


async def test_a_filter_that_is_asked_for_again_is_replaced_by_typing(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("slash", *"lora", "enter", "slash")
        assert runs_screen(app).filtering.line.text == "lora"
        await pilot.press(*"vit", "enter")
        await settle(app, pilot, lambda: "filter vit · " in screen_text(app))


async def test_a_filtered_list_stands_at_its_top_and_the_cursor_on_what_was_chosen(
    on_runs: OnRuns,
) -> None:
    async with on_runs(FakeServices(crowd(300)), window=None) as (app, pilot):
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


async def test_a_wrong_filter_is_told_and_stays_to_be_mended(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        before = names(app)
        await pilot.press("slash", *"bad:x", "enter")
        await settle(app, pilot, lambda: "says nothing" in screen_text(app))
        assert "esc as before" in screen_text(app)
        await pilot.press("escape")
        await settle(app, pilot, lambda: names(app) == before)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_while_what_is_typed_is_no_filter_the_list_says_whose_it_is(
    on_runs: OnRuns, size: tuple[int, int]
) -> None:
    async with on_runs(size=size) as (app, pilot):
        await pilot.press("slash", *"bad:x")
        said = "`bad:x` in the filter says nothing. For example: tag:sft."
        await settle(app, pilot, lambda: said in screen_text(app))
        assert "listed meanwhile: bad " in screen_text(app)
        assert "No run fits bad" in screen_text(app)
        assert "No run fits bad:" not in screen_text(app)
        await pilot.press("ctrl+u", *"vit")
        await settle(app, pilot, lambda: len(names(app)) == 6)
        assert "says nothing" not in screen_text(app) and "selected" in screen_text(app)
        found = names(app)
        app.post_message(events.Paste(" bad:"))
        await settle(app, pilot, lambda: "listed meanwhile: vit " in screen_text(app))
        assert names(app) == found
        # Back to the very text that the list is of.
        app.post_message(events.Key("ctrl+u", None))
        app.post_message(events.Paste("vit"))
        await settle(app, pilot, lambda: "meanwhile" not in screen_text(app))
        assert "says nothing" not in screen_text(app)
        await settle(app, pilot, lambda: names(app) == found)
        await pilot.press(*" bad:x", "enter")
        await settle(app, pilot, lambda: "✗ `bad:x` in the filter" in screen_text(app))
        assert said in screen_text(app)
        await pilot.press("y")
        await settle(app, pilot, lambda: "`bad:xy` in the filter" in screen_text(app))
        assert "✗" not in screen_text(app).splitlines()[-1]
        await pilot.press("escape")
        await settle(app, pilot, lambda: "says nothing" not in screen_text(app))


async def test_a_complaint_goes_with_esc_and_with_what_works_next(on_runs: OnRuns) -> None:
    async with on_runs(size=(80, 24)) as (app, pilot):

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


async def test_a_filter_that_fits_nothing_says_how_to_leave(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("slash", *"zzz", "enter")
        await settle(app, pilot, lambda: "No run fits zzz" in screen_text(app))
        assert "esc takes the filter away" in screen_text(app)


async def test_a_filter_that_only_runs_fit_that_are_not_listed_says_how_to_see_them(
    on_runs: OnRuns,
) -> None:
    services = small_services()
    services.add(make_run(90, "relic-one", State.SUCCEEDED, age=9 * 86400))
    services.add(make_run(91, "relic-two", State.SUCCEEDED, age=9 * 86400, archived=True))
    async with on_runs(services) as (app, pilot):
        await pilot.press("slash", *"two", "enter")
        await settle(app, pilot, lambda: "Only 1 archived run fits two" in screen_text(app))
        await pilot.press("slash", "ctrl+u", *"relic", "enter")
        words = "Only 1 older and 1 archived run fit relic"
        await settle(app, pilot, lambda: words in screen_text(app))
        await pilot.press("a")
        await settle(app, pilot, lambda: set(names(app)) == {"relic-one", "relic-two"})


async def test_a_filter_shows_what_it_finds_in_folded_groups(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("G", "z")
        await settle(app, pilot, lambda: "▸ FINISHED" in screen_text(app))
        await pilot.press("slash", *"distil", "enter")
        await settle(app, pilot, lambda: cursor(app) == "distil-eval")
        assert "▸" not in screen_text(app)
        await pilot.press("z")  # there is nothing to fold for so long
        assert cursor(app) == "distil-eval"
        await pilot.press("escape")
        await settle(app, pilot, lambda: "▸ FINISHED" in screen_text(app))


async def test_a_word_of_the_filter_is_completed_and_what_fits_is_said(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        line = runs_screen(app).filtering.line
        await pilot.press("slash", "s")
        await settle(app, pilot, lambda: "state: since: sort:" in screen_text(app).splitlines()[-1])
        await pilot.press("tab")  # nothing is offered, so nothing is taken
        assert line.text == "s" and runs_screen(app).filtering.asking
        await pilot.press(*"ta")
        await settle(app, pilot, lambda: "filter  state:" in screen_text(app))
        assert line.text == "sta"
        await pilot.press("tab")
        assert line.text == "state:"
        await pilot.press("f")
        await settle(app, pilot, lambda: "state:failed" in screen_text(app))
        await pilot.press("right")
        assert line.text == "state:failed"
        await settle(app, pilot, lambda: runs_screen(app).model.view.filter == "state:failed")
        await pilot.press("space", *"-na")
        await settle(app, pilot, lambda: "-name:" in screen_text(app))
        await pilot.press("enter")  # what was only offered is not meant
        await settle(app, pilot, lambda: runs_screen(app).model.view.filter == "state:failed -na")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_while_a_filter_is_typed_the_help_begins_with_its_language(
    on_runs: OnRuns, size: tuple[int, int]
) -> None:
    async with on_runs(size=size) as (app, pilot):
        await pilot.press("slash", "f1")
        await settle(app, pilot, lambda: "WHAT A FILTER SAYS" in screen_text(app))
        for example, meaning in LANGUAGE:
            assert example in screen_text(app) and meaning in screen_text(app)
        await pilot.press("escape", "escape", "question_mark")
        await settle(app, pilot, lambda: "HOW TO READ A ROW" in screen_text(app) or size[1] < 40)
        assert "WHAT A FILTER SAYS" not in screen_text(app)


async def test_the_search_of_the_help_cuts_no_name(on_runs: OnRuns) -> None:
    async with on_runs(size=(80, 24)) as (app, pilot):
        await pilot.press("question_mark", "slash", *"filter")
        await settle(app, pilot, lambda: "runs.filter" in screen_text(app))
        row = next(r for r in screen_text(app).splitlines() if "filter, say" in r)
        assert row.rstrip().endswith("runs.filter") and "keys:" not in row
        assert "under keys: in settings.yaml" in screen_text(app)
