"""From what Slurm lists and what a run directory shows to a status: pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from traindeck.backends.base import Rank, Reach, State, Status
from traindeck.backends.data import dataclass
from traindeck.backends.slurm import text, words
from traindeck.backends.slurm.gone import After
from traindeck.backends.slurm.listing import Job, Listing
from traindeck.backends.slurm.words import Around
from traindeck.backends.status import ATTRIBUTE_CACHE, Evidence, Native, Word, status_of

RETURNS = frozenset({"PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "FAILED"})
"""Words that a job may have for a moment before it waits again."""
MOMENT = 5.0
"""Seconds of such a moment: until then it is not taken for an end."""

JUST = 30.0
"""Seconds after a submission in which a list that has not the job may be older than it."""

_NOTHING = After()

BEAT = 10.0
"""Seconds between two heartbeats of a supervisor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one look at a cluster brought.

    Attributes:
        jobs: This user's jobs; None if Slurm did not answer, and `why`.
        now: By the clock of the host; `asked` is when Slurm was asked for the jobs.
        shared: Whether the run directories lie where other machines write.
        min_job_age: How long Slurm lists a job that is over; None if that is not known.
    """

    jobs: Listing | None = None
    why: str = ""
    now: float = 0.0
    asked: float = math.inf
    shared: bool = True
    min_job_age: float | None = None


def job_of(jobs: Sequence[Job], seen: Evidence) -> Job | None:
    """Which of the jobs submitted for a run tells of its latest attempt. `jobs` are those of the
    run, last submitted first."""
    number = seen.job
    latest = seen.queued.attempt if seen.queued is not None else seen.attempt
    newer = [job for job in jobs if job.key and latest is not None and job.key[1] > latest]
    if newer:
        return newer[0]
    for job in jobs:
        if number is not None and job.number == number:
            return job
    if number is not None:
        return None  # what is left of the name is a duplicate that did not come to run
    return jobs[0] if jobs else None


def number_of(seen: Evidence) -> str:
    """The number of the job that a run directory names, "" if it names none."""
    return seen.job or (seen.queued.id if seen.queued is not None else None) or ""


def wants_an_end(seen: Evidence) -> bool:
    """Whether how a run ended is left for Slurm to say, and is not written down yet."""
    if not seen.found or seen.word is not None:
        return False
    return seen.exit is None or seen.exit.cause == "outside"


def native_of(
    job: Job | None,
    seen: Evidence,
    heard: Heard,
    around: Around,
    gone_for: float,
    after: After = _NOTHING,
) -> Native | None:
    """Slurm's word on a run, None if it was never given to Slurm.

    Args:
        gone_for: Seconds since this console first found it missing or over.
        after: What the accounting says of jobs that are listed no more.
    """
    if heard.jobs is None:
        if seen.queued is None and seen.job is None:
            return None
        return _kept(seen.word) or Native(answered=False, reason=heard.why)
    if job is not None:
        over = gone_for
        if job.over and job.ended is not None:
            over = max(over, heard.now - job.ended)
        returns = job.word in RETURNS and over < MOMENT
        # What never had a node has a word for how it ended all the same, as `0:1`.
        began = bool(job.hosts) or seen.attempt is not None
        return Native(
            state=State.STOPPING if returns else words.state(job),
            reason=words.now(job, around, again=seen.exit is not None),
            exit_code=job.exit_code if began else None,
            signal=job.signal if began else None,
            started=job.start if not job.waits and job.hosts else None,
            ended=job.ended,
            host=job.hosts[0] if job.hosts else None,
            over_for=over,
        )
    if (kept := _kept(seen.word)) is not None:
        return kept
    if seen.queued is not None and (seen.queued.time or 0.0) > heard.asked:
        # The list is older than the job.
        return Native(state=State.QUEUED) if seen.attempt is None else None
    if seen.job is None and (seen.queued is None or seen.queued.id is None):
        return None  # it was just to be submitted
    if after.why:
        return Native(
            answered=False,
            reason=f"Slurm lists it no more, and its accounting cannot be asked: {after.why}",
        )
    if word := after.going_on(number_of(seen)):
        waits = seen.attempt is None and word == "PENDING"
        return Native(state=State.QUEUED if waits else State.STOPPING, reason=_behind(word))
    if (taken := _taken_out(seen, heard, gone_for)) is not None:
        return taken
    handed = seen.queued.time if seen.attempt is None and seen.queued is not None else None
    if handed is not None and heard.now - handed < JUST:
        return None  # nor has the accounting heard of it
    over = max(gone_for, heard.min_job_age or 0.0)
    if seen.attempt is not None and seen.heartbeat_age is not None:
        over = max(over, seen.heartbeat_age - BEAT)
    return Native(over_for=over)


def _taken_out(seen: Evidence, heard: Heard, gone_for: float) -> Native | None:
    """The word on a task of an array that waits no more and never began: of those that are
    cancelled before they start Slurm keeps nothing."""
    if seen.attempt is not None or seen.queued is None or "_" not in (seen.queued.id or ""):
        return None
    if seen.batch_said or seen.cancel_requested is not None:
        return None
    submitted = seen.queued.time
    if not gone_for and (submitted is None or heard.now - submitted < ATTRIBUTE_CACHE):
        return Native(state=State.QUEUED)  # it may have been submitted since Slurm was asked
    return Native(state=State.CANCELLED, reason="cancelled in Slurm before it started")


def _kept(word: Word | None) -> Native | None:
    if word is None:
        return None
    return Native(
        state=State(word.state),
        reason=word.reason,
        exit_code=word.exit_code,
        signal=word.signal,
        started=word.started,
        ended=word.ended,
        host=word.host or None,
        over_for=1e9,
    )


def status(
    seen: Evidence,
    attempt: int,
    job: Job | None,
    native: Native | None,
    heard: Heard,
    *,
    asked: float,
    answered: float,
) -> Status:
    """The status of a run of ours."""
    cache = ATTRIBUTE_CACHE if heard.shared else 0.0
    if seen.queued is not None and seen.attempt is None:
        attempt = max(attempt, seen.queued.attempt)
    found = status_of(seen, attempt, asked, answered=answered, native=native, cache=cache)
    if found.state is State.FAILED and seen.attempt is None and seen.batch_said:
        found = replace(found, reason=f"the batch step did not start: {seen.batch_said[-200:]}")
    if job is None:
        return found
    return replace(
        found,
        limit=job.limit,
        nodes=job.hosts,
        expected=job.start if job.waits else None,
        host=found.host or (job.hosts[0] if job.hosts else None),
    )


def foreign(job: Job | None, heard: Heard, around: Around, asked: float) -> Status:
    """The status of a job that somebody submitted by hand."""
    if heard.jobs is None:
        return Status(observed_at=asked, reach=Reach.DOWN, reason=heard.why)
    if job is None:
        return forgotten("", After(), asked)
    state = words.state(job)
    return Status(
        state=state,
        observed_at=asked,
        rank=Rank.NATIVE if state.terminal else Rank.NONE,
        exit_code=job.exit_code if job.exit_code is not None else _plain_end(job),
        signal=job.signal,
        reason=words.now(job, around),
        started=None if job.waits or not job.hosts else job.start,
        ended=job.ended,
        host=job.hosts[0] if job.hosts else None,
        limit=job.limit,
        nodes=job.hosts,
        expected=job.start if job.waits else None,
        evidence=(f"scheduler: {job.word.lower()} (job {job.number})",),
    )


def forgotten(number: str, after: After, asked: float) -> Status:
    """The status of a job that somebody submitted by hand, that Slurm lists no more, and of whose
    end nothing is known."""
    gone = "Slurm lists it no more"
    if after.why:
        why = f"{gone}, and its accounting cannot be asked: {after.why}"
        return Status(observed_at=asked, reach=Reach.DOWN, reason=why)
    if word := after.going_on(number):
        return Status(state=State.STOPPING, observed_at=asked, reason=_behind(word))
    if after.kept:
        said = after.jobs.get(number)
        has = f"says {said.word.lower()}, which it is not" if said else "has nothing of it"
        return Status(
            state=State.LOST, observed_at=asked, reason=f"gone: {gone}, and its accounting {has}"
        )
    return Status(
        state=State.LOST,
        observed_at=asked,
        reason=f"gone: {gone}, and keeps no record of how jobs ended",
    )


def _behind(word: str) -> str:
    return f"Slurm lists it no more; its accounting still says {word.lower()}"


def _plain_end(job: Job) -> int | None:
    return 0 if job.word == "COMPLETED" else None


def before(waiting: Mapping[str, Sequence[int]], job: Job) -> int | None:
    """How many jobs of its partition wait with a higher priority."""
    if job.priority is None or job.partition not in waiting:
        return None
    return sum(priority > job.priority for priority in waiting[job.partition])


def priorities(output: str) -> dict[str, list[int]]:
    """Of `squeue -o "%P|%Q"`: the priorities of all waiting jobs by partition."""
    found: dict[str, list[int]] = {}
    for line in output.splitlines():
        partition, bar, priority = line.rpartition("|")
        if bar and text.is_number(priority.strip()):
            for one in partition.split(","):
                found.setdefault(one.strip(), []).append(int(priority))
    return found
