"""Searching and filtering in the Log tab, by keys, over the real log engine."""

from __future__ import annotations

import pytest
from log_harness import (
    RUNNING,
    log_rows,
    marked,
    opened,
    press,
    world,
)
from screen_harness import MakeApp, settle
from screen_svg import screen_text
from textual import events

from traindeck.console.tui.screens.run import RunScreen


async def test_a_search_is_counted_and_walked_through_both_ways(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        text = await press(app, pilot, pane, "slash m e m o r y enter")
        assert "/memory" in text and " of 4" in text
        while "1 of 4" not in text:
            before, text = text, await press(app, pilot, pane, "N")
            assert text != before
        assert "hit 1/4" in text and "WARNING" in text
        assert "no hit before this one" in await press(app, pilot, pane, "N")
        text = await press(app, pilot, pane, "n")
        assert "2 of 4" in text
        assert "3 of 4" in await press(app, pilot, pane, "slash enter"), "the same again"
        text = await press(app, pilot, pane, "escape")
        assert "/memory" not in text and isinstance(app.screen, RunScreen)


@pytest.mark.parametrize(
    ("refused", "words", "done", "then"),
    [
        ("slash m e m o r y enter n n n", "no hit after this one", "N", "hit 3/4"),
        ("slash m e m o r y enter L x enter", "is no line", "L 9 enter", "hit 2/4"),
        ("slash ctrl+r left_parenthesis enter", "expression", "slash ctrl+r e v a l enter", "hit"),
    ],
)
async def test_what_was_refused_is_not_said_once_something_was_done(
    make_app: MakeApp, refused: str, words: str, done: str, then: str
) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        await press(app, pilot, pane, refused)
        await settle(app, pilot, lambda: words in screen_text(app).splitlines()[-1])
        text = await press(app, pilot, pane, done)
        assert words not in text and then in text.splitlines()[-1]


async def test_a_search_that_turns_back_says_so_and_one_that_does_not_says_nothing(
    make_app: MakeApp,
) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        words = "none below: the nearest above"
        text = await press(app, pilot, pane, "L 2 0 0 enter slash e v a l space a t space 9 enter")
        assert words in text.splitlines()[-1] and "eval at 980" in marked(app)
        text = await press(app, pilot, pane, "n")
        assert "no hit after this one" in text.splitlines()[-1], "nor does it begin anew"
        text = await press(app, pilot, pane, "g g slash e v a l enter")
        assert words not in text and "1 of 4" in text


async def test_letters_are_letters_while_something_is_typed(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        await press(app, pilot, pane, "slash q s 1 G escape")
        assert isinstance(app.screen, RunScreen) and app.screen.tab == "log"
        assert pane.shown.pattern is None


async def test_a_search_may_be_an_expression_in_any_case(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        text = await press(app, pilot, pane, "slash ctrl+r ctrl+t E V A L space a t enter")
        assert "/EVAL at regex, any case" in text and "of 4" in text


@pytest.mark.parametrize("begin", ["slash", "ampersand"])
async def test_an_expression_that_is_none_is_said_and_changes_nothing(
    make_app: MakeApp, begin: str
) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        await press(app, pilot, pane, "slash m e m o r y enter")
        for key in (begin, "ctrl+r", "left_parenthesis", "enter"):
            await pilot.press(key)
        await settle(app, pilot, lambda: "regular expression" in screen_text(app))
        text = screen_text(app)
        assert "/memory" in text and "filter none" in text and "step" in text


async def test_what_is_nowhere_is_said(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        text = await press(app, pilot, pane, "slash x y z z y enter")
        assert "no hit" in text and "no 'xyzzy' in this log" in text


async def test_what_follows_enter_in_one_burst_is_for_the_log(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        for key in ("g", "g", "slash", *"eval", "enter", "n", "n", "N", "w"):
            app.post_message(events.Key(key, "/" if key == "slash" else key[:1]))
        await settle(app, pilot, lambda: "/eval   2 of 4" in screen_text(app) and pane.settled)
        assert "wrap on" in screen_text(app)
        app.post_message(events.Key("slash", "/"))
        app.post_message(events.Paste("loss\nN"))
        app.post_message(events.Key("ctrl+a", "\x01"))
        app.post_message(events.Key("delete", None))
        app.post_message(events.Key("l", "l"))
        app.post_message(events.Key("ctrl+e", "\x05"))  # the end of the line; bound elsewhere
        app.post_message(events.Key("backspace", "\x7f"))
        app.post_message(events.Key("s", "s"))
        app.post_message(events.Key("enter", "\r"))
        await settle(app, pilot, lambda: "/loss" in screen_text(app) and pane.settled)


async def test_a_filter_leaves_only_its_lines_until_esc(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        before = log_rows(app)
        text = await press(app, pilot, pane, "ampersand e v a l enter")
        rows = [line for line in log_rows(app) if line.strip(" ▐│")]
        assert len(rows) == 4 and all("eval at" in line for line in rows)
        assert "& eval" in text
        await press(app, pilot, pane, "escape")
        assert log_rows(app) == before, "who has not moved is where they were"
        await press(app, pilot, pane, "ampersand e v a l enter g g escape")
        shown = log_rows(app)
        assert "eval at 10:" in shown[0] and "step    10 " not in shown[0]
        assert "step    20 " in shown[1], "the first hit stays where it was"


async def test_enter_shows_a_filtered_line_among_its_neighbours_and_esc_goes_back(
    make_app: MakeApp,
) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        text = await press(app, pilot, pane, "ampersand e v a l enter")
        assert "enter in place" in text.splitlines()[-1]
        assert "eval at 2920" in marked(app), "it was set at the end"
        await press(app, pilot, pane, "k k")
        filtered = log_rows(app)
        assert "eval at 980" in marked(app) and len(filtered) == len(log_rows(app))
        for back in ("escape", "enter"):
            text = await press(app, pilot, pane, "enter")
            shown = log_rows(app)
            at = len(shown) // 3
            assert "eval at 980" in marked(app) and "eval at 980" in shown[at]
            assert "step   980 " in shown[at - 1] and "step   990 " in shown[at + 1]
            foot = text.splitlines()[-1]
            assert "& eval" in text and "esc back to the filter" in foot
            assert "enter filter again" in foot and "in place" not in foot
            await press(app, pilot, pane, "pagedown")
            await press(app, pilot, pane, back)
            assert log_rows(app) == filtered
        await press(app, pilot, pane, "enter ampersand ctrl+u s t e p enter")
        assert "step   990 " in marked(app), "another filter's lines are those near this one"
        await press(app, pilot, pane, "escape")
        assert "eval at 980" in marked(app)
        assert "enter in place" not in screen_text(app)


async def test_keys_that_come_in_one_burst_choose_a_filtered_line(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        for key in ("g", "g", "ampersand", "e", "v", "a", "l", "enter", "j", "j", "enter"):
            app.post_message(events.Key(key, key[:1]))
        await settle(app, pilot, lambda: "back to the filter" in screen_text(app) and pane.settled)
        assert "eval at 1950" in marked(app) and "step  1950 " in screen_text(app)


async def test_a_hit_in_a_filtered_log_stays_where_it_is_when_the_filter_goes(
    make_app: MakeApp,
) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        await press(app, pilot, pane, "ampersand e v a l enter slash a t space 1 9 5 0 enter")
        row = next(n for n, line in enumerate(log_rows(app)) if "eval at 1950" in line)
        await press(app, pilot, pane, "escape")
        shown = log_rows(app)
        assert row == 2 and "eval at 1950" in shown[row]
        assert sum("step " in line for line in shown) > 20
    running = make_app(world())
    async with opened(running, RUNNING) as (pilot, pane):
        await press(running, pilot, pane, "ampersand l o s s enter escape")
        assert pane.shown.following, "who follows goes on following"
