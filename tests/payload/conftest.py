"""Fixtures for the agent's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.payload.harness import Agent, installed, interpreters


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """The agent on the interpreter that runs the tests."""
    with installed(tmp_path / "root") as agent:
        yield agent


PYTHONS = interpreters()


@pytest.fixture(params=PYTHONS)
def every_agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Agent]:
    """The agent on each interpreter from Python 3.6 up that this machine has."""
    with installed(tmp_path / "root", PYTHONS[request.param]) as agent:
        yield agent
