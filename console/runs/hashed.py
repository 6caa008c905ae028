"""What was hashed of a folder's files before, so that those that did not change are not read again.

A file is taken for unchanged while size, times of change, and inode are what they were when it was
read, as git does; and, as git does, one that had changed only just before it was read is not
remembered, because the next change could leave it with the same times. Wrong it can be at worst
for a file whose times somebody forges.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from traindeck.backends import files
from traindeck.console.runs.withheld import RULES

SETTLED = 2.0
"""Seconds for which a file must have been left alone: file systems date changes as coarsely."""

FORGOTTEN = 90 * 86400.0
"""Seconds after which what was remembered of a folder that nobody launches from any more goes."""

_MOST = 64 << 20


def stamp_of(info: os.stat_result) -> str:
    """What changes when a file does, as a text that no other begins with."""
    return f"{info.st_size} {info.st_mtime_ns} {info.st_ctime_ns} {info.st_ino} {info.st_dev} "


class Hashed:
    """The digests of one folder's files, in a file that can be deleted.

    Only files that may travel are remembered: none that is withheld. What was looked for belongs
    to it (`RULES`), so that with a new rule all of them are looked at again.

    Args:
        folder: Where to remember it; None remembers nothing.
        root: The folder whose files these are.
        clock: Returns now, by the clock that dates files.
    """

    def __init__(
        self, folder: Path | None, root: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._file = folder / f"hashed-{key_of(root)}.json" if folder is not None else None
        self._clock = clock
        self._before = self._load()
        self._now: dict[str, str] = {}
        self._changed = False

    def digest(self, path: str, info: os.stat_result) -> str | None:
        """The digest of a file that is as it was when it was last read; None if it must be read."""
        found = self._before.get(path)
        if found is None or not found.startswith(stamp_of(info)):
            return None
        self._now[path] = found
        return found[-64:]

    def remember(self, path: str, info: os.stat_result, digest: str, began: float) -> None:
        """Remember a file that was read.

        Args:
            info: What was said of it before.
            began: When reading began.
        """
        if max(info.st_mtime, info.st_ctime) < began - SETTLED:
            self._now[path] = stamp_of(info) + digest
            self._changed = True

    def now(self) -> float:
        return self._clock()

    def save(self) -> None:
        """Write down what was asked for and remembered. What cannot be written is done without."""
        if self._file is None or not (self._changed or len(self._now) != len(self._before)):
            return
        data = json.dumps({"rules": RULES, "files": self._now}, separators=(",", ":"))
        with suppress(OSError):
            files.replace(self._file, data.encode(), sync=False)
            forget(self._file.parent, self._clock() - FORGOTTEN)

    def _load(self) -> dict[str, str]:
        if self._file is None:
            return {}
        try:
            with files.open_regular(self._file) as file:
                found = json.loads(file.read(_MOST))
            known = found["files"] if found["rules"] == RULES else {}
            if set(map(type, known.values())) <= {str}:
                return dict(known)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # none, or not whole: it is made anew
        return {}


def key_of(*words: str) -> str:
    """The part of a file's name that says what it is about."""
    return sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def forget(folder: Path, before: float) -> None:
    """Remove what was not written for long."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)
