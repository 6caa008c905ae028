"""The small files of a run directory: reading them safely, replacing them whole, appending events.

They lie where the job can write too, so every reader bounds what it reads, follows no link and
takes anything malformed for absent.
"""

import errno
import os
import stat
import time

from . import wire

FORMAT = 1
MAX_RECORD = 1 << 16
MAX_RUN = 16 << 20
LARGEST = 1e18
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV)


def open_regular(path):
    """A descriptor for reading a regular file, or None if there is none: nothing, a link, a FIFO.
    Raises OSError if what is there cannot be opened."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return fd


def read_bytes(path, limit=MAX_RECORD):
    """A regular file's bytes, at most `limit`, or None if there is none. Raises OSError if it
    cannot be read."""
    fd = open_regular(path)
    if fd is None:
        return None
    try:
        parts = []
        while limit > 0:
            size = min(limit, 1 << 16)
            data = os.read(fd, size)
            parts.append(data)
            limit -= len(data)
            if len(data) < size:
                break  # of a regular file, its end
        return b"".join(parts)
    finally:
        os.close(fd)


def read_object(path, limit=MAX_RECORD):
    """The JSON object in a file, or None if there is none. Raises OSError as `read_bytes`."""
    data = read_bytes(path, limit)
    return wire.parse_object(data) if data else None


def try_read(path, limit=MAX_RECORD):
    """The JSON object in a file, or {} if it cannot be had, for whatever reason."""
    try:
        return read_object(path, limit) or {}
    except OSError:
        return {}


def replace(path, value):
    """Write a JSON object so that a reader sees the old one or the new one, whole."""
    write_whole(path, wire.dumps(value).encode("ascii") + b"\n")


def write_whole(path, data, mode=0o600):
    """Write bytes beside their place and rename them into it. Raises OSError."""
    temporary = "%s.tmp-%d" % (path, os.getpid())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        try:
            wire.write_all(fd, data)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def make_once(path, value):
    """Write a JSON object where nothing is yet, whole from its first moment. False if something is
    there: of many callers exactly one is told True. Raises OSError."""
    temporary = "%s.tmp-%d-%s" % (path, os.getpid(), os.urandom(4).hex())
    data = wire.dumps(value).encode("ascii") + b"\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600)
    try:
        wire.write_all(fd, data)
        try:
            os.link(temporary, path)
            return True
        except FileExistsError:
            # A file server may have lost its first answer and done the work.
            return os.fstat(fd).st_nlink == 2
        except OSError:
            return _make_without_link(path, data, flags)
    finally:
        os.close(fd)
        os.unlink(temporary)


def _make_without_link(path, data, flags):
    """The same on a file system that has no links; there it can be seen empty for a moment."""
    try:
        fd = os.open(path, flags, 0o600)
    except FileExistsError:
        return False
    try:
        wire.write_all(fd, data)
    finally:
        os.close(fd)
    return True


def append_event(directory, event, **more):
    """Add a line to events.jsonl of an attempt. Events are history, not evidence: on a full disk
    one is lost, nothing else is."""
    line = wire.dumps(dict(more, time=time.time(), event=event)).encode("ascii") + b"\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(directory + "/events.jsonl", flags, 0o600)
    except OSError:
        return
    try:
        wrote = os.write(fd, line)
        if wrote < len(line):
            os.ftruncate(fd, os.fstat(fd).st_size - wrote)
    except OSError:
        pass
    finally:
        os.close(fd)


def sync_dir(path):
    """Put a directory's entries on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError:
        pass  # some file systems cannot, and keep order by themselves
    finally:
        os.close(fd)


def number(value):
    """A finite number of a record as a float, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if -LARGEST < value < LARGEST else None
