"""What can go wrong with our own files, as sentences for a person.

Imported only when something is raised or caught: `ls --json` must not pay for it.
"""

from __future__ import annotations

import errno
import os

from traindeck.backends.errors import TraindeckError, UsageError


class StoreError(TraindeckError):
    """The state folder, the index, the journal or the annotations cannot be used."""


class Unwritable(StoreError):
    """It can be read at best: the disk is full, or the folder is not ours to write to."""


class NoSuchRun(UsageError):
    """No run has this id, name or prefix."""


class AmbiguousRun(UsageError):
    """A prefix fits several runs; `candidates` are their ids."""

    def __init__(self, what: str, fix: str, candidates: tuple[str, ...]) -> None:
        super().__init__(what, fix)
        self.candidates = candidates


_FIXES = {
    errno.ENOSPC: "Free some space there, or point TRAINDECK_STATE_DIR elsewhere.",
    errno.EDQUOT: "Free some of your quota, or point TRAINDECK_STATE_DIR elsewhere.",
    errno.EACCES: "Check who owns it, or point TRAINDECK_STATE_DIR elsewhere.",
    errno.EPERM: "Check who owns it, or point TRAINDECK_STATE_DIR elsewhere.",
    errno.EROFS: "Point TRAINDECK_STATE_DIR at a folder that can be written.",
}


def os_error(doing: str, path: str | os.PathLike[str], error: OSError) -> StoreError:
    """An operating system's refusal as a sentence: `Cannot DOING PATH: reason.`"""
    reason = (error.strerror or str(error)).lower()
    fix = _FIXES.get(error.errno or 0, "")
    kind = Unwritable if fix else StoreError
    return kind(f"Cannot {doing} {os.fspath(path)}: {reason}.", fix)
