"""From Slurm's word and a run directory to a status, where only files are seen of the node."""

from __future__ import annotations

from typing import Any, cast

import pytest

from traindeck.backends.base import AgentChannel, Rank, Reach, State, Status
from traindeck.backends.slurm import listing, reading
from traindeck.backends.slurm.gone import After, GoneJobs
from traindeck.backends.slurm.listing import Job, Listing
from traindeck.backends.slurm.reading import Heard
from traindeck.backends.slurm.scheduler import Forgotten, Scheduler
from traindeck.backends.slurm.words import Around
from traindeck.backends.status import Evidence, Exit, Queued, Word

NOW = 1_760_000_000.0
RUN = "0123456789ab"


def evidence(**more: Any) -> Evidence:
    """A claimed attempt on a node that is seen through a file server."""
    usual: dict[str, Any] = {
        "found": True, "attempt": 0, "phase": "running", "same_host": False, "host": "n1",
        "heartbeat_age": 4.0, "age": 100.0, "started": NOW - 90, "job": "17",
    }  # fmt: skip
    return Evidence(**{**usual, **more})


def queued(**more: Any) -> Evidence:
    """An attempt that was submitted and has not begun."""
    usual: dict[str, Any] = {
        "found": True, "age": 100.0, "job": "17",
        "queued": Queued(attempt=0, id="17", time=NOW - 100),
    }  # fmt: skip
    return Evidence(**{**usual, **more})


def job(word: str, **more: Any) -> Job:
    """Job 17 as Slurm lists it."""
    hosts = () if word == "PENDING" else ("n1",)
    usual: dict[str, Any] = {
        "id": "17", "number": "17", "name": f"td-{RUN}-0", "word": word, "partition": "gpu",
        "state": listing.STATES.get(word), "hosts": hosts, "nodes": 1, "limit": 3600.0,
    }  # fmt: skip
    return Job(**{**usual, **more})


def look(
    seen: Evidence,
    listed: Job | None,
    *,
    gone_for: float = 0.0,
    attempt: int = 0,
    after: After | None = None,
    **heard: Any,
) -> Status:
    """The status that one look gives."""
    jobs = [] if "why" in heard or listed is None else [listed]
    said = None if "why" in heard else Listing()
    told = Heard(**{"jobs": said, "now": NOW, "shared": True, **heard})
    mine = reading.job_of(jobs, seen)
    around = Around(now=NOW)
    native = reading.native_of(mine, seen, told, around, gone_for, after or After())
    return reading.status(seen, attempt, mine, native, told, asked=NOW, answered=NOW)


def test_a_run_on_a_node_runs_and_tells_its_limit_and_node() -> None:
    status = look(evidence(), job("RUNNING"))
    assert (status.state, status.reach) == (State.RUNNING, Reach.OK)
    assert (status.limit, status.nodes, status.host) == (3600.0, ("n1",), "n1")


def test_a_silent_heartbeat_is_no_end_while_slurm_says_that_it_runs() -> None:
    assert look(evidence(heartbeat_age=5000.0), job("RUNNING")).state is State.RUNNING


def test_a_record_counts_though_slurm_still_cleans_up() -> None:
    seen = evidence(exit=Exit(cause="self", exit_code=0, ended=NOW))
    status = look(seen, job("COMPLETING"))
    assert (status.state, status.rank) == (State.SUCCEEDED, Rank.RECORD)


@pytest.mark.parametrize(("gone_for", "state"), [(0, "stopping"), (59, "stopping"), (61, "lost")])
def test_a_run_that_slurm_lists_no_more_is_lost_when_the_file_server_had_its_time(
    gone_for: float, state: str
) -> None:
    assert look(evidence(), None, gone_for=gone_for).state == state


def test_a_list_that_keeps_jobs_for_minutes_says_by_itself_for_how_long_one_is_gone() -> None:
    assert look(evidence(), None, min_job_age=300.0).state is State.LOST
    assert look(evidence(), None, min_job_age=2.0).state is State.STOPPING
    assert look(evidence(heartbeat_age=75.0), None, min_job_age=2.0).state is State.LOST


def test_what_lies_on_a_disk_of_the_host_needs_no_waiting() -> None:
    assert look(evidence(), None, shared=False).state is State.LOST


@pytest.mark.parametrize(
    ("word", "state", "reason"),
    [
        ("NODE_FAIL", State.FAILED, "its node failed on n1"),
        ("OUT_OF_MEMORY", State.FAILED, "ran out of the memory that it had asked for on n1"),
        ("TIMEOUT", State.TIMEOUT, "its time limit of 1.0 h was reached"),
        ("PREEMPTED", State.PREEMPTED, "a more urgent job took its place"),
        ("CANCELLED", State.CANCELLED, "cancelled in Slurm"),
        ("BOOT_FAIL", State.FAILED, "its node could not be started on n1"),
        ("DEADLINE", State.TIMEOUT, "its deadline passed"),
    ],
)
def test_slurms_last_word_stands_where_there_is_no_record(
    word: str, state: State, reason: str
) -> None:
    before = look(evidence(), job(word, ended=NOW - 10))
    assert (before.state, before.rank) == (State.STOPPING, Rank.NONE)
    status = look(evidence(), job(word, ended=NOW - 70))
    assert (status.state, status.rank, status.reason) == (state, Rank.NATIVE, reason)


def test_a_job_that_never_had_a_node_was_not_ended_by_a_signal() -> None:
    never = job("FAILED", ended=NOW - 70, reason="BadConstraints", signal=1, hosts=())
    seen = queued()
    status = look(seen, never)
    assert (status.state, status.signal) == (State.FAILED, None)
    assert status.reason == "no node can ever be what it asks for"


def test_a_job_that_may_wait_again_in_a_moment_has_not_ended() -> None:
    seen = evidence(exit=Exit(cause="outside", signal=15, ended=NOW))
    assert look(seen, job("PREEMPTED", ended=NOW - 1), shared=False).state is State.STOPPING
    assert look(seen, job("PENDING", reason="BeginTime")).state is State.QUEUED
    assert look(seen, job("PREEMPTED", ended=NOW - 9)).state is State.PREEMPTED


def test_an_end_from_outside_is_what_was_heard_of_it_when_slurm_has_forgotten() -> None:
    for word in ("timeout", "preempted", "cancelled"):
        seen = evidence(exit=Exit(cause="outside", signal=15, ended=NOW, word=word))
        assert look(seen, None).state == word
    asked = evidence(exit=Exit(cause="outside", signal=15, ended=NOW), cancel_requested=NOW)
    assert look(asked, None).state is State.CANCELLED
    kept = Word(state="preempted", reason="a more urgent job took its place")
    seen = evidence(exit=Exit(cause="outside", signal=15, ended=NOW), word=kept)
    assert look(seen, None).state is State.PREEMPTED


def test_what_was_stopped_in_the_queue_is_stopped_at_once() -> None:
    seen = queued(cancel_requested=NOW)
    assert look(seen, job("PENDING")).state is State.STOPPING
    assert look(seen, job("CANCELLED", hosts=(), ended=NOW)).state is State.CANCELLED


def test_what_was_submitted_and_is_not_listed_is_lost_only_later() -> None:
    assert look(queued(), None).state is State.STOPPING
    status = look(queued(), None, min_job_age=300.0)
    assert (status.state, status.rank) == (State.LOST, Rank.LOST)


def test_what_was_just_to_be_submitted_is_new() -> None:
    seen = queued(age=5.0, job=None, queued=Queued(attempt=0, time=NOW - 5))
    assert look(seen, None).state is State.NEW
    assert look(seen, job("PENDING")).state is State.QUEUED  # found by its name


def test_a_scheduler_that_does_not_answer_changes_nothing() -> None:
    why = "Slurm does not answer: connection refused"
    assert look(evidence(), None, why=why).state is State.RUNNING
    waits = look(queued(age=9999.0), None, why=why)
    assert (waits.state, waits.reach, waits.reason) == (State.QUEUED, Reach.STALE, why)
    over = look(queued(word=Word(state="cancelled", reason="x")), None, why=why)
    assert (over.state, over.reason) == (State.CANCELLED, "x")
    record = evidence(exit=Exit(cause="self", exit_code=3, ended=NOW))
    assert look(record, None, why=why).state is State.FAILED
    assert look(Evidence(), None, why=why).state is State.LOST  # there is no such run


def test_a_later_submission_tells_of_the_run_and_a_duplicate_does_not() -> None:
    first = job("FAILED", ended=NOW - 500)
    second = job("PENDING", number="18", id="18", name=f"td-{RUN}-1")
    seen = evidence(exit=Exit(cause="self", exit_code=1, ended=NOW - 500))
    assert reading.job_of([second, first], seen) is second
    double = job("FAILED", number="19", id="19", name=f"td-{RUN}-0")
    assert reading.job_of([double, job("RUNNING")], evidence()) == job("RUNNING")
    assert reading.job_of([double], evidence()) is None


def test_the_estimated_start_is_told_of_what_waits() -> None:
    status = look(queued(), job("PENDING", reason="Resources", start=NOW + 7200))
    assert status.expected == NOW + 7200
    assert status.reason.endswith("Slurm expects it in 2.0 h")
    assert look(evidence(), job("RUNNING", start=NOW - 5)).expected is None


def test_what_the_accounting_takes_to_go_on_is_no_end_yet() -> None:
    """It hears of ends later than slurmctld forgets them."""
    behind = After(kept=True, jobs={"17": job("RUNNING")}, young=frozenset({"17"}))
    status = look(evidence(), None, min_job_age=2.0, gone_for=99.0, after=behind)
    assert (status.state, status.rank) == (State.STOPPING, Rank.NONE)
    assert "its accounting still says running" in status.reason
    waits = After(kept=True, jobs={"17": job("PENDING")}, young=frozenset({"17"}))
    assert look(queued(), None, gone_for=99.0, after=waits).state is State.QUEUED
    runaway = After(kept=True, jobs={"17": job("RUNNING")})
    assert look(evidence(), None, gone_for=99.0, after=runaway).state is State.LOST


def test_an_accounting_that_cannot_be_asked_loses_nothing() -> None:
    away = After(kept=True, why="Connection refused")
    status = look(evidence(heartbeat_age=5000.0), None, gone_for=9999.0, after=away)
    assert not status.state.terminal and status.reach is Reach.STALE
    by_hand = reading.forgotten("17", away, NOW)
    assert not by_hand.state.terminal and by_hand.reach is Reach.DOWN
    assert "its accounting cannot be asked: Connection refused" in by_hand.reason


def test_a_list_that_is_older_than_a_submission_does_not_lose_the_run() -> None:
    """Slurm is asked first, then the directory is read: what came between is in one of them."""
    seen = queued(age=1.0, queued=Queued(attempt=0, id="17", time=NOW - 1))
    for after in (After(), After(kept=True)):
        assert look(seen, None, min_job_age=300.0, after=after).state is State.NEW


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (After(), "gone: Slurm lists it no more, and keeps no record of how jobs ended"),
        (After(kept=True), "and its accounting has nothing of it"),
        (After(kept=True, jobs={"17": job("RUNNING")}), "says running, which it is not"),
    ],
)
def test_a_job_by_hand_of_whose_end_nothing_is_known_is_called_gone(
    after: After, words: str
) -> None:
    status = reading.forgotten("17", after, NOW)
    assert (status.state, status.rank) == (State.LOST, Rank.NONE) and words in status.reason


class Sacct:
    """An accounting that knows what it is told here."""

    def __init__(self) -> None:
        self.told = Forgotten(kept=True)
        self.asked: list[list[str]] = []

    async def forgotten(self, channel: Any, jobs: Any) -> Forgotten:
        self.asked.append(list(jobs))
        return self.told


async def test_the_accounting_is_asked_seldom_and_an_end_is_remembered() -> None:
    sacct, now, channel = Sacct(), [0.0], cast("AgentChannel", None)
    gone = GoneJobs(cast("Scheduler", sacct), clock=lambda: now[0])
    assert (await gone.ask(channel, ["17"])).ended("17") is None
    now[0] = 5.0
    await gone.ask(channel, ["17"])
    assert sacct.asked == [["17"], []]
    sacct.told = Forgotten(kept=True, jobs={"17": job("RUNNING")})
    now[0] = 20.0
    assert (await gone.ask(channel, ["17"])).going_on("17") == "RUNNING"
    now[0] = 700.0
    after = await gone.ask(channel, ["17"])
    assert (after.going_on("17"), after.ended("17")) == ("", None)
    sacct.told = Forgotten(kept=True, jobs={"17": job("TIMEOUT")})
    now[0] = 720.0
    await gone.ask(channel, ["17"])
    sacct.told = Forgotten(kept=True, why="Connection refused")
    now[0] = 800.0
    end = (await gone.ask(channel, ["17"])).ended("17")
    assert end is not None and end.word == "TIMEOUT"
    assert sacct.asked[-1] == []
    count = len(sacct.asked)
    for now[0] in (810.0, 815.0, 819.0):
        assert (await gone.ask(channel, ["17", "18"])).why == "Connection refused"
    assert len(sacct.asked) == count + 1
