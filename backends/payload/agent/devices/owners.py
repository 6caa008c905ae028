"""Whose a process on a device is: its user, its command, the container it is in, and, if it is a
run's, of which run.

Drivers name processes by pids of the machine. Inside a container these mean nothing, or another
process: there, only one that has the device open is taken for the one that is meant.
"""

import pwd

from .. import procs

INITIAL = 0xEFFFFFFC
"""The inode of the first pid namespace (PROC_PID_INIT_INO in the kernel's proc_ns.h)."""
COMMAND = 400
"""Characters that are kept of a command line."""
KINDS = {"cri-containerd": "kubernetes", "crio": "kubernetes", "libpod": "podman"}
"""What a container's runtime is called in a cgroup -> what people call it."""
MOST = 4096
"""Processes that are remembered."""
DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri/")
"""What accelerators are called in the file system."""


class Owners:
    """Remembers what stays as it is while a process lives."""

    def __init__(self, namespace=None):
        self._known = {}
        self._users = {}
        self._foreign = (namespace or procs.pid_namespace()) not in (None, INITIAL)
        self._hidden = None

    def tell(self, processes):
        """Add to each of these dicts what is known of its `pid`: `start`, `started`, `user`,
        `uid`, `command`, `container`, `run`, `attempt` and `rank`; or `hidden`, why nothing is:
        "container" (it is a pid of the machine, and we are in a container), "hidepid" (the system
        shows nobody else's) or "gone" (it ended, or its memory was not given back)."""
        for process in processes:
            pid = process["pid"]
            found = procs.stat_of(pid)
            if found is None or (self._foreign and not _has_device(pid)):
                process["hidden"] = self._why()
                continue
            key = pid, found.starttime
            if key not in self._known:
                if len(self._known) >= MOST:
                    self._known.clear()
                self._known[key] = self._look(pid, found.starttime)
            process.update(self._known[key])

    def _why(self):
        if self._foreign:
            return "container"
        if self._hidden is None:
            self._hidden = hides(procs.read_proc("/proc/self/mountinfo") or b"")
        return "hidepid" if self._hidden else "gone"

    def _look(self, pid, starttime):
        words = (procs.read_proc("/proc/%d/cmdline" % pid) or b"").split(b"\0")
        command = b" ".join(word for word in words if word).decode("utf-8", "replace")
        uid = procs.uid_of(pid)
        said = {
            "start": starttime,
            "started": procs.wall_start(starttime),
            "uid": uid,
            "user": self._user(uid),
            "command": command[:COMMAND],
            "container": container(procs.read_proc("/proc/%d/cgroup" % pid) or b""),
        }
        environ = procs.read_proc("/proc/%d/environ" % pid) or b""
        run, _, attempt = (procs.variable(environ, b"TRAINDECK_RUN") or b"").partition(b"/")
        if run and attempt.isdigit():
            said["run"] = run.decode("ascii", "replace")[:64]
            said["attempt"] = int(attempt)
            rank = procs.variable(environ, b"RANK")
            if rank is None:
                rank = procs.variable(environ, b"TRAINDECK_RANK")
            said["rank"] = int(rank) if rank and rank.isdigit() else None
        return said

    def _user(self, uid):
        if uid is None:
            return None
        if uid not in self._users:
            try:
                self._users[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._users[uid] = str(uid)
        return self._users[uid]


def _has_device(pid):
    return any(path.startswith(DEVICES) for path in procs.open_files(pid))


def hides(mountinfo):
    """Whether /proc is mounted so that it shows a user no processes of others."""
    for line in mountinfo.splitlines():
        words = line.split(b" ")
        if len(words) > 5 and words[4] == b"/proc":
            options = b",".join(words[5:6] + words[-1:]).split(b",")
            return any(o in (b"hidepid=2", b"hidepid=invisible", b"hidepid=4") for o in options)
    return False


def container(cgroup):
    """What a process's /proc/PID/cgroup says that it runs in, in a few words; None if it is just
    in a session or a service of the machine."""
    for line in cgroup.splitlines():
        path = line.rpartition(b":")[2].decode("utf-8", "replace")
        parts = path.split("/")
        job = [part[4:] for part in parts if part.startswith("job_") and part[4:].isdigit()]
        if job and "slurm" in path:
            return "slurm job " + job[0]
        for part in reversed(parts):
            name = part[:-6] if part.endswith(".scope") else part
            kind, _, ident = name.rpartition("-")
            if not kind and len(name) == 64 and _is_hex(name):
                kind, ident = ("kubernetes" if "kubepods" in path else "docker"), name
            if len(ident) == 64 and _is_hex(ident):
                return "%s %s" % (KINDS.get(kind, kind), ident[:12])
    return None


def _is_hex(text):
    return all(letter in "0123456789abcdef" for letter in text)
