"""Bells: how whoever waits for news of runs hears at once that there is some.

A bell is a FIFO below the root that its owner reads. Who has written what a poll would tell puts a
byte into each. A bell may be stale, full or none at all: nothing that rings waits for it, and
nothing fails because of it.
"""

import errno
import os
import stat

from . import Refused, layout

MOST = 64
"""Bells of one root; who finds so many hangs up none."""
STALE = 600.0
"""Seconds after which a bell that nobody listens to is removed, by the next who hangs one up. Of a
root that several machines share, only the machine of its owner can tell whether it is listened to:
so its owner touches it."""
TOUCH = 60.0
"""Seconds between two such touches."""

_RING = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def folder():
    """Where they hang."""
    return layout.root() + "/bells"


def ring():
    """Ring all of them. Never blocks, never raises."""
    try:
        names = os.listdir(folder())
    except OSError:
        return  # nobody has ever waited for news here
    for name in names[:MOST]:
        try:
            fd = os.open("%s/%s" % (folder(), name), _RING)
        except OSError:
            continue  # nobody listens, or it is none
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.write(fd, b"!")
        except OSError:
            pass  # full: it has been rung and was not listened to yet
        finally:
            os.close(fd)


class Bell:
    """A bell of our own.

    Attributes:
        fd: To wait at; None where none could be hung up.
    """

    def __init__(self):
        self.fd = None
        self._path = None
        self._touched = 0.0

    def hang_up(self, now):
        """Have one that can be rung, as far as that is possible here: made anew if somebody removed
        it, kept from looking abandoned. Cheap when nothing is to be done."""
        try:
            if self.fd is not None and not os.fstat(self.fd).st_nlink:
                self.take_down()
            if self.fd is None:
                self._make()
                self._touched = now
            elif now - self._touched >= TOUCH:
                self._touched = now
                os.utime(self.fd)
        except (OSError, Refused):
            pass  # a file system without FIFOs, a full disk

    def _make(self):
        there = folder()
        layout.make_private(there)
        others = os.listdir(there)
        path = "%s/%d-%s" % (there, os.getpid(), os.urandom(6).hex())
        os.mkfifo(path, 0o600)
        self._path = path
        # For writing too, so that it is never at its end.
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        # Its time is the file server's, as theirs are.
        hung = os.fstat(self.fd).st_mtime
        left = [name for name in others if not _removed("%s/%s" % (there, name), hung)]
        if len(left) >= MOST:
            self.take_down()

    def drain(self):
        """Whether it was rung since."""
        if self.fd is None:
            return False
        try:
            return bool(os.read(self.fd, 1 << 16))  # all that it holds
        except OSError:
            return False

    def take_down(self):
        """Remove it."""
        if self._path is not None:
            try:
                os.unlink(self._path)
            except OSError:
                pass
            self._path = None
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def _removed(path, now):
    """Whether what hangs there was stale, and is gone."""
    try:
        info = os.lstat(path)
        if not stat.S_ISFIFO(info.st_mode) or now - info.st_mtime < STALE:
            return False
        os.close(os.open(path, _RING))
    except OSError as error:
        if error.errno != errno.ENXIO:
            return False
        try:
            os.unlink(path)
        except OSError:
            return False
        return True
    return False
