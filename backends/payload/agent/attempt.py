"""One attempt as its supervisor holds it: the claim, the lock, the exit slot, agent.json.

Claiming is what makes a job start once: the lock is taken first, then the claim is made
exclusively, and nothing is started before both are there and the exit record has its room.
"""

import errno
import fcntl
import os
import time

from . import VERSION, Refused, exit_slot, layout, procs, records, wire


class Taken(Exception):
    """Another supervisor has the attempt."""


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
        self.oom = None

    def claim(self, adopted=None):
        """Take the attempt for this process. Raises Taken if it is somebody's, Refused with the
        reason if the place cannot hold it (then nothing is left claimed)."""
        claim = self.directory + "/claim"
        if os.path.lexists(claim):
            raise Taken()
        self._lock()
        try:
            os.makedirs(self.directory, 0o700, exist_ok=True)
            fd = os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            self._unlock()
            raise Taken() from None
        except OSError as error:
            raise Refused("%s cannot be written: %s." % (self.directory, error.strerror)) from None
        try:
            try:
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
                wire.write_all(fd, wire.dumps(words).encode("ascii") + b"\n")
            finally:
                os.close(fd)
            for name in ("logs", "control", "traces"):
                os.mkdir("%s/%s" % (self.directory, name), 0o700)
            self.slot_fd = exit_slot.allocate(self.directory)
            self.beat()
            if adopted is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                path = layout.log_path(self.run, self.number)
                self.log_fd = os.open(path, flags, 0o600)
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
        """Show that the supervisor lives, also to other hosts of a shared file system."""
        path = self.directory + "/heartbeat"
        try:
            os.utime(path, None)
        except FileNotFoundError:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

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
            "adopted": False,
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

    def close(self):
        """Let go of everything. The lock stays held while a process inherited it."""
        for fd in (self.lock_fd, self.slot_fd, self.log_fd):
            if fd is not None:
                os.close(fd)
        self.lock_fd = self.slot_fd = self.log_fd = None
