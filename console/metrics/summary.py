"""How far a run is and when it will be over, from the steps its metrics name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from traindeck.console.store.records import Param, Progress, Scalar, values_of

PACE_WINDOW = 300.0
"""Seconds of the recent past that the pace is taken from."""

PACE_MARKS = 3
"""Marks that it is taken from at least, however far they lie apart."""

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
"""Parameters that say how many steps there will be, with the prefixes of nested ones left out."""

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
        Dated by its last step, with `eta` None unless at least `PACE_LEAST` seconds show a pace
        that still holds: nothing is said about a run whose next step is overdue.
    """
    if step is None:
        return Progress(total=total)
    at = min(now, marks[-1][1]) if marks else now
    if total is None or total < step or total <= 0:
        return Progress(step=step, at=at)
    return Progress(
        step=step, total=total, fraction=step / total, eta=_eta(total - step, marks, now), at=at
    )


def _eta(left: int, marks: Marks, now: float) -> float | None:
    recent = [(s, t) for s, t in marks if now - t <= PACE_WINDOW]
    if len(recent) < PACE_MARKS:
        recent = list(marks[-PACE_MARKS:])
    if len(recent) < 2:
        return None
    (first, began), (last, ended) = recent[0], recent[-1]
    spacing = (ended - began) / (len(recent) - 1)
    overdue = now - ended > max(PACE_WINDOW, 3 * spacing)
    if ended - began < PACE_LEAST or last <= first or overdue:
        return None
    pace = (last - first) / (ended - began)
    return max(0.0, left / pace - (now - ended))


def total_from(params: Mapping[str, Param]) -> int | None:
    """How many steps a run's parameters say it will make."""
    return _positive(params, TOTALS)


def cadence_from(params: Mapping[str, Param]) -> int:
    """Steps between two lines of HF's Trainer, as its parameters say; 0 if they do not."""
    strategy = _named(params, "logging_strategy")
    if strategy not in (None, "steps"):
        return 0
    return _positive(params, ("logging_steps",)) or 0


def _positive(params: Mapping[str, Param], names: Sequence[str]) -> int | None:
    for name in names:
        value = _named(params, name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _named(params: Mapping[str, Param], name: str) -> Scalar:
    if name in params:
        return values_of(params[name])[-1]
    ends = (value for key, value in params.items() if key.endswith(f".{name}"))
    return values_of(next(ends, None))[-1]
