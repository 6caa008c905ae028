"""Keeping up with what runs elsewhere write, for little: one round trip a look for all runs of a
place, with what has grown and no more than a link can take; and reading what they measure from
there.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from zlib import crc32

from traindeck.backends.base import (
    FileEntry,
    FoundFile,
    JobRef,
    LogStat,
    Look,
    Piece,
    State,
    Tail,
    Tails,
    checksum,
)
from traindeck.backends.data import dataclass
from traindeck.backends.errors import BackendError, Unreachable
from traindeck.backends.optional import CHECKED
from traindeck.console.metrics.capture import KINDS, Source
from traindeck.console.runs.beside import ARTIFACTS, beside_of, copied, looks, sources_of
from traindeck.console.runs.mirrored import Measured, log_path
from traindeck.console.runs.workspace import ref_of
from traindeck.console.store.mirror import Copy, Mirror, make_folders

if TYPE_CHECKING:
    from traindeck.backends.states import Status
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.records import RunRecord

BUDGET = 1 << 20
"""Bytes of one answer, over all runs of a place."""

MOMENT = 0.5
"""Seconds after which a look asks for no more, though there is more."""

FEW = 3
"""Runs of which a look fetches run.json: that is one round trip each."""

AHEAD = 1 << 20
"""Bytes read at once from a place: a round trip costs more than they do."""

PRUNED_FOR = 86400.0
"""Seconds for which nobody looks again whether the mirrors take too much."""

LOOK_EVERY = 5.0
"""Seconds after which a run's place is looked through again for what a trainer writes."""

MOST_LOOKS = 50
"""Runs of which that is done in one round trip."""

LAST_WORDS = 64 << 10
"""Bytes at the end of each rank's log that come when a run has failed, at least: why, is often said
by another rank than the first."""

_SMALL = ("metrics.jsonl", "system.jsonl", "events.jsonl", "logs/0.idx")
"""Below an attempt's folder, what grows and tells most for its size. The log comes after those of
all runs."""

_LOGS = r"(?:\d{1,5}|srun)\.log"


async def sync(
    ws: Workspace,
    backend: Measured,
    runs: Sequence[tuple[RunRecord, Status]],
    *,
    whole: bool = False,
) -> dict[tuple[str, str], int] | None:
    """Copy what runs have written since it was copied last.

    Args:
        whole: All of it, however long that takes.

    Returns:
        (run, path) -> bytes of the file there, where that is more than was copied by now. None if
        the place cannot be asked so.

    Raises:
        Unreachable: It does not answer.
    """
    if not isinstance(backend, Tails):
        return None
    mirror = ws.mirror
    begun = [(run, status) for run, status in runs if status.started is not None]
    await _keep_facts(ws, begun)
    files = list(_files(ws, begun))
    asked = {(file.ref.run_id, file.path) for file in files}
    due = list(_looks(mirror, begun, whole))
    until = time.monotonic() + (math.inf if whole else min(ws.patience, MOMENT))
    left: dict[tuple[str, str], int] = {}
    # Another one first each time: a log that is written faster than it is fetched lets others in.
    turn = int(time.monotonic() * 1000) % max(1, len(files))
    while files or due:
        wanted = [_tail(mirror, file) for file in [*files[turn:], *files[:turn]]]
        try:
            grown = await backend.tails(wanted, budget=BUDGET, looks=due)
        except Unreachable:
            raise
        except BackendError:
            return None  # an older agent
        ends = {(file.ref.run_id, file.path) for file in files if file.end}
        came = False
        for piece in grown.pieces:
            key = (piece.ref.run_id, piece.path)
            if _add(mirror, piece, key in ends):
                came = True
                left[key] = piece.size
        left = {key: size for key, size in left.items() if _copy(mirror, *key).held().size < size}
        # What was copied whole is not asked for again: it may grow for ever.
        files = [file for file in files if (file.ref.run_id, file.path) in left]
        found = list(_enter(ws, begun, grown.seen)) if due else []
        new = [file for file in found if (file.ref.run_id, file.path) not in asked]
        files += new
        due, turn = [], 0
        if not (came or new) or time.monotonic() > until:
            break
    await _prune(mirror)
    return left


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file to copy.

    Attributes:
        path, folder: As of a `Tail`.
        end: Of how many bytes only the last ones are wanted; None if all are.
    """

    ref: JobRef
    path: str
    folder: str = ""
    end: int | None = None


def _looks(mirror: Mirror, runs: Sequence[tuple[RunRecord, Status]], whole: bool) -> Iterator[Look]:
    """Where to look now for what a trainer has written beside its log, and for the logs of the
    other ranks of a run that has failed."""
    asked = []
    for run, status in runs:
        when, _ = mirror.listing(run.id)
        over = whole or status.state.terminal or status.attempt > run.attempt
        if over or not 0 <= time.time() - when < LOOK_EVERY:
            asked.append((when, run, status))
    for _, run, status in sorted(asked, key=lambda words: words[0])[:MOST_LOOKS]:
        ref = replace(ref_of(run), attempt=status.attempt)
        if status.state.terminal and status.state is not State.SUCCEEDED:
            yield Look(ref=ref, folder=_logs(ref), names=_LOGS)
        yield from looks(run, ref)


def _logs(ref: JobRef) -> str:
    return f"attempts/{ref.attempt}/logs"


def _enter(
    ws: Workspace,
    runs: Sequence[tuple[RunRecord, Status]],
    seen: Mapping[Look, Sequence[FoundFile]],
) -> Iterator[_File]:
    """Note what was found, and tell what of it is to be copied."""
    found: dict[str, dict[str, Sequence[FoundFile]]] = {}
    for look, files in seen.items():
        if look.folder != _logs(look.ref):
            found.setdefault(look.ref.run_id, {})[look.folder] = files
            continue
        for file in files:
            if file.path != log_path(look.ref, 0):
                yield _File(ref=look.ref, path=file.path, end=file.size)
    for run, status in runs:
        if run.id not in found:
            continue
        listed = [file for files in found[run.id].values() for file in files]
        for file in ws.mirror.listing(run.id)[1]:  # what there was no time for
            folder = run.cwd if os.path.isabs(file.path) else ARTIFACTS
            if folder not in found[run.id]:
                listed.append(file)
        listed = [file for file in listed if file.path.isprintable()]  # what is text can be noted
        ws.mirror.keep_listing(run.id, listed)
        wanted = list(_beside(ws, run, status))
        states = {f.path for f in listed if f.path.endswith("trainer_state.json")}
        paths = {file.path for file in wanted}
        # Each checkpoint has one: the last holds the others'.
        ws.mirror.keep_beside(run.id, {f.path for f in listed} - states | paths)
        yield from wanted


def _beside(ws: Workspace, run: RunRecord, status: Status) -> Iterator[_File]:
    """What a trainer has written beside its log, as far as that is known, and is to be copied."""
    beside = beside_of(ws, run)
    for number in range(min(run.attempt, status.attempt), status.attempt + 1):
        ref = replace(ref_of(run), attempt=number)
        for source in copied(sources_of(ws, run, number, status, beside)):
            folder = run.cwd if os.path.isabs(source.path) else ""
            yield _File(ref=ref, path=source.path, folder=folder)


def _files(ws: Workspace, runs: Sequence[tuple[RunRecord, Status]]) -> Iterator[_File]:
    """What there is to copy: of the attempts that ended since the last look, too."""
    refs = [
        replace(ref_of(run), attempt=number)
        for run, status in runs
        for number in range(min(run.attempt, status.attempt), status.attempt + 1)
    ]
    for ref in refs:
        for name in _SMALL:
            yield _File(ref=ref, path=f"attempts/{ref.attempt}/{name}")
    for run, status in runs:
        yield from _beside(ws, run, status)
    for ref in refs:
        yield _File(ref=ref, path=log_path(ref, 0))


def _copy(mirror: Mirror, run_id: str, path: str) -> Copy:
    """The copy of a file, by its path as of a `Tail`."""
    attempts = path.startswith("attempts/")
    return mirror.copy(run_id, path) if attempts else mirror.beside(run_id, path)


def _tail(mirror: Mirror, file: _File) -> Tail:
    copy = _copy(mirror, file.ref.run_id, file.path)
    held = copy.held()
    offset, identity, check = held.size, held.identity, None
    near = BUDGET if held.identity else 2 * LAST_WORDS
    if file.end is not None and file.end - held.size > near:
        # From the beginning of a page: it is by pages that a log is read.
        offset, identity = (file.end // LAST_WORDS - 1) * LAST_WORDS, ""
    elif not file.path.startswith("attempts/") and held.size and not held.begin:
        # Whoever wrote it may have written it anew in its place.
        head = copy.read(0, min(CHECKED, held.size), held.content)
        begin = max(0, held.size - CHECKED)
        end = copy.read(begin, held.size - begin, held.content)
        check = None if head is None or end is None else checksum(head, end)
    return Tail(
        ref=file.ref,
        path=file.path,
        folder=file.folder,
        offset=offset,
        identity=identity,
        check=check,
    )


def _add(mirror: Mirror, piece: Piece, end: bool) -> bool:
    """Add a piece to its copy. False if somebody else writes that, or nobody can.

    Args:
        end: Only the last of it is wanted: what is held of what lies before it is dropped.
    """
    try:
        with _copy(mirror, piece.ref.run_id, piece.path).writing() as writer:
            if writer is None:
                return False
            if end and piece.offset > writer.held.size:
                writer.begin(piece.identity, piece.offset)
            writer.append(piece.offset, piece.data, piece.identity, cut=piece.cut)
            if piece.path.startswith("attempts/"):
                writer.skip_to(piece.size, piece.identity)
            return True
    except OSError:
        return False


async def _keep_facts(ws: Workspace, runs: Sequence[tuple[RunRecord, Status]]) -> None:
    """Have run.json here, of some that have none yet, and how earlier attempts ended."""
    fetched = 0
    for run, status in runs:
        wanted = [f"attempts/{n}/exit.slot" for n in range(run.attempt, status.attempt)]
        if fetched < FEW and ws.mirror.kept(run.id, "run.json") is None:
            fetched += 1
            wanted.append("run.json")
        for path in wanted:
            reader = ws.reader(run.backend)
            assert isinstance(reader, Measured)
            with contextlib.suppress(BackendError):
                await reader.read_file(ref_of(run), path, 0, 4 << 20)


async def _prune(mirror: Mirror) -> None:
    """Once a day, see to it that the mirrors do not take too much."""
    stamp = mirror.folder / ".pruned"
    try:
        if time.time() - stamp.stat().st_mtime < PRUNED_FOR:
            return
    except OSError:
        pass
    with contextlib.suppress(OSError):
        make_folders(mirror.folder)
        os.close(os.open(stamp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        await asyncio.to_thread(mirror.prune)


class Copies:
    """What was copied of a run, read as from its place: sizes are those there, and what is not
    copied yet is not read yet.

    Args:
        left: As `sync` returned it.
        whole: What is not held here is read from the place.
    """

    def __init__(
        self, backend: Measured, mirror: Mirror, left: dict[tuple[str, str], int], whole: bool
    ) -> None:
        self._backend = backend
        self._mirror = mirror
        self._left = left
        self._whole = whole
        self._ahead = ("", 0, b"")

    def as_copied(self, run_id: str, sources: Sequence[Source]) -> list[Source]:
        """What is held of files that a trainer wrote beside its log: with the sizes and identities
        of the copies. One that is read as a whole is left out until it is."""
        found = []
        for source in sources:
            held = self._mirror.beside(run_id, source.path).held()
            size = max(held.size, self._left.get((run_id, source.path), 0))
            if not held.identity or (KINDS[source.kind].whole and held.size < size):
                continue
            # Another one from when it was written anew, though it may be the same file.
            identity = crc32(held.content.encode()) + 1
            found.append(replace(source, size=size, identity=identity))
        return found

    async def list_files(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        found = []
        for name, _, modified, is_dir in self._mirror.entries(ref.run_id, path):
            size = 0 if is_dir else self._size(ref, name)
            found.append(FileEntry(path=name, size=size, modified=modified, is_dir=is_dir))
        return found

    async def read_file(self, ref: JobRef, path: str, offset: int, size: int) -> bytes:
        copy = _copy(self._mirror, ref.run_id, path)
        held = copy.held()
        if held.begin <= offset <= held.size:
            data = copy.read(offset, size, held.content)
            if data or not self._whole or offset >= self._size(ref, path):
                return data or b""
        if not self._whole or not path.startswith("attempts/"):
            return b""
        of, begin, ahead = self._ahead
        if of != f"{ref.run_id}/{path}" or not begin <= offset < begin + len(ahead):
            if path == log_path(ref, 0):
                ahead = await self._backend.read_at(ref, 0, offset, max(size, AHEAD))
            else:
                ahead = await self._backend.read_file(ref, path, offset, max(size, AHEAD))
            begin = offset
            self._ahead = (f"{ref.run_id}/{path}", begin, ahead)
        return ahead[offset - begin :][:size]

    async def remove(self, ref: JobRef, *, keep: Sequence[str] = ()) -> int:
        raise NotImplementedError

    async def log_stat(self, ref: JobRef, rank: int = 0) -> LogStat:
        path = log_path(ref, rank)
        held = self._mirror.copy(ref.run_id, path).held()
        return LogStat(size=self._size(ref, path), identity=held.identity)

    async def read_at(self, ref: JobRef, rank: int, offset: int, size: int) -> bytes:
        return await self.read_file(ref, log_path(ref, rank), offset, size)

    async def find_in_log(
        self, ref: JobRef, rank: int, needle: bytes, *, offset: int, backward: bool = False
    ) -> int | None:
        raise NotImplementedError

    def _size(self, ref: JobRef, path: str) -> int:
        held = _copy(self._mirror, ref.run_id, path).held()
        return max(held.size, self._left.get((ref.run_id, path), 0))
