"""Locks that a job inherits, and seeing them without taking them.

An open-file-description lock belongs to the open file, so it lives as long as anybody who inherited
the descriptor, and `/proc/locks` shows it even in a container after its taker has died, which it
does not for a flock.
"""

import errno
import fcntl
import os
import struct

from . import Refused, procs

F_OFD_SETLK = 37
# struct flock: l_type, l_whence, l_start, l_len, l_pid, with the machine's own alignment.
EXCLUSIVE_WHOLE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
BUSY = (errno.EWOULDBLOCK, errno.EACCES)


def take(path):
    """Lock a file, made if need be. Returns its descriptor, or None if somebody has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.fcntl(fd, F_OFD_SETLK, EXCLUSIVE_WHOLE)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except OSError as error:
        os.close(fd)
        if error.errno in BUSY:
            return None
        raise Refused("%s cannot be locked: %s." % (path, error.strerror)) from None


def name_of(fd):
    """The `maj:min:inode` by which /proc/locks will show the lock on a descriptor, or None. (What
    stat says of the device differs on btrfs and overlays.)"""
    for line in (procs.read_proc("/proc/self/fdinfo/%d" % fd) or b"").splitlines():
        words = line.split()
        if words[:1] == [b"lock:"] and len(words) >= 7:
            return words[6].decode("ascii", "replace")
    return None


def held():
    """The locks held on this machine, as their names and as their inodes alone: a set of strings.
    Looking takes no lock, so nobody who looks can be mistaken for a holder."""
    found = set()
    for line in (procs.read_proc("/proc/locks") or b"").splitlines():
        words = line.split()
        if len(words) >= 6 and words[1] in (b"OFDLCK", b"FLOCK"):
            name = words[5].decode("ascii", "replace")
            found.add(name)
            found.add(name.rpartition(":")[2])
    return found
