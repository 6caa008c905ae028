"""The table of `metrics`: fitted to a terminal, in full to a pipe, and never a number cut."""

from __future__ import annotations

import re

import pytest

from traindeck.console.present.cells import line_width, plain
from traindeck.console.present.metrics_list import metric_lines
from traindeck.console.store.records import MetricSummary, RunRecord


def run() -> RunRecord:
    found = {}
    for key, scale in (("loss", 1.0), ("eval/a_rather_long_dataset_name/loss", 2.0), ("lr", 1e-7)):
        found[key] = MetricSummary(
            key=key, count=1_998_000, first=scale * 3, last=scale * 1.2345, last_step=1_998_000,
            min=scale, min_step=1_997_000, max=scale * 3, max_step=5_000, spark="0123456" * 4,
            source="hook+stdout", nonfinite=3 if key == "lr" else 0,
        )  # fmt: skip
    return RunRecord(id="1", name="r", metrics=found, main="loss")


@pytest.mark.parametrize("cells", [40, 60, 80, 90, 100, 120, 200])
def test_every_row_fits_and_no_number_is_cut(cells: int) -> None:
    lines = metric_lines(run(), "", width=cells)
    assert max(map(line_width, lines)) <= cells
    full = {word for line in metric_lines(run(), "") for word in plain(line).split()}
    for line in lines[1:]:
        for word in re.findall(r"[\d,.e−]*\d[\d,.e−]*", plain(line)):
            assert word in full
        assert "1.234" in plain(line) or "1.235e−7" in plain(line) or "2.469" in plain(line)


def test_a_pipe_gets_everything_in_full_and_no_bars() -> None:
    text = "\n".join(map(plain, metric_lines(run(), "")))
    assert "eval/a_rather_long_dataset_name/loss" in text
    assert text.count("1,998,000") == 6
    assert "…" not in text and "▁" not in text
    assert text.count("hook+stdout") == 3


def test_the_less_telling_columns_go_first() -> None:
    heads = {cells: plain(metric_lines(run(), "", width=cells)[0]) for cells in (60, 100, 140)}
    assert "LAST HALF" in heads[140] and "SOURCE" in heads[140]
    assert "LAST HALF" not in heads[100] and "MIN" in heads[100]
    assert "MIN" in heads[60] and "MAX" not in heads[60]
    assert "NOT FINITE" in heads[60]


def test_nothing_measured_is_a_sentence() -> None:
    assert metric_lines(RunRecord(), "Looked there.", width=80) == [(("Looked there.", "muted"),)]


def test_bytes_are_written_as_on_the_screen() -> None:
    key = "system/rss_bytes"
    found = {key: MetricSummary(key=key, count=2, last=8_872_000.0, min=912.0, max=3.8e9)}
    (_, line) = metric_lines(RunRecord(metrics=found), "", width=120)
    assert "8.87 MB" in plain(line) and "912 B" in plain(line) and "3.80 GB" in plain(line)
