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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from traindeck.backends.base import FileEntry, JobRef, LogStat, Piece, Tail, Tails
from traindeck.backends.errors import BackendError, Unreachable
from traindeck.console.runs.mirrored import Measured, log_path
from traindeck.console.runs.workspace import ref_of
from traindeck.console.store.mirror import Mirror, make_folders

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

_SMALL = ("metrics.jsonl", "system.jsonl", "events.jsonl", "logs/0.idx")
"""Below an attempt's folder, what grows and tells most for its size. The log comes after those of
all runs."""


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
    files = list(_files(begun))
    until = time.monotonic() + (math.inf if whole else min(ws.patience, MOMENT))
    left: dict[tuple[str, str], int] = {}
    # Another one first each time: a log that is written faster than it is fetched lets others in.
    turn = int(time.monotonic() * 1000) % max(1, len(files))
    while files:
        wanted = list(_wanted(mirror, [*files[turn:], *files[:turn]]))
        try:
            pieces = await backend.tails(wanted, budget=BUDGET)
        except Unreachable:
            raise
        except BackendError:
            return None  # an older agent
        grown = False
        for piece in pieces:
            key = (piece.ref.run_id, piece.path)
            if _add(mirror, piece):
                grown = True
                left[key] = piece.size
        left = {key: size for key, size in left.items() if mirror.copy(*key).held().size < size}
        # What was copied whole is not asked for again: it may grow for ever.
        files = [(ref, path) for ref, path in files if (ref.run_id, path) in left]
        turn = 0
        if not grown or time.monotonic() > until:
            break
    await _prune(mirror)
    return left


def _files(runs: Sequence[tuple[RunRecord, Status]]) -> Iterator[tuple[JobRef, str]]:
    """What there is to copy: of the attempts that ended since the last look, too."""
    refs = [
        replace(ref_of(run), attempt=number)
        for run, status in runs
        for number in range(min(run.attempt, status.attempt), status.attempt + 1)
    ]
    for ref in refs:
        for name in _SMALL:
            yield ref, f"attempts/{ref.attempt}/{name}"
    for ref in refs:
        yield ref, log_path(ref, 0)


def _wanted(mirror: Mirror, files: Sequence[tuple[JobRef, str]]) -> Iterator[Tail]:
    for ref, path in files:
        held = mirror.copy(ref.run_id, path).held()
        yield Tail(ref=ref, path=path, offset=held.size, identity=held.identity)


def _add(mirror: Mirror, piece: Piece) -> bool:
    """Add a piece to its copy. False if somebody else writes that, or nobody can."""
    try:
        with mirror.copy(piece.ref.run_id, piece.path).writing() as writer:
            if writer is None:
                return False
            writer.append(piece.offset, piece.data, piece.identity, cut=piece.cut)
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

    async def list_files(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        found = []
        for name, _, modified, is_dir in self._mirror.entries(ref.run_id, path):
            size = 0 if is_dir else self._size(ref, name)
            found.append(FileEntry(path=name, size=size, modified=modified, is_dir=is_dir))
        return found

    async def read_file(self, ref: JobRef, path: str, offset: int, size: int) -> bytes:
        copy = self._mirror.copy(ref.run_id, path)
        held = copy.held()
        if held.begin <= offset <= held.size:
            data = copy.read(offset, size, held.content)
            if data or not self._whole or offset >= self._size(ref, path):
                return data or b""
        if not self._whole:
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
        held = self._mirror.copy(ref.run_id, path).held()
        return max(held.size, self._left.get((ref.run_id, path), 0))
