"""The table that turns evidence into a state: a row a cell, and what must hold for all of it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.backends.base import Rank, Reach, State, Status
from traindeck.backends.status import (
    ATTRIBUTE_CACHE,
    Evidence,
    Exit,
    Native,
    decode_evidence,
    merge,
    status_of,
    unreachable,
)

NOW = 1_760_000_000.0


def seen(**facts: Any) -> Evidence:
    """An attempt 0 that runs well on the asker's own machine, but for `facts`."""
    usual: dict[str, Any] = {
        "found": True, "attempt": 0, "phase": "running", "alive": True, "supervised": True,
        "same_host": True, "heartbeat_age": 4.0, "age": 300.0, "host": "box",
    }  # fmt: skip
    return Evidence(**{**usual, **facts})


def dead(**facts: Any) -> Evidence:
    return seen(**{"alive": False, "supervised": False, "heartbeat_age": 900.0, **facts})


def far(**facts: Any) -> Evidence:
    """The same, looked at from another host on a shared home."""
    return seen(**{"alive": None, "supervised": None, "same_host": False, **facts})


def rebooted(**facts: Any) -> Evidence:
    return far(**{"rebooted": True, "heartbeat_age": 900.0, **facts})


def over(cause: str = "self", **facts: Any) -> Evidence:
    record = {"exit_code": 0, "started": NOW - 60, "ended": NOW - 1, **facts}
    return dead(phase="ended", exit=Exit(cause=cause, **record))


NOTHING = Evidence()
UNCLAIMED = {"attempt": None, "phase": "none", "alive": False, "supervised": False}

TABLE: list[tuple[str, Evidence, State, Rank, Reach, str]] = [
    # ---- before anything runs
    ("no directory", NOTHING, State.LOST, Rank.NONE, Reach.OK, "its run directory is gone"),
    ("made, not claimed yet", seen(**{**UNCLAIMED, "age": 2.0}), State.NEW, Rank.NONE, Reach.OK,
     ""),
    ("made, and nobody came", seen(**{**UNCLAIMED, "age": 61.0}), State.FAILED, Rank.LOST, Reach.OK,
     "not started: the launcher died"),
    ("stopped before the claim", seen(**{**UNCLAIMED, "age": 2.0}, cancel_requested=NOW),
     State.CANCELLED, Rank.LOST, Reach.OK, "stopped before it started"),
    ("locked, not claimed yet", seen(attempt=None, phase="none", supervised=None), State.NEW,
     Rank.NONE, Reach.OK, ""),
    ("claimed, about to start", seen(phase="claimed"), State.STARTING, Rank.NONE, Reach.OK, ""),
    ("claimed by a launcher that died", dead(phase="claimed"), State.FAILED, Rank.LOST, Reach.OK,
     "not started: the launcher died"),
    ("claimed, stopped, launcher died", dead(phase="claimed", cancel_requested=NOW),
     State.CANCELLED, Rank.LOST, Reach.OK, "stopped before it started"),
    ("claimed, then a reboot", rebooted(phase="claimed"), State.FAILED, Rank.LOST, Reach.OK,
     "not started: its host restarted"),
    ("waits for another run", seen(phase="waiting", reason="waits for 4k2m"), State.QUEUED,
     Rank.NONE, Reach.OK, "waits for 4k2m"),
    ("stopped while it waits", seen(phase="waiting", cancel_requested=NOW), State.STOPPING,
     Rank.NONE, Reach.OK, "stop requested"),
    ("killed while it waited", dead(phase="waiting"), State.LOST, Rank.LOST, Reach.OK,
     "its supervisor was killed while it waited"),
    ("reboot while it waited", rebooted(phase="waiting"), State.LOST, Rank.LOST, Reach.OK,
     "host rebooted while it waited"),
    ("starting", seen(phase="starting"), State.STARTING, Rank.NONE, Reach.OK, ""),
    ("killed while it started", dead(phase="starting"), State.LOST, Rank.LOST, Reach.OK,
     "its supervisor was killed while it started"),
    # ---- while it runs
    ("running", seen(), State.RUNNING, Rank.NONE, Reach.OK, ""),
    ("stop requested", seen(cancel_requested=NOW), State.STOPPING, Rank.NONE, Reach.OK,
     "stop requested"),
    ("stopping", seen(phase="stopping", reason="grace, 4 processes left"), State.STOPPING,
     Rank.NONE, Reach.OK, "grace, 4 processes left"),
    ("ended, record not seen", seen(phase="ended"), State.STOPPING, Rank.NONE, Reach.OK, ""),
    ("a phase of a newer agent", seen(phase="rewinding"), State.RUNNING, Rank.NONE, Reach.OK, ""),
    ("supervisor stopped by SIGSTOP", seen(heartbeat_age=180.0), State.RUNNING, Rank.NONE,
     Reach.OK, "its supervisor has been silent for 3 min"),
    ("supervisor killed, job runs", seen(supervised=False), State.RUNNING, Rank.NONE, Reach.OK,
     "its supervisor was killed; it runs on, exit code will not be known"),
    ("only the supervisor is left", seen(alive=False), State.RUNNING, Rank.NONE, Reach.OK, ""),
    ("the same, stop requested", seen(supervised=False, cancel_requested=NOW), State.STOPPING,
     Rank.NONE, Reach.OK, "stop requested; its supervisor was killed"),
    ("supervisor killed while stopping", seen(supervised=False, phase="stopping"), State.STOPPING,
     Rank.NONE, Reach.OK, "its supervisor was killed; some of it runs on"),
    ("directory deleted, job runs", replace(NOTHING, alive=True, same_host=True), State.RUNNING,
     Rank.NONE, Reach.OK, "its run directory was deleted; it runs on, log and exit code are lost"),
    # ---- gone without a record
    ("all killed", dead(), State.LOST, Rank.LOST, Reach.OK,
     "its supervisor was killed; how it ended is not known"),
    ("all killed, kernel says OOM", dead(oom_kills=2), State.LOST, Rank.LOST, Reach.OK,
     "killed, likely out of memory (kernel OOM count rose)"),
    ("killed while stopping", dead(phase="stopping"), State.LOST, Rank.LOST, Reach.OK,
     "its supervisor was killed; how it ended is not known"),
    ("reboot while it ran", rebooted(), State.LOST, Rank.LOST, Reach.OK,
     "host rebooted while it ran"),
    ("directory removed", Evidence(found=True, removed=True), State.LOST, Rank.NONE, Reach.OK,
     "its run directory was removed"),
    ("files removed, its end kept", Evidence(found=True, removed=True, attempt=0,
     exit=Exit(cause="self", exit_code=3)), State.FAILED, Rank.RECORD, Reach.OK, "exit code 3"),
    # ---- another host: silence is no end
    ("seen from afar", far(), State.RUNNING, Rank.NONE, Reach.OK, ""),
    ("silent from afar", far(heartbeat_age=400.0), State.RUNNING, Rank.NONE, Reach.STALE,
     "no heartbeat from box for 7 min"),
    ("no heartbeat, just claimed", far(phase="claimed", heartbeat_age=None, age=3.0),
     State.STARTING, Rank.NONE, Reach.OK, ""),
    ("no heartbeat, claimed long ago", far(phase="claimed", heartbeat_age=None), State.STARTING,
     Rank.NONE, Reach.STALE, "no heartbeat from box"),
    ("stopped from afar", far(cancel_requested=NOW), State.STOPPING, Rank.NONE, Reach.OK,
     "stop requested"),
    ("claim torn a moment ago", far(phase="claimed", same_host=None, host="", age=2.0,
     heartbeat_age=None), State.STARTING, Rank.NONE, Reach.OK, ""),
    ("claim torn long ago", far(phase="claimed", same_host=None, host="", age=90.0,
     heartbeat_age=None), State.FAILED, Rank.LOST, Reach.OK, "not started: the launcher died"),
    # ---- cannot be read: evidence of nothing
    ("unreadable", Evidence(found=True, error="permission denied"), State.NEW, Rank.NONE,
     Reach.DOWN, "permission denied"),
    ("unreadable, yet alive", seen(error="input/output error"), State.RUNNING, Rank.NONE, Reach.OK,
     "input/output error"),
    ("unreadable and not alive", dead(error="stale file handle"), State.RUNNING, Rank.NONE,
     Reach.DOWN, "stale file handle"),
    ("a newer format", dead(newer=2), State.RUNNING, Rank.NONE, Reach.DOWN,
     "written by a newer Traindeck (format 2): upgrade to read it"),
    # ---- the exit record
    ("exit 0", over(), State.SUCCEEDED, Rank.RECORD, Reach.OK, ""),
    ("exit 3", over(exit_code=3), State.FAILED, Rank.RECORD, Reach.OK, "exit code 3"),
    ("exit 3 with words", over(exit_code=3, reason="CUDA error"), State.FAILED, Rank.RECORD,
     Reach.OK, "CUDA error"),
    ("segfault", over(exit_code=None, signal=11), State.FAILED, Rank.RECORD, Reach.OK,
     "killed by SIGSEGV"),
    ("a signal without a name", over(exit_code=None, signal=63), State.FAILED, Rank.RECORD,
     Reach.OK, "killed by signal 63"),
    ("killed", over(exit_code=None, signal=9), State.FAILED, Rank.RECORD, Reach.OK,
     "killed by SIGKILL"),
    ("killed by the kernel", replace(over(exit_code=None, signal=9), oom_kills=1), State.FAILED,
     Rank.RECORD, Reach.OK, "killed, likely out of memory (kernel OOM count rose)"),
    ("cancelled", over("cancel", exit_code=None, signal=15), State.CANCELLED, Rank.RECORD,
     Reach.OK, "stopped on request"),
    ("cancelled, saved and exited 0", over("cancel"), State.CANCELLED, Rank.RECORD, Reach.OK,
     "stopped on request"),
    ("timeout", over("timeout", exit_code=None, signal=15), State.TIMEOUT, Rank.RECORD, Reach.OK,
     "its time limit was reached"),
    ("dependency", over("dependency", exit_code=None, reason="run 4k2m failed"), State.CANCELLED,
     Rank.RECORD, Reach.OK, "run 4k2m failed"),
    ("missing program", over("launch", exit_code=127, reason="trian.py: not found"), State.FAILED,
     Rank.RECORD, Reach.OK, "trian.py: not found"),
    ("TERM from outside, no scheduler", over("outside", exit_code=None, signal=15), State.FAILED,
     Rank.RECORD, Reach.OK, "ended from outside"),
    ("adopted", over("unknown", exit_code=None, ended=None), State.LOST, Rank.RECORD, Reach.OK,
     "ended, exit code not knowable"),
    ("cause of a newer agent, exit 0", over("evicted"), State.SUCCEEDED, Rank.RECORD, Reach.OK,
     "exit code 0 (cause 'evicted' of a newer agent)"),
    ("cause of a newer agent, exit 1", over("evicted", exit_code=1), State.FAILED, Rank.RECORD,
     Reach.OK, "exit code 1 (cause 'evicted' of a newer agent)"),
    ("a record though all else is odd", replace(over(exit_code=3), error="EIO", newer=9,
     alive=True), State.FAILED, Rank.RECORD, Reach.OK, "exit code 3"),
    # ---- the supervisor repeats it itself
    ("another attempt follows", replace(over(exit_code=3, next=1), supervised=True, alive=True),
     State.STOPPING, Rank.NONE, Reach.OK, "exit code 3; attempt 1 follows"),
    ("it was to follow", over(exit_code=3, next=1), State.FAILED, Rank.RECORD, Reach.OK,
     "exit code 3; its supervisor was killed before attempt 1"),
    ("it was to follow, stopped first", replace(over(exit_code=3, next=1), cancel_requested=NOW),
     State.FAILED, Rank.RECORD, Reach.OK, "exit code 3; stopped before attempt 1"),
    ("it was to follow, then a reboot", rebooted(exit=Exit(exit_code=3, next=1)), State.FAILED,
     Rank.RECORD, Reach.OK, "exit code 3; its supervisor was killed before attempt 1"),
    ("it follows, seen from afar", far(exit=Exit(exit_code=3, next=1)), State.STOPPING, Rank.NONE,
     Reach.OK, "exit code 3; attempt 1 follows"),
    ("it follows, silent from afar", far(exit=Exit(exit_code=3, next=1), heartbeat_age=99.0),
     State.STOPPING, Rank.NONE, Reach.STALE, "exit code 3; attempt 1 follows"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("evidence", "state", "rank", "reach", "reason"),
    [row[1:] for row in TABLE],
    ids=[row[0].replace(" ", "-") for row in TABLE],
)
def test_what_a_run_directory_shows(
    evidence: Evidence, state: State, rank: Rank, reach: Reach, reason: str
) -> None:
    status = status_of(evidence, 0, NOW)
    assert (status.state, status.rank, status.reach, status.reason) == (state, rank, reach, reason)
    assert status.observed_at == NOW
    assert status.attempt == 0


def word(state: State | None, **more: Any) -> Native:
    return Native(state=state, **more)


SCHEDULED: list[tuple[str, Evidence, Native, State, Rank, str]] = [
    ("pending", NOTHING, word(State.QUEUED, reason="waits for 4 GPUs"), State.QUEUED, Rank.NONE,
     "waits for 4 GPUs"),
    ("allocated, agent not there yet", NOTHING, word(State.RUNNING), State.STARTING, Rank.NONE, ""),
    ("running", far(), word(State.RUNNING), State.RUNNING, Rank.NONE, ""),
    ("running, batch step starting", far(phase="starting"), word(State.RUNNING), State.STARTING,
     Rank.NONE, ""),
    ("running, heartbeat silent", far(heartbeat_age=900.0), word(State.RUNNING), State.RUNNING,
     Rank.NONE, ""),
    ("running, host restarted", rebooted(), word(State.RUNNING), State.RUNNING, Rank.NONE, ""),
    ("stop requested", far(cancel_requested=NOW), word(State.RUNNING), State.STOPPING, Rank.NONE,
     "stop requested"),
    ("completing", far(), word(State.STOPPING), State.STOPPING, Rank.NONE, ""),
    ("unreadable directory", Evidence(found=True, error="EIO"), word(State.RUNNING), State.RUNNING,
     Rank.NONE, "EIO"),
    ("over, record not visible yet", far(), word(State.TIMEOUT, over_for=5.0), State.STOPPING,
     Rank.NONE, "the scheduler says timeout; waiting for its exit record"),
    ("over, no record", far(), word(State.TIMEOUT, reason="time limit", over_for=61.0),
     State.TIMEOUT, Rank.NATIVE, "time limit"),
    ("over without words", far(), word(State.FAILED, exit_code=7, over_for=61.0), State.FAILED,
     Rank.NATIVE, "the scheduler says failed"),
    ("over, and processes are left here", seen(), word(State.CANCELLED, reason="scancel",
     over_for=61.0), State.STOPPING, Rank.NONE, "scancel"),
    ("gone a moment ago", far(), word(None, over_for=59.0), State.STOPPING, Rank.NONE,
     "the scheduler knows it no more; waiting for its exit record"),
    ("gone", far(), word(None, over_for=60.0), State.LOST, Rank.LOST,
     "the scheduler knows it no more; it left no exit record"),
    ("gone before it began", NOTHING, word(None, over_for=60.0), State.LOST, Rank.LOST,
     "the scheduler knows it no more; it was never started"),
    ("stopped before it began", seen(**UNCLAIMED, cancel_requested=NOW), word(None, over_for=60.0),
     State.CANCELLED, Rank.LOST, "stopped before it started"),
    ("a record beats the word", over(exit_code=3), word(State.CANCELLED), State.FAILED,
     Rank.RECORD, "exit code 3"),
    ("a record beats a scheduler that still runs it", over(), word(State.RUNNING), State.SUCCEEDED,
     Rank.RECORD, ""),
    ("the word explains the record", over(exit_code=None, signal=9),
     word(State.FAILED, reason="out of memory"), State.FAILED, Rank.RECORD, "out of memory"),
    ("TERM by the scheduler: time limit", over("outside", exit_code=None, signal=15),
     word(State.TIMEOUT, reason="time limit"), State.TIMEOUT, Rank.RECORD, "time limit"),
    ("TERM by the scheduler: preempted", over("outside", exit_code=None, signal=15),
     word(State.PREEMPTED), State.PREEMPTED, Rank.RECORD, "ended from outside"),
    ("TERM by the scheduler: failed", over("outside", exit_code=None, signal=15),
     word(State.FAILED, reason="node died"), State.FAILED, Rank.RECORD, "ended from outside"),
    ("TERM by the scheduler, its word to come", over("outside", exit_code=None, signal=15),
     word(State.STOPPING), State.STOPPING, Rank.NONE, "ended from outside"),
    ("TERM by the scheduler, requeued", over("outside", exit_code=None, signal=15),
     word(State.QUEUED), State.QUEUED, Rank.NONE, "requeued"),
    ("its own repeat, job over", far(exit=Exit(exit_code=3, next=1)), word(None, over_for=60.0),
     State.FAILED, Rank.RECORD, "exit code 3; its supervisor was killed before attempt 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("evidence", "native", "state", "rank", "reason"),
    [row[1:] for row in SCHEDULED],
    ids=[row[0].replace(" ", "-") for row in SCHEDULED],
)
def test_what_a_scheduler_adds(
    evidence: Evidence, native: Native, state: State, rank: Rank, reason: str
) -> None:
    status = status_of(evidence, 0, NOW, native=native, cache=ATTRIBUTE_CACHE)
    assert (status.state, status.rank, status.reason) == (state, rank, reason)
    assert status.reach is Reach.OK


def test_without_an_attribute_cache_the_schedulers_end_is_believed_at_once() -> None:
    gone = status_of(far(), 0, NOW, native=word(None))
    ended = status_of(far(), 0, NOW, native=word(State.TIMEOUT))
    assert (gone.state, ended.state) == (State.LOST, State.TIMEOUT)


def test_an_adopted_process_ends_lost_with_the_time_in_the_reason() -> None:
    status = status_of(over("unknown", exit_code=None, ended=NOW), 0, NOW)
    assert status.reason.startswith("ended ") and status.reason.endswith(", exit code not knowable")
    assert status.ended == NOW


def test_a_higher_attempt_is_reported_under_the_one_asked_for() -> None:
    status = status_of(seen(attempt=2), 0, NOW)
    assert (status.attempt, status.state) == (2, State.RUNNING)


def test_an_attempt_that_is_not_there_does_not_take_the_state_of_the_one_before() -> None:
    for before in (over(exit_code=3), seen(), dead()):
        status = status_of(before, 1, NOW)
        assert (status.attempt, status.state, status.rank) == (1, State.LOST, Rank.NONE)
        assert status.reason == "attempt 1 is not there"
        assert status.exit_code is None


def test_the_record_gives_code_signal_and_times() -> None:
    status = status_of(over(exit_code=3, host="gpu7"), 0, NOW)
    assert (status.exit_code, status.signal) == (3, None)
    assert (status.started, status.ended, status.host) == (NOW - 60, NOW - 1, "gpu7")


def test_what_it_rests_on_is_told_strongest_first() -> None:
    status = status_of(over(exit_code=3), 0, NOW, native=word(State.FAILED))
    assert status.evidence[:3] == (
        "exit record: self, exit code 3",
        "scheduler: failed",
        "phase: ended",
    )


# ------------------------------------------------------------------------------- look upon look


def status(state: State, at: float = NOW, **more: Any) -> Status:
    return Status(**{"state": state, "observed_at": at, **more})


EARLIER, LATER = NOW - 10, NOW - 1
RUNS = status(State.RUNNING, EARLIER)


@pytest.mark.parametrize(
    ("before", "look", "result"),
    [
        pytest.param(None, RUNS, "look", id="the first look"),
        pytest.param(RUNS, status(State.STOPPING, LATER), "look", id="a later look"),
        pytest.param(
            status(State.STOPPING, LATER), RUNS, "before", id="a look that arrives late"
        ),
        pytest.param(
            status(State.RUNNING, NOW + 3600), status(State.STOPPING, NOW), "look",
            id="the clock was set back",
        ),
        pytest.param(
            RUNS, status(State.FAILED, LATER, rank=Rank.RECORD), "look", id="a record",
        ),
        pytest.param(
            status(State.FAILED, EARLIER, rank=Rank.RECORD), status(State.RUNNING, LATER),
            "before", id="nothing undoes a record",
        ),
        pytest.param(
            status(State.TIMEOUT, EARLIER, rank=Rank.NATIVE),
            status(State.SUCCEEDED, LATER, rank=Rank.RECORD), "look",
            id="a record beats the scheduler's word",
        ),
        pytest.param(
            status(State.FAILED, LATER, rank=Rank.RECORD),
            status(State.CANCELLED, LATER, rank=Rank.NATIVE), "before",
            id="the scheduler's word does not beat a record",
        ),
        pytest.param(
            status(State.PREEMPTED, EARLIER, rank=Rank.NATIVE),
            status(State.CANCELLED, LATER, rank=Rank.NATIVE), "before",
            id="at equal strength the first stays",
        ),
        pytest.param(
            status(State.LOST, EARLIER, rank=Rank.LOST),
            status(State.TIMEOUT, LATER, rank=Rank.NATIVE), "look",
            id="the scheduler's word beats lost",
        ),
        pytest.param(
            status(State.LOST, EARLIER, rank=Rank.LOST), status(State.RUNNING, LATER), "look",
            id="a later sign of life beats lost",
        ),
        pytest.param(
            status(State.LOST, LATER, rank=Rank.LOST), RUNS, "before",
            id="an older sign of life does not",
        ),
        pytest.param(
            status(State.LOST, EARLIER, rank=Rank.LOST),
            status(State.RUNNING, LATER, reach=Reach.STALE), "before",
            id="nor does a directory whose heartbeat is silent",
        ),
        pytest.param(
            status(State.TIMEOUT, EARLIER, rank=Rank.NATIVE), status(State.RUNNING, LATER),
            "before", id="a sign of life does not beat the scheduler's word",
        ),
        pytest.param(
            status(State.FAILED, EARLIER, reason="not sent: the launcher died"),
            status(State.RUNNING, LATER), "look",
            id="a run thought unsent turns out to run",
        ),
        pytest.param(
            status(State.NEW, NOW - 30), status(State.LOST, NOW), "before",
            id="a run just made is not there yet",
        ),
        pytest.param(
            status(State.NEW, NOW - 300), status(State.LOST, NOW), "look",
            id="a run made long ago is not there",
        ),
        pytest.param(
            status(State.NEW, NOW - 30), status(State.LOST, NOW, rank=Rank.LOST), "look",
            id="a run just made and killed",
        ),
        pytest.param(
            status(State.SUCCEEDED, EARLIER, rank=Rank.RECORD), status(State.LOST, LATER),
            "before", id="a finished run whose directory was removed",
        ),
        pytest.param(
            status(State.FAILED, LATER, rank=Rank.RECORD),
            status(State.QUEUED, LATER, attempt=1), "look", id="a higher attempt",
        ),
        pytest.param(
            status(State.QUEUED, EARLIER, attempt=1),
            status(State.FAILED, LATER, rank=Rank.RECORD), "before",
            id="the record of an earlier attempt",
        ),
    ],
)  # fmt: skip
def test_a_look_upon_what_was_known(before: Status | None, look: Status, result: str) -> None:
    assert merge(before, look, NOW) is (look if result == "look" else before)


def test_a_place_that_cannot_be_read_keeps_the_state_and_its_age() -> None:
    look = status_of(Evidence(found=True, error="permission denied"), 0, LATER)
    merged = merge(RUNS, look, NOW)
    assert merged == replace(RUNS, reach=Reach.DOWN, reason="permission denied")
    back = merge(merged, status(State.RUNNING, NOW), NOW)
    assert back.reach is Reach.OK


def test_a_place_that_does_not_answer_changes_nothing_that_is_over() -> None:
    done = status(State.SUCCEEDED, EARLIER, rank=Rank.RECORD)
    assert unreachable(done, "no route to host") is done
    assert unreachable(RUNS, "no route to host") == replace(
        RUNS, reach=Reach.DOWN, reason="no route to host"
    )


# ----------------------------------------------------------------------------------- properties

maybe = st.none() | st.booleans()
seconds = st.none() | st.sampled_from([0.0, 5.0, 59.0, 61.0, 1e6])
exits = st.builds(
    Exit,
    cause=st.sampled_from(
        ["self", "cancel", "timeout", "dependency", "launch", "outside", "unknown", "later"]
    ),
    exit_code=st.none() | st.sampled_from([0, 1, 127]),
    signal=st.none() | st.sampled_from([9, 15]),
    next=st.none() | st.integers(1, 3),
)
evidences = st.builds(
    Evidence,
    found=st.booleans(),
    attempt=st.none() | st.integers(0, 3),
    phase=st.sampled_from(
        ["none", "claimed", "waiting", "starting", "running", "stopping", "ended", "later"]
    ),
    alive=maybe,
    supervised=maybe,
    same_host=maybe,
    rebooted=st.booleans(),
    heartbeat_age=seconds,
    age=seconds,
    exit=st.none() | exits,
    cancel_requested=st.none() | st.just(NOW),
    oom_kills=st.none() | st.integers(0, 2),
    removed=st.booleans(),
    newer=st.none() | st.just(2),
    error=st.none() | st.just("input/output error"),
)
natives = st.builds(
    Native,
    state=st.none() | st.sampled_from(sorted(set(State) - {State.NEW})),
    over_for=st.sampled_from([0.0, 30.0, 90.0]),
)


@given(evidences, st.integers(0, 3), st.none() | natives, st.sampled_from([0.0, 60.0]))
@settings(max_examples=400, deadline=None)
def test_every_combination_of_facts_has_an_honest_status(
    evidence: Evidence, attempt: int, native: Native | None, cache: float
) -> None:
    result = status_of(evidence, attempt, NOW, native=native, cache=cache)
    assert result.attempt >= attempt
    assert "\n" not in result.reason
    if result.rank is not Rank.NONE:
        assert result.state.terminal
    recorded = evidence.exit is not None and evidence.found
    assert result.rank is not Rank.RECORD or recorded
    if result.state is State.SUCCEEDED:
        # Only a record or the scheduler's own word ever says so.
        assert result.rank >= Rank.NATIVE
    unreadable = evidence.error is not None or evidence.newer is not None
    if result.state.terminal and result.rank < Rank.NATIVE:
        # `lost` needs positive evidence, and what cannot be read is none.
        assert not unreadable
        assert native is None or not native.active
        if evidence.found and evidence.attempt is not None and evidence.attempt >= attempt:
            nobody = evidence.alive is False and not evidence.supervised
            gone = evidence.rebooted or (evidence.same_host and nobody)
            gone = gone or (evidence.phase == "claimed" and evidence.same_host is None)
            assert gone or native is not None or evidence.removed
    if result.reach is not Reach.OK:
        assert not result.state.terminal


statuses = st.builds(
    status_of,
    evidences,
    st.integers(0, 1),
    st.sampled_from([NOW - 300, NOW - 20, NOW - 10, NOW, NOW + 500]),
    native=st.none() | natives,
)


@given(statuses, statuses)
@settings(max_examples=400, deadline=None)
def test_what_is_over_only_becomes_something_else_by_stronger_evidence(
    before: Status, look: Status
) -> None:
    result = merge(before, look, NOW)
    if before.state.terminal and result.attempt == before.attempt:
        if result.state.terminal and result.state is not before.state:
            assert result.rank > before.rank
        if not result.state.terminal:
            assert before.rank < Rank.NATIVE
            assert result.reach is Reach.OK
    assert result.attempt >= before.attempt
    assert merge(result, look, NOW) == result
    assert merge(before, before, NOW) == before


@given(statuses)
def test_a_link_problem_never_ends_a_run(before: Status) -> None:
    for result in (
        unreachable(before, "no route to host"),
        merge(before, status_of(Evidence(found=True, error="EIO"), before.attempt, NOW), NOW),
    ):
        assert result.state is before.state
        assert result.observed_at == before.observed_at


@st.composite
def histories(draw: st.DrawFn) -> list[Status]:
    """Looks at one run as a world allows them: it lives, then it is gone for good; a scheduler's
    end and a record may be seen at any time after."""
    moments = iter(sorted(draw(st.sets(st.integers(1, 200), min_size=6, max_size=6))))
    lives = [
        status(state, NOW - 300 + next(moments))
        for state in draw(st.lists(st.sampled_from([State.RUNNING, State.STOPPING]), max_size=3))
    ]
    last: list[Status] = []
    if draw(st.booleans()):
        last += [status(State.LOST, NOW - 300 + next(moments), rank=Rank.LOST)]
    if draw(st.booleans()):
        last += [status(State.CANCELLED, NOW - 300 + next(moments), rank=Rank.NATIVE)]
    if draw(st.booleans()):
        last += [status(State.FAILED, NOW - 300 + next(moments), rank=Rank.RECORD, exit_code=3)]
    again = draw(st.lists(st.sampled_from(lives + last), max_size=2)) if lives + last else []
    return [*lives, *last, *again]


@given(histories())
@settings(deadline=None, max_examples=100)
def test_looks_may_arrive_in_any_order_and_more_than_once(looks: list[Status]) -> None:
    results = set()
    for order in itertools.islice(itertools.permutations(looks), 120):
        known: Status | None = None
        for look in order:
            known = merge(known, look, NOW)
        if known is not None:
            results.add((known.state, known.rank, known.exit_code))
    assert len(results) <= 1


# --------------------------------------------------------------------------------------- decode


def test_evidence_is_read_from_an_agents_answer() -> None:
    raw = {
        "found": True, "attempt": 1, "phase": "ended", "alive": False, "supervised": False,
        "same_host": True, "rebooted": False, "heartbeat_age": 3, "age": 9.5, "pid": 4242,
        "started": NOW, "log_bytes": 17, "cancel_requested": None, "host": "box",
        "adopted": False, "claimed_at": NOW, "oom_kills": 0, "removed": False, "newer": None,
        "error": None, "reason": "", "a_field_of_2031": {"x": 1},
        "exit": {
            "format": 1, "run": "0123456789ab", "attempt": 1, "cause": "self", "exit_code": 3,
            "signal": None, "started": NOW, "ended": NOW + 5, "reason": "", "host": "box",
            "boot_id": "b", "next": None,
        },
    }  # fmt: skip
    evidence = decode_evidence(raw)
    assert evidence.error is None
    result = status_of(evidence, 0, NOW)
    assert (result.state, result.attempt, result.exit_code) == (State.FAILED, 1, 3)
    assert (result.pid, result.log_bytes) == (4242, 17)


@pytest.mark.parametrize(
    "raw",
    [
        None, [], "running", 3,
        {"found": "yes"},
        {"found": True, "attempt": -1},
        {"found": True, "attempt": 10**9},
        {"found": True, "attempt": True},
        {"found": True, "exit": 7},
        {"found": True, "attempt": 0, "exit": {"cause": "self", "exit_code": "0"}},
        {"found": True, "attempt": 0, "exit": {"cause": "self", "exit_code": 10**40}},
        {"found": True, "attempt": 0, "exit": {"cause": None, "exit_code": 0}},
        {"found": True, "attempt": 0, "exit": {"signal": 4096}},
        {"found": True, "attempt": 0, "heartbeat_age": math.nan},
        {"found": True, "attempt": 0, "heartbeat_age": 10**400},
        {"found": True, "attempt": 0, "reason": ["x"]},
    ],
)  # fmt: skip
def test_an_answer_of_another_shape_is_evidence_of_nothing(raw: object) -> None:
    result = status_of(decode_evidence(raw), 0, NOW)
    assert not result.state.terminal
    assert result.reach is Reach.DOWN
    assert "could not be read" in result.reason
    assert len(result.reason) < 600


def test_absurd_times_and_texts_are_defused() -> None:
    raw = {
        "found": True, "attempt": 0, "phase": "waiting", "alive": True, "supervised": True,
        "reason": "a\nb\t" + "x" * 1_000_000, "started": 1e300, "claimed_at": -5.0,
        "heartbeat_age": -3.0, "log_bytes": -1,
    }  # fmt: skip
    evidence = decode_evidence(raw)
    assert evidence.error is None
    assert len(evidence.reason) <= 500 and evidence.reason.startswith("a b x")
    assert (evidence.started, evidence.claimed_at) == (None, None)
    assert (evidence.heartbeat_age, evidence.log_bytes) == (0.0, 0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from([*Evidence.__dataclass_fields__, "other"]), json_values, max_size=12
    )
)
@settings(max_examples=200, deadline=None)
def test_no_answer_makes_reading_it_raise(raw: dict[str, Any]) -> None:
    result = status_of(decode_evidence(raw), 0, NOW)
    assert result.rank < Rank.NATIVE or isinstance(raw.get("exit"), dict)
