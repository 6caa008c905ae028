"""What a reader of metrics returns, and the state it carries from one read to the next.

A reader is a pure function of bytes and carried state, so that a file can be read as it grows, by
any process, and each point is found exactly once. Nothing here does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Carry = dict[str, Any]
"""A reader's state: small, plain JSON."""

LONGEST = 1 << 20
"""Bytes; a longer record is skipped: it holds no metrics."""

MOST_KEYS = 2000
"""Series of one run. A script that makes a new name for each value must not fill the index."""


@dataclass(slots=True)
class Columns:
    """Points of one series, as they stand in the file. A time of NaN is not known."""

    steps: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Reading:
    """What was found in a stretch of a file.

    Attributes:
        series: Name (canonical) -> points.
        consumed: Bytes after which the next read begins; a torn last record is left for it.
        carry: State for the next read.
        step, total: The last step seen, and how many there will be, if the file says so.
        where: For points without a time: name -> offsets (in the stretch) of their lines.
    """

    series: dict[str, Columns] = field(default_factory=dict)
    consumed: int = 0
    carry: Carry = field(default_factory=dict)
    step: int | None = None
    total: int | None = None
    where: dict[str, list[int]] = field(default_factory=dict)

    def add(self, key: str, step: int, time: float, value: float, offset: int = -1) -> None:
        """One point."""
        columns = self.series.get(key)
        if columns is None:
            if len(self.series) >= MOST_KEYS:
                return
            columns = self.series[key] = Columns()
            self.where[key] = []
        columns.steps.append(step)
        columns.times.append(time)
        columns.values.append(value)
        self.where[key].append(offset)
