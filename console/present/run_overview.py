"""The Overview tab: is it fine, and if not, why. The cause first, then figures beside the main
curve, what it is, its attempts, and the end of its log. Pure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence

from traindeck.backends.base import RunSpec
from traindeck.backends.data import dataclass
from traindeck.backends.states import State, Status
from traindeck.console.runs.retrying import can_retry
from traindeck.console.store.records import MetricSummary, RunRecord

from .ages import age, clock
from .attempts import FORGOTTEN, attempt_lines
from .cells import (
    Line,
    Span,
    clean,
    clip,
    clip_line,
    distinct,
    fit,
    fit_line,
    line_width,
    pad,
    plain,
    width,
)
from .glyphs import BEST, Glyphs
from .numbers import figure, parameter, share_of, step_of
from .numbers import size as bytes_text
from .runs_detail import ordered_metrics
from .runs_table import meter, spark, tags
from .sentences import (
    BLANK,
    choose,
    explain,
    fitted,
    last_report,
    limit_hits,
    part_read,
    remark,
    time_left,
    unwritten,
)
from .words import command_line

ROOMY = 28
"""Rows from which on sections stand apart."""
WIDE = 100
"""Cells from which on the curve stands beside the figures."""
LABEL, MOST_LABEL = 14, 40
BESIDE = 47
"""Cells that a metric's figures and trend take beside its name."""
SPARK = 12
TRENDS = 56
"""Cells of the figures from which there are sparklines beside them, mostly."""
FIGURES = 10
"""Metrics that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the tab knows beyond the record.

    Attributes:
        curve, legend: The main curve, made for `curve_size`.
        log: The end of the log; None until it was read.
        no_log: Why there is none.
        evidence: The line of the log that the reason rests on.
        share: How much of the log has been read for metrics, 0 to 1.
        grave: Whether the log's end has a line that looks like an error.
        again: When its place is tried again, if that does not answer.
    """

    spec: RunSpec | None = None
    folder: str = ""
    curve: Sequence[Line] = ()
    legend: Line = ()
    log: bytes | None = b""
    no_log: str = ""
    evidence: str = ""
    grave: bool = False
    share: float = 1.0
    attempts: Sequence[Status] = ()
    again: float | None = None


def curve_size(cells: int, rows: int) -> tuple[int, int] | None:
    """Cells and rows of the curve beside the figures; None if there is no room."""
    if cells < WIDE or rows < ROOMY - 6:
        return None
    return cells - _left(cells) - 5, 12 if rows >= ROOMY else 9


def _left(cells: int) -> int:
    return min(cells // 2, 72)


def overview(
    run: RunRecord,
    facts: Facts,
    cells: int,
    rows: int,
    *,
    now: float,
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """The tab, exactly `rows` lines of exactly `cells`."""
    gap: list[Line] = [()] if rows >= ROOMY else []
    why = _why(run, facts, now, cells, glyphs)
    lines = [*gap, *why, *(gap if why else [])]
    if run.state not in (State.NEW, State.QUEUED):
        lines += _figures_and_curve(run, facts, cells, rows, now, glyphs)
    what = _what(run, facts, cells, glyphs)
    # In a small terminal the end of the log is worth more than the last facts.
    room = rows - len(lines) - len(gap)
    lines += [*gap, *what[: max(3, room - 4)]]
    attempts = _attempts(run, facts.attempts, now, cells, glyphs)
    if attempts and len(lines) + len(attempts) + 3 <= rows:
        lines += [*gap, *attempts]
    log = _log(run, facts, rows - len(lines) - len(gap), cells, glyphs)
    if log:
        lines += [*gap, *log]
    lines = [*lines[:rows], *([()] * (rows - len(lines)))]
    return [fit_line(line, cells) for line in lines]


def title(words: str, cells: int, glyphs: Glyphs, *, note: str = "", style: str = "muted") -> Line:
    """A section's head: its name and a rule."""
    lead = f" {words} " + (f"{note} " if note else "")
    rule = glyphs.rule * max(0, cells - 1 - width(lead))
    ink = "failed" if style == "failed" else "rule"
    return (
        Span(f" {words} ", f"{style} bold"),
        Span(f"{note} " if note else "", "muted"),
        Span(rule, ink),
    )


# --------------------------------------------------------------------------------------------- why


def _why(run: RunRecord, facts: Facts, now: float, cells: int, glyphs: Glyphs) -> list[Line]:
    """Why it is as it is, for a run whose figures do not say it."""
    why = explain(run, now, glyphs, facts.again) or remark(run)
    if not why:
        return []
    bad = run.state in (State.FAILED, State.LOST, State.TIMEOUT, State.PREEMPTED)
    sign = Span(f" {glyphs.cursor} ", "failed" if bad else "muted")
    lines: list[Line] = [(sign, *fitted(why, cells - 5))]
    failed = bad and run.state is not State.TIMEOUT  # then the log has nothing to do with it
    evidence = clean(facts.evidence).strip()
    if evidence and failed and evidence not in plain(lines[0]):
        wrapped = textwrap.wrap(evidence, max(20, cells - 6))
        shown = wrapped[:2]
        if len(wrapped) > 2:
            shown[1] = clip(" ".join(wrapped[1:]), cells - 6)
        lines += [(sign, Span(row, "muted")) for row in shown]
    if bad and run.state is not State.LOST and not run.archived:
        leads = failed and (facts.grave or bool(facts.evidence))
        error = [("E", "then its first error")] if leads else []
        again = [("R", "retry")] if can_retry(run) else []
        hint: list[Span] = [sign]
        for key, words in [("l", "its log"), *error, *again]:
            hint += [Span(key, "accent bold"), Span(f" {words}   ", "muted")]
        lines.append(tuple(hint))
    return lines


# ------------------------------------------------------------------------------ figures and curve


def _figures_and_curve(
    run: RunRecord, facts: Facts, cells: int, rows: int, now: float, glyphs: Glyphs
) -> list[Line]:
    size = curve_size(cells, rows)
    drawn = size is not None and bool(facts.curve)
    left = _left(cells) if drawn else cells
    head = "NOW" if run.active else "LAST"
    note = _seen(run, now) if run.active else _partly(facts.share, left)
    if (
        not note.startswith("from")
        and left >= TRENDS
        and any(m.spark for m in run.metrics.values())
    ):
        note = " · ".join(words for words in (note, "trends of the last half") if words)
    figures = [title(head, left, glyphs, note=note), *_figures(run, facts, left, now, glyphs)]
    if not drawn or size is None:
        return figures
    height = size[1] + 1
    right = [(Span(" "), *facts.legend), *facts.curve[: size[1]]]
    count = max(height, len(figures))
    figures += [()] * (count - len(figures))
    right += [()] * (count - len(right))
    return [(*fit_line(a, left), Span("   "), *b) for a, b in zip(figures, right, strict=True)]


def _seen(run: RunRecord, now: float) -> str:
    newest = last_report(run)
    return f"{age(now - newest)} old" if newest else ""


def _partly(share: float, cells: int) -> str:
    """A word on figures that rest on a part of the log."""
    part = part_read(share)
    if not part:
        return ""
    words = f"from {part}"
    return choose(cells - 8, f"{words} · `traindeck metrics` reads the rest", words)


def _figures(run: RunRecord, facts: Facts, cells: int, now: float, glyphs: Glyphs) -> list[Line]:
    shown = [
        m
        for m in ordered_metrics(run)
        if m.key not in ("step", "global_step") and not m.key.startswith(("system/", "__"))
    ]
    room = max(LABEL, min(MOST_LABEL, cells - BESIDE))
    names = distinct((clean(metric.key) for metric in shown[:FIGURES]), room - 1)
    label = max(LABEL, *(width(name) + 1 for name in names.values())) if names else LABEL
    lines = _progress(run, label, cells, now, glyphs)
    if hits := limit_hits(run, now, facts.spec.limits.time if facts.spec else None):
        lines.append((Span(" " * (label + 1)), Span(hits, "warn")))
    for metric in shown[:FIGURES]:
        lines.append(_metric(metric, pad(names[clean(metric.key)], label), run, cells, glyphs))
    if len(shown) > FIGURES:
        words = f"{len(shown) - FIGURES} more in Charts"
        lines.append((Span(" " * (label + 1)), Span(words, "faint")))
    if not shown:
        words = "no metrics so far" if run.active and not run.foreign else "no metrics"
        why = "of a job submitted by hand" if run.foreign else "2 says what was looked for"
        lines.append((Span(f" {words}", "muted"), Span(f"   {why}", "faint")))
    return lines


def _progress(run: RunRecord, label: int, cells: int, now: float, glyphs: Glyphs) -> list[Line]:
    progress = run.progress
    if progress.step is None and progress.fraction is None:
        return []
    line: list[Span] = [Span(f" {fit('progress', label)}", "muted")]
    if progress.fraction is not None:
        stale = run.unknown
        style = "stale" if stale else "running" if run.active else "done"
        bar = meter(
            progress.fraction, max(6, min(20, cells - label - 30)), style, glyphs, stale=stale
        )
        line += [*bar, Span(f" {share_of(run):>5}", "strong"), Span("   ")]
    if progress.step is not None:
        alone = progress.fraction is None and not progress.total
        line.append(Span(f"step {step_of(run)}" if alone else step_of(run), "text"))
        if progress.total:
            line.append(Span(f" / {figure(progress.total)}", "muted"))
    lines: list[Line] = [tuple(line)]
    if (left := time_left(run)) is not None and not run.unknown:
        ends = f" · ends ≈ {clock(now + left, now)}"
        lines.append(
            (
                Span(f" {fit('left', label)}", "muted"),
                Span(age(left), "text"),
                Span(ends, "muted"),
            )
        )
    return lines


def _metric(metric: MetricSummary, name: str, run: RunRecord, cells: int, glyphs: Glyphs) -> Line:
    main = metric.key == run.main
    line: list[Span] = [Span(f" {name}", "muted")]
    value = metric.last
    if value is not None and math.isfinite(value) and value == int(value) and abs(value) < 1e9:
        value = int(value)
    style = "stale" if run.unknown else "strong bold" if main else "text"
    line.append(Span(f"{figure(value):<8} ", style))
    notes: list[Span] = []
    if metric.nonfinite:
        notes = [Span(f"{figure(metric.nonfinite)} not a number", "warn")]
    elif metric.min is not None and metric.count > 1:
        where = f" @ {figure(metric.min_step)}" if metric.min_step is not None else ""
        notes = [Span("min ", "faint"), Span(f"{figure(metric.min)}{where}", "muted")]
    room = cells - line_width(line) - 1
    trend = spark(metric.spark, SPARK, glyphs)
    if trend and line_width(notes) + SPARK + 2 <= room:
        notes = list(fit_line(notes, room - SPARK - 1))
        notes.append(Span(trend, "s1" if main and run.active else "faint"))
    return clip_line((*line, *notes), cells)


# -------------------------------------------------------------------------------------- what it is


def _what(run: RunRecord, facts: Facts, cells: int, glyphs: Glyphs) -> list[Line]:
    room = cells - LABEL - 2
    lines: list[Line] = [title("WHAT", cells, glyphs)]

    def add(label: str, *spans: Span) -> None:
        lines.append((Span(f" {fit(label, LABEL)}", "muted"), *spans))

    unknown = "a process that ran already (adopted)" if run.adopted else "not known"
    command = clean(command_line(run.argv)) or unknown
    wrapped = textwrap.wrap(command, max(20, room), break_on_hyphens=False) or [""]
    shown = wrapped[:2]
    if len(wrapped) > 2:
        shown[1] = clip(" ".join(wrapped[1:]), room)
    for number, row in enumerate(shown):
        add("command" if not number else "", Span(row, "text"))
    if run.argv and facts.spec is not None and facts.spec.adopted:
        add("", Span("adopted: it ran already", "muted"))
    if run.cwd:
        add("in", Span(clip(clean(run.cwd), room, "end"), "text"))
    code = _code(facts.spec)
    if code:
        add("code", *clip_line(code, room))
    if run.recipe:
        add("recipe", Span(clip(clean(run.recipe), room)))
    if run.params:
        words = [
            (Span(f"{clean(str(k))} ", "muted"), Span(clean(parameter(v))))
            for k, v in run.params.items()
        ]
        add("parameters", *fitted(words, room))
    if run.tags:
        add("tags", Span(clip(tags(run), room)))
    if run.note:
        add("note", Span(clip(clean(run.note), room)))
    add("id", Span(run.id, "text"), *_place(run))
    if facts.folder:
        note = "   archived: its files were removed, all but artifacts" if run.archived else ""
        add("folder", Span(clip(clean(facts.folder), room - len(note), "end"), "muted"), Span(note))
    return lines


def _place(run: RunRecord) -> Line:
    parts = [clean(run.backend)]
    if run.host and run.host != run.backend:
        parts.append(clean(run.host))
    if run.pid and run.active:
        parts.append(f"pid {run.pid}")
    if run.log_bytes is not None:
        parts.append(f"log {bytes_text(run.log_bytes)}")
    return (Span(f" · {' · '.join(parts)}", "muted"),)


def _code(spec: RunSpec | None) -> Line:
    if spec is None or not spec.code.root:
        return ()
    code = spec.code
    spans: list[Span] = []
    if code.mode == "snapshot":
        spans.append(Span("snapshot of ", "muted"))
    if code.commit:
        spans += [Span("git ", "muted"), Span(clean(code.commit[:10]), "text")]
        if code.branch:
            spans.append(Span(f" on {clean(code.branch)}", "muted"))
        if code.dirty:
            spans.append(Span(" + uncommitted changes", "warn"))
        elif not code.untracked:
            spans.append(Span(", unchanged", "muted"))
        if code.untracked:
            spans.append(Span(f" · {len(code.untracked)} untracked", "muted"))
    else:
        why = "in git without a commit" if code.branch else "not under git"
        spans += [Span(clean(code.root), "text"), Span(f", {why}", "muted")]
    return tuple(spans)


# --------------------------------------------------------------------------------- attempts, log


def _attempts(
    run: RunRecord, attempts: Sequence[Status], now: float, cells: int, glyphs: Glyphs
) -> list[Line]:
    """The attempts, the present one first; nothing if there was only one."""
    rows: Iterable[Line] = attempt_lines(run, attempts, now, cells - 2, glyphs)
    if len(attempts) < 2:
        if not (run.archived and run.attempt and attempts):
            return []
        rows = [(Span(FORGOTTEN, "muted"),)]
    head = title("ATTEMPTS", cells, glyphs, note=f"{attempts[-1].attempt + 1}")
    return [head, *((Span(" "), *row) for row in rows)]


def _log(run: RunRecord, facts: Facts, rows: int, cells: int, glyphs: Glyphs) -> list[Line]:
    """The end of the log in so many rows, a title included."""
    from traindeck.console.logs.neutral import neutral

    if rows < 2:
        return []
    if facts.log is None:
        return [title("LOG", cells, glyphs)]
    written = [line for line in facts.log.split(b"\n") if line.strip()]
    note = "" if written else BLANK if facts.log else unwritten(run, facts.no_log)
    lines: list[Line] = [title("LOG", cells, glyphs, note=note)]
    for line in written[-(rows - 1) :]:
        last = line.rstrip(b"\r").rpartition(b"\r")[2]  # a progress bar's last state
        lines.append((Span(" "), Span(clip(clean(neutral(last[:4096]).text), cells - 2), "muted")))
    if len(lines) > 1 and run.active:
        lines[-1] = (lines[-1][0], Span(lines[-1][1].text, "text"))
    return lines if len(lines) > 1 or note else []
