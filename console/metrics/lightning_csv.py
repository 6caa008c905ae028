"""Lightning's metrics.csv: a header, one row a step, empty cells where a column has no value.

It is rewritten from the top when a new column appears; until then it only grows, and is read on
from where the last read ended.
"""

from __future__ import annotations

import csv
import io
import math

from traindeck.console.metrics.names import series_name
from traindeck.console.metrics.numerals import number, whole
from traindeck.console.metrics.reading import LONGEST, Carry, Reading

_NOT_SERIES = frozenset({"step", "created_at"})


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
    try:
        for row in rows:
            if not row:
                continue
            if names is None:
                names = reading.carry["columns"] = row[:2000]
            elif "step" in names:
                _row(names, row, reading)
    except csv.Error:
        pass  # what was read before the damage stands
    return reading


def _row(names: list[str], row: list[str], reading: Reading) -> None:
    cells = dict(zip(names, row, strict=False))
    step = whole(number(cells.get("step", "")))
    if step is None:
        return
    for name, raw in cells.items():
        value = number(raw) if raw and name not in _NOT_SERIES else None
        key = series_name(name) if value is not None else None
        if key is not None and value is not None:
            reading.add(reading.called(key, name), step, math.nan, value)
    reading.step = max(step, reading.step or 0)
