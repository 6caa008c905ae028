"""How runs and jobs on a cluster are: what Slurm lists, what the run directories show, and, where
an end is known by neither, what the accounting says.

Nothing is kept that could be lost: what is remembered of a look only saves the next one a question.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from traindeck.backends.base import (
    AgentChannel,
    BackendError,
    JobRef,
    Rank,
    State,
    Status,
    Unreachable,
)
from traindeck.backends.slurm import listing, reading, words
from traindeck.backends.slurm.foreign import ForeignJobs
from traindeck.backends.slurm.gone import After, GoneJobs
from traindeck.backends.slurm.listing import Job
from traindeck.backends.slurm.lists import JobLists, leave
from traindeck.backends.slurm.reading import Heard
from traindeck.backends.slurm.scheduler import Scheduler
from traindeck.backends.slurm.words import Around
from traindeck.backends.status import Evidence, Native, decode_evidence

PRIORITIES_EVERY = 60.0
"""Seconds between two looks at everybody's waiting jobs, which only the number in "14 jobs before
it" needs."""
LISTED_FOR = 1.0
"""Seconds for which the list of jobs that a look brought does for finding those that are new."""
CONCLUDED_AT_ONCE = 16
PAUSE_EVERY = 200
"""Runs that are judged before others have a turn."""
SOON = 0.4
"""Seconds that a look waits for what it asks Slurm besides."""
LOST_AFTER = 600.0
"""Seconds of silence after which a run that Slurm knows no more is written down as lost."""


class States:
    """Looks at a cluster.

    Args:
        name: What the user calls this place.
        scheduler: How Slurm is asked.
        foreign: Judges the jobs that are not ours.
        clock: Returns now, for `observed_at`.
    """

    def __init__(
        self, name: str, scheduler: Scheduler, foreign: ForeignJobs, clock: Callable[[], float]
    ) -> None:
        self._name = name
        self._scheduler = scheduler
        self._foreign = foreign
        self._clock = clock
        self._gone = GoneJobs(scheduler)
        self._lists = JobLists(scheduler)
        self._concluding: asyncio.Task[dict[JobRef, Status]] | None = None
        self._waiting: Mapping[str, Sequence[int]] = {}
        self._waiting_at = -PRIORITIES_EVERY
        self._wants_waiting = False
        self._gone_since: dict[str, float] = {}
        self._listed: tuple[float, listing.Listing | None] = (0.0, None)

    def listed_lately(self) -> listing.Listing | None:
        """The jobs that were listed a moment ago; None if that is longer ago."""
        at, jobs = self._listed
        return jobs if time.monotonic() - at <= LISTED_FOR else None

    async def poll(self, channel: AgentChannel, refs: Collection[JobRef]) -> dict[JobRef, Status]:
        """How each of these is."""
        asked = self._clock()
        heard, evidence = await self.look(
            channel, sorted({ref.run_id for ref in refs if ref.run_id}), briefly=True
        )
        answered = self._clock()
        jobs = heard.jobs or listing.Listing()
        runs = jobs.run_of()
        runs |= {seen.job: run for run, seen in evidence.items() if seen.job}
        after = await self._after(channel, refs, heard, evidence, within=SOON)
        ends: dict[JobRef, tuple[Evidence, Job | None, Native]] = {}
        found = {}
        for count, ref in enumerate(refs, 1):
            if count % PAUSE_EVERY == 0:
                await asyncio.sleep(0)
            if not ref.run_id:
                around = Around(now=heard.now)
                found[ref] = self._foreign.status(ref, heard, around, asked, after)
                continue
            seen = evidence[ref.run_id]
            status, job, native = self._judge(ref, seen, heard, runs, after, asked, answered)
            found[ref] = status
            if native is not None and status.state.terminal and self._to_keep(seen, status, native):
                ends[ref] = (seen, job, native)
        if ends:
            found |= await self._concluded(channel, ends, found, heard)
        return found

    async def aclose(self) -> None:
        """Leave what is still being asked."""
        await self._lists.aclose()
        await self._gone.aclose()
        if self._concluding is not None:
            await leave(self._concluding)

    async def allocation(self, channel: AgentChannel, ref: JobRef) -> tuple[Status, Job | None]:
        """How a run is, and its job if that has an allocation that the run is still in.

        Raises:
            Unreachable: Slurm does not say.
        """
        asked = self._clock()
        heard, evidence = await self.look(channel, [ref.run_id])
        seen = evidence[ref.run_id]
        after = await self._after(channel, [ref], heard, evidence)
        status, job, _ = self._judge(ref, seen, heard, {}, after, asked, self._clock())
        if status.state.terminal or not seen.found:
            return status, None
        if heard.jobs is None:
            raise Unreachable(f"{heard.why} (on `{self._name}`).")
        has_nodes = job is not None and job.word in ("RUNNING", "SUSPENDED") and bool(job.hosts)
        return status, job if has_nodes else None

    def _judge(
        self,
        ref: JobRef,
        seen: Evidence,
        heard: Heard,
        runs: Mapping[str, str],
        after: After,
        asked: float,
        answered: float,
    ) -> tuple[Status, Job | None, Native | None]:
        """How a run of ours is, and the job and Slurm's word that this rests on.

        Args:
            runs: Our runs by the numbers of their jobs.
            after: What the accounting says of jobs that are listed no more.
        """
        mine = [] if heard.jobs is None else heard.jobs.of_run(ref.run_id)
        job = reading.job_of(mine, seen) if seen.found else None
        if job is None:
            job = self._ended(ref, seen, after)
        if job is not None and (job.key or ("", 0))[1] < ref.attempt:
            latest = seen.attempt if seen.attempt is not None else -1
            job = job if latest >= ref.attempt else None
        before = None if job is None else reading.before(self._waiting, job)
        around = Around(runs=runs, now=heard.now, before=before)
        native = self._native(ref, seen, job, heard, around, after)
        status = reading.status(
            seen, ref.attempt, job, native, heard, asked=asked, answered=answered
        )
        return status, job, native

    async def _after(
        self,
        channel: AgentChannel,
        refs: Collection[JobRef],
        heard: Heard,
        evidence: Mapping[str, Evidence],
        within: float | None = None,
    ) -> After:
        """What the accounting says of those whose end only Slurm knows, and does not list."""
        if heard.jobs is None:
            return After()
        listed = heard.jobs.run_of()
        gone: dict[str, None] = {}
        for ref in refs:
            if not ref.run_id:
                if not heard.jobs.lists(ref.native_id) and listing.JOB.fullmatch(ref.native_id):
                    gone[ref.native_id] = None
            elif reading.wants_an_end(seen := evidence[ref.run_id]):
                number = reading.number_of(seen)
                if number and number not in listed:
                    gone[number] = None
        return await self._gone.ask(channel, list(gone), within=within)

    @staticmethod
    def _ended(ref: JobRef, seen: Evidence, after: After) -> Job | None:
        """How the job of a run ended by the accounting, if that tells of this one."""
        job = after.ended(reading.number_of(seen)) if reading.wants_an_end(seen) else None
        return job if job is not None and (job.key or ("", 0))[0] == ref.run_id else None

    def _native(
        self,
        ref: JobRef,
        seen: Evidence,
        job: Job | None,
        heard: Heard,
        around: Around,
        after: After,
    ) -> Native | None:
        if not seen.found:
            return None
        latest = max(
            seen.attempt if seen.attempt is not None else -1,
            seen.queued.attempt if seen.queued is not None else -1,
        )
        if job is None and latest < ref.attempt:
            return None
        key = f"{ref.run_id}/{latest}"
        goes_on = job is not None and not job.over
        if goes_on or heard.jobs is None:
            self._gone_since.pop(key, None)
            gone_for = 0.0
        else:
            now = time.monotonic()
            gone_for = now - self._gone_since.setdefault(key, now)
        return reading.native_of(job, seen, heard, around, gone_for, after)

    async def look(
        self, channel: AgentChannel, runs: Sequence[str], *, briefly: bool = False
    ) -> tuple[Heard, dict[str, Evidence]]:
        """One request: Slurm's list of this user's jobs, then what the run directories show.

        Args:
            briefly: What they show is not to wait for a list that takes long; who acts on the list
                wants to know how it is now.
        """
        now = time.monotonic()
        waiting = self._wants_waiting and now - self._waiting_at >= PRIORITIES_EVERY
        if briefly:
            answer, told, age = await self._lists.look(channel, runs, waiting=waiting)
        else:
            request = {"runs": list(runs)}
            answer, told = await self._scheduler.ask(channel, "poll", request, waiting=waiting)
            age = time.monotonic() - now
        self._listed = (now, told.jobs)
        if told.waiting is not None:
            self._waiting_at = now
            self._waiting = told.waiting
        moment = answer.get("now")
        there = float(moment) if isinstance(moment, (int, float)) else self._clock()
        heard = Heard(
            jobs=told.jobs,
            why=f"Slurm does not answer: {told.why}",
            now=there,
            asked=there - age,
            shared=answer.get("shared") is not False,
            min_job_age=told.min_job_age,
        )
        self._wants_waiting = heard.jobs is not None and heard.jobs.waits_by_priority()
        seen = answer.get("runs")
        shown = seen if isinstance(seen, dict) else {}
        return heard, {run: decode_evidence(shown.get(run)) for run in runs}

    @staticmethod
    def _to_keep(seen: Evidence, status: Status, native: Native) -> bool:
        """Whether how a run ended is known by Slurm alone, which forgets it."""
        if seen.word is not None or not native.answered:
            return False
        if seen.exit is not None:
            return seen.exit.cause == "outside" and native.state is not None
        if seen.alive or seen.removed or not seen.found or seen.error or seen.newer:
            return False
        if seen.queued is None and seen.job is None:
            return False
        if status.rank is Rank.NATIVE:
            return True
        return status.rank is Rank.LOST and native.over_for > LOST_AFTER

    async def _concluded(
        self,
        channel: AgentChannel,
        ends: Mapping[JobRef, tuple[Evidence, Job | None, Native]],
        found: Mapping[JobRef, Status],
        heard: Heard,
    ) -> dict[JobRef, Status]:
        """What `_conclude` finds, if that comes soon. Until it has, those runs are not over: how
        they ended is written down only once."""
        task = self._concluding
        mine = task is None
        if task is None:
            conclude = self._conclude(channel, ends, found, heard)
            task = self._concluding = asyncio.create_task(conclude, name="conclude")
        done, _ = await asyncio.wait({task}, timeout=SOON)
        if done:
            self._concluding = None
            better = task.result()
            if mine:
                return better
        return {ref: _not_yet(found[ref]) for ref in ends}

    async def _conclude(
        self,
        channel: AgentChannel,
        ends: Mapping[JobRef, tuple[Evidence, Job | None, Native]],
        found: Mapping[JobRef, Status],
        heard: Heard,
    ) -> dict[JobRef, Status]:
        """Ask for the details of what has ended without a record, and write them down beside the
        run, so that its directory tells how it ended when Slurm has forgotten."""
        some = dict(list(ends.items())[:CONCLUDED_AT_ONCE])
        listed = heard.jobs.run_of() if heard.jobs is not None else {}
        known = [job.number for _, job, _ in some.values() if job and job.number in listed]
        details = await self._scheduler.details(channel, known)
        better: dict[JobRef, Status] = {}
        for ref, (seen, job, native) in some.items():
            number = job.number if job is not None else seen.job or ""
            status = found[ref]
            if (detail := details.get(number)) is not None and detail.over:
                began = bool(detail.hosts) or seen.attempt is not None
                native = replace(
                    native,
                    state=detail.state,
                    reason=native.reason or words.ended(detail, Around()),
                    exit_code=detail.exit_code if began else None,
                    signal=detail.signal if began else None,
                    ended=detail.ended or native.ended,
                )
                again = reading.status(
                    *(seen, ref.attempt, job, native, heard),
                    asked=status.observed_at,
                    answered=status.observed_at,
                )
                if again.state.terminal:
                    status = better[ref] = again
            word = {
                "state": str(native.state or status.state),
                "reason": status.reason,
                "exit_code": native.exit_code,
                "signal": native.signal,
                "started": native.started,
                "ended": native.ended,
                "host": native.host or "",
            }
            attempt = seen.queued.attempt if seen.attempt is None and seen.queued else seen.attempt
            with suppress(BackendError):
                await channel.call(
                    "conclude",
                    {
                        "run_id": ref.run_id,
                        "attempt": attempt or 0,
                        "word": word,
                        "final": job is None or job.word not in reading.RETURNS,
                    },
                )
        return better


def _not_yet(status: Status) -> Status:
    """Of a run that is over: it is not known how."""
    return Status(
        state=State.STOPPING,
        observed_at=status.observed_at,
        attempt=status.attempt,
        started=status.started,
        host=status.host,
        log_bytes=status.log_bytes,
        reason="Slurm says that it is over, and is being asked how",
    )
