"""Run directories on this machine, read as they are (payload/FORMAT.md §2–5).

For rebuilding the index. What stands there was written by somebody who may be old, new, cut short
or hostile: regular files only, bounded, never blocking; what does not parse is absent. Whether a
run without an exit record is alive is not decided here: its backend is asked at the next refresh.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard
from zlib import crc32

from traindeck.backends.base import RunSpec
from traindeck.backends.encoding import decode
from traindeck.backends.states import Reach
from traindeck.backends.status import decode_evidence, status_of
from traindeck.console.store.describe import describe
from traindeck.console.store.ids import is_id, minted_at
from traindeck.console.store.records import RunRecord, with_status

RUN_FILE_LIMIT = 16 << 20
FILE_LIMIT = 64 << 10

_SLOT = struct.Struct("<4sII")
_SLOT_SIZE = 4096
_HIGHEST = 99_999


def list_runs(root: Path) -> Iterator[str]:
    """Ids of the runs below a root (`~/.traindeck`), in order."""
    try:
        names = sorted(os.listdir(root / "runs"))
    except OSError:
        return
    for name in names:
        if is_id(name) and os.path.lexists(root / "runs" / name / "run.json"):
            yield name


def read_run(
    root: Path,
    run_id: str,
    backend: str,
    now: float,
    tell: Callable[[str], None] = lambda line: None,
) -> RunRecord:
    """A run's record from its directory.

    A run.json that cannot be read still stands for a run: then nothing but its id is known, which
    is its name too, and `tell` gets a line about it. A run that has no exit record is reported as
    never observed, so that its backend is asked, and as unknown until then.
    """
    folder = root / "runs" / run_id
    attempt, facts = _evidence(folder, run_id)
    try:
        spec = read_spec(folder)
    except ValueError as error:
        tell(f"{folder}/run.json {error}; the run is listed with what else is known of it.")
        spec = RunSpec(name=run_id, created=minted_at(run_id), adopted=facts.get("adopted", False))
    run = describe(replace(spec, run_id=run_id, attempt=0), backend)
    status = status_of(decode_evidence(facts), attempt, now)
    if not status.state.terminal:
        status = replace(status, observed_at=0.0, reach=Reach.STALE)
    return with_status(run, status)


def read_spec(folder: Path) -> RunSpec:
    """What a run directory says of how its run was asked for.

    Raises:
        ValueError: What is wrong with its run.json, in words that go on from its name.
    """
    data = _read(folder / "run.json", RUN_FILE_LIMIT)
    if data is None:
        raise ValueError("is no file that can be read")
    if not data.strip():
        raise ValueError("is empty")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("is no JSON") from None
    try:
        return decode(RunSpec, value["spec"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("describes no run") from None


def read_object(path: Path, limit: int = FILE_LIMIT) -> dict[str, Any] | None:
    """A JSON object in a regular file; None if it is not there, too large or anything else."""
    data = _read(path, limit)
    return None if data is None else as_object(data)


def as_object(data: bytes) -> dict[str, Any] | None:
    """Bytes as a JSON object; None if they are anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_exit(path: Path, run_id: str, attempt: int) -> Mapping[str, Any] | None:
    """The payload of an exit.slot, None if it is empty, torn or another run's."""
    data = _read(path, _SLOT_SIZE)
    return None if data is None else parse_exit(data, run_id, attempt)


def parse_exit(data: bytes, run_id: str, attempt: int) -> Mapping[str, Any] | None:
    """The payload in the bytes of an exit.slot, None if it is empty, torn or another run's."""
    if len(data) < _SLOT.size + 4:
        return None
    magic, number, length = _SLOT.unpack_from(data)
    end = _SLOT.size + length
    if magic != b"TDX1" or number != attempt or end + 4 > len(data):
        return None
    if crc32(data[:end]) != int.from_bytes(data[end : end + 4], "little"):
        return None
    try:
        payload = json.loads(data[_SLOT.size : end])
    except (ValueError, RecursionError):
        return None
    if not isinstance(payload, dict) or payload.get("run") != run_id:
        return None
    return payload


def attempt_times(
    folder: Path, run_id: str, attempt: int, unknown: tuple[float, float] | None
) -> tuple[float, float] | None:
    """When an attempt that another one followed was executed, from start to end, which is that of
    its records or the next claim; None if it never was, `unknown` if there are none."""
    place = folder / "attempts" / str(attempt)
    record = read_exit(place / "exit.slot", run_id, attempt) or read_object(place / "agent.json")
    if record is None:
        return unknown
    claim = read_object(folder / "attempts" / str(attempt + 1) / "claim") or {}
    started, *ends = record.get("started"), record.get("ended"), claim.get("time")
    return (started, next(filter(_is_time, ends), math.inf)) if _is_time(started) else None


def _is_time(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def highest_attempt(folder: Path) -> int | None:
    """Number of the highest claimed attempt in a run directory."""
    try:
        names = os.listdir(folder / "attempts")
    except OSError:
        return None
    numbers = [int(name) for name in names if name.isascii() and name.isdigit()]
    for number in sorted(numbers, reverse=True):
        if number <= _HIGHEST and os.path.lexists(folder / "attempts" / str(number) / "claim"):
            return number
    return None


def _evidence(folder: Path, run_id: str) -> tuple[int, dict[str, Any]]:
    """The attempt, and the facts of FORMAT.md §8 as far as files alone tell them."""
    removed = os.path.lexists(folder / "removed.json")
    attempt = highest_attempt(folder)
    if attempt is None:
        return 0, {"found": True, "removed": removed}
    place = folder / "attempts" / str(attempt)
    agent = read_object(place / "agent.json") or {}
    claim = read_object(place / "claim") or {}
    leader = agent.get("leader")
    cancel = read_object(place / "control" / "cancel.json") or {}
    return attempt, {
        "found": True,
        "attempt": attempt,
        "removed": removed,
        "phase": agent.get("phase") or "claimed",
        "reason": agent.get("reason") or "",
        "host": agent.get("host") or claim.get("host") or "",
        "pid": leader.get("pid") if isinstance(leader, dict) else None,
        "started": agent.get("started"),
        "adopted": agent.get("adopted") is True,
        "claimed_at": claim.get("time"),
        "cancel_requested": cancel.get("time"),
        "exit": read_exit(place / "exit.slot", run_id, attempt),
        "log_bytes": _log_size(place / "logs"),
        "heartbeat_age": 0.0,
    }


def _read(path: Path, limit: int) -> bytes | None:
    from traindeck.backends.files import open_regular

    try:
        with open_regular(path) as file:
            data = file.read(limit + 1)
    except OSError:
        return None
    return data if len(data) <= limit else None


def _log_size(logs: Path) -> int | None:
    """Size of the log of rank 0; an adopted process's lies elsewhere, named by `0.ref`."""
    try:
        return os.lstat(logs / "0.log").st_size
    except OSError:
        pass
    named = read_object(logs / "0.ref") or {}
    try:
        found = os.stat(named["path"])
    except (OSError, KeyError, TypeError, ValueError):
        return None
    same = (named.get("dev"), named.get("inode")) == (found.st_dev, found.st_ino)
    return found.st_size if same else None
