"""Files that others can get at: written so that a reader sees the old content or the new, never a
part; read without being led elsewhere or kept waiting."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def folder_named(text: object) -> Path | None:
    """The folder that a setting names, None if it names none: nobody knows what a relative one
    would be relative to."""
    path = os.path.expanduser(text) if isinstance(text, str) else ""
    return Path(path) if os.path.isabs(path) else None


def open_regular(path: Path, *, follow: bool = False) -> BinaryIO:
    """Open a file for reading. A link is not followed, and a pipe or a device is refused at once:
    opening one could wait for ever.

    Args:
        follow: Follow links; for what users keep where they like, such as their SSH configuration.

    Raises:
        OSError: It is not there, cannot be read, or is no regular file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file")
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def replace(path: Path, data: bytes, *, mode: int = 0o600, sync: bool = True) -> None:
    """Write beside the file, then rename over it. Missing folders are made 0700.

    Args:
        sync: Have it on the disk before the old content goes; not for what may be lost.

    Raises:
        OSError: It cannot be written; the old content is still there, and nothing beside it.
    """
    # A name nobody else has, opened exclusively: neither another writer's nor a link is followed.
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    _make_private(path.parent)
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


def _make_private(folder: Path) -> None:
    """Make a folder and those above it that are missing. (`mkdir(parents=True)` makes those above
    as the umask says.)"""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make_private(folder.parent)
        _make_private(folder)
