"""Endings: every way a job can end is told apart, and ended means ended."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace

import pytest
from tests.conformance.conftest import Suite

from traindeck.backends.base import BackendError, JobRef, Limits, Rank, Reach, State


async def test_exit_0_has_succeeded(suite: Suite) -> None:
    ref = await suite.launch("out:x")
    status = await suite.until(ref)
    assert (status.state, status.exit_code, status.signal) == (State.SUCCEEDED, 0, None)
    assert (status.reach, status.attempt) == (Reach.OK, 0)
    assert status.rank >= Rank.NATIVE
    assert status.started is not None and status.ended is not None
    assert status.started <= status.ended


@pytest.mark.parametrize("code", [1, 3, 126, 127, 128, 143, 255])
async def test_another_exit_code_has_failed_with_it(suite: Suite, code: int) -> None:
    ref = await suite.launch(f"exit:{code}")
    status = await suite.until(ref)
    assert (status.state, status.exit_code, status.signal) == (State.FAILED, code, None)
    assert status.reason


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
async def test_a_signal_is_told_from_an_exit_code(suite: Suite, number: signal.Signals) -> None:
    ref = await suite.launch(f"signal:{int(number)}")
    status = await suite.until(ref)
    assert (status.state, status.exit_code, status.signal) == (State.FAILED, None, number)
    assert status.reason


async def test_a_missing_program_has_failed_with_127_and_says_so(suite: Suite) -> None:
    plan = await suite.plan(suite.spec(argv=("no-such-program-here", "--x")))
    assert any("no-such-program-here" in line for line in plan.warnings)
    ref = await suite.submit(plan)
    status = await suite.until(ref)
    assert (status.state, status.exit_code, status.signal) == (State.FAILED, 127, None)
    assert "no-such-program-here" in status.reason


async def test_a_job_runs_where_and_with_what_was_planned(suite: Suite) -> None:
    ref = await suite.launch("cwd", "env:SEED", "env:PYTHONUNBUFFERED", "stdin", env={"SEED": "7"})
    await suite.until(ref)
    where, seed, unbuffered, stdin = (await suite.log(ref)).decode().splitlines()
    assert where == suite.subject.cwd
    assert seed == "SEED=7"
    assert unbuffered in ("PYTHONUNBUFFERED=1", "PYTHONUNBUFFERED=(not set)")
    assert stdin == "stdin holds 0 bytes"


async def test_a_job_knows_its_run_and_attempt(suite: Suite) -> None:
    ref = await suite.launch("env:TRAINDECK_RUN")
    await suite.until(ref)
    assert await suite.log(ref) == f"TRAINDECK_RUN={ref.run_id}/0\n".encode()


async def test_stopping_a_job_gives_it_the_grace_to_save(suite: Suite) -> None:
    ref = await suite.launch("on-term:saved", "out:up", "hold")
    await suite.said(ref, "up")
    await suite.backend.cancel(ref, grace=suite.subject.patience)
    status = await suite.until(ref)
    assert (status.state, status.exit_code) == (State.CANCELLED, 0)
    assert status.reason
    assert await suite.log(ref) == b"up\nsaved\n"


async def test_stopping_a_job_that_does_nothing_about_it_ends_it_by_term(suite: Suite) -> None:
    ref = await suite.launch("out:up", "hold")
    await suite.said(ref, "up")
    await suite.backend.cancel(ref)
    status = await suite.until(ref)
    assert status.state is State.CANCELLED
    assert (status.exit_code, status.signal) == (None, signal.SIGTERM)


async def test_a_job_that_ignores_term_is_killed_after_the_grace(suite: Suite) -> None:
    ref = await suite.launch("ignore-term", "out:up", "hold")
    await suite.said(ref, "up")
    await suite.backend.cancel(ref, grace=0.3)
    assert (await suite.status(ref)).state in (State.RUNNING, State.STOPPING, State.CANCELLED)
    status = await suite.until(ref)
    assert (status.state, status.signal) == (State.CANCELLED, signal.SIGKILL)


async def test_stopping_twice_is_stopping_once_and_a_shorter_grace_counts(suite: Suite) -> None:
    ref = await suite.launch("ignore-term", "out:up", "hold")
    await suite.said(ref, "up")
    for _ in range(3):
        await suite.backend.cancel(ref, grace=3600)
    assert (await suite.until(ref, State.STOPPING)).state is State.STOPPING
    await suite.another().cancel(ref, grace=0.1)
    await suite.backend.cancel(ref, grace=3600)
    status = await suite.until(ref)
    assert (status.state, status.signal) == (State.CANCELLED, signal.SIGKILL)


async def test_a_job_that_is_over_is_left_alone(suite: Suite) -> None:
    ref = await suite.launch("exit:3")
    before = await suite.until(ref)
    await suite.backend.cancel(ref)
    after = await suite.status(ref)
    assert replace(after, observed_at=0, evidence=()) == replace(before, observed_at=0, evidence=())


async def test_stopping_what_does_not_exist_is_refused_in_words(suite: Suite) -> None:
    ref = await suite.launch("exit:0")
    for unknown in (replace(ref, run_id="0" * 12), replace(ref, attempt=4)):
        with pytest.raises(BackendError, match=r"\w+ \w+"):
            await suite.backend.cancel(unknown)


async def test_polling_what_does_not_exist_fails_nobody(suite: Suite) -> None:
    ref = await suite.launch("exit:0")
    await suite.until(ref)
    ghosts = [
        replace(ref, run_id="0" * 12),
        replace(ref, attempt=7),
        replace(ref, run_id="../../etc"),
        replace(ref, run_id=""),
    ]
    answers = await suite.backend.poll([ref, *ghosts])
    assert set(answers) == {ref, *ghosts}
    assert answers[ref].state is State.SUCCEEDED
    for ghost in ghosts:
        assert answers[ghost].state in (State.LOST, State.NEW)
        assert answers[ghost].rank is Rank.NONE
        assert answers[ghost].attempt == ghost.attempt
        assert answers[ghost].exit_code is None


async def test_what_a_job_left_behind_is_ended_before_it_counts_as_over(suite: Suite) -> None:
    ref = await suite.launch("daemon", "out:leaving", limits=Limits(grace=0.3))
    await suite.said(ref, "tick")
    status = await suite.until(ref)
    assert (status.state, status.exit_code) == (State.SUCCEEDED, 0)
    size = len(await suite.log(ref))
    await asyncio.sleep(0.2)  # ten ticks of whoever were still there
    assert len(await suite.log(ref)) == size


async def test_stopping_reaches_what_has_left_the_session(suite: Suite) -> None:
    ref = await suite.launch("daemon", "out:up", "hold")
    await suite.said(ref, "up")
    await suite.said(ref, "tick")
    await suite.backend.cancel(ref, grace=0.3)
    assert (await suite.until(ref)).state is State.CANCELLED
    size = len(await suite.log(ref))
    await asyncio.sleep(0.2)
    assert len(await suite.log(ref)) == size


async def test_a_job_over_its_time_ends_as_timeout(suite: Suite) -> None:
    spec = suite.spec("on-term:saved", "out:up", "hold", limits=Limits(time=0.5, grace=5))
    ref = await suite.submit(await suite.plan_or_skip(spec, "limits.time"))
    status = await suite.until(ref)
    assert status.state is State.TIMEOUT
    assert status.reason
    assert (await suite.log(ref)).endswith(b"saved\n")


async def test_the_place_repeats_what_failed_and_nothing_else(suite: Suite) -> None:
    spec = suite.spec("env:TRAINDECK_RUN", "exit:5", limits=Limits(retries=2))
    ref = await suite.submit(await suite.plan_or_skip(spec, "limits.retries"))
    states = []
    while True:
        status = await suite.status(ref)
        states.append(status)
        if status.state.terminal:
            break
        await asyncio.sleep(0.01)
    # At no moment does it look over before the last attempt is.
    assert (status.state, status.attempt, status.exit_code) == (State.FAILED, 2, 5)
    assert [s.attempt for s in states] == sorted(s.attempt for s in states)
    for attempt in range(3):
        text = f"TRAINDECK_RUN={ref.run_id}/{attempt}\n".encode()
        assert await suite.log(replace(ref, attempt=attempt)) == text
    once = await suite.launch("out:x", limits=Limits(retries=2))
    assert (await suite.until(once)).attempt == 0


async def test_stopping_ends_the_repeats_too(suite: Suite) -> None:
    spec = suite.spec("out:up", "on-term:saved", "hold", limits=Limits(retries=5))
    ref = await suite.submit(await suite.plan_or_skip(spec, "limits.retries"))
    await suite.said(ref, "up")
    await suite.backend.cancel(ref)
    status = await suite.until(ref)
    assert (status.state, status.attempt) == (State.CANCELLED, 0)
    with pytest.raises(BackendError):
        await suite.log(replace(ref, attempt=1))


async def waiting(suite: Suite, *words: str, any_end: bool = False) -> tuple[JobRef, JobRef]:
    """(a run that is up, one that waits for it)."""
    first = await suite.launch(*words)
    spec = suite.spec("out:my turn", after=(first.run_id,), after_any=any_end)
    second = await suite.submit(await suite.plan_or_skip(spec, "after"))
    status = await suite.until(second, State.QUEUED)
    assert first.run_id in status.reason
    return first, second


async def test_a_run_waits_for_another_and_says_so(suite: Suite) -> None:
    first, second = await waiting(suite, "pause:0.5")
    status = await suite.until(second)
    assert status.state is State.SUCCEEDED
    assert (await suite.status(first)).state is State.SUCCEEDED


@pytest.mark.parametrize(("any_end", "state"), [(False, State.CANCELLED), (True, State.SUCCEEDED)])
async def test_what_waits_for_a_run_that_fails(suite: Suite, any_end: bool, state: State) -> None:
    first, second = await waiting(suite, "pause:0.5", "exit:1", any_end=any_end)
    status = await suite.until(second)
    assert status.state is state
    if state is State.CANCELLED:
        assert first.run_id in status.reason
        assert await suite.log(second) == b""


@pytest.mark.parametrize(("any_end", "state"), [(False, State.CANCELLED), (True, State.SUCCEEDED)])
async def test_what_waits_for_three_of_which_one_fails(
    suite: Suite, any_end: bool, state: State
) -> None:
    refs = [await suite.launch(*words) for words in (["exit:0"], ["hold"], ["hold"])]
    after = tuple(ref.run_id for ref in refs)
    spec = suite.spec("out:my turn", after=after, after_any=any_end)
    last = await suite.submit(await suite.plan_or_skip(spec, "after"))
    status = await suite.until(last, State.QUEUED)
    assert after[1] in status.reason
    await suite.backend.cancel(refs[1])
    await suite.backend.cancel(refs[2])
    status = await suite.until(last)
    assert status.state is state


async def test_a_run_that_waits_can_be_stopped_and_never_starts(suite: Suite) -> None:
    first, second = await waiting(suite, "hold")
    await suite.backend.cancel(second)
    status = await suite.until(second)
    assert (status.state, status.started) == (State.CANCELLED, None)
    assert await suite.log(second) == b""
    assert (await suite.until(first, State.RUNNING)).state is State.RUNNING


async def test_no_run_waits_for_itself_or_for_one_that_is_not_there(suite: Suite) -> None:
    spec = suite.spec("out:x")
    there = await suite.launch("exit:0")
    for after in (spec.run_id, "0" * 12):
        plan = await suite.plan_or_skip(replace(spec, after=(there.run_id, after)), "after")
        with pytest.raises(BackendError, match=r"\w+ \w+"):
            await suite.backend.submit(plan)
    assert await suite.backend.find([(spec.run_id, 0)]) == []
