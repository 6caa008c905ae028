"""What `ls` prints: the cells of the Runs screen in one plain table, newest first.

On a terminal lines are fitted to its width; piped, names are in full and nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from traindeck.console.store.records import RunRecord

from .cells import Line, Span, clean, clip_line, width
from .glyphs import BEST, Glyphs
from .numbers import plural, size
from .runs_columns import LEAD, heads, layout, metric_head
from .runs_table import Look, needs, row

PIPED = 200
COLUMNS = ("state", "name", "where", "gpu", "age", "done", "left", "metric", "trend", "tags")
PIPED_COLUMNS = tuple(column for column in COLUMNS if column != "trend")


def list_lines(
    runs: Sequence[RunRecord],
    *,
    now: float,
    width: int | None,
    short_ids: Mapping[str, str],
    total: int,
    sizes: Mapping[str, int | None] | None = None,
    windowed: bool = True,
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """The table and, below it, what was left out.

    Args:
        width: Columns of the terminal; None when piped.
        total: How many runs there are in all.
        sizes: Run id -> bytes on disk (None: not known), for a column of its own.
        windowed: Whether older runs were left out.
    """
    if not runs:
        return [_last_line(0, total, windowed)]
    ids = max(2, *(len(short_ids.get(run.id, run.id)) for run in runs))
    taken = 9 if sizes is not None else 0
    room = (width or PIPED) - ids - taken
    chosen = [c for c in (COLUMNS if width else PIPED_COLUMNS) if c != "gpu" or _gpus(runs)]
    if not any(run.tags for run in runs):
        chosen.remove("tags")
    needed = needs(runs, chosen) if width else None
    table = layout(max(room, 20), chosen, metric=metric_head(runs), needed=needed)
    look = Look(now=now, glyphs=glyphs, short_ids=short_ids)
    lines: list[Line] = [
        (Span("ID".ljust(ids), "muted"), *_sized("SIZE", taken, "muted"), *heads(table))
    ]
    for run in runs:
        short = short_ids.get(run.id, run.id)
        on_disk = size((sizes or {}).get(run.id)) if sizes is not None else ""
        lines.append(
            (
                Span(short.ljust(ids), "accent"),
                *_sized(on_disk, taken, "text"),
                Span(" " * LEAD),
                *row(run, table, look),
            )
        )
    lines.append(_last_line(len(runs), total, windowed))
    return [clip_line(line, width) for line in lines] if width else lines


def _sized(text: str, cells: int, style: str) -> tuple[Span, ...]:
    if not cells:
        return ()
    return (Span(" " * max(1, cells - width(text)) + clean(text), style),)


def _gpus(runs: Sequence[RunRecord]) -> bool:
    return any(run.gpus for run in runs)


def _last_line(shown: int, total: int, windowed: bool) -> Line:
    if total == 0:
        return (Span("No runs yet. Start one: ", "muted"), Span("traindeck run -- python train.py"))
    hidden = total - shown
    if not hidden:
        return (Span(plural(total, "run"), "muted"),)
    text = f"{shown:,} of {plural(total, 'run')}"
    more = ", last 24 h. All: traindeck ls --all" if windowed else ""
    return (Span(text + more, "muted"),)
