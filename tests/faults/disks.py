"""Disks that are full."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest


def fill_disk(folder: Path) -> Path:
    """Leave not one byte free; the file that takes it all."""
    path = folder / "filler"
    with open(path, "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1 << 9, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    with pytest.raises(OSError) as full:
        (folder / "one").write_bytes(b"x" * 4096)
    assert full.value.errno == errno.ENOSPC
    (folder / "one").unlink(missing_ok=True)
    return path
