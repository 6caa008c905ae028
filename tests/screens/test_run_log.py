"""The Log tab of a run: moving in it, following it, and what happened at its end, by keys, over
the real log engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from log_harness import (
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    log_rows,
    marked,
    opened,
    press,
    training,
    world,
)
from screen_harness import MakeApp, settle
from screen_svg import screen_text
from tests.fakes.run import BROKEN_LOG
from tests.fakes.runs import NOW

from traindeck.backends.base import State, Unreachable
from traindeck.console.tui.screens.run import RunScreen
from traindeck.console.tui.screens.run_log import LogPane


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
        await pilot.press("k")
        await settle(app, pilot, lambda: "follow off" in screen_text(app))
        await pilot.press("G")  # at the end, where more is written: there one goes on with it
        await settle(app, pilot, lambda: "follow on" in screen_text(app))


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


async def test_the_logs_of_all_ranks_are_a_key_away_and_the_search_goes_along(
    make_app: MakeApp,
) -> None:
    services = world()
    run = services.runs[FAILED]
    assert run is not None
    services.others[run.id] = {n: b"eval on rank %d\n" % n * 3 for n in range(1, 8)}
    services.others[run.id][7] = None
    app = make_app(services)
    async with opened(app) as (pilot, pane):
        await settle(app, pilot, lambda: "rank 0 of 8   wrap off" in screen_text(app))
        text = await press(app, pilot, pane, "slash e v a l enter r")
        assert "rank 1 of 8" in text and "/eval   1 of 3" in text
        assert "eval on rank 1" in marked(app), "what was searched for is found here, too"
        assert " r rank " in screen_text(app).splitlines()[-1]
        await press(app, pilot, pane, "left_square_bracket left_square_bracket")
        await settle(app, pilot, lambda: "is not here: a copy is kept" in screen_text(app))
        assert "rank 7 of 8" in screen_text(app), "before the first comes the last"
        await press(app, pilot, pane, "right_square_bracket")
        await settle(app, pilot, lambda: "rank 0 of 8" in screen_text(app))
        await settle(app, pilot, lambda: "What happened" in screen_text(app))
        asked = [detail for name, detail in services.calls if name == "open_log"]
        assert asked == [(run.id, 0), (run.id, 0, 1), (run.id, 0), (run.id, 0, 7), (run.id, 0)]


async def test_a_run_on_several_nodes_opens_at_the_rank_that_failed_first(
    make_app: MakeApp,
) -> None:
    services = world()
    run = services.runs[FAILED]
    assert run is not None
    services.others[run.id] = {1: b"step 1\nIndexError: too far\n"}
    services.runs[FAILED] = replace(run, reason="rank 1 on n1: IndexError: too far · exit 1")
    app = make_app(services)
    async with opened(app) as (pilot, _):
        await settle(app, pilot, lambda: "rank 1 of 2" in screen_text(app))
        await settle(app, pilot, lambda: "IndexError: too far" in "".join(log_rows(app)))
        services.logs[run.id] = b"step 1\n"
        await pilot.press("r")
        await settle(app, pilot, lambda: "rank 0 of 2" in screen_text(app))
        await settle(app, pilot, lambda: app.screen.query_one(LogPane).settled)
        await pilot.press("E")
        await settle(app, pilot, lambda: "no error in it; rank 1 failed first" in screen_text(app))


async def test_where_no_rank_is_named_none_is_said_to_have_failed(make_app: MakeApp) -> None:
    services = world()
    run = services.runs[DONE]
    assert run is not None
    services.others[run.id] = {1: b"step 1\n"}
    app = make_app(services)
    async with opened(app, DONE) as (pilot, pane):
        await settle(app, pilot, lambda: "rank 0 of 2" in screen_text(app))
        await pilot.press("r")
        await settle(app, pilot, lambda: "rank 1 of 2" in screen_text(app) and pane.settled)
        await pilot.press("E")
        await settle(app, pilot, lambda: "no error in it" in screen_text(app))
        assert "failed first" not in screen_text(app)


async def test_who_follows_a_rank_follows_the_next_one(make_app: MakeApp) -> None:
    services = world()
    run = services.runs[RUNNING]
    assert run is not None
    services.others[run.id] = {1: b"loss on rank 1\n" * 100}
    app = make_app(services)
    async with opened(app, RUNNING) as (pilot, pane):
        await settle(app, pilot, lambda: "rank 0 of 2" in screen_text(app))
        await press(app, pilot, pane, "slash l o s s enter f")
        await settle(app, pilot, lambda: "follow on" in screen_text(app))
        await pilot.press("r")
        await settle(app, pilot, lambda: "100 hits" in screen_text(app))
        assert "follow on" in screen_text(app) and "/loss" in screen_text(app)
        services.others[run.id][1] = b"loss on rank 1\n" * 100 + b"the newest\n"
        await settle(app, pilot, lambda: "the newest" in log_rows(app)[-1])


async def test_a_filter_goes_along_to_another_rank(make_app: MakeApp) -> None:
    services = world()
    run = services.runs[FAILED]
    assert run is not None
    services.others[run.id] = {1: b"loss 1\neval 2\nloss 3\n"}
    app = make_app(services)
    async with opened(app) as (pilot, pane):
        await settle(app, pilot, lambda: "rank 0 of 2" in screen_text(app))
        text = await press(app, pilot, pane, "ampersand e v a l enter r")
        assert "eval 2" in text and not any("loss" in row for row in log_rows(app))
        await press(app, pilot, pane, "escape")
        assert "loss 3" in screen_text(app)


async def test_ranks_that_begin_later_are_there_without_asking(make_app: MakeApp) -> None:
    services = world()
    run = services.runs[QUEUED]
    assert run is not None
    app = make_app(services)
    async with opened(app, QUEUED) as (pilot, pane):
        assert "rank" not in screen_text(app), "of a run with one nothing is said"
        assert pane.check_action("rank", (1,)) is False
        services.others[run.id] = {1: b""}
        services.change(QUEUED, replace(run, state=State.RUNNING, reason=""))
        await settle(app, pilot, lambda: "rank 0 of 2" in screen_text(app))
        await press(app, pilot, pane, "r")
        await settle(app, pilot, lambda: "nothing written yet" in screen_text(app))


async def test_keys_that_would_do_nothing_are_not_offered_and_say_so(make_app: MakeApp) -> None:
    app = make_app(world())
    async with opened(app, DONE) as (pilot, _):
        footer = screen_text(app).splitlines()[-1]
        for words in ("follow", "next", "first error", "fold", "try…", "time", "attempt"):
            assert words not in footer, footer
        for key, words in (("E", "no error"), ("T", "nothing to try"), ("z", "nothing to fold"),
                           ("t", "nobody noted times")):  # fmt: skip
            await pilot.press(key)
            await settle(app, pilot, lambda words=words: words in screen_text(app).splitlines()[-1])


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
