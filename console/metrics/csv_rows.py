"""Tables of numbers in files: a header, one row a step, empty cells where a column has no value.
Lightning's metrics.csv, Stable-Baselines3's progress.csv and their like; ultralytics' results.csv
and timm's summary.csv count epochs, which are no steps, so theirs are only the number of the row.

Lightning's is rewritten from the top when a new column appears; until then it only grows, and is
read on from where the last read ended.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from traindeck.console.metrics.names import series_name
from traindeck.console.metrics.numerals import number, whole
from traindeck.console.metrics.reading import LONGEST, Carry, Reading

STEPS = ("step", "global_step", "iteration", "iter", "time/total_timesteps", "timesteps_total")
_NOT_SERIES = frozenset({*STEPS, "created_at"})


def read_csv(data: bytes, carry: Carry) -> Reading:
    """Points of a stretch that begins with the header, or anywhere after it once `carry` has it. A
    torn last row is left for the next read."""
    reading = Reading(carry=dict(carry))
    end = data.rfind(b"\n") + 1
    if end == 0 and len(data) > LONGEST:
        end = len(data)
    reading.consumed = end
    text = data[:end].decode("utf-8", "replace").replace("\0", "")
    rows = csv.reader(io.StringIO(text))
    names = reading.carry.get("columns")
    column = _column(names or ())
    try:
        for row in rows:
            if not row:
                continue
            if names is None:
                names = reading.carry["columns"] = [name.strip() for name in row[:2000]]
                column = _column(names)
            elif column:
                _row(names, row, column, reading)
    except csv.Error:
        pass  # what was read before the damage stands
    return reading


def _column(names: Sequence[str]) -> str:
    """The column that says where a row belongs; empty if none does."""
    return next((name for name in (*STEPS, "epoch") if name in names), "")


def _row(names: list[str], row: list[str], column: str, reading: Reading) -> None:
    cells = dict(zip(names, row, strict=False))
    step = whole(number(cells.get(column, "").strip()))
    if step is None:
        return
    for name, raw in cells.items():
        value = number(raw.strip()) if raw and name not in (column, *_NOT_SERIES) else None
        key = series_name(name) if value is not None else None
        if key is not None and value is not None:
            key = reading.called(key, name)
            reading.add(key, step, math.nan, value, counted=column == "epoch")
    if column != "epoch":
        reading.step = max(step, reading.step or 0)
