"""Jobs that Slurm lists no more: what its accounting, the second word, says of them.

slurmctld forgets a job some minutes after its end (MinJobAge); slurmdbd does not, but it hears of
things later, and may be down while the rest goes on. So what it says to be going on is not taken
for an end for a while, and that it cannot be asked never is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import field

from traindeck.backends.base import AgentChannel
from traindeck.backends.data import dataclass
from traindeck.backends.slurm.listing import Job
from traindeck.backends.slurm.lists import leave
from traindeck.backends.slurm.scheduler import Forgotten, Scheduler

AGAIN = 10.0
"""Seconds between two questions for a job whose end is not known."""

BEHIND = 600.0
"""Seconds for which a job that the accounting takes to go on may just have ended."""

REMEMBERED = 4096
AT_ONCE = 200
"""Jobs in one question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    since: float = 0.0
    asked: float = float("-inf")
    job: Job | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """What there is to say of jobs that are listed no more.

    Attributes:
        kept: Whether there is an accounting at all; `why` it cannot be asked now, "" if it can.
        jobs: What it has of them.
        young: Those of these that may just have ended though it says that they go on.
    """

    kept: bool = False
    why: str = ""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    young: frozenset[str] = frozenset()

    def ended(self, job: str) -> Job | None:
        """How a job ended, if that is known."""
        found = self.jobs.get(job)
        return found if found is not None and found.over else None

    def going_on(self, job: str) -> str:
        """What it takes a job for that may just have ended; "" if there is no such word."""
        return self.jobs[job].word if job in self.young else ""


class GoneJobs:
    """Asks for them, seldom, and remembers ends.

    Args:
        scheduler: How Slurm is asked.
        clock: Seconds that only grow.
    """

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float] = time.monotonic) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._away = (float("-inf"), "")
        self._asking: tuple[list[str], asyncio.Task[Forgotten]] | None = None

    async def ask(
        self, channel: AgentChannel, jobs: Collection[str], *, within: float | None = None
    ) -> After:
        """What is known of these jobs, by what names them to Slurm. What the accounting does not
        say `within` so many seconds is known the next time."""
        if not jobs:
            return After()
        now = self._clock()
        if len(self._known) > REMEMBERED:
            self._known.clear()
        for job in jobs:
            self._known.setdefault(job, _Known(since=now))
        due = [job for job in jobs if self._due(job, now)][:AT_ONCE]
        since, why = self._away
        if due and now - since < AGAIN:
            told = Forgotten(kept=True, why=why)
        else:
            if self._asking is None:
                asking = self._scheduler.forgotten(channel, due)
                self._asking = (due, asyncio.create_task(asking, name="sacct"))
            due, task = self._asking
            if within is None:
                await asyncio.wait({task})
            elif not (await asyncio.wait({task}, timeout=within))[0]:
                return self._after(jobs, Forgotten(kept=True, why="it was just asked"))
            self._asking = None
            told = task.result()
            if told.why:
                self._away = (self._clock(), told.why)  # it may have taken long to say so
        if not told.why and told.kept:
            for job in due:
                since = self._known.get(job, _Known(since=now)).since
                self._known[job] = _Known(since=since, asked=now, job=told.jobs.get(job))
        return self._after(jobs, told)

    def _after(self, jobs: Collection[str], told: Forgotten) -> After:
        now = self._clock()
        known = {job: one for job in jobs if (one := self._known[job].job) is not None}
        if told.why or not told.kept:
            return After(kept=told.kept, why=told.why, jobs=known)
        young = {
            job
            for job, one in known.items()
            if not one.over and now - self._known[job].since < BEHIND
        }
        return After(kept=True, jobs=known, young=frozenset(young))

    async def aclose(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            await leave(self._asking[1])

    def _due(self, job: str, now: float) -> bool:
        known = self._known[job]
        over = known.job is not None and known.job.over
        return not over and now - known.asked >= AGAIN
