"""The real command in a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .warm import Warm


class Cli:
    """Runs `traindeck` as a user's shell would: a process of its own, pipes for output."""

    def __init__(self, home: Path, warm: Warm) -> None:
        self.home = home
        self._warm = warm
        self.cwd = home / "work"
        self.cwd.mkdir()
        self.environ = dict(os.environ)

    def __call__(
        self, *args: str, env: dict[str, str] | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        environ = {**self.environ, **(env or {})}
        if done := self._warm.run(args, self.cwd, environ, timeout):
            return done
        return subprocess.run(
            [sys.executable, "-m", "traindeck.console.cli.main", *args],
            cwd=self.cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def ok(self, *args: str, **options: Any) -> str:
        """Stdout of a command that must succeed."""
        done = self(*args, **options)
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return done.stdout

    def json(self, *args: str) -> Any:
        return json.loads(self.ok(*args))

    def run(self, *command: str, options: tuple[str, ...] = ()) -> str:
        """Start a run and return its id."""
        return self.ok("run", "-q", *options, "--", *command).strip()


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    made = Warm()
    yield made
    made.close()


@pytest.fixture
def cli(home: Path, warm: Warm) -> Iterator[Cli]:
    command = Cli(home, warm)
    yield command
    if not any(home.parent.rglob("run.json")):
        return  # nothing was started
    for run in json.loads(command("ls", "--json").stdout or "[]"):
        if run["state"] in ("queued", "starting", "running", "stopping", "new"):
            command("stop", "-q", "--grace", "1s", run["id"])
