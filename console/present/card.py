"""What `show` prints: one run in a page of text, the cause of a failure before anything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from traindeck.backends.base import RunSpec
from traindeck.backends.states import State, Status
from traindeck.console.runs.retrying import can_retry
from traindeck.console.store.records import (
    CHECKPOINT,
    NOT_SENT,
    NOT_STARTED,
    MetricSummary,
    RunRecord,
)

from .ages import age, clock, spoken
from .asked import asked, installed, limits_chosen, not_copied, runs_in, runs_inside, runs_on
from .attempts import FORGOTTEN, attempt_lines
from .cells import Line, Span, clean, clip, clip_line, distinct, fit, width
from .glyphs import BEST, Glyphs
from .metric_tree import shown_value
from .numbers import figure, parameter, plural, share_of, size, step_of
from .runs_detail import ordered_metrics
from .runs_table import run_age, spark, tags, where
from .sentences import (
    exit_words,
    explain,
    fitted,
    last_report,
    limit_hits,
    ran,
    remark,
    time_left,
)
from .states import mark
from .words import command_line

LABEL = 16
PIPED = 10_000
METRICS_SHOWN = 8
PARAMS_SHOWN = 6
LOG_LINES = 4
LEFT_OUT = 12
"""Files named that a snapshot is without; all stand in the Config tab."""
SPARK = 20
FIGURES = 44
"""Cells of a metric's figures."""


def card_lines(
    run: RunRecord,
    *,
    now: float,
    width: int | None,
    short_id: str,
    spec: RunSpec | None = None,
    hooks: Sequence[str] = (),
    outlived: int = 0,
    attempts: Sequence[Status] = (),
    folder: str | None = None,
    kept: int | None = None,
    log: bytes = b"",
    no_log: str = "",
    left_out: Sequence[str] = (),
    gone: bool = False,
    away: bool = False,
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """The page.

    Args:
        width: Columns of the terminal; None when piped.
        spec: As in the run directory, if that can be read.
        hooks: What became of its commands for an end and a stall, if that went wrong.
        outlived: How many of its processes outlived its command and were ended.
        attempts: How all of them ended, the present one last.
        folder: Where the run directory lies.
        kept: Bytes of the artifacts of an archived run, if they can be seen.
        log: The end of the log.
        no_log: Why there cannot be one.
        gone: Its directory, or what it was made from, cannot be had any more.
        away: Its place cannot say now: it does not answer, or its disk is not mounted.
        left_out: Files with metrics, of a run without any, that may be another run's.
    """
    room = width or PIPED
    lines = list(
        _lines(
            run,
            now,
            room,
            short_id,
            spec,
            hooks,
            outlived,
            attempts,
            folder,
            kept,
            left_out,
            glyphs,
        )
    )
    lines += [(), _row("log", Span(clean(no_log), "muted"))] if no_log else _log(log)
    gone = gone or run.reason == NOT_SENT
    seen = _seen(run, now) if run.active and run.observed_at else ""
    has_log = bool(log) or not (no_log or gone or away or run.archived)
    again = not (gone or away) and can_retry(run) and not (spec is not None and spec.adopted)
    command = _next(run, short_id, gone=gone, away=away, again=again, has_log=has_log)
    lines.append((Span(f"{seen}next: {command}", "faint"),))
    return [clip_line(line, room) for line in lines]


def _lines(
    run: RunRecord,
    now: float,
    room: int,
    short_id: str,
    spec: RunSpec | None,
    hooks: Sequence[str],
    outlived: int,
    attempts: Sequence[Status],
    folder: str | None,
    kept: int | None,
    left_out: Sequence[str],
    glyphs: Glyphs,
) -> Iterator[Line]:
    state = mark(run, now)
    facts = [run.id, where(run), run.host or "", f"attempt {run.attempt}" if run.attempt else ""]
    facts += ["archived"] if run.archived else []
    yield (
        Span(f"{state.glyph(glyphs)} {state.word}", state.style),
        Span("  "),
        Span(clean(run.name), "strong"),
        Span("  " + " · ".join(clean(f) for f in facts if f), "muted"),
    )
    yield ()
    why = explain(run, now, glyphs) or remark(run)
    if why:
        yield _row("why", *fitted(why, room - LABEL))
    before = attempt_lines(run, attempts[:-1], now, room - LABEL, glyphs)
    for number, line in enumerate(before):
        yield _row("" if number else "before", *line)
    if run.archived and run.attempt and len(attempts) < 2:
        yield _row("before", Span(FORGOTTEN, "muted"))
    others = plural(outlived, "background process was", "background processes were")
    ended = f"   {others} ended after it (not with --keep-background)" if outlived else ""
    yield _row("time", Span(_times(run, now)), Span(ended, "muted"))
    progress = run.progress
    if progress.step is not None:
        text = f"step {step_of(run)}"
        if progress.total:
            text += f" of {figure(progress.total)}"
        if progress.fraction is not None:
            text += f"  {share_of(run)}"
        left = time_left(run)
        ends = "" if left is None else f"   {age(left)} left, ends ≈ {clock(now + left, now)}"
        yield _row("progress", Span(text), Span(ends, "muted"))
    if hits := limit_hits(run, now, spec.limits.time if spec else None):
        yield _row("", Span(hits, "warn"))
    shown = [m for m in ordered_metrics(run) if not m.key.startswith(("system/", "__"))]
    yield from _metrics(shown[:METRICS_SHOWN], run, room, glyphs)
    if len(shown) > METRICS_SHOWN:
        rest = len(shown) - METRICS_SHOWN
        yield _row("", Span(f"{rest} more: traindeck metrics {short_id}", "muted"))
    if left_out:
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        text = f"   {left_out[0]}{more} not read: another run worked here at the same time"
        yield _row("metrics", Span("none"), Span(clean(text), "muted"))
    note = "   adopted" if run.adopted or (spec is not None and spec.adopted) else ""
    reason = "submitted without Traindeck" if run.foreign else "its run.json could not be read"
    unknown = "" if note else f"not known: {reason}"
    yield _row("command", Span(clean(command_line(run.argv)) or unknown), Span(note, "muted"))
    if run.cwd:
        yield _row("in", Span(clean(run.cwd)))
    if spec is not None and spec.code.root:
        yield _code(spec)
        for number, text in enumerate(not_copied(spec.code, LEFT_OUT)):
            yield _row("" if number else "left out", Span(clean(text)))
    if spec is not None and not spec.adopted:
        inside = ("inside", runs_inside(spec))
        for label, text in (("host", runs_on(spec)), inside, ("python", runs_in(spec))):
            if text:
                yield _row(label, Span(clean(text)))
        if spec.packages is not None:
            yield _row("packages", Span(installed(spec)))
        if chosen := limits_chosen(spec.limits):
            yield _row("limits", Span(chosen))
        for label, text in asked(spec):
            yield _row(label, Span(clean(text)))
    for text in hooks:
        yield _row("", Span(clean(text), "warn"))
    if run.recipe:
        yield _row("recipe", Span(clean(run.recipe)))
    if run.params:
        items = [f"{key} {parameter(value)}" for key, value in list(run.params.items())]
        text = " · ".join(clean(item) for item in items[:PARAMS_SHOWN])
        more = f"   {len(items)} in all: --params" if len(items) > PARAMS_SHOWN else ""
        yield _row("params", Span(text), Span(more, "muted"))
    if run.tags:
        yield _row("tags", Span(tags(run)))
    if run.note:
        yield _row("note", Span(clean(run.note)))
    if folder:
        log = f"   log {size(run.log_bytes)}" if run.log_bytes is not None else ""
        if run.archived:
            made = "artifacts" if kept is None else f"artifacts {size(kept)}"
            log = f"   archived: its files were removed, all but {made}"
        shown_folder = clip(clean(folder), max(20, room - LABEL - len(log)), "end")
        yield _row("folder", Span(shown_folder), Span(log, "muted"))


def _row(label: str, *spans: Span, cells: int = LABEL) -> Line:
    return (Span(fit(label, cells - 1), "muted"), Span(" "), *spans)


def _times(run: RunRecord, now: float) -> str:
    started = f"started {clock(run.started, now)}" if run.started else ""
    since = run_age(run, now)
    if run.active:
        parts = [started, f"{spoken(since)} in" if run.started else f"waits {spoken(since)}"]
    else:
        ended = f"ended {clock(run.ended, now)}" if run.ended else ""
        if run.state is State.LOST and not run.ended:  # nobody saw it end
            since = run.troubled_at or run.observed_at
            found = f"found lost {clock(since, now)}" if since else ""
            ended = " · ".join(part for part in (started, found) if part)
        took = f"ran {ran(run)}" if ran(run) else ""
        how = "" if run.state is State.SUCCEEDED else exit_words(run)
        parts = [ended, took, how]
    return " · ".join(part for part in parts if part) or "–"


def _metrics(
    shown: Sequence[MetricSummary], run: RunRecord, room: int, glyphs: Glyphs
) -> Iterator[Line]:
    """The metrics, their names in as many cells as their figures leave."""
    names = distinct((clean(m.key) for m in shown), max(LABEL, room - FIGURES - SPARK // 3) - 1)
    label = max(LABEL, *(width(name) + 1 for name in names.values())) if names else LABEL
    window = "   last half"  # said once
    for summary in shown:
        at = f" @ {figure(summary.last_step)}" if summary.last_step is not None else ""
        at += " counted" if at and summary.source == "counted" else ""
        extent = ""
        if summary.min is not None and summary.count > 1:
            extent = f"   min {shown_value(summary.key, summary.min)} @ {figure(summary.min_step)}"
        strange = f"   {summary.nonfinite} not finite" if summary.nonfinite else ""
        left = min(SPARK, room - label - FIGURES - len(strange))
        trend = spark(summary.spark, left, glyphs) if left >= SPARK // 3 else ""
        main = summary.key == run.main
        drawn = trend.rstrip()
        if drawn and not strange and width(drawn + window) <= room - label - FIGURES:
            trend, window = drawn + window, ""
        yield _row(
            names[clean(summary.key)],
            Span(shown_value(summary.key, summary.last).ljust(8), "strong" if main else "text"),
            Span(f"{at}{extent} ".ljust(FIGURES - 8), "muted"),
            Span(trend, "s1" if main else "faint"),
            Span(strange, "warn"),
            cells=label,
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


def _log(log: bytes) -> Iterator[Line]:
    from traindeck.console.logs.neutral import neutral

    lines = [line for line in log.split(b"\n") if line.strip()][-LOG_LINES:]
    if not lines:
        return
    yield ()
    for number, line in enumerate(lines):
        text = neutral(line.rpartition(b"\r")[2] or line).text
        yield (Span(("" if number else "log").ljust(5), "faint"), Span(clean(text), "muted"))


def _next(
    run: RunRecord, short_id: str, *, gone: bool, away: bool, again: bool, has_log: bool
) -> str:
    """A command worth giving next, and one that the run's state lets work."""
    if run.active:
        if gone or run.foreign:
            return f"traindeck stop {run.id}"
        return f"traindeck logs -f {short_id}" if has_log else f"traindeck metrics {short_id}"
    failed = run.state in (State.FAILED, State.LOST, State.TIMEOUT, State.PREEMPTED)
    never = run.state is State.CANCELLED and run.started is None  # so there is no log
    saved = _goes_on_from(run)
    if again and (failed or never or saved):
        if run.exit_code in NOT_STARTED:  # nor would it be the next time
            return f"traindeck show {short_id} --script"
        return f"traindeck retry {short_id}{saved}"
    if has_log:
        return f"traindeck logs {short_id}"
    if gone and not run.foreign:
        return f"traindeck rm {run.id}"
    shown = any(not key.startswith(("system/", "__")) for key in run.metrics)
    if shown:
        return f"traindeck metrics {short_id}"
    return f"traindeck show {short_id}{'' if away else ' --path'}"


def _seen(run: RunRecord, now: float) -> str:
    """When it was asked for, and how old its values are where that is longer ago."""
    asked, newest = age(now - run.observed_at), last_report(run)
    values = f", values {age(now - newest)} old" if newest else ""
    older = newest and newest < run.observed_at and age(now - newest) != asked
    return f"seen {asked} ago{values if older else ''} · "


def _goes_on_from(run: RunRecord) -> str:
    """From where another attempt of a fine-tune goes on, if it does not begin anew."""
    saved = run.metrics.get(CHECKPOINT)
    over = run.state is not State.SUCCEEDED
    if not over or saved is None or not saved.last_step or run.params.get("resume") != "auto":
        return ""
    return f"   goes on from step {figure(saved.last_step)}"
