"""A place out of reach: said as such, nothing is concluded from it, and it comes back."""

from __future__ import annotations

import asyncio

import pytest
from tests.conformance import jobs
from tests.conformance.conftest import Suite
from tests.conformance.subject import called

from traindeck.backends.base import Files, Reach, SeekableLogs, State, Unreachable


async def test_every_method_says_that_the_place_is_out_of_reach(suite: Suite) -> None:
    suite.need("cut")
    spec = suite.spec("hold")
    plan = await suite.plan(spec)
    ref = await suite.submit(plan)
    other = await suite.plan(suite.spec("out:x"))
    await called(suite.subject.cut)
    backend = suite.backend
    calls = [
        backend.survey(spec),
        backend.submit(other),
        backend.find([(ref.run_id, 0)]),
        backend.find(),
        backend.poll([ref]),
        backend.cancel(ref),
        suite.read(ref),
    ]
    if isinstance(backend, SeekableLogs):
        calls += [
            backend.log_stat(ref),
            backend.read_at(ref, 0, 0, 1),
            backend.find_in_log(ref, 0, b"x", offset=0),
        ]
    if isinstance(backend, Files):
        calls += [backend.list_files(ref), backend.read_file(ref, "run.json", 0, 1)]
    for call in calls:
        async with asyncio.timeout(suite.subject.patience):
            with pytest.raises(Unreachable, match=r"\w+ \w+"):
                await call
    health = await backend.probe()
    assert health.reach is Reach.DOWN
    assert any(not passed for passed, _ in health.checks)


async def test_a_place_that_comes_back_has_lost_nothing(suite: Suite) -> None:
    suite.need("cut")
    running = await suite.launch("out:up", "hold")
    ending = await suite.launch("pause:0.3", "out:done", "exit:3")
    await suite.said(running, "up")
    await called(suite.subject.cut)
    with pytest.raises(Unreachable):
        await suite.status(running)
    await asyncio.sleep(0.5)
    await called(suite.subject.restore)
    status = await suite.until(ending)
    assert (status.state, status.exit_code) == (State.FAILED, 3)
    assert (await suite.until(running, State.RUNNING)).reach is Reach.OK
    assert await suite.log(ending) == b"done\n"
    assert (await suite.backend.probe()).reach is Reach.OK


async def test_a_log_that_is_followed_through_cuts_is_whole(suite: Suite) -> None:
    suite.need("cut")
    size = 2_000_000
    ref = await suite.launch(f"noise:5:{size}")
    seen, cursor, eof, cuts = bytearray(), "", False, 0
    async with asyncio.timeout(4 * suite.subject.patience):
        while not eof:
            try:
                async with suite.backend.logs(ref, cursor=cursor) as stream:
                    async for chunk in stream:
                        seen += chunk.data
                        cursor, eof = chunk.cursor, chunk.eof
                        if cuts < 5 and len(seen) > (cuts + 1) * size // 7:
                            cuts += 1
                            await called(suite.subject.cut)
            except Unreachable:
                await called(suite.subject.restore)
    assert cuts == 5
    assert bytes(seen) == jobs.noise(5, size)


async def test_five_hundred_runs_are_polled_in_one_round_trip(suite: Suite) -> None:
    trips = suite.need("trips")
    refs = [await suite.launch("hold") for _ in range(3)]
    for ref in refs:
        await suite.until(ref, State.RUNNING)
    some = refs[0]
    refs += [type(some)(backend=some.backend, run_id=f"{n:012d}") for n in range(497)]
    await suite.status(some)
    before = trips()
    answers = await suite.backend.poll(refs)
    assert trips() - before == 1
    assert len(answers) == 500
    assert all(answers[ref].state is State.RUNNING for ref in refs[:3])
    before = trips()
    assert await suite.backend.poll([]) == {}
    assert trips() == before


async def test_many_questions_at_once_are_all_answered(suite: Suite) -> None:
    ref = await suite.launch("noise:2:50000", "hold")
    await suite.until(ref, State.RUNNING)
    async with asyncio.timeout(suite.subject.patience):
        answers = await asyncio.gather(*(suite.status(ref) for _ in range(100)))
    assert {status.state for status in answers} == {State.RUNNING}
