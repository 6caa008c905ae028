"""Looking into a run directory, removing it, and putting files below the root.

Every path is walked from a directory descriptor, one name at a time, through no link: what a job
wrote there leads nowhere else.
"""

import os
import stat
import time

from . import Refused, evidence, layout, locking, records, secrets, start, wire

MAX_READ = 4 << 20
LAST_WORDS = 1.0
UNCLAIMED_FOR = 60.0
"""Seconds for which a run directory without a claim may be a start on its way."""
DEEPEST = 100
"""Folders in folders that are open at once while a run is removed."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_below(base, parts, flags):
    """Open what `parts` names below the directory `base`. Raises Refused."""
    shown = wire.to_text(b"/".join(parts)) or "."
    try:
        fd = os.open(base, DIRECTORY)
    except FileNotFoundError:
        raise layout.gone(base) from None
    except OSError as error:
        raise Refused("%s cannot be opened: %s." % (base, error.strerror)) from None
    try:
        for at, part in enumerate(parts):
            last = at == len(parts) - 1
            following = os.open(
                part,
                (flags if last else DIRECTORY) | os.O_NOFOLLOW | os.O_CLOEXEC,
                dir_fd=fd,
            )
            os.close(fd)
            fd = following
    except OSError as error:
        os.close(fd)
        raise Refused("%s cannot be opened: %s." % (shown, error.strerror)) from None
    return fd


def parts_of(request):
    """The parts of a request's path below the run directory, none for the directory itself."""
    path = wire.field(request, "path", str, "")
    return start.relative_path(path) if path not in ("", ".") else []


def ls(request, body):
    """The verb: one directory of a run."""
    run = layout.check_id(request.get("run_id"))
    parts = parts_of(request)
    fd = open_below(layout.run_dir(run), parts, DIRECTORY)
    entries = []
    try:
        for name in sorted(os.listdir(fd)):
            if not parts and name == secrets.NAME:
                continue
            try:
                info = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError:
                continue
            path = b"/".join([*parts, os.fsencode(name)])
            entries.append(
                {
                    "path": wire.to_text(path),
                    "size": info.st_size,
                    "modified": info.st_mtime,
                    "is_dir": stat.S_ISDIR(info.st_mode),
                }
            )
    finally:
        os.close(fd)
    return {"entries": entries}


def read(request, body):
    """The verb: a piece of one file of a run."""
    run = layout.check_id(request.get("run_id"))
    parts = parts_of(request)
    offset = wire.field(request, "offset", int, 0)
    size = min(wire.field(request, "size", int, MAX_READ), MAX_READ)
    if offset < 0 or size < 0:
        raise Refused("offset and size must not be negative.")
    if not parts:
        raise Refused("The path of a file is needed.")
    if parts == [os.fsencode(secrets.NAME)]:
        raise Refused("%s holds secrets: it is shown to nobody." % secrets.NAME)
    fd = open_below(layout.run_dir(run), parts, os.O_RDONLY | os.O_NONBLOCK)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise Refused("%s is not a regular file." % request["path"])
        return {"total": info.st_size}, os.pread(fd, size, offset)
    finally:
        os.close(fd)


def rm(request, body):
    """The verb: delete a run that is over. A generator that pauses between files."""
    run = layout.check_id(request.get("run_id"))
    keep = {start.relative_path(name)[0] for name in wire.field(request, "keep", list, [])}
    layout.check_mounted()
    layout.locks()
    # Before we take a lock, which would look like something of the run that lives.
    facts = evidence.of_run(run, evidence.Look())
    if not facts["found"] and facts["alive"]:
        raise Refused("Run %s is not over, though its directory is gone." % run)
    removal = Removal()
    # The folder of all runs is ours: it may be a link to one on another disk.
    base = os.open(layout.runs(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # The lock that a claim of the next attempt needs: none is made while we look and move.
        claimed = layout.attempts(run)
        lock = locking.take(layout.lock_path(run, claimed[-1] + 1 if claimed else 0))
        if lock is None:
            raise Refused("Run %s is just being started." % run)
        try:
            if os.path.lexists(layout.run_dir(run)):
                yield from _remove_run(run, base, keep, removal)
            _forget_locks(run)
        finally:
            os.close(lock)
        # Nothing of the run is left by now that a poll could take for life.
        yield from _remove_left(run, base, removal)
    finally:
        os.close(base)
    return {"freed": removal.freed}


def _remove_run(run, base, keep, removal):
    _refuse_unless_over(run)
    # A supervisor that has just recorded the end has a few lines more to write.
    until = time.monotonic() + LAST_WORDS
    while time.monotonic() < until and evidence.of_run(run, evidence.Look())["supervised"]:
        yield None, 0.01
    try:
        if keep:
            directory = open_to_empty(base, run)
            try:
                # First of all: without it the rest would look like a run that lost its files.
                records.replace(layout.run_dir(run) + "/removed.json", {"time": time.time()})
                yield from _prune(directory, _kept(run, keep), removal)
            finally:
                os.close(directory)
        else:
            aside = ".rm-%s-%s" % (run, os.urandom(4).hex())
            os.rename(run, aside, src_dir_fd=base, dst_dir_fd=base)
    except OSError as error:
        raise Refused("Run %s cannot be removed: %s." % (run, error.strerror)) from None
    if removal.failed is not None:
        raise Refused(removal.failed)


def _remove_left(run, base, removal):
    """Delete what was put aside, by us and by earlier ones. Those runs are gone already: what of
    them cannot be deleted keeps nobody from anything."""
    left = [name for name in os.listdir(base) if name.startswith(".rm-")]
    for name in sorted(left, key=lambda name: not name.startswith(".rm-%s-" % run)):
        yield from removal.remove(base, name)


def _kept(run, names):
    """Name -> what stays of it, all of it if None: what is to be kept, what the run was, and how it
    ended."""
    kept = dict.fromkeys([os.fsdecode(name) for name in names] + ["run.json", "removed.json"])
    claimed = layout.attempts(run)
    if claimed and "attempts" not in kept:
        end = dict.fromkeys(("claim", "agent.json", "exit.slot", "queued.json", "word.json"))
        kept["attempts"] = {str(claimed[-1]): end}
    return kept


def _prune(base, kept, removal):
    """Delete what is not to be kept below a directory."""
    for name in os.listdir(base):
        if name not in kept:
            yield from removal.remove(base, name)
        elif kept[name] is not None:
            fd = open_to_empty(base, name)
            try:
                yield from _prune(fd, kept[name], removal)
            finally:
                os.close(fd)


def _refuse_unless_over(run):
    if layout.is_removed(run):
        return
    facts = evidence.of_run(run, evidence.Look())
    if facts["error"] is not None:
        raise Refused("Run %s cannot be read: %s." % (run, facts["error"]))
    if facts["attempt"] is None and facts.get("queued") is not None:
        if not evidence.is_over(facts):
            raise Refused("Run %s waits in a queue: it is not over." % run)
        return
    if facts["attempt"] is None:
        if facts["age"] is not None and facts["age"] < UNCLAIMED_FOR:
            raise Refused("Run %s is just being started." % run)
        return
    if not evidence.is_over(facts):
        raise Refused("Attempt %d of run %s is not over." % (facts["attempt"], run))


def open_to_empty(base, name):
    """A descriptor of a folder that is to be emptied; if its mode forbids that and it is ours, the
    mode is changed."""
    there = os.open(name, DIRECTORY | os.O_PATH, dir_fd=base)
    try:
        if os.fstat(there).st_mode & 0o700 != 0o700:
            try:
                os.chmod("/proc/self/fd/%d" % there, 0o700)
            except OSError:
                pass  # what cannot be done with it is said there
        return os.open(".", DIRECTORY, dir_fd=there)
    finally:
        os.close(there)


class Removal:
    """Deletes entries of directories and all below them; links are removed, never followed. What
    cannot be deleted is left, and the rest goes all the same.

    Attributes:
        freed: What `ls` calls the deleted files' sizes, so that what was said before is what is
            freed.
        failed: A sentence about the first that could not be deleted, or None.
    """

    def __init__(self):
        self.freed = 0
        self.failed = None

    def remove(self, base, name):
        """Delete one entry of a directory. A generator that pauses between files."""
        todo = [name]
        while todo:
            yield from self._remove(base, todo.pop(), DEEPEST, base, todo)

    def _remove(self, base, name, levels, top, todo):
        """The same. What lies more than `levels` deep is moved up to `top` and left `todo`: a tree
        may be deeper than there are calls and descriptors."""
        try:
            info = os.stat(name, dir_fd=base, follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode):
                os.unlink(name, dir_fd=base)
                self.freed += info.st_size if info.st_nlink == 1 else 0
                return
            fd = open_to_empty(base, name)
            try:
                if levels == 0:
                    moved = ".rm-" + os.urandom(6).hex()
                    os.rename(name, moved, src_dir_fd=base, dst_dir_fd=top)
                    todo.append(moved)
                    return
                for count, inner in enumerate(os.listdir(fd)):
                    yield from self._remove(fd, inner, levels - 1, top, todo)
                    if count % 100 == 99:
                        yield None, 0.0
            finally:
                os.close(fd)
            os.rmdir(name, dir_fd=base)
        except FileNotFoundError:
            pass
        except OSError as error:
            if self.failed is None:
                self.failed = "%s cannot be removed: %s." % (name, error.strerror)


def _forget_locks(run):
    folder = layout.locks_path()
    for name in os.listdir(folder):
        if name.startswith(run + "."):
            try:
                os.unlink("%s/%s" % (folder, name))
            except OSError:
                pass


def put(request, body):
    """The verb: a file below the root, whole or not there. Run directories are made by `start`."""
    import hashlib

    parts = start.relative_path(wire.field(request, "path", str, required=True))
    mode = wire.field(request, "mode", int, 0o600) & 0o700 | 0o600
    if parts[0] == b"runs":
        raise Refused("Files of a run come with `start`.")
    root = layout.root()
    fd = os.open(root, DIRECTORY)
    temporary = b".put-" + os.urandom(6).hex().encode()
    try:
        for part in parts[:-1]:
            try:
                os.mkdir(part, 0o700, dir_fd=fd)
            except FileExistsError:
                pass
            following = os.open(part, DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = following
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        out = os.open(temporary, flags, mode, dir_fd=fd)
        try:
            try:
                wire.write_all(out, body)
                os.fsync(out)
            finally:
                os.close(out)
            os.rename(temporary, parts[-1], src_dir_fd=fd, dst_dir_fd=fd)
        except OSError:
            os.unlink(temporary, dir_fd=fd)
            raise
    except OSError as error:
        raise Refused("%s cannot be written: %s." % (request["path"], error.strerror)) from None
    finally:
        os.close(fd)
    return {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
