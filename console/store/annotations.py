"""What only we know about runs, appended to one file and never rewritten.

Names, tags, notes, archive marks, looks, and which job a run is: what no run directory holds. One
JSON object a line, one write a line, by any number of processes at once. A line that was torn by a
crash or a full disk is skipped by every reader; nothing here ever refuses to start over it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from traindeck.backends.data import dataclass
from traindeck.backends.encoding import decode, encode
from traindeck.backends.states import Status
from traindeck.console.store.errors import os_error
from traindeck.console.store.places import make_folder

LONGEST_LINE = 1 << 20
"""Bytes; a longer line is not ours and is skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A change of what we know about a run. None leaves a thing as it is.

    Attributes:
        time: When it was made, in seconds since the epoch.
        note: "" takes the note away.
        tags: Tags to set; a value of None takes the tag away.
        looked_at: When a person last opened the run.
        backend, native_id, attempt, submitted_as: Which job an attempt is, and the run's name at
            its submission: with an index that is gone and a host that is down, all that is known.
        attempts: How its attempts ended, noted before their records and logs were removed.
        deleted: The run was removed on purpose. Nothing brings it back.
    """

    run_id: str = ""
    time: float = 0.0
    name: str | None = None
    note: str | None = None
    archived: bool | None = None
    looked_at: float | None = None
    tags: Mapping[str, str | None] = field(default_factory=dict)
    backend: str | None = None
    native_id: str | None = None
    attempt: int | None = None
    submitted_as: str | None = None
    attempts: tuple[Status, ...] = ()
    deleted: bool = False


def append(path: Path, annotations: Sequence[Annotation]) -> None:
    """Add lines at the end and wait until they are on the disk: all of them, or none.

    Raises:
        StoreError: The file cannot be written; it is as it was.
    """
    if not annotations:
        return
    data = b"".join(_line(annotation) for annotation in annotations)
    try:
        descriptor = _open(path)
        try:
            # Nobody else appends, so what is taken back is ours; nobody reads it before either.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data  # somebody's line was torn: ours must not be glued to it
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fsync(descriptor)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise os_error("write", path, error) from None


def refuse_unwritable(path: Path) -> None:
    """Look whether lines could be added, before something is done that has to be noted.

    Raises:
        StoreError: The file cannot be opened for writing. A full disk is not noticed.
    """
    try:
        os.close(_open(path))
    except OSError as error:
        raise os_error("write", path, error) from None


def _open(path: Path) -> int:
    make_folder(path.parent)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def read(path: Path, offset: int = 0) -> tuple[list[Annotation], int]:
    """The annotations from a byte offset on, and the offset after the last whole line.

    Raises:
        StoreError: The file is there and cannot be read.
    """
    try:
        with open(path, "rb") as file:
            with contextlib.suppress(OSError):  # a file server without locks
                fcntl.flock(file, fcntl.LOCK_SH)  # nothing that an appender may yet take back
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise os_error("read", path, error) from None
    end = data.rfind(b"\n") + 1
    return list(_parse(data[:end])), offset + end


def _line(annotation: Annotation) -> bytes:
    changes: dict[str, Any] = {"run": annotation.run_id, "time": round(annotation.time, 3)}
    for name in ("name", "note", "archived", "looked_at", "backend", "native_id", "attempt"):
        if (value := getattr(annotation, name)) is not None:
            changes[name] = value
    if annotation.submitted_as is not None:
        changes["submitted_as"] = annotation.submitted_as
    if annotation.tags:
        changes["tags"] = dict(annotation.tags)
    if annotation.attempts:
        changes["attempts"] = encode(annotation.attempts)
    if annotation.deleted:
        changes["deleted"] = True
    line = json.dumps(changes, allow_nan=False).encode() + b"\n"
    if len(line) > LONGEST_LINE:
        raise ValueError(f"an annotation of {len(line):,} bytes")
    return line


def _parse(data: bytes) -> Iterator[Annotation]:
    for line in data.split(b"\n"):
        if not line.strip() or len(line) > LONGEST_LINE:
            continue
        try:
            raw = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(raw, dict) and isinstance(raw.get("run"), str) and raw["run"]:
            yield _annotation(raw)


def _annotation(raw: Mapping[str, Any]) -> Annotation:
    tags = raw.get("tags")
    archived = raw.get("archived")
    attempt = raw.get("attempt")
    return Annotation(
        run_id=raw["run"],
        time=_number(raw.get("time")) or 0.0,
        name=_text(raw.get("name")) or None,
        note=_text(raw.get("note")),
        archived=archived if isinstance(archived, bool) else None,
        looked_at=_number(raw.get("looked_at")),
        tags={k: _text(v) for k, v in tags.items()} if isinstance(tags, dict) else {},
        backend=_text(raw.get("backend")),
        native_id=_text(raw.get("native_id")),
        attempt=attempt if isinstance(attempt, int) and 0 <= attempt < 1 << 31 else None,
        submitted_as=_text(raw.get("submitted_as")),
        attempts=statuses(raw.get("attempts")),
        deleted=raw.get("deleted") is True,
    )


def statuses(raw: Any) -> tuple[Status, ...]:
    """What was noted of attempts; nothing if that is not what we write."""
    try:
        return tuple(decode(Status, one) for one in raw or ())
    except (ValueError, TypeError, AttributeError):
        return ()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
