"""Taking a process that already runs under watch: its end will be seen, its exit code not, because
only a parent is told that.

Its log is the very file its stdout is, if that is a regular file: linked into the run directory,
or, on another file system, named in `logs/0.ref` with device and inode. Never a symbolic link.
"""

import os
import stat
import time

from . import Refused, layout, libc, locking, procs, records, wire

MAX_COMMAND = 1 << 17
"""Bytes of a command line that are recorded."""
LET_GO = 10.0
"""Seconds within which a supervisor that is asked to must have ended its watching."""


def adopt(request, body):
    """The verb. A generator, as `start`."""
    from . import start

    run = layout.check_id(request.get("run_id"))
    pid = wire.field(request, "pid", int, required=True)
    record = wire.field(request, "run", dict)
    made = False
    found = procs.stat_of(pid)
    if not layout.is_claimed(run, 0):
        found = check(pid)
        if os.path.lexists(layout.run_dir(run) + "/run.json"):
            start.same_plan(run, record)
        else:
            _describe(record, pid)
            made = yield from start.build(run, record, [], b"")
    orders = {"adopt": {"pid": pid, "starttime": found.starttime if found else 0}}
    created, supervisor = yield from start.supervise(run, 0, orders, made)
    return start.answer(run, 0, created, supervisor)


def unwatch(request, body):
    """The verb: let the supervisor of an adopted process end, and leave the process alone. A
    generator that waits for it."""
    from . import cancel, evidence

    run = layout.check_id(request.get("run_id"))
    facts = evidence.of_run(run, evidence.Look())
    if not facts["found"] or facts["attempt"] is None or not facts["adopted"]:
        raise Refused("Run %s was not adopted." % run)
    attempt = facts["attempt"]
    if not evidence.is_over(facts):
        records.make_once(_left_alone(layout.attempt_dir(run, attempt)), {"time": time.time()})
        cancel.wake(run, attempt)
    until = time.monotonic() + LET_GO
    while not evidence.is_over(evidence.of_run(run, evidence.Look())):
        if time.monotonic() > until:
            raise Refused("The supervisor of run %s does not answer; its process goes on." % run)
        yield None, 0.02
    return {"state": "over"}


def _left_alone(directory):
    """The file that asks for it, in an attempt's directory."""
    folder = directory + "/control"
    os.makedirs(folder, 0o700, exist_ok=True)
    return folder + "/unwatch.json"


def check(pid):
    """The Stat of a process that may be adopted, or a refusal."""
    if pid <= 1:
        raise Refused("Process %d cannot be adopted." % pid)
    found = procs.stat_of(pid)
    if found is None or found.dead:
        raise Refused("There is no process %d." % pid)
    if procs.uid_of(pid) != os.getuid():
        raise Refused("Process %d is another user's." % pid)
    environ = procs.environ_of(pid)
    tag = procs.variable(environ, b"TRAINDECK_RUN")
    if tag:
        raise Refused("Process %d belongs to run %s already." % (pid, wire.to_text(tag)[:20]))
    if procs.variable(environ, b"TRAINDECK_SUPERVISOR") is not None or pid == os.getpid():
        raise Refused("Process %d is a supervisor of Traindeck." % pid)
    return found


def _describe(record, pid):
    """Enter into run.json what the process is, as far as the kernel says."""
    spec = record["spec"]
    words = (procs.read_proc("/proc/%d/cmdline" % pid) or b"")[:MAX_COMMAND]
    spec["argv"] = [wire.to_text(word) for word in words.rstrip(b"\0").split(b"\0")]
    try:
        spec["cwd"] = wire.to_text(os.readlink(b"/proc/%d/cwd" % pid))
    except OSError:
        pass  # it is in a folder that is no more, or just ended


def _kind(mode):
    """What an output that is no regular file is, in words."""
    for test, words in ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket")):
        if test(mode):
            return words
    return "a terminal or a device"


def lock_name(pid, starttime):
    """The lock that keeps a process from being adopted twice."""
    return "%s/adopt.%d.%d.lock" % (layout.locks(), pid, starttime)


def take(target):
    """Lock an adopted process for its supervisor, and see that it is still there. Returns the
    descriptor that holds the lock. Raises Refused."""
    pid, starttime = target["pid"], target["starttime"]
    if not procs.is_running(pid, starttime):
        raise Refused("Process %d has ended." % pid)
    fd = locking.take(lock_name(pid, starttime))
    if fd is None:
        raise Refused("Process %d is watched by another run already." % pid)
    return fd


def forget(leader):
    """Remove the lock's file, at the end."""
    try:
        os.unlink(lock_name(*leader))
    except OSError:
        pass


class Adoption:
    """The adopted process, and how its end is seen.

    Attributes:
        fd: A descriptor that becomes readable at its end, or None: then it is looked for.
    """

    def __init__(self, attempt):
        self._asked = attempt.directory + "/control/unwatch.json"
        self.pid, self.starttime = attempt.leader
        try:
            self.fd = libc.pidfd_open(self.pid)
        except ProcessLookupError:
            self.fd = None
        words = self._link_log(attempt)
        records.append_event(attempt.directory, "adopted", pid=self.pid, log=words)

    def is_over(self):
        """Whether it has ended."""
        return not procs.is_running(self.pid, self.starttime)

    def is_let_go(self):
        """Whether only the watching is to end."""
        return os.path.lexists(self._asked)

    def _link_log(self, attempt):
        """Give the attempt its log, if there is one. Returns a sentence about it."""
        source = "/proc/%d/fd/1" % self.pid
        try:
            info = os.stat(source)
            if not stat.S_ISREG(info.st_mode):
                return "its output goes to %s" % _kind(info.st_mode)
            if not info.st_nlink:
                return "its output goes to a file that was deleted"
            attempt.log_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
            path = os.readlink(source)
        except OSError as error:
            return "its output cannot be opened (%s)" % error.strerror
        log = layout.log_path(attempt.run, attempt.number)
        here = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # With a descriptor given, the link in /proc is followed: the file itself is linked.
            os.link(source, log, src_dir_fd=here, follow_symlinks=True)
            return "linked: %s" % wire.to_text(os.fsencode(path))
        except OSError:
            words = {
                "path": wire.to_text(os.fsencode(path)),
                "dev": info.st_dev,
                "inode": info.st_ino,
            }
            try:
                records.replace(log[: -len(".log")] + ".ref", words)
            except OSError as error:
                return "not to be had: %s" % error.strerror
            return "referred to: %s" % words["path"]
        finally:
            os.close(here)
