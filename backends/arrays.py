"""Job arrays: many runs that a scheduler is handed at once.

An array is as many runs as it has tasks, each with its own run directory, log, record and attempts;
only the submission is one. What makes them one is their ids: all begin alike (`PREFIX` letters) and
end in the task's index as four digits, so that whoever knows the array's letters and an index knows
the run, and nothing has to be kept that could be lost. Part of the contract; does no I/O.
"""

from __future__ import annotations

import re

from traindeck.backends.data import dataclass
from traindeck.backends.errors import UsageError, excerpt

PREFIX = 8
"""How many letters of a run's id are the array's."""
LARGEST = 9999
"""The largest index: the rest of an id holds four digits."""
MAX_TASKS = 1000
"""Tasks of one array: each is a run directory, made before the first one starts."""

_PART = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayTask:
    """Which task of an array a run is.

    Attributes:
        index: Its own; the job finds it as TRAINDECK_ARRAY_INDEX.
        indices: Those of the whole array, as they were asked for (`0-7%2`).
    """

    index: int = 0
    indices: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indices:
    """Indices that were asked for: ascending, and how many may run at once (None: all)."""

    numbers: tuple[int, ...] = ()
    at_once: int | None = None


def task_id(array: str, index: int) -> str:
    """The id of the run that is a task of an array."""
    return f"{array}{index:0{12 - PREFIX}d}"


def read_indices(text: str, option: str = "--array") -> Indices:
    """What `0-7`, `1,3,5`, `0-20:5` or `0-99%4` asks for.

    Args:
        option: What it was given to, for the error.

    Raises:
        UsageError: It cannot be read, names an index twice, or more than there can be.
    """
    shown = f"{option} {excerpt(text)}"
    how = f"Write {option} 0-7, 1,3,5 or 0-20:5; with %2 behind, two run at once."
    body, percent, limit = text.strip().partition("%")
    at_once = None
    if percent:
        if not limit.isascii() or not limit.isdigit() or len(limit) > 9 or int(limit) < 1:
            raise UsageError(f"{shown}: {excerpt(limit)!r} is no number of tasks at once.", how)
        at_once = int(limit)
    found: dict[int, None] = {}
    for part in body.split(","):
        match = _PART.fullmatch(part.strip()) if part.isascii() else None
        if match is None:
            raise UsageError(f"{shown}: {excerpt(part)!r} is neither an index nor a range.", how)
        low, high, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if high < low or step < 1:
            raise UsageError(f"{shown}: {excerpt(part)!r} holds no index.", how)
        if high > LARGEST:
            raise UsageError(f"{shown}: indices go from 0 to {LARGEST:,}, not to {high:,}.")
        for number in range(low, high + 1, step):
            if number in found:
                raise UsageError(f"{shown}: the index {number} is named twice.", how)
            found[number] = None
    if len(found) > MAX_TASKS:
        raise UsageError(
            f"{shown}: these are {len(found):,} tasks; an array has {MAX_TASKS:,} at most.",
            "Start several arrays.",
        )
    return Indices(numbers=tuple(sorted(found)), at_once=at_once)


def listed_indices(text: str) -> tuple[int, ...]:
    """The indices in a list of a scheduler's (`2,6-7%2`), as far as runs of ours can have them;
    what cannot be read is passed over."""
    found: dict[int, None] = {}
    for part in text.partition("%")[0].split(","):
        if match := _PART.fullmatch(part.strip()):
            low, high = int(match[1]), min(int(match[2] or match[1]), LARGEST)
            found.update(dict.fromkeys(range(low, high + 1, max(1, int(match[3] or 1)))))
    return tuple(sorted(found))
