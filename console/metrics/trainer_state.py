"""HF's trainer_state.json: full precision, with steps, written at checkpoints and at the end."""

from __future__ import annotations

import json
import math

from traindeck.console.metrics.names import MEAN_LOSS, series_name
from traindeck.console.metrics.numerals import real, whole
from traindeck.console.metrics.reading import Carry, Reading


def read_trainer_state(data: bytes, carry: Carry) -> Reading:
    """All points of a whole file: it is written anew each time. A torn one yields nothing."""
    reading = Reading(consumed=len(data), carry=dict(carry))
    try:
        state = json.loads(data)
        history = state["log_history"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return reading
    if not isinstance(history, list):
        return reading
    for entry in history:
        if not isinstance(entry, dict):
            continue
        step = whole(_number(entry.get("step")))
        if step is None:
            continue
        summary = "train_runtime" in entry
        for name, raw in entry.items():
            value = _number(raw)
            key = MEAN_LOSS if summary and name == "train_loss" else series_name(name)
            if key is not None and value is not None:
                reading.add(key, step, math.nan, value)
    reading.total = whole(_number(state.get("max_steps"))) or None
    reading.step = whole(_number(state.get("global_step")))
    return reading


def _number(value: object) -> float | None:
    return None if isinstance(value, str) else real(value)
