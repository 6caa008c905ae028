"""Durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.backends.base import UsageError
from traindeck.console.runs.durations import LONGEST, parse_duration, write_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1d", 86400),
        ("1h30m", 5400),
        ("0.5h", 1800),
        ("02:00:00", 7200),
        ("1-00:00:30", 86430),
        (" 5M ", 300),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text, "--time") == seconds


@pytest.mark.parametrize(
    "text", ["banana", "", "-5m", "5", "0s", "00:00:00", "1e9d", "9999d", "5mm"]
)
def test_what_is_no_duration_is_refused_and_named(text: str) -> None:
    with pytest.raises(UsageError, match="--time"):
        parse_duration(text, "--time")


def test_a_bare_number_is_refused_with_both_readings() -> None:
    with pytest.raises(UsageError, match="30s or 30m"):
        parse_duration("30", "--time")


@given(st.integers(min_value=1, max_value=int(LONGEST)))
def test_what_is_written_reads_back(seconds: int) -> None:
    assert parse_duration(write_duration(seconds), "--time") == seconds
