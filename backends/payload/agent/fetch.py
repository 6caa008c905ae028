"""Files of a run on their way to somebody who asked for them: what there is, and a stream of it.

One request lists everything below a folder, one carries any number of files: over a slow link the
round trips are what costs.
"""

import os
import stat

from . import Refused, files, layout, wire

MAX_ENTRIES = 100000
PAUSE_AFTER = 500
"""Entries listed between two looks at what else was asked."""
FOREVER = 3600.0


def tree(request, body):
    """The verb: all that lies below a folder of a run. A generator that pauses now and then."""
    run = layout.check_id(request.get("run_id"))
    base = layout.run_dir(run)
    first = files.parts_of(request)
    fd = files.open_below(base, first, os.O_RDONLY | os.O_NONBLOCK)
    try:
        info = os.fstat(fd)
    finally:
        os.close(fd)
    entries = []
    if not stat.S_ISDIR(info.st_mode):
        return {"entries": [entry(b"/".join(first), info)]}
    left = [first]
    while left:
        parts = left.pop()
        below = []
        try:
            fd = files.open_below(base, parts, files.DIRECTORY)
        except Refused:
            if parts == first:
                raise
            continue  # deleted or locked meanwhile: what else there is comes all the same
        try:
            for name in sorted(os.listdir(fd)):
                try:
                    info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except OSError:
                    continue
                inner = [*parts, os.fsencode(name)]
                entries.append(entry(b"/".join(inner), info))
                if len(entries) > MAX_ENTRIES:
                    shown = wire.to_text(b"/".join(first)) or "The run's directory"
                    raise Refused("%s holds more than %d files." % (shown, MAX_ENTRIES))
                if len(entries) % PAUSE_AFTER == 0:
                    yield None, 0.0
                if stat.S_ISDIR(info.st_mode):
                    below.append(inner)
        finally:
            os.close(fd)
        left.extend(reversed(below))
    return {"entries": entries}


def entry(path, info):
    """What a listing says of one file."""
    is_dir = stat.S_ISDIR(info.st_mode)
    return {
        "path": wire.to_text(path),
        "size": info.st_size,
        "modified": info.st_mtime,
        "is_dir": is_dir,
        "special": not is_dir and not stat.S_ISREG(info.st_mode),
        "mode": stat.S_IMODE(info.st_mode),
    }


class Fetch:
    """Files one after the other. `step` gives the next frame, or None if there is nothing to send
    now."""

    PIECE = 1 << 18

    def __init__(self, request):
        self.base = layout.run_dir(layout.check_id(request.get("run_id")))
        if not os.path.lexists(self.base):
            raise layout.gone(self.base)
        self.wanted = [_wanted(item) for item in wire.field(request, "files", list, required=True)]
        self.credit = wire.field(request, "credit", int, 0)
        self.due = 0.0
        self.done = False
        self._at = 0
        self._fd = None
        self._info = None
        self._offset = 0

    def close(self):
        """Let go of the file that is open."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def step(self, now):
        """(answer, bytes) or None. After an answer with `eof`, `done` is set."""
        if now < self.due:
            return None
        if self._at == len(self.wanted):
            self.done = True
            return {"eof": True}, b""
        if self.credit <= 0:
            self.due = now + FOREVER  # until there is credit
            return None
        try:
            if self._fd is None:
                self._open()
            return self._next()
        except (Refused, OSError) as error:
            why = "%s." % error.strerror if isinstance(error, OSError) else str(error)
            return self._answer({"end": True, "problem": why}), b""

    def _open(self):
        path, offset, modified = self.wanted[self._at]
        self._fd = files.open_below(self.base, path.split(b"/"), os.O_RDONLY | os.O_NONBLOCK)
        self._info = os.fstat(self._fd)
        if not stat.S_ISREG(self._info.st_mode):
            raise Refused("It is not a regular file.")
        same = modified is None or modified == self._info.st_mtime
        self._offset = offset if same and offset <= self._info.st_size else 0

    def _next(self):
        left = self._info.st_size - self._offset
        at = self._offset
        data = os.pread(self._fd, min(self.PIECE, self.credit, left), at) if left else b""
        self._offset += len(data)
        self.credit -= len(data)
        words = {
            "offset": at,
            "size": self._info.st_size,
            "modified": self._info.st_mtime,
        }
        if not data or self._offset == self._info.st_size:
            words["end"] = True
        return self._answer(words), data

    def _answer(self, words):
        words["n"] = self._at
        if words.get("end"):
            self._at += 1
            self.close()
        return words


def _wanted(item):
    """(path, offset, time it was changed or None) of one item of a request."""
    from . import start

    if not isinstance(item, list) or len(item) != 3:
        raise Refused("A file of a `fetch` is [path, offset, modified].")
    path, offset, modified = item
    parts = start.relative_path(path)
    if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
        raise Refused("offset must be a number that is not negative.")
    return b"/".join(parts), offset, modified
