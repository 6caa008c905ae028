"""The lists of jobs: `squeue`, and `sacct` where there is accounting.

Both are asked for one line a job with fields of our choice, which print alike in every version; the
name comes last, because it is the user's own text and may hold the separator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from traindeck.backends.arrays import PREFIX, listed_indices, task_id
from traindeck.backends.base import State
from traindeck.backends.data import dataclass
from traindeck.backends.slurm import text

SQUEUE = "%i|%A|%F|%T|%P|%D|%b|%l|%L|%V|%S|%e|%Q|%a|%q|%u|%E|%N|%r|%j"
"""The format of `squeue`: see `squeue` below for what each is."""

SACCT = "JobIDRaw,JobID,State,ExitCode,Submit,Start,End,NodeList,Partition,Reason,JobName"
"""The fields of `sacct -P`."""

NAME = re.compile(r"td-([0-9a-hjkmnp-tv-z]{12})-(0|[1-9][0-9]{0,4})")
"""The name of a job of ours: the run and the attempt it was submitted for."""

ARRAY = re.compile(r"td-([0-9a-hjkmnp-tv-z]{8})-array")
"""The name of a job array of ours, with what the ids of its runs begin with."""

JOB = re.compile(r"[0-9]{1,12}(?:_[0-9]{1,12})?")
"""What names one job, or one task of an array."""

_OURS = re.compile(rf"\|(?:{NAME.pattern}|{ARRAY.pattern})$", re.MULTILINE)
COLUMNS = SQUEUE.count("|")

REST = "[*]"
"""Stands, in the id of an array, for its tasks that have not been started."""

STATES: Mapping[str, State] = {
    "PENDING": State.QUEUED,
    "REQUEUED": State.QUEUED,
    "REQUEUE_HOLD": State.QUEUED,
    "REQUEUE_FED": State.QUEUED,
    "RESV_DEL_HOLD": State.QUEUED,
    "SPECIAL_EXIT": State.QUEUED,
    "CONFIGURING": State.STARTING,
    "RUNNING": State.RUNNING,
    "SUSPENDED": State.RUNNING,
    "STOPPED": State.RUNNING,
    "RESIZING": State.RUNNING,
    "COMPLETING": State.STOPPING,
    "SIGNALING": State.STOPPING,
    "STAGE_OUT": State.STOPPING,
    "COMPLETED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "NODE_FAIL": State.FAILED,
    "BOOT_FAIL": State.FAILED,
    "LAUNCH_FAILED": State.FAILED,
    "OUT_OF_MEMORY": State.FAILED,
    "CANCELLED": State.CANCELLED,
    "REVOKED": State.CANCELLED,
    "TIMEOUT": State.TIMEOUT,
    "DEADLINE": State.TIMEOUT,
    "PREEMPTED": State.PREEMPTED,
}
"""Slurm's word for how a job is, in ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as Slurm lists it.

    Attributes:
        id: What names it to Slurm's commands, a task of an array included (`12_3`).
        number: The number that it alone has; of a task of an array of ours its id, for the number
            is another one before it starts.
        word: Slurm's own word for its state; `state` is ours, None for a word that is not known.
        array: Whether it is (a task of) an array.
        start: When it started, or is expected to.
        limit, left: Of its time, in seconds; None without a limit.
        nodes: How many it has or wants; `hosts` are their names once it has them.
    """

    id: str = ""
    number: str = ""
    name: str = ""
    word: str = ""
    state: State | None = None
    reason: str = ""
    array: bool = False
    partition: str = ""
    account: str = ""
    qos: str = ""
    user: str = ""
    dependency: str = ""
    priority: int | None = None
    nodes: int | None = None
    hosts: tuple[str, ...] = ()
    gpus: int = 0
    limit: float | None = None
    left: float | None = None
    submitted: float | None = None
    start: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    signal: int | None = None

    @property
    def over(self) -> bool:
        """Whether Slurm is done with it. Of a word that is not known: it is not."""
        return self.state is not None and self.state.terminal

    @property
    def waits(self) -> bool:
        """Whether it waits to be started."""
        return self.state is State.QUEUED

    @property
    def key(self) -> tuple[str, int] | None:
        """The run and the attempt it was submitted for, None if it is not one of ours."""
        match = NAME.fullmatch(self.name)
        return (match[1], int(match[2])) if match else None


def job_name(run_id: str, attempt: int) -> str:
    """The name under which an attempt is submitted."""
    return f"td-{run_id}-{attempt}"


def array_name(run_id: str) -> str:
    """The name under which the array is submitted that a run is a task of."""
    return f"td-{run_id[:PREFIX]}-array"


def order(number: str) -> tuple[int, int]:
    """What sorts jobs by when they were submitted."""
    array, _, task = number.partition("_")
    return int(array), int(task) if text.is_number(task) else 0


def latest(job: Job) -> tuple[int, bool, tuple[int, int]]:
    """What sorts the jobs of a run: its last attempt first, those that are over last."""
    return -(job.key or ("", 0))[1], job.over, order(job.number)


def tasks(job: str, name: str) -> Iterator[tuple[str, str, str]]:
    """(run, what names it to Slurm, the name it would have by itself) of each task of ours that a
    line of an array stands for: of those that have not been started there is one line for all."""
    match = ARRAY.fullmatch(name)
    array, _, rest = job.partition("_")
    if match is None or not text.is_number(array):
        return
    for index in listed_indices(rest.strip("[]")):
        run = task_id(match[1], index)
        yield run, f"{array}_{index}", job_name(run, 0)


class Listing:
    """What `squeue -h -o SQUEUE` printed. Of ten thousand lines only those that are asked for are
    read: a reader of a few runs pays for a few.

    A line that is none (a warning, a name with a line break in it) is passed over.
    """

    def __init__(self, output: str = "") -> None:
        self._output = output
        self._ours: dict[str, list[str]] = {}
        self._of_ours: set[str] = set()
        self._others: dict[str, str] | None = None
        for match in _OURS.finditer(output):
            line = output[output.rfind("\n", 0, match.start()) + 1 : match.end()]
            if line.count("|") != COLUMNS or not _number(line):
                continue
            self._of_ours.add(line)
            if match[1]:
                self._ours.setdefault(match[1], []).append(line)
                continue
            parts = line.split("|")
            for run, own, name in tasks(parts[0].strip(), parts[-1]):
                mine = "|".join((own, own, *parts[2:-1], name))
                self._ours.setdefault(run, []).append(mine)

    @property
    def readable(self) -> bool:
        """Whether something in it is a job, or there is nothing in it."""
        lines = (line for line in self._output.split("\n") if line.strip())
        first = next(lines, None)
        return first is None or _is_job(first) or any(map(_is_job, lines))

    def of_run(self, run_id: str) -> list[Job]:
        """The jobs submitted for a run of ours, the last one first."""
        jobs = [_job(line) for line in self._ours.get(run_id, ())]
        jobs.sort(key=latest)
        return jobs

    def runs(self) -> list[str]:
        """The runs of ours that are listed."""
        return list(self._ours)

    def run_of(self) -> dict[str, str]:
        """Our runs by the numbers of their jobs."""
        return {
            line.split("|", 2)[1].strip(): run
            for run, lines in self._ours.items()
            for line in lines
        }

    def waits_by_priority(self) -> bool:
        """Whether one of ours waits because others come before it."""
        return any(
            "|PENDING|" in line and "|Priority|" in line
            for lines in self._ours.values()
            for line in lines
        )

    def foreign(self) -> Iterator[Job]:
        """Those that are not ours."""
        for line in self._not_ours().values():
            yield _job(line)

    def lists(self, native_id: str) -> bool:
        """Whether one of them is listed."""
        return native_id in self._not_ours()

    def foreign_job(self, native_id: str) -> Job | None:
        """One of them."""
        line = self._not_ours().get(native_id)
        return None if line is None else _job(line)

    def _not_ours(self) -> dict[str, str]:
        if self._others is None:
            self._others = {
                native(line.partition("|")[0].strip()): line
                for line in self._output.split("\n")
                if _is_job(line) and line not in self._of_ours
            }
        return self._others


def squeue(output: str) -> list[Job]:
    """All the jobs that are listed."""
    listing = Listing(output)
    jobs = [job for run in listing.runs() for job in listing.of_run(run)]
    return [*jobs, *listing.foreign()]


def native(job: str) -> str:
    """What names a job here. What is left of an array has a name that stays while tasks start."""
    array, bracket, _ = job.partition("_[")
    return f"{array}_{REST}" if bracket else job


def _is_job(line: str) -> bool:
    return line.count("|") >= COLUMNS and bool(_number(line))


def _number(line: str) -> str:
    """The number of the job of a line, "" if it has none."""
    number = line.split("|", 2)[1].strip()
    return number if text.is_number(number) else ""


@lru_cache(maxsize=1 << 14)  # from one look to the next, most lines stay as they are
def _job(line: str) -> Job:
    parts = line.split("|", COLUMNS)
    job, number, array, word, partition, nodes, gres, limit, left = parts[:9]
    submitted, start, end, priority, account, qos, user, dependency, hosts, reason, name = parts[9:]
    word = state_word(word)
    state = STATES.get(word)
    over = state is not None and state.terminal
    count = text.count(nodes.partition("-")[0])
    return Job(
        id=job.strip(),
        number=number.strip(),
        name=name,
        word=word,
        state=state,
        reason=text.known(reason),
        array=job.strip() != array.strip() or "_" in job,
        partition=text.known(partition),
        account=text.known(account),
        qos=text.known(qos),
        user=user.strip(),
        dependency=text.known(dependency),
        priority=text.count(priority),
        nodes=count,
        hosts=text.nodes(hosts),
        gpus=text.gpu_count(gres) * (count or 1),
        limit=text.duration(limit),
        left=text.duration(left),
        submitted=text.moment(submitted),
        start=text.moment(start),
        ended=text.moment(end) if over else None,
    )


def sacct(output: str) -> list[Job]:
    """The jobs of `sacct -X -n -P -o SACCT`. With -D a requeued job has a line for each time, and
    so has one of an earlier job of the same number; the last is how it is now."""
    found: dict[str, Job] = {}
    for line in output.splitlines():
        parts = line.split("|", SACCT.count(","))
        if len(parts) <= SACCT.count(",") or not text.is_number(parts[0].strip()):
            continue
        number, job, word, code, submitted, start, end, hosts, partition, reason, name = parts
        word = state_word(word)
        state = STATES.get(word)
        exit_code, signal = ending(code, word)
        given = "" if hosts.strip() == "None assigned" else hosts
        over = state is not None and state.terminal
        found[number] = Job(
            id=job.strip(),
            number=number.strip(),
            name=name,
            word=word,
            state=state,
            # What it waited for last, which stays there when it has run.
            reason="" if given else text.known(reason),
            array="_" in job,
            partition=text.known(partition),
            hosts=text.nodes(given),
            submitted=text.moment(submitted),
            start=text.moment(start),
            ended=text.moment(end) if over else None,
            exit_code=exit_code if over else None,
            signal=signal if over else None,
        )
    return list(found.values())


def shown(line: str) -> Job | None:
    """The job of a line of `scontrol -o show job`."""
    fields = text.record(line)
    number = fields.get("JobId", "").partition(" ")[0]
    if not text.is_number(number):
        return None
    array, task = fields.get("ArrayJobId", ""), fields.get("ArrayTaskId", "")
    word = state_word(fields.get("JobState", ""))
    state = STATES.get(word)
    exit_code, signal = ending(fields.get("ExitCode", ""), word)
    over = state is not None and state.terminal
    return Job(
        id=f"{array}_{task}" if array and task else number,
        number=number,
        name=fields.get("JobName", ""),
        word=word,
        state=state,
        reason=text.known(fields.get("Reason", "")).replace(",_", ", "),
        array=bool(array),
        partition=text.known(fields.get("Partition", "")),
        account=text.known(fields.get("Account", "")),
        qos=text.known(fields.get("QOS", "")),
        user=fields.get("UserId", "").partition("(")[0],
        dependency=text.known(fields.get("Dependency", "")),
        priority=text.count(fields.get("Priority", "")),
        nodes=text.count(fields.get("NumNodes", "").partition("-")[0]),
        hosts=text.nodes(fields.get("NodeList", "")),
        limit=text.duration(fields.get("TimeLimit", "")),
        submitted=text.moment(fields.get("SubmitTime", "")),
        start=text.moment(fields.get("StartTime", "")),
        ended=text.moment(fields.get("EndTime", "")) if over else None,
        exit_code=exit_code if over else None,
        signal=signal if over else None,
    )


def output_of(line: str) -> str:
    """The file that a job of `scontrol -o show job` writes to, absolute, "" if it is not said."""
    path = text.record(line).get("StdOut", "")
    return path if path.startswith("/") and "%" not in path else ""


def state_word(word: str) -> str:
    """Slurm's word for a state, without what may follow it (`CANCELLED by 1000`)."""
    parts = word.split()
    return parts[0].rstrip("+").upper() if parts else ""


def ending(code: str, word: str = "COMPLETED") -> tuple[int | None, int | None]:
    """(exit code, signal) of `code:signal`. The 0 of a job that did not succeed (its time was over,
    its node failed) is no exit code."""
    first, colon, second = code.strip().partition(":")
    if not colon or not text.is_number(first) or not text.is_number(second):
        return None, None
    signal = int(second)
    # 0:53 and 0:125 are Slurm's own marks, not signals.
    if 0 < signal < 65 and signal != 53:
        return None, signal
    said = int(first)
    return said if said < 256 and (said or word == "COMPLETED") else None, None
