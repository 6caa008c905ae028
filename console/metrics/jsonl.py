"""JSON lines: our own metrics.jsonl and system.jsonl (FORMAT.md §2), and what others write alike.

Every number of an object is a point at the object's step; numbers one level down are `outer/inner`.
Anything that is not one JSON object on one line is skipped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from traindeck.console.metrics.names import series_name
from traindeck.console.metrics.numerals import whole
from traindeck.console.metrics.reading import LONGEST, Carry, Reading
from traindeck.console.store.records import CHECKPOINT

STEPS = ("step", "global_step", "_step", "current_steps", "iter", "iteration")
TIMES = ("time", "_timestamp", "timestamp")
TOTALS = ("total_steps", "max_steps")
_NOT_VALUES = frozenset({*STEPS, *TIMES, *TOTALS, "_runtime", "percentage", "attempt", "rank"})
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MILLISECONDS = 1e11
"""Times from here on are in milliseconds."""


def read_metrics(data: bytes, carry: Carry) -> Reading:
    """Points of metrics.jsonl and its like. Objects without a step are counted."""
    reading = Reading(carry=dict(carry))
    for record in _records(data, reading):
        event = record.get("__event__")
        if event is not None:
            _event(event, record, reading)
            continue
        named = _step(record, STEPS)
        if named is None and any(_number(record.get(name)) is not None for name in STEPS):
            continue  # at a step that is none
        step = int(reading.carry.get("count", -1)) + 1 if named is None else named
        reading.carry["count"] = step
        moment = _moment(record)
        for name, value in _values(record):
            key = series_name(name)
            if key is not None:
                key = reading.called(key, name)
                reading.add(key, step, moment, value, counted=named is None)
        total = _step(record, TOTALS)
        if total:
            reading.total = total
        if named is not None:
            reading.step = named
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
            if name == "rss_bytes" and not value:
                continue  # what is just ending has given its memory back already
            if name != "time" and value is not None:
                reading.add(f"system/{name[:100]}", sample, moment, value)
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
    step = _step(record, ("step",))
    if event == "total_steps":
        total = _step(record, ("value",))
        if total:
            reading.total = total
    elif event == "checkpoint" and step is not None:
        reading.add(CHECKPOINT, step, _moment(record), 1.0)
    if event in ("total_steps", "checkpoint") and step:  # 0: none is made yet
        reading.step = step


def _values(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, raw in record.items():
        if name in _NOT_VALUES:
            continue
        if isinstance(raw, dict):
            for inner, value in raw.items():
                found = _number(value)
                if found is not None:
                    yield f"{name}/{inner}", found
            continue
        found = _number(raw)
        if found is not None:
            yield name, found


def _moment(record: Mapping[str, Any]) -> float:
    moment = _number(next((record[name] for name in TIMES if name in record), None))
    if moment is None:
        return math.nan
    return moment / 1000 if moment > _MILLISECONDS else moment


def _step(record: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return whole(_number(next((record[name] for name in names if name in record), None)))


def _number(value: object) -> float | None:
    if isinstance(value, str):
        return _WORDS.get(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
