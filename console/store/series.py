# ruff: noqa: S608  (SQL is put together from constants)
"""Series in the index: packed chunks of points and their summaries.

A series is a function of the step. Of two values for one step the higher attempt wins, then the
more trusted source, then the later; a higher attempt also takes away everything that earlier ones
have from its first step on. Chunks of a series do not overlap, each belongs to one attempt, and
what superseded points leave behind is only their absence: the run directory still has them.

Works on plain arrays: the home screen and the command line ingest without numpy. Values are
untrusted: not finite, huge, out of order, repeated.
"""

from __future__ import annotations

import math
import sqlite3
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import field, replace
from itertools import islice
from operator import ge
from typing import Any

from traindeck.backends.data import dataclass
from traindeck.console.store.database import Damaged
from traindeck.console.store.records import MetricSummary
from traindeck.console.store.rows import SERIES, clean, summary, summary_values
from traindeck.console.store.spark import CHUNK, mean_of, slices, spark

SOURCES = {
    "system": 91,
    "hook": 90,
    "trainer_state": 80,
    "jsonl": 70,
    "csv": 60,
    "tensorboard": 50,
    "logger": 40,
    "stdout": 10,
    "epochs": 8,
    "counted": 5,
}
"""Where a value can come from -> how much it is trusted (float64, float32, 4 digits).

`system` is the supervisor's samples, which indexes of before call `hook`: read again, they win.
`counted` is what is printed without a step: it stands at its number in the log. Numbers and steps
are not the same axis, so such points are there only as long as their series has no others.
`epochs` is what the log names only an epoch for. Nor are those the steps of a file that is far
beyond them (`_apart`): they make room for it.
"""

NAMES = {code: name for name, code in SOURCES.items()} | {SOURCES["epochs"]: "stdout"}
"""Trust of a point -> what its source is called."""

_EPOCHS, _PRINTED = SOURCES["epochs"], SOURCES["stdout"]
_COUNTED = bytes((SOURCES["counted"],))
_LIMIT = 1 << 62


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
    not known); values may be NaN or infinite. `source` is a key of SOURCES. All may be lists,
    arrays or numpy arrays."""

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
        sources: Names of the sources, the most trusted first.
        source_of: One byte a point: the trust (SOURCES) of its source.
    """

    key: str = ""
    steps: array[int] = field(default_factory=lambda: array("q"))
    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))
    seams: tuple[tuple[int, int], ...] = ()
    sources: tuple[str, ...] = ()
    source_of: bytes = b""


@dataclass(slots=True)
class _Run:
    """Points in strictly increasing steps, with the trust of each (one byte if all are alike)."""

    steps: array[int]
    times: array[float]
    values: array[float]
    trust: bytes

    def __len__(self) -> int:
        return len(self.steps)

    def cut(self, low: int, high: int) -> _Run:
        """The points from index `low` to before `high`."""
        trust = self.trust if len(self.trust) == 1 else self.trust[low:high]
        return _Run(self.steps[low:high], self.times[low:high], self.values[low:high], trust)

    def trusts(self) -> bytes:
        return self.trust * len(self.steps) if len(self.trust) == 1 else self.trust


# ----------------------------------------------------------------------------------------- enter


def enter(db: sqlite3.Connection, run: int, batches: Sequence[Prepared]) -> int:
    """Enter batches of a run (its row number). Returns how many series changed.

    Raises:
        Damaged: What is there cannot have been written by this module.
    """
    try:
        return _enter_all(db, run, batches)
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        # What is new was checked by `prepare`; so it is what was there.
        raise Damaged(f"series of run {run}: {error}") from error


def read(db: sqlite3.Connection, run_id: str, key: str, start: int | None = None) -> Points:
    """See `Index.points`."""
    found = db.execute(
        "SELECT s FROM series WHERE run = (SELECT n FROM runs WHERE id = ?) AND key = ?",
        (run_id, key),
    ).fetchone()
    if found is None:
        return Points(key=key)
    steps, times, values = array("q"), array("d"), array("d")
    trust: list[bytes] = []
    seams: list[tuple[int, int]] = []
    low = -_LIMIT if start is None else max(-_LIMIT, min(start, _LIMIT))
    rows = db.execute(
        f"SELECT count, sources, data, attempt FROM chunks WHERE {_FROM} ORDER BY step0",
        (found[0], found[0], low, low),
    )
    for count, sources, data, attempt in rows:
        if not seams or seams[-1][1] != attempt:
            seams.append((len(steps), attempt))
        chunk = _unpack(count, sources, data)
        steps += chunk.steps
        times += chunk.times
        values += chunk.values
        trust.append(chunk.trusts())
    source_of = b"".join(trust)
    return Points(
        key=key,
        steps=steps,
        times=times,
        values=values,
        seams=tuple(seams),
        sources=_source_names(set(source_of)),
        source_of=source_of,
    )


_FROM = """s = ? AND step0 >= coalesce(
    (SELECT max(step0) FROM chunks WHERE s = ? AND step0 <= ?), ?)"""
"""Chunks from the one that a step lies in on: they do not overlap, so first steps tell."""


def put_summary(db: sqlite3.Connection, run: int, metric: MetricSummary) -> None:
    """Take a summary as it is, for a series that has no points here (an import, a mirror)."""
    s = _series(db, run, clean(metric.key)[:500])
    if db.execute("SELECT 1 FROM chunks WHERE s = ? LIMIT 1", (s,)).fetchone() is None:
        _update(db, s, metric)


def delete(db: sqlite3.Connection, run: int) -> None:
    """Forget all series of a run and how far its files were read."""
    for (s,) in db.execute("SELECT s FROM series WHERE run = ?", (run,)).fetchall():
        db.execute("DELETE FROM chunks WHERE s = ?", (s,))
        db.execute("DELETE FROM cuts WHERE s = ?", (s,))
    db.execute("DELETE FROM series WHERE run = ?", (run,))
    db.execute("DELETE FROM sources WHERE run = ?", (run,))


# ---------------------------------------------------------------------------------------- points


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch that was checked, outside of any transaction."""

    key: str
    attempt: int
    points: _Run


def prepare(batches: Sequence[Batch]) -> list[Prepared]:
    """Check and order batches. Points at steps beyond 2^62 are dropped, names cut.

    Raises:
        ValueError, KeyError: The caller's mistake: different lengths, an unknown source.
    """
    found = (Prepared(clean(b.key)[:500], b.attempt, _points_of(b)) for b in batches)
    return [batch for batch in found if batch.key and len(batch.points)]


def _points_of(batch: Batch) -> _Run:
    if not len(batch.steps) == len(batch.times) == len(batch.values):
        raise ValueError(f"{batch.key}: steps, times and values differ in length")
    trust = bytes((SOURCES[batch.source],))
    try:
        steps: array[int] = _array("q", batch.steps)
        times, values = _array("d", batch.times), _array("d", batch.values)
    except OverflowError:
        # A step that no program counts to, or an integer that is no float.
        kept = [
            (step, float(time), float(value) if abs(value) < 1e308 else math.inf)
            for step, time, value in zip(batch.steps, batch.times, batch.values, strict=True)
            if -_LIMIT < step < _LIMIT
        ]
        steps = array("q", [point[0] for point in kept])
        times = array("d", [point[1] for point in kept])
        values = array("d", [point[2] for point in kept])
    if any(map(ge, steps, islice(steps, 1, None))):
        latest = dict(zip(steps, zip(times, values, strict=True), strict=True))
        steps = array("q", sorted(latest))
        times = array("d", [latest[step][0] for step in steps])
        values = array("d", [latest[step][1] for step in steps])
    return _Run(steps, times, values, trust)


def _array(code: str, numbers: Sequence[Any]) -> array[Any]:
    if isinstance(numbers, array) and numbers.typecode == code:
        return numbers
    try:
        view = memoryview(numbers)  # type: ignore[arg-type]
    except TypeError:
        return array(code, numbers)
    alike = view.format == code or (code == "q" and view.format == "l" and view.itemsize == 8)
    if view.ndim != 1 or not view.contiguous or not alike:
        return array(code, list(numbers))
    packed = array(code)
    packed.frombytes(view.cast("B"))
    return packed


def _series(db: sqlite3.Connection, run: int, key: str) -> int:
    found = db.execute("SELECT s FROM series WHERE run = ? AND key = ?", (run, key)).fetchone()
    if found is not None:
        return int(found[0])
    made = db.execute(
        "INSERT INTO series (run, key, count, nonfinite, spark, source) "
        "VALUES (?, ?, 0, 0, '', '')",
        (run, key),
    )
    return int(made.lastrowid or 0)


def _enter_all(db: sqlite3.Connection, run: int, batches: Sequence[Prepared]) -> int:
    changed: dict[int, MetricSummary | None] = {}
    for batch in batches:
        s = _series(db, run, batch.key)
        known = changed[s] if s in changed else _summary(db, s)
        appended = _enter(db, s, batch.attempt, batch.points)
        if appended is None:
            changed[s] = None
        elif len(appended):
            changed[s] = None if known is None or _unsure(known) else _grown(known, appended)
        elif known is not None and not known.count:
            changed.setdefault(s, None)
    for s, grown in changed.items():
        new = grown if grown is not None else _summed_up(db, s)
        if new is None:
            db.execute("DELETE FROM series WHERE s = ?", (s,))
        else:
            _update(db, s, replace(new, spark=spark(db, s, new.count)))
    return len(changed)


def _enter(db: sqlite3.Connection, s: int, attempt: int, points: _Run) -> _Run | None:
    """Enter points of one source. Returns them as far as they were new at the end of the series,
    None if anything else changed (its summary must be made anew)."""
    held = db.execute("SELECT sources FROM chunks WHERE s = ? LIMIT 1", (s,)).fetchone()
    if held is not None and (held[0] == _COUNTED) != (points.trust == _COUNTED):
        # Counted or not, a series is so as a whole.
        if points.trust == _COUNTED:
            return points.cut(0, 0)
        db.execute("DELETE FROM chunks WHERE s = ?", (s,))
        db.execute("DELETE FROM cuts WHERE s = ?", (s,))
    removed = False
    if points.trust[0] > _PRINTED:
        removed = _without_epochs(db, s, points.steps[-1])
    elif points.trust[0] == _EPOCHS and _apart(points.steps[-1], _last_of_files(db, s)):
        return points.cut(0, 0)
    cuts = dict(db.execute("SELECT attempt, step FROM cuts WHERE s = ?", (s,)).fetchall())
    limit = min((step for later, step in cuts.items() if later > attempt), default=_LIMIT)
    if points.steps[-1] >= limit:
        points = points.cut(0, bisect_left(points.steps, limit))
    if not len(points):
        return None if removed else points
    first, last = points.steps[0], points.steps[-1]
    # A later attempt's points lie behind these; or these push an earlier one's away.
    appended = limit == _LIMIT and not removed
    if attempt and first < cuts.get(attempt, _LIMIT):
        db.execute("INSERT OR REPLACE INTO cuts VALUES (?, ?, ?)", (s, attempt, first))
        _supersede(db, s, attempt, first)
        appended = False
    end = db.execute(
        "SELECT c, step1, count, sources, data FROM chunks WHERE s = ? AND attempt = ? "
        "ORDER BY step0 DESC LIMIT 1",
        (s, attempt),
    ).fetchone()
    if end is None:
        _write(db, s, attempt, points)
        return None
    if first > end[1]:
        new = points
        if end[2] < CHUNK:
            points = _joined(_unpack(*end[2:]), points)
            db.execute("DELETE FROM chunks WHERE c = ?", end[:1])
        _write(db, s, attempt, points)
        return new if appended else None
    overlapping = db.execute(
        f"SELECT c, count, sources, data FROM chunks WHERE {_FROM} AND step0 <= ? AND attempt = ? "
        "ORDER BY step0",
        (s, s, first, first, last, attempt),
    ).fetchall()
    merged = _merged([_unpack(*row[1:]) for row in overlapping], points)
    db.executemany("DELETE FROM chunks WHERE c = ?", [row[:1] for row in overlapping])
    _write(db, s, attempt, merged)
    return None


def _apart(epoch: int, step: int) -> bool:
    """Whether a step counts something else than the epochs that came to `epoch` meanwhile."""
    return step > 2 * epoch + 2


def _last_of_files(db: sqlite3.Connection, s: int) -> int:
    """The last step that a file tells, -1 if none does."""
    last = db.execute(
        "SELECT step1, sources FROM chunks WHERE s = ? ORDER BY step0 DESC LIMIT 1", (s,)
    ).fetchone()
    return int(last[0]) if last is not None and last[1][-1] > _PRINTED else -1


def _without_epochs(db: sqlite3.Connection, s: int, step: int) -> bool:
    """Take away what stands at epochs, of all attempts, if a file has come to a step that is none
    of them. Whether there were any."""
    found = db.execute(
        "SELECT c, attempt, count, sources, data FROM chunks "
        "WHERE s = ? AND step0 < ? AND instr(sources, ?) ORDER BY step0",
        (s, step, bytes((_EPOCHS,))),
    ).fetchall()
    chunks = [(c, attempt, _unpack(*packed)) for c, attempt, *packed in found]
    if not chunks:
        return False
    last = chunks[-1][2]
    if not _apart(last.steps[last.trusts().rindex(_EPOCHS)], step):
        return False
    for c, attempt, chunk in chunks:
        trusts = chunk.trusts()
        kept = [at for at, trust in enumerate(trusts) if trust != _EPOCHS]
        rest = _Run(
            array("q", [chunk.steps[at] for at in kept]),
            array("d", [chunk.times[at] for at in kept]),
            array("d", [chunk.values[at] for at in kept]),
            bytes(trusts[at] for at in kept),
        )
        db.execute("DELETE FROM chunks WHERE c = ?", (c,))
        _write(db, s, attempt, rest)
    # Where an attempt began by its epochs says nothing of the steps of one before.
    db.execute("DELETE FROM cuts WHERE s = ?", (s,))
    db.execute(
        "INSERT INTO cuts SELECT s, attempt, min(step0) FROM chunks "
        "WHERE s = ? AND attempt > 0 GROUP BY attempt",
        (s,),
    )
    return True


def _supersede(db: sqlite3.Connection, s: int, attempt: int, first: int) -> None:
    """Take away what attempts before `attempt` have from step `first` on."""
    gone = db.execute(
        f"SELECT c, attempt, count, sources, data FROM chunks WHERE {_FROM} AND attempt < ?",
        (s, s, first, first, attempt),
    ).fetchall()
    db.executemany("DELETE FROM chunks WHERE c = ?", [row[:1] for row in gone])
    for _, earlier, *packed in gone:
        chunk = _unpack(*packed)
        if kept := bisect_left(chunk.steps, first):
            _write(db, s, earlier, chunk.cut(0, kept))


def _joined(left: _Run, right: _Run) -> _Run:
    trust = left.trust if left.trust == right.trust else left.trusts() + right.trusts()
    return _Run(
        left.steps + right.steps, left.times + right.times, left.values + right.values, trust
    )


def _merged(chunks: Sequence[_Run], points: _Run) -> _Run:
    """Points laid over those of chunks: at one step the more trusted wins, then the later. One that
    does not know its time takes the other's: it was the same moment."""
    best: dict[int, tuple[float, float, int]] = {}
    for chunk in chunks:
        cells = zip(chunk.times, chunk.values, chunk.trusts(), strict=True)
        best.update(zip(chunk.steps, cells, strict=True))
    for step, time, value, trust in zip(
        points.steps, points.times, points.values, points.trusts(), strict=True
    ):
        there = best.get(step)
        if there is None:
            best[step] = (time, value, trust)
        elif trust >= there[2]:
            best[step] = (there[0] if math.isnan(time) else time, value, trust)
        elif math.isnan(there[0]):
            best[step] = (time, *there[1:])
    steps = array("q", sorted(best))
    cells_by_step = [best[step] for step in steps]
    trusts = bytes(cell[2] for cell in cells_by_step)
    return _Run(
        steps,
        array("d", [cell[0] for cell in cells_by_step]),
        array("d", [cell[1] for cell in cells_by_step]),
        trusts[:1] if len(set(trusts)) == 1 else trusts,
    )


def _write(db: sqlite3.Connection, s: int, attempt: int, points: _Run) -> None:
    """Write points as full chunks and a rest."""
    rows = []
    for low in range(0, len(points), CHUNK):
        part = points.cut(low, low + CHUNK)
        seen = _extent(part)
        means, counts = slices(part.values)
        rows.append(
            (
                s, attempt, part.steps[0], part.steps[-1], len(part), part.values[0],
                part.values[-1], part.times[-1], seen.low, seen.low_step, seen.high,
                seen.high_step, seen.nonfinite, mean_of(part.values),
                part.trust if len(set(part.trust)) > 1 else part.trust[:1],
                means.tobytes() + counts.tobytes(),
                part.steps.tobytes() + part.times.tobytes() + part.values.tobytes(),
            )
        )  # fmt: skip
    db.executemany(
        "INSERT INTO chunks (s, attempt, step0, step1, count, first, last, last_time, min, "
        "min_step, max, max_step, nonfinite, mean, sources, slices, data) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def _unpack(count: Any, sources: Any, data: Any) -> _Run:
    steps, times, values = array("q"), array("d"), array("d")
    if (
        not isinstance(count, int)
        or not isinstance(data, bytes)
        or not isinstance(sources, bytes)
        or len(data) != 24 * count
        or len(sources) not in (1, count)
    ):
        raise Damaged("a chunk of points has another length than it says")
    steps.frombytes(data[: 8 * count])
    times.frombytes(data[8 * count : 16 * count])
    values.frombytes(data[16 * count :])
    return _Run(steps, times, values, sources)


# --------------------------------------------------------------------------------------- summing


@dataclass(slots=True)
class _Extent:
    low: float | None = None
    low_step: int | None = None
    high: float | None = None
    high_step: int | None = None
    nonfinite: int = 0


def _extent(points: _Run) -> _Extent:
    steps, values = points.steps, points.values
    if math.isfinite(sum(values)):
        low, high = min(values), max(values)
        return _Extent(low, steps[values.index(low)], high, steps[values.index(high)])
    finite = [(v, -i) for i, v in enumerate(values) if math.isfinite(v)]
    if not finite:
        return _Extent(nonfinite=len(values))
    low, at_low = min((v, -i) for v, i in finite)
    high, at_high = max(finite)
    return _Extent(low, steps[at_low], high, steps[-at_high], len(values) - len(finite))


def _broken_from(points: _Run) -> int | None:
    """The step from which on no value is finite; None if the last one is."""
    at = len(points)
    while at and not math.isfinite(points.values[at - 1]):
        at -= 1
    return points.steps[at] if at < len(points) else None


def _unsure(known: MetricSummary) -> bool:
    """Whether a summary, of an index of before, does not say since when its series is broken."""
    return (
        known.nonfinite > 0 and not math.isfinite(known.last or 0.0) and known.broken_step is None
    )


def _grown(known: MetricSummary, points: _Run) -> MetricSummary:
    """A summary with points appended behind the last."""
    seen = _extent(points)
    lower = seen.low is not None and (known.min is None or seen.low < known.min)
    higher = seen.high is not None and (known.max is None or seen.high > known.max)
    trusts = {SOURCES[name] for name in known.source.split("+") if name} | set(points.trust)
    broken = _broken_from(points)
    if broken == points.steps[0] and known.broken_step is not None:
        broken = known.broken_step
    return replace(
        known,
        count=known.count + len(points),
        first=points.values[0] if not known.count else known.first,
        last=points.values[-1],
        last_step=points.steps[-1],
        last_time=_known_time(points.times[-1]),
        min=seen.low if lower else known.min,
        min_step=seen.low_step if lower else known.min_step,
        max=seen.high if higher else known.max,
        max_step=seen.high_step if higher else known.max_step,
        nonfinite=known.nonfinite + seen.nonfinite,
        broken_step=broken,
        source="+".join(_source_names(trusts)),
    )


def _summary(db: sqlite3.Connection, s: int) -> MetricSummary:
    row = db.execute(f"SELECT {SERIES} FROM series WHERE s = ?", (s,)).fetchone()
    return summary(row)


def _summed_up(db: sqlite3.Connection, s: int) -> MetricSummary | None:
    """The summary made anew from the chunks; None if there are none."""
    key = db.execute("SELECT key FROM series WHERE s = ?", (s,)).fetchone()[0]
    count, nonfinite = db.execute(
        "SELECT sum(count), sum(nonfinite) FROM chunks WHERE s = ?", (s,)
    ).fetchone()
    if not count:
        return None
    ends = "SELECT {} FROM chunks WHERE s = ? ORDER BY step0 {} LIMIT 1"
    (first,) = db.execute(ends.format("first", "ASC"), (s,)).fetchone()
    last, step, time = db.execute(ends.format("last, step1, last_time", "DESC"), (s,)).fetchone()
    extreme = (
        "SELECT {0}, {0}_step FROM chunks WHERE s = ? AND {0} IS NOT NULL "
        "ORDER BY {0} {1}, step0 LIMIT 1"
    )
    low, low_step = next(db.execute(extreme.format("min", "ASC"), (s,)), (None, None))
    high, high_step = next(db.execute(extreme.format("max", "DESC"), (s,)), (None, None))
    trusts: set[int] = set()
    for (sources,) in db.execute("SELECT DISTINCT sources FROM chunks WHERE s = ?", (s,)):
        trusts.update(sources)
    return MetricSummary(
        key=key,
        count=count,
        first=math.nan if first is None else first,
        last=math.nan if last is None else last,
        last_step=step,
        last_time=time,
        min=low,
        min_step=low_step,
        max=high,
        max_step=high_step,
        nonfinite=nonfinite,
        broken_step=_broken_since(db, s),
        source="+".join(_source_names(trusts)),
    )


def _broken_since(db: sqlite3.Connection, s: int) -> int | None:
    """`_broken_from` of all chunks: of the last with a finite value, or of what follows it."""
    since = None
    for first, count, nonfinite, sources, data in db.execute(
        "SELECT step0, count, nonfinite, sources, data FROM chunks WHERE s = ? ORDER BY step0 DESC",
        (s,),
    ):
        if nonfinite < count:
            broken = _broken_from(_unpack(count, sources, data)) if nonfinite else None
            return since if broken is None else broken
        since = first
    return since


def _update(db: sqlite3.Connection, s: int, metric: MetricSummary) -> None:
    columns = [name.strip() for name in SERIES.split(",")]
    db.execute(
        f"UPDATE series SET {', '.join(c + ' = ?' for c in columns[1:])} WHERE s = ?",
        (*summary_values(metric)[1:], s),
    )


def _source_names(trusts: set[int]) -> tuple[str, ...]:
    names = (NAMES.get(trust, "?") for trust in sorted(trusts, reverse=True))
    return tuple(dict.fromkeys(names))


def _known_time(time: float) -> float | None:
    return time if math.isfinite(time) else None
