"""Looking into a run directory, removing it, and putting files below the root.

Every path is walked from a directory descriptor, one name at a time, through no link: what a job
wrote there leads nowhere else.
"""

import os
import stat
import time

from . import Refused, evidence, layout, locking, records, start, wire

MAX_READ = 4 << 20
LAST_WORDS = 1.0
UNCLAIMED_FOR = 60.0
"""Seconds for which a run directory without a claim may be a start on its way."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_below(base, parts, flags):
    """Open what `parts` names below the directory `base`. Raises Refused."""
    shown = wire.to_text(b"/".join(parts)) or "."
    try:
        fd = os.open(base, DIRECTORY)
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


def _parts(request):
    path = wire.field(request, "path", str, "")
    return start.relative_path(path) if path not in ("", ".") else []


def ls(request, body):
    """The verb: one directory of a run."""
    run = layout.check_id(request.get("run_id"))
    parts = _parts(request)
    fd = open_below(layout.run_dir(run), parts, DIRECTORY)
    entries = []
    try:
        for name in sorted(os.listdir(fd)):
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
    parts = _parts(request)
    offset = wire.field(request, "offset", int, 0)
    size = min(wire.field(request, "size", int, MAX_READ), MAX_READ)
    if offset < 0 or size < 0:
        raise Refused("offset and size must not be negative.")
    if not parts:
        raise Refused("The path of a file is needed.")
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
    layout.locks()
    keep = {start.relative_path(name)[0] for name in wire.field(request, "keep", list, [])}
    path = layout.run_dir(run)
    # The lock that a claim of the next attempt needs: none is made while we look and move.
    claimed = layout.attempts(run)
    lock = locking.take(layout.lock_path(run, claimed[-1] + 1 if claimed else 0))
    if lock is None:
        raise Refused("Run %s is just being started." % run)
    try:
        freed = yield from _remove_run(run, path, keep)
    finally:
        os.close(lock)
    _forget_locks(run)
    return {"freed": freed}


def _remove_run(run, path, keep):
    _refuse_unless_over(run)
    # A supervisor that has just recorded the end has a few lines more to write.
    until = time.monotonic() + LAST_WORDS
    while time.monotonic() < until and evidence.of_run(run, evidence.Look())["supervised"]:
        yield None, 0.01
    freed = 0
    if keep:
        # First of all: without it the rest would look like a run that lost its files.
        records.replace(path + "/removed.json", {"time": time.time()})
        base = open_below(path, [], DIRECTORY)
        try:
            freed += yield from _prune(base, _kept(run, keep))
        finally:
            os.close(base)
    else:
        aside = "%s/.rm-%s-%s" % (layout.runs(), run, os.urandom(4).hex())
        try:
            os.rename(path, aside)
        except OSError as error:
            raise Refused("%s cannot be removed: %s." % (path, error.strerror)) from None
        yield None, 0.0
    base = open_below(layout.runs(), [], DIRECTORY)
    try:
        # What an earlier one left behind as well.
        for name in os.listdir(base):
            if name.startswith(".rm-"):
                freed += yield from _remove(base, name)
    finally:
        os.close(base)
    return freed


def _kept(run, names):
    """Name -> what stays of it, all of it if None: what is to be kept, what the run was, and how it
    ended."""
    kept = dict.fromkeys([os.fsdecode(name) for name in names] + ["run.json", "removed.json"])
    claimed = layout.attempts(run)
    if claimed and "attempts" not in kept:
        end = dict.fromkeys(("claim", "agent.json", "exit.slot"))
        kept["attempts"] = {str(claimed[-1]): end}
    return kept


def _prune(base, kept):
    """Delete what is not to be kept below a directory."""
    freed = 0
    for name in os.listdir(base):
        if name not in kept:
            freed += yield from _remove(base, name)
        elif kept[name] is not None:
            fd = os.open(name, DIRECTORY, dir_fd=base)
            try:
                freed += yield from _prune(fd, kept[name])
            finally:
                os.close(fd)
    return freed


def _refuse_unless_over(run):
    directory = layout.run_dir(run)
    if not os.path.isdir(directory):
        raise Refused("There is no run %s here." % run)
    if layout.is_removed(run):
        return
    facts = evidence.of_run(run, evidence.Look())
    if facts["error"] is not None:
        raise Refused("Run %s cannot be read: %s." % (run, facts["error"]))
    if facts["attempt"] is None:
        if facts["age"] is not None and facts["age"] < UNCLAIMED_FOR:
            raise Refused("Run %s is just being started." % run)
        return
    if not evidence.is_over(facts):
        raise Refused("Attempt %d of run %s is not over." % (facts["attempt"], run))


def _remove(base, name):
    """Delete one entry of a directory and all below it; links are removed, never followed. Counts
    what `ls` calls the files' sizes, so that what was said before is what is freed."""
    try:
        info = os.stat(name, dir_fd=base, follow_symlinks=False)
        if not stat.S_ISDIR(info.st_mode):
            os.unlink(name, dir_fd=base)
            return info.st_size if info.st_nlink == 1 else 0
        freed = 0
        fd = os.open(name, DIRECTORY, dir_fd=base)
        try:
            for count, inner in enumerate(os.listdir(fd)):
                freed += yield from _remove(fd, inner)
                if count % 100 == 99:
                    yield None, 0.0
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=base)
        return freed
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise Refused("%s cannot be removed: %s." % (name, error.strerror)) from None


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
