"""What a watch has told, and of when that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from traindeck.backends import watched
from traindeck.backends.base import JobRef, Status
from traindeck.backends.process import ProcessBackend

RUN = "0123456789ab"
REF = JobRef(backend="far", run_id=RUN)
LIVES = {"found": True, "attempt": 0, "phase": "running", "same_host": True, "alive": True}
LIVES |= {"supervised": True, "heartbeat_age": 7.0, "age": 9.0}
BEGAN = 1000.0


class Far:
    """A place that tells what it is given to tell, by a clock of the test's."""

    here = False

    def __init__(self) -> None:
        self.now = BEGAN
        self.set = 0.0
        self.polls = 0
        self.words: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def monotonic(self) -> float:
        return self.now

    def clock(self) -> float:
        return self.now + self.set

    async def agent(self) -> Far:
        return self

    async def call(self, verb: str, *_: Any, **__: Any) -> tuple[dict[str, Any], bytes]:
        self.polls += verb == "poll"
        return {"runs": {RUN: LIVES}}, b""

    @asynccontextmanager
    async def stream(self, *_: Any) -> AsyncIterator[AsyncIterator[Any]]:
        async def answers() -> AsyncIterator[Any]:
            while True:
                yield await self.words.get(), b""

        yield answers()

    async def say(self, at: float, **facts: Any) -> None:
        self.words.put_nowait({"at": at, "runs": {RUN: {**LIVES, **facts}} if facts else {}})
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def far(monkeypatch: pytest.MonkeyPatch) -> Far:
    far = Far()
    monkeypatch.setattr(watched.time, "monotonic", far.monotonic)
    return far


async def watching(far: Far) -> ProcessBackend:
    """A backend whose third poll is answered by the first word of a watch."""
    backend = ProcessBackend("far", far, clock=far.clock)  # type: ignore[arg-type]
    for _ in range(watched.TIMES - 1):
        await backend.poll([REF])
        far.now += 1.0
    far.now = BEGAN
    backend._watched._polled = BEGAN - 1.0
    await far.say(50.0, pid=7)
    assert (await look(backend)).pid == 7
    assert far.polls == watched.TIMES - 1
    return backend


async def look(backend: ProcessBackend) -> Status:
    return (await backend.poll([REF]))[REF]


async def test_a_word_that_was_long_on_its_way_is_of_when_it_was_said(far: Far) -> None:
    backend = await watching(far)
    far.now += 4.0
    assert (await look(backend)).observed_at == BEGAN
    far.now += 4.0
    await far.say(52.0, pid=8)  # six seconds under way
    seen = await look(backend)
    assert (seen.pid, seen.observed_at) == (8, BEGAN + 2.0)
    backend._watched.close()


@pytest.mark.parametrize("word", [{}, {"at": "1", "runs": 5}, {"at": None, "runs": {}}])
async def test_what_is_no_word_of_a_watch_ends_it(far: Far, word: dict[str, Any]) -> None:
    backend = await watching(far)
    far.words.put_nowait(word)
    for _ in range(5):
        await asyncio.sleep(0)
    far.now += 1.0
    assert (await look(backend)).pid is None
    assert far.polls == watched.TIMES


@pytest.mark.parametrize("how", ["silent", "slept", "old"])
async def test_what_was_told_counts_no_more(far: Far, how: str) -> None:
    backend = await watching(far)
    if how == "silent":
        far.now += watched.EVERY + watched.LATE + 0.1
    elif how == "slept":  # which the monotonic clock does not see
        far.set += 3600.0
        far.now += 1.0
    else:
        far.now += watched.RENEWED + 1.0
        await far.say(50.0 + watched.RENEWED)
    assert (await look(backend)).pid is None
    assert far.polls == watched.TIMES
    backend._watched.close()
