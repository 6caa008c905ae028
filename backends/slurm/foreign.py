"""Jobs of this user that were submitted by hand: listed, followed, stopped.

They have no run directory. Their log is the file that Slurm says they write to, read by two plain
programs of the host (`stat`, `dd`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from traindeck.backends.base import (
    AgentChannel,
    BackendError,
    JobRef,
    LogChunk,
    LogStat,
    Status,
    UsageError,
)
from traindeck.backends.slurm import commands, listing, reading, survey
from traindeck.backends.slurm.gone import After
from traindeck.backends.slurm.listing import REST
from traindeck.backends.slurm.reading import Heard
from traindeck.backends.slurm.scheduler import Scheduler
from traindeck.backends.slurm.words import Around

PIECE = 1 << 20
PAUSE_EVERY = 200
"""Jobs that are read before others have a turn."""
EVERY = 2.0
"""Seconds between two looks at a log that is followed."""


class ForeignJobs:
    """What a Slurm backend does with jobs that are not its own.

    Args:
        name: Of the backend.
        scheduler: How Slurm is asked.
    """

    def __init__(self, name: str, scheduler: Scheduler) -> None:
        self._name = name
        self._scheduler = scheduler

    async def refs(
        self, heard: Heard, around: Around, asked: float, *, over: bool = True
    ) -> list[JobRef]:
        """All that there are; without those that are over unless `over`."""
        found: list[JobRef] = []
        for job in heard.jobs.foreign() if heard.jobs is not None else ():
            if job.over and not over:
                continue
            found.append(
                JobRef(
                    backend=self._name,
                    native_id=listing.native(job.id),
                    title=job.name,
                    made=job.submitted,
                    seen=reading.foreign(job, heard, around, asked),
                )
            )
            if len(found) % PAUSE_EVERY == 0:
                await asyncio.sleep(0)
        return found

    def status(
        self, ref: JobRef, heard: Heard, around: Around, asked: float, after: After | None = None
    ) -> Status:
        """How one is; `after`: what the accounting says of those that are listed no more."""
        if heard.jobs is None:
            return reading.foreign(None, heard, around, asked)
        job = heard.jobs.foreign_job(ref.native_id)
        if job is None and after is not None:
            job = after.ended(ref.native_id)
        if job is not None:
            return reading.foreign(job, heard, around, asked)
        return reading.forgotten(ref.native_id, after or After(), asked)

    def has_no_files(self, ref: JobRef) -> None:
        """Refuse what asks for the run directory of such a job.

        Raises:
            BackendError: It is one.
        """
        if not ref.run_id and ref.native_id:
            raise BackendError(
                f"Job {ref.native_id} was not started by Traindeck: it has no run directory."
            )

    async def cancel(self, channel: AgentChannel, ref: JobRef) -> None:
        """End one: TERM, then Slurm's own grace (KillWait)."""
        number = self.number(ref)
        if ref.native_id.endswith(REST):
            refused = await self._scheduler.end_waiting(channel, number.partition("_")[0])
        else:
            refused = await self._scheduler.end(channel, [number])
        if refused:
            raise BackendError(f"{refused}.")

    def number(self, ref: JobRef) -> str:
        """What names one to Slurm.

        Raises:
            BackendError: It cannot be a job's.
        """
        array, _, task = ref.native_id.partition("_")
        if not array.isdigit() or not (not task or task.isdigit() or task == REST):
            raise BackendError(f"{ref.native_id[:40]!r} is no job of `{self._name}`.")
        return ref.native_id

    # ------------------------------------------------------------------------------- its log

    async def _show(self, channel: AgentChannel, ref: JobRef) -> tuple[str, bool]:
        """(path of its log, whether it is over)."""
        number = self.number(ref).removesuffix("_" + REST)
        shown = await self._scheduler.output(channel, number)
        if shown is None:
            raise BackendError(
                f"Slurm knows job {number} no more, and with it where its log is.",
                "Look for the file itself: its script says where.",
            )
        path, over = shown
        if not path:
            raise BackendError(f"Slurm does not say where job {number} writes its log.")
        return path, over

    async def log_stat(self, channel: AgentChannel, ref: JobRef) -> LogStat:
        """The size of its log now."""
        path, over = await self._show(channel, ref)
        return await self._stat(channel, path, over)

    async def _stat(self, channel: AgentChannel, path: str, over: bool) -> LogStat:
        (said,) = await survey.run(channel, [("stat", "-L", "-c", "%s %d:%i", "--", path)], ())
        size, _, identity = said.out.strip().partition(" ")
        if not said.ok or not size.isdigit():
            return LogStat(ended=over)
        return LogStat(size=int(size), identity=identity, ended=over)

    async def read_at(self, channel: AgentChannel, ref: JobRef, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`."""
        path, _ = await self._show(channel, ref)
        return await self._read(channel, path, offset, size)

    async def _read(self, channel: AgentChannel, path: str, offset: int, size: int) -> bytes:
        if size <= 0:
            return b""
        argv = (
            *("dd", f"if={path}", "bs=65536", f"skip={offset}", f"count={min(size, 4 << 20)}"),
            *("iflag=skip_bytes,count_bytes,fullblock", "status=none"),
        )
        answer, body = await channel.call("run", {"commands": [commands.command(*argv)]})
        (said,) = commands.heard(answer, body, ["dd"])
        if not said.ok:
            raise BackendError(f"{path} cannot be read: {said.why}.")
        return said.data

    @asynccontextmanager
    async def logs(
        self, channel: AgentChannel, ref: JobRef, cursor: str, follow: bool
    ) -> AsyncIterator[AsyncIterator[LogChunk]]:
        """Its log from a byte on."""
        if cursor and not (cursor.isascii() and cursor.isdecimal()):
            raise UsageError(f"{cursor!r} is no log cursor of this backend.")

        async def chunks() -> AsyncIterator[LogChunk]:
            offset, identity = int(cursor or 0), ""
            path, over = await self._show(channel, ref)
            while True:
                stat = await self._stat(channel, path, over)
                cut = bool(identity and stat.identity != identity) or stat.size < offset
                if cut:
                    offset = 0
                identity = stat.identity or identity
                data = b""
                if stat.size > offset:
                    data = await self._read(channel, path, offset, min(PIECE, stat.size - offset))
                    offset += len(data)
                if data or cut:
                    yield LogChunk(data=data, cursor=str(offset), cut=cut)
                if data:
                    continue
                if over or not follow:
                    yield LogChunk(cursor=str(offset), eof=True)
                    return
                await asyncio.sleep(EVERY)
                try:
                    _, over = await self._show(channel, ref)
                except UsageError:
                    raise
                except BackendError:
                    over = True  # Slurm has forgotten it: it has ended

        yield chunks()

    async def find_in_log(
        self, channel: AgentChannel, ref: JobRef, needle: bytes, offset: int, backward: bool
    ) -> int | None:
        """The next or previous place of a string, read through piece by piece."""
        path, over = await self._show(channel, ref)
        size = (await self._stat(channel, path, over)).size
        more = len(needle) - 1
        at = min(offset, size)
        while at > 0 if backward else at < size:
            begin = max(0, at - PIECE) if backward else at
            data = await self._read(
                channel, path, begin, (at - begin if backward else PIECE) + more
            )
            found = data.rfind(needle) if backward else data.find(needle)
            if found >= 0:
                return begin + found
            at = begin if backward else at + PIECE
        return None
