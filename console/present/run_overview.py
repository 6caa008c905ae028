"""The Overview tab: is it fine, and if not, why. Figures and facts left, the main curve right, the
end of the log below. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from traindeck.backends.base import RunSpec
from traindeck.console.store.records import RunRecord

from .card import card_lines
from .cells import Line, Span, clean, clip_line, fit_line
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
        run, now=now, width=left - 1, short_id=short_id, spec=spec, folder=folder, glyphs=glyphs
    )[2:-1]
    lines: list[Line] = [(), *((Span(" "), *line) for line in card)]
    if size is not None:
        height = max(len(lines), size[1] + 1)
        made = [(), *curve[: size[1]]]
        lines = [
            (*fit_line(_at(lines, row), left), Span("  "), *_at(made, row)) for row in range(height)
        ]
    tail = _log(log, rows - len(lines) - 2, cells, glyphs)
    return [*lines, *tail][:rows]


def _at(lines: Sequence[Line], row: int) -> Line:
    return lines[row] if row < len(lines) else ()


def _log(log: bytes, rows: int, cells: int, glyphs: Glyphs) -> list[Line]:
    """The end of the log in so many rows below a title."""
    from traindeck.console.logs.neutral import neutral

    written = [line for line in log.split(b"\n") if line.strip()]
    if not written or rows < 1:
        return []
    rule = max(0, cells - 7)
    head: Line = (Span(" LOG ", "muted bold"), Span(glyphs.rule * rule, "rule"))
    lines: list[Line] = [(), head]
    for line in written[-rows:]:
        last = line.rstrip(b"\r").rpartition(b"\r")[2]  # a progress bar's last state
        text = clean(neutral(last[:4096]).text)
        lines.append(clip_line((Span(" "), Span(text, "muted")), cells - 1))
    return lines


def curve_size(cells: int, rows: int) -> tuple[int, int] | None:
    """Cells and rows of the curve beside the figures; None if there is no room."""
    if cells < WIDE or rows < CURVE_ROWS:
        return None
    return cells * 9 // 20, min(rows - 2, 18)
