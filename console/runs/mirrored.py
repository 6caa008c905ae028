"""A run's files and logs, read from its place and, while that is out of reach, from the mirror.

What is small and tells most (run.json, how attempts ended) is kept on the way. What grows is copied
by others (`following`, `mirroring`); from there it is read without asking anybody, where all of the
bytes that are wanted are held.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from traindeck.backends.base import (
    Backend,
    Capability,
    FileEntry,
    Files,
    JobRef,
    LogStat,
    SeekableLogs,
)
from traindeck.backends.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from traindeck.backends.base import LogChunk
    from traindeck.console.store.mirror import Mirror

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds that a place may take for one answer, before what is held here has to do."""

KEPT = re.compile(r"run\.json|attempts/\d+/(?:claim|agent\.json|exit\.slot)")
"""Small files that tell what a run was and how it ended."""

FOR_EVER = frozenset({"run.json"})
"""Those that never change."""


@runtime_checkable
class Measured(Files, SeekableLogs, Protocol):
    """A backend whose runs' files and logs can be read at any place."""


class Reading(Protocol):
    """What is asked of a backend by who only reads: a Backend, or a Mirrored."""

    name: str
    capabilities: Capability

    def logs(
        self, ref: JobRef, *, rank: int = 0, cursor: str = "", follow: bool = True
    ) -> AbstractAsyncContextManager[AsyncIterator[LogChunk]]: ...


def is_far(backend: object) -> bool:
    """Whether what its runs write lies elsewhere, and can be mirrored."""
    capabilities: Capability = getattr(backend, "capabilities", Capability.HERE)
    return not capabilities & Capability.HERE and isinstance(backend, Measured)


def has_copies(ref: JobRef, path: str = "") -> bool:
    """Whether what this one writes, or a file of it, may be held here: not of a foreign job, which
    has no run and so no directory that there could be a mirror of, and no hidden file (such as the
    list of packages that was sent along): in a mirror those names are its own."""
    return bool(ref.run_id) and not any(part.startswith(".") for part in path.split("/"))


class Mirrored:
    """Reads as its backend does, and what is held when that does not answer: only then, and if
    nothing is held, it raises Unreachable. Of a foreign job nothing is held (`has_copies`).

    Args:
        backend: One of which `is_far` is true.
    """

    def __init__(self, backend: Backend, mirror: Mirror) -> None:
        assert isinstance(backend, Measured)
        self.name = backend.name
        self.capabilities = backend.capabilities
        self.backend: Backend = backend
        self._files: Measured = backend
        self._mirror = mirror

    async def list_files(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        try:
            return await _soon(self._files.list_files(ref, path))
        except Unreachable:
            if not has_copies(ref, path) or not self._mirror.has(ref.run_id):
                raise
        return [
            FileEntry(path=name, size=size, modified=modified, is_dir=is_dir)
            for name, size, modified, is_dir in self._mirror.entries(ref.run_id, path)
        ]

    async def read_file(self, ref: JobRef, path: str, offset: int, size: int) -> bytes:
        if not has_copies(ref, path):
            return await _soon(self._files.read_file(ref, path, offset, size))
        if path in FOR_EVER and (kept := self._mirror.kept(ref.run_id, path)) is not None:
            return kept[offset : offset + size]
        copy = self._mirror.copy(ref.run_id, path)
        held = copy.held()
        if held.begin <= offset and offset + size <= held.size:
            data = copy.read(offset, size, held.content)
            if data is not None:
                return data
        try:
            data = await _soon(self._files.read_file(ref, path, offset, size))
        except Unreachable:
            if held.identity:
                part = copy.read(offset, size, held.content)
            else:
                kept = self._mirror.kept(ref.run_id, path)
                part = None if kept is None else kept[offset : offset + size]
            if part is None:
                raise
            return part
        if not offset and len(data) < size and KEPT.fullmatch(path):
            self._mirror.keep(ref.run_id, path, data)
        return data

    async def remove(self, ref: JobRef, *, keep: Sequence[str] = ()) -> int:
        return await self._files.remove(ref, keep=keep)

    async def log_stat(self, ref: JobRef, rank: int = 0) -> LogStat:
        try:
            return await _soon(self._files.log_stat(ref, rank))
        except Unreachable as error:
            if not has_copies(ref):
                raise
            held = self._mirror.copy(ref.run_id, log_path(ref, rank)).held()
            if not held.identity:
                raise (_not_here(ref, rank, error) if rank else error) from None
            return LogStat(size=held.size, identity=held.identity)

    async def read_at(self, ref: JobRef, rank: int, offset: int, size: int) -> bytes:
        if not has_copies(ref):
            return await _soon(self._files.read_at(ref, rank, offset, size))
        copy = self._mirror.copy(ref.run_id, log_path(ref, rank))
        held = copy.held()
        if held.begin <= offset and offset + size <= held.size:
            data = copy.read(offset, size, held.content)
            if data is not None:
                return data
        try:
            return await _soon(self._files.read_at(ref, rank, offset, size))
        except Unreachable:
            part = copy.read(offset, size, held.content) if held.identity else None
            if part is None:
                raise
            return part

    async def find_in_log(
        self, ref: JobRef, rank: int, needle: bytes, *, offset: int, backward: bool = False
    ) -> int | None:
        return await self._files.find_in_log(ref, rank, needle, offset=offset, backward=backward)

    def logs(
        self, ref: JobRef, *, rank: int = 0, cursor: str = "", follow: bool = True
    ) -> AbstractAsyncContextManager[AsyncIterator[LogChunk]]:
        return self.backend.logs(ref, rank=rank, cursor=cursor, follow=follow)


def _not_here(ref: JobRef, rank: int, error: Unreachable) -> Unreachable:
    """Of a run's first rank anybody would have a copy; that there is none of this one, and why."""
    return Unreachable(
        f"The log of rank {rank} of run {ref.run_id} is not here: a copy is kept of what was "
        f"opened, and of the end of each rank's when a run has failed. {error.what}",
        error.fix,
    )


def log_path(ref: JobRef, rank: int) -> str:
    """Where a log lies in a run's directory."""
    return f"attempts/{ref.attempt}/logs/{rank}.log"


async def _soon(answer: Awaitable[T]) -> T:
    """An answer, before whoever waits for it gives up.

    Raises:
        Unreachable: It did not come.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            return await answer
    except TimeoutError:
        raise Unreachable(f"It did not answer within {PATIENCE:.0f} s.") from None
