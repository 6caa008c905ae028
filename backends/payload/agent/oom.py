"""How many processes the kernel's OOM killer has ended in this cgroup, or, where that cannot be
read, on this machine."""

import os

from . import procs

MACHINE = "/proc/vmstat"


def counter_path():
    """The file that counts them for the cgroup of this process, else for the machine."""
    groups = procs.read_proc("/proc/self/cgroup") or b""
    for line in groups.decode("utf-8", "replace").split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            candidate = "/sys/fs/cgroup%s/memory.events" % path.rstrip("/")
        elif "memory" in controllers.split(","):
            candidate = "/sys/fs/cgroup/memory%s/memory.oom_control" % path.rstrip("/")
        else:
            continue
        if os.path.exists(candidate):
            return candidate
    return MACHINE


def count(path):
    """The number in such a file, or None."""
    for line in (procs.read_proc(path) or b"").split(b"\n"):
        name, _, value = line.partition(b" ")
        if name == b"oom_kill" and value.strip().isdigit():
            return int(value)
    return None


def now():
    """{"path", "count"} to compare with later, or None."""
    path = counter_path()
    number = count(path)
    return None if number is None else {"path": path, "count": number}


def since(before):
    """OOM kills since `now` gave `before`, or None if that is not known."""
    if not isinstance(before, dict) or not isinstance(before.get("path"), str):
        return None
    path = before["path"]
    if path != MACHINE and (not path.startswith("/sys/fs/cgroup/") or ".." in path):
        return None
    try:
        number = count(path)
    except ValueError:
        return None  # no path at all: it holds a NUL or half a character
    if number is None or not isinstance(before.get("count"), int):
        return None
    return max(0, number - before["count"])


def words(before):
    """A sentence for an end by KILL that we did not send, "" if nothing is known."""
    number = since(before)
    if not number:
        return ""
    where = "on this machine" if before["path"] == MACHINE else "in its cgroup"
    return "killed by the kernel: out of memory (%d OOM kills %s)" % (number, where)
