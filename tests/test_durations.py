"""Durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.backends.base import UsageError
from traindeck.console.durations import LONGEST, parse_duration, parse_stall, write_duration


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


@pytest.mark.parametrize("text", ["2s1s", "1h2h", "30m1h", "1h30m5m", "5s500s", "1ms1s"])
def test_units_go_down_and_each_comes_once(text: str) -> None:
    with pytest.raises(UsageError, match=f"--time {text}: not a duration"):
        parse_duration(text, "--time")


def test_a_bare_number_is_refused_with_both_readings() -> None:
    with pytest.raises(UsageError, match="30s or 30m"):
        parse_duration("30", "--time")


@given(st.integers(min_value=1, max_value=int(LONGEST)))
def test_what_is_written_reads_back(seconds: int) -> None:
    assert parse_duration(write_duration(seconds), "--time") == seconds


@pytest.mark.parametrize(
    ("text", "seconds", "command"),
    [
        ("10m:notify-send 'it: stalled'", 600, "notify-send 'it: stalled'"),
        ("00:10:00:echo x", 600, "echo x"),
        ("1-00:00:00:echo x", 86400, "echo x"),
    ],
)
def test_a_stall_names_a_time_and_a_command(text: str, seconds: float, command: str) -> None:
    assert parse_stall(text, "--on-stall") == (seconds, command)


@pytest.mark.parametrize("text", ["10m", "10m:", "10m: ", ":echo", "soon:echo", "10:echo"])
def test_a_stall_without_a_time_or_a_command_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--on-stall"):
        parse_stall(text, "--on-stall")
