"""A link that is cut again and again while logs grow: what is copied of them is what they are.

SOAK: 20 logs of 50 MB and 200 cuts; else a few of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.fakes.far import FarBackend

from traindeck.backends.base import JobRef, RunSpec
from traindeck.console.runs.following import Appended, Ended, Filler, Lost, Restarted, follow_log
from traindeck.console.store.mirror import Mirror

SOAK = int(os.environ.get("SOAK", "0"))
LOGS, SIZE, CUTS = (20, 50_000_000, 200) if SOAK else (4, 3_000_000, 12)
REST = 0.01 if SOAK else 0.2
"""Seconds that a log rests now and then: it must not be there before it was cut often enough."""
LOG = "attempts/0/logs/0.log"

WRITE = """
import os, random, sys, time
rng = random.Random(int(sys.argv[1])); left = int(sys.argv[2])
while left:
    piece = min(left, rng.randrange(1, 60000))
    os.write(1, rng.getrandbits(8 * piece).to_bytes(piece, "big")); left -= piece
    if rng.random() < 0.3: time.sleep(float(sys.argv[3]) if len(sys.argv) > 3 else 0.01)
"""


@pytest.fixture
async def place(tmp_path: Path, home: Path) -> AsyncIterator[FarBackend]:
    made = FarBackend(tmp_path / "there")
    yield made
    await made.end()


async def launch(place: FarBackend, *argv: str) -> JobRef:
    run_id = "".join(random.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(12))
    spec = RunSpec(run_id=run_id, name="cut", argv=argv, cwd="/", created=1.0)
    return await place.submit(place.plan(spec, await place.survey(spec)))


async def writer(place: FarBackend, seed: int) -> JobRef:
    return await launch(place, sys.executable, "-c", WRITE, str(seed), str(SIZE), str(REST))


def log(folder: Path, ref: JobRef) -> bytes:
    return (folder / "there/runs" / ref.run_id / LOG).read_bytes()


def piece(path: Path, at: int, size: int) -> bytes:
    """A little of a log that is too long to be read whole again and again."""
    with path.open("rb") as file:
        file.seek(at)
        return file.read(size)


async def test_every_mirror_is_byte_for_byte_its_log_however_often_the_link_is_cut(
    place: FarBackend, tmp_path: Path
) -> None:
    rng = random.Random(7)
    mirror = Mirror(tmp_path / "mirror")
    refs = [await writer(place, seed) for seed in range(LOGS)]
    fillers = [Filler(place, ref, 0, mirror.copy(ref.run_id, LOG)) for ref in refs]
    for filler in fillers:
        filler.start()
    cuts = next_at = 0
    while not all(filler.ended for filler in fillers):
        before = sum(filler.copy.held().size for filler in fillers)
        await asyncio.sleep(0.005)
        copied = sum(filler.copy.held().size for filler in fillers)
        if cuts < CUTS and copied > before and copied > next_at:
            cuts += 1
            # The next one within what is left, so that there is something to cut through.
            next_at = copied + (LOGS * SIZE - copied) // (2 * (CUTS - cuts + 1))
            place.host.break_off() if rng.random() < 0.5 else place.host.cut()
            continue
        going = [filler for filler in fillers if not filler.ended]
        if not place.host.whole and all(filler.lost_at is not None for filler in going):
            assert not any(filler.level for filler in going)
            place.host.mend()
        for filler, ref in zip(fillers, refs, strict=True):
            held = filler.copy.held()
            if held.size and rng.random() < 0.05:
                at = rng.randrange(held.size)
                data = filler.copy.read(at, 1 << 16, held.content)
                path = tmp_path / "there/runs" / ref.run_id / LOG
                assert data and data == piece(path, at, len(data))
    place.host.mend()
    assert cuts == CUTS
    for filler, ref in zip(fillers, refs, strict=True):
        held = filler.copy.held()
        assert (held.begin, held.size) == (0, SIZE)
        assert filler.copy.read(0, SIZE, held.content) == log(tmp_path, ref)
        await filler.aclose()


async def test_a_follower_prints_each_byte_once_through_every_cut(
    place: FarBackend, tmp_path: Path
) -> None:
    ref = await writer(place, 3)
    copy = Mirror(tmp_path / "mirror").copy(ref.run_id, LOG)
    printed = bytearray()
    lost = 0
    async with aclosing(follow_log(place, ref, copy=copy, fill=True)) as events:
        async for event in events:
            match event:
                case Appended(offset, data):
                    assert offset == len(printed)
                    printed += data
                    if lost < 5 and len(printed) > (lost + 1) * SIZE // 7:
                        place.host.cut()
                case Lost(why):
                    lost += 1
                    assert "gpu1" in why or "agent" in why
                    place.host.mend()
                case Ended():
                    break
    assert lost == 5
    assert bytes(printed) == log(tmp_path, ref)
    # Who follows it again has it from here, out of reach or not.
    place.host.cut()
    again = b""
    with contextlib.suppress(StopAsyncIteration):
        async with aclosing(follow_log(place, ref, copy=copy)) as events:
            async for event in events:
                if isinstance(event, Lost):
                    break
                assert isinstance(event, Appended)
                again += event.data
    assert again == printed


async def test_while_the_link_of_a_follower_is_down_another_process_copies(
    place: FarBackend, tmp_path: Path
) -> None:
    """It may have a link that works, or one that is tried again sooner."""
    ref = await launch(place, "sh", "-c", "echo one; exec sleep 600")
    copy = Mirror(tmp_path / "mirror").copy(ref.run_id, LOG)
    free: list[bool] = []
    async with aclosing(follow_log(place, ref, copy=copy, fill=True)) as events:
        async for event in events:
            match event:
                case Appended(0, b"one\n"):
                    with copy.writing() as other:
                        free.append(other is not None)
                    place.host.cut()
                case Lost():
                    with copy.writing() as other:
                        free.append(other is not None)
                    break
    assert free == [False, True]
    assert copy.held().size == 4


async def test_a_log_that_is_followed_from_its_end_is_copied_by_others(
    place: FarBackend, tmp_path: Path
) -> None:
    """What lies between is not here, so nothing of what is followed could be added."""
    ref = await launch(place, "sh", "-c", "echo one; echo two; exec sleep 600")
    while not log(tmp_path, ref).endswith(b"two\n"):
        await asyncio.sleep(0.02)
    copy = Mirror(tmp_path / "mirror").copy(ref.run_id, LOG)
    async with aclosing(follow_log(place, ref, offset=4, copy=copy, fill=True)) as events:
        async for event in events:
            if isinstance(event, Appended):
                assert event == Appended(4, b"two\n")
                break
        with copy.writing() as other:
            assert other is not None


async def test_a_log_replaced_while_the_link_was_down_is_not_mixed_with_the_new_one(
    place: FarBackend, tmp_path: Path
) -> None:
    ref = await launch(place, "sh", "-c", "echo the old log; exec sleep 600")
    path = tmp_path / "there/runs" / ref.run_id / LOG
    copy = Mirror(tmp_path / "mirror").copy(ref.run_id, LOG)
    seen: list[bytes] = []
    async with aclosing(follow_log(place, ref, copy=copy, fill=True)) as events:
        async for event in events:
            match event:
                case Appended(0, b"the old log\n"):
                    place.host.cut()
                case Lost():
                    path.unlink()
                    path.write_bytes(b"a new log that is longer than the old one\n")
                    place.host.mend()
                case Restarted():
                    seen.clear()
                case Appended(_, data):
                    seen.append(data)
                    break
    assert b"".join(seen) == path.read_bytes()
    held = copy.held()
    assert copy.read(0, 1000, held.content) == path.read_bytes()


async def test_one_of_two_readers_fills_the_mirror_and_the_other_takes_over(
    place: FarBackend, tmp_path: Path
) -> None:
    ref = await launch(place, "sh", "-c", "echo one; exec sleep 600")
    path = tmp_path / "there/runs" / ref.run_id / LOG
    mirror = Mirror(tmp_path / "mirror")
    first, second = (Filler(place, ref, 0, mirror.copy(ref.run_id, LOG)) for _ in range(2))
    first.start()
    while not first.level:
        await asyncio.sleep(0.01)
    second.start()
    with path.open("ab") as file:
        file.write(b"two\n")
    while mirror.kept(ref.run_id, LOG) != b"one\ntwo\n":
        await asyncio.sleep(0.01)
    assert not second.level
    await first.aclose()
    while not second.level:
        await asyncio.sleep(0.01)
    with path.open("ab") as file:
        file.write(b"three\n")
    while mirror.kept(ref.run_id, LOG) != b"one\ntwo\nthree\n":
        await asyncio.sleep(0.01)
    await second.aclose()
