"""The screenful: right after any sequence of moves, folded, at any size."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.logs.views import OOM, TORCHRUN, all_rows, texts, view_of

from traindeck.console.logs.layout import Role
from traindeck.console.logs.search import Pattern, Search
from traindeck.console.logs.severity import Severity
from traindeck.console.logs.source import FileSource
from traindeck.console.logs.times import Times
from traindeck.console.logs.window import LogView

# ---------------------------------------------------------------------------------- moving

LOGS = st.lists(
    st.one_of(
        st.integers(0, 120).map(lambda n: b"x" * n + b"\n"),
        st.sampled_from([OOM, TORCHRUN, b"\r 1%\r 2%\r 3%\n", "日本語\n".encode() * 20, b"\n\n"]),
    ),
    min_size=1,
    max_size=12,
).map(b"".join)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    LOGS,
    st.booleans(),
    st.integers(1, 14),
    st.integers(8, 50),
    st.lists(st.integers(-30, 30) | st.sampled_from(["start", "end", "half"]), max_size=12),
)
async def test_after_any_moves_the_screen_shows_a_stretch_of_the_log(
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes,
    wrapped: bool,
    height: int,
    width: int,
    moves: list[int | str],
) -> None:
    view = view_of(tmp_path_factory.mktemp("log") / "0.log", data, height, width)
    view.wrap = wrapped
    rows = all_rows(data, width, wrapped)
    last = max(0, len(rows) - height)
    window = await view.open()
    at = last
    assert [row.anchor for row in window.rows] == rows[at : at + height]
    for move in moves:
        if move == "start":
            await view.to_start()
            at = 0
        elif move == "end":
            await view.to_end()
            at = last
        elif move == "half":
            await view.to_percent(50)
            window = await view.window()
            at = rows.index(window.rows[0].anchor)
            assert at == last or rows[at].offset <= len(data) // 2
        elif isinstance(move, int):
            await view.scroll(move)
            at = max(0, min(at + move, last))
        window = await view.window()
        assert [row.anchor for row in window.rows] == rows[at : at + height]
        assert window.at_end == (at + height >= len(rows))
        assert all(row.line.cells <= width for row in window.rows)
    await view.aclose()


async def test_opening_ten_gigabytes_reads_the_end_and_moving_reads_what_is_near(log: Path) -> None:
    with log.open("wb") as file:
        file.truncate(10 << 30)
        file.seek(0, 2)
        file.write(b"\n" + b"".join(b"line %d\n" % n for n in range(100_000)))

    class Counting(FileSource):
        asked = 0

        async def read_at(self, offset: int, size: int) -> bytes:
            Counting.asked += size
            return await super().read_at(offset, size)

    view = LogView(Counting(log))
    view.height = 40
    window = await view.open()
    assert texts(window)[-1] == "line 99999" and window.at_end and window.percent == 100
    assert Counting.asked < 500_000
    await view.scroll(-1000)
    assert texts(await view.window())[-1] == "line 98999"
    await view.to_percent(50)
    window = await view.window()
    assert window.percent == 50 and window.rows[0].line.text.startswith("␀×")
    await view.to_start()
    assert (await view.window()).percent < 1
    assert Counting.asked < 8_000_000
    await view.aclose()


async def test_the_percentage_is_the_one_that_was_asked_for(log: Path) -> None:
    view = view_of(log, b"".join(b"line %d\n" % n for n in range(777)))
    await view.open()
    for percent in range(95):
        await view.to_percent(percent)
        assert (await view.window()).percent == percent
    await view.to_percent(99)
    window = await view.window()
    assert window.at_end and window.percent == 100
    await view.scroll(-1)
    assert 95 <= (await view.window()).percent < 100
    await view.aclose()


async def test_it_follows_the_end_until_somebody_looks_up(log: Path) -> None:
    view = view_of(log, b"".join(b"line %d\n" % n for n in range(50)))
    view.following = True
    await view.open()
    with log.open("ab") as file:
        file.write(b"more\n")
    assert await view.refresh()
    assert texts(await view.window())[-1] == "more"
    await view.scroll(-3)
    assert not view.following
    with log.open("ab") as file:
        file.write(b"even more\n")
    await view.refresh()
    assert texts(await view.window())[-1] == "line 47"
    await view.aclose()


async def test_a_cut_or_replaced_log_shows_its_new_end(log: Path, tmp_path: Path) -> None:
    view = view_of(log, OOM * 20)
    window = await view.open()
    await view.scroll(-50)
    await view.toggle(window.rows[0].anchor.offset)
    log.write_bytes(b"short\n")
    assert not await view.refresh()
    assert texts(await view.window()) == ["short"]
    assert view.toggled == set()
    (tmp_path / "new").write_bytes(b"new 1\nnew 2\n")
    os.replace(tmp_path / "new", log)
    assert not await view.refresh()
    assert texts(await view.window()) == ["new 1", "new 2"]
    log.unlink()
    assert await view.refresh()
    assert texts(await view.window()) == ["new 1", "new 2"]
    await view.aclose()


async def test_whatever_happens_to_the_file_under_the_reader_is_harmless(log: Path) -> None:
    """Cuts, replacements, deletions and growth between any two reads of any move."""
    rng = random.Random(8)
    pieces = [OOM, TORCHRUN, b"\r1%\r2%" * 3000, b"x" * 50_000, b"line\n" * 500, b"\x00" * 99]
    other = log.with_name("other")

    class Meddled(FileSource):
        async def read_at(self, offset: int, size: int) -> bytes:
            if rng.random() < 0.05:
                meddle()
            return await super().read_at(offset, size)

    def meddle() -> None:
        what = rng.randrange(5)
        if what == 0 and log.exists():
            os.truncate(log, rng.randrange(log.stat().st_size + 1))
        elif what == 1:
            other.write_bytes(b"".join(rng.choices(pieces, k=3)))
            os.replace(other, log)
        elif what == 2:
            log.unlink(missing_ok=True)
        else:
            with log.open("ab") as file:
                file.write(rng.choice(pieces))

    meddle()
    view = LogView(Meddled(log))
    view.height, view.width = 20, 60
    await view.open()
    for _ in range(300):
        view.wrap = rng.random() < 0.3
        view.following = rng.random() < 0.2
        move = rng.randrange(7)
        if move == 0:
            await view.refresh()
        elif move == 1:
            await view.scroll(rng.randrange(-200, 200))
        elif move == 2:
            await view.to_percent(rng.randrange(101))
        elif move == 3:
            await view.to_offset(rng.randrange(1_000_000))
        elif move == 4:
            await view.to_end()
        elif move == 5:
            window = await view.window()
            if window.rows:
                await view.toggle(rng.choice(window.rows).anchor.offset)
        window = await view.window()
        assert len(window.rows) <= 20
        assert all(row.line.cells <= 60 for row in window.rows)
    await view.aclose()


@pytest.mark.parametrize("data", [b"", b"\n", b"x", b"\x00", b"\r", b"\xff\n"])
async def test_the_smallest_logs(log: Path, data: bytes) -> None:
    view = view_of(log, data)
    window = await view.open()
    assert len(window.rows) == (1 if data else 0) and window.at_end
    for move in (-1, 1, 100):
        await view.scroll(move)
    await view.to_offset(10_000)
    await view.to_percent(-5)
    await view.to_percent(500)
    assert len((await view.window()).rows) == len(window.rows)
    await view.aclose()


async def test_rows_below_the_end_are_left_free_for_what_comes_after_it(log: Path) -> None:
    view = view_of(log, b"".join(b"line %d\n" % n for n in range(50)))
    view.below = 4
    window = await view.open()
    assert texts(window) == [f"line {n}" for n in range(44, 50)]
    assert window.at_end
    await view.aclose()


async def test_scrolling_sideways_and_wrapping_show_all_of_a_long_line(log: Path) -> None:
    text = "".join(chr(97 + n % 26) for n in range(100))
    view = view_of(log, text.encode() + b"\n", width=40)
    assert texts(await view.open()) == [text[:40]]
    view.left = 70
    assert texts(await view.window()) == [text[70:]]
    view.wrap = True
    window = await view.window()
    assert texts(window) == [text[:40], text[40:80], text[80:]]
    assert [row.head for row in window.rows] == [True, False, False]
    await view.aclose()


# --------------------------------------------------------------------------------- folding


async def test_library_frames_are_folded_and_open_in_place(log: Path) -> None:
    view = view_of(log, TORCHRUN, height=60, width=120)
    window = await view.open()
    fold = next(row for row in window.rows if row.role is Role.LIBRARY and row.fold)
    assert fold.fold is not None and not fold.fold.open
    assert fold.line.text == "2 frames in torch/distributed"
    assert b'  File "/home/ada/venv/lib/' in TORCHRUN[fold.anchor.offset :][:80]
    await view.toggle(fold.anchor.offset)
    opened = await view.window()
    assert len(opened.rows) > len(window.rows)
    index = next(n for n, row in enumerate(opened.rows) if row.anchor == fold.anchor)
    assert "c10d_logger.py" in opened.rows[index].line.text
    assert opened.rows[index].fold is not None and opened.rows[index].fold.open
    # Closing works from any line inside.
    await view.toggle(opened.rows[index + 2].anchor.offset)
    assert texts(await view.window()) == texts(window)
    await view.aclose()


async def test_own_frames_header_and_exception_are_told_apart(log: Path) -> None:
    view = view_of(log, TORCHRUN, height=60, width=120)
    window = await view.open()
    header = next(row for row in window.rows if row.role is Role.HEADER)
    assert header.fold is not None and header.fold.text == "2 frames"
    own = [row.line.text for row in window.rows if row.role is Role.OWN and row.rank == 0]
    assert own[0].endswith("line 9, in <module>") and len(own) == 5
    raised = [row.line.text for row in window.rows if row.role is Role.RAISED]
    assert raised[0].startswith("[rank0]: RuntimeError: mat1 and mat2")
    assert {row.severity for row in window.rows if row.role is not Role.TEXT} == {Severity.ERROR}
    assert {row.rank for row in window.rows} == {None, 0, 1}
    await view.aclose()


async def test_a_traceback_that_another_rank_repeats_is_one_row(log: Path) -> None:
    zero = TORCHRUN[TORCHRUN.index(b"[rank0]: Trace") : TORCHRUN.index(b"[rank1]: Trace")]
    view = view_of(log, b"step 1\n" + zero + zero.replace(b"rank0", b"rank1") + b"end\n", 30, 120)
    window = await view.open()
    assert len(window.rows) == 1 + 7 + 1 + 1
    again = window.rows[8]
    assert again.fold is not None and not again.fold.open
    assert (again.fold.text, again.fold.lines) == ("same as rank 0", 7)
    assert again.line.text.startswith("[rank1]: Traceback")
    await view.toggle(again.anchor.offset)
    assert len((await view.window()).rows) == 1 + 7 + 7 + 1
    await view.aclose()


async def test_a_fold_that_begins_above_the_screen_stays_one(log: Path) -> None:
    frames = b"".join(
        b'  File "/v/lib/python3.11/site-packages/torch/nn/m.py", line %d, in f\n    call()\n' % n
        for n in range(300)
    )
    data = (
        b'before\nTraceback (most recent call last):\n  File "train.py", line 3, in main\n    f()\n'
        + frames
        + b"ValueError: x\nafter\n"
    )
    view = view_of(log, data, height=4, width=100)
    window = await view.open()
    assert texts(window) == ["    f()", "300 frames in torch/nn", "ValueError: x", "after"]
    await view.to_offset(data.index(b"line 150, in f"), above=0)
    window = await view.window()
    assert "line 150" in window.rows[0].line.text, "what is asked for is shown, so the fold opens"
    await view.aclose()


async def test_progress_bars_are_one_row_with_their_count(log: Path) -> None:
    bar = b"".join(b"\rLoading shards %d/16" % n for n in range(212))
    view = view_of(log, b"start\n" + bar + b"\nend\n")
    window = await view.open()
    assert texts(window) == ["start", "Loading shards 211/16", "end"]
    assert [row.updates for row in window.rows] == [1, 212, 1]
    await view.aclose()


async def test_a_day_of_a_progress_bar_is_walked_once(log: Path) -> None:
    bar = b"".join(b"\r%6d/999999 [1.00s/it]" % n for n in range(400_000))
    view = view_of(log, b"start\n" + bar + b"\nend\n", height=30)
    window = await view.open()
    assert texts(window)[-1] == "end" and len(window.rows) >= 5
    assert sum(row.updates for row in window.rows) > 100_000
    loads = len(view._lines._starts)
    await view.window()
    assert len(view._lines._starts) == loads >= 5
    await view.aclose()


# -------------------------------------------------------------------------- times, messages


async def test_times_stand_only_where_they_change(log: Path, tmp_path: Path) -> None:
    idx = tmp_path / "0.idx"
    idx.write_bytes(
        b"".join(struct.pack("<dQ", *s) for s in [(100.2, 20), (100.9, 30), (107.0, 50)])
    )
    log.write_bytes(b"line 1....\n" * 6)
    view = LogView(FileSource(log), times=Times(FileSource(idx)))
    window = await view.open()
    assert [row.time for row in window.rows] == [100.2, None, None, 107.0, None, None]
    assert await view.to_time(105.0)
    await view.aclose()


async def test_what_an_exception_says_goes_on_below_though_lines_are_not_wrapped(
    log: Path,
) -> None:
    said = b"ValueError: " + b"word " * 20
    trace = b'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n'
    view = view_of(log, b"x" * 200 + b"\n" + trace + said + b"\n", height=12, width=40)
    window = await view.open()
    rows = [row.line.text for row in window.rows if row.role is Role.RAISED]
    assert "".join(rows) == said.decode() and len(rows) == 3
    assert window.rows[0].more and not any(row.more for row in window.rows[1:])


async def test_what_an_exception_says_is_cut_between_words_and_a_hit_in_it_is_marked(
    log: Path,
) -> None:
    trace = b'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n'
    said = (
        b"MemoryError: a total capacity of 79.10 GiB of which " + b"x" * 50 + b" 5.90 GiB is free"
    )
    view = view_of(log, trace + said + b"\n", height=12, width=37)
    view.search = Search(view.pages.source, Pattern("GiB"))
    window = await view.open()
    raised = [row for row in window.rows if row.role is Role.RAISED]
    assert [row.line.text.rstrip() for row in raised] == [
        "MemoryError: a total capacity of",
        "79.10 GiB of which",
        "x" * 37,
        "x" * 13 + " 5.90 GiB is free",
    ]
    marked = [row.line.text[mark.start : mark.end] for row in raised for mark in row.marks]
    assert marked == ["GiB", "GiB"]
    await view.search.aclose()
    await view.aclose()
