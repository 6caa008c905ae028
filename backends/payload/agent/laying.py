"""Laying out a tree: a run's own copy of its code.

Of ten thousand files most of the time goes into making them, which is the kernel's; so a large tree
is laid out by several processes, each some of its folders.
"""

import errno
import os
import time

from . import Refused, blobs, wire

ALONE = 0.015
"""Seconds after which what is left is shared out: what takes less is not worth a process."""
HELPERS = 4
SMALL = 1 << 16
"""Bytes up to which a file is copied by reading it at once."""
DEEPEST = 200
MOST = 1000000
"""Files and folders that a process lays out at the most: a small tree could name a large one again
and again."""


def lay_out(digest, folder):
    """Make a tree's folders and files below `folder` (bytes), which is made if need be. A generator
    that gives way. Raises OSError where that cannot be written.

    A refusal for blobs that are not here names them all, in its body."""
    laying = _Laying([(blobs.check_digest(digest), folder, 0)])
    yield from laying.work(time.monotonic() + ALONE)
    if laying.todo:
        yield from _share_out(laying)
    missing = laying.missing
    if missing:
        raise Refused(
            "%d blobs of the code are not in %s: send them first." % (len(missing), blobs.store()),
            {"missing": len(missing)},
            b"".join(map(bytes.fromhex, missing)),
        )


class _Laying:
    """Folders that are to be laid out.

    Attributes:
        todo: [(digest, path in bytes, depth)] of those that are left.
        missing: The digests of what is not here, as keys: then the rest is only looked at.
    """

    def __init__(self, todo, count=0, missing=()):
        self.todo = todo
        self.count = count
        self.missing = dict.fromkeys(missing, True)

    def work(self, until=None):
        """Lay them out, and what is in them; until a moment, if more than one is left then. A
        generator."""
        base = blobs.store()
        turn = time.monotonic() + blobs.STEP
        missing = self.missing
        while self.todo:
            if until is not None and len(self.todo) > 1 and time.monotonic() > until:
                return
            digest, folder, depth = self.todo.pop()
            entries = blobs.entries_of(digest)
            if entries is None:
                missing[digest] = True
                continue
            if not missing:
                os.makedirs(folder, 0o700, exist_ok=True)
            self.count += len(entries) + 1
            if self.count > MOST or depth > DEEPEST:
                raise Refused(
                    "The code is deeper or has more files than any that is laid out here."
                )
            for name, kind, inner, size in entries:
                path = folder + b"/" + name
                mode = 0o700 if kind == "exec" else 0o600
                if kind == "tree":
                    self.todo.append((inner, path, depth + 1))
                    continue
                if missing:
                    there = blobs.is_whole(inner, size)
                elif size <= SMALL:
                    there = _copy_small("%s/%s/%s" % (base, inner[:2], inner), path, size, mode)
                else:
                    there = yield from _copy(inner, path, size, mode)
                if not there and not blobs.is_whole(inner, size):
                    missing[inner] = True
                if time.monotonic() > turn:
                    yield None, 0.0
                    turn = time.monotonic() + blobs.STEP


# --------------------------------------------------------------------------------------- by several


def _share_out(laying):
    """Lay out what is left, in as many processes as there are processors for it. A generator."""
    count = min(HELPERS, len(os.sched_getaffinity(0)), len(laying.todo))
    todo, laying.todo = laying.todo, []
    helpers = {}
    try:
        for n in range(count if count > 1 else 0):
            fd, pid = _helper(_Laying(todo[n::count], laying.count, laying.missing))
            if pid is None:  # no more processes for this user
                laying.todo += todo[n::count]
            else:
                helpers[fd] = pid
        if not helpers:
            laying.todo = todo
        yield from laying.work()
        for fd in list(helpers):
            said = b""
            while True:
                yield fd, 3600.0
                piece = os.read(fd, blobs.PIECE)
                if not piece:
                    break
                said += piece
            _take(said, laying)
    finally:
        for fd, pid in helpers.items():
            os.close(fd)
            os.kill(pid, 9)  # it has ended, or is not waited for
            os.waitpid(pid, 0)


def _helper(laying):
    """(descriptor of what it says, pid) of a process that lays this out; (None, None) if there can
    be none."""
    fd, theirs = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(fd)
        os.close(theirs)
        return None, None
    if pid:
        os.close(theirs)
        return fd, pid
    try:
        try:
            for _ in laying.work():
                pass
            words = {"missing": list(laying.missing)}
        except Refused as refused:
            words = {"refused": str(refused)}
        except OSError as error:
            words = {"errno": error.errno}
        wire.write_all(theirs, wire.dumps(words).encode("ascii"))
        os._exit(0)
    finally:
        os._exit(1)


def _take(said, laying):
    """What one of them has said."""
    words = wire.parse_object(said)
    if words is None:
        raise Refused("A process that laid out the code was ended before it was done.")
    if "errno" in words:
        raise OSError(words["errno"], os.strerror(words["errno"]))
    if "refused" in words:
        raise Refused(words["refused"])
    laying.missing.update(dict.fromkeys(words["missing"], True))


# -------------------------------------------------------------------------------------------- files


def _copy_small(source, path, size, mode):
    """A file of one's own from a blob; False if that is not here, whole. Of these there may be ten
    thousand, and somebody waits."""
    try:
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        data = os.read(fd, size + 1)
    finally:
        os.close(fd)
    if len(data) != size:
        return False
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        if size and os.write(fd, data) != size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(fd)
    return True


def _copy(digest, path, size, mode):
    """As `_copy_small`, for a file that takes its time. A generator."""
    try:
        source = os.open(blobs.path_of(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            return (yield from _copy_large(source, target)) == size
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_large(source, target):
    """All bytes of a file into another, shared until one of them changes where the file system can
    do so. Returns how many; a generator."""
    within = getattr(os, "copy_file_range", None)  # from Python 3.8 on
    done = 0
    while True:
        more = 0
        if within is not None:
            try:
                more = within(source, target, 16 * blobs.PIECE)
            except OSError:
                within = None  # not between these file systems; a full disk is seen below
        if within is None:
            data = os.read(source, blobs.PIECE)
            wire.write_all(target, data)
            more = len(data)
        if not more:
            return done
        done += more
        yield None, 0.0
