# ruff: noqa: S608  (SQL is put together from constants)
"""Runs as rows: how a RunRecord is laid out in the tables, and read back exactly.

Text in the index is valid Unicode without NUL; what a log, host or argv brought that is not, is
replaced on the way in (the run directory keeps it as it was). What is read must be what can have
been written; anything else is damage.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from traindeck.backends.states import Rank, Reach, State
from traindeck.console.store.annotations import Annotation
from traindeck.console.store.database import Damaged
from traindeck.console.store.records import (
    MetricSummary,
    Param,
    Progress,
    RunRecord,
    metrics_json,
    run_json,
    values_of,
)

RUNS = (
    "id name folded backend native_id state rank reach observed_at attempt exit_code signal "
    "created started ended host pid gpus project recipe archived looked_at is_foreign adopted "
    "log_bytes step total fraction eta progress_at partial main broken_at troubled_at "
    "silent_from time_limit place_limit latest"
)
"""Columns of `runs` that a record fills, in the order of `run_values`. `latest` is when a run that
is over was last of interest."""

TEXTS = "reason evidence argv cwd note tags params"

_RUNS = tuple(RUNS.split())
_TEXTS = tuple(TEXTS.split())

SELECT = f"""SELECT r.n, {", ".join("r." + c for c in _RUNS if c not in ("folded", "latest"))},
    {", ".join("t." + c for c in _TEXTS)}
    FROM runs r JOIN texts t ON t.n = r.n"""

INSERT_RUN = f"INSERT INTO runs ({', '.join(_RUNS)}, touched) VALUES ({'?, ' * len(_RUNS)}?)"
UPDATE_RUN = f"UPDATE runs SET {', '.join(c + ' = ?' for c in _RUNS)}, touched = ? WHERE n = ?"
INSERT_TEXTS = f"INSERT INTO texts ({', '.join(_TEXTS)}, n) VALUES ({'?, ' * len(_TEXTS)}?)"
UPDATE_TEXTS = f"UPDATE texts SET {', '.join(c + ' = ?' for c in _TEXTS)} WHERE n = ?"

_UNFIT = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """Text that the index can hold."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNFIT.sub("\ufffd", text)


def clean_record(run: RunRecord) -> RunRecord:
    """A record whose texts the index can hold and give back as they are."""
    return replace(
        run,
        name=clean(run.name),
        backend=clean(run.backend),
        native_id=clean(run.native_id),
        reason=clean(run.reason),
        evidence=tuple(map(clean, run.evidence)),
        host=None if run.host is None else clean(run.host),
        argv=tuple(map(clean, run.argv)),
        cwd=clean(run.cwd),
        project=clean(run.project),
        recipe=None if run.recipe is None else clean(run.recipe),
        tags={clean(k): clean(v) for k, v in run.tags.items()},
        params={clean(k): _clean_param(v) for k, v in run.params.items()},
        note=clean(run.note),
        main=None if run.main is None else clean(run.main),
    )


def _clean_param(value: Param) -> Param:
    if isinstance(value, tuple):
        return tuple(clean(v) if isinstance(v, str) else v for v in value)
    return clean(value) if isinstance(value, str) else value


def fold(text: str) -> str:
    """Text as the filter language compares it: without case."""
    return text.casefold()


def tag_text(key: str, value: str) -> str:
    """A tag as it is written: `sft` or `lr=3e-4`."""
    return f"{key}={value}" if value else key


def param_number(param: Param) -> float | None:
    """A parameter as a number to compare with, also if it is text that spells one (in YAML 1.1
    `1e-4` is text). Of several values it is the last."""
    value = values_of(param)[-1]
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def param_text(value: Param) -> str:
    """A parameter as text to compare with; several values as `a, b`."""
    if isinstance(value, tuple):
        return ", ".join(map(param_text, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def run_values(run: RunRecord) -> tuple[Any, ...]:
    """Values for the columns of RUNS."""
    progress = run.progress
    return (
        run.id, run.name, fold(run.name), run.backend, run.native_id, str(run.state),
        int(run.rank), str(run.reach), run.observed_at, run.attempt, run.exit_code, run.signal,
        run.created, run.started, run.ended, run.host, run.pid, run.gpus, run.project, run.recipe,
        run.archived, run.looked_at, run.foreign, run.adopted, run.log_bytes, progress.step,
        progress.total, progress.fraction, progress.eta, progress.at, progress.partial, run.main,
        run.broken_at, run.troubled_at, run.silent_from, run.time_limit, run.place_limit,
        run.ended or run.created,
    )  # fmt: skip


def text_values(run: RunRecord) -> tuple[Any, ...]:
    """Values for the columns of TEXTS."""
    return (
        run.reason,
        json.dumps(run.evidence),
        json.dumps(run.argv),
        run.cwd,
        run.note,
        json.dumps(dict(run.tags)),
        json.dumps(dict(run.params)),
    )


def head(run: RunRecord) -> str:
    """The run's JSON object up to the value of its last field, `metrics`."""
    text = json.dumps(run_json(replace(run, metrics={})), allow_nan=False)
    assert text.endswith('"metrics": {}}')
    return text[:-3]


def tail(metrics: Mapping[str, MetricSummary]) -> str:
    """The rest of the run's JSON object."""
    return json.dumps(metrics_json(metrics), allow_nan=False) + "}"


def record(row: Sequence[Any]) -> RunRecord:
    """The record of a row of SELECT, without metrics.

    Raises:
        Damaged: It cannot have been written by us.
    """
    (
        _, run_id, name, backend, native_id, state, rank, reach, observed_at, attempt, exit_code,
        signal, created, started, ended, host, pid, gpus, project, recipe, archived, looked_at,
        is_foreign, adopted, log_bytes, step, total, fraction, eta, progress_at, partial, main,
        broken_at, troubled_at, silent_from, time_limit, place_limit, reason, evidence, argv, cwd,
        note, tags, params,
    ) = row  # fmt: skip
    try:
        return RunRecord(
            id=run_id,
            name=name,
            backend=backend,
            native_id=native_id,
            state=State(state),
            rank=Rank(rank),
            reach=Reach(reach),
            observed_at=observed_at,
            attempt=attempt,
            exit_code=exit_code,
            signal=signal,
            reason=reason,
            evidence=_words(evidence),
            created=created,
            started=started,
            ended=ended,
            host=host,
            pid=pid,
            gpus=gpus,
            argv=_words(argv),
            cwd=cwd,
            project=project,
            recipe=recipe,
            tags=_mapping(tags),
            params={k: _param(v) for k, v in _mapping(params).items()},
            note=note,
            archived=bool(archived),
            looked_at=looked_at,
            foreign=bool(is_foreign),
            adopted=bool(adopted),
            log_bytes=log_bytes,
            progress=Progress(
                step=step,
                total=total,
                fraction=fraction,
                eta=eta,
                at=progress_at,
                partial=bool(partial),
            ),
            main=main,
            broken_at=broken_at,
            troubled_at=troubled_at,
            silent_from=silent_from,
            time_limit=time_limit,
            place_limit=place_limit,
        )
    except (ValueError, TypeError) as error:
        raise Damaged(f"run {run_id}: {error}") from None


def _param(value: Any) -> Param:
    if isinstance(value, list):
        if not value:
            raise ValueError("a parameter without a value")
        return tuple(value)
    return value  # type: ignore[no-any-return]


def _words(text: str) -> tuple[str, ...]:
    return () if text == "[]" else tuple(json.loads(text))


def _mapping(text: str) -> dict[str, Any]:
    if text == "{}":
        return {}
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{text!r} is no mapping")
    return value


# ------------------------------------------------------------------------------------- summaries

SERIES = (
    "key, count, first, last, last_step, last_time, min, min_step, max, max_step, nonfinite, "
    "broken_step, spark, source"
)


def summary(row: Sequence[Any]) -> MetricSummary:
    """The summary of a row of SERIES. SQLite keeps NaN as NULL: a series with points and without a
    value at its end ended in NaN."""
    (
        key, count, first, last, last_step, last_time, low, low_step, high, high_step, nonfinite,
        broken_step, spark, source,
    ) = row  # fmt: skip
    return MetricSummary(
        key=key,
        count=count,
        first=math.nan if first is None and count else first,
        last=math.nan if last is None and count else last,
        last_step=last_step,
        last_time=last_time,
        min=low,
        min_step=low_step,
        max=high,
        max_step=high_step,
        nonfinite=nonfinite,
        broken_step=broken_step,
        spark=spark,
        source=source,
    )


def summary_values(summary: MetricSummary) -> tuple[Any, ...]:
    """Values for the columns of SERIES."""
    return (
        summary.key, summary.count, summary.first, summary.last, summary.last_step,
        summary.last_time, summary.min, summary.min_step, summary.max, summary.max_step,
        summary.nonfinite, summary.broken_step, summary.spark, summary.source,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------- marks


def overlay(run: RunRecord, mark: Annotation) -> RunRecord:
    """A run with what a person noted about it."""
    tags = dict(run.tags)
    for key, value in mark.tags.items():
        if value is None:
            tags.pop(clean(key), None)
        else:
            tags[clean(key)] = clean(value)
    return replace(
        run,
        name=run.name if mark.name is None else clean(mark.name),
        note=run.note if mark.note is None else clean(mark.note),
        archived=run.archived if mark.archived is None else mark.archived,
        looked_at=run.looked_at if mark.looked_at is None else mark.looked_at,
        native_id=run.native_id if not mark.native_id else clean(mark.native_id),
        log_bytes=None if mark.archived else run.log_bytes,
        tags=tags,
    )


def joined(mark: Annotation, later: Annotation) -> Annotation:
    """Two annotations of one run, the later one over the earlier one."""

    def newest(name: str) -> Any:
        value = getattr(later, name)
        return getattr(mark, name) if value is None else value

    return Annotation(
        run_id=mark.run_id,
        time=later.time,
        name=newest("name"),
        note=newest("note"),
        archived=newest("archived"),
        looked_at=newest("looked_at"),
        tags={**mark.tags, **later.tags},
        backend=newest("backend"),
        native_id=newest("native_id"),
        attempt=newest("attempt"),
        submitted_as=newest("submitted_as"),
        attempts=later.attempts or mark.attempts,
        deleted=mark.deleted or later.deleted,
    )
