"""The file that holds a rank's log, wherever it lies.

It is the job's own: it may be cut or replaced under a reader. An adopted process's log may be a
file elsewhere, named by `<rank>.ref`; it is opened only if it is still the same one and ours.
"""

import os

from . import layout, records


def open_log(run, attempt, rank=0):
    """A descriptor of a regular file, or None if there is none (yet). Raises OSError if what is
    there cannot be opened."""
    path = layout.log_path(run, attempt, rank)
    fd = records.open_regular(path)
    return _open_referred(path[: -len(".log")] + ".ref") if fd is None else fd


def _open_referred(reference):
    words = records.read_object(reference)
    if words is None or not isinstance(words.get("path"), str):
        return None
    try:
        fd = records.open_regular(words["path"].encode("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        return None
    if fd is None:
        return None
    info = os.fstat(fd)
    same = info.st_dev == words.get("dev") and info.st_ino == words.get("inode")
    if same and info.st_uid == os.getuid():
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
