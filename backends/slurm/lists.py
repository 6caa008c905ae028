"""The lists of jobs that looks at a cluster rest on.

Usually each look brings one, in the same request. A controller that is busy takes longer for it
than anybody waits for a screen, and one that is down is not to be asked every two seconds: then it
is asked beside the looks, one question at a time and with pauses, and a look takes the last list,
if that is not too old. What the run directories show never waits for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from traindeck.backends.base import AgentChannel, BackendError
from traindeck.backends.slurm.scheduler import Scheduler, Told

QUICK = 1.0
"""Seconds that a look waits for a list."""

KEPT = 60.0
"""Seconds for which a list that was asked for beside is taken."""

PAUSE = 2.0
"""Seconds between two questions beside, at least; twice as many after each without an answer."""

LONGEST = 15.0

SHARE = 5
"""A pause is at least so many times as long as the answer took."""


class JobLists:
    """Asks for lists.

    Args:
        scheduler: How Slurm is asked.
        clock: Seconds that only grow.
    """

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float] = time.monotonic) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._beside = False
        self._task: asyncio.Task[None] | None = None
        self._begun = self._next = 0.0
        self._pause = PAUSE
        self._last = (float("-inf"), Told())
        """When it was asked for, and what came."""

    async def look(
        self, channel: AgentChannel, runs: Sequence[str], *, waiting: bool
    ) -> tuple[dict[str, Any], Told, float]:
        """One look: what the agent shows of the runs, the list, and how old that is in seconds."""
        request = {"runs": list(runs)}
        if not self._beside:
            begun = self._clock()
            answer, told = await self._scheduler.ask(
                channel, "poll", request, waiting=waiting, within=QUICK
            )
            if told.jobs is not None or not told.late:
                self._last = (begun, told)
            if told.jobs is not None:
                return answer, told, self._clock() - begun
            self._beside, self._pause, self._next = True, PAUSE, self._clock()
        if self._task is None and self._clock() >= self._next:
            self._task = asyncio.create_task(self._ask(channel), name="squeue")
            await asyncio.sleep(0)  # it begins
        # The list first: of what it calls over the record is there when the agent looks.
        told, age = self._latest()
        answer, _ = await self._scheduler.ask(channel, "poll", request, within=0.0)
        return answer, told, age

    def _latest(self) -> tuple[Told, float]:
        at, told = self._last
        age = self._clock() - at
        asked = self._clock() - self._begun if self._task is not None else 0.0
        if asked > QUICK and (told.jobs is None or age > KEPT):
            told = Told(why=f"it was asked {asked:.0f} s ago")
        elif told.jobs is not None and age > KEPT:
            told = Told(why="its last list of jobs is too old")
        return told, age

    async def _ask(self, channel: AgentChannel) -> None:
        self._begun = self._clock()
        try:
            told = await self._scheduler.jobs(channel)
        except BackendError as error:
            told = Told(why=str(error).rstrip("."))
        finally:
            self._task = None
        took = self._clock() - self._begun
        self._last = (self._begun, told)
        if told.jobs is not None:
            self._pause = PAUSE
            self._beside = took > QUICK / 2
        else:
            self._pause = min(2 * self._pause, LONGEST)
        pause = max(self._pause, min(SHARE * took, LONGEST))
        # Not in step with others who lost it at the same moment.
        self._next = self._clock() + pause * random.uniform(0.75, 1.25)  # noqa: S311

    async def aclose(self) -> None:
        """Ask no more."""
        if self._task is not None:
            await leave(self._task)


async def leave(task: asyncio.Task[Any]) -> None:
    """End a question that nobody waits for any more."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
