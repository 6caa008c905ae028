"""The screenful: right after any sequence of moves, folded, filtered, marked, at any size."""

from __future__ import annotations

import asyncio
import os
import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from traindeck.console.logs.layout import Block, Role, blocks
from traindeck.console.logs.lines import make_line
from traindeck.console.logs.neutral import neutral, wrap, wrap_words
from traindeck.console.logs.rows import Anchor, Window
from traindeck.console.logs.search import Hit, Pattern, Search
from traindeck.console.logs.severity import Severity
from traindeck.console.logs.source import FileSource
from traindeck.console.logs.times import Times
from traindeck.console.logs.units import forward, walk
from traindeck.console.logs.window import MESSAGE, LogView

EVIDENCE = Path(__file__).parent / "evidence"
OOM = (EVIDENCE / "oom-two-ranks.log").read_bytes()
TORCHRUN = (EVIDENCE / "torchrun.log").read_bytes()


def all_blocks(data: bytes, toggled: set[int] | None = None) -> list[Block]:
    """The whole log laid out at once: what the screen must show pieces of."""
    units: list[tuple[int, int]] = []
    while more := walk(
        forward(units[-1][1] if units else 0, 1000), lambda at, n: data[at : at + n]
    ):
        units += more
    lines = [
        make_line(start, data[start:end], head=start == 0 or data[start - 1 : start] == b"\n")
        for start, end in units
    ]
    return blocks(lines, toggled or set())


def all_rows(
    data: bytes, width: int, wrapped: bool, toggled: set[int] | None = None
) -> list[Anchor]:
    rows = []
    for block in all_blocks(data, toggled):
        count = 1
        line = neutral(block.lines[0].data)
        said = block.role is Role.RAISED and line.cells <= MESSAGE * width
        if (wrapped or said) and not block.folded:
            count = len((wrap_words if block.role is Role.RAISED else wrap)(line, width))
        rows += [Anchor(block.start, sub) for sub in range(count)]
    return rows


def view_of(log: Path, data: bytes, height: int = 10, width: int = 40) -> LogView:
    log.write_bytes(data)
    view = LogView(FileSource(log))
    view.height, view.width = height, width
    return view


def texts(window: Window) -> list[str]:
    return [row.line.text for row in window.rows]


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


# ---------------------------------------------------------------------- times, search, filter


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


async def test_a_hit_that_was_gone_to_stays_in_sight_while_the_log_grows(log: Path) -> None:
    view = view_of(log, b"".join(b"line %d\n" % n for n in range(50)))
    view.following = True
    view.search = Search(view.pages.source, Pattern("line 48"))
    await view.open()
    assert await view.jump() is not None
    with log.open("ab") as file:
        file.write(b"more\n" * 100)
    await view.refresh()
    assert "line 48" in texts(await view.window())
    await view.aclose()


async def test_hits_are_marked_where_they_are_shown(log: Path) -> None:
    data = "wide 日本 memory and \x1b[31mmemory\x1b[0m\tmemory\nnone\nmemory\n".encode()
    view = view_of(log, data, width=60)
    view.search = Search(view.pages.source, Pattern("memory"))
    window = await view.open()
    shown = []
    for row in window.rows:
        cells = [c for c in row.line.text for _ in range(2 if c in "日本" else 1)]
        shown += ["".join(cells[m.start : m.end]) for m in row.marks]
    assert shown == ["memory"] * 4
    hit = await view.jump()
    assert hit is not None
    window = await view.window()
    assert [mark.current for mark in window.rows[0].marks] == [True, False, False]
    view.wrap, view.width = True, 14
    window = await view.window()
    assert sum(len(row.marks) for row in window.rows) >= 4
    for row in window.rows:
        assert all(0 <= mark.start < mark.end <= 14 for mark in row.marks)
    await view.search.aclose()
    await view.aclose()


async def test_a_filter_shows_the_state_of_a_progress_bar_that_it_keeps(log: Path) -> None:
    bar = b"".join(b"\r%3d%% of shards" % n for n in range(101))
    view = view_of(log, b"a\n" + bar + b"\r       \rstep 1 loss 2\nstep 2\n" + bar + b"\n")
    await view.open()
    for text, shown in (("17%", [" 17% of shards"] * 2), ("100%", ["100% of shards"] * 2)):
        view.filter = Search(view.pages.source, Pattern(text))
        await view.to_start()
        assert texts(await view.window()) == shown
        await view.filter.aclose()
    view.filter = Search(view.pages.source, Pattern("step"))
    window = await view.window()
    assert [(row.line.text, row.updates) for row in window.rows] == [
        ("step 1 loss 2", 1),
        ("step 2", 1),
    ]
    await view.filter.aclose()
    await view.aclose()


async def test_a_hit_beyond_the_edge_is_moved_into_sight(log: Path) -> None:
    long = b"a needle " + b"x" * 300 + " 日本 needle".encode() + b"y" * 300 + b" needle\n"
    view = view_of(log, b"line\n" * 30 + long + b"line\n" * 30, width=40)
    view.search = Search(view.pages.source, Pattern("needle"))
    await view.open()
    await view.to_start()
    lefts = []
    while await view.jump() is not None:
        row = next(row for row in (await view.window()).rows if row.current)
        mark = next(mark for mark in row.marks if mark.current)
        assert mark.end - mark.start == 6
        lefts.append(view.left)
    assert lefts[0] == 0 < lefts[1] < lefts[2]
    await view.jump(backward=True)
    await view.jump(backward=True)
    assert view.left == 0, "no further to the side than it must be"
    await view.jump()
    assert view.left == lefts[1]
    await view.scroll(1)
    assert view.left == 0, "who moves on is where they were"
    await view.side(8)
    assert view.left == 8
    await view.to_start()
    await view.side(8)
    assert view.left == 8, "there is nothing further right"
    await view.side(-80)
    assert view.left == 0
    await view.search.aclose()
    await view.aclose()


async def test_the_next_hit_is_looked_for_from_where_one_is(log: Path) -> None:
    data = b"".join(b"memory %d\n" % n if n % 100 == 0 else b"line %d\n" % n for n in range(5_000))
    view = view_of(log, data)
    view.search = Search(view.pages.source, Pattern("memory"))
    await view.open()
    await view.to_start()

    async def hit(backward: bool = False) -> str:
        found = await view.jump(backward=backward)
        return data[found.start : found.start + 11].split(b"\n")[0].decode() if found else ""

    assert await hit() == "memory 0" and await hit() == "memory 100"
    await view.to_end()
    assert await hit(backward=True) == "memory 4900"
    await view.to_offset(data.index(b"line 2150\n"), mark=True)
    assert await hit() == "memory 2200"
    assert await hit(backward=True) == "memory 2100"
    await view.to_start()
    assert await hit() == "memory 0", "not from the hit that is out of sight"
    await view.search.aclose()
    await view.aclose()


@pytest.mark.parametrize(("wrap", "width"), [(False, 40), (True, 16)])
async def test_a_hit_in_a_state_of_a_progress_bar_is_shown_while_it_is_the_current_one(
    log: Path, wrap: bool, width: int
) -> None:
    bar = b"".join(b"\rLoading shards %d/300" % n for n in range(300)) + b"\r   \r"
    view = view_of(log, b"".join(b"line %d\n" % n for n in range(40)) + bar + b"\nend\n")
    view.wrap, view.width = wrap, width
    view.search = Search(view.pages.source, Pattern("s 17"))
    last = texts(await view.open())
    seen = []
    while await view.jump() is not None:
        window = await view.window()
        row = next(row for row in window.rows if row.current)
        said = "".join(row.line.text[m.start : m.end] for row in window.rows for m in row.marks)
        assert said == "s 17" and row.updates == 300
        seen.append(row.state)
    assert seen == [18, *range(171, 181)]
    view.current = None
    assert texts(await view.window()) == last, "without a hit it is the last state again"
    await view.search.aclose()
    await view.aclose()


async def test_jumping_goes_through_all_hits_and_stays_at_the_last(log: Path) -> None:
    data = b"".join(b"memory %d\n" % n if n % 100 == 0 else b"line %d\n" % n for n in range(5_000))
    view = view_of(log, data)
    view.search = Search(view.pages.source, Pattern("memory"))
    await view.open()
    await view.to_start()
    seen = []
    while (hit := await view.jump()) is not None:
        window = await view.window()
        assert window.start <= hit.start < window.end
        assert any(mark.current for row in window.rows for mark in row.marks)
        seen.append(hit.start)
    assert seen == [hit.start for hit in hits_in(data, b"memory")]
    assert view.current is not None and view.current.start == seen[-1]
    back = [hit.start async for hit in backwards(view)]
    assert back == seen[-2::-1]
    await view.search.aclose()
    await view.aclose()


def hits_in(data: bytes, needle: bytes) -> list[Hit]:
    found, at = [], data.find(needle)
    while at >= 0:
        found.append(Hit(at, at + len(needle)))
        at = data.find(needle, at + 1)
    return found


async def backwards(view: LogView):  # type: ignore[no-untyped-def]
    while (hit := await view.jump(backward=True)) is not None:
        yield hit


@pytest.mark.parametrize("counted", [True, False])
async def test_a_filter_shows_its_lines_and_nothing_else(log: Path, counted: bool) -> None:
    rng = random.Random(4)
    data = b"".join(
        b"%s %d\n" % (b"keep" if rng.random() < 0.02 else b"drop", n) for n in range(20_000)
    )
    expected = [line.decode() for line in data.split(b"\n") if line.startswith(b"keep")]
    view = view_of(log, data, height=12)
    await view.open()
    view.filter = Search(view.pages.source, Pattern("keep"))
    if counted:
        await view.filter.count(len(data))
    await view.to_end()
    window = await view.window()
    assert texts(window) == expected[-12:]
    assert window.at_end and window.pending == (not counted)
    await view.scroll(-100)
    assert texts(await view.window()) == expected[-112:-100]
    await view.to_start()
    window = await view.window()
    assert texts(window) == expected[:12] and not window.at_end
    await view.scroll(10**6)
    assert texts(await view.window()) == expected[-12:]
    await view.filter.aclose()
    view.filter = None
    window = await view.window()
    assert expected[-12] in texts(window)[0]
    await view.aclose()


@pytest.mark.parametrize("counted", [True, False])
async def test_a_line_that_a_filter_finds_before_it_can_be_read_is_not_kept_blank(
    log: Path, counted: bool
) -> None:
    data = b"keep 1\nother\nkeep 2\nke"
    view = view_of(log, data)
    await view.refresh()
    view.filter = Search(view.pages.source, Pattern("keep"))
    if counted:
        await view.filter.count(len(data))
    with log.open("ab") as file:
        file.write(b"ep 3\nkeep 4\n")  # the process that searches sees it at once
    assert texts(await view.window())[:2] == ["keep 1", "keep 2"]
    await view.refresh()
    await view.to_end()
    assert texts(await view.window()) == ["keep 1", "keep 2", "keep 3", "keep 4"]
    await view.filter.aclose()


@pytest.mark.parametrize("pattern", [Pattern("keep"), Pattern("k[e]ep", regex=True)])
async def test_under_a_filter_only_hits_in_its_lines_are_gone_to(
    log: Path, pattern: Pattern
) -> None:
    rng = random.Random(5)
    words = (b"keep", b"drop", b"keep loss", b"loss", b"loss then keep loss", b"\xff")
    data = b"\n".join(b"%s %d" % (rng.choice(words), n) for n in range(600))
    expected, at = [], 0
    for line in data.split(b"\n"):
        if b"keep" in line:
            expected += [at + hit.start for hit in hits_in(line, b"loss")]
        at += len(line) + 1
    view = view_of(log, data, height=12)
    view.search = Search(view.pages.source, Pattern("loss"))
    view.filter = Search(view.pages.source, pattern)
    await view.open()
    await view.to_start()
    seen = []
    while (hit := await view.jump()) is not None:
        assert any(row.current for row in (await view.window()).rows)
        seen.append(hit.start)
    assert seen == expected
    assert [hit.start async for hit in backwards(view)] == expected[-2::-1]
    await view.search.aclose()
    await view.filter.aclose()
    await view.aclose()


async def test_a_filter_that_nothing_matches_is_an_empty_screen(log: Path) -> None:
    view = view_of(log, b"a\nb\n")
    await view.open()
    view.filter = Search(view.pages.source, Pattern("absent"))
    window = await view.window()
    assert window.rows == () and window.at_end
    await view.scroll(5)
    await view.scroll(-5)
    await view.filter.aclose()
    await view.aclose()


async def test_the_first_line_that_a_filter_finds_is_shown_from_its_beginning(log: Path) -> None:
    view = view_of(log, b"step 1\n" * 30, width=20)
    view.wrap = True
    view.filter = Search(view.pages.source, Pattern("foo"))
    await view.open()
    assert not (await view.window()).rows
    with log.open("ab") as file:
        file.write(b"foo " * 12 + b"\n")
    await view.refresh()
    assert [row.anchor.sub for row in (await view.window()).rows] == [0, 1, 2]
    await view.filter.aclose()
    await view.aclose()


async def test_an_expression_that_never_ends_costs_its_marks_and_nothing_more(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traindeck.console.logs.patience.PATIENCE", 0.2)
    view = view_of(log, b"fine\n" + b"a" * 60 + b"!\n")
    view.search = Search(view.pages.source, Pattern("(a+)+b", regex=True))
    window = await view.open()
    assert len(window.rows) == 2 and window.rows[1].marks == ()
    async with asyncio.timeout(5):
        for _ in range(50):
            await view.window()
    await view.search.aclose()
    view.search = Search(view.pages.source, Pattern("f[a-z]+e", regex=True))
    monkeypatch.setattr("traindeck.console.logs.patience.PATIENCE", 10)
    window = await view.window()
    assert [(m.start, m.end) for m in window.rows[0].marks] == [(0, 4)]
    await view.search.aclose()
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


async def test_a_filter_that_took_too_long_is_asked_again_once_it_is_counted(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traindeck.console.logs.patience.PATIENCE", 0)
    view = view_of(log, b"step 1\nkeep me\n" * 50, height=5)
    view.filter = Search(view.pages.source, Pattern("k[e]ep", regex=True))
    window = await view.open()
    assert not window.rows and window.pending
    monkeypatch.setattr("traindeck.console.logs.patience.PATIENCE", 10)
    assert not (await view.window()).rows
    await view.filter.count(view.pages.size)
    await view.to_end()
    assert texts(await view.window()) == ["keep me"] * 5
    await view.filter.aclose()
    await view.aclose()
