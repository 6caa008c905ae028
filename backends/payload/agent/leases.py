"""Which run has which device, for all users of this machine.

A lease is a lock on a file of the device's name in one folder of the machine. The lock belongs to
the open file and is inherited by the job, so it lives for as long as the supervisor or the job
does, whatever is killed, and ends with the last of them. Nothing in the file is read; who holds it
stands in a file beside it, which is that user's own and believed only while the lock is there.

The folder is everybody's to write into (as /tmp, with the sticky bit), for a queue of each user's
own would not keep two users from one device. A file that was removed under its holder is found out:
whoever takes one looks whether it still is the one of that name, and a holder looks now and then.
"""

import fcntl
import os
import stat
import struct
import time

from . import Refused, locking, procs, records, survey, wire

FOLDER = "/var/tmp/traindeck-devices"  # noqa: S108 (checked by `check_folder`)
F_OFD_GETLK = 36
FLOCK = "hhqqi4x"
PATIENCE = 1.0
"""Seconds that another user may take between making a file and letting others open it."""
TRIES = 100
"""Times that a file may be replaced while it is being locked."""
MOST_RECORD = 4096
NAMED = 3
"""Holders that a reason names."""


class Lease:
    """A device that is ours.

    Attributes:
        fd: What holds it; whoever inherits it holds it too.
    """

    def __init__(self, uuid, path, fd):
        self.uuid = uuid
        self.path = path
        self.fd = fd
        self.noted = None
        """What was said of who holds it."""

    def is_ours(self):
        """Whether its file is still the one of that name."""
        return _is_file(self.fd, self.path)

    def care(self):
        """Keep the file from those who clean up, and hold the one that has its place if it was
        removed. False if that one is somebody else's: two hold the device now."""
        try:
            os.utime(self.fd)
        except OSError:
            pass  # another user's file: its name is enough
        if self.is_ours():
            return True
        fd = _try(self.path)
        if fd is None:
            return False
        # The one before stays open: who inherited it holds that.
        self.fd = fd
        return True

    def release(self):
        """Hold it no more; who inherited it may, and then it stays said who that is."""
        os.close(self.fd)
        if self.noted is None:
            return
        record = _record_path(self.path, os.getuid())
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if not _is_locked(fd) and records.read_bytes(record) == self.noted:
                    os.unlink(record)
            finally:
                os.close(fd)
        except OSError:
            pass


def check_folder(path):
    """Raise Refused, with what is wrong, unless leases may lie there."""
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode):
        raise Refused("%s is to be a folder for the leases of devices, and is none." % path)
    mounts = procs.read_proc("/proc/self/mountinfo") or b""
    kind = survey.file_system(os.path.realpath(os.fsencode(path)), mounts)
    if kind in survey.NETWORK or kind.startswith(b"fuse"):
        raise Refused(
            "%s is on a network file system (%s), where a lock may hang or be forgotten: "
            "leases of devices need a disk of this machine."
            % (path, kind.decode("ascii", "replace"))
        )
    if stat.S_IMODE(info.st_mode) & 0o1777 != 0o1777:
        raise Refused(
            "%s belongs to %s and not everybody may write into it, so it cannot hold the leases of "
            "devices: `sudo chmod 1777 %s`." % (path, _user(info.st_uid), path)
        )


def folder(path=FOLDER):
    """The folder, made if need be. Raises Refused if it is not as it has to be."""
    try:
        os.mkdir(path, 0o700)
        os.chmod(path, 0o1777)  # noqa: S103 (as /tmp; the umask has no say)
    except FileExistsError:
        pass
    except OSError as error:
        raise Refused("%s cannot be made: %s." % (path, error.strerror)) from None
    until = time.monotonic() + PATIENCE
    while True:
        try:
            check_folder(path)
            return path
        except Refused:
            # Somebody is just making it.
            if time.monotonic() >= until:
                raise
            time.sleep(0.01)


def take(uuids, words, path=FOLDER):
    """Take all of these devices, or none.

    Args:
        uuids: Of the devices.
        words: What to say of the holder: `run`, `attempt`, `name`.

    Returns:
        Leases in the order of `uuids`, or the uuid of one that somebody holds. They are taken in
        one order by everybody, and no one is waited for: nobody holds a part while they wait.
    """
    base = folder(path)
    found = {}
    for uuid in sorted(set(uuids)):
        file = _path(base, uuid)
        fd = _try(file)
        if fd is None:
            for lease in found.values():
                lease.release()
            return uuid
        found[uuid] = Lease(uuid, file, fd)
    for lease in found.values():
        lease.noted = _note(lease.path, words)
    return [found[uuid] for uuid in uuids]


def held(uuids, path=FOLDER):
    """{uuid: who holds it} of those that somebody holds: a dict with `user`, and as far as that is
    known `run`, `attempt`, `name` and `since`. Takes no lock, and makes nothing."""
    found = {}
    for uuid in uuids:
        file = _path(path, uuid)
        try:
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            continue
        except OSError:
            found[uuid] = {"user": _owner(file)}  # it cannot be looked into: nobody's to take
            continue
        try:
            if _is_locked(fd):
                found[uuid] = _holder(path, uuid)
        finally:
            os.close(fd)
    return found


def all_held(path=FOLDER):
    """The same of every device that somebody holds; {} where leases cannot lie."""
    try:
        check_folder(path)
        names = os.listdir(path)
    except (OSError, Refused):
        return {}
    end = ".lease"
    return held(
        [n[: -len(end)] for n in names if n.endswith(end) and is_name(n[: -len(end)])], path
    )


class Wanted:
    """Devices that a run is to have before it starts.

    Args:
        request: run.json's `lease`: `devices`, the ones that will do, best first; `count`; `folder`
            if it is not the usual one.

    Attributes:
        leases: Those that it has.
    """

    def __init__(self, request):
        devices = request.get("devices")
        if not isinstance(devices, list) or not all(isinstance(one, str) for one in devices):
            raise Refused("run.json does not name the devices to take.")
        self.devices = list(dict.fromkeys(devices))
        self.count = request.get("count")
        if not isinstance(self.count, int) or not 0 < self.count <= len(self.devices):
            raise Refused("run.json does not say how many devices to take.")
        self.folder = wire.field(request, "folder", str, FOLDER)
        self.leases = []

    def try_to_take(self, words):
        """Take enough of them if they are free now. "" if they are ours, else what is missing."""
        taken = held(self.devices, self.folder)
        while True:
            free = [one for one in self.devices if one not in taken]
            if len(free) < self.count:
                return self._missing(len(free), taken)
            found = take(free[: self.count], words, self.folder)
            if not isinstance(found, str):
                self.leases = found
                return ""
            # Somebody was faster with that one, or lets nobody at it; there may be others.
            taken[found] = _holder(self.folder, found)

    def _missing(self, free, taken):
        who = []
        for holder in taken.values():
            name = holder.get("name") or holder.get("run") or "another program"
            words = "%s of %s" % (name, holder["user"]) if holder.get("user") else name
            if words not in who:
                who.append(words)
        more = " and %d more" % (len(who) - NAMED) if len(who) > NAMED else ""
        return "waits for %s, %s free: the others are held by %s%s" % (
            "a GPU" if self.count == 1 else "%d GPUs" % self.count,
            "none is" if not free else "1 is" if free == 1 else "%d are" % free,
            ", ".join(who[:NAMED]),
            more,
        )

    def variables(self):
        """What tells a program which devices are its own."""
        uuids = ",".join(lease.uuid for lease in self.leases)
        return {b"CUDA_VISIBLE_DEVICES": uuids.encode("ascii"), b"CUDA_DEVICE_ORDER": b"PCI_BUS_ID"}

    def care(self):
        """See Lease.care. Returns the uuids of those that somebody else holds as well."""
        return [lease.uuid for lease in self.leases if not lease.care()]

    def release(self):
        """Hold none any more; what a process inherited stays held."""
        for lease in self.leases:
            lease.release()
        self.leases = []


# ------------------------------------------------------------------------------------- inside


def is_name(uuid):
    """Whether a device of this name can be leased."""
    return 0 < len(uuid) <= 100 and all(c.isalnum() or c in "-_" for c in uuid)


def _path(base, uuid):
    if not is_name(uuid):
        raise Refused("%.120r names no device." % (uuid,))
    return "%s/%s.lease" % (base, uuid)


def _try(path):
    """A descriptor of the file, locked; None if somebody holds it."""
    until = time.monotonic() + PATIENCE
    for _ in range(TRIES):
        fd = _open(path, until)
        if fd is None:
            return None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Refused("%s is no ordinary file." % path)
        try:
            fcntl.fcntl(fd, locking.F_OFD_SETLK, locking.EXCLUSIVE_WHOLE)
        except OSError as error:
            os.close(fd)
            if error.errno in locking.BUSY:
                return None
            raise Refused("%s cannot be locked: %s." % (path, error.strerror)) from None
        if _is_file(fd, path):
            return fd
        os.close(fd)  # removed or replaced meanwhile: the lock is on what nobody sees
    return None


def _open(path, until):
    """A descriptor of the file, made if it is not there; None if it is somebody's who lets nobody
    open it."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        try:
            # Without O_CREAT first: in a sticky folder that is refused for another user's file.
            return os.open(path, flags)
        except FileNotFoundError:
            pass
        except PermissionError:
            if time.monotonic() >= until:
                return None
            time.sleep(0.01)  # its maker has not let others in yet
            continue
        except OSError as error:
            raise Refused("%s cannot be opened: %s." % (path, error.strerror)) from None
        try:
            fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        except OSError as error:
            raise Refused("%s cannot be made: %s." % (path, error.strerror)) from None
        os.fchmod(fd, 0o666)  # the umask has no say
        return fd


def _is_file(fd, path):
    try:
        there = os.lstat(path)
    except OSError:
        return False
    ours = os.fstat(fd)
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _is_locked(fd):
    asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        kind = struct.unpack(FLOCK, fcntl.fcntl(fd, F_OFD_GETLK, asked))[0]
    except OSError:
        return True  # who cannot be asked is not taken for free
    return kind != fcntl.F_UNLCK


def _record_path(path, uid):
    return "%s.%d.json" % (path[: -len(".lease")], uid)


def _note(path, words):
    """Say who has it: the bytes that were written, None if they could not be. It is only for
    people, and holds nobody up."""
    said = dict(words, user=survey.user(), since=time.time(), boot_id=procs.boot_id())
    target = _record_path(path, os.getuid())
    aside = "%s.%d" % (target, os.getpid())
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(aside, flags, 0o600)
        try:
            data = wire.dumps(said).encode("ascii")
            wire.write_all(fd, data)
            os.fchmod(fd, 0o644)
        finally:
            os.close(fd)
        os.rename(aside, target)
    except OSError:
        return None
    return data


def _holder(base, uuid):
    """What the newest record of this boot says. Its user is who owns it, whatever it says."""
    best = {"user": _owner(_path(base, uuid)), "since": 0.0}
    try:
        names = os.listdir(base)
    except OSError:
        names = []
    for name in names:
        if not (name.startswith(uuid + ".") and name.endswith(".json")):
            continue
        try:
            fd = records.open_regular("%s/%s" % (base, name))
            if fd is None:
                continue
            try:
                owner = os.fstat(fd).st_uid
                said = wire.parse_object(os.read(fd, MOST_RECORD))
            finally:
                os.close(fd)
        except OSError:
            continue
        since = records.number(said.get("since")) if said else None
        if since is None or said.get("boot_id") != procs.boot_id() or since < best["since"]:
            continue
        best = {"user": _user(owner), "since": since}
        for key, kind in (("run", str), ("name", str), ("attempt", int)):
            if isinstance(said.get(key), kind):
                best[key] = said[key][:200] if kind is str else said[key]
    if not best["since"]:
        del best["since"]
    return best


def _owner(path):
    try:
        return _user(os.lstat(path).st_uid)
    except OSError:
        return ""


def _user(uid):
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "user %d" % uid
