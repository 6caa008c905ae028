"""Times come from the samples and from nothing else."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.console.logs.source import FileSource
from traindeck.console.logs.times import Times, moment_of

BASE = 1_700_000_000.0


def write(path: Path, samples: list[tuple[float, int]], rest: bytes = b"") -> None:
    path.write_bytes(b"".join(struct.pack("<dQ", *sample) for sample in samples) + rest)


async def opened(path: Path) -> Times:
    times = Times(FileSource(path))
    await times.refresh()
    return times


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=300),
    st.lists(st.integers(0, 80_000), max_size=40).map(sorted),
)
async def test_a_byte_was_there_at_the_first_sample_that_covers_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], offsets: list[int]
) -> None:
    samples, size = [], 0
    for number, step in enumerate(steps):
        size += step
        samples.append((BASE + number / 8, size))
    path = tmp_path_factory.mktemp("idx") / "0.idx"
    write(path, samples)
    times = await opened(path)
    for asked in (offsets, offsets[::-1]):
        expected = [next((t for t, s in samples if s > offset), None) for offset in asked]
        assert await times.at(asked) == expected
    for moment in (BASE - 1, BASE, BASE + 3.3, BASE + 10_000):
        before = [s for t, s in samples if t <= moment]
        assert await times.offset_at(moment) == (before[-1] if before else 0)
    assert await times.span() == (samples[0][0], samples[-1][0])
    await times.aclose()


async def test_without_samples_every_time_is_unknown(log: Path) -> None:
    times = await opened(log)
    assert await times.at([0, 5]) == [None, None]
    assert await times.offset_at(BASE) is None
    assert await times.span() is None
    log.write_bytes(b"torn")
    await times.refresh()
    assert await times.at([0]) == [None]
    await times.aclose()


async def test_what_no_sample_covers_yet_is_unknown(log: Path) -> None:
    write(log, [(BASE, 100)], rest=b"half a reco")
    times = await opened(log)
    assert await times.at([0, 99, 100]) == [BASE, BASE, None]
    write(log, [(BASE, 100), (BASE + 1, 200)])
    await times.refresh()
    assert await times.at([100]) == [BASE + 1]
    await times.aclose()


@pytest.mark.parametrize("bad", [(0.0, 0), (float("nan"), 50), (-1.0, 2**63), (1e300, 1)])
async def test_records_that_make_no_sense_give_no_time(log: Path, bad: tuple[float, int]) -> None:
    write(log, [bad, (BASE, 100), bad, (BASE + 5, 300)] + [bad] * 20)
    times = await opened(log)
    for moment in await times.at([0, 50, 150, 299, 10**12]):
        assert moment in (None, BASE, BASE + 5)
    assert await times.at([299]) == [BASE + 5]
    await times.aclose()


async def test_after_a_cut_times_are_those_of_what_was_written_since(log: Path) -> None:
    write(log, [(BASE + n, 100 * (n + 1)) for n in range(50)] + [(BASE + 90, 40), (BASE + 91, 90)])
    times = await opened(log)
    assert await times.at([10, 50, 89]) == [BASE + 90, BASE + 91, BASE + 91]
    await times.aclose()


@pytest.mark.parametrize(
    ("text", "clock"),
    [("00:10", (5, 0, 10, 0)), (" 12:30:05 ", (5, 12, 30, 5)), ("23:59", (4, 23, 59, 0))],
)
def test_a_clock_time_is_of_the_day_before_the_end(
    text: str, clock: tuple[int, int, int, int]
) -> None:
    latest = time.mktime((2026, 11, 5, 14, 0, 0, 0, 0, -1))
    day, hour, minute, second = clock
    wanted = time.mktime((2026, 11, day, hour, minute, second, 0, 0, -1))
    assert moment_of(text, latest) == wanted


@pytest.mark.parametrize(
    "text", ["", "12", "24:00", "12:60", "12:00:61", "a:b", "1:2:3:4", "１:00"]
)
def test_what_is_no_clock_time_is_none(text: str) -> None:
    assert moment_of(text, 0.0) is None
