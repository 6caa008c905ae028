"""Submission: at most once, whatever happens to whoever submits."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conformance.conftest import Suite

from traindeck.backends.base import BackendError, State, TraindeckError, plan_digest

ROOT = Path(__file__).parents[2]


async def test_twenty_callers_start_one_job(suite: Suite) -> None:
    plan = await suite.plan(suite.spec("out:once", "pause:0.2"))
    backends = [suite.backend, suite.another(), suite.another(), suite.another()]
    refs = await asyncio.gather(*(backends[i % 4].submit(plan) for i in range(20)))
    assert len(set(refs)) == 1
    status = await suite.until(refs[0])
    assert status.state is State.SUCCEEDED
    assert await suite.log(refs[0]) == b"once\n"
    assert await suite.backend.submit(plan) == refs[0]
    assert await suite.log(refs[0]) == b"once\n"


async def test_a_job_is_found_under_the_reference_that_submitting_gave(suite: Suite) -> None:
    ref = await suite.launch("hold")
    other = await suite.launch("out:x")
    another = suite.another()
    assert await another.find([(ref.run_id, 0)]) == [ref]
    assert await another.find([(ref.run_id, 1), ("0" * 12, 0)]) == []
    assert await another.find([]) == []
    everything = await another.find()
    assert {ref, other} <= set(everything)
    assert (ref.backend, ref.run_id, ref.attempt) == (suite.backend.name, ref.run_id, 0)


async def test_what_a_place_says_when_it_takes_a_job_is_what_a_poll_says(suite: Suite) -> None:
    """A place need not say anything; what it says is no part of the reference."""
    plan = await suite.plan(suite.spec("exit:3"))
    first = await suite.submit(plan)
    status = await suite.until(first)
    again = await suite.another().submit(plan)
    assert again == first and hash(again) == hash(first)
    if again.seen is not None:
        known = {"observed_at": 0.0, "evidence": ()}
        assert replace(again.seen, **known) == replace(status, **known)
    if first.seen is not None:
        assert first.seen.attempt == 0
        assert not first.seen.state.terminal or first.seen.exit_code == 3


async def test_one_id_with_another_plan_is_refused(suite: Suite) -> None:
    spec = suite.spec("out:first")
    ref = await suite.submit(await suite.plan(spec))
    other = await suite.plan(suite.spec("out:second", run_id=spec.run_id))
    with pytest.raises(BackendError, match=spec.run_id):
        await suite.backend.submit(other)
    await suite.until(ref)
    assert await suite.log(ref) == b"first\n"


async def test_a_retry_is_attempt_1_and_attempt_0_stays_readable(suite: Suite) -> None:
    spec = suite.spec("out:trying", "exit:3")
    first = await suite.submit(await suite.plan(spec))
    assert (await suite.until(first)).exit_code == 3
    second = await suite.submit(await suite.plan(replace(spec, attempt=1)))
    assert (second.run_id, second.attempt) == (first.run_id, 1)
    status = await suite.until(second)
    assert (status.state, status.attempt, status.exit_code) == (State.FAILED, 1, 3)
    assert await suite.log(first) == b"trying\n"
    assert await suite.log(second) == b"trying\n"
    found = await suite.another().find([(spec.run_id, 0), (spec.run_id, 1)])
    assert {(ref.run_id, ref.attempt) for ref in found} == {(spec.run_id, 0), (spec.run_id, 1)}
    assert (await suite.status(first)).attempt == 1


async def test_an_attempt_waits_for_nobody_and_skips_none(suite: Suite) -> None:
    spec = suite.spec("out:up", "hold")
    first = await suite.submit(await suite.plan(spec))
    await suite.said(first, "up")
    for attempt in (1, 5):
        with pytest.raises(BackendError, match=r"\w+ \w+"):
            await suite.backend.submit(await suite.plan(replace(spec, attempt=attempt)))
    assert (await suite.status(first)).attempt == 0
    assert await suite.log(first, follow=False) == b"up\n"
    await suite.backend.cancel(first)
    await suite.until(first)
    with pytest.raises(BackendError, match=r"\w+ \w+"):
        await suite.backend.submit(await suite.plan(replace(spec, attempt=5)))
    with pytest.raises(BackendError, match=r"\w+ \w+"):
        await suite.backend.submit(await suite.plan(suite.spec("out:x", attempt=1)))


async def test_twenty_retries_at_once_are_one(suite: Suite) -> None:
    spec = suite.spec("out:once", "exit:1")
    await suite.until(await suite.submit(await suite.plan(spec)))
    again = await suite.plan(replace(spec, attempt=1))
    refs = await asyncio.gather(*(suite.backend.submit(again) for _ in range(20)))
    assert len(set(refs)) == 1
    await suite.until(refs[0], attempt=1)
    assert await suite.log(refs[0]) == b"once\n"


@pytest.mark.parametrize("seed", range(5))
async def test_a_caller_that_is_cancelled_leaves_no_job_or_one(suite: Suite, seed: int) -> None:
    plan = await suite.plan(suite.spec("out:once"))
    steps = random.Random(seed).randrange(0, 12)
    task = asyncio.create_task(suite.another().submit(plan))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await recovers(suite, plan.spec.run_id)
    ref = await suite.submit(plan)
    assert (await suite.until(ref)).state is State.SUCCEEDED
    assert await suite.log(ref) == b"once\n"


async def recovers(suite: Suite, run_id: str) -> None:
    """What `find` says right after a crash is consistent with what then happens."""
    backend = suite.another()
    for ref in await backend.find([(run_id, 0)]):
        status = (await backend.poll([ref]))[ref]
        assert status.attempt == 0
        assert status.state is not State.LOST, status
        await suite.until(ref)
        assert await suite.log(ref) == b"once\n"


@pytest.mark.fault
async def test_a_console_killed_while_it_submits_leaves_no_job_or_one(suite: Suite) -> None:
    suite.need("durable")
    rng = random.Random(20)
    loop = asyncio.get_running_loop()
    longest = 0.0
    for turn in range(8):
        plan = await suite.plan(suite.spec("out:once", secrets=("TOKEN",)))
        pickled = suite.folder / f"plan{turn}"
        pickled.write_bytes(pickle.dumps((plan, {"TOKEN": "t"})))
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("crash.py")),
            *(suite.target, str(suite.folder), str(pickled), str(ROOT)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdin is not None and child.stdout is not None
        try:
            assert await child.stdout.readline() == b"ready\n"
            child.stdin.write(b"x")
            await child.stdin.drain()
            begun = loop.time()
            if turn == 0:  # the whole of it, to know how long it takes
                assert await child.stdout.readline() == b"submitted\n"
                longest = loop.time() - begun
            else:
                await asyncio.sleep(rng.uniform(0, longest))
        finally:
            child.kill()
            await child.wait()
        await recovers(suite, plan.spec.run_id)
        ref = await suite.submit(plan, {"TOKEN": "t"})
        assert (await suite.until(ref)).state is State.SUCCEEDED
        assert await suite.log(ref) == b"once\n"


async def test_closing_the_console_leaves_the_run_running(suite: Suite) -> None:
    first = suite.another()
    plan = await suite.plan(suite.spec("out:up", "hold"))
    ref = await first.submit(plan)
    suite._started.append(ref)
    await first.aclose()
    await first.aclose()
    await suite.said(ref, "up")
    assert (await suite.until(ref, State.RUNNING)).state is State.RUNNING


async def test_hostile_names_and_values_arrive_as_they_are(suite: Suite) -> None:
    value = "$(touch pwned); `id`\n\"'\\ \x1b[31m é 漢字 🚂"
    spec = suite.spec(
        f"out:{value}",
        "env:HOSTILE",
        name="; rm -rf / #\n\x1b]0;x\x07" + "n" * 300,
        env={"HOSTILE": value},
        tags={"--flag": "$HOME", "": "\n"},
        labels={"a=b": "${IFS}"},
    )
    ref = await suite.submit(await suite.plan(spec))
    assert (await suite.until(ref)).state is State.SUCCEEDED
    assert await suite.log(ref) == f"{value}\nHOSTILE={value}\n".encode()


async def test_bytes_that_are_not_utf8_arrive_as_they_are(suite: Suite) -> None:
    word = b"out:d\xe9j\xe0".decode("utf-8", "surrogateescape")
    ref = await suite.launch(word)
    await suite.until(ref)
    assert await suite.log(ref) == b"d\xe9j\xe0\n"


@pytest.mark.parametrize("run_id", ["", "..", "../../../x", "0123456789AB", "0" * 13, "a/b", "0\n"])
async def test_an_id_that_is_none_is_refused_before_anything_happens(
    suite: Suite, run_id: str
) -> None:
    spec = suite.spec("out:x")
    facts = await suite.backend.survey(spec)
    with pytest.raises(TraindeckError):
        plan = suite.backend.plan(replace(spec, run_id=run_id), facts)
        plan = replace(plan, digest=plan_digest(plan))
        await suite.backend.submit(plan)
