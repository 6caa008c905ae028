"""The rule by which a log falls into units: one whole, the same from every side, bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.console.logs.units import REACH, SEGMENT, forward, start_of, walk

# Pieces that meet the edges of the rule: lines of many lengths, some as long as segments.
PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"x" * 100 + b"\n"]),
        st.integers(SEGMENT - 3, SEGMENT + 3).map(lambda n: b"y" * n),
        st.integers(1, 3).map(lambda n: b"50%|#####     |\r" * (n * SEGMENT // 16)),
    ),
    max_size=30,
).map(b"".join)


def all_units(data: bytes) -> list[tuple[int, int]]:
    def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    units: list[tuple[int, int]] = []
    while more := walk(forward(units[-1][1] if units else 0, len(data) + 1), read):
        units += more
    return units


@settings(max_examples=150, deadline=None)
@given(PIECES, st.data())
def test_every_walk_from_anywhere_sees_the_same_units(data: bytes, draw: st.DataObject) -> None:
    def read(offset: int, size: int) -> bytes:
        assert size <= SEGMENT, "a step of a walk reads a segment at most"
        return data[offset : offset + size]

    units = all_units(data)
    assert b"".join(data[start:end] for start, end in units) == data
    end, back = len(data), []
    while end > 0:
        back.append((walk(start_of(end - 1), read), end))
        end = back[-1][0]
    assert back[::-1] == units
    if data:
        at = draw.draw(st.integers(0, len(data) - 1))
        start, end = next(unit for unit in units if unit[0] <= at < unit[1])
        assert walk(start_of(at), read) == start
        assert walk(forward(start, 1), read) == [(start, end)]


@settings(max_examples=50, deadline=None)
@given(PIECES, st.binary(max_size=3 * SEGMENT))
def test_units_before_the_last_stay_when_the_log_grows(data: bytes, more: bytes) -> None:
    kept = all_units(data)[:-1]
    assert all_units(data + more)[: len(kept)] == kept


@given(st.lists(st.binary(max_size=80).filter(lambda line: b"\n" not in line), max_size=20))
def test_ordinary_lines_are_units(lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    assert [data[start : end - 1] for start, end in all_units(data)] == lines


def test_a_huge_line_falls_into_bounded_pieces() -> None:
    data = b"head\n" + b"x" * (5 * REACH) + b"\ntail\n"
    units = all_units(data)
    assert max(end - start for start, end in units) < 2 * SEGMENT
    assert data[slice(*units[0])] == b"head\n"
    assert data[slice(*units[-1])] == b"tail\n"


def test_an_hour_of_a_progress_bar_stays_in_a_few_pieces() -> None:
    bar = b"".join(
        b"\r%3d%%|%s| %d/36000 [1.00s/it]" % (n // 360, b"#" * 40, n) for n in range(36_000)
    )
    data = b"start\n" + bar + b"\nend\n"
    units = all_units(data)
    assert len(units) <= 2 + len(bar) // REACH + 2
    assert max(end - start for start, end in units) < REACH + SEGMENT


@pytest.mark.parametrize("size", [SEGMENT - 1, SEGMENT, SEGMENT + 1, REACH, REACH + 1])
def test_the_end_without_a_newline_is_a_unit_of_its_own(size: int) -> None:
    data = b"a\n" + b"z" * size
    units = all_units(data)
    assert units[0] == (0, 2)
    assert units[-1][1] == len(data)
