"""HF's trainer_state.json: full precision, with steps, written at checkpoints and at the end."""

from __future__ import annotations

import json
import math

from traindeck.console.metrics.names import canonical
from traindeck.console.metrics.reading import Carry, Reading

BIGGEST = 64 << 20
_NOT_SERIES = frozenset({"step", "epoch", "total_flos", "train_loss", "train_runtime"})


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
        step = entry.get("step") if isinstance(entry, dict) else None
        if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 1 << 53:
            continue
        for name, value in entry.items():
            if name in _NOT_SERIES or isinstance(value, bool):
                continue
            if isinstance(value, (int, float)) and abs(value) < 1e300:
                reading.add(canonical(str(name)), step, math.nan, float(value))
    total, step = state.get("max_steps"), state.get("global_step")
    reading.total = total if isinstance(total, int) and 0 < total < 1 << 53 else None
    reading.step = step if isinstance(step, int) and 0 <= step < 1 << 53 else None
    return reading
