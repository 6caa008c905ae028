"""The screenful with what was searched and filtered for: marked, moved into sight, left alone."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from tests.logs.views import texts, view_of

from traindeck.console.logs.search import Hit, Pattern, Search
from traindeck.console.logs.window import LogView


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
    data = b"".join(b"memory %d\n" % n if n % 100 == 0 else b"line %d\n" % n for n in range(2_500))
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
    data = b"\n".join(b"%s %d" % (rng.choice(words), n) for n in range(200))
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
