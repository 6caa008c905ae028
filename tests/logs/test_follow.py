"""A follower gets every byte once, and is told when a log begins anew."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

from traindeck.backends.base import LogStat, Unreachable
from traindeck.console.logs.follow import Appended, Event, Restarted, Unanswered, follow
from traindeck.console.logs.source import FileSource


async def collect(events: AsyncIterator[Event], into: list[Event]) -> None:
    async for event in events:
        into.append(event)


def text(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Appended))


async def test_every_byte_once_and_in_order_while_another_writes(log: Path) -> None:
    rng = random.Random(1)
    whole = b""
    over = False
    seen: list[Event] = []
    source = FileSource(log)
    task = asyncio.create_task(collect(follow(source, ended=lambda: over, interval=0.001), seen))
    for _ in range(200):
        piece = rng.randbytes(rng.randrange(3000))
        with log.open("ab") as file:
            file.write(piece)
        whole += piece
        await asyncio.sleep(0)
    over = True
    await task
    assert text(seen) == whole
    at = 0
    for event in seen:
        assert isinstance(event, Appended) and event.offset == at
        at += len(event.data)
    await source.aclose()


async def test_it_resumes_at_any_byte(log: Path) -> None:
    log.write_bytes(bytes(range(256)) * 10)
    source = FileSource(log)
    for offset in (0, 1, 1000, 2559, 2560):
        seen: list[Event] = []
        await collect(follow(source, offset, ended=lambda: True), seen)
        assert text(seen) == log.read_bytes()[offset:]
    await source.aclose()


async def test_cut_and_replaced_logs_are_said_to_begin_anew(
    log: Path, tmp_path: Path, eventually: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    log.write_bytes(b"old content\n")
    over = False
    seen: list[Event] = []
    source = FileSource(log)
    task = asyncio.create_task(collect(follow(source, ended=lambda: over, interval=0.001), seen))
    await eventually(lambda: text(seen) == b"old content\n")
    seen.clear()
    os.truncate(log, 0)
    with log.open("ab") as file:
        file.write(b"longer than the old content was\n")
    await eventually(lambda: text(seen) == b"longer than the old content was\n")
    assert isinstance(seen[0], Restarted)
    seen.clear()
    (tmp_path / "new").write_bytes(b"replaced\n")
    os.replace(tmp_path / "new", log)
    await eventually(lambda: text(seen) == b"replaced\n")
    assert isinstance(seen[0], Restarted)
    over = True
    await task
    await source.aclose()


async def test_a_place_that_comes_back_loses_nothing() -> None:
    class Flaky:
        def __init__(self) -> None:
            self.calls = 0

        async def stat(self) -> LogStat:
            self.calls += 1
            if self.calls in (2, 3):
                raise Unreachable("gpu1 did not answer.")
            return LogStat(size=min(self.calls * 10, 60), identity="x", ended=self.calls > 6)

        async def read_at(self, offset: int, size: int) -> bytes:
            return bytes(range(100))[offset : offset + size]

        async def local_fd(self) -> int | None:
            return None

        async def find(self, needle: bytes, offset: int, *, backward: bool = False) -> int | None:
            raise NotImplementedError

        async def aclose(self) -> None: ...

    seen: list[Event] = []
    await collect(follow(Flaky(), interval=0.001), seen)
    assert text(seen) == bytes(range(60))
    failures = [event for event in seen if isinstance(event, Unanswered)]
    assert [event.reason for event in failures] == ["gpu1 did not answer."] * 2
    assert failures[0].wait < failures[1].wait


async def test_leaving_ends_it(log: Path) -> None:
    log.write_bytes(b"x")
    source = FileSource(log)
    async with aclosing(follow(source)) as events:
        async for event in events:
            assert event == Appended(0, b"x")
            break
    await source.aclose()
