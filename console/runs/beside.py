"""Files with metrics that a trainer writes beside its log: which there are, and whose.

Below the folder of a run's artifacts they are its own. Where it works, others may work too: there a
file is read for a run only if it can be nobody else's. Of a run elsewhere the same is decided by
what its place has listed (`mirroring`), before anything is copied.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from traindeck.backends.base import FoundFile, JobRef, Look
from traindeck.backends.data import dataclass
from traindeck.backends.states import Status
from traindeck.console.metrics.capture import NAMES, Source, kind_of, with_evaluations
from traindeck.console.store.database import INODE
from traindeck.console.store.mirror import Mirror
from traindeck.console.store.records import values_of
from traindeck.console.store.rundirs import attempt_times

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.index import Index
    from traindeck.console.store.records import RunRecord

MOST_FILES = 10_000
MOST_IN_FOLDER = 2000
DEEPEST = 5
"""Bounds of the search for files that a trainer writes. None is used up by one folder of data."""

AFTERWARDS = 5.0
"""Seconds after a run's end in which a file may still be its own (a slow disk, a child's last)."""

MOST_OTHERS = 500
"""Runs of the same time that are looked at when a file may be another's."""

_CHECKPOINT = re.compile(r"checkpoint-(\d{1,12})")

_SKIPPED = frozenset({"__pycache__", "node_modules", "venv", "wandb", "code"})
"""Folders that hold no metrics of a trainer; nor do those whose names begin with a dot."""

ARTIFACTS = "artifacts"

SKEW = 3600.0
"""Seconds by which another machine's clock may be behind ours, for what is listed there."""

LARGEST = 64 << 20
"""Bytes of a file elsewhere; a larger one is not copied."""

MOST_COPIED = 256
MOST_BYTES = 256 << 20
"""Of one run's files elsewhere together: those that were written last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Where to find what lies beside a run's log.

    Attributes:
        folder: The run's directory, or the mirror of it.
        artifacts, near: The files below that of its artifacts, and where it works.
    """

    folder: Path = Path()
    artifacts: Callable[[], Iterable[FoundFile]] = tuple
    near: Callable[[], Iterable[FoundFile]] = tuple


def here(folder: Path, run: RunRecord) -> Beside:
    """On this machine, by the run's directory."""
    return Beside(
        folder=folder,
        artifacts=lambda: _walk(folder / ARTIFACTS),
        near=lambda: _walk(Path(run.cwd)) if run.cwd else (),
    )


def there(mirror: Mirror, run: RunRecord) -> Beside:
    """Elsewhere, as it was listed last."""
    _, listed = mirror.listing(run.id)
    return Beside(
        folder=mirror.folder / run.id,
        artifacts=lambda: [file for file in listed if not os.path.isabs(file.path)],
        near=lambda: [file for file in listed if os.path.isabs(file.path)],
    )


def beside_of(ws: Workspace, run: RunRecord) -> Beside:
    """Where to find what lies beside a run's log; nothing of it may be known."""
    root = ws.settings.local_roots().get(run.backend)
    return there(ws.mirror, run) if root is None else here(root / "runs" / run.id, run)


def looks(run: RunRecord, ref: JobRef) -> list[Look]:
    """What to list at a run's place."""
    since = run.created - SKEW
    skip = tuple(sorted(_SKIPPED))
    folders = [ARTIFACTS, *([run.cwd] if os.path.isabs(run.cwd) else [])]
    return [Look(ref=ref, folder=f, names=NAMES, skip=skip, since=since) for f in folders]


def sources_of(
    ws: Workspace, run: RunRecord, number: int, status: Status, beside: Beside
) -> list[Source]:
    """Files that a trainer wrote during one attempt below artifacts/ or, in place, its cwd; what
    was written once the next one began is that one's. `status` is of the run or of this attempt."""
    started, ended = status.started, status.ended if status.state.terminal else None
    if number < status.attempt:
        times = attempt_times(beside.folder, run.id, number, None)
        started, ended = times or (None, None)
    if started is None or _by_scheduler_alone(status, started):
        return []
    following = _begun(beside.folder, run, number + 1, status)
    if following is not None:
        ended = min(math.inf if ended is None else ended, following - AFTERWARDS)
    return written_by(ws.index, run, beside, started, ended, ws.clock())


def _by_scheduler_alone(status: Status, started: float) -> bool:
    """Whether only a scheduler has said that an attempt has begun. It counts in whole seconds, and
    tasks of an array have their code laid after that: a trainer's file that came with the code
    would pass for one that the run wrote."""
    return status.pid is None and started == status.started and started.is_integer()


def _begun(folder: Path, run: RunRecord, number: int, status: Status) -> float | None:
    """When an attempt began, None if it did not."""
    times = attempt_times(folder, run.id, number, None)
    if times is not None:
        return times[0]
    known = {run.attempt: run.started, status.attempt: status.started}
    return known.get(number)


def too_large(ws: Workspace, run: RunRecord) -> list[FoundFile]:
    """Files with metrics of a run elsewhere that are not copied from there for their size."""
    if run.backend in ws.settings.local_roots():
        return []
    return [file for file in ws.mirror.listing(run.id)[1] if file.size > LARGEST]


def copied(sources: Iterable[Source]) -> list[Source]:
    """Of files elsewhere those that are copied."""
    found, left = [], MOST_BYTES
    for source in sorted(sources, key=lambda source: -source.written)[:MOST_COPIED]:
        if source.size <= min(LARGEST, left):
            left -= source.size
            found.append(source)
    return found


def left_out(ws: Workspace, run: RunRecord) -> list[str]:
    """Paths below a run's working directory of files with metrics that are not read, because they
    may be another run's that worked there at the same time. None of a run that has metrics from
    elsewhere: it misses nothing."""
    if any(not key.startswith(("system/", "__")) for key in run.metrics):
        return []
    if run.started is None or not run.cwd:
        return []
    ended = None if run.active else run.ended
    beside = beside_of(ws, run)
    near = as_sources(beside.near(), run.started, ended)
    runs = beside.folder.parent
    own = own_files(ws.index, run, near, run.started, ended, ws.clock(), runs)
    return [os.path.relpath(source.path, run.cwd) for source in near if source not in own]


def written_by(
    index: Index, run: RunRecord, beside: Beside, started: float, ended: float | None, now: float
) -> list[Source]:
    """A run's own files with metrics that were last written in this time."""
    found = as_sources(beside.artifacts(), started, ended)
    near = as_sources(beside.near(), started, ended)
    found += own_files(index, run, near, started, ended, now, beside.folder.parent)
    return _newest_states(found)


def files_beside(folders: Sequence[Path], started: float, ended: float | None) -> list[Source]:
    """Files with metrics below these folders that were last written while a run was on."""
    return as_sources((file for folder in folders for file in _walk(folder)), started, ended)


def as_sources(files: Iterable[FoundFile], started: float, ended: float | None) -> list[Source]:
    """Of these files those with metrics that were last written while a run was on."""
    found = []
    for file in files:
        kind = kind_of(os.path.basename(file.path))
        if kind is None or file.modified < started or file.changed < started:
            continue
        if ended is not None and file.modified > ended + AFTERWARDS:
            continue
        checkpoint = _CHECKPOINT.fullmatch(os.path.basename(os.path.dirname(file.path)))
        found.append(
            Source(
                path=file.path,
                kind=kind,
                size=file.size,
                identity=file.inode & INODE,
                checkpoints=((int(checkpoint[1]), file.modified),) if checkpoint else (),
                written=file.modified,
            )
        )
    return sorted(with_evaluations(found), key=lambda source: source.path)


def own_files(
    index: Index,
    run: RunRecord,
    found: Sequence[Source],
    started: float,
    ended: float | None,
    now: float,
    runs: Path | None = None,
) -> list[Source]:
    """Of files in a run's working directory those that are its own. Where several runs worked at
    the same time, a file is that run's which works nearest to it, or whose parameters name its
    folder, and nobody's if two have the same claim: a curve of another run would be worse than
    none. `runs` holds the run directories: they tell when earlier attempts worked."""
    fresh = [source for source in found if not index.source(run.id, source.path).inode]
    if not fresh:
        return list(found)
    until = now if ended is None else ended + AFTERWARDS
    others = _others(index, run, started, until, now, runs)
    if not others:
        return list(found)
    foreign = {
        source.path
        for source in fresh
        if _claim(run, source.path)
        # Nobody wrote a file before they started: one may have waited, in the same folder, for the
        # very run whose file this is.
        <= max(
            (_claim(o, source.path) for o, since in others if since <= source.written), default=-1
        )
    }
    return [source for source in found if source.path not in foreign]


def _others(
    index: Index, run: RunRecord, started: float, ended: float, now: float, runs: Path | None
) -> list[tuple[RunRecord, float]]:
    """Runs that worked in the same place at the same time, and since when."""
    from traindeck.console.store.filtering import Condition, Filter
    from traindeck.console.store.rows import fold

    then = Filter(
        (
            Condition(kind="text", key="backend", values=(fold(run.backend),)),
            Condition(kind="before", number=ended),
        )
    )
    archived = Filter((*then.conditions, Condition(kind="is", values=("archived",))))
    window = max(0.0, now - started)
    numbers = [n for asked in (then, archived) for n in index.ids(asked, now=now, window=window)]
    found = []
    for other in index.rows(numbers[:MOST_OTHERS], metrics="none"):
        if other.id != run.id and other.started is not None and _touch(other.cwd, run.cwd):
            worked = spells(index, other, runs, (other.created, math.inf)).values()
            since = [begun for begun, over in worked if begun <= ended and over >= started]
            if since:
                found.append((other, min(since)))
    return found


def spells(
    index: Index, run: RunRecord, runs: Path | None, unknown: tuple[float, float] | None
) -> dict[int, tuple[float, float]]:
    """Attempt -> when it was executed, from start to end, of all that were: by what was noted of an
    archived run, else by its directory; `unknown` where nothing says."""
    mark = index.annotation(run.id) if run.archived else None
    noted = {status.attempt: status for status in mark.attempts} if mark is not None else {}
    found: dict[int, tuple[float, float] | None] = {}
    for number in range(run.attempt):
        if (status := noted.get(number)) is not None:
            begun, ended = status.started, status.ended
            found[number] = None if begun is None else (begun, ended or math.inf)
        elif runs is not None:
            found[number] = attempt_times(runs / run.id, run.id, number, unknown)
        else:
            found[number] = unknown
    if run.started is not None:
        over = run.ended if not run.active and run.ended is not None else math.inf
        found[run.attempt] = run.started, over
    return {number: spell for number, spell in found.items() if spell is not None}


def _touch(a: str, b: str) -> bool:
    """Whether one of two folders lies in the other."""
    a, b = a.rstrip("/") + "/", b.rstrip("/") + "/"
    return a.startswith(b) or b.startswith(a)


def _claim(run: RunRecord, path: str) -> int:
    """How near to a file a run comes: characters of the longest folder around it that is the run's
    working directory, or that its parameters name."""
    named = [
        os.path.join(run.cwd, value)
        for param in run.params.values()
        for value in values_of(param)
        if isinstance(value, str) and 1 < len(value) < 4096 and "\0" not in value
    ]
    folders = map(os.path.normpath, [run.cwd, *named])
    return max((len(f) for f in folders if (path + "/").startswith(f.rstrip("/") + "/")), default=0)


def _newest_states(sources: list[Source]) -> list[Source]:
    """Of the trainer_state.json of many checkpoints only the last: it holds the others'."""
    states = sorted(
        (s for s in sources if s.kind == "trainer_state"), key=lambda s: (s.size, s.path)
    )
    if not states:
        return sources
    marks = sorted({mark for state in states for mark in state.checkpoints})
    last = replace(states[-1], checkpoints=tuple(marks))
    return [s for s in sources if s.kind != "trainer_state"] + [last]


def _walk(folder: Path) -> Iterator[FoundFile]:
    """The files with metrics below a folder."""
    for entry in _entries(folder):
        if kind_of(entry.name) is None:
            continue
        try:
            info = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISREG(info.st_mode):
            yield FoundFile(
                path=entry.path,
                size=info.st_size,
                modified=info.st_mtime,
                changed=info.st_ctime,
                inode=info.st_ino,
            )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The files below a folder, level by level, in what was changed last first: that is where a
    trainer writes, while folders of data are large and old."""
    left = MOST_FILES
    level = [str(folder)]
    for _ in range(DEEPEST):
        below: list[tuple[float, str]] = []
        for path in level:
            try:
                with os.scandir(path) as entries:
                    for entry in islice(entries, MOST_IN_FOLDER):
                        left -= 1
                        if left < 0:
                            return
                        if not entry.is_dir(follow_symlinks=False):
                            yield entry
                        elif entry.name not in _SKIPPED and not entry.name.startswith("."):
                            below.append((-_changed(entry), entry.path))
            except OSError:
                continue
        level = [path for _, path in sorted(below)]


def _changed(folder: os.DirEntry[str]) -> float:
    try:
        return folder.stat(follow_symlinks=False).st_mtime
    except OSError:  # gone since it was listed
        return 0.0
