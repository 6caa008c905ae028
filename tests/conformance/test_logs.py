"""Logs: every byte, once, from wherever a reader was; and nothing left behind by readers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance import jobs
from tests.conformance.conftest import Suite
from tests.conformance.subject import settled

from traindeck.backends.base import (
    BackendError,
    JobRef,
    Look,
    SeekableLogs,
    State,
    Tail,
    Tails,
    UsageError,
)

SIZE = 400_000
NOISE = jobs.noise(7, SIZE)


async def finished(suite: Suite) -> JobRef:
    """A finished job with a log of `NOISE`."""
    ref = await suite.launch(f"noise:7:{SIZE}")
    assert (await suite.until(ref)).state is State.SUCCEEDED
    return ref


async def test_a_log_is_byte_for_byte_what_the_job_wrote(suite: Suite) -> None:
    ref = await finished(suite)
    chunks = await suite.read(ref)
    assert b"".join(chunk.data for chunk in chunks) == NOISE
    assert [chunk.eof for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert not any(chunk.cut for chunk in chunks)


async def test_stdout_and_stderr_are_one_log_in_order(suite: Suite) -> None:
    ref = await suite.launch("out:one", "err:two", "out:three")
    await suite.until(ref)
    assert await suite.log(ref) == b"one\ntwo\nthree\n"


@given(data=st.data())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_a_reader_resumes_at_the_exact_byte_from_any_cursor(
    suite: Suite, data: st.DataObject
) -> None:
    ref = await finished_once(suite)
    chunks = await suite.read(ref)
    cut = data.draw(st.integers(0, len(chunks) - 1), label="chunks read before the cut")
    cursor = chunks[cut - 1].cursor if cut else ""
    rest = await suite.log(ref, cursor=cursor)
    assert b"".join(chunk.data for chunk in chunks[:cut]) + rest == NOISE


_finished: list[tuple[Suite, JobRef]] = []


async def finished_once(suite: Suite) -> JobRef:
    """The same finished job for every example of one test."""
    if not _finished or _finished[0][0] is not suite:
        _finished[:] = [(suite, await finished(suite))]
    return _finished[0][1]


@given(offset=st.integers(0, SIZE))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_where_logs_are_seekable_any_offset_is_a_cursor(suite: Suite, offset: int) -> None:
    if not isinstance(suite.backend, SeekableLogs):
        pytest.skip("no SeekableLogs")
    ref = await finished_once(suite)
    assert await suite.log(ref, cursor=str(offset)) == NOISE[offset:]


@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=12))
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_a_reader_that_is_cut_again_and_again_gets_every_byte_once(
    suite: Suite, cuts: list[int]
) -> None:
    """While the job writes: each connection reads a few chunks, then is gone."""
    ref = await suite.launch(f"noise:7:{SIZE}")
    seen, cursor, eof = b"", "", False
    turns = iter(cuts)
    async with asyncio.timeout(suite.subject.patience):
        while not eof:
            left = next(turns, 1_000_000)
            async with suite.backend.logs(ref, cursor=cursor) as stream:
                async for chunk in stream:
                    seen, cursor, eof = seen + chunk.data, chunk.cursor, chunk.eof
                    left -= 1
                    if eof or not left:
                        break
    assert seen == NOISE


async def test_what_a_running_job_writes_is_seen_while_it_runs(suite: Suite) -> None:
    ref = await suite.launch("out:first", "hold")
    await suite.said(ref, "first")
    assert (await suite.until(ref, State.RUNNING)).state is State.RUNNING
    chunks = await suite.read(ref, follow=False)
    assert b"".join(chunk.data for chunk in chunks) == b"first\n"
    assert chunks[-1].eof


async def test_a_follower_is_there_before_the_first_byte_and_sees_the_end(suite: Suite) -> None:
    ref = await suite.launch("pause:0.3", "out:late", "pause:0.2", "out:last", "exit:1")
    assert await suite.log(ref) == b"late\nlast\n"
    assert (await suite.status(ref)).exit_code in (None, 1)
    assert (await suite.until(ref)).exit_code == 1


async def test_a_job_that_writes_nothing_has_an_empty_log_that_ends(suite: Suite) -> None:
    ref = await suite.launch("exit:0")
    assert await suite.log(ref) == b""


async def test_the_end_of_a_log_read_again_is_the_end(suite: Suite) -> None:
    ref = await suite.launch("out:x")
    await suite.until(ref)
    last = (await suite.read(ref))[-1]
    (again,) = await suite.read(ref, cursor=last.cursor)
    assert (again.data, again.eof, again.cursor) == (b"", True, last.cursor)


async def test_a_cursor_that_names_the_file_goes_on_in_that_file_only(suite: Suite) -> None:
    backend = suite.backend
    if not isinstance(backend, SeekableLogs):
        pytest.skip("its logs are not seekable")
    ref = await finished_once(suite)
    identity = (await backend.log_stat(ref)).identity
    chunks = await suite.read(ref, cursor=f"1000@{identity}")
    assert b"".join(chunk.data for chunk in chunks) == NOISE[1000:]
    assert not any(chunk.cut for chunk in chunks)
    assert {chunk.identity for chunk in chunks} == {identity}
    anew = await suite.read(ref, cursor=f"1000@{identity}-of-another")
    assert anew[0].cut
    assert b"".join(chunk.data for chunk in anew) == NOISE


async def test_many_files_are_read_on_in_one_round_trip(suite: Suite) -> None:
    backend = suite.backend
    if not isinstance(backend, Tails):
        pytest.skip("it does not read many files at once")
    refs = [await finished(suite), await finished(suite)]
    path = "attempts/0/logs/0.log"
    known = {(ref.run_id, path): b"" for ref in refs}
    identities = dict.fromkeys(known, "")
    trips, rounds = suite.need("trips"), 0
    while any(data != NOISE for data in known.values()):
        before = trips()
        tails = [
            Tail(
                ref=ref,
                path=path,
                offset=len(known[ref.run_id, path]),
                identity=identities[ref.run_id, path],
            )
            for ref in refs
        ]
        missing = [Tail(ref=ref, path="attempts/0/nothing.jsonl") for ref in refs]
        pieces = (await backend.tails([*missing, *tails], budget=100_000)).pieces
        assert trips() - before == 1
        assert 0 < sum(len(piece.data) for piece in pieces) <= 100_000
        for piece in pieces:
            key = (piece.ref.run_id, piece.path)
            assert piece.offset == len(known[key]) and piece.size == SIZE and not piece.cut
            known[key] += piece.data
            identities[key] = piece.identity
        rounds += 1
    assert rounds >= 2 * SIZE // 100_000
    whole = [
        Tail(ref=refs[0], path=path, offset=SIZE, identity=identities[refs[0].run_id, path]),
        Tail(ref=refs[1], path=path, offset=SIZE, identity="another"),
    ]
    (piece,) = (await backend.tails(whole, budget=1000)).pieces
    assert (piece.ref, piece.offset, piece.cut) == (refs[1], 0, True)
    assert piece.data == NOISE[:1000]


async def test_what_a_job_writes_beside_its_log_is_found_and_read_on(suite: Suite) -> None:
    backend = suite.backend
    if not isinstance(backend, Tails):
        pytest.skip("it does not read many files at once")
    (ref,) = [await finished(suite)]
    look = Look(ref=ref, folder="attempts/0/logs", names=r"\d+\.log")
    none = Look(ref=ref, folder="artifacts", names=r".*\.csv")
    grown = await backend.tails([], budget=1000, looks=[look, none])
    assert not grown.pieces and not grown.seen[none]
    (found,) = grown.seen[look]
    assert (found.path, found.size) == ("attempts/0/logs/0.log", SIZE)
    tail = Tail(ref=ref, path=found.path, offset=SIZE - 10)
    (piece,) = (await backend.tails([tail], budget=1000)).pieces
    assert piece.data == NOISE[-10:]


@pytest.mark.parametrize(
    "cursor", ["banana", "5@", "@1:2", "-1", "1.5", "٣", " 1", "1e3", "0x10", "\x00"]
)
async def test_a_cursor_that_is_none_of_ours_is_a_usage_error(suite: Suite, cursor: str) -> None:
    ref = await suite.launch("out:x")
    with pytest.raises(UsageError, match=r"\w+ \w+"):
        await suite.read(ref, cursor=cursor)


async def test_logs_can_be_read_at_random(suite: Suite) -> None:
    backend = suite.backend
    if not isinstance(backend, SeekableLogs):
        pytest.skip("no SeekableLogs")
    ref = await finished(suite)
    stat = await backend.log_stat(ref)
    assert (stat.size, stat.ended) == (SIZE, True)
    assert stat.identity and (await backend.log_stat(ref)).identity == stat.identity
    for offset, size in ((0, 10), (12_345, 70_000), (SIZE - 5, 100), (SIZE, 10), (SIZE + 9, 10)):
        assert await backend.read_at(ref, 0, offset, size) == NOISE[offset : offset + size]
    assert await backend.read_at(ref, 0, 5, 0) == b""


@given(start=st.integers(0, SIZE - 8), offset=st.integers(0, SIZE), length=st.integers(1, 8))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_searching_a_log_finds_what_is_there_and_nothing_else(
    suite: Suite, start: int, offset: int, length: int
) -> None:
    backend = suite.backend
    if not isinstance(backend, SeekableLogs):
        pytest.skip("no SeekableLogs")
    ref = await finished_once(suite)
    needle = NOISE[start : start + length]
    for at in (offset, start, min(start + 1, SIZE)):  # at a place of it, and within
        forward = NOISE.find(needle, at)
        backward = NOISE.rfind(needle, 0, at + length - 1)
        found = await backend.find_in_log(ref, 0, needle, offset=at)
        assert found == (None if forward < 0 else forward)
        found = await backend.find_in_log(ref, 0, needle, offset=at, backward=True)
        assert found == (None if backward < 0 else backward)
    assert await backend.find_in_log(ref, 0, b"\x00not in it\x00", offset=0) is None


async def test_a_running_jobs_log_grows_under_the_same_identity(suite: Suite) -> None:
    backend = suite.backend
    if not isinstance(backend, SeekableLogs):
        pytest.skip("no SeekableLogs")
    ref = await suite.launch("out:a", "on-term:b", "hold")
    await suite.said(ref, "a")
    before = await backend.log_stat(ref)
    await backend.cancel(ref)
    await suite.until(ref)
    after = await backend.log_stat(ref)
    assert (before.size, before.ended) == (2, False)
    assert (after.size, after.ended) == (4, True)
    assert after.identity == before.identity


async def test_the_log_of_no_run_or_no_attempt_or_no_rank_is_refused_in_words(
    suite: Suite,
) -> None:
    ref = await suite.launch("out:x")
    await suite.until(ref)
    for unknown in (
        JobRef(backend=ref.backend, run_id="0" * 12),
        JobRef(backend=ref.backend, run_id=ref.run_id, attempt=3),
        JobRef(backend=ref.backend, run_id="../../etc/passwd"),
    ):
        with pytest.raises(BackendError, match=r"\w+ \w+"):
            await suite.read(unknown)
        if isinstance(suite.backend, SeekableLogs):
            with pytest.raises(BackendError, match=r"\w+ \w+"):
                await suite.backend.log_stat(unknown)
            with pytest.raises(BackendError, match=r"\w+ \w+"):
                await suite.backend.read_at(unknown, 0, 0, 10)


def descendants(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = children.read_text().split()
        except OSError:
            continue
        for child in below:
            yield from descendants(int(child))


def held(suite: Suite) -> tuple[int, int]:
    """(processes below this one, descriptors of all of them)."""
    place = suite.subject.apart() if suite.subject.apart is not None else ()
    apart = {below for pid in place for below in descendants(pid)}
    processes = [pid for pid in descendants(os.getpid()) if pid not in apart]
    descriptors = 0
    for pid in processes:
        try:
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            continue
    return len(processes), descriptors


async def test_two_hundred_readers_leave_nothing_behind(suite: Suite) -> None:
    done = await suite.launch("noise:1:20000")
    running = await suite.launch("out:up", "hold")
    await suite.until(done)
    await suite.said(running, "up")

    async def read_some(turn: int) -> None:
        async with suite.backend.logs(running if turn % 2 else done) as stream:
            if turn % 4 != 3:
                async for _ in stream:
                    break

    await asyncio.gather(*(read_some(turn) for turn in range(10)))
    tasks = len(asyncio.all_tasks())
    before = held(suite)
    for _ in range(10):
        await asyncio.gather(*(read_some(turn) for turn in range(20)))
    assert await settled(lambda: held(suite) <= before), (before, held(suite))
    assert await settled(lambda: len(asyncio.all_tasks()) <= tasks)
    assert await suite.log(done) == jobs.noise(1, 20_000)


async def test_a_reader_that_is_cancelled_closes_its_stream(suite: Suite) -> None:
    ref = await suite.launch("out:up", "hold")
    await suite.said(ref, "up")
    before = held(suite)
    for _ in range(20):
        task = asyncio.create_task(suite.log(ref))
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await settled(lambda: held(suite) <= before), (before, held(suite))
    assert await suite.log(ref, follow=False) == b"up\n"


async def test_a_reader_that_takes_nothing_does_not_hold_up_a_poll(suite: Suite) -> None:
    ref = await suite.launch("noise:3:3000000", "hold")
    async with suite.backend.logs(ref) as stream:
        async for _ in stream:
            break
        async with asyncio.timeout(suite.subject.patience):
            status = await suite.status(ref)
        assert status.state in (State.STARTING, State.RUNNING)
