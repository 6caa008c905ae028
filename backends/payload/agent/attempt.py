"""One attempt as its supervisor holds it: the claim, the lock, the exit slot, agent.json.

Claiming is what makes a job start once: the lock is taken first, then the claim is made
exclusively, and nothing is started before both are there and the exit record has its room.
"""

import errno
import fcntl
import os
import time

from . import VERSION, Refused, adopt, exit_slot, layout, procs, records


class Taken(Exception):
    """Another supervisor has the attempt."""


def _make_dir(path):
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass


class Attempt:
    """One attempt under supervision: its directory, lock, slot and leader."""

    def __init__(self, run, number):
        self.run = run
        self.number = number
        self.directory = layout.attempt_dir(run, number)
        self.lock_fd = None
        self.lock_name = None
        self.slot_fd = None
        self.log_fd = None
        self.leader = None
        self.started = None
        self.phase = "starting"
        self.reason = ""
        self.adopted = False
        self.adopt_fd = None
        self.oom = None

    def claim(self, adopted=None):
        """Take the attempt for this process. Raises Taken if it is somebody's, Refused with the
        reason if the place cannot hold it (then nothing is left claimed)."""
        claim = self.directory + "/claim"
        if os.path.lexists(claim):
            raise Taken()
        if adopted is not None:
            self.adopt_fd = adopt.take(adopted)
        self._lock()
        words = {
            "pid": os.getpid(),
            "starttime": procs.starttime_of(os.getpid()),
            "boot_id": procs.boot_id(),
            "host": procs.hostname(),
            "pid_ns": procs.pid_namespace(),
            "lock": self.lock_name,
            "time": time.time(),
            "adopted": adopted,
        }
        try:
            # Not its parents: where the run directory was removed meanwhile, none is made.
            _make_dir(self.directory)
            if not records.make_once(claim, words):
                self._unlock()
                raise Taken()
        except OSError as error:
            self._unlock()
            raise Refused("%s cannot be written: %s." % (self.directory, error.strerror)) from None
        try:
            for name in ("logs", "control", "traces"):
                _make_dir("%s/%s" % (self.directory, name))
            self.slot_fd = exit_slot.allocate(self.directory)
            records.write_whole(self.directory + "/heartbeat", b"")
            if adopted is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                path = layout.log_path(self.run, self.number)
                self.log_fd = os.open(path, flags, 0o600)
            else:
                self.adopted = True
                self.phase = "running"
                self.leader = (adopted["pid"], adopted["starttime"])
                self.started = procs.wall_start(adopted["starttime"])
            self.publish()
        except OSError as error:
            # Nothing was started, so nothing is lost by taking the claim back.
            os.unlink(claim)
            self._unlock()
            raise Refused("%s cannot be written: %s." % (self.directory, error.strerror)) from None
        records.append_event(self.directory, "claimed", pid=os.getpid())

    def _lock(self):
        path = layout.lock_path(self.run, self.number)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise Taken() from None
            raise Refused("%s cannot be locked: %s." % (path, error.strerror)) from None
        self.lock_fd = fd
        # The name /proc/locks gives it: on some file systems that is not what stat says.
        inode = os.fstat(fd).st_ino
        devices = procs.held_locks().get(inode)
        if devices and len(devices) == 1:
            self.lock_name = "%s:%d" % (next(iter(devices)), inode)

    def _unlock(self):
        os.close(self.lock_fd)
        self.lock_fd = None

    def beat(self):
        """Show that the supervisor lives, also to other hosts of a shared file system; and keep
        the lock file from looking abandoned to a cleaner of /var/tmp."""
        try:
            os.utime(self.directory + "/heartbeat")
            os.utime(self.lock_fd)
        except OSError:
            pass  # a directory that was deleted; the end will find that out

    def write_slot(self, data):
        """Put the exit record on the disk, spending the reserve if there is no room. False if that
        cannot be done now."""
        try:
            exit_slot.write(self.slot_fd, self.directory, data)
            return True
        except OSError:
            return False

    def is_deleted(self):
        """Whether somebody removed the run directory under us."""
        return os.fstat(self.slot_fd).st_nlink == 0 or not os.path.isdir(self.directory)

    def drop_reserve(self):
        """Give back the room that was kept for the exit record."""
        try:
            os.unlink(self.directory + "/reserve")
        except OSError:
            pass

    def inherit_cancel(self, request):
        """Take over a request to stop that was put down at the attempt before."""
        try:
            records.replace(self.directory + "/control/cancel.json", request)
        except OSError as error:
            records.append_event(self.directory, "disk_full", error=error.strerror)

    def publish(self, phase=None, reason=None):
        """Replace agent.json. Raises OSError."""
        if phase is not None:
            self.phase = phase
            self.reason = ""
        if reason is not None:
            self.reason = reason
        leader = self.leader
        words = {
            "format": records.FORMAT,
            "run": self.run,
            "attempt": self.number,
            "agent": VERSION,
            "pid": os.getpid(),
            "starttime": procs.starttime_of(os.getpid()),
            "boot_id": procs.boot_id(),
            "host": procs.hostname(),
            "pid_ns": procs.pid_namespace(),
            "lock": self.lock_name,
            "uid": os.getuid(),
            "phase": self.phase,
            "reason": self.reason,
            "leader": leader and {"pid": leader[0], "starttime": leader[1]},
            "started": self.started,
            "adopted": self.adopted,
            "oom": self.oom,
        }
        records.replace(self.directory + "/agent.json", words)

    def try_publish(self, phase=None, reason=None):
        """The same where an old file is better than a supervisor that stops: on a full disk, or
        when the directory was deleted."""
        try:
            self.publish(phase, reason)
        except OSError:
            pass

    def close(self, forget):
        """Let go of everything. The lock stays held while a process inherited it; `forget` removes
        its file, when none did."""
        for fd in (self.lock_fd, self.slot_fd, self.log_fd, self.adopt_fd):
            if fd is not None:
                os.close(fd)
        self.lock_fd = self.slot_fd = self.log_fd = None
        if self.adopt_fd is not None:
            adopt.forget(self.leader)
        if forget:
            try:
                os.unlink(layout.lock_path(self.run, self.number))
            except OSError:
                pass
