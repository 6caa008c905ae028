"""How far a run is and when it will be over, from the steps its metrics name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from traindeck.console.store.records import Progress, Scalar

PACE_WINDOW = 300.0
"""Seconds of the recent past that the pace is taken from."""

PACE_LEAST = 2.0
"""Seconds that must lie between two marks before a pace is believed."""

MARKS = 32
"""Marks (step, time) kept of a run's recent past."""

TOTALS = (
    "steps",
    "max_steps",
    "max_iters",
    "num_steps",
    "total_steps",
    "train_iters",
    "iterations",
)
"""Parameters that say how many steps there will be."""

Marks = Sequence[tuple[int, float]]


def add_mark(marks: Marks, step: int, now: float) -> list[tuple[int, float]]:
    """The marks with a new one, thinned to what the pace needs. A step that went back (a resume)
    begins anew."""
    kept = [(s, t) for s, t in marks if s <= step and now - t >= 0]
    if kept and kept[-1][0] == step:
        return kept[-MARKS:]
    if len(kept) >= 2 and now - kept[-2][1] < PACE_WINDOW / MARKS:
        kept[-1] = (step, now)
    else:
        kept.append((step, now))
    return kept[-MARKS:]


def progress(step: int | None, total: int | None, marks: Marks, now: float) -> Progress:
    """A run's progress.

    Args:
        step: The last step seen. total: How many there will be, if anybody said so.
        marks: Recent (step, time in seconds) pairs, oldest first.

    Returns:
        With `eta` None unless at least `PACE_LEAST` seconds of the last `PACE_WINDOW` show a pace.
    """
    if step is None:
        return Progress(total=total)
    if total is None or total < step or total <= 0:
        return Progress(step=step, at=now)
    recent = [(s, t) for s, t in marks if now - t <= PACE_WINDOW]
    eta = None
    if len(recent) >= 2:
        (first, began), (last, ended) = recent[0], recent[-1]
        if ended - began >= PACE_LEAST and last > first:
            pace = (last - first) / (ended - began)
            eta = max(0.0, (total - step) / pace - (now - ended))
    return Progress(step=step, total=total, fraction=step / total, eta=eta, at=now)


def total_from(params: Mapping[str, Scalar]) -> int | None:
    """How many steps a run's parameters say it will make."""
    for name in TOTALS:
        value = params.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
