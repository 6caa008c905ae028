"""The background reading of a whole log: line numbers, the first error, the map at the edge."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from traindeck.console.logs.severity import Severity, severity
from traindeck.console.logs.source import FileSource, Pages
from traindeck.console.logs.survey import AT_ONCE, Survey


def long_log() -> bytes:
    rng = random.Random(3)
    out = []
    for step in range(60_000):
        out.append(b"step %d | loss %.4f\n" % (step, rng.random()))
        if step in (20_000, 45_000):
            out.append(b"WARNING sequence passed unpacked\n")
        if step in (31_000, 31_001, 59_000):
            out.append(b"RuntimeError: the sky fell\n")
    return b"".join(out)


async def test_line_numbers_are_known_in_both_directions(log: Path) -> None:
    data = long_log() + b"no newline"
    log.write_bytes(data)
    pages = Pages(FileSource(log))
    await pages.refresh()
    survey = Survey(pages.source)
    assert await survey.line_number(100, pages) is None, "not before it is known"
    await survey.read(pages.size)
    assert survey.error == ""
    assert await survey.line_count(pages) == data.count(b"\n") + 1
    for offset in (0, 1, 18, 5_000, 700_000, len(data) - 1):
        line = data.count(b"\n", 0, offset) + 1
        assert await survey.line_number(offset, pages) == line
        start = data.rfind(b"\n", 0, offset) + 1
        assert await survey.offset_of(line, pages) == start
    assert await survey.offset_of(10**9, pages) is None
    await survey.aclose()
    await pages.source.aclose()


async def test_the_first_error_is_found_and_all_are_on_the_map(log: Path) -> None:
    data = long_log()
    log.write_bytes(data)
    pages = Pages(FileSource(log))
    await pages.refresh()
    survey = Survey(pages.source)
    await survey.read(pages.size)
    first = data.find(b"RuntimeError")
    assert survey.first_error == first
    warning = data.find(b"WARNING")
    rows = survey.rows(20, len(data))
    assert rows[first * 20 // len(data)] is Severity.ERROR
    assert rows[warning * 20 // len(data)] is Severity.WARNING
    assert rows[0] is Severity.NONE
    await survey.aclose()
    await pages.source.aclose()


async def test_it_goes_on_when_the_log_grows_also_in_the_middle_of_a_line(log: Path) -> None:
    data = long_log()
    pages = Pages(FileSource(log))
    survey = Survey(pages.source)
    cut = data.find(b"RuntimeError") + 4
    for end in (100, cut, cut + 100, len(data)):
        log.write_bytes(data[:end])
        await pages.refresh()
        await survey.read(pages.size)
        unfinished = not data[:end].endswith(b"\n")
        assert await survey.line_count(pages) == data[:end].count(b"\n") + unfinished
    assert survey.first_error == cut - 4
    await survey.aclose()
    await pages.source.aclose()


async def test_what_it_grows_by_in_a_moment_is_known_at_once(log: Path) -> None:
    data = long_log()
    source = FileSource(log)
    pages, survey = Pages(source), Survey(source)
    cut = data.find(b"RuntimeError") + 4
    ends = [*range(1000, cut, AT_ONCE // 2), cut, cut + 3, cut + 100, cut + 101]
    for end in ends:
        log.write_bytes(data[:end])
        await pages.refresh()
        await survey.catch_up(pages)
        assert survey.covered == end
        assert await survey.line_count(pages) == data[:end].count(b"\n") + (
            not data[:end].endswith(b"\n")
        )
    assert survey.first_error == cut - 4
    whole = Survey(source)
    await whole.read(pages.size)
    assert survey.rows(50, pages.size) == whole.rows(50, pages.size)
    log.write_bytes(data)
    await pages.refresh()
    await survey.catch_up(pages)
    assert survey.covered == ends[-1], "what takes long is left to the background"
    for one in (survey, whole):
        await one.aclose()
    await source.aclose()


async def test_what_was_known_stays_known_while_more_is_read(log: Path) -> None:
    data = long_log()
    source = FileSource(log)
    pages, survey = Pages(source), Survey(source)
    log.write_bytes(data[:300_000])
    await pages.refresh()
    await survey.read(pages.size)
    log.write_bytes(data)
    await pages.refresh()
    reading = asyncio.create_task(survey.read(pages.size))
    known = []
    while not reading.done():
        known.append(await survey.line_number(299_999, pages))
        await asyncio.sleep(0.001)
    assert set(known) == {data.count(b"\n", 0, 299_999) + 1}
    await survey.aclose()
    await source.aclose()


async def test_the_same_is_found_wherever_the_lines_lie(log: Path) -> None:
    """Errors across the edges of the pieces that are read at once."""
    for shift in (-30, -9, -5, -1, 0, 1):
        line = b"torch.OutOfMemoryError: CUDA out of memory\n"
        filler = b"all is well here\n" * ((1 << 20) // 17)
        head = filler[: (1 << 20) + shift - 1] + b"\n"
        log.write_bytes(head + line + filler)
        source = FileSource(log)
        survey = Survey(source)
        await survey.read(len(head) + len(line) + len(filler))
        assert survey.first_error == len(head)
        await survey.aclose()
        await source.aclose()


def test_severity_of_lines_that_real_programs_wrote() -> None:
    errors = [
        b"Traceback (most recent call last):",
        b"[rank3]: Traceback (most recent call last):",
        b"\x1b[1;31mRuntimeError\x1b[0m: \x1b[35mexpected scalar type\x1b[0m",
        b"[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8.00 GiB.",
        b"KeyboardInterrupt",
        b"2026-01-02 10:00:00,123 ERROR trainer: no",
        b"[rank1]:[E1120 12:00:00.1 ProcessGroupNCCL.cpp:632] [Rank 1] Watchdog caught collective",
        b"E1120 10:11:12.123 7 torch/distributed/elastic/multiprocessing/api.py:882] failed",
        b"train.py: error: unrecognized arguments: --foo",
        b"slurmstepd: error: Detected 1 oom_kill event in StepId=1.0",
        b"Segmentation fault (core dumped)",
        b"Killed",
        b"OSError: [Errno 28] No space left on device",
        b"Fatal Python error: Segmentation fault",
    ]
    warnings = [
        b"WARNING  sequence of 8,192 tokens passed unpacked",
        b"[WARN] lr is 0",
        b"/a/b.py:12: UserWarning: do not",
        b"W1120 10:11:12.123 7 torch/distributed/run.py:766] ****",
        b"{'loss': 'nan', 'grad_norm': '1.0'}",
        b"step 12 | loss nan | lr 1e-4",
        b"train/loss=NaN",
    ]
    fine = [
        b"step 330 | loss 3.2011 | grad 1.01 | lr 5.99e-04",
        b"Error rate: 0.02, word error rate 12 %",
        b"mean squared error 0.1",
        b"nanoGPT 0 errors 0 warnings",
        b"Loading checkpoint shards: 100%",
        b"finance/loss banana",
        b"",
        b"\xff\x00\x01",
    ]
    assert [severity(line) for line in errors] == [Severity.ERROR] * len(errors)
    assert [severity(line) for line in warnings] == [Severity.WARNING] * len(warnings)
    assert [severity(line) for line in fine] == [Severity.NONE] * len(fine)


@pytest.mark.parametrize(
    "said",
    [
        b"CUDA error: an illegal memory access was encountered",
        b"RuntimeError: CUDA error: device-side assert triggered",
        b"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        b"cuda runtime error (59) : device-side assert triggered",
        b"[rank1]: ncclSystemError: NCCL error in: ProcessGroup.cpp:1",
    ],
)
@pytest.mark.parametrize(
    "before",
    [b"step 1\n", b"".join(b"\r%3d%% |##" % n for n in range(200))],
    ids=["a line", "a bar"],
)
async def test_an_error_without_a_traceback_is_found(log: Path, said: bytes, before: bytes) -> None:
    log.write_bytes(before + said + b"\nstep 2\n")
    pages = Pages(FileSource(log))
    await pages.refresh()
    survey = Survey(pages.source)
    await survey.read(pages.size)
    begins = max(before.rfind(b"\n"), before.rfind(b"\r")) + 1
    assert survey.first_error == begins
    await survey.aclose()
    await pages.source.aclose()


async def test_a_word_far_into_a_long_line_is_not_taken_for_another_line_s(log: Path) -> None:
    log.write_bytes(b"WARNING: x\n" + b"y" * 3000 + b" error: z\nstep 2\n")
    pages = Pages(FileSource(log))
    await pages.refresh()
    survey = Survey(pages.source)
    await survey.read(pages.size)
    assert survey.first_error is None
    await survey.aclose()
    await pages.source.aclose()
