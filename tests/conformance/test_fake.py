"""What the fake can do beyond the protocol, for the tests that are built on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from tests.conformance.fake import FakeBackend, Place

from traindeck.backends.base import JobRef, Reach, RunSpec, State, Status, Unreachable

RUN = "0123456789ab"
REF = JobRef(backend="gpu1", run_id=RUN)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place(clock=lambda: 1000.0)
    yield made
    await made.close()


async def test_a_run_can_be_put_there_in_any_state(place: Place) -> None:
    backend = FakeBackend("gpu1", place)
    for state in State:
        place.put(RUN, Status(state=state, exit_code=3, reason="because"))
        status = (await backend.poll([REF]))[REF]
        assert (status.state, status.reason, status.observed_at) == (state, "because", 1000.0)
    assert await backend.find() == [REF]


async def test_a_log_put_there_is_followed_as_it_grows(place: Place) -> None:
    backend = FakeBackend("gpu1", place)
    attempt = place.put(RUN, log=b"step 1\n", files={"artifacts/x": b"1"})
    async with backend.logs(REF) as stream:
        assert (await anext(stream)).data == b"step 1\n"
        later = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        attempt.write(b"step 2\n")
        assert (await later).data == b"step 2\n"
        place.put(RUN, Status(state=State.SUCCEEDED))
        assert (await anext(stream)).eof
    assert [entry.path for entry in await backend.list_files(REF, "artifacts")] == ["artifacts/x"]


async def test_a_log_that_shrinks_is_told_as_cut(place: Place) -> None:
    attempt = place.put(RUN, log=b"a long beginning\n")
    backend = FakeBackend("gpu1", place)
    async with backend.logs(REF) as stream:
        await anext(stream)
        attempt.logs[0].clear()
        attempt.write(b"new\n")
        chunk = await anext(stream)
    assert (chunk.data, chunk.cut) == (b"new\n", True)


async def test_every_method_takes_as_long_as_it_is_told(place: Place) -> None:
    backend = FakeBackend("gpu1", place, delay=0.05)
    place.put(RUN)
    for call in (
        backend.probe(),
        backend.survey(RunSpec()),
        backend.find(),
        backend.poll([REF]),
        backend.cancel(REF),
        backend.log_stat(REF),
        backend.list_files(REF),
    ):
        begun = time.monotonic()
        await call
        assert time.monotonic() - begun >= 0.049


async def test_stopping_a_run_put_there_ends_it(place: Place) -> None:
    backend = FakeBackend("gpu1", place)
    place.put(RUN)
    await backend.cancel(REF)
    assert (await backend.poll([REF]))[REF].state is State.CANCELLED


async def test_an_unreachable_place_breaks_open_streams_and_comes_back(place: Place) -> None:
    backend = FakeBackend("gpu1", place)
    place.put(RUN, log=b"x")
    with pytest.raises(Unreachable):
        async with asyncio.timeout(5), backend.logs(REF) as stream:
            await anext(stream)
            place.reachable = False
            await anext(stream)
    assert (await backend.probe()).reach is Reach.DOWN
    place.reachable = True
    assert (await backend.probe()).reach is Reach.OK


async def test_closing_the_place_ends_its_jobs(place: Place) -> None:
    from tests.conformance import fake, jobs

    backend = FakeBackend("gpu1", place)
    spec = RunSpec(run_id=RUN, argv=jobs.argv(fake.PYTHON, "hold"))
    await backend.submit(backend.plan(spec, await backend.survey(spec)))
    before = asyncio.all_tasks()
    await place.close()
    assert len(asyncio.all_tasks()) < len(before)
