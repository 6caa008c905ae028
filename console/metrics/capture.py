"""Where a run's metrics are looked for, and entering them as they grow.

The sources of an attempt, the more precise before the less: metrics.jsonl and system.jsonl that
FORMAT.md names, files that trainers write below artifacts/ (and, for a run in place, below its
working directory, if they are newer than its start), and its log. Each file is read from where the
last read ended, by whoever comes first; the store sees to it that each point enters once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from traindeck.console.metrics import (
    jsonl,
    lightning_csv,
    names,
    stdout,
    summary,
    tfevents,
    trainer_state,
)
from traindeck.console.metrics.reading import Reading
from traindeck.console.store.index import Index
from traindeck.console.store.records import Progress, RunRecord
from traindeck.console.store.series import Batch, SourceMark

CHUNK = 1 << 20
"""Bytes read and parsed in one go: well below 200 ms of work."""

Read = Callable[[int, int], Awaitable[bytes]]
"""(offset, size) -> bytes of a source."""

Times = Callable[[Sequence[int]], Awaitable[Sequence[float | None]]]
"""Offsets in a log -> when they were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file that may hold metrics.

    Attributes:
        path: As the store knows it: relative to the run directory, or absolute.
        kind: A key of KINDS.
        size, identity: Of the file now; a new identity or a smaller size means read anew.
    """

    path: str = ""
    kind: str = "stdout"
    size: int = 0
    identity: int = 0


@dataclass(frozen=True, slots=True)
class _Kind:
    source: str
    """What the store calls values from it (`series.SOURCES`)."""
    whole: bool = False
    """It is written anew each time, so it is read as a whole."""


KINDS = {
    "metrics": _Kind("hook"),
    "system": _Kind("hook"),
    "jsonl": _Kind("jsonl"),
    "trainer_state": _Kind("trainer_state", whole=True),
    "csv": _Kind("csv", whole=True),
    "tensorboard": _Kind("tensorboard"),
    "stdout": _Kind("stdout"),
}

WHOLE_LIMIT = 64 << 20


def kind_of(name: str) -> str | None:
    """What a file below a run's output is, by its name."""
    if "tfevents" in name:
        return "tensorboard"
    return {
        "trainer_state.json": "trainer_state",
        "metrics.csv": "csv",
        "trainer_log.jsonl": "jsonl",
        "metrics.jsonl": "jsonl",
    }.get(name)


def looked_for(run: RunRecord) -> str:
    """What "no metrics" means: the places that were looked at."""
    return (
        "No metrics yet. Looked for: step and loss lines in the log (HF Trainer, nanoGPT, "
        "Lightning, Keras, torchtitan, key=value), $TRAINDECK_METRICS, and TensorBoard events, "
        f"trainer_state.json and metrics.csv below {run.cwd or 'its artifacts'}"
    )


async def ingest(
    index: Index,
    run: RunRecord,
    source: Source,
    read: Read,
    *,
    attempt: int,
    now: float,
    final: bool = False,
    times: Times | None = None,
    most: int = CHUNK,
) -> bool:
    """Enter what a source holds beyond its mark.

    Args:
        final: The source is complete: its last record counts though no newline follows.
        times: For a log: when its bytes were written.
        most: Bytes at the most.

    Returns:
        Whether there is more to read.
    """
    before = index.source(run.id, source.path)
    kind = KINDS[source.kind]
    restarted = before.inode != source.identity or before.size > source.size
    offset = 0 if restarted or kind.whole else before.offset
    carry = {} if restarted or not before.carry else json.loads(before.carry)
    if kind.whole and not restarted and before.size == source.size:
        return False
    if offset >= source.size and not (final and not carry.get("ended")):
        return False
    data = await read(offset, WHOLE_LIMIT if kind.whole else most)
    last = final and offset + len(data) >= source.size
    if not data and not last:
        return False
    reading = _read(source.kind, data, carry, last)
    if not reading.consumed and not last and len(data) < most:
        return False
    times_found = await _stamp(reading, offset, times)
    state = dict(reading.carry)
    if last:
        state["ended"] = True
    progress, main = _progress(run, source, reading, state, now)
    after = SourceMark(
        path=source.path,
        inode=source.identity,
        size=source.size,
        offset=offset + reading.consumed,
        carry=json.dumps(state, separators=(",", ":")),
    )
    batches = [
        Batch(
            key=key,
            steps=columns.steps,
            times=times_found.get(key, columns.times),
            values=columns.values,
            source=kind.source,
            attempt=attempt,
        )
        for key, columns in reading.series.items()
    ]
    entered = index.ingest(run.id, before, after, batches, progress=progress, main=main)
    return entered and bool(reading.consumed) and after.offset < source.size and not kind.whole


def _read(kind: str, data: bytes, carry: dict[str, object], final: bool) -> Reading:
    if kind in ("metrics", "jsonl"):
        return jsonl.read_metrics(data, carry)
    if kind == "system":
        return jsonl.read_system(data, carry)
    if kind == "tensorboard":
        return tfevents.read_events(data, carry)
    if kind == "trainer_state":
        return trainer_state.read_trainer_state(data, carry)
    if kind == "csv":
        return lightning_csv.read_csv(data, carry)
    return stdout.read_stdout(data, carry, final=final)


async def _stamp(reading: Reading, base: int, times: Times | None) -> dict[str, list[float]]:
    """Times for points whose source has none, from when their line was written."""
    if times is None:
        return {}
    stamped = {}
    for key, offsets in reading.where.items():
        found = await times([base + max(0, offset) for offset in offsets])
        stamped[key] = [math.nan if moment is None else moment for moment in found]
    return stamped


def _progress(
    run: RunRecord, source: Source, reading: Reading, state: dict[str, object], now: float
) -> tuple[Progress | None, str | None]:
    """What the record learns: progress, unless a better source already tells, and the main metric.

    The log's word for steps counts only as long as metrics.jsonl says nothing.
    """
    keys = {*run.metrics, *reading.series}
    main = names.main_metric(keys, run.tags.get("main") or _text(run.params.get("main")))
    main = main if main != run.main else None
    if source.kind == "system" or (reading.step is None and reading.total is None):
        return None, main
    total = reading.total
    known = state.get("total_steps")
    if total is not None:
        state["total_steps"] = total
    elif isinstance(known, int):
        total = known
    total = total or summary.total_from(run.params)
    if total is None and run.progress.total is not None:
        total = run.progress.total
    raw = state.get("marks")
    marks = [(int(s), float(t)) for s, t in raw] if isinstance(raw, list) else []
    step = reading.step
    if step is not None:
        moment = _newest(reading) or now
        marks = summary.add_mark(marks, step, moment)
        state["marks"] = marks
    elif marks:
        step = marks[-1][0]
    other = run.progress
    if source.kind == "stdout" and state.get("beside") is None:
        # Another source that names steps was there first and goes on: leave it to that.
        trusted = (
            other.step is not None
            and run.metrics
            and any(
                m.source == "hook" and not k.startswith("system/") for k, m in run.metrics.items()
            )
        )
        if trusted:
            return None, main
    return summary.progress(step, total, marks, now), main


def _newest(reading: Reading) -> float | None:
    found = [
        columns.times[-1]
        for columns in reading.series.values()
        if columns.times and columns.times[-1] == columns.times[-1]
    ]
    return max(found, default=None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
