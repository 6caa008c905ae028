"""The Overview tab: is it fine, and if not, why. Figures and facts left, the main curve right, the
end of the log below. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from traindeck.backends.base import RunSpec
from traindeck.console.store.records import RunRecord

from .card import card_lines
from .cells import Line, Span, fit_line
from .glyphs import BEST, Glyphs

WIDE = 110
CURVE_ROWS = 16


def overview_lines(
    run: RunRecord,
    cells: int,
    rows: int,
    *,
    now: float,
    short_id: str,
    spec: RunSpec | None = None,
    folder: str | None = None,
    log: bytes = b"",
    curve: Sequence[Line] = (),
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """The tab.

    Args:
        curve: Lines of the main curve, made for `curve_size`.
    """
    size = curve_size(cells, rows)
    left = cells if size is None else cells - size[0] - 2
    card = card_lines(
        run,
        now=now,
        width=left - 1,
        short_id=short_id,
        spec=spec,
        folder=folder,
        log=log,
        glyphs=glyphs,
    )[2:-1]
    lines: list[Line] = [(), *((Span(" "), *line) for line in card)]
    lines = lines[:rows]
    if size is None:
        return lines
    lines += [()] * (rows - len(lines))
    made = [(), *curve[: rows - 1]]
    made += [()] * (rows - len(made))
    return [(*fit_line(a, left), Span("  "), *b) for a, b in zip(lines, made, strict=True)]


def curve_size(cells: int, rows: int) -> tuple[int, int] | None:
    """Cells and rows of the curve beside the figures; None if there is no room."""
    if cells < WIDE or rows < CURVE_ROWS:
        return None
    return cells * 9 // 20, min(rows - 2, 20)
