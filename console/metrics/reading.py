"""What a reader of metrics returns, and the state it carries from one read to the next.

A reader is a pure function of bytes and carried state, so that a file can be read as it grows, by
any process, and each point is found exactly once. Nothing here does I/O.
"""

from __future__ import annotations

import re
from dataclasses import field
from functools import lru_cache
from typing import Any

from traindeck.backends.data import dataclass

Carry = dict[str, Any]
"""A reader's state: small, plain JSON."""

LONGEST = 1 << 20
"""Bytes; a longer record is skipped: it holds no metrics."""

MOST_KEYS = 2000
"""Series of one run. A script that makes a new name for each value must not fill the index."""

BIGGEST_STEP = 1 << 53
"""Steps from here on are no steps (a float no longer tells them apart)."""


@dataclass(slots=True)
class Columns:
    """Points of one series, as they stand in the file. A time of NaN is not known; `offsets` are
    where in the stretch the points stand (-1: the file has times of its own)."""

    steps: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Reading:
    """What was found in a stretch of a file.

    Attributes:
        series: Name (canonical) -> points.
        counted: The same for points whose source names no step: theirs is their number in it.
        consumed: Bytes after which the next read begins; a torn last record is left for it.
        carry: State for the next read.
        again: The whole source can be read better now: from its beginning, with `carry`.
        step, total: The last step seen, and how many there will be, if the file says so.
    """

    series: dict[str, Columns] = field(default_factory=dict)
    counted: dict[str, Columns] = field(default_factory=dict)
    consumed: int = 0
    carry: Carry = field(default_factory=dict)
    again: bool = False
    step: int | None = None
    total: int | None = None
    last_placed: tuple[str, ...] = ()
    entered: dict[object, tuple[object, list[Any]]] = field(default_factory=dict)
    """Where a template's values go, as long as nothing else gets their names (`called`)."""

    def size(self) -> int:
        """How many points there are."""
        return sum(len(c.steps) for part in (self.series, self.counted) for c in part.values())

    def placed(self, names: tuple[str, ...]) -> None:
        """These series have points whose steps are told beside them."""
        if names != self.last_placed:  # mostly it is the same line again, with other digits
            self.last_placed = names
            self.carry["placed"] = sorted({*self.carry.get("placed", ()), *names})[:MOST_KEYS]

    def called(self, series: str, name: str) -> str:
        """The series for what a source calls `name`: that one, or if the source has given it by
        another name already, as the `loss` of each step, the name itself (`train_loss`, of the
        epoch): two names in one source are two quantities. What is called as the series is has it
        from then on."""
        names = self.carry.get("called", {})
        held = names.get(series)
        if held == name:
            return series
        if held is None or (_plain(name) == series and _plain(held) != series):
            if len(names) < MOST_KEYS:
                self.carry["called"] = {**names, series: name}
            return series
        return series if _plain(held) == _plain(name) else name

    def columns(self, key: str, *, counted: bool = False) -> Columns:
        """The points of a series. If there are too many series, those of none."""
        series = self.counted if counted else self.series
        if key not in series and len(series) >= MOST_KEYS:
            return Columns()
        return series.setdefault(key, Columns())

    def add(
        self,
        key: str,
        step: int,
        time: float,
        value: float,
        offset: int = -1,
        *,
        counted: bool = False,
    ) -> None:
        """One point."""
        columns = (self.counted if counted else self.series).get(key)
        if columns is None:
            columns = self.columns(key, counted=counted)
        columns.steps.append(step)
        columns.times.append(time)
        columns.values.append(value)
        columns.offsets.append(offset)


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    """A name without what may differ in two spellings of it."""
    return re.sub(r"[\s_/-]+", " ", name.lower())
