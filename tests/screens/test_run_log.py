"""The Log tab of a run: what a person can do there by keys, over the real log engine, and what it
looks like in every state: compare with snapshots/*.svg."""

from __future__ import annotations

import re
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from screen_harness import CheckScreen, MakeApp, settle
from screen_svg import screen_text
from tests.fakes.run import BROKEN_LOG, FakeRunServices, run_world
from tests.fakes.runs import NOW
from textual import events

from traindeck.backends.base import State, Unreachable
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.screens.run import RunScreen
from traindeck.console.tui.screens.run_log import LogPane

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}
RUNNING, FAILED, DONE, QUEUED = range(4)

FRAME = b'  File "/home/u/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line %d'


def training(steps: int = 300) -> list[bytes]:
    """What a training that ran out of memory wrote, by line."""
    lines = []
    for n in range(steps):
        step = 10 * n + 10
        figures = (step, 3.2 - n * 0.004, 1 + n % 7 * 0.01)
        lines.append(b"step %5d | loss %.4f | grad %.2f | lr 5.99e-04 | mem 74.2 GB\n" % figures)
        if n == steps - 20:
            states = (b"\rLoading shards: %3d%%" % (k * 100 // 212) for k in range(212))
            lines.append(b"".join(states) + b"\rLoading shards: 100% 16/16 [00:24<00:00]\n")
        if n % 97 == 0:
            lines.append(b"eval at %d: loss 3.2210, perplexity 25.05 (64 batches)\n" % step)
        if n in (120, steps - 10):
            lines.append(b"WARNING  fragmentation 11 % of reserved memory\n")
    frames = b"".join(FRAME % n + b", in _call_impl\n    return f(*args)\n" for n in range(14))
    lines += [
        b"Traceback (most recent call last):\n",
        b'  File "/home/u/p/train.py", line 231, in main\n    loss = trainer.step(batch)\n',
        b'  File "/home/u/p/trainer.py", line 88, in step\n    out = self.model(batch.ids)\n',
        frames,
        b'  File "/home/u/p/attention.py", line 41, in forward\n    att = q @ k * self.scale\n',
        b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a "
        b"total capacity of 79.10 GiB of which 1.00 GiB is free. Of the allocated memory 66.40 GiB "
        b"is allocated by PyTorch, and 5.90 GiB is reserved by PyTorch but unallocated.\n",
    ]
    return lines


def samples(lines: list[bytes], began: float = NOW - 12000) -> bytes:
    """What a supervisor would have noted of them, a line each two seconds."""
    size, out = 0, b""
    for number, line in enumerate(lines):
        size += len(line)
        out += struct.pack("<dQ", began + 2 * number, size)
    return out


def world() -> FakeRunServices:
    """The runs that can be opened; the failed one with a long log and its times."""
    made = run_world()
    lines = training()
    failed = made.runs[FAILED]
    assert failed is not None
    made.logs[failed.id] = b"".join(lines)
    made.samples[failed.id] = samples(lines)
    return made


@asynccontextmanager
async def opened(
    app: TraindeckApp, run: int = FAILED, size: str = "120x40"
) -> AsyncIterator[tuple[Any, LogPane]]:
    services = app.services
    assert isinstance(services, FakeRunServices)
    async with app.run_test(size=SIZES[size]) as pilot:
        record = services.runs[run]
        assert record is not None
        app.open_run(record, "log")
        await settle(app, pilot, lambda: bool(app.screen.query(LogPane)))
        pane = app.screen.query_one(LogPane)
        await settle(app, pilot, lambda: pane.settled)
        yield pilot, pane


async def press(app: TraindeckApp, pilot: Any, pane: LogPane, keys: str) -> str:
    """Press keys, and wait until what they ask for is on the screen."""
    for key in keys.split():
        await pilot.press(key)
    await pilot.pause()
    await settle(app, pilot, lambda: pane.settled or bool(pane.asking_keys()))
    return screen_text(app)


def marked(app: TraindeckApp) -> str:
    """The one row that is where one is."""
    (row,) = [row for row in log_rows(app) if row.startswith("▌")]
    return row


def log_rows(app: TraindeckApp) -> list[str]:
    return screen_text(app).splitlines()[3:-1]


# --------------------------------------------------------------------------------------- behaviour


async def test_it_opens_at_the_end_with_what_happened_and_what_to_try(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app):
        text = screen_text(app)
        assert "100 %" in text and "What happened  8.0 GiB more were asked for" in text
        assert "a set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True" in text
        assert "· halve the batch" in text
        assert "14 frames in torch/nn/modules" in text and "site-packages" not in text
        assert "first error line 308" in text


async def test_what_is_no_line_number_is_said(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        for text in ("i n f", "n a n", "minus 1", "1 e 9 9 9"):
            await press(app, pilot, pane, f"L {text} enter")
            await settle(app, pilot, lambda: "is no line: write its number" in screen_text(app))


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


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("g g", "step    10"),
        ("home", "step    10"),
        ("g g G", "What happened"),
        ("percent_sign 0 enter", "step    10"),
        ("percent_sign 5 0 enter", "step  2010"),
        ("L 2 0 0 enter", "step  1980"),
        ("E", "Traceback (most recent call last)"),
        ("g g pagedown", "step   350"),
        ("g g space", "step   350"),
        ("g g space space b", "step   350"),
        ("g g ctrl+d", "step   180"),
        ("g g j j", "line 3–"),
        ("G k", "step  2890"),
    ],
)
async def test_one_key_goes_to_the_place_one_wants(
    make_app: MakeApp, keys: str, words: str
) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        assert words in await press(app, pilot, pane, keys)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("E", "Traceback (most recent call last)"),
        ("L 2 0 0 enter", "step  1960"),
        ("percent_sign 5 0 enter", "step  2010"),
        ("t 1 0 colon 5 5 enter", "step   510"),
    ],
)
async def test_the_row_one_jumped_to_is_marked_until_one_moves_on(
    make_app: MakeApp, keys: str, words: str
) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        await press(app, pilot, pane, keys)
        marked = [row for row in log_rows(app) if row.startswith("▌")]
        assert len(marked) == 1 and words in marked[0]
        await press(app, pilot, pane, "k")
        assert not any(row.startswith("▌") for row in log_rows(app))


async def test_a_clock_time_finds_what_was_written_then(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        text = await press(app, pilot, pane, "t 1 0 colon 5 5 enter")
        times = [line[1:9] for line in text.splitlines()[3:-1] if line[1:9].strip()]
        assert times[0] <= "10:55:00" <= times[-1], times


@pytest.mark.parametrize("keys", ["percent_sign x enter", "percent_sign 1 2 0 enter", "L x enter",
                                  "t 2 5 colon 0 0 enter", "t n o w enter"])  # fmt: skip
async def test_a_place_that_is_none_is_said_in_words(make_app: MakeApp, keys: str) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        text = await press(app, pilot, pane, keys)
        assert "is no" in text.splitlines()[-1] and "What happened" in text


async def test_library_frames_unfold_and_fold_again(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        text = await press(app, pilot, pane, "E z")
        assert text.count("site-packages/torch") > 5
        text = await press(app, pilot, pane, "z")
        assert "site-packages" not in text and "▸ 14 frames" in text


async def test_a_traceback_with_one_library_frame_folds_whole(make_app: MakeApp) -> None:
    services = world()
    failed = services.runs[FAILED]
    assert failed is not None
    services.logs[failed.id] = BROKEN_LOG
    services.samples.clear()
    app = make_app(services)
    async with opened(app, size="80x24") as (pilot, pane):
        before = log_rows(app)
        assert any("▾ 2 frames · 1 library frame" in row for row in before)
        text = await press(app, pilot, pane, "z")
        assert "▸ 2 frames · 1 library frame · 8 lines" in text and "module.py" not in text
        assert "nothing to fold" not in text and "What happened" in text
        rows = [row.strip(" ▐│") for row in log_rows(app)]
        assert rows[0] and rows[-1], "what was folded makes room for what is above"
        await press(app, pilot, pane, "z")
        text = "".join(log_rows(app))
        assert "▾ 2 frames · 1 library frame" in text and "module.py" in text


async def test_wrapped_lines_go_on_below_and_unwrapped_ones_to_the_side(make_app: MakeApp) -> None:
    services = world()
    done = services.runs[DONE]
    assert done is not None
    services.logs[done.id] = b"begin " + b"x" * 200 + b" end\nnext\n"
    app = make_app(services)
    async with opened(app, DONE, "80x24") as (pilot, pane):
        assert " end" not in "".join(log_rows(app)[:2]) and "…" in log_rows(app)[0]
        await press(app, pilot, pane, "w")
        assert " end" in "".join(log_rows(app)[:3]) and "next" in log_rows(app)[3]
        text = await press(app, pilot, pane, "w " + "right " * 18)
        assert "x end" in text and "from column 145" in text, text


async def test_a_growing_log_is_followed_until_one_goes_up(make_app: MakeApp) -> None:
    services = world()
    app = make_app(services)
    async with opened(app, RUNNING) as (pilot, pane):
        run = services.runs[RUNNING]
        assert run is not None and "follow on" in screen_text(app)
        services.logs[run.id] += b"one more line\n"
        await settle(app, pilot, lambda: "one more line" in screen_text(app))
        await press(app, pilot, pane, "k k k")
        assert "follow off" in screen_text(app)
        before = log_rows(app)[0]
        services.logs[run.id] += b"and another\n" * 50
        await settle(app, pilot, lambda: "of 1,172" in screen_text(app))
        assert log_rows(app)[0] == before, "what one reads stays where it is"
        await press(app, pilot, pane, "f")
        assert "and another" in log_rows(app)[-1] and "follow on" in screen_text(app)


@pytest.mark.parametrize("keys", ["", "slash l o s s enter f", "k"])
async def test_nothing_flickers_while_a_log_grows(make_app: MakeApp, keys: str) -> None:
    services = world()
    app = make_app(services)
    async with opened(app, RUNNING, "80x24") as (pilot, pane):
        run = services.runs[RUNNING]
        assert run is not None
        await press(app, pilot, pane, keys)

        def around() -> list[str]:
            lines = screen_text(app).splitlines()
            return [re.sub(r"[\d,.]+", "0", line) for line in (lines[2], lines[-1])]

        before, seen = around(), []
        for _ in range(6):
            services.logs[run.id] += b"step 9 loss 1.0\r"
            size = pane.shown.window.size
            await settle(app, pilot, lambda size=size: pane.shown.window.size > size)
            await pilot.pause()
            seen.append(around())
        assert all(now == before for now in seen), seen


async def test_the_end_of_a_run_shows_in_the_log_that_is_open(make_app: MakeApp) -> None:
    services = world()
    app = make_app(services)
    async with opened(app, RUNNING) as (pilot, _):
        run = services.runs[RUNNING]
        assert run is not None
        services.logs[run.id] += b"".join(training()[-6:])
        failed = replace(run, state=State.FAILED, exit_code=1, ended=NOW)
        services.change(RUNNING, failed)
        await settle(app, pilot, lambda: "What happened" in screen_text(app))
        await settle(app, pilot, lambda: "end of log · exit 1" in screen_text(app))


async def test_a_log_that_is_cut_begins_anew(make_app: MakeApp) -> None:
    services = world()
    app = make_app(services)
    async with opened(app, RUNNING) as (pilot, pane):
        run = services.runs[RUNNING]
        assert run is not None
        await press(app, pilot, pane, "slash l o s s enter")
        services.logs[run.id] = b"a new beginning, loss 1\n"
        await settle(app, pilot, lambda: "a new beginning" in screen_text(app))
        await settle(app, pilot, lambda: "of 1 ·" in screen_text(app))
        assert "step 3120" not in screen_text(app)


async def test_coming_back_goes_on_at_the_same_place_and_tab(make_app: MakeApp) -> None:
    services = world()
    app = make_app(services)
    async with opened(app) as (pilot, pane):
        await press(app, pilot, pane, "g g pagedown pagedown w")
        first = log_rows(app)[0]
        await pilot.press("escape")
        await settle(app, pilot, lambda: not isinstance(app.screen, RunScreen))
        run = services.runs[FAILED]
        assert run is not None
        app.open_run(run, "")  # as enter does
        await settle(app, pilot, lambda: bool(app.screen.query(LogPane)))
        pane = app.screen.query_one(LogPane)
        await settle(app, pilot, lambda: pane.settled)
        assert log_rows(app)[0] == first and "wrap on" in screen_text(app)


async def test_who_wraps_lines_wraps_those_of_the_next_log_too(make_app: MakeApp) -> None:
    services = world()
    app = make_app(services)
    async with opened(app) as (pilot, pane):
        assert "wrap off" in await press(app, pilot, pane, "G")
        assert "wrap on" in await press(app, pilot, pane, "w")
        for number, tab in ((FAILED, ""), (RUNNING, "log")):
            await pilot.press("escape")
            await settle(app, pilot, lambda: not isinstance(app.screen, RunScreen))
            run = services.runs[number]
            assert run is not None
            app.open_run(run, tab)
            await settle(app, pilot, lambda: bool(app.screen.query(LogPane)))
            pane = app.screen.query_one(LogPane)
            await settle(app, pilot, lambda pane=pane: pane.settled)
            assert "wrap on" in screen_text(app)
            assert pane.shown.window.at_end
            assert pane.shown.following is run.active


async def test_the_log_of_a_run_that_goes_on_is_followed_by_who_asks_for_it(
    make_app: MakeApp,
) -> None:
    services = world()
    run = services.runs[RUNNING]
    assert run is not None
    services.logs[run.id] = b"".join(training())
    app = make_app(services)
    async with opened(app, RUNNING) as (pilot, pane):
        assert pane.shown.following
        await press(app, pilot, pane, "g g pagedown")
        for tab, follows in (("", False), ("log", True)):  # as enter and `l` do
            await pilot.press("escape")
            await settle(app, pilot, lambda: not isinstance(app.screen, RunScreen))
            app.open_run(run, tab)
            await settle(app, pilot, lambda: bool(app.screen.query(LogPane)))
            pane = app.screen.query_one(LogPane)
            await settle(app, pilot, lambda pane=pane: pane.settled)
            assert pane.shown.following is follows


async def test_what_is_done_is_not_said_to_go_on(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(world())
    async with opened(app) as (pilot, pane):
        timers: list[Callable[[], None]] = []
        set_timer = pane.set_timer

        def late(seconds: float, callback: Callable[[], None]) -> Any:
            timers.append(callback)
            return set_timer(60, callback)

        monkeypatch.setattr(pane, "set_timer", late)
        await press(app, pilot, pane, "ampersand e v a l enter")
        assert timers
        for callback in timers:  # they ran out just before, and are heard only now
            callback()
        await pilot.pause()
        assert "searching" not in screen_text(app)


async def test_a_try_starts_a_new_run_with_its_variables(make_app: MakeApp) -> None:
    services = world()
    app = make_app(services)
    async with opened(app) as (pilot, _):
        await pilot.press("T")
        await settle(app, pilot, lambda: "Start a new run" in screen_text(app))
        assert not any(name == "again" for name, _ in services.calls)
        await pilot.press("a")
        await settle(app, pilot, lambda: "started nanogpt-big-again with" in screen_text(app))
        env = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
        run = services.runs[FAILED]
        assert run is not None
        assert [detail for name, detail in services.calls if name == "again"] == [(run.id, env)]


async def test_the_logs_of_earlier_attempts_can_be_read(make_app: MakeApp) -> None:
    services = world()
    run = services.runs[FAILED]
    assert run is not None
    services.change(FAILED, replace(run, attempt=1))
    app = make_app(services)
    async with opened(app) as (pilot, pane):
        assert "attempt 1" in screen_text(app)
        await press(app, pilot, pane, "a")
        await settle(app, pilot, lambda: "attempt 0   " in screen_text(app))
        asked = [detail for name, detail in services.calls if name == "open_log"]
        assert asked == [(run.id, 1), (run.id, 0)]


async def test_keys_that_would_do_nothing_are_not_offered(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app, DONE):
        footer = screen_text(app).splitlines()[-1]
        for words in ("follow", "next", "first error", "fold", "try…", "time", "attempt"):
            assert words not in footer, footer


async def test_a_place_that_does_not_answer_is_said_and_asked_again(make_app: MakeApp) -> None:
    services = world()
    services.broken["open_log"] = Unreachable("gpu1 does not answer.")
    app = make_app(services)
    async with app.run_test(size=(120, 40)) as pilot:
        run = services.runs[FAILED]
        assert run is not None
        app.open_run(run, "log")
        await settle(app, pilot, lambda: "gpu1 does not answer." in screen_text(app))
        services.broken.clear()
        await settle(app, pilot, lambda: "What happened" in screen_text(app))


async def test_whatever_a_log_holds_the_screen_keeps_its_shape(make_app: MakeApp) -> None:
    services = world()
    run = services.runs[DONE]
    assert run is not None
    services.logs[run.id] = (
        bytes(range(256)) * 8
        + b"\x1b]0;title\x07\x1b]52;c;aGk=\x07\x1b[2J\x1b[H\x1b[31mred\x1b[0m\n"
        + "日本語 e\u0301 שלום \u202eevil\u202c 👨‍👩‍👧 🇩🇪\n".encode()
        + b"y" * 3_000_000
        + b"\nlast\n"
    )
    app = make_app(services)
    async with opened(app, DONE) as (pilot, pane):
        assert "last" in screen_text(app)  # which also asserts that every row is exactly full
        for keys in ("g g", "w", "percent_sign 5 0 enter", "G", "k"):
            text = await press(app, pilot, pane, keys)
            assert not any(ord(c) < 32 and c != "\n" for c in text)


async def test_a_file_of_the_run_is_read_as_a_log_is(make_app: MakeApp) -> None:
    services = world()
    app = make_app(services)
    async with app.run_test(size=(120, 40)) as pilot:
        run = services.runs[FAILED]
        assert run is not None
        app.open_run(run, "files")
        await settle(app, pilot, lambda: "run.json" in screen_text(app))
        await pilot.press("G", "enter")
        await settle(app, pilot, lambda: '{"name": "a run"}' in screen_text(app))
        assert "end of file" in screen_text(app) and "6 Files" in screen_text(app)
        await pilot.press("escape")
        await settle(app, pilot, lambda: "SIZE" in screen_text(app))
        await pilot.press("g", "g", "down", "enter")
        await settle(app, pilot, lambda: "adapter.bin is binary, 10.2 kB" in screen_text(app))
        assert isinstance(app.screen, RunScreen)


# --------------------------------------------------------------------------------------- snapshots


@pytest.mark.parametrize("size", ["80x24", "120x40"])
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("failed", ""),
        ("searching", "slash m e m o r y enter N N"),
        ("asking", "slash ctrl+r m e m"),
        ("filtered", "ampersand e v a l enter"),
        ("wrapped", "w E z"),
        ("error", "E"),
    ],
)
async def test_looks(
    make_app: MakeApp, check_screen: CheckScreen, name: str, keys: str, size: str
) -> None:
    app = make_app(world())
    async with opened(app, size=size) as (pilot, pane):
        await press(app, pilot, pane, keys)
        check_screen(app, f"run-log-{name}-{size}")


@pytest.mark.parametrize("theme", ["light", "high", "ansi16"])
async def test_looks_in_themes(make_app: MakeApp, check_screen: CheckScreen, theme: str) -> None:
    depth = "16" if theme == "ansi16" else "truecolor"
    app = make_app(world(), theme=theme, depth=depth)
    async with opened(app) as (pilot, pane):
        await press(app, pilot, pane, "slash m e m o r y enter")
        check_screen(app, f"run-log-searching-{theme}-120x40")


async def test_looks_in_ascii(make_app: MakeApp, check_screen: CheckScreen) -> None:
    app = make_app(world(), glyphs="ascii")
    async with opened(app, size="80x24"):
        check_screen(app, "run-log-glyphs-ascii-80x24")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
@pytest.mark.parametrize(("name", "run"), [("following", RUNNING), ("queued", QUEUED)])
async def test_looks_of_other_runs(
    make_app: MakeApp, check_screen: CheckScreen, name: str, run: int, size: str
) -> None:
    app = make_app(world())
    async with opened(app, run, size):
        check_screen(app, f"run-log-{name}-{size}")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_looks_empty(make_app: MakeApp, check_screen: CheckScreen, size: str) -> None:
    services = world()
    run = services.runs[DONE]
    assert run is not None
    services.logs[run.id] = b""
    services.runs[DONE] = replace(run, log_bytes=0)
    app = make_app(services)
    async with opened(app, DONE, size):
        check_screen(app, f"run-log-empty-{size}")


@pytest.mark.parametrize("size", ["80x24", "120x40"])
@pytest.mark.parametrize("name", ["loading", "unknown"])
async def test_looks_while_a_place_does_not_answer(
    make_app: MakeApp, check_screen: CheckScreen, name: str, size: str
) -> None:
    services = world()
    run = services.runs[RUNNING]
    assert run is not None
    if name == "unknown":
        from traindeck.backends.base import Reach

        run = replace(run, reach=Reach.DOWN, observed_at=NOW - 400)
        services.runs[RUNNING] = run
        services.broken["open_log"] = Unreachable("gpu1 does not answer: connection timed out.")
    else:
        services.delay = 3600
    app = make_app(services)
    words = "opening the log" if name == "loading" else "does not answer"
    async with app.run_test(size=SIZES[size]) as pilot:
        app.open_run(run, "log")
        await settle(app, pilot, lambda: words in screen_text(app))
        await pilot.pause(0.1)
        check_screen(app, f"run-log-{name}-{size}")
