"""JSON lines: our own metrics.jsonl and system.jsonl (FORMAT.md §2), and what others write alike.

Every number of an object is a point at the object's step. Anything that is not one JSON object on
one line is skipped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from traindeck.console.metrics.names import CHECKPOINT, canonical
from traindeck.console.metrics.reading import LONGEST, Carry, Reading

STEPS = ("step", "global_step", "_step", "current_steps", "iter", "iteration")
TIMES = ("time", "_timestamp", "timestamp")
TOTALS = ("total_steps", "max_steps")
_NOT_VALUES = frozenset({*STEPS, *TIMES, *TOTALS, "_runtime", "percentage", "attempt"})
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_BIGGEST_STEP = 1 << 53


def read_metrics(data: bytes, carry: Carry) -> Reading:
    """Points of metrics.jsonl and its like. Objects without a step are counted."""
    reading = Reading(carry=dict(carry))
    for record in _records(data, reading):
        event = record.get("__event__")
        if event is not None:
            _event(event, record, reading)
            continue
        step = _step(record, STEPS)
        if step is None:
            step = int(reading.carry.get("count", -1)) + 1
        reading.carry["count"] = step
        moment = _number(_first(record, TIMES))
        for name, raw in record.items():
            if name in _NOT_VALUES or not isinstance(name, str):
                continue
            value = _number(raw)
            if value is not None:
                reading.add(canonical(name), step, math.nan if moment is None else moment, value)
        total = _step(record, TOTALS)
        if total:
            reading.total = total
        reading.step = step
    return reading


def read_system(data: bytes, carry: Carry) -> Reading:
    """Points of system.jsonl under `system/…`; their steps count the samples."""
    reading = Reading(carry=dict(carry))
    for record in _records(data, reading):
        moment = _number(record.get("time"))
        if moment is None:
            continue
        sample = int(reading.carry.get("sample", -1)) + 1
        reading.carry["sample"] = sample
        for name, raw in record.items():
            value = _number(raw)
            if name != "time" and value is not None:
                reading.add(f"system/{name}", sample, moment, value)
    return reading


def _records(data: bytes, reading: Reading) -> Iterator[Mapping[str, Any]]:
    end = data.rfind(b"\n") + 1
    if end == 0 and len(data) > LONGEST:
        end = len(data)
    reading.consumed = end
    for line in data[:end].split(b"\n"):
        if not line.startswith(b"{") or len(line) > LONGEST:
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def _event(event: object, record: Mapping[str, Any], reading: Reading) -> None:
    if event == "total_steps":
        total = _step(record, ("value",))
        if total:
            reading.total = total
    elif event == "checkpoint":
        step = _step(record, ("step",))
        moment = _number(record.get("time"))
        if step is not None:
            reading.add(CHECKPOINT, step, math.nan if moment is None else moment, 1.0)


def _first(record: Mapping[str, Any], names: tuple[str, ...]) -> object:
    return next((record[name] for name in names if name in record), None)


def _step(record: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    value = _number(_first(record, names))
    if value is None or not math.isfinite(value) or not 0 <= value < _BIGGEST_STEP:
        return None
    return int(value)


def _number(value: object) -> float | None:
    if isinstance(value, str):
        return _WORDS.get(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
