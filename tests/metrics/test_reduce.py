"""Nothing that was logged is lost by drawing it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.console.metrics.reduce import Columns, arrays, envelope, nearest, smooth, thin

values = st.floats(-1e6, 1e6, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 999_999),
    st.floats(1e-5, 1.0),
    st.floats(0.0, 1.0),
    st.integers(10, 400),
)
def test_a_spike_among_a_million_points_is_drawn_at_every_zoom(
    at: int, share: float, where: float, columns: int
) -> None:
    x = MILLION
    y = NOISE.copy()
    y[at] = 1e3
    wide = max(1.0, share * 1e6)
    start = min(max(0.0, at - where * wide), 1e6 - wide)
    found = envelope(x, y, start, start + wide, columns)
    inside = start <= at <= start + wide
    assert (np.nanmax(found.high) == 1e3) == inside or not inside


MILLION = np.arange(1_000_000, dtype=np.float64)
NOISE = np.random.default_rng(0).normal(size=1_000_000)


@given(st.lists(st.tuples(values, values), min_size=2, max_size=60), st.integers(1, 40))
def test_each_column_contains_its_points_and_nothing_beyond_the_line(
    points: list[tuple[float, float]], columns: int
) -> None:
    x, y = arrays([p[0] for p in points], [p[1] for p in points])
    start, end = float(x[0]), float(x[-1])
    if not end > start:
        return
    found = envelope(x, y, start, end, columns)
    edges = np.linspace(start, end, columns + 1)
    for px, py in zip(x, y, strict=True):
        column = min(int(np.searchsorted(edges, px, side="right")) - 1, columns - 1)
        assert found.low[column] <= py <= found.high[column]
    tolerance = 1e-6 * (1 + np.abs(y).max())
    assert np.nanmin(found.low) >= y.min() - tolerance
    assert np.nanmax(found.high) <= y.max() + tolerance


strange_values = values | st.sampled_from([np.nan, np.inf, -np.inf])


@given(
    st.lists(st.tuples(values, strange_values, strange_values), max_size=60),
    st.integers(1, 40),
    st.floats(-2e6, 2e6),
    st.floats(1e-3, 2e6),
)
def test_columns_found_once_serve_every_line_over_the_same_places(
    points: list[tuple[float, float, float]], columns: int, start: float, wide: float
) -> None:
    points = sorted(points, key=lambda point: point[0])
    x = np.array([p[0] for p in points])
    shared = Columns(x, start, start + wide, columns)
    edges = np.linspace(start, start + wide, columns + 1)
    for y in (np.array([p[1] for p in points]), np.array([p[2] for p in points])):
        found = shared.envelope(y)
        inside = [(px, py) for px, py in zip(x, y, strict=True) if start <= px <= start + wide]
        assert found.shown == sum(bool(np.isfinite(py)) for _, py in inside)
        strange = np.zeros(columns, dtype=bool)
        for px, py in inside:
            column = min(int(np.searchsorted(edges, px, side="right")) - 1, columns - 1)
            if np.isfinite(py):
                assert found.low[column] <= py <= found.high[column]
            else:
                strange[column] = True
        assert found.strange.tolist() == strange.tolist()
        assert not np.isinf(found.low).any() and not np.isinf(found.high).any()


@given(st.lists(values, min_size=3, max_size=40), st.integers(2, 30))
def test_neighbouring_columns_of_a_line_touch(ys: list[float], columns: int) -> None:
    y = np.array(ys)
    x = np.arange(y.size, dtype=np.float64)
    found = envelope(x, y, 0.0, float(x[-1]), columns)
    slack = 1e-6 * (1 + np.abs(y).max())
    for left, right in zip(range(columns - 1), range(1, columns), strict=True):
        assert found.low[left] <= found.high[right] + slack
        assert found.low[right] <= found.high[left] + slack


def test_what_is_not_finite_is_a_gap_and_is_marked() -> None:
    x = np.arange(10, dtype=np.float64)
    y = np.array([1, 2, np.nan, 4, np.inf, 6, 7, 8, 9, 10], dtype=np.float64)
    found = envelope(x, y, 0, 9, 10)
    assert found.strange.tolist() == [n in (2, 4) for n in range(10)]
    assert found.shown == 8
    assert np.isnan(found.low[2])
    assert np.isnan(found.high[4])


@pytest.mark.parametrize("weight", [0.6, 0.9, 0.98])
def test_smoothing_is_the_formula_that_is_named(weight: float) -> None:
    y = np.random.default_rng(1).normal(size=1000)
    y[17] = np.nan
    state, count, expected = 0.0, 0, []
    for value in y:
        if np.isnan(value):
            expected.append(value)
            continue
        count += 1
        state = weight * state + (1 - weight) * value
        expected.append(state / (1 - weight**count))
    np.testing.assert_allclose(smooth(y, weight), expected, rtol=1e-9)


@given(st.lists(values, min_size=1, max_size=50), st.floats(-10, 60))
def test_the_cursor_reads_a_logged_point(ys: list[float], at: float) -> None:
    x = np.arange(len(ys), dtype=np.float64)
    found = nearest(x, at)
    assert found is not None
    assert abs(x[found] - at) == np.abs(x - at).min()
    assert found == int(np.argmin(np.abs(x - at))), "the earlier of two"
    assert nearest(x[:0], at) is None


def test_thinning_keeps_ends_and_extremes() -> None:
    y = NOISE[:50_000].copy()
    y[12_345], y[40_000] = 99, -99
    xs, ys = thin(MILLION[:50_000], y, 1000)
    assert xs.size <= 1100
    assert (xs[0], xs[-1]) == (0, 49_999)
    assert (ys.max(), ys.min()) == (99, -99)
