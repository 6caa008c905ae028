"""What /proc says of processes, and the only place that signals one.

A pid alone names nothing: it is always taken together with the process's start time and the boot
id. No signal goes to a pid whose start time differs, to pid 1 or below, or to another user's.
"""

import os
import time

from . import libc

SIGHUP = 1
SIGINT = 2
SIGKILL = 9
SIGUSR1 = 10
SIGUSR2 = 12
SIGTERM = 15
SIGCHLD = 17
SIGCONT = 18

# What stays as it is while a process lives, and is asked for by each poll.
_mine = {}
_supervisors = {}

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Stat:
    """The fields of /proc/PID/stat that we use. Times are in clock ticks, rss in pages."""

    __slots__ = ("children_ticks", "ppid", "rss", "starttime", "state", "threads", "ticks")

    def __init__(self, data):
        fields = data[data.rindex(b")") + 2 :].split(None, 22)
        self.state = fields[0]
        self.ppid = int(fields[1])
        self.ticks = int(fields[11]) + int(fields[12])
        self.children_ticks = int(fields[13]) + int(fields[14])
        self.threads = int(fields[17])
        self.starttime = int(fields[19])
        self.rss = int(fields[21])

    @property
    def dead(self):
        """A zombie, or gone while we looked. One whose first thread alone has ended lives."""
        return self.state in (b"Z", b"X", b"x") and self.threads <= 1


def read_proc(path, once=0):
    """A file of /proc, or None. `once` reads that many bytes in one call, which is enough for a
    process's own small files; the long ones come in pieces."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if once:
            return os.read(fd, once)
        parts = []
        while True:
            data = os.read(fd, 1 << 16)
            if not data:
                return b"".join(parts)
            parts.append(data)
    except OSError:
        return None
    finally:
        os.close(fd)


def stat_of(pid):
    """The Stat of a process, or None if there is none."""
    data = read_proc("/proc/%d/stat" % pid, 2048)
    if not data:
        return None
    try:
        return Stat(data)
    except (ValueError, IndexError):
        return None


def starttime_of(pid):
    """Start time of a process (also a zombie), or None."""
    found = stat_of(pid)
    return found.starttime if found else None


def uid_of(pid):
    """Owner of a process, or None."""
    try:
        return os.stat("/proc/%d" % pid).st_uid
    except OSError:
        return None


def environ_of(pid):
    """A process's environment block as it was at its exec, or b"" if it cannot be read.

    In the midst of an exec a process shows neither environment nor command line, though it has a
    program; whoever took that for an empty environment would overlook a member. So it is waited
    for, up to 20 ms.
    """
    empty = 0
    for _ in range(40):
        block = read_proc("/proc/%d/environ" % pid)
        if block or empty == 3:
            break
        try:
            os.readlink("/proc/%d/exe" % pid)
        except OSError:
            break  # a thread of the kernel, dead, or another user's
        if read_proc("/proc/%d/cmdline" % pid):
            empty += 1  # none, or its command line is there a moment before its environment
        time.sleep(0.0005)
    return block or b""


def open_files(pid):
    """The paths that a process has open, as far as they can be read."""
    folder = "/proc/%d/fd" % pid
    paths = []
    try:
        names = os.listdir(folder)
    except OSError:
        return paths  # another user's, or it ended
    for name in names:
        try:
            paths.append(os.readlink("%s/%s" % (folder, name)))
        except OSError:
            pass  # closed meanwhile
    return paths


def variable(environ, name):
    """The value of a variable in an environment block, or None. Both are bytes."""
    start = name + b"="
    if environ.startswith(start):
        at = len(start)
    else:
        at = environ.find(b"\0" + start)
        if at < 0:
            return None
        at += len(start) + 1
    end = environ.find(b"\0", at)
    return environ[at : end if end >= 0 else len(environ)]


def pids():
    """Every process there is."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def boot_id():
    """The kernel's name for this boot, "" if it has none."""
    if "boot" not in _mine:
        said = read_proc("/proc/sys/kernel/random/boot_id") or b""
        _mine["boot"] = said.decode("ascii", "replace").strip()
    return _mine["boot"]


def pid_namespace():
    """Where pids mean what ours mean: a container has another number here. None if unknown."""
    if "pidns" not in _mine:
        try:
            _mine["pidns"] = os.stat("/proc/self/ns/pid").st_ino
        except OSError:
            _mine["pidns"] = None
    return _mine["pidns"]


def wall_start(starttime):
    """When a process started, by the wall clock, from its start time in ticks since boot."""
    for line in (read_proc("/proc/stat") or b"").splitlines():
        if line.startswith(b"btime "):
            return int(line.split()[1]) + starttime / TICK
    return None


def hostname():
    """This machine's name."""
    return os.uname()[1]


def is_running(pid, starttime):
    """Whether exactly this process exists and is no zombie."""
    if not isinstance(pid, int) or not isinstance(starttime, int) or pid <= 1:
        return False
    found = stat_of(pid)
    return found is not None and found.starttime == starttime and not found.dead


def catches(pid, number):
    """Whether a process has a handler of its own for a signal: it would not be ended by it."""
    for line in (read_proc("/proc/%d/status" % pid) or b"").splitlines():
        if line.startswith(b"SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def supervisor(pid, starttime, run):
    """The Stat of exactly this process if it exists, is ours, and supervises `run`, else None: an
    agent.json that was forged or is stale names something else."""
    found = stat_of(pid) if pid > 1 else None
    if found is None or found.starttime != starttime or found.dead:
        return None
    if _supervisors.get(run) != (pid, starttime):
        if uid_of(pid) != os.getuid():
            return None
        words = (read_proc("/proc/%d/cmdline" % pid) or b"").split(b"\0")
        # (A batch step has the same words for all the tasks of an array.)
        named = run.encode() in words or b"td-%s-array" % run[:8].encode() in words
        if not (b"supervise" in words or b"batch" in words) or not named:
            return None
        if len(_supervisors) >= 1000:
            _supervisors.clear()
        _supervisors[run] = pid, starttime
    return found


def send_signal(pid, starttime, number):
    """Signal one process of this user, named by pid and start time. False if it is gone, is not
    ours, or is another one by now."""
    if pid <= 1 or pid == os.getpid():
        return False
    fd = None
    try:
        fd = libc.pidfd_open(pid)
        if starttime_of(pid) != starttime or uid_of(pid) not in (os.getuid(), None):
            return False
        if fd is None or not libc.pidfd_send_signal(fd, number):
            os.kill(pid, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if fd is not None:
            os.close(fd)
