"""What well-known training programs print is read as a person would read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from traindeck.console.metrics.reading import Columns
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
