"""One attempt as its supervisor holds it: the claim, the lock, the exit slot, agent.json.

Claiming is what makes a job start once: the lock is taken first, then the claim is made
exclusively, and nothing is started before both are there and the exit record has its room.
"""

import os
import time

from . import VERSION, Refused, adopt, bells, exit_slot, layout, locking, procs, records


class Taken(Exception):
    """Another supervisor has the attempt."""


class NoRoom(Exception):
    """The place cannot hold the attempt now; nothing was left claimed."""


def make_dir(path):
    """A folder of an attempt, if it is not there yet. Raises OSError."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass


class Attempt:
    """One attempt under supervision: its directory, lock, slot and leader."""

    FOLDERS = ("logs", "control", "traces")

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
        self.scheduler = None
        self.oom = None
        self.devices = None
        """The leases.Wanted that it has or waits for."""
        self._behind = False

    def claim(self, adopted=None):
        """Take the attempt for this process. Raises Taken if it is somebody's, NoRoom if the disk
        cannot hold it now, Refused if it cannot be at all."""
        claim = self.directory + "/claim"
        # Looked for before the lock: a duplicate must not even for a moment seem to hold it.
        if os.path.lexists(claim):
            raise Taken()
        if adopted is not None:
            self.adopt_fd = adopt.take(adopted)
            self.leader = (adopted["pid"], adopted["starttime"])
        layout.locks()
        self.lock_fd = locking.take(self.lock_path())
        if self.lock_fd is None:
            raise Taken()
        if layout.is_removed(self.run):  # `rm` has held this lock while it did that
            self.close()
            raise Refused("Run %s was removed meanwhile." % self.run)
        self.lock_name = locking.name_of(self.lock_fd)
        try:
            # Not its parents: where the run directory was removed meanwhile, none is made.
            make_dir(self.directory)
            made = records.make_once(claim, self._identity({"adopted": adopted}))
        except OSError as error:
            self.close()
            raise NoRoom(self._words(error)) from None
        if not made:
            self.close()
            raise Taken()
        try:
            self._furnish(adopted)
        except OSError as error:
            # Nothing was started and the lock is ours, so the claim can be taken back.
            os.unlink(claim)
            self.close()
            raise NoRoom(self._words(error)) from None
        records.append_event(self.directory, "claimed", pid=os.getpid())

    def lock_path(self):
        """The lock that is held while it is supervised."""
        return layout.lock_path(self.run, self.number)

    def log_path(self):
        """The file that the leader's output goes to."""
        return layout.log_path(self.run, self.number)

    def index_path(self):
        """The file for the times of that log's growth, or None if they are not taken here."""
        return self.log_path()[: -len(".log")] + ".idx"

    def system_path(self):
        """The file for the samples of the tree's processes, or None if they are not taken here."""
        return self.directory + "/system.jsonl"

    def _words(self, error):
        return "%s cannot be written: %s." % (self.directory, error.strerror)

    def _furnish(self, adopted):
        for name in self.FOLDERS:
            make_dir("%s/%s" % (self.directory, name))
        self.slot_fd = exit_slot.allocate(self.directory)
        records.write_whole(self.directory + "/heartbeat", b"")
        if adopted is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self.log_fd = os.open(self.log_path(), flags, 0o600)
        else:
            self.adopted = True
            self.phase = "running"
            self.started = procs.wall_start(adopted["starttime"])
        self.publish()

    def _identity(self, more):
        """What names this process beyond doubt, in a claim and in agent.json."""
        words = {
            "pid": os.getpid(),
            "starttime": procs.starttime_of(os.getpid()),
            "boot_id": procs.boot_id(),
            "pidns": procs.pid_namespace(),
            "host": procs.hostname(),
            "lock": self.lock_name,
            "time": time.time(),
        }
        if self.scheduler is not None:
            words["scheduler"] = self.scheduler
        words.update(more)
        return words

    def beat(self):
        """Show that the supervisor lives, also to other hosts of a shared file system; keep the
        lock file from looking abandoned to a cleaner; write down what could not be before."""
        try:
            os.utime(self.directory + "/heartbeat")
            os.utime(self.lock_fd)
        except OSError:
            pass  # a directory that was deleted; the end will find that out
        if self._behind:
            self.try_publish()
        for uuid in self.devices.care() if self.devices is not None else ():
            records.append_event(self.directory, "lease_doubled", device=uuid)

    def release_devices(self):
        """Its devices are free for others, but for what a process of it holds on to."""
        if self.devices is not None:
            self.devices.release()

    def write_slot(self, data):
        """Put the exit record on the disk, spending the reserve if there is no room. False if that
        cannot be done now."""
        try:
            exit_slot.write(self.slot_fd, self.directory, data)
        except OSError:
            return False
        bells.ring()
        return True

    def is_deleted(self):
        """Whether somebody removed the run directory under us."""
        return os.fstat(self.slot_fd).st_nlink == 0 or not os.path.isdir(self.directory)

    def drop_reserve(self):
        """Give back the room that was kept for the exit record. The file stays: nothing vanishes
        under whoever looks through the directory of a run that is over."""
        try:
            os.truncate(self.directory + "/reserve", 0)
        except OSError:
            pass

    def publish(self, phase=None, reason=None):
        """Replace agent.json. Raises OSError."""
        if phase is not None:
            self.phase = phase
            self.reason = ""
        if reason is not None:
            self.reason = reason
        self._behind = True
        leader = self.leader
        words = {
            "format": records.FORMAT,
            "run": self.run,
            "attempt": self.number,
            "agent": VERSION,
            "uid": os.getuid(),
            "phase": self.phase,
            "reason": self.reason,
            "leader": leader and {"pid": leader[0], "starttime": leader[1]},
            "started": self.started,
            "adopted": self.adopted,
            "rings": True,
            "oom_kills": self.oom and self.oom["count"],
            "oom": self.oom,
        }
        if self.devices is not None:
            words["devices"] = [lease.uuid for lease in self.devices.leases]
        records.replace(self.directory + "/agent.json", self._identity(words))
        self._behind = False
        if self.phase != "ended":  # the record follows
            bells.ring()

    def try_publish(self, phase=None, reason=None):
        """The same where an old file is better than a supervisor that stops: on a full disk, or
        when the directory was deleted. Tried again with each heartbeat."""
        try:
            self.publish(phase, reason)
        except OSError:
            pass

    def close(self):
        """Let go of everything. The lock stays held while a process inherited it."""
        for fd in (self.lock_fd, self.slot_fd, self.log_fd, self.adopt_fd):
            if fd is not None:
                os.close(fd)
        self.lock_fd = self.slot_fd = self.log_fd = None
        self.release_devices()
        if self.adopt_fd is not None:
            self.adopt_fd = None
            adopt.forget(self.leader)
