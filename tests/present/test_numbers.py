"""Figures and ages as they stand on screen."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.console.present.ages import age, spoken
from traindeck.console.present.numbers import aligned, count, figure, percent, plural, rate, size


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0, "0"),
        (0.0, "0"),
        (3120, "3,120"),
        (-5, "−5"),
        (1.28371, "1.284"),
        (2.13, "2.130"),
        (0.51274, "0.5127"),
        (41213.4, "41,213"),
        (8.7e-5, "8.7e−5"),
        (0.0003, "3e−4"),
        (1234567.0, "1.235e6"),
        (9.99996, "10.00"),
        (999999.6, "1e6"),
        (-0.25, "−0.2500"),
        (math.nan, "NaN"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (10**18, "1,000,000,000,000,000,000"),
        (0.001, "0.001000"),
        (5e-324, "4.941e−324"),
    ],
)
def test_a_figure(value: float | None, shown: str) -> None:
    assert figure(value) == shown


@given(st.floats(-1e300, 1e300).filter(lambda v: abs(v) > 1e-300 or v == 0))
def test_a_figure_is_within_half_a_unit_of_its_last_digit(value: float) -> None:
    text = figure(value).replace("−", "-").replace(",", "")
    assert math.isclose(float(text), value, rel_tol=5.1e-4, abs_tol=0)


@given(
    st.one_of(st.none(), st.floats(), st.integers(-(10**12), 10**12)),
    st.integers(1, 4),
    st.integers(2, 5),
)
def test_an_aligned_figure_always_fills_its_cells(
    value: float | None, before: int, after: int
) -> None:
    assert len(aligned(value, before, after)) == before + 1 + after


def test_points_stand_under_points() -> None:
    column = [aligned(v, 3, 4) for v in (1.284, 0.5127, 12.31, 123.4)]
    assert column == ["  1.284 ", "  0.5127", " 12.31  ", "123.4   "]
    assert {text.index(".") for text in column} == {3}
    small = [aligned(v, 3, 4) for v in (0.0729, 0.00123, 0.09999)]
    assert small == ["  0.0729", "  0.0012", "  0.100 "]


@given(
    st.floats(-1e300, 1e300).filter(lambda v: abs(v) > 1e-99 or v == 0),
    st.integers(1, 5),
    st.integers(4, 6),
)
def test_an_aligned_figure_is_never_cut(value: float, before: int, after: int) -> None:
    text = aligned(value, before, after).strip()
    if text == "…":  # no room for a single digit and the exponent
        assert before + after < 7
        return
    shown = float(text.replace("−", "-").replace(",", ""))
    assert math.isclose(shown, value, rel_tol=0.5, abs_tol=0)


def test_a_number_too_long_for_its_cells_is_not_another_number() -> None:
    narrow = [aligned(v, 1, 4) for v in (123456.0, -12345.6, 99999.9, 1234.56)]
    assert narrow == ["1.23e5", "−1.2e4", "   1e5", " 1,235"]
    assert [aligned(v, 3, 4) for v in (1.5e9, 1.05e6, 8.7e-5)] == [
        "   1.5e9",
        "  1.05e6",
        "  8.7e−5",
    ]
    assert aligned(-1e-300, 1, 2) == "   …"


def test_sizes_counts_and_shares() -> None:
    assert [size(v) for v in (None, 0, 912, 1240, 71_300_000_000, 999_999)] == [
        "–",
        "0 B",
        "912 B",
        "1.24 kB",
        "71.3 GB",
        "1.00 MB",
    ]
    assert [count(v) for v in (940, 41_234.0, 1_240_000)] == ["940", "41.2 k", "1.24 M"]
    assert rate(142e6) == "142 MB/s"
    assert [percent(v) for v in (None, 0.374, 0.9999, 1.0)] == ["–", "37 %", "99 %", "100 %"]
    assert plural(1, "run") == "1 run"
    assert plural(2318, "run") == "2,318 runs"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (-3, "0s"),
        (12.9, "12s"),
        (240, "4m"),
        (3599, "59m"),
        (3840, "1h04"),
        (24000, "6h40"),
        (86399, "23h59"),
        (2 * 86400, "2d"),
        (13 * 86400, "13d"),
        (21 * 86400, "3w"),
        (1e12, "9999w"),
    ],
)
def test_an_age(seconds: float | None, shown: str) -> None:
    assert age(seconds) == shown
    assert len(shown) <= 5


def test_ages_in_sentences() -> None:
    exact = [spoken(v, exact=True) for v in (6, 60, 110, 599, 600, 661)]
    assert exact == ["6 s", "1 min", "1 min 50 s", "9 min 59 s", "10 min", "11 min"]
    assert [spoken(v) for v in (6, 660, 11040, 86400, 2 * 86400)] == [
        "6 s",
        "11 min",
        "3 h 04",
        "1 day",
        "2 days",
    ]
