"""How far a run is, and when it will be over: said only as far as it is known."""

from __future__ import annotations

import pytest

from traindeck.console.metrics.summary import MARKS, add_mark, cadence_from, progress, total_from


def marks(*pairs: tuple[int, float]) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    for step, time in pairs:
        found = add_mark(found, step, time)
    return found


def test_a_steady_pace_gives_the_time_left() -> None:
    seen = marks(*((n, n * 2.0) for n in range(101)))
    assert len(seen) <= MARKS
    found = progress(100, 400, seen, 200.0)
    assert found.fraction == 0.25
    assert found.eta == pytest.approx(600.0, rel=0.01)


def test_the_pace_is_that_of_the_recent_past() -> None:
    slow = [(n, n * 10.0) for n in range(100)]
    fast = [(100 + n, 990.0 + n) for n in range(400)]
    found = progress(499, 1499, marks(*slow, *fast), 1389.0)
    assert found.eta == pytest.approx(1000.0, rel=0.05)


def test_steps_of_ten_minutes_have_a_pace_too() -> None:
    seen = marks((1, 0.0), (2, 600.0), (3, 1200.0), (4, 1800.0))
    assert progress(4, 10, seen, 1900.0).eta == pytest.approx(3500.0)


@pytest.mark.parametrize(
    ("seen", "now", "why"),
    [
        ([], 10.0, "nothing was seen"),
        ([(5, 9.0)], 10.0, "one mark is no pace"),
        ([(5, 9.0), (9, 9.5)], 10.0, "half a second is too short"),
        ([(5, 0.0), (9, 100.0)], 1000.0, "the next step is long overdue"),
    ],
)
def test_no_time_left_is_made_up(seen: list[tuple[int, float]], now: float, why: str) -> None:
    assert progress(9, 100, seen, now).eta is None, why


def test_without_a_total_there_is_a_step_and_no_share() -> None:
    found = progress(9, None, marks((1, 0.0), (9, 10.0)), 10.0)
    assert (found.step, found.total, found.fraction, found.eta) == (9, None, None, None)
    assert progress(9, 5, [], 1.0).total is None, "a total that was passed was none"


def test_a_step_that_went_back_begins_a_new_pace() -> None:
    seen = marks((100, 0.0), (200, 100.0), (50, 200.0), (60, 220.0))
    assert seen == [(50, 200.0), (60, 220.0)]


def test_parameters_tell_total_and_interval() -> None:
    assert total_from({"max_steps": 500, "lr": 1e-3}) == 500
    assert total_from({"trainer.max_steps": 500}) == 500
    assert total_from({"max_steps": -1, "max_iters": 2000}) == 2000
    assert total_from({"max_steps": True, "steps": "9"}) is None
    assert cadence_from({"logging_steps": 25}) == 25
    assert cadence_from({"logging_steps": 25, "logging_strategy": "epoch"}) == 0
    assert cadence_from({"logging_steps": 0.1}) == 0
