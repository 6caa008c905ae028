"""The table of runs as data: what stands in each cell of a row.

Pure: a run, the time and the columns go in, lines of spans come out. Both the Runs screen and `ls`
are made of these cells. Nothing may shift when a number changes: every cell is filled to its width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field
from functools import partial

from traindeck.backends.data import dataclass
from traindeck.backends.states import Reach, State
from traindeck.console.store.records import EVALS, RATES, MetricSummary, RunRecord

from .ages import age
from .cells import Line, Span, clean, clip, fit, fit_line, line_width, width
from .glyphs import BEST, Glyphs
from .numbers import aligned, count, share_of, step_of
from .runs_columns import AFTER, LEAD, Column, Layout, is_named
from .sentences import choose, explain, fitted, limit_hits, limited, time_left
from .states import is_quiet, mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a row is to be drawn.

    Attributes:
        now: Seconds since the epoch.
        selected: The cursor is here.
        short_ids: Run id -> the shortest prefix that names it.
    """

    now: float
    glyphs: Glyphs = BEST
    selected: bool = False
    short_ids: Mapping[str, str] = field(default_factory=dict)


IN_WORDS = 100
"""Cells of a table from which on it is said in words that a run will not end within its time limit;
a narrower one marks it."""


def row(run: RunRecord, table: Layout, look: Look) -> Line:
    """One run as a line from column `LEAD` on, filled to the table's width."""
    quiet = is_quiet(run) and not look.selected
    sentence = explain(run, look.now, look.glyphs)
    bare = sentence is None and _is_bare(run)
    if bare:
        sentence = _at_work(run)
    if sentence is None and table.width >= IN_WORDS:
        sentence = limited(run, look.now, look.glyphs)
    if sentence is None:
        return fit_line(_cells(run, table.columns, LEAD, look, quiet), table.width - LEAD)
    before = [column for column in table.columns if column.x < table.start]
    spans = _cells(run, before, LEAD, look, quiet)
    spans.append(Span(" " * (table.start - LEAD - line_width(spans))))
    room, after = table.end - table.start, _beside(run, sentence, table, bare)
    if after is not None:
        room = after.x - 2 - table.start
    said = fitted(sentence, room)
    spans.extend(said)
    if after is not None:
        spans.extend(_cells(run, [after], table.start + line_width(said), look, quiet))
    return fit_line(spans, table.width - LEAD)


def _cells(
    run: RunRecord, columns: Sequence[Column], x: int, look: Look, quiet: bool
) -> list[Span]:
    """Columns of a run, from cell `x` on."""
    spans: list[Span] = []
    for column in columns:
        spans.append(Span(" " * (column.x - x)))
        cell = _named if is_named(column.key) else _CELLS[column.key]
        spans.extend(cell(run, column, look, quiet))
        x = column.x + column.cells
    return spans


def _beside(run: RunRecord, sentence: Sequence[Line], table: Layout, bare: bool) -> Column | None:
    """The column of tags, if a sentence leaves it room. A command gives way to it; a reason is said
    in full first."""
    column = next((column for column in table.columns if column.key == "tags"), None)
    if column is None or not run.tags:
        return None
    needed = sum(map(line_width, sentence)) + 3 * (len(sentence) - 1)
    return column if bare or needed <= column.x - 2 - table.start else None


def _is_bare(run: RunRecord) -> bool:
    """Whether nothing is known of a run that its metric columns could show."""
    progress = run.progress
    return not run.metrics and progress.step is None and progress.fraction is None


def _at_work(run: RunRecord) -> list[Line]:
    """What a run of which no figure is known does: its recipe, else its command. Where a program
    lies says less than what comes after it."""
    import shlex

    if run.recipe:
        told = [f"recipe {clean(run.recipe)}", *(["no step yet"] if run.active else [])]
        return [(Span(text, "muted"),) for text in told]
    if not run.argv:
        return [(Span("no metrics", "muted"),)]
    program, *rest = run.argv
    name = program.rstrip("/").rpartition("/")[2] or program
    return [(Span(clean(shlex.join([name, *rest])[:400]), "muted"),)]


def _ink(quiet: bool, run: RunRecord, style: str = "text") -> str:
    if run.unknown or (run.active and run.reach is Reach.STALE):
        return "stale"
    return "muted" if quiet else style


def _state(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    shown = mark(run, look.now)
    glyph = shown.glyph(look.glyphs)
    if column.cells < 3:
        return (Span(glyph, shown.style),)
    style = "muted" if quiet and shown.style == "done" else shown.style
    return (Span(fit(f"{glyph} {shown.word}", column.cells), style),)


def _name(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    name = clean(run.name or run.id)
    style = "strong bold" if look.selected else "muted" if quiet else "text"
    return (Span(fit(name, column.cells, keep="both"), style),)


def _id(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    short = look.short_ids.get(run.id, run.id)
    rest = run.id.removeprefix(short)
    return (Span(short, "muted"), Span(fit(rest, column.cells - len(short)), "faint"))


def _project(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    return (Span(fit(clean(run.project), column.cells), "muted"),)


def where(run: RunRecord) -> str:
    """The place a run executes at: its backend, and the partition or queue if it has one."""
    return clean(run.backend)


def _where(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    style = "muted" if quiet else "text"
    return (Span(fit(where(run), column.cells), style),)


def _gpu(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    style = "muted" if quiet else "text"
    return (Span(fit(str(run.gpus) if run.gpus else "cpu", column.cells, "right"), style),)


def run_age(run: RunRecord, now: float) -> float | None:
    """The age a list shows, in seconds: how long a run has been running or waiting, or how long ago
    it ended."""
    if not run.active:
        since = run.ended or run.troubled_at or run.observed_at or run.created
    elif run.state in (State.NEW, State.QUEUED):
        since = run.created
    else:
        since = run.started or run.created
    return now - since if since else None


def _age(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    text = age(run_age(run, look.now), coarse=not run.active)
    return (Span(fit(text, column.cells, "right"), _ink(quiet, run)),)


def meter(
    fraction: float | None, cells: int, style: str, glyphs: Glyphs, *, stale: bool = False
) -> Line:
    """A thin bar of `cells`; dashed where its value is old, all rest where it is not known."""
    share = 0.0 if fraction is None or fraction != fraction else min(1.0, max(0.0, fraction))
    halves = int(share * cells * 2 + 1e-9)
    full, half = halves // 2, halves % 2
    if glyphs.meter_half == glyphs.meter:
        full, half = full + half, 0
    bar = glyphs.meter_stale if stale else glyphs.meter
    done = bar * full + (glyphs.meter_half if not stale else bar) * half
    return (
        Span(done, "stale" if stale else style),
        Span(glyphs.meter_rest * (cells - len(done)), "rule"),
    )


def _done(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    progress = run.progress
    stale = run.active and run.reach is not Reach.OK
    ink = _ink(quiet, run)
    if progress.fraction is None:
        if progress.step is None:
            return (Span(" " * column.cells),)
        exact = step_of(run)
        # A number is never cut.
        text = choose(column.cells, f"step {exact}", exact, step_of(run, count))
        return (Span(fit(text, column.cells), ink),)
    over = not run.active
    share = share_of(run).rjust(5)
    bar = meter(
        progress.fraction,
        column.cells - 1 - width(share),
        "faint" if over else "running",
        look.glyphs,
        stale=stale,
    )
    if limit_hits(run, look.now):
        return (*bar, Span(look.glyphs.warning, "warn"), Span(share, ink))
    return (*bar, Span(" "), Span(share, ink))


def _left(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    left = time_left(run)
    text = "" if left is None else age(left)
    style = "warn" if text and limit_hits(run, look.now) else _ink(quiet, run)
    return (Span(fit(text, column.cells, "right"), style),)


def _number(run: RunRecord, summary: MetricSummary | None, column: Column, quiet: bool) -> Line:
    if summary is None:
        return (Span(" " * column.cells),)
    text = aligned(summary.last, column.cells - AFTER - 1, AFTER)
    return (Span(text, _ink(quiet, run)),)


def own(run: RunRecord, summary: MetricSummary | None) -> MetricSummary | None:
    """A metric of the attempt that goes on; None as long as it is what one before it left. Of a run
    that is over the last that was measured: its last attempt may have had nothing left to do."""
    if summary is None or not run.attempt or not run.active:
        return summary
    if run.started is None:
        return None
    left = summary.last_time is not None and summary.last_time < run.started
    return None if left else summary


def _last(run: RunRecord, summary: MetricSummary | None) -> MetricSummary | None:
    """What a cell may show as a run's last: none where its log is read only in part, for there is
    no room to say so."""
    return None if run.read_in_part else own(run, summary)


def _metric(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    return _number(run, _last(run, run.metrics.get(run.main or "")), column, quiet)


def _eval(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    return _number(run, _last(run, find_metric(run, EVALS)), column, quiet)


def _rate(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    summary = _last(run, find_metric(run, RATES))
    text = "" if summary is None else count(summary.last)
    return (Span(fit(text, column.cells, "right"), _ink(quiet, run)),)


def find_metric(run: RunRecord, names: Sequence[str]) -> MetricSummary | None:
    """The first of these metrics that a run has."""
    return next((run.metrics[name] for name in names if name in run.metrics), None)


def spark(levels: str, cells: int, glyphs: Glyphs) -> str:
    """A stored sparkline (levels 0…6, 7 a gap) in `cells` cells: neighbours are averaged, a cell
    all of whose samples are missing stays a gap."""
    if not levels or cells <= 0:
        return " " * max(0, cells)
    samples = [int(char) if "0" <= char <= "6" else None for char in levels]
    if len(samples) < cells:
        cells_used = len(samples)
    else:
        cells_used = cells
    out = []
    for cell in range(cells_used):
        low = cell * len(samples) // cells_used
        high = max(low + 1, (cell + 1) * len(samples) // cells_used)
        known = [level for level in samples[low:high] if level is not None]
        if known:
            out.append(glyphs.spark[round(sum(known) / len(known))])
        else:
            out.append(glyphs.spark_gap)
    return "".join(out).ljust(cells)


def _trend(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    summary = _last(run, run.metrics.get(run.main or ""))
    text = spark(summary.spark if summary else "", column.cells, look.glyphs)
    stale = run.active and run.reach is not Reach.OK
    style = "accent" if look.selected else "faint" if quiet else "stale" if stale else "done"
    return (Span(text, style),)


def tags(run: RunRecord) -> str:
    """A run's tags in a row: `sft lr=3e-4`."""
    return clean(" ".join(name if not value else f"{name}={value}"
                          for name, value in run.tags.items()))  # fmt: skip


def _value(run: RunRecord, key: str) -> str:
    """The parameter of a run, else its tag, as it was written; of a mere tag its name."""
    name = key[1:]
    if name in run.params:
        from traindeck.console.store.rows import param_text  # the first frame reads no index

        return clean(param_text(run.params[name]))
    return clean(run.tags.get(name, "") or (name if name in run.tags else ""))


def _named(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    style = "muted" if quiet else "text"
    return (Span(fit(_value(run, column.key), column.cells, "right"), style),)


def _tags(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    return (Span(fit(tags(run), column.cells), "muted"),)


def _note(run: RunRecord, column: Column, look: Look, quiet: bool) -> Line:
    return (Span(fit(clean(run.note), column.cells), "muted"),)


_CELLS: dict[str, Callable[[RunRecord, Column, Look, bool], Line]] = {
    "state": _state,
    "id": _id,
    "name": _name,
    "project": _project,
    "where": _where,
    "gpu": _gpu,
    "age": _age,
    "done": _done,
    "left": _left,
    "metric": _metric,
    "eval": _eval,
    "trend": _trend,
    "rate": _rate,
    "tags": _tags,
    "note": _note,
}


def needs(runs: Sequence[RunRecord], keys: Collection[str]) -> dict[str, int]:
    """How many cells these runs need in those of the columns that take what is needed."""
    texts: dict[str, Callable[[RunRecord], str]] = {
        "name": lambda run: clean(run.name or run.id),
        "project": lambda run: clean(run.project),
        "tags": tags,
        "note": lambda run: clean(run.note),
        **{key: partial(_value, key=key) for key in keys if is_named(key)},
    }
    shown = {key: text for key, text in texts.items() if key in keys}
    if not runs:
        return {}
    return {key: max(width(text(run)) for run in runs) for key, text in shown.items()}


def group_head(title: str, count_: int, cells: int, glyphs: Glyphs, *, folded: bool) -> Line:
    """The line above a group: `─ RUNNING 6 ─────────`, or `▸ FINISHED 13 ───` when folded."""
    lead = glyphs.folded if folded else glyphs.rule
    label = clip(clean(title), max(1, cells - 16))
    rest = cells - 6 - width(label) - len(f"{count_:,}")
    return fit_line(
        (
            Span(f" {lead} ", "accent" if folded else "rule"),
            Span(label, "muted bold"),
            Span(f" {count_:,} ", "faint"),
            Span(glyphs.rule * max(0, rest), "rule"),
        ),
        cells,
    )
