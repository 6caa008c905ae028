"""Slurm's reasons in sentences: why a job waits, and why it ended.

The table holds what Slurm says (`Reason`) and what that means for whoever waits. A reason that is
not in it is given as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from traindeck.backends.base import State
from traindeck.backends.data import dataclass
from traindeck.backends.slurm.listing import Job

HOPELESS = "it will never start: stop it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What else is known, to say it in the sentence.

    Attributes:
        before: How many jobs of its partition stand before it, None if that was not asked.
        runs: Runs by the number of their Slurm job, for dependencies.
        max_time: The time limit of its partition, seconds.
        now: By the cluster's clock.
    """

    before: int | None = None
    runs: Mapping[str, str] = field(default_factory=dict)
    max_time: float | None = None
    now: float = 0.0


_WAITING: Mapping[str, str] = {
    "Resources": "waits for resources: it is next, once {what} {be} free",
    "Priority": "waits for priority: {before} before it",
    "BeginTime": "waits for its time to begin{at}",
    "JobHeldUser": "is held by its user: scontrol release lets it go",
    "JobHeldAdmin": "is held by an administrator of the cluster: ask them",
    "DependencyNeverSatisfied": "waits for {failed}, which did not succeed: " + HOPELESS,
    "Dependency": "waits for {depends}",
    "PartitionDown": "waits: partition {partition} is down",
    "PartitionInactive": "waits: partition {partition} is switched off",
    "PartitionNodeLimit": "asks for {nodes}, more than partition {partition} allows: " + HOPELESS,
    "PartitionTimeLimit": "asks for more time than partition {partition} allows: " + HOPELESS,
    "PartitionConfig": "asks for what partition {partition} does not have: " + HOPELESS,
    "ReqNodeNotAvail": "waits: a node that it needs is not available{nodes_named}",
    "Reservation": "waits for its reservation to begin, or for room in it",
    "ReservationDeleted": "its reservation was deleted: " + HOPELESS,
    "Licenses": "waits for a license",
    "InvalidAccount": "its account is not valid: " + HOPELESS,
    "InvalidQOS": "its QOS is not valid: " + HOPELESS,
    "AccountNotAllowed": "its account may not use partition {partition}: " + HOPELESS,
    "QOSNotAllowed": "its QOS may not be used in partition {partition}: " + HOPELESS,
    "BadConstraints": "no node can ever be what it asks for: " + HOPELESS,
    "Cleaning": "waits for what an earlier try of it left to be cleaned up",
    "Prolog": "starts: the cluster's prolog runs",
    "NodeDown": "waits: a node that it needs is down",
    "FrontEndDown": "waits: no front end node is up",
    "ArrayTaskLimit": "waits for other tasks of its array: so many may run at once",
    "JobArrayTaskLimit": "waits for other tasks of its array: so many may run at once",
    "JobLaunchFailure": "could not be launched, and waits to be tried again",
    "JobHoldMaxRequeue": "was requeued too often and is held: scontrol release lets it go",
    "SystemFailure": "waits: a failure of the cluster's own; ask its administrators",
    "NonZeroExitCode": "failed",
    "InactiveLimit": "waited for too long",
    "BurstBufferResources": "waits for room in the burst buffer",
    "BurstBufferStageIn": "waits for its data to be staged in",
    "DeadLine": "cannot end before its deadline: " + HOPELESS,
    "MaxRequeueReached": "was requeued as often as it may",
    "OutOfMemory": "ran out of memory",
    "None": "waits to be looked at",
    "": "waits to be looked at",
}

_LIMITS = re.compile(
    r"(Assoc|QOS)(Max|Grp|Min)(Jobs|Submit|Wall|Node|Nodes|Cpu|CPU|CPUs|Mem|Memory|GRES|Gres|Billing"
    r"|Energy|BB|License)?[A-Za-z]*(?:\(([^)]*)\))?"
)
_DEPENDED = re.compile(r"(?<=[:,?])(\d+(?:_\d+)?)(?:_\*)?(?:\+\d+)?(?=[(:,?]|$)")
_FAILED = re.compile(r"[^,?]+\(failed\)")
_WHAT = {
    "Jobs": "jobs at once",
    "Submit": "submitted jobs",
    "Wall": "time",
    "Node": "nodes",
    "Nodes": "nodes",
    "Cpu": "CPUs",
    "CPU": "CPUs",
    "CPUs": "CPUs",
    "Mem": "memory",
    "Memory": "memory",
    "GRES": "GPUs",
    "Gres": "GPUs",
    "Billing": "billing units",
    "Energy": "energy",
    "BB": "burst buffer",
    "License": "licenses",
}


def waiting(job: Job, around: Around) -> str:
    """Why a job waits, in a sentence without a capital and a full stop."""
    said = job.reason
    word = re.split(r"[,\s(]", said, maxsplit=1)[0]
    named = said.replace(" ", "_")
    template = _WAITING.get(named) or _WAITING.get(word)
    if word == "ReqNodeNotAvail" and "eserved" in said:
        template = "waits: a node that it needs may be kept by a reservation"
    if template is None and named.startswith("Nodes_required_for_job_are_DOWN"):
        template = "waits: nodes that it needs are down, drained or kept for more urgent partitions"
    if template is not None:
        sentence = template.format(
            what=_wanted(job),
            be="is" if (job.gpus or job.nodes) == 1 else "are",
            before=_before(around.before),
            at=_at(job, around),
            depends=_depends(job, around),
            failed=_depends(job, around, failed=True),
            partition=job.partition or "?",
            nodes="1 node" if job.nodes == 1 else f"{job.nodes or 'some'} nodes",
            nodes_named=_named(said),
        )
    elif limit := _LIMITS.match(word):
        sentence = _limit(limit, said)
    else:
        sentence = f"waits: Slurm says {said}"
    if HOPELESS not in sentence and word != "BeginTime" and (when := _expected(job, around)):
        sentence = f"{sentence}; {when}"
    return sentence


def _limit(match: re.Match[str], said: str) -> str:
    """A limit of an association or a QOS: `QOSMaxGRESPerUser`, `AssocGrpGRES`."""
    owner = "its QOS" if match[1] == "QOS" else "its account"
    what = _WHAT.get(match[3] or "", "what it asks for")
    if match[2] == "Min":
        return f"asks for less {what} than {owner} wants ({said}): {HOPELESS}"
    if "PerJob" in said:
        return f"asks for more {what} than {owner} allows a job ({said}): {HOPELESS}"
    shared = " together with others" if match[2] == "Grp" else ""
    each = " a user" if "PerUser" in said else ""
    return f"waits: the limit of {owner} for {what}{each}{shared} is reached ({said})"


def _wanted(job: Job) -> str:
    parts = []
    if job.gpus:
        parts.append(f"{job.gpus} GPU{'s' * (job.gpus != 1)}")
    if job.nodes:
        parts.append(f"{job.nodes} node{'s' * (job.nodes != 1)}")
    return " on ".join(parts) or "they"


def _before(number: int | None) -> str:
    if number is None:
        return "other jobs come"
    return "1 job" if number == 1 else f"{number:,} jobs"


def _at(job: Job, around: Around) -> str:
    if job.start is None:
        return ""
    return f", in {span(job.start - around.now)}" if job.start > around.now else ""


def _expected(job: Job, around: Around) -> str:
    """Slurm's own estimate of the start."""
    if job.start is None or not around.now:
        return ""
    if job.start <= around.now:
        return "Slurm expects it now"
    return f"Slurm expects it in {span(job.start - around.now)}"


def _depends(job: Job, around: Around, *, failed: bool = False) -> str:
    """`afterok:17(unfulfilled)` as runs and jobs. `failed`: those of which Slurm says so, if there
    are any: it gives up at the first, and the others may go on or end well."""
    named = []
    of = ",".join(_FAILED.findall(job.dependency)) if failed else ""
    for number in _DEPENDED.findall(of or job.dependency):
        run = around.runs.get(number)
        named.append(f"run {run}" if run else f"job {number}")
    if not named:
        return "another job"
    return ", ".join(named[:8]) + (f" and {len(named) - 8} more" if len(named) > 8 else "")


def _named(said: str) -> str:
    _, colon, names = said.partition("UnavailableNodes:")
    names = names.strip(" )")
    return f" ({names[:80]})" if colon and names else ""


def ended(job: Job, around: Around) -> str:
    """Why a job that is over ended as it did, in Slurm's view; "" if there is nothing to say."""
    where = ", ".join(job.hosts[:4])
    on = f" on {where}" if where else ""
    match job.word:
        case "NODE_FAIL":
            return f"its node failed{on}"
        case "BOOT_FAIL":
            return f"its node could not be started{on}"
        case "LAUNCH_FAILED":
            return f"Slurm could not launch it{on}"
        case "OUT_OF_MEMORY":
            return f"ran out of the memory that it had asked for{on}"
        case "TIMEOUT":
            limit = f" of {span(job.limit)}" if job.limit else ""
            return f"its time limit{limit} was reached"
        case "DEADLINE":
            return "its deadline passed"
        case "PREEMPTED":
            return "a more urgent job took its place"
        case "CANCELLED":
            if job.reason == "DependencyNeverSatisfied" or job.reason == "Dependency":
                failed = _depends(job, around, failed=True)
                return f"{failed}, which it waited for, did not succeed"
            return "cancelled in Slurm" if job.hosts else "cancelled in Slurm before it started"
        case "REVOKED":
            return "another cluster of the federation runs it"
        case "FAILED":
            if job.reason == "JobLaunchFailure":
                return f"it was killed, or could not be launched{on}"
            if job.reason == "BadConstraints":
                return "no node can ever be what it asks for"
            if job.reason and job.reason != "NonZeroExitCode":
                return f"Slurm says {job.reason}"
    return ""


def now(job: Job, around: Around, *, again: bool = False) -> str:
    """What is to be said of a job as it is now.

    Args:
        again: It ran before, and Slurm has put it back into its queue.
    """
    if job.waits:
        how = "requeued" if again else ""
        if job.word != "PENDING":
            how = job.word.lower()
        return f"{how}: {waiting(job, around)}" if how else waiting(job, around)
    if job.over:
        if again and job.word == "CANCELLED" and not job.hosts:
            return "cancelled in Slurm while it waited to start again"
        return ended(job, around)
    if job.state is None:
        return f"Slurm says {job.word}, a word that this Traindeck does not know"
    match job.word:
        case "CONFIGURING":
            return "its nodes are being made ready"
        case "SUSPENDED" | "STOPPED":
            return "suspended by Slurm"
        case "COMPLETING":
            return "Slurm cleans up after it"
    return ""


def state(job: Job) -> State:
    """How it is; a word that is not known is taken for a job that goes on."""
    return job.state or State.RUNNING


def span(seconds: float) -> str:
    """A time that is still to pass, roughly."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            whole = seconds / size
            return f"{whole:.0f} {unit}" if whole >= 10 or unit == "min" else f"{whole:.1f} {unit}"
    return "a minute"
