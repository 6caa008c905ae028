"""What slurmrestd answers, read: pure, for every version from 0.0.38 on, patient with the rest.

A value may come in two shapes: 0.0.38 says `5` and `"RUNNING"` where later versions say
`{"set": true, "infinite": false, "number": 5}` and `["RUNNING"]`. Whatever does not have the shape
it should is left out; nothing raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from traindeck.backends.slurm import listing, text
from traindeck.backends.slurm.cluster import Cluster, Config, Group, Partition, Reservation
from traindeck.backends.slurm.listing import STATES, Job, Listing

VERSIONS = (38, 40, 41, 42, 43, 44, 45)
"""The last number of those that are spoken here. 0.0.39 is always offered beside one of them."""

NEVER = 0xFFFF_FFF0
"""Numbers from here on mean "not set" or "without a limit" in 0.0.38."""

_FIRST = (
    *("COMPLETING", "STAGE_OUT", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_FED"),
    *("REQUEUE_HOLD", "SPECIAL_EXIT", "STOPPED", "REVOKED", "RESV_DEL_HOLD", "SIGNALING"),
)
"""Words that say more of a job than the state they stand beside, as squeue ranks them."""

_PATH = re.compile(r"/slurm/v0\.0\.(\d{1,4})/jobs?/?\b")


def versions(description: object) -> list[int]:
    """The versions that a description of the interface (`/openapi/v3`) offers, ascending."""
    paths = _map(_map(description).get("paths"))
    found = {int(match[1]) for path in paths if (match := _PATH.match(str(path)))}
    return sorted(found)


def best(offered: Sequence[int]) -> int | None:
    """The highest that is spoken here."""
    return max((one for one in offered if one in VERSIONS), default=None)


def release(answer: object) -> tuple[str, str]:
    """(Slurm's own version, the cluster's name), "" for what is not said."""
    meta = _map(_map(answer).get("meta"))
    slurm = _map(meta.get("Slurm") or meta.get("slurm"))
    return _text(slurm.get("release"))[:40], _text(slurm.get("cluster"))[:80]


def said(answer: object) -> str:
    """What went wrong in Slurm's own words, on one line; "" if nothing did."""
    found: list[str] = []
    for error in _list(_map(answer).get("errors"))[:8]:
        words = _map(error)
        name, more = _text(words.get("error")), _text(words.get("description"))
        for one in (more, name):
            vague = one in ("Unspecified error", "Failure during parsing")
            if one and not any(one in other for other in found) and not (vague and found):
                found.append(one)
    return text.one_line("\n".join(_plain(one) for one in found))


def error_numbers(answer: object) -> set[int]:
    """Slurm's numbers of what went wrong."""
    found = set()
    for error in _list(_map(answer).get("errors")):
        for key in ("error_number", "error_code", "errno"):
            if (value := _map(error).get(key)) is not None and isinstance(value, int):
                found.add(value)
    return found


def submitted(answer: object) -> str | None:
    """The number of the job that a submission made."""
    words = _map(answer)
    found = number(words.get("job_id"))
    if found is None:
        found = number(_map(words.get("result")).get("job_id"))
    return str(found) if found else None


class Jobs(Listing):
    """Jobs that are read already, as a listing. `ours`: whether runs are told from other jobs."""

    def __init__(self, jobs: Sequence[Job] = (), *, ours: bool = True) -> None:
        super().__init__()
        self._runs: dict[str, list[Job]] = {}
        self._foreign: dict[str, Job] = {}
        for job in jobs:
            tasks = list(listing.tasks(job.id, job.name)) if ours else []
            for run, own, name in tasks:
                task = replace(job, id=own, number=own, name=name)
                self._runs.setdefault(run, []).append(task)
            if tasks:
                continue
            if ours and job.key is not None:
                self._runs.setdefault(job.key[0], []).append(job)
            else:
                self._foreign[listing.native(job.id)] = job
        for mine in self._runs.values():
            mine.sort(key=listing.latest)

    def everything(self) -> Iterator[Job]:
        """All of them."""
        for jobs in self._runs.values():
            yield from jobs
        yield from self._foreign.values()

    def of_run(self, run_id: str) -> list[Job]:
        """See `Listing.of_run`."""
        return self._runs.get(run_id, [])

    def runs(self) -> list[str]:
        """See `Listing.runs`."""
        return list(self._runs)

    def run_of(self) -> dict[str, str]:
        """See `Listing.run_of`."""
        return {job.number: run for run, jobs in self._runs.items() for job in jobs}

    def waits_by_priority(self) -> bool:
        """See `Listing.waits_by_priority`."""
        ours = (job for jobs in self._runs.values() for job in jobs)
        return any(job.word == "PENDING" and job.reason == "Priority" for job in ours)

    def foreign(self) -> Iterator[Job]:
        """See `Listing.foreign`."""
        yield from self._foreign.values()

    def lists(self, native_id: str) -> bool:
        """See `Listing.lists`."""
        return native_id in self._foreign

    def foreign_job(self, native_id: str) -> Job | None:
        """See `Listing.foreign_job`."""
        return self._foreign.get(native_id)


def jobs(answer: object, user: str = "") -> list[Job]:
    """The jobs of a user that are listed; of everybody without one."""
    found = []
    for words in _list(_map(answer).get("jobs")):
        if user and _map(words).get("user_name") not in (user, None, ""):
            continue
        if (one := job(words)) is not None:
            found.append(one)
    return found


def priorities(answer: object) -> dict[str, list[int]]:
    """The priorities of all waiting jobs by partition."""
    found: dict[str, list[int]] = {}
    for words in _list(_map(answer).get("jobs")):
        priority = number(_map(words).get("priority"))
        if priority is None or state_word(_map(words).get("job_state")) != "PENDING":
            continue
        for partition in _text(_map(words).get("partition")).split(","):
            found.setdefault(partition, []).append(priority)
    return found


def job(value: object) -> Job | None:
    """One job, None if it is none."""
    words = _map(value)
    own = number(words.get("job_id"))
    if not own:
        return None
    array, task = number(words.get("array_job_id")), number(words.get("array_task_id"))
    tasks = _text(words.get("array_task_string"))
    named = str(own)
    if array and task is not None:
        named = f"{array}_{task}"
    elif array and tasks:
        named = f"{array}_[{tasks}]"
    word = state_word(words.get("job_state"))
    state = STATES.get(word)
    over = state is not None and state.terminal
    count = number(words.get("node_count"))
    exit_code, signal = ending(words.get("exit_code")) if over else (None, None)
    wanted = ("tres_per_node", count or 1), ("tres_per_job", 1)
    gpus = max(text.gpu_count(_text(words.get(key))) * times for key, times in wanted)
    limit = number(words.get("time_limit"))
    return Job(
        id=named,
        number=str(own),
        name=_text(words.get("name")),
        word=word,
        state=state,
        reason=text.known(_text(words.get("state_reason"))),
        array=bool(array),
        partition=_text(words.get("partition")),
        account=_text(words.get("account")),
        qos=_text(words.get("qos")),
        user=_text(words.get("user_name")),
        dependency=text.known(_text(words.get("dependency"))),
        priority=number(words.get("priority")),
        nodes=count,
        hosts=text.nodes(_text(words.get("nodes"))),
        gpus=gpus,
        limit=None if not limit else limit * 60.0,
        submitted=_moment(words.get("submit_time")),
        start=_moment(words.get("start_time")),
        ended=_moment(words.get("end_time")) if over else None,
        exit_code=exit_code,
        signal=signal,
    )


def output_of(value: object) -> str:
    """The file that a job writes to, absolute; "" if it is not said, or not in full."""
    words = _map(value)
    if expanded := _text(words.get("stdout_expanded")):
        return expanded if expanded.startswith("/") else ""
    found = job(value)
    if found is None:
        return ""
    array, _, task = found.id.partition("_")
    path = _text(words.get("standard_output"))
    if not path:
        path = "slurm-%A_%a.out" if found.array else "slurm-%j.out"
    if not path.startswith("/"):
        path = f"{_text(words.get('current_working_directory'))}/{path}"
    parts = {"A": array, "a": task, "j": found.number, "x": found.name, "u": found.user, "%": "%"}
    known = re.sub(r"%([AajxU%u])", lambda match: parts.get(match[1], match[0]), path)
    whole = known.startswith("/") and "%" not in known and known.isprintable()
    return known if whole and len(known) < 4096 else ""


def state_word(value: object) -> str:
    """Slurm's word for a state, the one that squeue would print."""
    if isinstance(value, str):
        return listing.state_word(value)
    found = [listing.state_word(one) for one in _list(value) if isinstance(one, str)]
    ranked = [word for word in _FIRST if word in found]
    return ranked[0] if ranked else next((word for word in found if word), "")


def ending(value: object) -> tuple[int | None, int | None]:
    """(exit code, signal) of a job that is over."""
    if isinstance(value, Mapping):
        code = number(value.get("return_code"))
        signal = number(_map(value.get("signal")).get("id"))
        if signal is None:
            signal = number(_map(value.get("signal")).get("signal_id"))
        return listing.ending(f"{code or 0}:{signal or 0}")
    status = number(value)
    if status is None or status > 0xFFFF:
        return None, None
    # As waitpid gives it.
    return listing.ending(f"{status >> 8}:{status & 0x7F}")


def cluster(config: Config, answers: Mapping[str, object], user: str) -> Cluster:
    """The cluster of what was answered to `partitions`, `nodes` and `reservations`."""
    listed = _list(_map(answers.get("partitions")).get("partitions"))
    flags = any("flags" in _map(one) for one in listed)
    return Cluster(
        config=config,
        partitions=tuple(_partitions(listed)),
        groups=tuple(_groups(answers.get("nodes"))),
        reservations=tuple(_reservations(answers.get("reservations"))),
        user=user,
        untold=("your accounts", *(() if flags else ("the default partition",))),
    )


def _partitions(listed: Sequence[object]) -> Iterator[Partition]:
    for value in listed:
        words = _map(value)
        name = _text(words.get("name"))
        if not name:
            continue
        most, usual = _map(words.get("maximums")), _map(words.get("defaults"))
        nodes, accounts = _map(words.get("nodes")), _map(words.get("accounts"))
        inner = _map(words.get("partition"))
        states = words.get("state") or inner.get("state")
        state = state_word(states)
        flags = {str(flag).upper() for flag in _list(words.get("flags"))}
        time = _first(number(most.get("time")), number(words.get("max_time_limit")))
        default = _first(number(usual.get("time")), number(words.get("default_time_limit")))
        limit = _first(number(most.get("nodes")), number(words.get("maximum_nodes_per_job")))
        yield Partition(
            name=name,
            default="DEFAULT" in flags,
            up=state in ("UP", ""),
            state=state,
            max_time=None if not time else time * 60.0,
            default_time=None if not default else default * 60.0,
            max_nodes=limit or None,
            total_nodes=_first(number(nodes.get("total")), number(words.get("total_nodes"))),
            accounts=_names(accounts.get("allowed") or words.get("allowed_accounts")),
            denied_accounts=_names(accounts.get("deny") or words.get("denied_accounts")),
            qos=_names(_map(words.get("qos")).get("allowed") or words.get("allowed_qos")),
        )


def _groups(answer: object) -> Iterator[Group]:
    alike: dict[tuple[Any, ...], list[str]] = {}
    for value in _list(_map(answer).get("nodes")):
        words = _map(value)
        name = _text(words.get("name"))
        if not name:
            continue
        states = [_text(one).lower() for one in _states(words)]
        kind = (
            "+".join(one for one in states if one),
            _text(words.get("reason")),
            number(words.get("cpus")),
            number(words.get("real_memory")),
            _text(words.get("gres")),
            _text(words.get("gres_used")),
        )
        for partition in _list(words.get("partitions")):
            if isinstance(partition, str):
                alike.setdefault((partition, *kind), []).append(name)
    for (partition, state, reason, cpus, memory, gres, used), names in alike.items():
        yield Group(
            hosts=tuple(names[: text.MAX_NODES]),
            partition=partition,
            state=state,
            reason=text.known(reason),
            cpus=cpus,
            memory=memory,
            gpus=text.gpus(gres),
            used=text.gpus(used),
        )


def _states(words: Mapping[str, Any]) -> list[object]:
    state = words.get("state")
    named = [state] if isinstance(state, str) else _list(state)
    return [*named, *_list(words.get("state_flags"))]


def _reservations(answer: object) -> Iterator[Reservation]:
    for value in _list(_map(answer).get("reservations")):
        words = _map(value)
        if name := _text(words.get("name")):
            yield Reservation(
                name=name,
                start=_moment(words.get("start_time")),
                end=_moment(words.get("end_time")),
                hosts=text.nodes(_text(words.get("node_list"))),
                users=_names(words.get("users")),
                accounts=_names(words.get("accounts")),
                groups=_names(words.get("groups")),
            )


def number(value: object) -> int | None:
    """A whole number in either shape; None if it is not set, or without a limit."""
    if isinstance(value, Mapping):
        if value.get("set") is False or value.get("infinite") is True:
            return None
        value = value.get("number")
    if isinstance(value, float) and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < NEVER else None


def _moment(value: object) -> float | None:
    found = number(value)
    return float(found) if found else None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _names(value: object) -> tuple[str, ...]:
    names = text.known(_text(value))
    return () if names == "ALL" else tuple(part for part in names.split(",") if part)


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _plain(said: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in said[:2000])
