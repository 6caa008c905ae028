"""Counts by block say the same as counting everything would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from traindeck.console.logs.census import LARGEST, SMALLEST, Census, block_for

OFFSETS = st.lists(st.integers(0, 2_000_000), max_size=60).map(sorted)


def filled(offsets: list[int], block: int = 1024) -> Census:
    census = Census(block)
    for offset in offsets:
        census.add({offset // block: 1})
    census.covered = 2_000_001
    return census


@given(OFFSETS, st.integers(0, 2_100_000))
def test_ranks_and_neighbours_are_those_of_the_offsets(offsets: list[int], at: int) -> None:
    census = filled(offsets)
    block = census.block
    assert census.total == len(offsets)
    assert census.before(at) == sum(offset // block < at // block for offset in offsets)
    after = [offset // block * block for offset in offsets if offset // block >= at // block]
    assert census.next_block(at) == (after[0] if after else None)
    earlier = [offset // block * block for offset in offsets if offset // block * block < at]
    assert census.previous_block(at) == (earlier[-1] if earlier else None)


@given(OFFSETS)
def test_the_nth_is_found_in_its_block(offsets: list[int]) -> None:
    census = filled(offsets)
    for rank, offset in enumerate(offsets):
        start = offset // census.block * census.block
        assert census.locate(rank) == (start, sum(other < start for other in offsets))
    assert census.locate(len(offsets)) is None
    assert census.locate(-1) is None


@given(OFFSETS, st.integers(0, 2_000_001))
def test_what_is_forgotten_can_be_counted_again(offsets: list[int], at: int) -> None:
    census = filled(offsets)
    start = census.rewind(at)
    assert start <= at
    assert census.total == sum(offset < start for offset in offsets)
    for offset in offsets:
        if offset >= start:
            census.add({offset // census.block: 1})
    again = filled(offsets)
    assert [census.before(n) for n in range(0, 2_100_000, 50_000)] == [
        again.before(n) for n in range(0, 2_100_000, 50_000)
    ]


@given(OFFSETS)
def test_larger_blocks_hold_the_same(offsets: list[int]) -> None:
    census = filled(offsets)
    census.coarsen(8192)
    assert census.total == len(offsets)
    assert census.rows(7, 2_000_000) == filled(offsets, 8192).rows(7, 2_000_000)


@given(OFFSETS, st.integers(1, 50), st.integers(1, 2_100_000))
def test_the_map_has_a_row_for_every_hit(offsets: list[int], height: int, size: int) -> None:
    rows = filled(offsets).rows(height, size)
    assert len(rows) == height
    for offset in offsets:
        if offset < size:
            assert rows[offset * height // size] > 0


def test_a_log_of_any_size_needs_few_blocks() -> None:
    assert block_for(0) == SMALLEST
    assert block_for(10 << 30) == LARGEST
    assert (10 << 30) // block_for(10 << 30) <= 163_840
    assert all((size // block_for(size)) <= 4096 for size in (1, 10**6, 10**7, 10**8))
