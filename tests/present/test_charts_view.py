"""What stands in the Charts tab beside and around the charts: the tree, the read-out, the marks."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tests.fakes.runs import make_run

from traindeck.backends.base import State
from traindeck.console.present.cells import Line, line_width, plain
from traindeck.console.present.charts_view import Shown, charts_lines, groups, seen
from traindeck.console.present.metric_tree import nodes, tree_lines
from traindeck.console.store.records import MetricSummary

RUN = make_run(4, "llama1b-lora", State.RUNNING, step=3120, total=8000, loss=1.284, eta=600.0)
EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\n[bold]実験"


def text(lines: list[Line]) -> str:
    return "\n".join(plain(line).rstrip() for line in lines)


def harmless(lines: list[Line]) -> bool:
    return not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for line in lines for c in plain(line))


def summary(key: str) -> MetricSummary:
    return MetricSummary(key=key, count=3, last=1.5, last_step=3, spark="123")


METRICS = {
    key: summary(key)
    for key in ("loss", "grad_norm", "eval/loss", "system/cpu_pct", "__checkpoint__", EVIL)
}


def test_the_tree_has_training_first_the_system_last_and_no_marks() -> None:
    run = replace(RUN, metrics={k: v for k, v in METRICS.items() if k != EVIL}, main="loss")
    assert [n.label for n in nodes(run)] == [
        "train", "loss", "grad_norm", "eval", "loss", "system", "cpu_pct",
    ]  # fmt: skip
    assert [n.label for n in nodes(run, {"train"})][:2] == ["train", "eval"]


@pytest.mark.parametrize("size", [(78, 22), (118, 36)])
def test_every_chart_says_what_a_logarithmic_axis_has_no_place_for(size: tuple[int, int]) -> None:
    import numpy as np

    from traindeck.console.present.curves import Curve, View

    x = np.arange(300.0)
    drawn = {
        "loss": Curve("loss", x, 1 / (x + 1), 0),
        "system/cpu_pct": Curve("system/cpu_pct", x, x % 3, 1),
    }
    shown = Shown(rows=nodes(RUN), drawn=drawn, view=View(smoothing=0.9, log=True))
    heads = [row for row in text(charts_lines(RUN, shown, *size)).splitlines() if "log y" in row]
    assert ["100 not above 0" in head for head in heads] == [False, True]


@pytest.mark.parametrize("cells", [60, 80, 99, 100, 120, 200])
@pytest.mark.parametrize("rows", [8, 20, 36])
@pytest.mark.parametrize("tree", [False, True])
def test_the_charts_stay_in_their_room_whatever_a_metric_is_called(
    cells: int, rows: int, tree: bool
) -> None:
    import numpy as np

    from traindeck.console.present.curves import Curve, View

    run = replace(RUN, metrics=METRICS)
    x = np.arange(300.0)
    drawn = {key: Curve(key, x, np.cos(x / 9), n) for n, key in enumerate(METRICS)}
    shown = Shown(
        rows=nodes(run), drawn=drawn, view=View(cursor=40.0, smoothing=0.9), tree=tree,
        checkpoints=[100.0, 200.0], alerts=[(7.0, EVIL)], seams=[150.0],
    )  # fmt: skip
    lines = charts_lines(run, shown, cells, rows)
    assert len(lines) == rows
    assert all(line_width(line) <= cells for line in lines)
    assert harmless(lines)


def test_what_the_first_chart_was_read_from_stands_below_it() -> None:
    import numpy as np

    from traindeck.console.present.curves import Curve, View

    sources = {"loss": "trainer_state", "eval/loss": "stdout", "grad_norm": "csv"}
    metrics = {key: replace(summary(key), source=name) for key, name in sources.items()}
    run = replace(RUN, metrics=metrics)
    x = np.arange(9.0)
    drawn = {key: Curve(key, x, x, n) for n, key in enumerate(sources)}
    shown = Shown(rows=nodes(run), drawn=drawn, view=View())
    said = text(charts_lines(run, shown, 120, 36))
    assert "read from stdout, trainer_state" in said and "csv" not in said
    metrics["loss"] = replace(metrics["loss"], source="counted")
    said = text(charts_lines(replace(run, metrics=metrics), shown, 120, 36))
    assert "read from stdout, stdout (steps counted)" in said


@pytest.mark.parametrize("cells", [38, 80])
def test_values_in_the_tree_stand_on_their_decimal_points(cells: int) -> None:
    values = {
        "loss": 1.2141, "grad_norm": 0.83291, "learning_rate": 9.617e-8, "tokens_per_s": 41_213.0,
        "steps": 3120.0, "drift": -12.5, "system/rss_bytes": 3.8e9, "system/cpu_pct": 92.47,
        "gone": None, "huge": 1.2345e6,
    }  # fmt: skip
    metrics = {k: replace(summary(k), last=v) for k, v in values.items()}
    run = replace(RUN, metrics=metrics, main="loss")
    rows = nodes(run)
    lines = tree_lines(run, rows, {"loss": 0}, 1, cells, len(rows) + 1)
    assert {line_width(line) for line in lines} == {cells}
    head, *shown = [plain(line) for line in lines]
    figures = [row[4 + cells - 25 : cells - 9] for row in shown if row[1] == " "]
    figures = [row for row in figures if row.strip()]
    assert len(figures) == len(values), figures
    assert {len(re.match(" *[^ .e]*", row)[0]) for row in figures} == {6}, figures  # type: ignore[index]
    assert "9.62e−8" in text(lines) and "3.80 GB" in text(lines) and "41,213" in text(lines)
    assert head.index("NOW") == 4 + cells - 25 + 5 and head.index("TREND") == cells - 8


def test_the_read_out_beside_the_charts_is_never_cut() -> None:
    import numpy as np

    from traindeck.console.present.curves import Curve, View

    x = np.arange(1.0, 90_000.0, 300.0)
    noise = 1.5 + np.cos(x) / 3
    drawn = {
        "loss": Curve("loss", x, noise),
        "eval/some_long_quantity_1": Curve("eval/some_long_quantity_1", x, noise * 90, 1),
        "system/rss_bytes": Curve("system/rss_bytes", x, noise * 1e9, 2),
    }
    shown = Shown(rows=nodes(RUN), drawn=drawn, view=View(cursor=41_250.0, smoothing=0.9))
    lines = [plain(line)[:38].rstrip() for line in charts_lines(RUN, shown, 120, 40)]
    said = [line for line in lines if "@ 41,101" in line or "@ 41,401" in line]
    assert len(said) == 3, lines
    assert len({line.index(".", 15) for line in said}) == 1, said


def test_a_quantity_of_training_and_evaluation_shares_a_chart() -> None:
    drawn = dict.fromkeys(["system/cpu_pct", "loss", "eval/loss", "a", "b", "c"])
    assert [name for name, _ in groups(drawn)] == ["loss", "a", "b", "others"]  # type: ignore[arg-type]
    assert len(groups(drawn)[0][1]) == 2  # type: ignore[arg-type]


def test_no_metrics_says_what_was_looked_for() -> None:
    run = replace(RUN, metrics={})
    shown = Shown(rows=nodes(run), note="no metrics: looked in stdout and events")
    assert "no metrics: looked in stdout" in text(charts_lines(run, shown, 120, 30))


def test_a_narrow_terminal_reads_the_values_at_the_cursor_too() -> None:
    import numpy as np

    from traindeck.console.present.curves import Curve, View

    x = np.arange(0.0, 300.0, 10.0)
    drawn = {
        "loss": Curve("loss", np.arange(300.0), np.linspace(3.0, 1.0, 300)),
        "eval/loss": Curve("eval/loss", x, np.full(30, 2.25), 1),
    }
    shown = Shown(rows=nodes(RUN), drawn=drawn, view=View(cursor=42.0))
    lines = charts_lines(RUN, shown, 80, 20)
    assert len(lines) == 20
    assert "step 42" in plain(lines[-1]) and "loss 2.71" in plain(lines[-1])
    assert "eval/loss 2.250 @ 40" in plain(lines[-1])
    # Many curves take more rows from the charts, not from the screen.
    many = {f"metric_{n}": Curve(f"metric_{n}", x, x + n, n % 8) for n in range(20)}
    lines = charts_lines(RUN, replace(shown, drawn=many), 80, 20)
    assert len(lines) == 20
    assert "metric_0 40.0" in text(lines[-3:]) and "@ 40" in plain(lines[-1])
    assert "raw" not in text(lines[-3:])
    # Where there is no room for both, what is read is not the smoothed value that the dot is at.
    x = np.arange(0.0, 3000.0, 10.0)
    rough = {f"m_{n}": Curve(f"m_{n}", x, x % 70 + n, n) for n in range(5)}
    view = View(cursor=420.0, smoothing=0.9)
    lines = charts_lines(RUN, replace(shown, drawn=rough, view=view), 80, 20)
    assert "step 420 raw" in text(lines[-3:]), text(lines[-3:])


@pytest.mark.parametrize("cells", [80, 120])
@pytest.mark.parametrize("smoothing", [0.0, 0.9])
def test_a_value_that_is_not_finite_is_read_out_as_it_was_logged(
    cells: int, smoothing: float
) -> None:
    import numpy as np

    from traindeck.console.present.curves import Curve, View

    x = np.arange(1.0, 3001.0, 10.0)
    y = np.linspace(90.0, 70.0, 300)
    y[165:] = np.nan  # from step 1,651 on
    shown = Shown(
        rows=nodes(RUN),
        drawn={"loss": Curve("loss", x, y)},
        view=View(cursor=1653.0, smoothing=smoothing),
    )
    said = next(
        plain(line) for line in charts_lines(RUN, shown, cells, 24) if "@ 1,651" in plain(line)
    )
    assert "NaN @ 1,651" in said and "raw" not in said, said


@pytest.mark.parametrize(
    ("start", "end", "at", "axis", "place", "footer"),
    [
        (-84.0, 3.0, -70.0, "3s elapsed", "1m10s before this attempt", "elapsed −1m24s–3s"),
        (-84.0, -20.0, -30.0, "−20s elapsed", "30s before this attempt", "elapsed −1m24s–−20s"),
        (0.0, 200.0, 95.0, "3m20s elapsed", "1m35s in", "elapsed 0s–3m20s"),
        (0.0, 3e5, 86400 + 7260.0, "3d11h elapsed", "26h01 in", "elapsed 0s–83h20"),
    ],
)
def test_a_place_in_time_is_said_as_exactly_as_it_is_seen(
    start: float, end: float, at: float, axis: str, place: str, footer: str
) -> None:
    """Also where an earlier attempt is drawn: time counts from the start of the present one."""
    import numpy as np

    from traindeck.console.present.curves import Curve, View

    x = np.linspace(start, end, 100)
    view = View(axis="time", cursor=at)
    shown = Shown(rows=nodes(RUN), drawn={"loss": Curve("loss", x, x)}, view=view)
    for size in ((78, 22), (118, 36)):
        said = text(charts_lines(RUN, shown, *size))
        assert place in said and axis in said, said
    assert plain(seen(shown)).startswith(footer)


@pytest.mark.parametrize(
    ("start", "end", "words"), [(91.3, 117.6, "step 92–117"), (91.2, 91.4, "step 91–91")]
)
def test_the_footer_names_the_steps_that_can_be_seen(start: float, end: float, words: str) -> None:
    import numpy as np

    from traindeck.console.present.curves import Curve, View

    x = np.arange(210.0)
    view = View(start=start, end=end)
    shown = Shown(rows=nodes(RUN), drawn={"loss": Curve("loss", x, x)}, view=view)
    assert plain(seen(shown)).startswith(words)
