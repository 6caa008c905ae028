"""Fixtures for what is done to the agent on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.payload.harness import Agent, installed


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """The agent on the interpreter that runs the tests."""
    with installed(tmp_path / "root") as agent:
        yield agent
