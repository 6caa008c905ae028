"""What a chart promises: exact widths, true ticks, nothing lost, everything said."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from traindeck.console.present import braille
from traindeck.console.present.cells import Line, Span, line_width, plain
from traindeck.console.present.chart import Chart, chart, text_chart
from traindeck.console.present.chart_axis import LABEL
from traindeck.console.present.curves import Curve, Mark, View, alerts, at_cursor, curves
from traindeck.console.present.glyphs import SETS
from traindeck.console.present.scale import Scale, tick
from traindeck.console.store.series import Points

STEPS = np.arange(1.0, 201.0)
FALL = Curve("loss", STEPS, 1.0 + 2.0 * np.exp(-STEPS / 40))


def a_chart(*drawn: Curve, cells: int = 80, rows: int = 16, **view: object) -> Chart:
    return chart(drawn, View(**view), cells, rows, title="loss")  # type: ignore[arg-type]


def rows_of(made: Chart) -> list[str]:
    return [plain(line) for line in made.lines]


def styles(lines: Sequence[Line], text: str) -> list[str]:
    return [span.style for line in lines for span in line if span.text == text]


@pytest.mark.parametrize("cells", [20, 21, 40, 79, 80, 131])
@pytest.mark.parametrize("rows", [5, 6, 12, 30])
@pytest.mark.parametrize("glyphs", ["best", "plain", "ascii"])
@pytest.mark.parametrize("log", [False, True])
def test_every_line_is_exactly_as_wide_as_asked(
    cells: int, rows: int, glyphs: str, log: bool
) -> None:
    noise = np.where(np.arange(200) % 50 == 7, np.nan, np.sin(STEPS))
    drawn = [FALL, Curve("a-very-long-name/" + "x" * 90, STEPS, noise, 1)]
    view = View(log=log, cursor=77.0, smoothing=0.9)
    made = chart(drawn, view, cells, rows, title="loss", glyphs=SETS[glyphs])
    assert len(made.lines) == rows
    assert {line_width(line) for line in made.lines} <= {cells}


@pytest.mark.parametrize(("cells", "rows"), [(17, 20), (0, 0), (1, 1), (80, 3), (5, 40)])
def test_no_room_is_said_in_the_room_there_is(cells: int, rows: int) -> None:
    made = a_chart(FALL, cells=cells, rows=rows)
    assert len(made.lines) == rows
    assert all(line_width(line) <= cells for line in made.lines)


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (2.75, 0.25, "2.75"), (3.0, 0.25, "3.00"), (2.0, 0.5, "2.0"), (12.5, 2.5, "12.5"),
        (-12.5, 2.5, "−12.5"), (0.0, 0.25, "0"), (1e-18, 0.5, "0"), (1000.0, 500.0, "1000"),
        (50_000.0, 5000.0, "50000"), (250_000.0, 50_000.0, "250k"), (1.45e9, 5e7, "1.45G"),
        (14e6, 2.5e5, "14.00M"), (0.0003, 0.0001, "0.0003"), (1.25e-5, 2.5e-6, "1.25e−5"),
        (2e18, 1e18, "2e18"), (100_000.0, 25_000.0, "100k"), (75_000.0, 25_000.0, "75000"),
    ],
)  # fmt: skip
def test_a_tick_has_the_digits_that_tell_it_from_its_neighbour(
    value: float, step: float, text: str
) -> None:
    assert tick(value, step) == text


@settings(max_examples=200, deadline=None)
@given(st.floats(-50.0, 50.0), st.floats(1e-2, 1e12), st.integers(3, 40))
def test_no_tick_names_another_value_than_its_row_shows(
    shift: float, span: float, rows: int
) -> None:
    low = shift * span
    scale = Scale.over(low, low + span, rows)
    shown = [(row, scale.label(row)) for row in range(rows) if scale.label(row)]
    for row, text in shown:
        value = scale.anchor - (row - scale.row) / scale.rows_per_step * scale.step
        assert abs(number(text) - value) <= scale.step * 0.26, (text, value, scale.step)
        assert len(text) < LABEL
    assert len({text for _, text in shown}) == len(shown)


@settings(max_examples=300, deadline=None)
@given(st.floats(-50.0, 50.0), st.floats(1e-2, 1e12), st.integers(3, 40))
@example(-2e-81, 300000000251.0, 3)  # dust below a round value does not cost half of the chart
@example(-1e-12, 300000000251.0, 3)
def test_every_scale_has_two_ticks_and_wastes_no_more_than_its_room_is_worth(
    shift: float, span: float, rows: int
) -> None:
    low = shift * span
    scale = Scale.over(low, low + span, rows)
    assert scale.ticks(rows) >= 2
    assert 0 <= scale.pixel(low + span) <= scale.pixel(low) < rows * 4
    assert scale.pixel(low) - scale.pixel(low + span) >= (rows * 4 - 1) * 0.4


@pytest.mark.parametrize("rows", [5, 6, 7, 12])
@pytest.mark.parametrize("log", [False, True])
def test_the_smallest_chart_tells_its_scale(rows: int, log: bool) -> None:
    for y in (FALL.y, 1.4e9 + 8e6 * STEPS, STEPS, np.full(200, 3e-4)):
        body = rows_of(a_chart(Curve("x", STEPS, y), rows=rows, log=log))[1:-1]
        ticks = [row[:LABEL].strip() for row in body if row[:LABEL].strip()]
        assert len(set(ticks)) >= 2, body
        assert [number(text) for text in ticks] == sorted(map(number, ticks), reverse=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.000"), (1.2345, "1.234"), (3e-4, "3.00e−4"), (512.0, "512.0"), (0.0, "0"),
     (-5.0, "−5.000"), (1.5e9, "1.500G")],
)  # fmt: skip
@pytest.mark.parametrize("rows", [5, 6, 12, 16])
def test_a_constant_lies_in_the_middle_at_its_value(value: float, text: str, rows: int) -> None:
    body = rows_of(a_chart(Curve("x", STEPS, np.full(200, value)), rows=rows))[1:-1]
    lines = [n for n, row in enumerate(body) if any(0x2800 < ord(c) <= 0x28FF for c in row)]
    assert lines == [(len(body) - 1) // 2]
    assert body[lines[0]][:LABEL].strip() == text


def test_a_smoothed_constant_is_one_row_of_dots() -> None:
    for value in (1.0, 0.1, 3e-4, 512.0):
        curve = Curve("x", np.arange(3000.0), np.full(3000, value))
        body = rows_of(a_chart(curve, rows=12, smoothing=0.9))[1:-1]
        assert {c for row in body for c in row if 0x2800 < ord(c) <= 0x28FF} == {"⠒"}


def test_values_that_no_tick_can_tell_apart_are_named_in_the_title() -> None:
    y = 2e-4 + np.linspace(0, 1e-8, 200)
    made = chart([Curve("lr", STEPS, y)], View(), 80, 6, title="lr")
    assert "y 2e−4 to 2.0001e−4" in plain(made.lines[0])


def number(text: str) -> float:
    factor = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(text[-1], 1.0)
    return float(text.rstrip("kMGT").replace("−", "-")) * factor


def test_a_logarithmic_axis_has_ticks_within_a_decade_too() -> None:
    narrow = rows_of(a_chart(FALL, rows=20, log=True))
    assert len([row for row in narrow[1:-1] if row[:LABEL].strip()]) >= 3
    wide = Curve("lr", STEPS, np.geomspace(1e-6, 1.0, 200))
    ticks = [row[:LABEL].strip() for row in rows_of(a_chart(wide, rows=20, log=True))[1:-1]]
    known = [number(text) for text in ticks if text]
    assert known == sorted(known, reverse=True)
    assert {1.0, 0.01, 1e-4} <= {float(f"{value:.3g}") for value in known}


@pytest.mark.parametrize("log", [False, True])
def test_the_ticks_of_an_axis_are_all_in_units_or_none(log: bool) -> None:
    for high in (40_000.0, 150_000.0, 400_000.0):
        curve = Curve("tokens", STEPS, np.linspace(2_000.0, high, STEPS.size))
        ticks = [row[:LABEL].strip() for row in rows_of(a_chart(curve, rows=24, log=log))[1:-1]]
        large = [text for text in ticks if text and number(text) >= 1000]
        assert len(large) > 1
        assert len({text[-1].isdigit() for text in large}) == 1, ticks


@pytest.mark.parametrize("end", [17.0, 17.4, 16.9])
def test_no_tick_says_again_what_the_end_of_the_axis_says(end: float) -> None:
    for cells in range(40, 200, 7):
        x = np.linspace(end - 2.5, end, 50)
        line = plain(chart([Curve("x", x, x)], View(axis="time"), cells, 12).lines[-1])
        words = [word for word in line.split() if word[0].isdigit()]
        assert len(words) == len(set(words)), line


def test_what_is_not_above_zero_is_left_out_of_a_logarithmic_axis_and_counted() -> None:
    curve = Curve("x", STEPS, np.where(STEPS > 190, -1.0, STEPS))
    made = a_chart(curve, log=True)
    assert "10 not above 0 left out" in rows_of(made)[0]
    assert "not finite" not in rows_of(made)[0]
    assert "nothing above 0 here" in "\n".join(
        rows_of(a_chart(Curve("x", STEPS, -STEPS), log=True))
    )


def test_each_place_that_is_not_finite_has_its_mark() -> None:
    y = np.sin(STEPS)
    for at in (3, 60, 61, 130, 199):
        y[at] = math.nan if at % 2 else math.inf
    made = a_chart(Curve("x", STEPS, y))
    top = rows_of(made)[1]
    wide = 80 - LABEL - 2
    for at in (3, 60, 130, 199):
        column = LABEL + round(at / 199 * (wide - 1))
        assert "▲" in top[column - 1 : column + 2], (at, top)
    assert "not finite in" in rows_of(made)[0]


def test_a_hole_is_a_gap_in_the_line() -> None:
    y = np.where((STEPS > 80) & (STEPS < 120), np.nan, 1.0 + STEPS / 1000)
    body = rows_of(a_chart(Curve("x", STEPS, y)))[2:-1]
    middle = "".join(row[LABEL + 32 : LABEL + 37] for row in body)
    assert not [c for c in middle if 0x2800 < ord(c) <= 0x28FF]


def test_letters_end_the_lines_apart_and_in_order() -> None:
    close = [Curve(f"m{n}", STEPS, np.full(200, 1.0 + n * 1e-6), n) for n in range(4)]
    far = Curve("far", STEPS, np.full(200, 9.0), 4)
    rows = rows_of(a_chart(*close, far))
    ends = [row[-1] for row in rows[1:-1] if row[-1] != " "]
    assert ends == ["e", "d", "c", "b", "a"] or ends == ["e", "a", "b", "c", "d"]
    assert len(ends) == len(set(ends)) == 5


def test_one_curve_has_no_letter_and_its_name_once() -> None:
    rows = rows_of(a_chart(FALL))
    assert rows[0].count("loss") == 1
    assert not [row for row in rows[1:-1] if row.rstrip().endswith(" a")]


def test_a_few_outliers_do_not_flatten_the_rest_and_are_counted_at_the_edge() -> None:
    y = 1.0 + np.sin(STEPS / 9) / 10
    y[60], y[140], y[141] = 50.0, -80.0, -90.0
    rows = rows_of(a_chart(Curve("x", STEPS, y)))
    assert "↑ 1 above · ↓ 2 below" in rows[0]
    wide = 80 - LABEL - 2
    assert "↑" in rows[1][LABEL + round(60 / 199 * (wide - 1)) - 1 :][:3]
    assert "↓" in rows[-2][LABEL + round(140 / 199 * (wide - 1)) - 1 :][:3]
    drawn = [row for row in rows[2:-2] if sum(0x2800 < ord(c) <= 0x28FF for c in row) > 8]
    assert len(drawn) > 6, "the wave fills the chart"
    ascii_rows = [
        plain(line)
        for line in chart([Curve("x", STEPS, y)], View(), 80, 16, glyphs=SETS["ascii"]).lines
    ]
    assert "^ 1 above - v 2 below" in ascii_rows[0] or "^ 1 above · v 2 below" in ascii_rows[0]


def test_what_was_done_to_the_values_is_said_at_every_width() -> None:
    y = 1.0 + np.sin(np.arange(3000.0) / 90) / 10
    y[1000:1400:4], y[2000] = math.nan, 50.0
    drawn = [
        Curve("loss", np.arange(3000.0), y),
        Curve("eval/loss", STEPS * 15, np.full(200, 1.05), 1),
    ]

    def head(cells: int, *curves: Curve, glyphs: str = "best") -> str:
        view = View(smoothing=0.9, log=False)
        made = chart(curves, view, cells, 12, title="loss", glyphs=SETS[glyphs])
        return plain(made.lines[0])

    assert "EMA 0.9 over band min–max · ↑ 1 above · not finite in" in head(120, *drawn)
    for cells in range(40, 120):
        text = head(cells, *drawn)
        assert "EMA 0.9" in text and "↑ 1" in text, (cells, text)
        assert "not finite in" in text or "▲ " in text, (cells, text)
        assert line_width((Span(text),)) == cells
    assert "a loss" in head(60, *drawn) and "b eval/loss" in head(60, *drawn)
    assert "!" in head(50, *drawn, glyphs="ascii")
    long = [replace(drawn[0], key="train/loss_of_the_first_head"), drawn[1]]
    text = head(60, *long)
    assert "…" in text and "a trai" in text and "EMA 0.9 · ↑ 1 · ▲ " in text, text


def test_names_that_have_no_room_are_counted() -> None:
    drawn = [Curve(f"metric_{n}", STEPS, FALL.y + n, n % 8) for n in range(20)]
    text = rows_of(a_chart(*drawn, smoothing=0.9))[0]
    assert "a metric_0" in text and "EMA 0.9" in text, text
    shown = text.count("metric_")
    assert f"+{20 - shown} " in text, text


def test_a_log_axis_and_a_constant_leave_nothing_out() -> None:
    spiky = np.ones(200)
    spiky[60] = 1e6
    assert "above" not in rows_of(a_chart(Curve("x", STEPS, spiky)))[0]
    wave = 2.0 + np.sin(STEPS)
    wave[60] = 1e6
    assert "above" not in rows_of(a_chart(Curve("x", STEPS, wave), log=True))[0]
    assert "above" in rows_of(a_chart(Curve("x", STEPS, wave)))[0]


def test_an_alert_says_what_it_was_where_there_is_room() -> None:
    marks = [Mark(x=100.0, kind="alert", text="grad spike")]
    rows = [plain(line) for line in chart([FALL], View(), 80, 16, title="loss", marks=marks).lines]
    assert "▲ grad spike" in rows[1]


def test_the_words_of_an_alert_stand_whole_or_not_at_all() -> None:
    y = np.where((STEPS > 110) & (STEPS < 130), np.nan, FALL.y)
    marks = [Mark(x=100.0, kind="alert", text="grad_norm not finite")]
    made = chart([Curve("loss", STEPS, y)], View(), 80, 16, title="loss", marks=marks)
    row = plain(made.lines[1])
    assert row.count("▲") > 4 and "grad" not in row and "finite" not in row, row


def test_marks_stand_where_they_happened() -> None:
    wide = 80 - LABEL - 2
    middle = 1 + 199 * (wide // 2) / (wide - 1)
    marks = [Mark(x=1.0), Mark(x=200.0), Mark(x=middle, kind="seam"), Mark(x=500.0)]
    rows = [plain(line) for line in chart([FALL], View(), 80, 16, title="loss", marks=marks).lines]
    floor = rows[-2]
    assert floor[LABEL] == "◆" and "◆" in floor[LABEL + wide - 1]
    assert floor.count("◆") == 2
    assert sum(row[LABEL + wide // 2] == "┊" for row in rows[1:-1]) > 8


def test_the_cursor_reads_the_nearest_logged_point() -> None:
    sparse = Curve("eval", np.array([50.0, 100.0, 150.0]), np.array([3.0, 2.0, math.nan]), 1)
    found = at_cursor([FALL, sparse], View(cursor=110.0, smoothing=0.9))
    assert [(c.key, x) for c, x, _, _ in found] == [("loss", 110.0), ("eval", 100.0)]
    assert found[1][2] == found[1][3] == 2.0, "few points are not smoothed"
    (_, (_, x, value, _)) = at_cursor([FALL, sparse], View(cursor=140.0, smoothing=0.9))
    assert x == 150.0 and math.isnan(value), "what is not finite was logged too"


def test_a_window_without_points_says_how_to_get_out() -> None:
    text = "\n".join(rows_of(a_chart(FALL, start=400.0, end=500.0)))
    assert "no values in this part; 0 shows the whole run" in text


@pytest.mark.parametrize("log", [False, True])
def test_values_without_a_place_on_the_axis_say_so(log: bool) -> None:
    without = Curve("loss", np.empty(0), np.empty(0))
    text = "\n".join(rows_of(a_chart(without, axis="time", log=log)))
    assert "no time was logged with these values; x changes the axis" in text


@pytest.mark.parametrize(
    ("axis", "start", "end", "words"),
    [
        ("step", 1, 3000, ["1,000", "2,000", "3,000 step"]),
        ("step", 1, 3, ["2", "3 step"]),
        ("time", 0, 7200, ["30m", "1h00", "1h30", "2h00 elapsed"]),
        ("time", 0, 0.4, ["0s elapsed"]),
        ("time", 0, 40, ["10s", "20s", "40s elapsed"]),
        ("time", 0, 17.4, ["5s", "10s", "17s elapsed"]),
        ("time", 0, 95, ["15s", "30s", "45s", "1m", "1m15s", "1m35s elapsed"]),
        ("time", 0, 40 * 86400, ["5d", "10d", "20d", "30d", "40d elapsed"]),
        ("time", 0, 3 * 86400, ["12h00", "1d", "1d12h", "2d", "3d elapsed"]),
        ("step", 1, 2347, ["500", "1,000", "1,500", "2,347 step"]),
        ("step", 5e5, 1e6, ["600,000", "700,000", "800,000", "1,000,000 step"]),
        ("epoch", 0, 2, ["0.5", "1", "1.5", "2 epoch"]),
    ],
)
def test_the_axis_has_round_ticks_each_once(
    axis: str, start: float, end: float, words: list[str]
) -> None:
    x = np.linspace(start, end, 50)
    line = rows_of(a_chart(Curve("x", x, x), axis=axis))[-1]
    for word in words:
        assert word in line, line
    ticks = [part for part in line.split("  ") if part.strip()]
    assert len(ticks) == len({part.strip() for part in ticks}), line


@settings(max_examples=200, deadline=None)
@given(
    st.floats(0, 1e6), st.floats(0.01, 1e7), st.sampled_from(["step", "time", "epoch"]),
    st.integers(60, 160),
)  # fmt: skip
def test_the_axis_has_as_many_ticks_as_there_is_room_for(
    start: float, span: float, axis: str, cells: int
) -> None:
    x = np.linspace(start, start + span, 50)
    line = rows_of(a_chart(Curve("x", x, x), cells=cells, axis=axis))[-1]
    ticks = line[LABEL:].rpartition("  ")[0].split()
    assert len(ticks) == len(set(ticks)), line
    assert "  " in line[LABEL:].strip() or not ticks
    # Between 5-digit figures at steps of 1, 2 and 5 there are at most two and a half widths.
    if span > 20 and axis == "step" and start + span < 1e5:
        assert len(ticks) + 2 >= (cells - LABEL - 2) / 25, line


@pytest.mark.parametrize(
    ("at", "words"), [(3, ["3", "step"]), (4, ["4", "step"]), (1000, ["1,000", "step"])]
)
def test_a_single_point_stands_above_its_own_step_and_no_other_is_named(
    at: int, words: list[str]
) -> None:
    x = np.array([float(at)])
    line = rows_of(a_chart(Curve("x", x, x)))[-1]
    assert line.split() == words
    assert abs(line.index(words[0]) - (LABEL + 35)) < 4, "below the point"


def test_what_was_reduced_is_said() -> None:
    y = np.random.default_rng(1).normal(size=12_480)
    made = a_chart(Curve("loss", np.arange(12_480.0), y), smoothing=0.9)
    assert made.notes[0] == "12,480 of 12,480 points"
    assert "nothing interpolated" in made.notes
    assert "EMA 0.9 over band min–max" in rows_of(made)[0]
    assert any("@band1" in span.style for line in made.lines for span in line)


@pytest.mark.parametrize(
    "values",
    [[], [1.0], [math.nan] * 5, [math.inf, -math.inf], [1e308, -1e308], [0.0, 0.0], [5e-324] * 2,
     [1e15, 1e15 + 1]],
)  # fmt: skip
@pytest.mark.parametrize("log", [False, True])
def test_no_values_break_it(values: list[float], log: bool) -> None:
    x = np.arange(float(len(values)))
    made = a_chart(Curve("x", x, np.array(values)), log=log, cursor=1.0, smoothing=0.6)
    assert len(made.lines) == 16
    assert {line_width(line) for line in made.lines[1:]} <= {80, *range(80)}


def test_curves_of_the_store_keep_the_order_and_skip_what_has_no_time() -> None:
    points = Points(
        key="a",
        steps=array("q", [1, 2, 3]),
        times=array("d", [100.0, math.nan, 104.0]),
        values=array("d", [5.0, 6.0, 7.0]),
    )
    (by_time,) = curves({"a": points}, "time", 100.0)
    assert by_time.x.tolist() == [0.0, 4.0] and by_time.y.tolist() == [5.0, 7.0]
    (by_step,) = curves({"a": points})
    assert by_step.x.tolist() == [1.0, 2.0, 3.0]
    lines = text_chart({"a": points}, width=60, height=10)
    assert "3 of 3 points" in plain(lines[-1]) and "resumed" not in plain(lines[-1])
    again = replace(points, seams=((0, 0), (1, 1)))
    resumed = text_chart({"a": again}, width=60, height=10)
    assert plain(resumed[-1]).endswith("resumed at 2")
    assert resumed[:-1] != lines[:-1], "and the seam is drawn"


# --------------------------------------------------------------------------------------- properties

MILLION = np.arange(1_000_000, dtype=np.float64)
NOISE = np.random.default_rng(0).normal(size=1_000_000)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 999_999),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
    st.sampled_from([60, 90, 140]),
    st.booleans(),
)
def test_a_spike_among_a_million_points_is_seen_at_every_zoom(
    at: int, zoom: float, where: float, cells: int, smoothed: bool
) -> None:
    y = NOISE.copy()
    y[at] = 1e3
    wide = 1e6 * 10 ** (-5 * zoom)
    start = min(max(0.0, at - where * wide), 1e6 - 1 - wide) if wide < 1e6 - 1 else 0.0
    end = min(start + wide, 1e6 - 1)
    if not start <= at <= end:
        return
    made = chart([Curve("x", MILLION, y)], View(start=start, end=end), cells, 20, title="x")
    column = (at - start) / (end - start) * (cells - LABEL - 2)
    low, high = max(0, int(column) - 1), int(column) + 1
    upper = [plain(line)[LABEL + low : LABEL + high + 1] for line in made.lines[1:3]]
    drawn = [any(0x2800 < ord(c) <= 0x28FF or c == "↑" for c in part) for part in upper]
    assert any(drawn), "\n".join(plain(line) for line in made.lines)


spans = st.tuples(st.floats(-50, 90), st.floats(0, 60))


@given(
    st.integers(1, 12),
    st.integers(1, 20),
    st.lists(st.one_of(st.none(), spans), min_size=40, max_size=40),
)
def test_dots_are_set_exactly_where_a_column_reaches(
    rows: int, columns: int, wanted: list[tuple[float, float] | None]
) -> None:
    grid = braille.canvas(rows, columns)
    dots = wanted[: columns * 2]
    top = np.array([math.nan if d is None else d[0] for d in dots])
    bottom = np.array([math.nan if d is None else d[0] + d[1] for d in dots])
    braille.draw(grid, top, bottom, 3)
    weights = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]]
    for x, dot in enumerate(dots):
        limit = rows * 4 - 1
        for y in range(rows * 4):
            lit = bool(grid.bits[y // 4, x // 2] & weights[y % 4][x % 2])
            if dot is None:
                assert not lit
            else:
                first = min(max(round(dot[0]), 0), limit)
                last = min(max(round(dot[0] + dot[1]), 0), limit)
                assert lit == (first <= y <= last)


def test_the_first_value_that_is_not_finite_is_an_alert() -> None:
    x = np.arange(5.0)
    loss = Curve("loss", x, np.array([1.0, np.nan, 1.0, np.inf, 1.0]))
    grad = Curve("grad\x1b_norm", x, np.array([-np.inf, 1.0, 1.0, 1.0, 1.0]))
    fine = Curve("lr", x, np.ones(5))
    found = alerts([loss, fine, grad])
    assert [place for place, _ in found] == [0.0, 1.0]
    assert found[1][1] == "loss not finite" and "\x1b" not in found[0][1]


def test_a_stretch_without_any_number_shows_where_the_values_are_and_the_cursor() -> None:
    broken = Curve("loss", STEPS, np.where(STEPS > 100, np.nan, 1.0))
    made = chart([broken], View(start=120, end=160, cursor=140), 60, 12)
    rows = [plain(line) for line in made.lines]
    assert rows[1].count("▲") > 20 and "no values" not in "".join(rows)
    assert sum("│" in row for row in rows) >= 8
    assert "not finite" in rows[0]
