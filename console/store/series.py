"""Series in the index: packed chunks of points and their summaries."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

SOURCES = {
    "hook": 90,
    "trainer_state": 80,
    "jsonl": 70,
    "csv": 60,
    "tensorboard": 50,
    "logger": 40,
    "stdout": 10,
}
"""Where a value can come from -> how much it is trusted (float64, float32, 4 digits)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMark:
    """How far a file has been read. `carry` is the reader's own state between two reads."""

    path: str = ""
    inode: int = 0
    size: int = 0
    offset: int = 0
    carry: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Points of one series as read, in the file's order. `times` are seconds since the epoch (NaN:
    not known); values may be NaN or infinite. `source` is a key of SOURCES."""

    key: str = ""
    steps: Sequence[int] = ()
    times: Sequence[float] = ()
    values: Sequence[float] = ()
    source: str = "hook"
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """A series by step: int64 steps, float64 times and values, equally long.

    Attributes:
        seams: (index of its first point, attempt) of each attempt, in order.
        sources: Names of the sources, by trust.
        source_of: One byte a point, an index into `sources`.
    """

    key: str = ""
    steps: array[int] = field(default_factory=lambda: array("q"))
    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))
    seams: tuple[tuple[int, int], ...] = ()
    sources: tuple[str, ...] = ()
    source_of: bytes = b""
