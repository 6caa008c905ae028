"""The card of `show`: what was asked for, what went wrong with it, and the next command."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.runs import NOW, make_run

from traindeck.backends.base import Limits, Plan, Resources, RunSpec, State
from traindeck.console.present.card import card_lines
from traindeck.console.present.cells import plain
from traindeck.console.present.plan_view import plan_lines
from traindeck.console.store.records import NOT_SENT, MetricSummary, Progress, RunRecord

LOSS = {"loss": MetricSummary(key="loss", count=1, last=1.0)}
EVERYTHING = RunSpec(
    argv=("true",),
    pty=True,
    keep_background=True,
    limits=Limits(time=300.0, grace=30.0, retries=2),
    on_exit=("tell", "a b"),
    on_stall=("wake",),
    stall_after=5400.0,
    resources=Resources(gpus=2, nodes=3),
    after=("0kzzv8c4m2qe",),
    host="box",
    driver="560.35.03",
    python="/v/bin/python",
    python_version="3.12.1",
    packages=118,
)
SAID = ("time 5m", "grace 30s", "2 retries", "pty", "leaves behind", "tell 'a b'", "1h30m: wake")
SAID += ("2 a node", "3", "run 0kzzv8c4m2qe, if it succeeds", "box · NVIDIA driver 560.35.03")
SAID += ("/v/bin/python · 3.12.1", "118, listed in code/.traindeck/packages.txt")


def a_run(**more: Any) -> RunRecord:
    return make_run(1, "r", **more)


def card(run: RunRecord, **more: Any) -> str:
    lines = card_lines(run, now=NOW, width=None, short_id="abc", **more)
    return "\n".join(map(plain, lines))


def test_plan_and_card_say_all_that_was_asked_for() -> None:
    shown = card(a_run(state=State.SUCCEEDED), spec=EVERYTHING)
    planned = "\n".join(f"{a} {b}" for a, b in plan_lines(Plan(spec=EVERYTHING, argv=("true",))))
    for words in SAID:
        assert words in shown, words
        assert words in planned, words


def test_what_nobody_asked_for_takes_no_line_of_the_card() -> None:
    shown = card(a_run(state=State.SUCCEEDED), spec=RunSpec(argv=("true",)))
    for label in ("limits", "terminal", "processes", "on exit", "on stall"):
        assert label not in shown
    for label in ("gpus", "nodes", "after", "host", "python", "packages"):
        assert f"\n{label} " not in shown


def test_a_label_never_touches_its_text() -> None:
    assert all(len(label) < 10 for label, _ in plan_lines(Plan(spec=EVERYTHING, argv=("true",))))


@pytest.mark.parametrize(
    ("run", "spec", "command"),
    [
        (a_run(state=State.RUNNING), None, "logs -f abc"),
        (a_run(state=State.SUCCEEDED), None, "logs abc"),
        (a_run(state=State.FAILED, argv=("x",)), None, "retry abc"),
        (a_run(state=State.LOST, argv=("x",)), None, "retry abc"),
        (a_run(state=State.FAILED, argv=("x",), exit_code=127), None, "show abc --script"),
        (a_run(state=State.FAILED, argv=("x",), exit_code=126), None, "show abc --script"),
        (a_run(state=State.LOST, argv=("x",)), RunSpec(adopted=True), "logs abc"),
        (a_run(state=State.LOST, argv=("x",), adopted=True), None, "logs abc"),
        (a_run(state=State.LOST, argv=()), None, "logs abc"),
        (a_run(state=State.FAILED, argv=("x",), foreign=True), None, "logs abc"),
        (a_run(state=State.CANCELLED, argv=("x",), started=None), None, "retry abc"),
        (a_run(state=State.CANCELLED, argv=("x",), started=NOW - 9), None, "logs abc"),
        (a_run(state=State.NEW, argv=("x",), started=None), None, "logs -f abc"),
        (a_run(state=State.QUEUED, argv=("x",), started=None), None, "logs -f abc"),
        (a_run(state=State.RUNNING, foreign=True), None, "stop 0k01v8c4m2qe"),
        (a_run(state=State.FAILED, argv=("x",), reason=NOT_SENT), None, "rm 0k01v8c4m2qe"),
        (a_run(state=State.FAILED, argv=("x",), archived=True), None, "show abc --path"),
        (a_run(state=State.SUCCEEDED, archived=True, metrics=LOSS), None, "metrics abc"),
    ],
)
def test_the_next_command_is_one_that_works(
    run: RunRecord, spec: RunSpec | None, command: str
) -> None:
    assert card(run, spec=spec).endswith(f"next: traindeck {command}")


@pytest.mark.parametrize("state", [State.FAILED, State.TIMEOUT])
def test_a_run_that_was_tried_more_than_once_says_how_often(state: State) -> None:
    run = a_run(state=state, reason="exit code 3", exit_code=3, attempt=2)
    assert "exit code 3 · 3 attempts\n" in card(run)
    assert "attempts" not in card(replace(run, attempt=0))


@pytest.mark.parametrize(
    ("state", "command"), [(State.FAILED, "rm"), (State.SUCCEEDED, "rm"), (State.RUNNING, "stop")]
)
def test_of_a_run_without_its_directory_nothing_is_offered_that_needs_it(
    state: State, command: str
) -> None:
    shown = card(a_run(state=state, argv=("x",)), gone=True)
    assert shown.endswith(f"next: traindeck {command} 0k01v8c4m2qe")


@pytest.mark.parametrize(
    ("state", "resume", "command"),
    [
        (State.CANCELLED, "auto", "retry abc   goes on from step 1,200"),
        (State.FAILED, "auto", "retry abc   goes on from step 1,200"),
        (State.CANCELLED, "never", "logs abc"),
        (State.FAILED, "never", "retry abc"),
        (State.SUCCEEDED, "auto", "logs abc"),
        (State.RUNNING, "auto", "logs -f abc"),
    ],
)
def test_a_fine_tune_with_a_checkpoint_goes_on_from_it(
    state: State, resume: str, command: str
) -> None:
    run = a_run(state=state, argv=("x",), started=NOW - 9, exit_code=1)
    saved = MetricSummary(key="__checkpoint__", count=3, last=1.0, last_step=1200)
    run = replace(run, params={"resume": resume}, metrics={"__checkpoint__": saved})
    assert card(run).endswith(f"next: traindeck {command}")


def test_a_lost_run_says_what_is_known_of_its_time() -> None:
    known = a_run(state=State.LOST, step=5, loss=1.0, started=NOW - 3600, ended=None)
    shown = card(replace(known, observed_at=NOW - 60))
    assert "started 13:13 · found lost 14:12 · ran at least 59 min" in shown
    silent = a_run(state=State.LOST, started=NOW - 3600, ended=None)
    silent = replace(silent, observed_at=NOW - 60, progress=Progress())
    assert "started 13:13 · found lost 14:12" in card(silent) and "ran" not in card(silent)


@pytest.mark.parametrize("cells", [100, 80])
def test_what_a_sparkline_shows_is_said_once(cells: int) -> None:
    metrics = {
        key: MetricSummary(
            key=key, count=9, last=1.0, last_step=9, min=0.5, min_step=4, spark="620"
        )
        for key in ("loss", "eval/loss")
    }
    run = a_run(state=State.SUCCEEDED, metrics=metrics, main="loss")
    shown = [plain(line) for line in card_lines(run, now=NOW, width=cells, short_id="abc")]
    drawn = [line.rstrip() for line in shown if "▇▃▁" in line]
    assert [line.endswith("▇▃▁   last half") for line in drawn] == [True, False]


def test_a_step_that_is_only_a_number_in_the_log_is_called_so() -> None:
    counted = MetricSummary(key="loss", count=3, last=1.0, last_step=3, source="counted")
    run = a_run(state=State.SUCCEEDED, metrics={"loss": counted}, main="loss")
    assert "1.000 @ 3 counted" in " ".join(card(run).split())
    run = replace(run, metrics={"loss": replace(counted, source="stdout")})
    assert "counted" not in card(run)


@pytest.mark.parametrize(
    ("progress", "limit", "words"),
    [
        # 1,000 s in, 4,000 s left by its pace, 1,900 s of them within the limit.
        (Progress(step=2000, total=8000, eta=4000.0), 2900.0, "limit hits at step 4,850 of 8,000"),
        (Progress(fraction=0.25, eta=4000.0), 2000.0, "limit hits at 44%"),
        (Progress(step=2000, total=8000, eta=4000.0), 5100.0, ""),
        (Progress(step=2000, total=8000, eta=4000.0), 500.0, "limit hits at step 2,000 of 8,000"),
        (Progress(step=2000), 2900.0, ""),
        (Progress(step=2000, total=8000, eta=4000.0), None, ""),
    ],
)
def test_a_run_that_will_not_be_done_within_its_limit_says_where_that_will_hit(
    progress: Progress, limit: float | None, words: str
) -> None:
    run = a_run(state=State.RUNNING, started=NOW - 1000.0, progress=progress)
    shown = card(run, spec=RunSpec(argv=("true",), limits=Limits(time=limit)))
    assert words in shown
    assert words or "limit hits" not in shown
