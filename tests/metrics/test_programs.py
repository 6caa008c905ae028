"""What well-known training programs print is read as a person would read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from traindeck.console.metrics import stdout
from traindeck.console.metrics.reading import Carry, Columns
from traindeck.console.metrics.stdout import read_stdout

PROGRAMS = yaml.safe_load((Path(__file__).parent / "data/programs.yaml").read_text("utf-8"))


def told(series: dict[str, Columns]) -> dict[str, dict[int, float]]:
    """The points of each series as the store keeps them: the later of two for one step."""
    return {name: dict(zip(c.steps, c.values, strict=True)) for name, c in series.items()}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_series_of_a_program_is_read_and_no_other(program: str) -> None:
    expected: dict[str, Any] = PROGRAMS[program]
    reading = read_stdout(expected["log"].encode(), {}, final=True)
    assert told(reading.series) == expected.get("series", {})
    assert told(reading.counted) == expected.get("counted", {})
    assert reading.total == expected.get("total", reading.total)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_read_the_same_as_its_lines_come(program: str) -> None:
    data = PROGRAMS[program]["log"].encode()
    whole = read_stdout(data, {}, final=True)
    carry: Carry = {}
    pending, found = b"", [dict[str, list[Any]](), dict[str, list[Any]]()]
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        pending += line
        reading = read_stdout(pending, carry, final=number == len(lines))
        carry, pending = json.loads(json.dumps(reading.carry)), pending[reading.consumed :]
        for part, series in zip(found, (reading.series, reading.counted), strict=True):
            for name, columns in series.items():
                points = zip(columns.steps, columns.values, strict=True)
                part.setdefault(name, []).extend(points)
    for part, series in zip(found, (whole.series, whole.counted), strict=True):
        assert {name: dict(points) for name, points in part.items()} == told(series)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_read_the_same_by_templates(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = PROGRAMS[program]["log"].encode() * 4
    fast = read_stdout(data, {}, final=True)
    monkeypatch.setattr(stdout, "read_known", lambda *_: False)
    slow = read_stdout(data, {}, final=True)
    assert (told(fast.series), told(fast.counted)) == (told(slow.series), told(slow.counted))
    assert fast.carry == slow.carry
