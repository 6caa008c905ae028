"""Curves as cells: dots two by four in a braille character, or coarser signs where fonts lack it.

Cells are opaque: of several series in one cell the one painted last is seen, so colours never mix.
Needs numpy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from traindeck.backends.data import dataclass

DOTS_X, DOTS_Y = 2, 4

# Dots of a braille cell (Unicode 15, block 2800), by column and row.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_CELLS = np.array(
    [
        sum(dot for n, dot in enumerate((*_DOTS[0], *_DOTS[1])) if lit >> n & 1)
        for lit in range(256)
    ],
    dtype=np.uint8,
)
"""Lit rows of the left column (bits 0 to 3) and of the right one (4 to 7) -> the cell's dots."""
_ALL = np.uint8(15)
_QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
_QUADRANT_OF = np.array(
    [
        ord(
            _QUADRANTS[
                (1 if bits & 0x03 else 0)
                | (2 if bits & 0x18 else 0)
                | (4 if bits & 0x44 else 0)
                | (8 if bits & 0xA0 else 0)
            ]
        )
        for bits in range(256)
    ],
    dtype=np.uint32,
)


@dataclass(slots=True)
class Canvas:
    """A grid of cells.

    Attributes:
        bits: (rows, columns) dots of each cell, as braille.
        owner: Series that is seen in a cell, -1 for none.
        band: Series whose band lies behind a cell, -1 for none.
    """

    bits: npt.NDArray[np.uint8]
    owner: npt.NDArray[np.int16]
    band: npt.NDArray[np.int16]

    @property
    def rows(self) -> int:
        return int(self.bits.shape[0])

    @property
    def columns(self) -> int:
        return int(self.bits.shape[1])


def canvas(rows: int, columns: int) -> Canvas:
    """An empty grid."""
    return Canvas(
        np.zeros((rows, columns), dtype=np.uint8),
        np.full((rows, columns), -1, dtype=np.int16),
        np.full((rows, columns), -1, dtype=np.int16),
    )


def draw(
    target: Canvas, top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64], series: int
) -> None:
    """Paint a curve over what is there.

    Args:
        top, bottom: For each column of dots the first and last row of dots from above (top ≤
            bottom), NaN for a gap. Rows outside the grid are clipped to its edge, so that a value
            beyond the scale is still seen there.
    """
    first, last = _reach(target, top, bottom)
    above = np.arange(target.rows, dtype=np.int16)[:, None] * DOTS_Y
    low = np.minimum(np.maximum(first - above, 0), DOTS_Y).astype(np.uint8)
    high = np.minimum(np.maximum(last + 1 - above, 0), DOTS_Y).astype(np.uint8)
    lit = (_ALL << low) & ~(_ALL << high) & _ALL
    cells = _CELLS[lit[:, ::2] | lit[:, 1::2] << 4]
    hit = cells > 0
    np.copyto(target.bits, cells, where=hit)
    np.copyto(target.owner, np.int16(series), where=hit)


def draw_band(
    target: Canvas, top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64], series: int
) -> None:
    """Paint a band behind the curves: whole cells. Arguments as for `draw`."""
    first, last = _reach(target, top, bottom)
    row = np.arange(target.rows, dtype=np.int16)[:, None]
    hit = (row >= first // DOTS_Y) & (row <= last // DOTS_Y)
    np.copyto(target.band, np.int16(series), where=hit[:, ::2] | hit[:, 1::2])


def draw_edges(
    target: Canvas, top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64], series: int
) -> None:
    """A band where grounds cannot be mixed: only its upper and lower edge."""
    draw(target, top, top, series)
    draw(target, bottom, bottom, series)


def _reach(
    target: Canvas, top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """First and last row of dots of each column; those of a gap reach nothing."""
    height = target.rows * DOTS_Y
    gap = np.isnan(top)
    first = np.minimum(np.maximum(np.rint(top), 0), height - 1)
    last = np.minimum(np.maximum(np.rint(bottom), 0), height - 1)
    first[gap], last[gap] = height, -1
    return first.astype(np.int16), last.astype(np.int16)


def signs(target: Canvas, mode: str) -> npt.NDArray[np.uint32]:
    """The code points of all cells; a space where there is nothing. `mode` is a glyph set's
    `charts`."""
    if mode == "quadrants":
        return _QUADRANT_OF[target.bits]
    lit = target.bits.astype(np.uint32) + 0x2800 if mode == "braille" else np.uint32(ord("*"))
    return np.where(target.bits > 0, lit, np.uint32(ord(" ")))
