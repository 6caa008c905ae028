"""What is kept of a device: the last two minutes, in which what nobody saw is missing."""

from __future__ import annotations

from traindeck.console.runs.device_history import MISSING, SLOTS, History

BEGIN = 1_800_000_000.0


def after(*said: tuple[float, float | None], every: float = 2.0) -> History:
    """A history of (seconds since the beginning, percent busy)."""
    history = History()
    for seconds, percent in said:
        history = history.after(BEGIN + seconds, percent, 50.0, every)
    return history


def test_no_more_than_two_minutes_are_kept() -> None:
    history = after(*((2.0 * n, n % 100) for n in range(500)))
    assert len(history.utilization) == len(history.memory) == SLOTS
    assert history.utilization[-1] == 99


def test_time_that_nobody_watched_is_missing_and_never_nought() -> None:
    history = after((0, 90), (2, 90), (60, 90))
    assert history.utilization == bytes((90, 90, *[MISSING] * 28, 90))
    shares = history.shares("utilization", 60)
    assert shares[:3] == [90.0, 90.0, None] and shares[-1] == 90.0


def test_a_report_that_comes_a_little_late_leaves_no_hole() -> None:
    assert MISSING not in after((0.1, 10), (2.2, 20), (4.1, 20), (7.9, 30)).utilization


def test_what_a_device_does_not_say_is_missing() -> None:
    assert after((0, None), (2, None)).shares("utilization", 16) == [None]


def test_time_before_the_first_look_is_no_gap() -> None:
    assert len(after((0, 50), (2, 50)).shares("utilization", 16)) == 1


def test_time_since_the_last_answer_of_a_place_that_is_silent_is_missing() -> None:
    history = after(*((2.0 * n, 80) for n in range(60)))
    shares = history.shares("utilization", 16, BEGIN + 118 + 60)
    assert len(shares) == 16
    assert shares[:7] == [80.0] * 7 and shares[-7:] == [None] * 7
    assert history.shares("utilization", 16, BEGIN + 10_000) == [None] * 16


def test_a_cell_that_was_drawn_does_not_change_while_time_goes_on() -> None:
    history = History()
    before: list[float | None] = []
    for n in range(200):
        history = history.after(BEGIN + 2 * n, n * 7 % 101, None, 2.0)
        now = history.shares("utilization", 16)
        # But for the last one, which is being filled, and the first, which is being let go.
        kept = before[2:-1]
        assert any(now[n : n + len(kept)] == kept for n in range(3))
        before = now


def test_a_clock_that_is_set_back_begins_anew() -> None:
    history = after((100, 10), (102, 10), (0, 30))
    assert history.utilization == bytes((30,))
