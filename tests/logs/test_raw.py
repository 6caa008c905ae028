"""The bytes for a pipe are those of tail and grep."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.backends.base import UsageError
from traindeck.console.logs import raw
from traindeck.console.logs.source import FileSource
from traindeck.console.logs.times import Times


@pytest.mark.parametrize("ending", [b"", b"\n", b"\n\n", b"\r\n", b"\x00"])
async def test_the_last_lines_are_those_of_tail(log: Path, ending: bytes) -> None:
    rng = random.Random(5)
    lines = [rng.randbytes(rng.randrange(40)).replace(b"\n", b"") for _ in range(9000)]
    log.write_bytes(b"\n".join(lines) + ending)
    source = FileSource(log)
    for count in (0, 1, 2, 3, 10, 5000, 20_000):
        start = await raw.tail_offset(source, count)
        tail = subprocess.run(["tail", "-n", str(count), log], stdout=subprocess.PIPE, check=True)
        got = b"".join([chunk async for chunk in raw.read(source, start, log.stat().st_size)])
        assert got == tail.stdout, count
    await source.aclose()


async def test_the_last_line_of_an_empty_log_is_nothing(log: Path) -> None:
    source = FileSource(log)
    assert await raw.tail_offset(source, 10) == 0
    log.write_bytes(b"")
    assert await raw.tail_offset(source, 10) == 0
    await source.aclose()


async def test_since_begins_with_the_line_that_was_being_written(log: Path, tmp_path: Path) -> None:
    log.write_bytes(b"one\ntwo\nthree\nfour\n")
    idx = tmp_path / "0.idx"
    source, times = FileSource(log), Times(FileSource(idx))
    assert await raw.since_offset(source, times, 100.0) is None
    idx.write_bytes(b"".join(struct.pack("<dQ", *s) for s in [(100, 4), (200, 10), (300, 19)]))
    assert await raw.since_offset(source, times, 50.0) == 0
    assert await raw.since_offset(source, times, 150.0) == 4
    assert await raw.since_offset(source, times, 250.0) == 8, "`th` of three was there"
    assert await raw.since_offset(source, times, 900.0) == 19
    await source.aclose()
    await times.aclose()


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.sampled_from([b"loss 1", b"\xff\xfe", b"mem\r", "größe".encode(), b"", b"x\ry"])),
    st.sampled_from(["loss", "^mem$", "gr..e", "^$", "x.y"]),
    st.integers(1, 30),
)
def test_matching_lines_are_kept_byte_for_byte_however_they_arrive(
    lines: list[bytes], expression: str, step: int
) -> None:
    import re

    data = b"\n".join(lines)
    whole = raw.Grep(expression)
    expected = whole.feed(data) + whole.close()
    grep = raw.Grep(expression)
    got = b"".join(grep.feed(data[n : n + step]) for n in range(0, len(data), step))
    assert got + grep.close() == expected
    ends = [line + b"\n" for line in data.split(b"\n")]
    ends[-1] = ends[-1][:-1]
    assert expected == b"".join(
        line
        for line in ends
        if line and re.search(expression, line.rstrip(b"\r\n").decode("utf-8", "surrogateescape"))
    )


def test_a_wrong_expression_says_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="not a regular expression"):
        raw.Grep("(")


@pytest.mark.parametrize("step", [7, 64, 300, 5000])
def test_a_line_too_long_to_hold_is_matched_over_its_cuts_and_goes_on_to_its_end(
    monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(raw, "LONGEST", 1000)
    monkeypatch.setattr(raw, "OVERLAP", 50)
    for place in (0, 500, 985, 1300, 1945, 4990):
        line = b"." * place + b"a needle here" + b"." * (6000 - place) + b"\n"
        log = b"needle 1\nno\n" + line + b"no\n" + b"-" * 3000 + b"\nneedle 2\n" + line[:-1]
        told: list[str] = []
        grep = raw.Grep("needle", tell=told.append)
        got = b"".join(grep.feed(log[n : n + step]) for n in range(0, len(log), step))
        got += grep.close()
        first, *lines = got.split(b"\n")
        assert first == b"needle 1"
        assert lines[1] == b"needle 2"
        for shown in (lines[0], lines[2]):
            assert line[:-1].endswith(shown) and b"a needle here" in shown
        assert len(lines) == 3
        assert len(grep._rest) == 0 and (len(told) == 1 or step > 1000)


def test_the_beginning_of_a_line_is_not_where_it_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "LONGEST", 1000)
    monkeypatch.setattr(raw, "OVERLAP", 50)
    for expression, found in (("^x", False), ("x", True), ("^-x*", True), ("xy$", True)):
        grep = raw.Grep(expression)
        got = b"".join(grep.feed(data) for data in (b"-", *[b"x" * 300] * 10, b"y\n"))
        assert bool(got) == found, expression
        assert grep.feed(b"x\n") == (b"x\n" if expression in ("^x", "x") else b"")


def test_a_line_that_matches_before_it_is_too_long_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(raw, "LONGEST", 1000)
    told: list[str] = []
    grep = raw.Grep("x", tell=told.append)
    got = [grep.feed(b"x" * 300) for _ in range(10)]
    assert b"".join(got) + grep.close() == b"x" * 3000
    assert len(grep._rest) == 0 and any(got) and not told
