"""Fixtures for what is done to the agent on purpose."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.tracing import strace
from tests.payload.harness import Agent, installed


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """The agent on the interpreter that runs the tests."""
    with installed(tmp_path / "root") as agent:
        yield agent


@pytest.fixture(scope="session")
def traceable() -> None:
    """Skips where strace is missing or may not trace."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace: apt-get install strace")
    done = subprocess.run([*strace("/dev/null"), "true"], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("strace cannot trace here: " + done.stderr.decode().strip()[:200])
