"""Curves as cells: dots two by four in a braille character, or coarser signs where fonts lack it.

Cells are opaque: of several series in one cell the one painted last is seen, so colours never mix.
Needs numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DOTS_X, DOTS_Y = 2, 4

# Dots of a braille cell (Unicode 15, block 2800), by column and row.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_SPANS = np.array(
    [[[sum(dots[low:high]) for high in range(5)] for low in range(5)] for dots in _DOTS],
    dtype=np.uint8,
)
"""[column, first row, row after the last] -> the dots between."""
_QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"


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
    cells = _cells(target, top, bottom)
    hit = cells > 0
    target.bits[hit] = cells[hit]
    target.owner[hit] = series


def draw_band(
    target: Canvas, top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64], series: int
) -> None:
    """Paint a band behind the curves: whole cells. Arguments as for `draw`."""
    target.band[_cells(target, top, bottom) > 0] = series


def draw_edges(
    target: Canvas, top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64], series: int
) -> None:
    """A band where grounds cannot be mixed: only its upper and lower edge."""
    draw(target, top, top, series)
    draw(target, bottom, bottom, series)


def _cells(
    target: Canvas, top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    height, width = target.rows * DOTS_Y, target.columns * DOTS_X
    known = ~np.isnan(top)
    first = np.full(width, height, dtype=np.int64)
    last = np.full(width, -1, dtype=np.int64)
    first[known] = np.clip(np.rint(top[known]), 0, height - 1).astype(np.int64)
    last[known] = np.clip(np.rint(bottom[known]), 0, height - 1).astype(np.int64)
    above = np.arange(target.rows)[:, None] * DOTS_Y
    low = np.clip(first - above, 0, DOTS_Y)
    high = np.clip(last - above + 1, 0, DOTS_Y)
    left: npt.NDArray[np.uint8] = _SPANS[0][low[:, ::2], high[:, ::2]]
    right: npt.NDArray[np.uint8] = _SPANS[1][low[:, 1::2], high[:, 1::2]]
    return np.bitwise_or(left, right)


def signs(target: Canvas, row: int, mode: str) -> list[str]:
    """The characters of a row; " " where there is nothing. `mode` is a glyph set's `charts`."""
    bits = target.bits[row]
    if mode == "braille":
        return [chr(0x2800 + b) if b else " " for b in bits.tolist()]
    if mode == "ascii":
        return ["*" if b else " " for b in bits.tolist()]
    left_up, right_up = (bits & 0x03) > 0, (bits & 0x18) > 0
    left_down, right_down = (bits & 0x44) > 0, (bits & 0xA0) > 0
    numbers = left_up * 1 + right_up * 2 + left_down * 4 + right_down * 8
    return [_QUADRANTS[n] for n in numbers.tolist()]
