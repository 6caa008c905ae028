"""Reading what runs have measured into the index, from wherever they execute.

Called whenever a run was looked at: cheap when nothing grew (sizes are known from the look itself
and one listing), bounded when much did. What a look leaves, `reading_on` reads to the end.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from traindeck.backends.base import Files, JobRef
from traindeck.backends.errors import BackendError, TraindeckError, Unreachable
from traindeck.backends.files import open_regular
from traindeck.backends.states import Status
from traindeck.console.metrics.capture import Read, Source, Times, ingest
from traindeck.console.runs.beside import (
    AFTERWARDS,
    beside_of,
    here,
    sources_of,
    spells,
    written_by,
)
from traindeck.console.runs.mirrored import Measured, is_far
from traindeck.console.runs.workspace import ref_of
from traindeck.console.store.records import status_of_run

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.index import Index
    from traindeck.console.store.records import RunRecord


BUDGET = 0.5
"""Seconds that a look spends at most on one source while a run is on, for the next look goes on.
When its end is seen it is the workspace's patience. What is left is read on by a process."""

FILL_BUDGET = 0.2
"""The same when the index is filled anew."""

FETCHED_WITHIN = 2.0
"""Seconds that a look waits for what runs elsewhere have written."""

TOLD = 64 << 20
"""Bytes from which on reading what is left is worth a word."""

NOTED_WITHIN = 0.2
"""Seconds in which a supervisor notes that a log has grown: it does so up to ten times a second."""


@contextmanager
def telling_faults(run: RunRecord, tell: Callable[[str], None]) -> Iterator[None]:
    """A fault of ours in reading what a job wrote is told, and ends there: it must not keep anybody
    from seeing how the other runs are, nor from stopping this one."""
    try:
        yield
    except TraindeckError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        tell(f"What {run.name} measures cannot be read, which is a bug in Traindeck: {what}")


async def measure(
    ws: Workspace,
    backend: object,
    run: RunRecord,
    status: Status,
    *,
    whole: bool = False,
    most: float = math.inf,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Enter what a run has measured since the last look.

    Args:
        backend: The run's, or what was fetched from it.
        whole: Read to the end, however long it takes.
        most: Bytes; a source with more left than that is not read to the end.
        tell: Takes a line before something is read that takes a while.
    """
    if status.started is None:
        return  # nothing was ever executed
    from traindeck.console.runs.mirroring import Copies

    reader = await fetch(ws, backend, [(run, status)], whole=whole)
    if not isinstance(reader, Measured):
        return
    # Attempts that ended since the last look, each to its last line, then the one that goes on.
    for number in range(0 if whole else run.attempt, status.attempt + 1):
        ref = replace(ref_of(run), attempt=number)
        over = status.state.terminal or number < status.attempt
        try:
            size = status.log_bytes if number == status.attempt else None
            if size is not None and isinstance(reader, Copies):
                # What was copied may be newer than the look.
                size = max(size, (await reader.log_stat(ref)).size)
            sources = await _sources(reader, ref, size)
        except BackendError as error:
            ws.tell(f"The metrics of {run.name} cannot be read now: {error.what}")
            continue
        if over or run.active:
            sources += _beside(ws, reader, run, number, status)
        for source in sources:
            left = source.size - ws.index.source(run.id, source.path).offset
            if left > most:
                continue
            budget = math.inf if whole else ws.patience if over else min(ws.patience, BUDGET)
            if whole and tell is not None and left > TOLD:
                tell(f"Reading {left >> 20:,} MiB of {source.path} of {run.name} for metrics …")
            try:
                await _follow(ws.index, ws.clock, reader, run, ref, source, over, budget)
            except BackendError as error:
                ws.tell(f"The metrics of {run.name} cannot be read now: {error.what}")


async def fetch(
    ws: Workspace,
    backend: object,
    runs: Sequence[tuple[RunRecord, Status]],
    *,
    whole: bool = False,
) -> object:
    """Copy what runs elsewhere have written since the last look, and read from there. Where it lies
    those of a place are read whose files are here, or that gives no copies.

    Args:
        whole: All of it, however long it takes.
    """
    if not is_far(backend) or not isinstance(backend, Measured):
        return backend
    from traindeck.console.runs.mirroring import Copies, sync

    left: dict[tuple[str, str], int] | None = {}
    try:
        async with asyncio.timeout(None if whole else FETCHED_WITHIN):
            left = await sync(ws, backend, runs, whole=whole)
    except Unreachable as error:
        if whole:
            ws.tell(f"Only what is held here of {runs[0][0].name} can be read: {error.what}")
            whole = False
    except TimeoutError:
        pass
    return backend if left is None else Copies(backend, ws.mirror, left, whole)


async def complete(
    ws: Workspace,
    run: RunRecord,
    tell: Callable[[str], None] | None = None,
    *,
    most: float = math.inf,
) -> None:
    """Read what looks have left of what a run has measured. Cheap when all was read, and of an
    archived run nothing is left."""
    if run.started is not None and not run.foreign and not run.archived:
        status = status_of_run(run)
        backend = ws.backend(run.backend)
        await measure(ws, backend, run, status, whole=True, most=most, tell=tell)


def log_read(index: Index, run: RunRecord) -> int | None:
    """Bytes of a run's log that have been read for metrics; None if there is none, or nothing was
    executed that could have written one. What is left is read on by a process, of a huge log when
    somebody asks for it."""
    if run.log_bytes is None or run.started is None:
        return None
    path = f"attempts/{run.attempt}/logs/0.log"
    return min(run.log_bytes, index.source(run.id, path).offset)


def share_read(index: Index, run: RunRecord) -> float:
    """How much of a run's log has been read for metrics, 0…1."""
    read = log_read(index, run)
    return read / run.log_bytes if read is not None and run.log_bytes else 1.0


async def _sources(backend: Measured, ref: JobRef, log_bytes: int | None) -> list[Source]:
    """What lies in the run directory itself."""
    base = f"attempts/{ref.attempt}"
    found = []
    for entry in await backend.list_files(ref, base):
        name = entry.path.rpartition("/")[2]
        kind = {"metrics.jsonl": "metrics", "system.jsonl": "system"}.get(name)
        if kind is not None and not entry.is_dir:
            found.append(Source(path=f"{base}/{name}", kind=kind, size=entry.size, identity=1))
    size = (await backend.log_stat(ref)).size if log_bytes is None else log_bytes
    if size:
        found.append(Source(path=f"{base}/logs/0.log", kind="stdout", size=size, identity=1))
    return found


def _beside(
    ws: Workspace, reader: Measured, run: RunRecord, number: int, status: Status
) -> list[Source]:
    """Files that a trainer wrote beside its log during one attempt, as far as they are here."""
    from traindeck.console.runs.mirroring import Copies

    if isinstance(reader, Copies):
        return reader.as_copied(run.id, sources_of(ws, run, number, status, beside_of(ws, run)))
    if run.backend not in ws.settings.local_roots():
        return []
    return sources_of(ws, run, number, status, beside_of(ws, run))


@asynccontextmanager
async def measured_alone(
    ws: Workspace, run: RunRecord, number: int
) -> AsyncIterator[tuple[RunRecord, Index]]:
    """What one attempt of a run has measured by itself: the run as it was then, and an index that
    holds nothing else. Read anew from the attempt's files, for where a later attempt measured the
    same steps the index has only that one's."""
    from tempfile import TemporaryDirectory

    from traindeck.console.runs.reading import attempt_of
    from traindeck.console.store.index import Index
    from traindeck.console.store.records import Progress, with_status
    from traindeck.console.store.series import SourceMark

    status = await attempt_of(ws, run, number)
    if run.archived:
        raise BackendError(
            f"{run.name} is archived: what each attempt measured by itself went with its files; "
            "without --attempt stands what all of them did."
        )
    backend = ws.backend(run.backend)
    if not isinstance(backend, Measured):
        raise BackendError(f"{run.backend} keeps no metrics of its attempts.")
    alone = replace(
        with_status(run, status),
        progress=Progress(),
        main=None,
        broken_at=None,
        silent_from=None,
        metrics={},
    )
    ref = replace(ref_of(run), attempt=number)
    reader = await fetch(ws, backend, [(replace(run, attempt=number), status)], whole=True)
    assert isinstance(reader, Measured)
    sources = await _sources(reader, ref, None)
    sources += _beside(ws, reader, run, number, status)
    with TemporaryDirectory(prefix="traindeck-") as folder:
        index = Index.open(Path(folder) / "index.db")
        try:
            index.put(alone)
            if number:  # how the program counts its epochs the log before told
                path = f"attempts/{number - 1}/logs/0.log"
                index.ingest(run.id, SourceMark(path=path), ws.index.source(run.id, path), ())
            for source in sources:
                over = not alone.active
                await _follow(index, ws.clock, reader, alone, ref, source, over, math.inf)
            yield index.rows([index.number_of(run.id) or 0], metrics="all")[0], index
        finally:
            index.close()


async def _follow(
    index: Index,
    clock: Callable[[], float],
    backend: Measured,
    run: RunRecord,
    ref: JobRef,
    source: Source,
    over: bool,
    budget: float,
) -> None:
    times = log_times(backend, ref, grows=not over) if source.kind == "stdout" else None
    until = time.monotonic() + budget
    while True:
        fresh = index.get(run.id)
        if fresh is None:
            return
        more = await ingest(
            index,
            fresh,
            source,
            _reader(backend, ref, source),
            attempt=ref.attempt,
            now=clock(),
            final=over,
            times=times,
        )
        if not more or time.monotonic() > until:
            return
        await asyncio.sleep(0)


def _reader(backend: Measured, ref: JobRef, source: Source) -> Read:
    from traindeck.console.runs.mirroring import Copies

    if os.path.isabs(source.path) and not isinstance(backend, Copies):
        return local_reader(Path(source.path))

    async def read(offset: int, size: int) -> bytes:
        data = b""
        while len(data) < size:
            at, left = offset + len(data), size - len(data)
            if source.kind == "stdout":  # that of an adopted process lies elsewhere
                part = await backend.read_at(ref, 0, at, left)
            else:
                part = await backend.read_file(ref, source.path, at, left)
            if not part:
                break
            data += part
        return data

    return read


def local_reader(path: Path) -> Read:
    """Reads a file of this machine; what is gone is empty."""

    async def read(offset: int, size: int) -> bytes:
        try:
            with open_regular(path) as file:
                file.seek(offset)
                return file.read(size)
        except OSError:
            return b""

    return read


def log_times(backend: Files, ref: JobRef, *, grows: bool) -> Times:
    """When the bytes of a log were written. Of one that `grows`, what is read may not be noted
    yet: it is waited for, once, since a point that is entered without a time never gets one."""
    from traindeck.console.logs.source import RunFileSource
    from traindeck.console.logs.times import Times as Samples

    samples = Samples(RunFileSource(backend, ref, f"attempts/{ref.attempt}/logs/0.idx"))
    fresh = False

    async def times(offsets: Sequence[int]) -> Sequence[float | None]:
        nonlocal fresh
        try:
            if not fresh:
                await samples.refresh()
                fresh = True
            found = await samples.at(offsets)
            if grows and found and found[-1] is None:
                await asyncio.sleep(NOTED_WITHIN)
                await samples.refresh()
                found = await samples.at(offsets)
            return found
        except BackendError:
            return [None] * len(offsets)

    return times


def measure_folder(index: Index, run: RunRecord, folder: Path) -> None:
    """Enter all that a run's directory on this machine holds: when the index is filled anew. That
    happens at the index's first use, inside a loop or outside: so on a thread with its own."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, _measure_folder(index, run, folder)).result()


async def _measure_folder(index: Index, run: RunRecord, folder: Path) -> None:
    from traindeck.console.logs.source import FileSource
    from traindeck.console.logs.times import Times as Samples

    for attempt in range(run.attempt + 1):
        base = folder / "attempts" / str(attempt)
        for name, kind in (
            ("metrics.jsonl", "metrics"),
            ("system.jsonl", "system"),
            ("logs/0.log", "stdout"),
        ):
            path = base / name
            try:
                size = path.stat().st_size
            except OSError:
                continue
            source = Source(path=f"attempts/{attempt}/{name}", kind=kind, size=size, identity=1)
            if kind != "stdout":
                await _whole(index, run, source, path, attempt, None)
                continue
            async with aclosing(FileSource(path.with_suffix(".idx"))) as file:
                samples = Samples(file)
                await samples.refresh()
                await _whole(index, run, source, path, attempt, samples.at)
    if run.started is None:
        return
    now = max(time.time(), run.ended or 0.0)
    worked = spells(index, run, folder.parent, None)
    begins = [started for started, _ in worked.values()]
    for (attempt, (started, ended)), following in zip(
        worked.items(), [*begins[1:], math.inf], strict=True
    ):
        until = min(ended, following - AFTERWARDS)  # what is later is the next attempt's
        last = until if until < math.inf else None
        for source in written_by(index, run, here(folder, run), started, last, now):
            await _whole(index, run, source, Path(source.path), attempt, None)


async def _whole(
    index: Index, run: RunRecord, source: Source, path: Path, attempt: int, times: Times | None
) -> None:
    until = time.monotonic() + FILL_BUDGET
    more = True
    while more and time.monotonic() < until:
        fresh = index.get(run.id)
        if fresh is None:
            return
        more = await ingest(
            index,
            fresh,
            source,
            local_reader(path),
            attempt=attempt,
            now=fresh.ended or fresh.observed_at or fresh.created,
            final=not run.active,
            times=times,
        )
