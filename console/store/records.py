"""A run as the index knows it, and the JSON object that `show` and `ls --json` print for it.

The JSON is a contract: fields are added, never renamed or dropped (tests/cli/golden holds it).
Times in it are ISO 8601 UTC, what is not known is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from traindeck.backends.base import ACTIVE, Rank, Reach, State

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is. `fraction` is 0…1; `eta` seconds left, by the pace of its recent steps."""

    step: int | None = None
    total: int | None = None
    fraction: float | None = None
    eta: float | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSummary:
    """One series of one run, reduced. `spark` has up to 30 levels 0…6 (7 is a gap), of the last
    half of the run, on its own scale. `source` says where the values came from."""

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
    spark: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Everything about a run that a list or a header shows.

    Attributes:
        rank: What a terminal state rests on; kept because `backends.status.merge` needs it.
        main: Key of the metric shown in tables (chosen by console.metrics, e.g. `loss`).
        looked_at: When a person last opened it; a failure after that "needs you".
        foreign: A job that was not started by Traindeck.
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
    params: Mapping[str, Scalar] = field(default_factory=dict)
    note: str = ""
    archived: bool = False
    looked_at: float | None = None
    foreign: bool = False
    log_bytes: int | None = None
    progress: Progress = field(default_factory=Progress)
    main: str | None = None
    metrics: Mapping[str, MetricSummary] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


def iso(moment: float | None) -> str | None:
    """A moment as ISO 8601 UTC with milliseconds, None as None."""
    if moment is None:
        return None
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def run_json(run: RunRecord) -> dict[str, Any]:
    """The object that `show --json` prints and of which `ls --json` prints an array."""
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
        "params": dict(run.params),
        "note": run.note or None,
        "archived": run.archived,
        "foreign": run.foreign,
        "log_bytes": run.log_bytes,
        "progress": {
            "step": run.progress.step,
            "total": run.progress.total,
            "fraction": run.progress.fraction,
            "eta_s": run.progress.eta,
        },
        "main": run.main,
        "metrics": {
            key: {
                "last": m.last,
                "last_step": m.last_step,
                "min": m.min,
                "min_step": m.min_step,
                "max": m.max,
                "max_step": m.max_step,
                "count": m.count,
                "nonfinite": m.nonfinite,
                "source": m.source,
            }
            for key, m in run.metrics.items()
        },
    }
