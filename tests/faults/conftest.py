"""Fixtures for what is done to the agent on purpose."""

from __future__ import annotations

import os
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


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture(scope="session")
def traceable() -> None:
    """Skips where strace is missing or may not trace."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace: apt-get install strace")
    done = subprocess.run([*strace("/dev/null"), "true"], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("strace cannot trace here: " + done.stderr.decode().strip()[:200])
