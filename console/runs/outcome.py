"""How a run's end reads as the exit code of a command that waited for it."""

from __future__ import annotations

from collections.abc import Iterable

from traindeck.backends.states import State

TIMEOUT = 124
"""As timeout(1) returns."""

CANCELLED = 130
"""As a shell returns for a command that ctrl+c ended."""


def exit_status(state: State, exit_code: int | None, signal: int | None) -> int:
    """The code of `wait` and `--follow` for a run that is over.

    The run's own code, 128+n for signal n, 124 for a timeout, 130 if it was cancelled, 1 if it was
    lost or preempted. A run that failed never yields 0.
    """
    if state is State.SUCCEEDED:
        return 0
    if state is State.TIMEOUT:
        return TIMEOUT
    if state is State.CANCELLED:
        return CANCELLED
    if state is State.FAILED:
        if signal:
            return 128 + signal
        return exit_code or 1
    return 1


def first_failure(codes: Iterable[int]) -> int:
    """Of several runs the first code that is not 0."""
    return next((code for code in codes if code), 0)
