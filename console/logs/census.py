"""How many of something begin in each block of a log: search hits, newlines, errors.

This is all that is kept of a scan, whatever the number of hits: 10 GB are at most 160,000 small
numbers. From it come the count, "3 of 17", the line number of an offset, the offset of a line's
block, the next block worth looking into, and the map at the screen's edge. Pure data; no I/O.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping

LARGEST = 64 << 10
"""Bytes of a block of a large log."""
SMALLEST = 1 << 10
BLOCKS = 4096
"""Blocks aimed at while they are below LARGEST: a small log gets a fine map."""
_GROUP = 256


def block_for(size: int) -> int:
    """The block length, in bytes, for a log of `size` bytes: a power of two."""
    block = SMALLEST
    while block < LARGEST and block * BLOCKS < size:
        block *= 2
    return block


class Census:
    """Counts by block, filled in any order.

    Attributes:
        block: Bytes of a block.
        covered: Offset before which all counts are final.
        total: Sum of all counts so far.
    """

    def __init__(self, block: int) -> None:
        self.block = block
        self.covered = 0
        self.total = 0
        self._counts = array("I")
        self._groups = array("Q")

    def add(self, counts: Mapping[int, int]) -> None:
        """Add to the counts of some blocks."""
        if not counts:
            return
        missing = max(counts) + 1 - len(self._counts)
        if missing > 0:
            self._counts.extend([0] * missing)
            self._groups.extend([0] * (-(-len(self._counts) // _GROUP) - len(self._groups)))
        for number, count in counts.items():
            self._counts[number] += count
            self._groups[number // _GROUP] += count
            self.total += count

    def rewind(self, offset: int) -> int:
        """Forget the block that holds `offset` and all after it, so that they can be counted again
        (a log has grown in the middle of a block). Returns where to count from."""
        number = min(offset, self.covered) // self.block
        self.total -= sum(self._counts[number:])
        del self._counts[number:]
        keep = -(-number // _GROUP)
        del self._groups[keep:]
        if number % _GROUP and keep <= len(self._groups):
            self._groups[keep - 1] = sum(self._counts[(keep - 1) * _GROUP :])
        self.covered = number * self.block
        return self.covered

    def coarsen(self, block: int) -> None:
        """Go over to larger blocks (a multiple of the present ones)."""
        factor = block // self.block
        if factor <= 1:
            return
        old, covered = self._counts, self.covered
        self.block, self.total = block, 0
        self._counts, self._groups = array("I"), array("Q")
        self.add(
            {
                number // factor: sum(old[number : number + factor])
                for number in range(0, len(old), factor)
            }
        )
        self.covered = covered

    def before(self, offset: int) -> int:
        """How many begin in the blocks that lie wholly before `offset`."""
        number = min(offset // self.block, len(self._counts))
        group = number // _GROUP
        return sum(self._groups[:group]) + sum(self._counts[group * _GROUP : number])

    def locate(self, rank: int) -> tuple[int, int] | None:
        """The block (as its first offset) that holds the `rank`-th, from 0, and how many begin
        before that block; None if there are not so many yet."""
        if not 0 <= rank < self.total:
            return None
        seen = number = 0
        for count in self._groups:
            if seen + count > rank:
                break
            seen += count
            number += _GROUP
        while seen + self._counts[number] <= rank:
            seen += self._counts[number]
            number += 1
        return number * self.block, seen

    def next_block(self, offset: int) -> int | None:
        """The first offset of the nearest block at or after `offset`'s with a count."""
        number = offset // self.block
        while number < len(self._counts):
            if number % _GROUP == 0 and not self._groups[number // _GROUP]:
                number += _GROUP
            elif self._counts[number]:
                return number * self.block
            else:
                number += 1
        return None

    def previous_block(self, offset: int) -> int | None:
        """The first offset of the nearest block that begins before `offset` with a count."""
        number = min(-(-offset // self.block), len(self._counts)) - 1
        while number >= 0:
            if number % _GROUP == _GROUP - 1 and not self._groups[number // _GROUP]:
                number -= _GROUP
            elif self._counts[number]:
                return number * self.block
            else:
                number -= 1
        return None

    def rows(self, height: int, size: int) -> list[int]:
        """For a map of `height` rows over a log of `size` bytes: how many begin in the blocks that
        each row touches. A row below a block in size shows its block's."""
        if height <= 0 or size <= 0:
            return [0] * max(0, height)
        found = []
        for row in range(height):
            low = row * size // height // self.block
            high = max(low + 1, -(-((row + 1) * size // height) // self.block))
            found.append(sum(self._counts[low:high]))
        return found
