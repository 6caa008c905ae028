"""Fixtures for the store: an index in a folder of its own, runs to put into it, other processes."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.base import RunSpec, State, encode
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


def listed(index: Index) -> list[dict[str, Any]]:
    """What `ls --json` prints."""
    found: list[dict[str, Any]] = json.loads(b"".join(index.json_array()))
    return found


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


@pytest.fixture
def make_rundir(tmp_path: Path) -> Callable[..., Path]:
    """A run directory as the agent leaves it (payload/FORMAT.md). Returns it."""

    def make(spec: RunSpec, *, root: str = "root", attempts: Sequence[Attempt] = ()) -> Path:
        folder = tmp_path / root / "runs" / spec.run_id
        folder.mkdir(parents=True)
        run = {
            "format": 1, "id": spec.run_id, "name": spec.name, "created": spec.created,
            "plan_digest": "d", "agent": "0" * 16, "spec": encode(spec), "secrets": [],
        }  # fmt: skip
        (folder / "run.json").write_text(json.dumps(run))
        for number, attempt in enumerate(attempts):
            place = folder / "attempts" / str(number)
            (place / "logs").mkdir(parents=True)
            (place / "claim").write_text(json.dumps({"pid": 7, "host": "box", "time": 1.0}))
            agent = {
                "format": 1, "run": spec.run_id, "attempt": number, "phase": attempt.phase,
                "reason": "", "host": "box", "leader": {"pid": 77, "starttime": 5},
                "started": attempt.started, "adopted": False,
            }  # fmt: skip
            (place / "agent.json").write_text(json.dumps(agent))
            (place / "logs" / "0.log").write_bytes(b"x" * attempt.log)
            if attempt.metrics:
                (place / "metrics.jsonl").write_text(attempt.metrics)
            if attempt.end is not None:
                payload = {
                    "format": 1, "run": spec.run_id, "attempt": number, "cause": "self",
                    "exit_code": None, "signal": None, "started": attempt.started,
                    "ended": attempt.started + 100, "reason": "", "host": "box", "boot_id": "b",
                } | attempt.end  # fmt: skip
                (place / "exit.slot").write_bytes(slot(number, payload))
        return folder

    return make


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """`end` holds what an exit record says beyond its defaults; None: there is none."""

    phase: str = "ended"
    started: float = NOW - 5000
    log: int = 10
    end: Mapping[str, Any] | None = None
    metrics: str = ""


def slot(attempt: int, payload: Mapping[str, Any]) -> bytes:
    """The bytes of an exit.slot."""
    data = json.dumps(payload).encode()
    body = struct.pack("<4sII", b"TDX1", attempt, len(data)) + data
    return (body + struct.pack("<I", zlib.crc32(body))).ljust(4096, b"\0")


@pytest.fixture
def attempt() -> type[Attempt]:
    return Attempt
