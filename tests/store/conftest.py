"""Fixtures for the store: an index in a folder of its own, runs to put into it, other processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.base import State
from traindeck.console.store.ids import mint_id
from traindeck.console.store.index import Index
from traindeck.console.store.records import RunRecord

NOW = 1_800_000_000.0


@pytest.fixture
def lines() -> list[str]:
    """What the index told."""
    return []


@pytest.fixture
def index(tmp_path: Path, lines: list[str]) -> Iterator[Index]:
    opened = Index.open(tmp_path / "state" / "index.db", tell=lines.append)
    yield opened
    opened.close()


@pytest.fixture
def make_run() -> Callable[..., RunRecord]:
    """A run that ended well an hour before NOW, with anything changed."""

    def make(**changes: Any) -> RunRecord:
        values: dict[str, Any] = {
            "id": mint_id(),
            "name": "calm-fox",
            "state": State.SUCCEEDED,
            "exit_code": 0,
            "observed_at": NOW - 3000,
            "created": NOW - 7200,
            "started": NOW - 7100,
            "ended": NOW - 3600,
            "host": "box",
            "argv": ("python", "train.py", "--lr", "3e-4"),
            "cwd": "/home/u/project",
            "project": "project",
            "tags": {"sft": "", "lr": "3e-4"},
            "params": {"lr": 3e-4, "epochs": 3, "optim": "adamw", "packing": True},
        }
        return RunRecord(**(values | changes))

    return make


class Process:
    """A Python process that runs a piece of code with JSON arguments in `args`."""

    def __init__(self, code: str, args: Any) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", f"import json, sys\nargs = json.loads(sys.argv[1])\n{code}",
             json.dumps(args)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def result(self, timeout: float = 120) -> str:
        """What it printed. Fails the test with its traceback if it failed."""
        out, err = self.popen.communicate(timeout=timeout)
        assert self.popen.returncode == 0, err
        return out.strip()


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(code: str, **args: Any) -> Process:
        started.append(Process(code, args))
        return started[-1]

    yield start
    for one in started:
        if one.popen.poll() is None:
            one.popen.kill()
        one.popen.communicate()
