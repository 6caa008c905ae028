"""Following a log through everything that can happen to the link: what was read stays, what comes
goes on at the very byte, and a log that begins anew is said to.

Asking again is all that is done about a place that does not answer: when it is tried is for the
place to decide (`Host.link`). What is read is added to the log's copy (console.store.mirror) on the
way, if nobody else does so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager

from traindeck.backends.base import Backend, JobRef, Linked, LinkState, LogChunk, SeekableLogs
from traindeck.backends.data import dataclass
from traindeck.backends.errors import BackendError, Unreachable
from traindeck.console.store.mirror import Copy, Writer

AGAIN = 0.5
"""Seconds until a place that does not answer is asked again."""

PIECE = 1 << 20
"""Bytes of a copy that are passed on at once."""


@dataclass(frozen=True, slots=True)
class Appended:
    """Bytes of the log, in order and without gaps; they begin at `offset`."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Restarted:
    """The log was cut or replaced: what follows begins at offset 0 again."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The place does not answer. What comes after it answers again goes on where it was."""

    why: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The place answers, at first or again."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The log is complete, and all of it was passed on."""


Event = Appended | Restarted | Lost | Answered | Ended


def link_of(backend: Backend) -> LinkState:
    """How it stands with the way to a backend's place, without asking it."""
    return backend.link if isinstance(backend, Linked) else LinkState()


async def follow_log(
    backend: Backend,
    ref: JobRef,
    rank: int = 0,
    offset: int = 0,
    *,
    follow: bool = True,
    copy: Copy | None = None,
    writer: Writer | None = None,
    fill: bool = False,
) -> AsyncGenerator[Event, None]:
    """Everything of a log from `offset` on, until it is complete (or, without `follow`, to its
    present end). Of a place that is out of reach it waits for the return: who does not want that
    leaves at `Lost`.

    Args:
        copy: What is held of it comes from there.
        writer: What is read goes there.
        fill: What is read goes to `copy`, for as long as the place answers: while it does not to
            this process, it may to another one, and that is to copy then.

    Raises:
        BackendError: There is no such log.
    """
    cursor = str(offset) if offset else ""
    if copy is not None:
        held = copy.held()
        while held.begin <= offset < held.size:
            data = copy.read(offset, min(PIECE, held.size - offset), held.content)
            if not data:
                break
            yield Appended(offset, data)
            offset += len(data)
        if held.identity and offset == held.size:
            cursor = f"{offset}@{held.identity}"
    lost = False
    while True:
        try:
            async with AsyncExitStack() as open_:
                pen = open_.enter_context(_filling(copy, offset)) if fill and copy else writer
                logs = backend.logs(ref, rank=rank, cursor=cursor, follow=follow)
                chunks = await open_.enter_async_context(logs)
                lost = False
                yield Answered()
                async for chunk in chunks:
                    if chunk.cut:
                        offset = 0
                        yield Restarted()
                    pen = _add(pen, offset, chunk)
                    if chunk.data:
                        yield Appended(offset, chunk.data)
                        offset += len(chunk.data)
                    named = chunk.identity and chunk.cursor == str(offset)
                    cursor = f"{offset}@{chunk.identity}" if named else chunk.cursor
                    if chunk.eof:
                        yield Ended()
                        return
        except Unreachable as error:
            if not lost:
                lost = True
                yield Lost(str(error))
        await asyncio.sleep(AGAIN)


@contextmanager
def _filling(copy: Copy, offset: int) -> Iterator[Writer | None]:
    """The writer of a copy that holds all before `offset`, until nothing is read for it any more.
    Of one that holds less nobody is kept: what lies between is for others to copy."""
    with copy.writing() as writer:
        if writer is None or writer.held.size >= offset:
            yield writer
            return
    yield None


def _add(writer: Writer | None, offset: int, chunk: LogChunk) -> Writer | None:
    """Add a chunk to the copy; None from when that is not possible any more."""
    if writer is not None:
        try:
            writer.append(offset, chunk.data, chunk.identity, cut=chunk.cut)
        except OSError:
            return None
    return writer


class Filler:
    """Keeps the copy of one log level with the log while it is open, for whoever shows it.

    Attributes:
        level: Whether the copy is what the log is, as far as can be known without asking.
        ended: Whether nothing more will come.
        looked: Whether the log was looked at, and its copy is one of it if there is anything.
        busy: Whether more is on its way, as far as is known.
        lost_at: Since when the place does not answer, in seconds since the epoch; None while it
            does.
        why: Why not.
    """

    def __init__(self, backend: Backend, ref: JobRef, rank: int, copy: Copy) -> None:
        self.copy = copy
        self.level = False
        self.ended = False
        self.looked = False
        self.busy = False
        self.lost_at: float | None = None
        self.why = ""
        self._backend = backend
        self._ref = ref
        self._rank = rank
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the loop it is called in."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._fill())

    async def aclose(self) -> None:
        """End. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.level = self.busy = False

    async def _fill(self) -> None:
        while not self.ended:
            with self.copy.writing() as writer:
                if writer is not None:
                    try:
                        await self._write(writer)
                    except Unreachable as error:
                        self._lose(str(error))
                    except (BackendError, OSError):
                        self.level = self.busy = False  # none yet, or no more: readers say which
                        self.looked = True
                else:
                    self.looked = True  # somebody else copies it
            if not self.ended:
                await asyncio.sleep(AGAIN)

    async def _write(self, writer: Writer) -> None:
        size = 0
        if isinstance(self._backend, SeekableLogs):
            there = await self._backend.log_stat(self._ref, self._rank)
            size = there.size
            if there.identity and there.identity != writer.held.identity:
                writer.begin(there.identity)
            writer.skip_to(size, there.identity)
        self.looked, self.busy = True, writer.held.size < size
        at = writer.held.size
        events = follow_log(self._backend, self._ref, self._rank, at, copy=self.copy, writer=writer)
        async with aclosing(events):
            async for event in events:
                match event:
                    case Lost(why):
                        self._lose(why)
                        continue
                    case Restarted():
                        size = 0
                    case Ended():
                        self.ended = True
                self.lost_at, self.why = None, ""
                self.level = self.ended or writer.held.size >= size
                self.busy = not self.level
                if self.ended:
                    return

    def _lose(self, why: str) -> None:
        self.level, self.busy, self.why = False, False, why
        if self.lost_at is None:
            self.lost_at = time.time()
