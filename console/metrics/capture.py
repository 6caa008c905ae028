"""Where a run's metrics are looked for, and entering them as they grow.

The sources of an attempt, the more precise before the less: metrics.jsonl and system.jsonl that
FORMAT.md names, files that trainers write below artifacts/ (and, for a run in place, below its
working directory, if they are newer than its start), and its log. Each file is read from where the
last read ended, by whoever comes first; the store sees to it that each point enters once, and that
of two values for one step the more precise source's stands.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from traindeck.backends.data import dataclass
from traindeck.backends.states import State
from traindeck.console.metrics import (
    csv_rows,
    jsonl,
    names,
    stdout,
    summary,
    tfevents,
    trainer_state,
)
from traindeck.console.metrics.lines import evaluated
from traindeck.console.metrics.reading import LONGEST, MOST_KEYS, Carry, Columns, Reading
from traindeck.console.store.index import Index
from traindeck.console.store.records import CHECKPOINT, Progress, RunRecord
from traindeck.console.store.series import Batch, SourceMark

CHUNK = 1 << 16
"""Bytes read and parsed in one go: 10 to 35 ms of work, for others wait on the same thread. No less
than what counts as left (`schema.LEFT`)."""

WIDER = (LONGEST + 1, 17 * LONGEST)
"""Bytes read where not one record ends in a chunk: a longer line is skipped from here on, and a
record of TensorBoard's (an image, a graph) holds 16 MiB at the most."""

SKIPPED = 4 << 20
"""Bytes that are looked through at once for the end of a line that is skipped."""

DATED = 1e9
"""Times below are no dates, but seconds since a program's own start."""

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
        checkpoints: (step, seconds since the epoch) of checkpoints that the file stands for.
        written: When that was last, in seconds since the epoch; infinite if it is not known.
        of: What its series stand below: `eval` or `test` if the file's folder says that this is
            what was measured, the folder's name if it is one of several of another's.
    """

    path: str = ""
    kind: str = "stdout"
    size: int = 0
    identity: int = 0
    checkpoints: tuple[tuple[int, float], ...] = ()
    written: float = math.inf
    of: str = ""


@dataclass(frozen=True, slots=True)
class _Kind:
    source: str
    """What the store calls values from it (`series.SOURCES`)."""
    word: int
    """Whose word on the run's progress counts, if several name a step: the higher one's."""
    read: Callable[[bytes, Carry], Reading]
    lines: bool = True
    """A line is a record, and one that is too long to hold metrics is skipped."""
    whole: bool = False
    """It is written anew each time, so it is read as a whole."""


KINDS = {
    "metrics": _Kind("hook", 3, jsonl.read_metrics),
    "system": _Kind("system", 0, jsonl.read_system),
    "jsonl": _Kind("jsonl", 1, jsonl.read_metrics),
    "trainer_state": _Kind(
        "trainer_state", 1, trainer_state.read_trainer_state, lines=False, whole=True
    ),
    "csv": _Kind("csv", 1, csv_rows.read_csv),
    "tensorboard": _Kind("tensorboard", 1, tfevents.read_events, lines=False),
    "stdout": _Kind("stdout", 2, stdout.read_stdout),
}

WHOLE_LIMIT = 64 << 20
"""Bytes; a larger trainer_state.json is not read."""

_HEADER = 1 << 16
_CLOSE = 2e-3
"""Of 4 printed digits and full precision: the same value."""


_LOGGED = (
    r"(?:train(?:er|ing)?[_-]?)?(?:(?:logs?|metrics|history|stats)\.jsonl"
    r"|(?:logs?|metrics|history|stats|results|summary|progress)\.csv)"
)
"""How people call the file they log to; other .jsonl and .csv files are data."""

NAMES = rf".*tfevents.*|trainer_state\.json|{_LOGGED}"
"""The names of all files that `kind_of` knows, for who looks for them elsewhere."""

_TRAINING = re.compile(r"train", re.I)
_WORD = re.compile(r"[^A-Za-z0-9]")


def kind_of(name: str) -> str | None:
    """What a file below a run's output is, by its name."""
    if "tfevents" in name:
        return "tensorboard"
    if re.fullmatch(_LOGGED, name):
        return name.rpartition(".")[2]
    return "trainer_state" if name == "trainer_state.json" else None


def with_evaluations(sources: Sequence[Source]) -> list[Source]:
    """Sources as they are, with what their folders say. Keras writes the same names to `train/` and
    `validation/`, TensorBoard's add_scalars to `loss_train/` and `loss_val/` or `loss_A/` below
    its own, others to a folder and `eval/` below it. A folder called so that stands alone is only
    a name."""
    folders = [os.path.dirname(source.path) for source in sources]
    names = [os.path.basename(folder) for folder in folders]
    words = [_WORD.split(name)[-1] for name in names]
    holding, beside = set(), set()
    for source, folder, word in zip(sources, folders, words, strict=True):
        holding.add((source.kind, folder))
        if not evaluated(word):
            beside |= {(source.kind, folder), (source.kind, os.path.dirname(folder))}
    found = []
    for source, folder, name, word in zip(sources, folders, names, words, strict=True):
        above = (source.kind, os.path.dirname(folder))
        of = evaluated(word) if above in beside else ""
        if above in holding and source.kind == "tensorboard" and not _TRAINING.match(word):
            of = of or ("" if name[:1].isdecimal() else name)  # a number: add_hparams wrote it
        found.append(replace(source, of=of) if of else source)
    return found


def looked_for(run: RunRecord) -> str:
    """What "no metrics" means: the places that were looked at, or will be."""
    if run.foreign:
        return "No metrics: of a job that was submitted without Traindeck only the log is read"
    head = "No metrics yet. Looked for" if run.active else "No metrics. Looked for"
    if run.state in (State.NEW, State.QUEUED):
        head = "No metrics yet: it has not started. Looked for then"
    return (
        f"{head}: step and loss lines in the log (HF Trainer, nanoGPT, "
        "Lightning, Keras, torchtitan, key=value), $TRAINDECK_METRICS, and TensorBoard events, "
        "trainer_state.json, metrics.csv or .jsonl (log, history, stats, train_log; as .csv also "
        "results, summary, progress) "
        f"below {run.cwd or 'its artifacts'} (files that may be another run's, of the same time "
        "and place, are left out)"
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
        most: Bytes at the most; twice that where the source then ends, for of a small rest nobody
            would see that it was left.

    Returns:
        Whether there is more to read, or may be: look at the mark again.
    """
    before = index.source(run.id, source.path)
    kind = KINDS[source.kind]
    restarted = before.inode != source.identity or before.size > source.size
    carry: Carry = {} if restarted or not before.carry else json.loads(before.carry)
    if attempt and not carry:
        carry = _handed_on(index, run, source, attempt)
    offset = 0 if restarted or kind.whole else before.offset
    if kind.whole:
        if source.size > WHOLE_LIMIT or (not restarted and before.size == source.size):
            return False
    elif offset >= source.size and not (final and not carry.get("ended")):
        return False
    if source.kind == "csv" and offset and not await _same_header(read, carry):
        offset, carry = 0, {}
    if carry.get("long"):
        # In the midst of a line that is too long to hold metrics: on to its end.
        data = await read(offset, SKIPPED)
        breaks = [at for at in (data.find(b"\n"), data.find(b"\r")) if at >= 0]
        offset += min(breaks) + 1 if breaks else len(data)
        if breaks or offset >= source.size:
            del carry["long"]
        if data and not (final and offset >= source.size):
            after = SourceMark(
                path=source.path,
                inode=source.identity,
                size=source.size,
                offset=offset,
                carry=_packed(carry),
            )
            return not index.ingest(run.id, before, after, ()) or offset < source.size
    if final and most < source.size - offset <= 2 * most:
        most = source.size - offset
    data = await read(offset, source.size if kind.whole else most)
    last = final and offset + len(data) >= source.size
    if not data and not last:
        return False
    reading = _read(source, data, carry, last, run, attempt)
    for wider in WIDER:
        if reading.consumed or kind.whole or len(data) < most:
            break
        most = wider  # one record is longer than what was read
        data = await read(offset, most)
        last = final and offset + len(data) >= source.size
        reading = _read(source, data, carry, last, run, attempt)
    if not (reading.consumed or last or reading.again) and len(data) < most:
        return False
    if kind.whole and attempt:
        for key, columns in reading.series.items():
            _drop_earlier(index, run, attempt, key, columns)
    for step, moment in source.checkpoints:
        reading.add(CHECKPOINT, step, moment, 1.0)
    if reading.again:
        # The whole of it can be read better now.
        after = SourceMark(
            path=source.path, inode=source.identity, size=source.size, carry=_packed(reading.carry)
        )
        index.ingest(run.id, before, after, ())
        return True
    state = dict(reading.carry)
    if last:
        state["ended"] = True
    elif kind.lines and len(data) > LONGEST and not (b"\n" in data or b"\r" in data):
        state["long"] = True
    await _stamp(reading, offset, times)
    progress, main = _progress(run, source, reading, state, now)
    behind = offset + len(data) < source.size
    if progress is not None and behind:
        progress = replace(progress, at=now)  # how old its last step is will show at the end
    elif progress is None and not behind:
        progress = _dated(run.progress, state)
    told = progress or run.progress
    if final:
        told = replace(told, eta=None)  # it has ended
    leads = kind.word > 1 and _hooked(run) == (kind.source == "hook")
    if told.step is not None and (leads or (progress is not None and kind.word > 1)):
        told = replace(told, partial=not last)
    if told != run.progress:
        progress = told
    if attempt < run.attempt:  # where an attempt before had come to is past
        total = progress.total if progress is not None else None
        known = run.progress
        progress = replace(known, total=total) if total and known.step is None else None
    after = SourceMark(
        path=source.path,
        inode=source.identity,
        size=source.size,
        offset=offset + reading.consumed,
        carry=_packed(state),
    )
    new = [key for key in {**reading.series, **reading.counted} if key not in run.metrics]
    beyond = set(new[max(0, MOST_KEYS - len(run.metrics)) :])
    by_epoch = kind.source == "stdout" and state.get("by_epoch")
    steps_of = "epochs" if by_epoch else kind.source
    batches = [
        _batch(key, columns, name, attempt)
        for name, found in ((steps_of, reading.series), ("counted", reading.counted))
        for key, columns in found.items()
        if columns.steps and key not in beyond
    ]
    entered = index.ingest(run.id, before, after, batches, progress=progress, main=main)
    if not entered:
        return True  # somebody else has read on meanwhile, as far as they came
    return bool(reading.consumed) and after.offset < source.size and not kind.whole


def _handed_on(index: Index, run: RunRecord, source: Source, attempt: int) -> Carry:
    """What the attempt before told of how the program counts its epochs and calls its series."""
    folder, before = f"attempts/{attempt}/", f"attempts/{attempt - 1}/"
    told = index.source(run.id, source.path.replace(folder, before, 1)).carry
    known: Carry = json.loads(told) if told and source.path.startswith(folder) else {}
    return {key: known[key] for key in stdout.OF_THE_PROGRAM if key in known}


def _packed(carry: Carry) -> str:
    return json.dumps(carry, separators=(",", ":"))


def _batch(key: str, columns: Columns, source: str, attempt: int) -> Batch:
    return Batch(
        key=key,
        steps=columns.steps,
        times=columns.times,
        values=columns.values,
        source=source,
        attempt=attempt,
    )


def _read(
    source: Source, data: bytes, carry: Carry, final: bool, run: RunRecord, attempt: int
) -> Reading:
    if source.kind != "stdout":
        reading = KINDS[source.kind].read(data, carry)
        for series in (reading.series, reading.counted) if source.of else ():
            for key in [key for key in series if not key.startswith(("eval/", "test/"))]:
                series.setdefault(f"{source.of}/{key}", series.pop(key))
        return reading
    return stdout.read_stdout(
        data,
        carry,
        final=final,
        cadence=summary.cadence_from(run.params),
        resumed=attempt > 0,
    )


async def _same_header(read: Read, carry: Carry) -> bool:
    """Whether a CSV file still begins with the columns that it was read with."""
    line, newline, _ = (await read(0, _HEADER)).partition(b"\n")
    if not newline:
        return False
    try:
        header = next(csv.reader([line.decode("utf-8", "replace").replace("\0", "")]), [])
    except csv.Error:
        return False
    return [name.strip() for name in header] == carry.get("columns")


def _drop_earlier(index: Index, run: RunRecord, attempt: int, key: str, columns: Columns) -> None:
    """Take out of a history what earlier attempts logged: a resumed trainer hands on theirs. Its
    own part begins where the attempt's own log begins, else where the history differs."""
    known = index.points(run.id, key)
    if known.sources == ("counted",):
        return  # no steps: they say nothing of where a part begins
    seam = next((at for at, owner in known.seams if owner >= attempt), len(known.steps))
    keep = 0
    if seam < len(known.steps):
        first = known.steps[seam]
        keep = sum(1 for step in columns.steps if step < first)
    else:
        theirs = dict(zip(known.steps, known.values, strict=True))
        for step, value in zip(columns.steps, columns.values, strict=True):
            other = theirs.get(step)
            if other is None or not _alike(value, other):
                break
            keep += 1
    for column in (columns.steps, columns.times, columns.values, columns.offsets):
        del column[:keep]


def _alike(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=_CLOSE) or (math.isnan(a) and math.isnan(b))


async def _stamp(reading: Reading, base: int, times: Times | None) -> None:
    """Times for points whose source has none, from when their line was written."""
    if times is None:
        return
    stamped = [*reading.series.values(), *reading.counted.values()]
    where = sorted({base + max(0, at) for columns in stamped for at in columns.offsets})
    found = await times(where) if where else ()
    moments = {at: math.nan if t is None else t for at, t in zip(where, found, strict=True)}
    for columns in stamped:
        columns.times = [moments[base + max(0, at)] for at in columns.offsets]


def _progress(
    run: RunRecord, source: Source, reading: Reading, state: Carry, now: float
) -> tuple[Progress | None, str | None]:
    """What the record learns: progress, unless a better source already tells, and the main metric.

    metrics.jsonl's word is final. The log's counts before that of other files, which lag behind:
    theirs counts if it is further.
    """
    keys = {*run.metrics, *reading.series, *reading.counted}
    main = names.main_metric(keys, _text(run.tags.get("main")) or _text(run.params.get("main")))
    main = main if main != run.main else None
    word = KINDS[source.kind].word
    if not word or (reading.step is None and reading.total is None):
        return None, main
    if reading.total is not None:
        state["total_steps"] = reading.total
    marks = [(int(s), float(t)) for s, t in state.get("marks", ())]
    if reading.step is not None:
        marks = summary.add_mark(marks, reading.step, _newest(reading) or now)
        state["marks"] = marks
    step = marks[-1][0] if marks else None
    other = run.progress
    if other.at is not None and run.started is not None and other.at < run.started:
        other = Progress()  # an earlier attempt's
    if word < KINDS["metrics"].word and _hooked(run):
        return None, main
    total = state.get("total_steps") or summary.total_from(run.params) or other.total
    if other.step is not None and (
        step is None or (word < KINDS["stdout"].word and step <= other.step)
    ):
        if total is None or other.total is not None or total < other.step:
            return None, main
        return replace(other, total=total, fraction=other.step / total), main
    return summary.progress(step, total, marks, now), main


def _dated(progress: Progress, state: Carry) -> Progress | None:
    """What is known, now that all was read, if its last step is older than the reading of it: what
    was read since may have named none."""
    step, moment = state.get("marks", [(None, math.inf)])[-1]
    if step is None or step != progress.step or progress.at is None or moment >= progress.at:
        return None
    return replace(progress, at=float(moment))


def _hooked(run: RunRecord) -> bool:
    """Whether metrics.jsonl tells what a run measures: its word on the progress is final."""
    return any(
        "hook" in metric.source and not key.startswith(("system/", "__"))
        for key, metric in run.metrics.items()
    )


def _newest(reading: Reading) -> float | None:
    found = [
        columns.times[-1]
        for columns in reading.series.values()
        if columns.times and columns.times[-1] >= DATED
    ]
    return max(found, default=None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
