"""What `show` prints: one run in a page of text, the cause of a failure before anything else."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from traindeck.backends.base import RunSpec, State
from traindeck.console.store.records import MetricSummary, RunRecord

from .ages import age, clock, spoken
from .asked import asked, limits_chosen
from .cells import Line, Span, clean, clip, clip_line, fit
from .glyphs import BEST, Glyphs
from .numbers import figure, percent, size
from .runs_detail import ordered_metrics
from .runs_table import run_age, spark, tags, where
from .sentences import exit_words, explain, fitted, ran
from .states import mark

LABEL = 16
PIPED = 10_000
METRICS_SHOWN = 8
PARAMS_SHOWN = 6
LOG_LINES = 4
SPARK = 20


def card_lines(
    run: RunRecord,
    *,
    now: float,
    width: int | None,
    short_id: str,
    spec: RunSpec | None = None,
    hooks: Sequence[str] = (),
    folder: str | None = None,
    log: bytes = b"",
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """The page.

    Args:
        width: Columns of the terminal; None when piped.
        spec: As in the run directory, if that can be read.
        hooks: What became of its commands for an end and a stall, if that went wrong.
        folder: Where the run directory lies.
        log: The end of the log.
    """
    room = width or PIPED
    lines = list(_lines(run, now, room, short_id, spec, hooks, folder, glyphs))
    lines += _log(log)
    lines.append(_next(run, spec, short_id, now))
    return [clip_line(line, room) for line in lines]


def _lines(
    run: RunRecord,
    now: float,
    room: int,
    short_id: str,
    spec: RunSpec | None,
    hooks: Sequence[str],
    folder: str | None,
    glyphs: Glyphs,
) -> Iterator[Line]:
    state = mark(run)
    facts = [run.id, where(run), run.host or "", f"attempt {run.attempt}" if run.attempt else ""]
    yield (
        Span(f"{state.glyph(glyphs)} {state.word}", state.style),
        Span("  "),
        Span(clean(run.name), "strong"),
        Span("  " + " · ".join(clean(f) for f in facts if f), "muted"),
    )
    yield ()
    why = explain(run, now, glyphs)
    if why:
        yield _row("why", *fitted(why, room - LABEL))
    yield _row("time", Span(_times(run, now)))
    progress = run.progress
    if progress.step is not None:
        text = f"step {figure(progress.step)}"
        if progress.total:
            text += f" of {figure(progress.total)}"
        if progress.fraction is not None:
            text += f"  {percent(progress.fraction)}"
        left = (
            f"   {age(progress.eta)} left, ends ≈ {clock(now + progress.eta, now)}"
            if (progress.eta is not None and run.active)
            else ""
        )
        yield _row("progress", Span(text), Span(left, "muted"))
    shown = [m for m in ordered_metrics(run) if not m.key.startswith(("system/", "__"))]
    for summary in shown[:METRICS_SHOWN]:
        yield _metric(summary, run, room, glyphs)
    if len(shown) > METRICS_SHOWN:
        rest = len(shown) - METRICS_SHOWN
        yield _row("", Span(f"{rest} more: traindeck metrics {short_id}", "muted"))
    adopted = Span("   adopted" if spec is not None and spec.adopted else "", "muted")
    yield _row("command", Span(clean(shlex.join(run.argv)) or "adopted"), adopted)
    if run.cwd:
        yield _row("in", Span(clean(run.cwd)))
    if spec is not None and spec.code.root:
        yield _code(spec)
    if spec is not None and not spec.adopted:
        if chosen := limits_chosen(spec.limits):
            yield _row("limits", Span(chosen))
        for label, text in asked(spec):
            yield _row(label, Span(clean(text)))
    for text in hooks:
        yield _row("", Span(clean(text), "warn"))
    if run.recipe:
        yield _row("recipe", Span(clean(run.recipe)))
    if run.params:
        items = [f"{key} {_value(value)}" for key, value in list(run.params.items())]
        text = " · ".join(clean(item) for item in items[:PARAMS_SHOWN])
        more = f"   {len(items)} in all: --params" if len(items) > PARAMS_SHOWN else ""
        yield _row("params", Span(text), Span(more, "muted"))
    if run.tags:
        yield _row("tags", Span(tags(run)))
    if run.note:
        yield _row("note", Span(clean(run.note)))
    if folder:
        log = f"   log {size(run.log_bytes)}" if run.log_bytes is not None else ""
        kept = clip(clean(folder), max(20, room - LABEL - len(log)), "end")
        yield _row("folder", Span(kept), Span(log, "muted"))


def _row(label: str, *spans: Span) -> Line:
    return (Span(fit(label, LABEL - 1), "muted"), Span(" "), *spans)


def _times(run: RunRecord, now: float) -> str:
    started = f"started {clock(run.started, now)}" if run.started else ""
    since = run_age(run, now)
    if run.active:
        parts = [started, f"{spoken(since)} in" if run.started else f"waits {spoken(since)}"]
    else:
        ended = f"ended {clock(run.ended, now)}" if run.ended else ""
        if run.state is State.LOST and not run.ended:  # nobody saw it end
            found = f"found lost {clock(run.observed_at, now)}" if run.observed_at else ""
            ended = " · ".join(part for part in (started, found) if part)
        took = f"ran {ran(run)}" if ran(run) else ""
        how = "" if run.state is State.SUCCEEDED else exit_words(run)
        parts = [ended, took, how]
    return " · ".join(part for part in parts if part) or "–"


def _metric(summary: MetricSummary, run: RunRecord, room: int, glyphs: Glyphs) -> Line:
    at = f" @ {figure(summary.last_step)}" if summary.last_step is not None else ""
    extent = ""
    if summary.min is not None and summary.count > 1:
        extent = f"   min {figure(summary.min)} @ {figure(summary.min_step)}"
    strange = f"   {summary.nonfinite} not finite" if summary.nonfinite else ""
    left = min(SPARK, room - LABEL - 8 - 36 - len(strange))
    trend = spark(summary.spark, left, glyphs) if left >= SPARK // 3 else ""
    return _row(
        clean(summary.key),
        Span(figure(summary.last).ljust(8), "strong" if summary.key == run.main else "text"),
        Span(f"{at}{extent} ".ljust(36), "muted"),
        Span(trend, "s1" if summary.key == run.main else "faint"),
        Span(strange, "warn"),
    )


def _code(spec: RunSpec) -> Line:
    code = spec.code
    how = "snapshot of " if code.mode == "snapshot" else ""
    spans = [Span(clean(f"{how}git {code.commit[:10]}" if code.commit else how + code.root))]
    if code.branch:
        spans.append(Span(clean(f" on {code.branch}"), "muted"))
    if code.dirty:
        spans.append(Span(" + uncommitted changes", "warn"))
    if code.untracked:
        spans.append(Span(f" · {len(code.untracked)} untracked", "muted"))
    return _row("code", *spans)


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _log(log: bytes) -> Iterator[Line]:
    from traindeck.console.logs.neutral import neutral

    lines = [line for line in log.split(b"\n") if line.strip()][-LOG_LINES:]
    if not lines:
        return
    yield ()
    for number, line in enumerate(lines):
        text = neutral(line.rpartition(b"\r")[2] or line).text
        yield (Span(("" if number else "log").ljust(5), "faint"), Span(clean(text), "muted"))


def _next(run: RunRecord, spec: RunSpec | None, short_id: str, now: float) -> Line:
    seen = f"{age(now - run.observed_at)} old · " if run.active and run.observed_at else ""
    command = f"traindeck logs -f {short_id}" if run.active else f"traindeck logs {short_id}"
    adopted = not run.argv or (spec is not None and spec.adopted)
    failed = run.state in (State.FAILED, State.LOST, State.TIMEOUT, State.PREEMPTED)
    never = run.state is State.CANCELLED and run.started is None  # so there is no log
    if (failed or never) and not adopted and not run.foreign:
        command = f"traindeck retry {short_id}"
    return (Span(f"{seen}next: {command}", "faint"),)
