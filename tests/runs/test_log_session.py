"""An open log that grows: what is known of it at every look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from tests.fakes.run import BytesSource

from traindeck.console.logs.search import Pattern, Search
from traindeck.console.runs import log_lag, log_session
from traindeck.console.runs.log_opening import Fate, Opening
from traindeck.console.runs.log_session import LogSession
from traindeck.console.runs.log_shown import LogShown

LINE = b"step %d loss 2.5\n"
STATE = b"\rtraining: %d%%"


class Growing:
    """A log in memory that a test appends to, and a session over it."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.fate = Fate(over=False)
        opening = Opening(source=lambda: BytesSource(lambda: self.data), fate=lambda: self.fate)
        self.session = LogSession(_here, opening)

    async def look(self) -> LogShown:
        return await self.session.look(20, 80)

    async def settled(self) -> LogShown:
        while (shown := await self.look()).busy:
            await asyncio.sleep(0.02)
        return shown


def _here(work: Callable[[], Coroutine[Any, Any, Any]]) -> Awaitable[Any]:
    return asyncio.ensure_future(work())


@pytest.mark.parametrize("more", [LINE, STATE])
@pytest.mark.parametrize("following", [True, False])
async def test_every_look_at_a_growing_log_knows_all_of_it(more: bytes, following: bool) -> None:
    log = Growing(b"".join(LINE % n for n in range(50)))
    await log.look()
    await log.session.choose(following=following)
    await log.session.find(Pattern("loss"))
    for n in range(20):
        log.data += more % n
        shown = await log.look()
        assert shown.lines == log.data.count(b"\n") + (not log.data.endswith(b"\n"))
        assert shown.first is not None and shown.last is not None
        assert shown.hits == log.data.count(b"loss") and shown.counting is None
        assert shown.surveyed == 1 and not shown.busy
    await log.session.aclose()


@pytest.mark.parametrize("over", [True, False])
async def test_of_a_run_whose_loss_is_no_number_the_first_such_line_is_known(over: bool) -> None:
    log = Growing(b"".join(LINE % n for n in range(15)) + b"step 15 loss nan\n" * 25)
    log.fate = Fate(over=over)
    assert (await log.settled()).not_finite is None, "nobody says that it is none"
    assert not await log.session.to_error()
    await log.session.aclose()

    log = Growing(log.data + b"".join(LINE % n for n in range(100)))
    log.fate = Fate(over=over, diverged=True)
    shown = await log.settled()
    assert (shown.not_finite, shown.not_finite_line) == (log.data.index(b"step 15"), 16)
    assert await log.session.to_error()
    shown = await log.look()
    assert shown.first is not None and shown.last is not None
    assert shown.first <= 16 <= shown.last
    log.data += b"ValueError: no\n"
    shown = await log.settled()
    assert shown.first_error is not None and shown.not_finite is None, "what is worse comes first"
    await log.session.aclose()


async def test_behind_the_first_error_comes_the_one_that_ended_the_run() -> None:
    trace = b'Traceback (most recent call last):\n  File "a.py", line 5, in <module>\nKeyError: 1\n'
    early = b"ERROR could not reach the tracker, going on without it\n"
    log = Growing(early + b"".join(LINE % n for n in range(500)) + trace)
    log.fate = Fate(failed=True, exit_code=1)
    assert (await log.settled()).first_error == 0
    seen = []
    for _ in range(3):
        assert await log.session.to_error()
        shown = await log.look()
        seen.append(shown.first)
    assert seen[0] == seen[2] == 1 and (seen[1] or 0) > 400
    await log.session.aclose()


async def test_what_takes_long_is_as_it_was_last_known_until_it_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_session, "MOMENT", 0)
    log = Growing(b"".join(LINE % n for n in range(50)))
    before = await log.look()
    assert (before.first, before.last, before.lines) == (31, 50, 50)
    log.data += b"".join(LINE % n for n in range(50, 200_000))
    shown = await log.look()
    assert (shown.first, shown.last, shown.lines) == (31, 50, 50)
    assert shown.grown and shown.brief and shown.busy and shown.surveyed < 1
    shown = await log.settled()
    assert (shown.first, shown.last, shown.lines) == (199_981, 200_000, 200_000)
    await log.session.aclose()


async def test_a_log_that_grows_by_megabytes_at_every_look_is_known_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_session, "MOMENT", 5)
    much = b"".join(LINE % n for n in range(10_000, 60_000))
    log = Growing(much)
    await log.look()
    await log.settled()
    for times in range(2, 6):
        log.data += much
        shown = await log.look()
        assert shown.lines == shown.last == 50_000 * times
    await log.session.aclose()


async def test_numbers_of_another_place_are_not_those_of_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_session, "MOMENT", 0)
    log = Growing(b"".join(LINE % n for n in range(50)))
    await log.look()
    log.data += b"".join(LINE % n for n in range(50, 200_000))
    await log.look()
    await log.session.to_percent(90)
    shown = await log.look()
    assert shown.first is None and shown.lines == 50
    await log.session.aclose()


async def test_a_filter_fills_the_screen_once_its_lines_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Growing(b"".join(LINE % n for n in range(2_000)))
    await log.look()
    monkeypatch.setattr("traindeck.console.logs.patience.PATIENCE", 0)
    await log.session.keep(Pattern("step [0-9]*7 ", regex=True))
    assert not (await log.look()).window.rows
    monkeypatch.setattr("traindeck.console.logs.patience.PATIENCE", 10)
    shown = await log.settled()
    assert shown.matched == 200 and len(shown.window.rows) == 20
    assert shown.window.rows[-1].line.text == "step 1997 loss 2.5"
    await log.session.aclose()


async def test_a_key_that_scrolls_nothing_under_a_filter_is_no_move() -> None:
    log = Growing(b"".join(LINE % n for n in range(2_000)))
    await log.look()
    await log.session.find(Pattern("step 900 "))
    await log.session.to_percent(10)
    await log.session.next_hit()
    before = (await log.look()).window.rows
    await log.session.keep(Pattern("99 "))
    await log.settled()
    await log.session.keep(Pattern("step 1999"))
    assert len((await log.settled()).window.rows) == 1
    await log.session.scroll(1)
    await log.session.keep(None)
    assert [row.line.text for row in (await log.settled()).window.rows] == [
        row.line.text for row in before
    ]
    await log.session.aclose()


@pytest.mark.parametrize("following", [True, False])
async def test_a_filter_that_nothing_matches_gives_the_place_back(following: bool) -> None:
    log = Growing(b"".join(LINE % n for n in range(2_000)))
    await log.look()
    if not following:
        await log.session.to_percent(25)
    before = (await log.look()).window.rows
    await log.session.keep(Pattern("nowhere"))
    assert not (await log.settled()).window.rows
    await log.session.keep(None)
    assert [row.line.text for row in (await log.settled()).window.rows] == [
        row.line.text for row in before
    ]
    await log.session.aclose()


def words(shown: LogShown) -> list[str]:
    return [row.line.text for row in shown.window.rows]


@pytest.mark.parametrize("known", [True, False])
async def test_a_filter_shows_its_lines_around_the_place_and_gives_it_back(
    monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    if not known:  # the filter's lines around the place are known only once they are counted
        monkeypatch.setattr("traindeck.console.logs.region.PROBE", 1)
    log = Growing(b"".join(LINE % n for n in range(60_000)))
    await log.look()
    await log.settled()
    await log.session.find(Pattern("step 30123 "))
    assert await log.session.next_hit(backward=True)
    before = await log.settled()
    row = next(n for n, row in enumerate(before.window.rows) if row.current)
    for pattern in (Pattern("99 loss"), Pattern("9999 loss")):  # one after the other
        await log.session.keep(pattern)
        shown = await log.settled()
        assert any(row.line.text == "step 30199 loss 2.5" for row in shown.window.rows) == (
            pattern.text == "99 loss"
        )
        if pattern.text == "99 loss":
            assert words(shown)[row] == "step 30199 loss 2.5"
        else:
            assert words(shown) == [f"step {n}9999 loss 2.5" for n in ("", *range(1, 6))]
    await log.session.keep(None)
    after = await log.settled()
    assert words(after) == words(before) and after.window.rows[row].current
    await log.session.keep(Pattern("99 loss"))
    await log.settled()
    await log.session.scroll(1)
    first = words(await log.settled())[0]
    await log.session.keep(None)
    assert words(await log.settled())[0] == first, "who has moved stays"
    await log.session.aclose()


async def test_a_filter_that_is_being_counted_leaves_one_at_the_hit_that_one_went_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def slow(self: Search, size: int) -> None:
        """A count that has not begun."""

    monkeypatch.setattr("traindeck.console.logs.region.PROBE", 100)
    monkeypatch.setattr(Search, "count", slow)
    log = Growing(b"".join(LINE % n for n in range(60_000)))
    await log.look()
    await log.session.to_start()
    await log.look()
    await log.session.keep(Pattern("99 loss"))
    assert (await log.look()).window.pending
    await log.session.find(Pattern("step 30199 "))
    assert await log.session.next_hit()
    for _ in range(3):
        assert any(row.current for row in (await log.look()).window.rows)
    await log.session.to_end()
    await log.look()
    monkeypatch.undo()
    assert words(await log.settled())[-1] == "step 59999 loss 2.5", "who went to the end is there"
    await log.session.aclose()


async def test_a_line_that_was_jumped_to_is_marked_again_when_the_filter_goes() -> None:
    log = Growing(b"".join(LINE % n for n in range(2_000)))
    await log.look()
    await log.settled()
    assert await log.session.to_line(1_000)
    before = (await log.settled()).window.rows
    await log.session.keep(Pattern("9 loss"))
    await log.settled()
    await log.session.keep(None)
    assert (await log.settled()).window.rows == before
    await log.session.aclose()


async def test_reading_is_said_once_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(log_lag.time, "monotonic", lambda: clock[0])
    lag = log_lag.Lag()
    assert not lag.lasts(0, 10_000)
    clock[0] += 0.3
    assert not lag.lasts(2_000, 10_000)
    clock[0] += 0.3
    assert lag.lasts(4_000, 10_000) and not lag.even
    assert not lag.lasts(10_000, 11_000) and lag.even
    for size in range(11_000, 30_000, 1_000):
        clock[0] += 0.2
        assert not lag.lasts(size - 1_000, size), "what there was a moment ago is read"
    clock[0] += 0.5
    assert lag.lasts(size - 500, size)
