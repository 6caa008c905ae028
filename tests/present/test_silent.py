"""A run that reports nothing any more does not look like one that does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.runs import NOW, make_run, watched

from traindeck.backends.base import Reach, State
from traindeck.console.present.card import card_lines
from traindeck.console.present.cells import plain
from traindeck.console.present.run_overview import Facts, overview
from traindeck.console.present.runs_columns import layout
from traindeck.console.present.runs_detail import Pane, detail
from traindeck.console.present.runs_table import Look, row
from traindeck.console.store.records import MetricSummary, RunRecord


def silent(seconds: float, count: int = 50, **more: object) -> RunRecord:
    """One that reported for a while every second and then no more; its machine is sampled on."""
    run = make_run(4, "hung", State.RUNNING, age=seconds + count, step=50, total=200, loss=2.5)
    newest = NOW - seconds
    loss = replace(run.metrics["loss"], last_time=newest, count=count)
    cpu = MetricSummary(key="system/cpu", count=300, last=3.0, last_time=NOW - 1)
    metrics = {"loss": loss, "system/cpu": cpu}
    run = replace(run, metrics=metrics, progress=replace(run.progress, at=newest))
    return watched(replace(run, **{"observed_at": NOW, **more}))  # type: ignore[arg-type]


def shown(run: RunRecord, cells: int = 120, now: float = NOW) -> str:
    return plain(row(run, layout(cells), Look(now=now)))


def pages(run: RunRecord, now: float = NOW) -> tuple[str, str, str]:
    card = card_lines(run, now=now, width=None, short_id="abc")
    tab = overview(run, Facts(), 120, 40, now=now)
    pane = detail(run, now, 120, 12, Pane())
    one, two, three = ("\n".join(map(plain, lines)) for lines in (card, tab, pane))
    return one, two, three


def test_row_card_and_overview_say_for_how_long_nothing_came() -> None:
    run = silent(310)
    assert shown(run).rstrip().endswith("no step for 5 min · loss 2.500 · 25 %")
    assert "no step for 5 min" in shown(run, 80)
    card, tab, pane = pages(run)
    assert "no step for 5 min" in card and "no step for 5 min" in tab
    assert "seen 0s ago, values 5m old" in card
    assert "5m old" in tab and "NOW  5m old" in pane, "the machine's samples are no values"
    due = replace(run, progress=replace(run.progress, eta=600.0))
    assert "left" not in "".join(pages(due)), "the pace that it had says nothing now"
    assert "10m left" in pages(replace(due, observed_at=NOW - 300))[0]
    assert "running" in shown(run) and "▲" not in shown(run), "it may be evaluating"


def test_it_is_not_said_of_one_that_is_not_silent_for_long() -> None:
    for seconds in (0, 5, 170):
        assert "no step" not in shown(silent(seconds)), seconds
    slow = silent(1500, count=20)
    slow = watched(replace(slow, started=NOW - 1500 - 20 * 160))
    assert "no step" not in shown(slow), "its steps take minutes"
    assert "no step for 30 min" in shown(replace(slow, observed_at=NOW + 300))


@pytest.mark.parametrize(
    "other",
    [
        {"observed_at": NOW - 300},
        {"reach": Reach.STALE},
        {"state": State.STARTING},
        {"metrics": {}, "attempt": 1, "started": NOW - 250},
        {"reason": "stalled: no output for 5 min"},
    ],
    ids=["nobody has looked", "not heard of", "starting", "a new attempt", "its place says so"],
)
def test_nothing_is_said_that_is_not_known(other: dict[str, object]) -> None:
    run = silent(310, **other)
    assert "no step" not in shown(run)
    assert "no step" not in pages(run)[0]


def test_it_goes_with_the_next_step() -> None:
    run = silent(310)
    again = watched(replace(run, progress=replace(run.progress, step=51, at=NOW)))
    assert "no step" not in shown(again) and "values" not in pages(again)[0]
