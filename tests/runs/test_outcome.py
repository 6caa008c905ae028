"""Exit codes of `wait` and `--follow`."""

from __future__ import annotations

import pytest

from traindeck.backends.base import TERMINAL, State
from traindeck.console.runs.outcome import exit_status, first_failure


@pytest.mark.parametrize(
    ("state", "exit_code", "signal", "expected"),
    [
        (State.SUCCEEDED, 0, None, 0),
        (State.FAILED, 7, None, 7),
        (State.FAILED, 127, None, 127),
        (State.FAILED, None, 9, 137),
        (State.FAILED, None, None, 1),
        (State.TIMEOUT, None, 15, 124),
        (State.CANCELLED, 0, None, 130),
        (State.LOST, None, None, 1),
        (State.PREEMPTED, None, None, 1),
    ],
)
def test_the_code_tells_how_the_run_ended(
    state: State, exit_code: int | None, signal: int | None, expected: int
) -> None:
    assert exit_status(state, exit_code, signal) == expected


def test_no_end_but_success_yields_zero() -> None:
    for state in TERMINAL - {State.SUCCEEDED}:
        assert exit_status(state, 0, None) != 0


def test_of_several_runs_the_first_that_failed_counts() -> None:
    assert first_failure([0, 3, 0, 5]) == 3
    assert first_failure([0, 0]) == 0
