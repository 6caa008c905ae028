"""Lightning's metrics.csv. It is rewritten from the top when a new column appears, so it is read
as a whole whenever it changed; the store enters each point once."""

from __future__ import annotations

import csv
import io
import math

from traindeck.console.metrics.names import canonical
from traindeck.console.metrics.reading import Carry, Reading

BIGGEST = 64 << 20
_NOT_SERIES = frozenset({"step", "epoch", "created_at"})


def read_csv(data: bytes, carry: Carry) -> Reading:
    """All points of a whole file with a `step` column; a torn last line is left out."""
    reading = Reading(consumed=len(data), carry=dict(carry))
    text = data[: data.rfind(b"\n") + 1].decode("utf-8", "replace").replace("\0", "")
    try:
        rows = csv.DictReader(io.StringIO(text))
        if "step" not in (rows.fieldnames or ()):
            return reading
        for row in rows:
            try:
                step = int(float(row["step"]))
            except (ValueError, TypeError, OverflowError):
                continue
            if not 0 <= step < 1 << 53:
                continue
            for name, raw in row.items():
                if name is None or name in _NOT_SERIES or not isinstance(raw, str) or not raw:
                    continue
                try:
                    reading.add(canonical(name), step, math.nan, float(raw))
                except ValueError:
                    continue
            reading.step = max(step, reading.step or 0)
    except csv.Error:
        pass  # what was read before the damage stands
    return reading
