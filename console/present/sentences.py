"""Sentences that fit: a row that explains itself, a verdict, a finding.

A sentence is made of clauses joined by ` · `, cause first. What does not fit loses its last clause
whole; only a first clause that is too long by itself is cut, and the message of an exception whose
name alone would explain nothing.
"""

from __future__ import annotations

import math
import re
import signal as signals
from collections.abc import Sequence

from traindeck.backends.states import Reach, State
from traindeck.console.store.records import LOG_REMOVED, MetricSummary, RunRecord

from .ages import spoken
from .cells import Line, Span, clean, clip, clip_line, line_width
from .glyphs import Glyphs
from .numbers import figure, percent, size
from .states import alert, metric_word

# What says something without its message: an exception's name, `torch.cuda.OutOfMemoryError`; not a
# file's, `rows.parquet`.
_NAME = re.compile(r"(?:\w+\.)*_*[A-Z]\w*[a-z]\w*|CUDA out of memory")
Clause = tuple[Span, ...]

_MESSAGE = 12  # cells from which on the beginning of a message says something

_SEPARATOR = Span(" · ", "muted")
# Where the cause ends and its circumstances begin, or what it means: only the cause is coloured.
_MEANS = re.compile(r"(?=; )|(?= \()")
_CAUSE_END = re.compile(r"(?= at step )|(?= since )|(?= after )|(?=: )|(?= \()|(?=, (?!SIG))")
_WITHIN = re.compile(r"(?=: )|(?=; )")  # and where a message may end, if not all of it has room


def fitted(clauses: Sequence[Clause], cells: int) -> Line:
    """The clauses that fit into `cells`, joined."""
    line: list[Span] = []
    used = 0
    for clause in clauses:
        before = 3 if line else 0
        needed = line_width(clause) + before
        while used + needed > cells and len(clause) > 1 and (not line or clause[0].style == "warn"):
            clause = _shorter(clause, cells - used - before)
            needed = line_width(clause) + before
        if used + needed > cells:
            break
        if line:
            line.append(_SEPARATOR)
        line.extend(clause)
        used += needed
    if not line and clauses:
        return clip_line(clauses[0], cells)
    return tuple(line)


def _shorter(clause: Clause, cells: int) -> Clause:
    """A cause without the last of its circumstances; its message, the last to go, is cut."""
    *kept, last = clause
    room = cells - line_width(kept)
    if len(kept) == 1 and last.text.startswith(": ") and room >= _MESSAGE:
        return (*kept, Span(clip(last.text, room), last.style))
    return tuple(kept)


def choose(cells: int, *versions: str) -> str:
    """The longest version that fits, given longest first; the last one if none does."""
    from .cells import width

    for version in versions:
        if width(version) <= cells:
            return version
    return versions[-1]


def part_read(share: float) -> str:
    """Of how much of a huge log figures and curves are made; "" if it is all of it. The rest is
    being read, or waits for `traindeck metrics`."""
    return "" if share >= 0.99 else f"the first {percent(share)} of the log"


def exit_words(run: RunRecord) -> str:
    """How a job ended, from its numbers: `exit 1`, `SIGKILL`, `exit 137, SIGKILL`."""
    parts = []
    if run.exit_code is not None:
        parts.append(f"exit {run.exit_code}")
    number = run.signal
    if number is None and run.exit_code is not None and 128 < run.exit_code < 160:
        number = run.exit_code - 128
    if number is not None:
        try:
            parts.append(signals.Signals(number).name)
        except ValueError:
            parts.append(f"signal {number}")
    return ", ".join(parts)


BLANK = "blank lines only"
"""What is said in place of a log that has nothing to read in it."""


def unwritten(run: RunRecord, why: str = "") -> str:
    """What is said where no byte of a log was had: it has none, or (`why`) is not there, or cannot
    be read: its place does not answer."""
    if run.archived:
        return LOG_REMOVED
    if why:
        return clean(why)
    if run.active:
        return "nothing written yet"
    written = run.log_bytes
    return f"its log of {size(written)} cannot be read" if written else "wrote nothing"


def last_sign(run: RunRecord) -> float | None:
    """When there was last a sign of a run: of itself, or of what it takes of the machine."""
    moments = [m.last_time for m in run.metrics.values() if m.last_time]
    return max([*moments, run.progress.at or 0.0]) or None


def last_report(run: RunRecord) -> float | None:
    """When a run itself last reported a step or a value: the age of its figures."""
    moments = [m.last_time for m in _own(run) if m.last_time]
    return max([*moments, run.progress.at or 0.0]) or None


def silence(run: RunRecord) -> float | None:
    """Since when a run that goes on has been silent, if that is long for it."""
    return last_report(run) if run.silent else None


def time_left(run: RunRecord) -> float | None:
    """Seconds that a run still takes, by the pace that it had when it last reported."""
    return run.progress.eta if run.active and silence(run) is None else None


def limit_hits(run: RunRecord, now: float, asked: float | None = None) -> str:
    """Where a run will be when its time limit ends it, if that is before its end.

    Args:
        asked: Seconds of wall time from its start that were asked for, where the index was made
            before it knew.
    """
    limits = [one for one in (run.time_limit, run.place_limit, asked) if one is not None]
    if not limits or run.state is not State.RUNNING:
        return ""
    left, start = time_left(run), run.started
    if left is None or start is None or run.unknown or (until := start + min(limits) - now) >= left:
        return ""
    share = max(0.0, until / left)
    step, total = run.progress.step, run.progress.total
    if step is not None and total:
        return f"limit hits at step {figure(int(step + (total - step) * share))} of {figure(total)}"
    done = run.progress.fraction
    if done is None:
        return ""
    return f"limit hits at {done + (1 - done) * share:.0%}"


def limited(run: RunRecord, now: float, glyphs: Glyphs) -> list[Clause] | None:
    """That a run will not end within its limit, with the figures that this hides; None if it will,
    as far as is known."""
    hits = limit_hits(run, now)
    if not hits:
        return None
    return [(Span(f"{glyphs.warning} {hits}", "warn"),), *_so_far(run), *_newest(run)]


def _own(run: RunRecord) -> list[MetricSummary]:
    """What it measures itself: the samples of the machine go on when it hangs."""
    return [m for key, m in run.metrics.items() if not key.startswith(("system/", "__"))]


def ran(run: RunRecord) -> str:
    """How long a run that is over ran; of one whose end nobody saw what is known: `at least`."""
    if run.started is None:
        return ""
    if run.ended is not None:
        return spoken(run.ended - run.started, exact=True)
    sign = last_sign(run)
    return f"at least {spoken(sign - run.started)}" if sign and sign > run.started else ""


def explain(run: RunRecord, now: float, glyphs: Glyphs) -> list[Clause] | None:
    """Why a run is as it is, for runs whose numbers do not say it; None if they do."""
    if run.unknown:
        return _unknown(run, now)
    wrong = _troubled(run, glyphs)
    if (broken := alert(run)) is not None:
        return [*_broken(run, broken, glyphs), *wrong]
    if run.state is State.RUNNING:
        quiet = () if wrong else _silent(run)
        return [*wrong, *quiet, *_so_far(run)] if wrong or quiet else None
    if run.state in (State.NEW, State.QUEUED, State.STARTING, State.STOPPING):
        return _waiting(run, now)
    if run.state in (State.FAILED, State.LOST):
        return [*ended(run, "failed"), *_tried(run)]
    if run.state in (State.TIMEOUT, State.PREEMPTED):
        return [*ended(run, "warn"), *_tried(run)]
    if run.state is State.CANCELLED and run.reason:
        return [(Span(clean(run.reason), "muted"),)]
    return None


def _tried(run: RunRecord) -> list[Clause]:
    """How often, of a run that ended badly and was tried more than once."""
    return [(Span(f"{run.attempt + 1} attempts", "text"),)] if run.attempt else []


def remark(run: RunRecord) -> list[Clause] | None:
    """What its place says of a run that runs and is no warning: for where there is room beside its
    figures."""
    if run.state is not State.RUNNING or not run.reason or run.trouble:
        return None
    return [(Span(part, "muted"),) for part in _parts(run.reason)]


def _unknown(run: RunRecord, now: float) -> list[Clause]:
    clauses: list[Clause] = []
    if run.observed_at:
        clauses.append((Span(f"last seen {spoken(now - run.observed_at)} ago", "stale"),))
    else:
        clauses.append((Span("not seen yet", "stale"),))
    if run.progress.step is not None:
        clauses[0] = (*clauses[0], Span(f" at step {figure(run.progress.step)}", "text"))
    asked = "does not answer" if run.reach is Reach.DOWN else "was not asked yet"
    clauses.append((Span(f"{clean(run.backend)} {asked}", "text"),))
    return clauses


def _broken(run: RunRecord, word: str, glyphs: Glyphs) -> list[Clause]:
    summary = run.metrics[run.main or ""]
    what = "is infinite" if math.isinf(summary.last or 0.0) else "is not a number"
    cause = (Span(f"{glyphs.warning} {clean(word)} {what}", "warn"),)
    clauses: list[Clause] = [cause]
    if summary.broken_step is not None:
        clauses[0] = (*cause, Span(f" since step {figure(summary.broken_step)}", "text"))
    elif summary.last_step is not None:
        clauses[0] = (*cause, Span(f" at step {figure(summary.last_step)}", "text"))
    values = "such value" if summary.nonfinite == 1 else "such values"
    clauses.append((Span(f"{figure(summary.nonfinite)} {values}", "text"),))
    return clauses


def _troubled(run: RunRecord, glyphs: Glyphs) -> list[Clause]:
    """What is wrong with a run that goes on, and what that means for it."""
    clauses: list[Clause] = []
    for part in _parts(run.trouble):
        cause, *rest = _MEANS.split(part, maxsplit=1)
        sign = "" if clauses else f"{glyphs.warning} "
        clauses.append((Span(f"{sign}{cause}", "warn"), *(Span(text, "text") for text in rest)))
    return clauses


def _silent(run: RunRecord) -> list[Clause]:
    """That nothing new came for long; the newest value is said beside it, for it is hidden."""
    since = silence(run)
    if since is None:
        return []
    what = "no value" if run.progress.step is None else "no step"
    return [(Span(f"{what} for {spoken(run.observed_at - since)}", "stale"),), *_newest(run)]


def _newest(run: RunRecord) -> list[Clause]:
    """The last value of its main metric."""
    main = run.metrics.get(run.main or "")
    if main is None or main.last is None:
        return []
    return [(Span(clean(f"{metric_word(main.key)} {figure(main.last)}"), "text"),)]


def _so_far(run: RunRecord) -> list[Clause]:
    """How far it is, in place of the figures that a sentence hides."""
    made = run.progress
    if made.fraction is not None:
        return [(Span(percent(made.fraction), "text"),)]
    return [] if made.step is None else [(Span(f"step {figure(made.step)}", "text"),)]


def _waiting(run: RunRecord, now: float) -> list[Clause]:
    style = "muted" if run.state in (State.NEW, State.QUEUED) else "text"
    if run.reason:
        parts = map(_MEANS.split, _parts(run.reason))
        return [tuple(Span(text, style) for text in part) for part in parts]
    plain = {
        State.NEW: "being sent",
        State.QUEUED: "waits to start",
        State.STARTING: "starting",
        State.STOPPING: "ending what is left of it",
    }
    return [(Span(plain[run.state], style),)]


def ended(run: RunRecord, style: str) -> list[Clause]:
    """Why a run ended badly, cause first; the cause in `style`."""
    numbers = exit_words(run)
    parts = _parts(run.reason) or [numbers or "ended without a reason"]
    if run.state is State.LOST:  # the words are ours: what happened, then what that means
        parts = [words for part in parts for words in part.split("; ")]
    cause = _CAUSE_END.split(parts[0], maxsplit=1)
    if len(cause) > 1 and cause[1].startswith(": ") and not _NAME.fullmatch(cause[0]):
        cause = parts[:1]  # `model ./base: no such folder`: what is wrong comes last
    told = [part for rest in cause[1:] for part in _WITHIN.split(rest) if part]
    clauses: list[Clause] = [(Span(cause[0], style), *(Span(part, "text") for part in told))]
    text = run.reason
    # While its log has not been read to the end, a later step may come to light.
    if run.progress.step is not None and not run.progress.partial and "step" not in text:
        where = Span(f" at step {figure(run.progress.step)}", "text")
        head = clauses[0]
        # What is not known of a lost run is not known wherever it was.
        clauses[0] = (head[0], where, *head[1:]) if run.state is State.LOST else (*head, where)
    clauses += [(Span(part, "text"),) for part in parts[1:]]
    if numbers and run.reason and not _says_how_it_ended(text, run):
        clauses.append((Span(numbers, "text"),))
    return clauses


def _says_how_it_ended(text: str, run: RunRecord) -> bool:
    """Whether a reason already has the exit code or the signal in it."""
    number = run.exit_code if run.exit_code is not None else run.signal
    return re.search(rf"(exit|code|signal) {number}\b", text) is not None or "SIG" in text


def _parts(reason: str) -> list[str]:
    """A reason's own clauses. A full stop at its end is for prose, not for a row."""
    shown = clean(reason[:4000])
    return [part.strip().removesuffix(".") for part in shown.split(" · ") if part.strip(" .")]
