"""A cluster of which there is nothing but slurmrestd: how jobs are, and their end.

slurmrestd takes a job, and neither the files that a run needs nor its log: what can be done without
a host is what this does, and all else is refused with the reason. Runs of ours are listed as what
Slurm knows of them, which is a job.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from traindeck.backends.base import (
    PROTOCOL,
    BackendError,
    Capability,
    Facts,
    Health,
    JobRef,
    LogChunk,
    LogStat,
    Option,
    Plan,
    Reach,
    RunSpec,
    Status,
    Unreachable,
    UsageError,
)
from traindeck.backends.slurm import options as given
from traindeck.backends.slurm import reading
from traindeck.backends.slurm.by_rest import ByRest
from traindeck.backends.slurm.foreign import ForeignJobs
from traindeck.backends.slurm.listing import REST, job_name
from traindeck.backends.slurm.reading import Heard
from traindeck.backends.slurm.rest import Slurmrestd
from traindeck.backends.slurm.rest_answers import Jobs
from traindeck.backends.slurm.words import Around


class RestOnlyBackend:
    """See the module.

    Args:
        name: What the user calls this place.
        server: slurmrestd.
        options: Values for the options of `options_schema`.
        clock: Returns now, for `observed_at`.
    """

    protocol = PROTOCOL
    kind = "slurm"
    settle = 120.0
    capabilities = Capability.FOREIGN

    def __init__(
        self,
        name: str,
        server: Slurmrestd,
        *,
        options: Mapping[str, Any] | None = None,
        clock: Any = None,
    ) -> None:
        self.name = name
        defaults = dict(options or {})
        self.options_schema: Mapping[str, Option] = {
            key: replace(option, default=defaults.get(key, option.default))
            for key, option in given.SCHEMA.items()
        }
        self._clock = clock or time.time
        self._scheduler = ByRest(server)
        self._foreign = ForeignJobs(name, self._scheduler)

    @property
    def missing(self) -> tuple[str, str]:
        """What does not work, and what would make it."""
        return (
            f"Of `{self.name}` there is slurmrestd alone, which takes no files and has no logs: "
            "jobs are listed and can be stopped, no run can be started and no log read",
            f"Name its login node as backends.{self.name}.via, or, if this machine has the "
            f"cluster's file system, a folder on it as backends.{self.name}.root.",
        )

    async def probe(self) -> Health:
        """See `Backend.probe`."""
        checks = await self._scheduler.checks()
        answers = all(passed for passed, _ in checks)
        what, fix = self.missing
        return Health(
            reach=Reach.OK if answers else Reach.DOWN,
            observed_at=self._clock(),
            version=checks[0][1].partition(" at ")[0] if answers else "",
            checks=(*checks, (False, f"{what}. {fix}")),
            note="" if answers else checks[0][1],
        )

    async def survey(self, spec: RunSpec) -> Facts:
        """Refuses: nothing can be started."""
        raise self._refusal()

    def plan(self, spec: RunSpec, facts: Facts) -> Plan:
        """Refuses: nothing can be started."""
        raise self._refusal()

    async def submit(self, plan: Plan, secrets: Mapping[str, str] | None = None) -> JobRef:
        """Refuses: nothing can be started."""
        raise self._refusal()

    def _refusal(self) -> UsageError:
        what, fix = self.missing
        return UsageError(f"{what}.", fix)

    async def find(self, keys: Collection[tuple[str, int]] | None = None) -> list[JobRef]:
        """See `Backend.find`. Without keys runs of ours are among the jobs that are not."""
        if keys is not None and not keys:
            return []
        asked = self._clock()
        jobs = await self._jobs()
        if keys is None:
            heard = Heard(jobs=_all(jobs), now=asked)
            return await self._foreign.refs(heard, Around(now=asked), asked)
        found: list[JobRef] = []
        for run, attempt in keys:
            for job in jobs.of_run(run):
                if job.key == (run, attempt):
                    found.append(self._ref(run, attempt, job.number))
                    break
        return found

    def _ref(self, run: str, attempt: int, number: str) -> JobRef:
        return JobRef(backend=self.name, run_id=run, attempt=attempt, native_id=number)

    async def list_foreign(self) -> list[JobRef]:
        """See `Foreign.list_foreign`."""
        asked = self._clock()
        heard = Heard(jobs=_all(await self._jobs()), now=asked)
        return await self._foreign.refs(heard, Around(now=asked), asked, over=False)

    async def _jobs(self) -> Jobs:
        told = await self._scheduler.jobs()
        if told.jobs is None:
            raise Unreachable(f"Slurm does not answer on `{self.name}`: {told.why}.")
        assert isinstance(told.jobs, Jobs)
        return told.jobs

    async def poll(self, refs: Collection[JobRef]) -> dict[JobRef, Status]:
        """See `Backend.poll`. Slurm's word is all there is."""
        if not refs:
            return {}
        asked = self._clock()
        jobs = await self._jobs()
        heard, around = Heard(jobs=_all(jobs), now=asked), Around(now=asked, runs=jobs.run_of())
        found = {}
        for ref in refs:
            if not ref.run_id:
                found[ref] = self._foreign.status(ref, heard, around, asked)
                continue
            job = next(iter(jobs.of_run(ref.run_id)), None)
            attempt = ref.attempt
            if job is not None and job.key is not None:
                attempt = job.key[1]
                job = job if attempt >= ref.attempt else None
            status = reading.foreign(job, heard, around, asked)
            found[ref] = replace(status, attempt=max(attempt, ref.attempt))
        return found

    def logs(
        self, ref: JobRef, *, rank: int = 0, cursor: str = "", follow: bool = True
    ) -> AbstractAsyncContextManager[AsyncIterator[LogChunk]]:
        """Refuses: slurmrestd has no logs."""
        raise self._no_log()

    async def log_stat(self, ref: JobRef, rank: int = 0) -> LogStat:
        """Refuses: slurmrestd has no logs."""
        raise self._no_log()

    async def read_at(self, ref: JobRef, rank: int, offset: int, size: int) -> bytes:
        """Refuses: slurmrestd has no logs."""
        raise self._no_log()

    async def find_in_log(
        self, ref: JobRef, rank: int, needle: bytes, *, offset: int, backward: bool = False
    ) -> int | None:
        """Refuses: slurmrestd has no logs."""
        raise self._no_log()

    def _no_log(self) -> BackendError:
        return BackendError(
            f"Of `{self.name}` there is slurmrestd alone, which has no logs.", self.missing[1]
        )

    async def cancel(self, ref: JobRef, *, grace: float | None = None) -> None:
        """See `Backend.cancel`. The grace is Slurm's own (KillWait)."""
        if ref.run_id:
            name = job_name(ref.run_id, ref.attempt)
            jobs = (await self._jobs()).of_run(ref.run_id)
            if not jobs:
                raise BackendError(f"Slurm lists no job called {name} on `{self.name}` (any more).")
            refused = await self._scheduler.end(None, [job.number for job in jobs if not job.over])
        elif ref.native_id.endswith(REST):
            refused = await self._scheduler.end_waiting(None, ref.native_id.partition("_")[0])
        else:
            refused = await self._scheduler.end(None, [self._foreign.number(ref)])
        if refused:
            raise BackendError(f"{refused}.")

    async def aclose(self) -> None:
        """See `Backend.aclose`."""
        await self._scheduler.aclose()


def _all(jobs: Jobs) -> Jobs:
    """The same, with runs of ours among those that are not."""
    return Jobs(list(jobs.everything()), ours=False)
