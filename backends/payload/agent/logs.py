"""Reading logs: of any size, at any place, while they grow.

Nothing here keeps a lock, or reads more at once than it answers with or searches in one step.
"""

import os
import time

from . import Refused, evidence, exit_slot, layout, logfile, wire

MAX_READ = 4 << 20
SEARCH_STEP = 4 << 20
MAX_NEEDLE = 1 << 16
OVER_AGAIN = 2.0
"""Seconds between two looks for whether a silent attempt is over without a record."""


def target(request):
    """(run, attempt, rank) of a request, checked."""
    run = layout.check_id(request.get("run_id"))
    attempt = layout.check_attempt(request.get("attempt", 0))
    rank = layout.check_attempt(request.get("rank", 0), "rank")
    if not os.path.lexists(layout.run_dir(run)):
        raise layout.gone(layout.run_dir(run))
    layout.check_readable(run, attempt)
    if not layout.is_claimed(run, attempt) and attempt not in layout.queued(run):
        raise Refused("There is no attempt %d of run %s." % (attempt, run))
    return run, attempt, rank


def identity(info):
    """What names a log file for as long as it exists."""
    return "%d:%d" % (info.st_dev, info.st_ino)


def is_over(run, attempt):
    """Whether nothing will be written to the attempt's log any more."""
    if exit_slot.read(layout.attempt_dir(run, attempt), run, attempt) is not None:
        return True
    try:
        if layout.is_claimed(run, attempt):
            facts = evidence.of_attempt(run, attempt, evidence.Look())
        elif not os.path.lexists(layout.run_dir(run)):
            raise layout.gone(layout.run_dir(run))
        else:
            facts = evidence.of_run(run, evidence.Look())
            if facts["attempt"] is not None:
                return False  # claimed since
    except FileNotFoundError:  # deleted while it was read
        raise layout.gone(layout.run_dir(run)) from None
    return evidence.is_over(facts)


def log_stat(request, body):
    """The verb: size and identity now."""
    run, attempt, rank = target(request)
    over = is_over(run, attempt)
    fd = logfile.open_log(run, attempt, rank)
    if fd is None:
        return {"size": 0, "identity": "", "ended": over}
    try:
        info = os.fstat(fd)
    finally:
        os.close(fd)
    return {
        "size": info.st_size,
        "identity": identity(info),
        "ended": over,
    }


def read_at(request, body):
    """The verb: at most `size` bytes from `offset`."""
    run, attempt, rank = target(request)
    offset = wire.field(request, "offset", int, 0)
    size = min(wire.field(request, "size", int, MAX_READ), MAX_READ)
    if offset < 0 or size < 0:
        raise Refused("offset and size must not be negative.")
    fd = logfile.open_log(run, attempt, rank)
    if fd is None:
        return {}, b""
    try:
        return {}, os.pread(fd, size, offset)
    finally:
        os.close(fd)


def log_find(request, body):
    """The verb: the next or previous place of a string. A generator that pauses after each piece.

    Forward, a match may begin at `offset` or after it; backward, it begins before it."""
    import binascii

    run, attempt, rank = target(request)
    try:
        needle = binascii.a2b_base64(wire.field(request, "needle", str, required=True))
    except ValueError:
        raise Refused("needle is not base64.") from None
    if not 0 < len(needle) <= MAX_NEEDLE:
        raise Refused("needle must have 1 to %d bytes." % MAX_NEEDLE)
    backward = wire.field(request, "backward", bool, False)
    offset = wire.field(request, "offset", int, 0)
    if offset < 0:
        raise Refused("offset must not be negative.")
    fd = logfile.open_log(run, attempt, rank)
    if fd is None:
        return {"offset": None}
    try:
        size = os.fstat(fd).st_size
        found = yield from (_before if backward else _after)(fd, needle, min(offset, size), size)
    finally:
        os.close(fd)
    return {"offset": found}


def _after(fd, needle, at, size):
    # The end is taken from what is read: a log that shrinks meanwhile ends the search.
    while at < size:
        data = os.pread(fd, SEARCH_STEP + len(needle) - 1, at)
        found = data.find(needle)
        if found >= 0:
            return at + found
        if len(data) < SEARCH_STEP:
            return None
        at += SEARCH_STEP
        yield None, 0.0
    return None


def _before(fd, needle, at, size):
    while at > 0:
        begin = max(0, at - SEARCH_STEP)
        data = os.pread(fd, at - begin + len(needle) - 1, begin)
        found = data.rfind(needle)
        if found >= 0:
            return begin + found
        at = begin
        yield None, 0.0
    return None


class Follow:
    """One followed log. `step` gives the next frame, or None if there is nothing to send now."""

    BUSY = 0.05
    QUIET = 0.25
    PIECE = 1 << 18

    def __init__(self, request):
        self.run, self.attempt, self.rank = target(request)
        self.offset = wire.field(request, "offset", int, 0)
        self.follow = wire.field(request, "follow", bool, True)
        self.identity = wire.field(request, "identity", str)
        if self.offset < 0:
            raise Refused("offset must not be negative.")
        self.credit = wire.field(request, "credit", int, 0)
        self.due = 0.0
        self.done = False
        self._cut = False
        self._grew = time.monotonic()
        self._over_due = 0.0
        self._over = False

    def close(self):
        """Nothing is held between two steps."""

    def step(self, now):
        """(answer, bytes) or None. After an answer with `eof`, `done` is set."""
        if now < self.due:
            return None
        data, left = self._next()
        if not left and self._is_over(now):
            data, left = self._next()  # what was written between the look and the end
        if data:
            self.credit -= len(data)
            self.offset += len(data)
            self._grew = self.due = now
            return self._answer({}), data
        if (self._over or not self.follow) and not left:
            self.done = True
            return self._answer({"eof": True}), b""
        busy = now - self._grew < 1.0 and not left
        self.due = now + (self.BUSY if busy else self.QUIET)
        return (self._answer({}), b"") if self._cut else None

    def _next(self):
        """(bytes that may go now, how many there are)."""
        fd = logfile.open_log(self.run, self.attempt, self.rank)
        if fd is None:
            return b"", 0
        try:
            left = self._place(os.fstat(fd))
            size = min(self.PIECE, self.credit, left)
            return os.pread(fd, size, self.offset) if size > 0 else b"", left
        finally:
            os.close(fd)

    def _place(self, info):
        """See whether the file is still the one that was read, and how much of it is left."""
        name = identity(info)
        if self.identity not in (None, name) or info.st_size < self.offset:
            self.offset = 0
            self._cut = True
        self.identity = name
        return info.st_size - self.offset

    def _answer(self, more):
        answer = {"offset": self.offset, "identity": self.identity or "", **more}
        if self._cut:
            self._cut = False
            answer["cut"] = True
        return answer

    def _is_over(self, now):
        if not self._over and self.follow:
            directory = layout.attempt_dir(self.run, self.attempt)
            if exit_slot.read(directory, self.run, self.attempt) is not None:
                self._over = True
            elif now >= self._over_due:
                self._over_due = now + OVER_AGAIN
                self._over = is_over(self.run, self.attempt)
        return self._over
