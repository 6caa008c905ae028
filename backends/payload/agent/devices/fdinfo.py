"""Who has a graphics card open, and what the kernel accounts to them (/proc/PID/fdinfo, as in its
drm-usage-stats).

Finding them takes a look at every open file of every process, so that is done each RESCAN seconds
only; in between, only what was found is read. A user may look at their own processes: where there
are others, `Clients.hidden` says so, for an empty list would not mean that there is nobody.
"""

import os

from .. import procs
from . import owners

RESCAN = 5.0
"""Seconds between two looks at who has a card open."""
FOLDER = "/dev/dri/"
LONGEST = 1 << 16
"""Bytes of a file that are read."""
MOST_FILES = 4096
"""Open files of one card that are read."""
UNITS = {b"": 1, b"KiB": 1 << 10, b"MiB": 1 << 20, b"GiB": 1 << 30, b"ns": 1}
COMPUTE = ("compute", "ccs")
"""Engines that do nothing but compute, as amdgpu, i915 and xe call them."""


class Client:
    """What the kernel accounts to one opening of a card, however many descriptors it has.

    Attributes:
        key: What it is called as long as it lives.
        memory: Region -> bytes that it has in it; None if that is not said.
        engines: Engine -> (used, of what, how many there are): counters in nanoseconds, or in
            cycles of the engine with all its cycles beside them (else None).
        shares: Engine -> percent of it since the last look; None where that is not known.
    """

    def __init__(self, key, pid, said):
        self.key = key
        self.pid = pid
        self.shares = None
        self.memory = _memory(said) or None
        self.engines = _engines(said)

    @property
    def idle(self):
        """Whether it is open and nothing else: it never used anything, and holds nothing."""
        if self.memory is None or not self.engines:
            return False
        return not any(self.memory.values()) and not any(e[0] for e in self.engines.values())

    @property
    def computes(self):
        """Whether it ever used an engine that only computes."""
        return any(self.engines[name][0] for name in COMPUTE if name in self.engines)


class Clients:
    """All who have a card open.

    Args:
        proc: Where the kernel tells of its processes.
        namespace: Our pid namespace, if it is not to be asked for.

    Attributes:
        hidden: Whether there are processes that we cannot look into.
    """

    def __init__(self, proc="/proc", namespace=None):
        self.proc = proc
        self.hidden = False
        inside = (namespace or procs.pid_namespace()) not in (None, owners.INITIAL)
        self._always_hidden = inside
        self._mounts_read = False
        self._due = 0.0
        self._open = {}
        """Name of a device file -> [(pid, descriptor)]."""

    def look(self, now):
        """Find out who has a card open, if that is due."""
        if now < self._due:
            return
        self._due = now + RESCAN
        if not self._mounts_read:
            self._mounts_read = True
            mounts = procs.read_proc(self.proc + "/self/mountinfo") or b""
            if os.geteuid() != 0 and owners.hides(mounts):
                self._always_hidden = True
        self.hidden = self._always_hidden
        found = {}
        try:
            names = os.listdir(self.proc)
        except OSError:
            self.hidden = True
            names = []
        for pid in sorted(int(name) for name in names if name.isdigit()):
            folder = "%s/%d/fd" % (self.proc, pid)
            try:
                for fd in os.listdir(folder):
                    path = _target("%s/%s" % (folder, fd))
                    if path.startswith(FOLDER):
                        found.setdefault(path[len(FOLDER) :], []).append((pid, fd))
            except PermissionError:
                self.hidden = True
            except OSError:
                pass  # it ended
        self._open = found

    def of(self, nodes, pci):
        """The Clients of a card, by the names of its device files. What several processes have
        open together is the first one's: it was there before those it handed it to."""
        found = {}
        files = [one for node in sorted(nodes) for one in self._open.get(node, ())]
        for pid, fd in sorted(files)[:MOST_FILES]:
            try:
                said = parse(read("%s/%d/fdinfo/%s" % (self.proc, pid, fd)))
            except PermissionError:
                self.hidden = True
                continue
            except OSError:
                continue  # closed, or it ended
            if said.get("drm-pdev", pci) != pci:
                continue
            ident = said.get("drm-client-id")
            if "drm-driver" not in said:
                # Another file by now; or an old kernel, which accounts nothing.
                if not _target("%s/%d/fd/%s" % (self.proc, pid, fd)).startswith(FOLDER):
                    continue
                ident = None
            key = ident or (pid, fd)
            if key not in found:
                found[key] = Client(key, pid, said)
        return list(found.values())


class Shares:
    """What each Client of a card had of its engines, from one look to the next."""

    def __init__(self):
        self._before = None

    def forget(self):
        """What comes next has nothing to do with what was."""
        self._before = None

    def tell(self, clients, now):
        """Set the `shares` of each. False if there was no look before."""
        before, self._before = self._before, (now, {one.key: one.engines for one in clients})
        if before is None or now <= before[0]:
            return False
        for client in clients:
            was = before[1].get(client.key)
            if was is not None and client.engines:
                client.shares = _shares(was, client.engines, now - before[0])
        return True


def busiest(clients):
    """Percent of the engine that these had most of; None if nothing is known of any."""
    used = {}
    for client in clients:
        for name, share in (client.shares or {}).items():
            used[name] = used.get(name, 0.0) + share
    return round(min(max(used.values()), 100.0), 1) if used else None


def processes(clients, regions):
    """pid -> what a reading says of a process, of those who have a card open. `regions`: what the
    memory that counts is called at the beginning."""
    found = {}
    for client in clients:
        if not client.idle:
            found.setdefault(client.pid, []).append(client)
    said = {}
    for pid, its in found.items():
        held = [
            size
            for client in its
            for region, size in (client.memory or {}).items()
            if region.startswith(regions)
        ]
        said[pid] = {
            "pid": pid,
            "kind": "compute" if any(client.computes for client in its) else "graphics",
            "memory_bytes": sum(held) if held else None,
            "utilization_pct": busiest(its),
        }
    return said


def read(path):
    """The beginning of a file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while len(data) < LONGEST:
            more = os.read(fd, LONGEST - len(data))
            if not more:
                break
            data += more
        return data
    finally:
        os.close(fd)


def parse(data):
    """Key -> value of what DRM says in a fdinfo."""
    said = {}
    for line in data.splitlines():
        key, colon, value = line.partition(b":")
        if colon and key.startswith(b"drm-"):
            words = value.strip().decode("ascii", "replace")
            said.setdefault(key.decode("ascii", "replace"), words)
    return said


def whole(words):
    """The whole number that these words (or bytes) are, or None. There is none of more than 20
    digits."""
    if not isinstance(words, bytes):
        words = words.encode("ascii", "replace")
    digits = words[1:] if words[:1] == b"-" else words
    return int(words) if digits.isdigit() and len(digits) <= 20 else None


def amount(text):
    """Bytes, nanoseconds or cycles from a value with its unit; None if it is none."""
    words, _, unit = text.encode("ascii", "replace").partition(b" ")
    number = whole(words)
    if number is None or unit.strip() not in UNITS:
        return None
    value = number * UNITS[unit.strip()]
    return value if 0 <= value < 1 << 63 else None


def _memory(said):
    """Region -> bytes. What is there counts, not what was asked for; drivers that tell only the
    latter, or in the older words, are taken at those."""
    found = {}
    for kind in ("drm-total-", "drm-memory-", "drm-resident-"):
        for key, text in said.items():
            if key.startswith(kind) and not key.startswith("drm-total-cycles-"):
                size = amount(text)
                if size is not None:
                    found[key[len(kind) :]] = size
    return found


def _engines(said):
    found = {}
    for key, text in said.items():
        if key.startswith("drm-engine-") and not key.startswith("drm-engine-capacity-"):
            name, whole = key[len("drm-engine-") :], None
        elif key.startswith("drm-cycles-"):
            name = key[len("drm-cycles-") :]
            whole = amount(said.get("drm-total-cycles-" + name, ""))
            if whole is None:
                continue
        else:
            continue
        used = amount(text)
        if used is not None:
            many = amount(said.get("drm-engine-capacity-" + name, "")) or 1
            found[name] = used, whole, many
    return found


def _shares(was, engines, seconds):
    found = {}
    for name, (used, whole, many) in engines.items():
        before = was.get(name)
        if before is None or (whole is None) != (before[1] is None):
            continue
        gone = seconds * 1e9 if whole is None else whole - before[1]
        if gone <= 0 or used < before[0]:
            continue  # the counters began anew
        found[name] = min(100.0 * (used - before[0]) / gone / many, 100.0)
    return found or None


def _target(link):
    try:
        return os.readlink(link)
    except PermissionError:
        raise
    except OSError:
        return ""
