"""Replace a file so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, data: bytes, *, mode: int = 0o600, sync: bool = True) -> None:
    """Write beside the file, then rename over it. Missing folders are made 0700.

    Args:
        sync: Have it on the disk before the old content goes; not for what may be lost.

    Raises:
        OSError: It cannot be written; the old content is still there, and nothing beside it.
    """
    # A name nobody else has, opened exclusively: neither another writer's nor a link is followed.
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
