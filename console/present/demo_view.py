"""What the demo says while it runs and when it is over. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from traindeck.backends.states import State

from .ages import age
from .cells import Line, Span, clean, clip, fit
from .glyphs import BEST, Glyphs
from .numbers import figure
from .states import mark

if TYPE_CHECKING:
    from traindeck.console.runs.demo import Exam, Look, Report

TITLE = 34
CHART = (88, 13)


def progress_line(look: Look, now: float, glyphs: Glyphs = BEST, cells: int = 100) -> Line:
    """One run of the demo in one line."""
    run = look.run
    sign = mark(run)
    spans = [
        Span(f"{sign.glyph(glyphs)} ", sign.style),
        Span(fit(look.step.title, TITLE), "text"),
    ]
    progress = run.progress
    if run.state is State.RUNNING and progress.step is not None:
        of = f" of {figure(progress.total)}" if progress.total else ""
        share = progress.fraction or 0.0
        spans.append(Span(f"{share * 100:3.0f} % ", "strong"))
        spans.append(Span(f"step {figure(progress.step)}{of}", "text"))
        main = run.metrics.get(run.main or "")
        if main is not None:
            spans.append(Span(f"  {clean(main.key)} {figure(main.last)}", "text"))
    elif run.state is State.RUNNING and look.says:
        spans.append(Span(clip(clean(look.says), max(20, cells - TITLE - 10)), "muted"))
    elif run.state is State.QUEUED:
        spans.append(Span("waits for the one before", "muted"))
    else:
        spans.append(Span(sign.word, sign.style))
        if run.reason and run.state is not State.SUCCEEDED:
            spans.append(Span(f"  {clean(run.reason)}", "text"))
    if run.started is not None:
        ended = run.ended if run.ended is not None else now
        spans.append(Span(f"  {age(ended - run.started)}", "muted"))
    return tuple(spans)


def report_lines(
    report: Report, table: Sequence[Line], *, width: int, glyphs: Glyphs = BEST
) -> list[Line]:
    """The end of the demo.

    Args:
        table: The runs, as `ls` prints them.
    """
    lines: list[Line] = [(), *table]
    if report.curves:
        title = (Span("LOSS ", "muted bold"), Span("by step", "muted"))
        lines += [(), title, *_curve(report.curves, min(width, CHART[0]), glyphs)]
    if report.exam is not None:
        lines += [(), *_exam(report.exam)]
    for problem in report.problems:
        lines.append((Span(f"{glyphs.failed} ", "failed"), Span(clean(problem))))
    lines.append(())
    for command, what in report.commands:
        lines.append((Span(what, "muted"),))
        lines += [(Span(line, "accent"),) for line in _broken(command, width)]
    return lines


def _broken(command: str, width: int) -> list[str]:
    """A command on lines of its own, to be copied as they are: broken before its options."""
    parts: list[list[str]] = [[]]
    for word in shlex.split(command):
        if word.startswith("--"):
            parts.append([])
        parts[-1].append(word)
    first, *options = map(shlex.join, parts)
    lines = [f"  {first}"]
    for option in options:
        if len(lines[-1]) + 1 + len(option) + 2 <= width:
            lines[-1] += f" {option}"
        else:
            lines[-1] += " \\"
            lines.append(f"    {option}")
    return lines


def _curve(curves: Mapping[str, Any], width: int, glyphs: Glyphs) -> list[Line]:
    from .chart import text_chart

    return text_chart(curves, width=width, height=CHART[1], glyphs=glyphs)


def _exam(exam: Exam) -> list[Line]:
    name = max(len(mark_.name) for mark_ in exam.marks)
    lines: list[Line] = [
        (
            Span("HELD-OUT WORDS ", "muted bold"),
            Span("exact match, none of them in any training row (95 % interval)", "muted"),
        )
    ]
    for one in exam.marks:
        share = one.right / one.total
        lines.append(
            (
                Span("  " + fit(one.name, name), "text"),
                Span(f"  {one.right:4d} of {one.total}", "strong"),
                Span(f"  {share * 100:5.1f} %", "text"),
                Span(f"  {one.low * 100:.1f} … {one.high * 100:.1f}", "muted"),
            )
        )
    lines += [(), (Span("ASKED ", "muted bold"), Span(clean(exam.question), "strong"))]
    for one in exam.marks:
        right = one.answer.strip() == exam.wanted.strip()
        lines.append(
            (
                Span("  " + fit(one.name, name), "text"),
                Span(f"  {clean(one.answer)}", "good" if right else "text"),
                Span("" if right else f"   (wanted {clean(exam.wanted)})", "muted"),
            )
        )
    return lines
