"""A run as the index knows it, and the JSON object that `show` and `ls --json` print for it.

The JSON is a contract: fields are added, never renamed or dropped (tests/cli/golden holds it).
Times in it are ISO 8601 UTC, what is not known is null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import UTC, datetime
from typing import Any

from traindeck.backends.data import dataclass
from traindeck.backends.states import ACTIVE, Rank, Reach, State, Status

CHECKPOINT = "__checkpoint__"
"""A series of marks, not of values: the steps at which checkpoints were written."""

ONLY_KNOWN = "only its submission is known"
"""The reason of a run of which an index that was lost and filled anew knows no more."""

NOT_SENT = "not sent: the launcher died"
"""The reason of a run that ended before it was sent."""

Scalar = str | int | float | bool | None
Param = Scalar | tuple[Scalar, ...]
"""A parameter of a run; several values where its flag was repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is. `fraction` is 0…1; `eta` seconds left, by the pace of its recent steps.
    `at`: when its last step was made, or read where nobody knows that. `partial`: what tells the
    step has not been read to its end."""

    step: int | None = None
    total: int | None = None
    fraction: float | None = None
    eta: float | None = None
    at: float | None = None
    partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSummary:
    """One series of one run, reduced.

    Attributes:
        first, last: At the lowest and the highest step; may be NaN or infinite.
        min, max: Of the finite values.
        nonfinite: How many values are NaN or infinite.
        broken_step: Since which step all values are, if the last one is.
        spark: Up to 30 levels 0…6 (7 is a gap), of the last half of the run, on its own scale.
        source: Where the values came from, the most trusted first, joined by `+`.
    """

    key: str = ""
    count: int = 0
    first: float | None = None
    last: float | None = None
    last_step: int | None = None
    last_time: float | None = None
    min: float | None = None
    min_step: int | None = None
    max: float | None = None
    max_step: int | None = None
    nonfinite: int = 0
    broken_step: int | None = None
    spark: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Everything about a run that a list or a header shows.

    Attributes:
        rank, evidence: What the state rests on; `backends.status.merge` needs the rank.
        gpus: Of all nodes together.
        main: Key of the metric shown in tables (chosen by console.metrics, e.g. `loss`).
        broken_at: When its main metric ceased to be a finite number; None while it is one.
        troubled_at: When its place first had something wrong to say of it though it runs, or when
            it was found lost, however often it is looked for; None while neither is so.
        silent_from: Until when it may report nothing without being called silent; None where that
            cannot be said (see `silent_after`).
        time_limit: Wall time that an attempt is held to, in seconds, as it was asked for;
            `place_limit` is what its place allows it. None without one.
        archived: Its files were removed, all but what it made and how it ended.
        looked_at: When a person last opened it; a failure after that "needs you".
        foreign: A job that was not started by Traindeck.
        adopted: A process that ran already when Traindeck took it under watch.
    """

    id: str = ""
    name: str = ""
    backend: str = "local"
    native_id: str = ""
    state: State = State.NEW
    reach: Reach = Reach.OK
    observed_at: float = 0.0
    attempt: int = 0
    rank: Rank = Rank.NONE
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    evidence: tuple[str, ...] = ()
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    host: str | None = None
    pid: int | None = None
    gpus: int = 0
    argv: tuple[str, ...] = ()
    cwd: str = ""
    project: str = ""
    recipe: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Param] = field(default_factory=dict)
    note: str = ""
    archived: bool = False
    looked_at: float | None = None
    foreign: bool = False
    adopted: bool = False
    log_bytes: int | None = None
    progress: Progress = field(default_factory=Progress)
    main: str | None = None
    broken_at: float | None = None
    troubled_at: float | None = None
    silent_from: float | None = None
    time_limit: float | None = None
    place_limit: float | None = None
    metrics: Mapping[str, MetricSummary] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def unknown(self) -> bool:
        """Whether nobody knows how it is now: its place does not answer, or was never asked since
        the index was rebuilt from files. console.store.query says the same in SQL."""
        unasked = self.reach is Reach.STALE and not self.observed_at
        return self.active and (self.reach is Reach.DOWN or unasked)

    @property
    def trouble(self) -> str:
        """What is wrong with it though it runs (its supervisor was killed, its directory deleted):
        of one that is well its place has nothing to say. "" where it was merely not heard of: its
        figures are shown as old then."""
        return self.reason if self.state is State.RUNNING and self.reach is Reach.OK else ""

    @property
    def silent(self) -> bool:
        """Whether it runs and has reported nothing for long. It may be evaluating, or hang: only
        its log can say."""
        runs = self.state is State.RUNNING and self.reach is Reach.OK
        return runs and self.silent_from is not None and self.observed_at > self.silent_from

    @property
    def stoppable(self) -> bool:
        """Whether it can be asked to end, and was not yet."""
        return self.active and self.state is not State.STOPPING

    @property
    def read_in_part(self) -> bool:
        """Whether it is over and came at least as far as its progress says, maybe further."""
        return self.progress.partial and not self.active

    @property
    def removable(self) -> bool:
        """Whether it is over and ours; of an adopted process that goes on, the watching can end."""
        return not self.foreign and (self.adopted or not self.active)


DIVERGES = (State.RUNNING, State.SUCCEEDED)
"""States in which a metric that is no number is the news; that a run failed says more."""

LOG_REMOVED = "its log was removed: only what it made is kept"
"""What is said in place of an archived run's log."""

MISSING = 127
"""Exit code of a program that is not there: what is said of it needs no log."""
NOT_STARTED = (126, MISSING)
"""Exit codes of a program that is not there, or cannot be executed."""


def is_explained_by_log(state: State, exit_code: int | None) -> bool:
    """Whether the log of what ended so may say why."""
    return state is State.FAILED and exit_code != MISSING


_RANK = re.compile(r"rank (\d{1,6})(?: on [^\s:]+: | left no record| could not begin: )")
"""As the agent says it (rank.py, ranks.py), and a program of its own hardly."""


def failed_rank(reason: str) -> tuple[int, str]:
    """Of a run on several nodes, the rank that failed first, as its reason names it, and the words
    that do; (0, "") of others."""
    named = _RANK.match(reason)
    return (0, "") if named is None else (int(named[1]), named[0])


EVALS = ("eval/loss", "eval_loss", "val/loss", "val_loss", "valid/loss", "test_loss")
"""Names under which trainers report the loss on held-out data."""

RATES = (
    "tokens_per_second", "tokens_per_s", "tokens/s", "tok/s", "train_tokens_per_second", "tps",
    "throughput",
)  # fmt: skip
"""Names under which they report how fast they are."""

GROUPS = ("needs you", "running", "queued", "finished")
"""The groups of the Runs screen, in order."""

UNKNOWN_AFTER = 300.0
"""Seconds without an answer after which an active run needs a person."""

SILENT = 180.0
"""Seconds that no run is called silent for: event files are written every two minutes."""

BAD = frozenset({State.FAILED, State.TIMEOUT, State.LOST})
"""Ends that a person should know of."""


def needs_you(run: RunRecord, now: float) -> bool:
    """Whether a person has to look: since they last opened the run it ended badly, its main metric
    ceased to be a number, something else went wrong with it, it fell silent, or nothing was heard
    of it for five minutes. Never at an archived one.

    console.store.query says the same in SQL.
    """
    if run.archived:
        return False
    looked = run.looked_at or 0.0
    if run.state in BAD:
        return looked < (run.ended or run.troubled_at or run.observed_at or run.created)
    if run.active and run.reach is Reach.DOWN:
        silent_from = run.observed_at + UNKNOWN_AFTER
        return now > silent_from and looked < silent_from
    if run.state in DIVERGES and run.broken_at is not None and looked < run.broken_at:
        return True
    if run.state is not State.RUNNING or run.reach is not Reach.OK:
        return False
    if run.troubled_at is not None:  # a run of which it is said that it stalled is silent, too
        return looked < run.troubled_at
    return run.silent and looked < (run.silent_from or 0.0)


def silent_after(run: RunRecord, newest: float | None, reports: int | None) -> float | None:
    """From when on a run is silent if it reports nothing more: its newest report, and ten times
    what lies between two of its `reports`, or three minutes. None if this attempt has reported
    nothing yet."""
    newest = max(newest or 0.0, run.progress.at or 0.0)
    if run.started is None or newest < run.started:
        return None
    # What earlier attempts reported is counted, so their time is too.
    began = run.created if run.attempt else run.started
    counted = run.progress.step if reports is None else reports
    usual = max(0.0, newest - began) / max(1, counted or 1)
    return newest + max(SILENT, 10 * usual)


def broken_metric(run: RunRecord) -> MetricSummary | None:
    """The main metric of a run that runs or ended well, if its newest value is not finite."""
    metric = run.metrics.get(run.main or "")
    if run.state not in DIVERGES or run.broken_at is None or metric is None or metric.last is None:
        return None
    return None if math.isfinite(metric.last) else metric


def group(run: RunRecord, now: float) -> int:
    """Index into GROUPS."""
    if needs_you(run, now):
        return 0
    if run.state in (State.NEW, State.QUEUED):
        return 2
    return 1 if run.active else 3


def status_of_run(run: RunRecord) -> Status:
    """What is known of the run's present attempt, as backends speak of it."""
    return Status(
        state=run.state,
        observed_at=run.observed_at,
        reach=run.reach,
        attempt=run.attempt,
        rank=run.rank,
        exit_code=run.exit_code,
        signal=run.signal,
        reason=run.reason,
        started=run.started,
        ended=run.ended,
        host=run.host,
        pid=run.pid,
        log_bytes=run.log_bytes,
        evidence=run.evidence,
    )


def with_status(run: RunRecord, status: Status) -> RunRecord:
    """The run with another status. What a later look at the same attempt left out stays."""
    same = status.attempt == run.attempt
    return replace(
        run,
        state=status.state,
        observed_at=status.observed_at,
        reach=status.reach,
        attempt=status.attempt,
        rank=status.rank,
        exit_code=status.exit_code,
        signal=status.signal,
        reason=status.reason,
        evidence=status.evidence,
        started=run.started if same and status.started is None else status.started,
        ended=status.ended,
        host=run.host if same and not status.host else status.host,
        pid=run.pid if same and status.pid is None else status.pid,
        log_bytes=run.log_bytes if same and status.log_bytes is None else status.log_bytes,
    )


def iso(moment: float | None) -> str | None:
    """A moment as ISO 8601 UTC with milliseconds; None if it is None or beyond the calendar."""
    if moment is None:
        return None
    try:
        text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None
    return text.replace("+00:00", "Z")


def run_json(run: RunRecord) -> dict[str, Any]:
    """The object that `show --json` prints and of which `ls --json` prints an array. It is strict
    JSON: null is what is not known, "NaN", "Infinity" and "-Infinity" what is no finite number."""
    return {
        "id": run.id,
        "name": run.name,
        "state": str(run.state),
        "reach": str(run.reach),
        "observed_at": iso(run.observed_at or None),
        "backend": run.backend,
        "native_id": run.native_id or None,
        "attempt": run.attempt,
        "exit_code": run.exit_code,
        "signal": run.signal,
        "reason": run.reason or None,
        "created": iso(run.created),
        "started": iso(run.started),
        "ended": iso(run.ended),
        "host": run.host,
        "pid": run.pid,
        "gpus": run.gpus,
        "argv": list(run.argv),
        "cwd": run.cwd,
        "project": run.project or None,
        "recipe": run.recipe,
        "tags": dict(run.tags),
        "params": {
            k: list(map(json_value, v)) if isinstance(v, tuple) else json_value(v)
            for k, v in run.params.items()
        },
        "note": run.note or None,
        "archived": run.archived,
        "foreign": run.foreign,
        "adopted": run.adopted,
        "log_bytes": run.log_bytes,
        "progress": {
            "step": run.progress.step,
            "total": run.progress.total,
            "fraction": run.progress.fraction,
            "eta_s": run.progress.eta,
            "partial": run.progress.partial,
            "at": iso(run.progress.at),
        },
        "main": run.main,
        "metrics": metrics_json(run.metrics),
    }


def attempt_json(status: Status) -> dict[str, Any]:
    """One element of `attempts`, which `show --json` adds to `run_json`."""
    return {
        "attempt": status.attempt,
        "state": str(status.state),
        "exit_code": status.exit_code,
        "signal": status.signal,
        "reason": status.reason or None,
        "started": iso(status.started),
        "ended": iso(status.ended),
    }


def metrics_json(metrics: Mapping[str, MetricSummary]) -> dict[str, Any]:
    """The last field of `run_json`: what a run has measured, so not its marks."""
    return {
        key: {
            "last": json_value(m.last),
            "last_step": m.last_step,
            "min": m.min,
            "min_step": m.min_step,
            "max": m.max,
            "max_step": m.max_step,
            "count": m.count,
            "nonfinite": m.nonfinite,
            "source": m.source,
        }
        for key, m in metrics.items()
        if key != CHECKPOINT
    }


def values_of(param: Param) -> tuple[Scalar, ...]:
    """The values of a parameter; what most programs go by is the last."""
    return param if isinstance(param, tuple) else (param,)


def json_value(value: Scalar) -> Scalar:
    """A value as strict JSON can hold it: what is not finite by its name, as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
