"""What dialogs say, as lines: one edge, a title of verb and count, the victims, the choices.

Pure. A dialog is for destroying, spending, and for an error that stops what was just asked. The
safe choice has the focus; the harmful one has a letter of its own.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

from traindeck.backends.asking import Stranger
from traindeck.backends.data import dataclass
from traindeck.backends.states import State
from traindeck.console.runs.retrying import same_code
from traindeck.console.store.records import RunRecord

from .ages import age, spoken
from .cells import Line, Span, clean, clip, clip_line, fit, fit_line, line_width, width
from .glyphs import BEST, Glyphs
from .numbers import percent, plural, size
from .runs_table import run_age, where
from .states import mark

MAX_VICTIMS = 8
ROOMY = 99


@dataclass(frozen=True, slots=True)
class Choice:
    """Something a dialog can end with. `harmful` ones are never taken by enter."""

    key: str
    label: str
    result: str
    harmful: bool = False


def panel(lines: Sequence[Line], cells: int, edge: str, glyphs: Glyphs = BEST) -> list[Line]:
    """Lines with the dialog's edge on the left and room around them."""
    bar = Span(glyphs.cursor, edge)
    inner = max(0, cells - 6)
    body = [(bar, Span("  "), *clip_line(line, inner)) for line in lines]
    return [fit_line(line, cells) for line in ((bar,), *body, (bar,))]


def choices(options: Sequence[Choice], focus: int, cells: int) -> list[Line]:
    """The row of choices, broken over rows if it must be."""
    rows: list[list[Span]] = [[]]
    for number, option in enumerate(options):
        if number == focus:
            part = [Span(f" {option.key} {option.label} ", "on_accent @accent bold")]
        else:
            style = "warn bold" if option.harmful else "accent bold"
            part = [Span(option.key, style), Span(f" {option.label}", "text")]
        if rows[-1] and line_width(rows[-1]) + 3 + line_width(part) > cells:
            rows.append([])
        if rows[-1]:
            rows[-1].append(Span("   "))
        rows[-1] += part
    return [tuple(row) for row in rows]


def victims(
    runs: Sequence[RunRecord],
    now: float,
    cells: int,
    glyphs: Glyphs = BEST,
    *,
    ended: bool = False,
    most: int = MAX_VICTIMS,
) -> list[Line]:
    """Every run that will be hit, by name and place; the rest of more than `most` as a number."""
    shown = runs if len(runs) <= most else runs[: most - 1]
    names = min(max((width(clean(run.name)) for run in shown), default=0), max(12, cells // 3))
    lines: list[Line] = []
    for run in shown:
        sign = mark(run)
        left: list[Span] = [
            Span(f"{sign.glyph(glyphs)} ", sign.style),
            Span(fit(clean(run.name or run.id), names, keep="both"), "strong bold"),
            Span("   "),
            Span(_place(run), "muted"),
        ]
        right = _how_far(run, now, ended=ended)
        gap = cells - line_width(left) - width(right)
        if gap < 2:
            left = left[:2]
            gap = cells - line_width(left) - width(right)
        lines.append((*left, Span(" " * max(1, gap)), Span(right, "muted")))
    if len(runs) > len(shown):
        rest = len(runs) - len(shown)
        lines.append((Span(f"  and {rest:,} more", "muted"),))
    return lines


def _room(rows: int, said: Sequence[Line]) -> int:
    """How many victims there is room for beside what is said, which is never cut."""
    return max(2, min(MAX_VICTIMS, rows - len(said) - 3))


def _place(run: RunRecord) -> str:
    gpus = f" · {plural(run.gpus, 'GPU')}" if run.gpus else ""
    return f"{where(run)}{gpus}"


def _how_far(run: RunRecord, now: float, *, ended: bool) -> str:
    if ended and not run.active:
        return f"{age(run_age(run, now), coarse=True)} ago"
    if run.state in (State.NEW, State.QUEUED):
        return f"waiting {age(run_age(run, now))}"
    done = "" if run.progress.fraction is None else f", {percent(run.progress.fraction)}"
    return f"{age(run_age(run, now))} in{done}"


def _span(graces: Collection[float]) -> str:
    if not graces:
        return "a grace"
    return " to ".join(dict.fromkeys((spoken(min(graces)), spoken(max(graces)))))


def stop_lines(
    runs: Sequence[RunRecord],
    graces: Collection[float],
    now: float,
    cells: int,
    glyphs: Glyphs = BEST,
    *,
    others: int = 0,
    hidden: int = 0,
    rows: int = ROOMY,
) -> list[Line]:
    """Before runs are stopped. `others` of those marked are over or ending already, `hidden` more
    are marked where they cannot be seen. `graces`: from TERM to KILL, as far as they are known."""
    waiting = all(run.state in (State.NEW, State.QUEUED) for run in runs)
    text = (
        "They have not started; nothing is lost."
        if waiting
        else f"SIGTERM now, SIGKILL after {_span(graces)}. "
        "What they have not saved by then is lost."
    )
    if len(runs) == 1:
        text = text.replace("They have", "It has").replace("they have", "it has")
    if any(run.adopted for run in runs):
        text += " To end only the watching of an adopted process, remove the run instead."
    if others:
        text += f" {_others(others)} over or ending already."
    text += _hidden(hidden)
    said = wrapped(text, cells)
    most = _room(rows, said)
    return [
        (Span(f"Stop {plural(len(runs), 'run')}?", "warn bold"),),
        (),
        *victims(runs, now, cells, glyphs, most=most),
        (),
        *said,
    ]


def retry_lines(
    runs: Sequence[RunRecord],
    now: float,
    cells: int,
    glyphs: Glyphs = BEST,
    *,
    others: int = 0,
    hidden: int = 0,
    rows: int = ROOMY,
) -> list[Line]:
    """Before runs are tried again. `others` of those marked cannot be, `hidden` more are marked
    where they cannot be seen."""
    text = (
        f"The same plan as before, as a further attempt, {_code_again(runs)}. "
        "Logs and metrics of the earlier attempts stay."
    )
    text += _time_again(runs)
    if others:
        text += f" {_others(others)} not over, or not Traindeck's, and left alone."
    text += _hidden(hidden)
    said = wrapped(text, cells)
    most = _room(rows, said)
    return [
        (Span(f"Retry {plural(len(runs), 'run')}?", "accent bold"),),
        (),
        *victims(runs, now, cells, glyphs, ended=True, most=most),
        (),
        *said,
    ]


def _time_again(runs: Sequence[RunRecord]) -> str:
    """That a time limit which has ended runs will do so again."""
    ended = sum(run.state is State.TIMEOUT for run in runs)
    if not ended:
        return ""
    if len(runs) == 1:
        return " Its time limit holds again."
    return f" The time limit of {ended:,} holds again."


def _code_again(runs: Sequence[RunRecord]) -> str:
    """Which code further attempts will run."""
    same = sum(map(same_code, runs))
    now = len(runs) - same
    if same and now:
        return (
            f"{same:,} with the same copy of {_its(same)} code, "
            f"{now:,} with {_its(now)} code in place, as it is now"
        )
    if all(run.recipe is not None for run in runs):
        return f"with the same copy of {_its(same)} trainer"
    if same:
        return f"with the same copy of {_its(same)} code"
    return f"with {_its(now)} code in place, as it is now"


def _its(count: int) -> str:
    return "its" if count == 1 else "their"


def remove_lines(
    runs: Sequence[RunRecord],
    freed: int | None,
    artifacts: int | None,
    refused: int,
    now: float,
    cells: int,
    glyphs: Glyphs = BEST,
    *,
    hidden: int = 0,
    rows: int = ROOMY,
) -> list[Line]:
    """Before runs are deleted. `hidden`: how many more are marked where they cannot be seen."""
    if freed is None:
        text = "Their logs, metrics and artifacts are deleted from the disk, for good."
    else:
        part = f", {size(artifacts)} of it artifacts" if artifacts else ""
        text = f"Frees {size(freed)}{part}. Logs, metrics and artifacts are gone then, for good."
    watched = sum(run.active for run in runs)
    if watched:
        what = "The process goes" if watched == 1 else f"{watched:,} processes go"
        text += f" {what} on; only the watching ends."
    if refused:
        text += f" {refused:,} more of those marked cannot be removed and will stay."
    text += _hidden(hidden)
    said = wrapped(text, cells)
    most = _room(rows, said)
    return [
        (Span(f"Remove {plural(len(runs), 'run')}?", "failed bold"),),
        (),
        *victims(runs, now, cells, glyphs, ended=True, most=most),
        (),
        *said,
    ]


def _others(count: int) -> str:
    return f"{count:,} more of those marked {'is' if count == 1 else 'are'}"


def _hidden(count: int) -> str:
    if not count:
        return ""
    return f" {count:,} more, marked but hidden, {'is' if count == 1 else 'are'} left alone."


def stranger_lines(stranger: Stranger, cells: int) -> list[Line]:
    """Before a machine is trusted whose key is not known."""
    text = (
        "Its key is not known here, so it may be another machine than you think. Compare the "
        "fingerprint with what whoever runs it says. If you trust it, the key is noted, and you "
        "are not asked again."
    )
    address = stranger.address if stranger.address != stranger.host else ""
    facts = (
        ("address", address),
        ("key", stranger.key_type),
        ("fingerprint", stranger.fingerprint),
        ("noted in", stranger.file),
    )
    return [
        (Span(clip(f"Is this {clean(stranger.host)}?", cells), "warn bold"),),
        (),
        *_facts([(name, said) for name, said in facts if said], cells),
        (),
        *wrapped(text, cells),
    ]


def secret_lines(
    host: str, prompt: str, typed: bool, cells: int, glyphs: Glyphs = BEST, *, open: bool = True
) -> list[Line]:
    """Before a secret is given. Neither it nor its length is shown. Not `open`: no key counts yet,
    and there is no field."""
    state = "typed, not shown" if typed else ""
    text = "It is not kept. A wrong one is not tried again by itself."
    box = (Span(glyphs.cursor, "accent @bg"), Span(f" {state}", "muted @bg"))
    return [
        (Span(clip(f"{clean(host)} asks you", cells), "warn bold"),),
        (),
        *wrapped(clean(prompt), cells, "text"),
        fit_line(box, cells, "text @bg") if open else (),
        (),
        *wrapped(text, cells),
    ]


def error_lines(title: str, note: str, facts: Sequence[tuple[str, str]], cells: int) -> list[Line]:
    """Something that was asked for cannot be done: what, where, sent, likely."""
    lines: list[Line] = [
        (Span(clip(clean(title), cells), "failed bold"), Span("  "), Span(clean(note), "muted")),
        (),
    ]
    return [*lines, *_facts(facts, cells)]


def _facts(facts: Sequence[tuple[str, str]], cells: int) -> list[Line]:
    lines: list[Line] = []
    label = max((width(name) for name, _ in facts), default=0) + 3
    for name, text in facts:
        parts = textwrap.wrap(clean(text), max(10, cells - label))[:6] or [""]
        for number, part in enumerate(parts):
            head = name if number == 0 else ""
            lines.append((Span(fit(head, label), "muted"), Span(part, "text")))
    return lines


def wrapped(text: str, cells: int, style: str = "muted") -> list[Line]:
    """Prose over as many lines as it needs."""
    return [(Span(part, style),) for part in textwrap.wrap(text, max(10, cells))]
