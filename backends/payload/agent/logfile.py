"""The file that holds a rank's log, wherever it lies.

It is the job's own: it may be cut or replaced under a reader. An adopted process's log may be a
file elsewhere, named by `<rank>.ref`; it is opened only if it is still the same one and ours.
"""

import os
import stat

from . import layout, records

FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def open_log(run, attempt, rank=0):
    """A descriptor of a regular file, or None if there is none (yet)."""
    path = layout.log_path(run, attempt, rank)
    try:
        fd = os.open(path, FLAGS)
    except OSError:
        return _open_referred(path[: -len(".log")] + ".ref")
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return fd


def _open_referred(reference):
    words = records.read_object(reference)
    if words is None or not isinstance(words.get("path"), str):
        return None
    try:
        fd = os.open(words["path"].encode("utf-8", "surrogateescape"), FLAGS)
    except (OSError, ValueError):
        return None
    info = os.fstat(fd)
    same = info.st_dev == words.get("dev") and info.st_ino == words.get("inode")
    if same and info.st_uid == os.getuid() and stat.S_ISREG(info.st_mode):
        return fd
    os.close(fd)
    return None


def size(run, attempt, rank=0):
    """The log's size in bytes, or None if there is none."""
    fd = open_log(run, attempt, rank)
    if fd is None:
        return None
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)
