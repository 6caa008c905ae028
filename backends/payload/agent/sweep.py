"""Removing blobs that nothing needs: once a day, by a process that nobody waits for.

Runs have copies of their own, so a blob is kept for runs to come only. What is kept is what a tree
is made of that was used lately, and what came or was asked for lately, of which a submission may be
under way. One that is removed though somebody had just counted on it is sent again: `start` names
what it misses.
"""

import os
import time

from . import Refused, blobs, start

KEPT = 14 * 86400.0
"""Seconds since it was last used after which a tree, or a blob of none, goes."""
UNFINISHED = 86400.0
"""Seconds after which what was not finished goes: the beginning of a blob, a file of a killed
sender."""


def if_due():
    """Start a sweep if the last one was a day ago. Nobody waits for it, and it delays nothing."""
    stamp = blobs.store() + "/.swept"
    try:
        try:
            if 0 <= time.time() - os.stat(stamp).st_mtime < UNFINISHED:
                return
        except FileNotFoundError:
            pass
        os.close(os.open(stamp, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        os.utime(stamp)
        for fd in start.spawn(["sweep", "blobs"]):
            os.close(fd)
    except OSError:
        pass  # it keeps no run away


def sweep():
    """The program `sweep blobs`. Returns its exit code."""
    now = time.time()
    try:
        needed = _needed(now)
        for folder in os.listdir(blobs.store()):
            if len(folder) == 2:
                _sweep_folder("%s/%s" % (blobs.store(), folder), needed, now)
    except (OSError, Refused):
        return 1
    return 0


def _needed(now):
    """The digests of all that the trees are made of which were used lately. Those that were not
    are forgotten."""
    needed = set()
    todo = []
    for name in os.listdir(blobs.uses()):
        path = "%s/%s" % (blobs.uses(), name)
        if not blobs.is_digest(name):
            continue
        if now - os.stat(path).st_mtime > KEPT:
            os.unlink(path)
        else:
            todo.append(name)
    while todo:
        digest = todo.pop()
        if digest in needed:
            continue
        needed.add(digest)
        for _, kind, inner, _ in blobs.entries_of(digest) or ():
            if kind == "tree":
                todo.append(inner)
            else:
                needed.add(inner)
    return needed


def _sweep_folder(folder, needed, now):
    for name in os.listdir(folder):
        path = "%s/%s" % (folder, name)
        if name in needed:
            continue
        limit = UNFINISHED if name.startswith(".") else KEPT
        try:
            if now - os.lstat(path).st_mtime > limit:
                os.unlink(path)
        except OSError:
            pass  # somebody else did; or it stays
