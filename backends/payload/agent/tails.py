"""What many files of many runs have grown by, in one answer: whoever keeps copies of them elsewhere
asks for nothing that has not changed, and for no more at once than a link can take."""

import os
import stat
import time

from . import Refused, beside, files, layout, logfile, logs, wire

MAX_BUDGET = 16 << 20
MAX_FILES = 20000
PIECE = 1 << 18
"""Bytes of one file, as long as others wait."""
BETWEEN = 50
"""Files that are looked at before others get a turn."""


def tails(request, body):
    """The verb. A generator that pauses between files."""
    budget = min(wire.field(request, "budget", int, 1 << 20), MAX_BUDGET)
    wanted = [
        (at, number, layout.attempt_dir(run, attempt), run, attempt, words)
        for at, (run, attempt, names) in enumerate(_runs(request))
        for number, words in enumerate(names)
    ]
    folders = beside.folders(request)
    if len(wanted) + sum(len(folder.files) for folder in folders) > MAX_FILES:
        raise Refused("More than %d files were asked for at once." % MAX_FILES)
    layout.check_mounted()
    answer = _Answer(budget)
    for count, (at, number, base, run, attempt, words) in enumerate(wanted):
        if count % BETWEEN == BETWEEN - 1:
            yield None, 0.0
        try:
            fd = _open(base, run, attempt, words[0])
        except (OSError, Refused):
            continue  # not there, or not to be read: nothing is said of it
        if fd is not None:
            answer.add([at, number], fd, words)
    told = []
    until = time.monotonic() + beside.SECONDS
    for folder in folders:
        before = len(answer.pieces)
        for number, words in enumerate(folder.files):
            yield None, 0.0
            try:
                fd = folder.open(words[0])
            except (OSError, Refused):
                continue
            answer.add([number], fd, words)
        pieces = answer.pieces[before:]
        del answer.pieces[before:]
        found = None
        if folder.looks and time.monotonic() < until:
            found = yield from folder.look(until)
        told.append({"pieces": pieces, "found": found})
    result = {"pieces": answer.pieces, "more": answer.more}
    if folders:
        result["beside"] = told
    return result, b"".join(answer.parts)


class _Answer:
    """The pieces of an answer, the bytes of which follow one after the other."""

    def __init__(self, budget):
        self.budget = budget
        self.pieces = []
        self.parts = []
        self.more = False

    def add(self, which, fd, words):
        """Add what a file has beyond what is known of it, and close it."""
        _, offset, identity, check = words
        try:
            found = _piece(fd, offset, identity, check, min(self.budget, PIECE))
        except OSError:
            return
        finally:
            os.close(fd)
        if found is None:
            return
        offset, data, size, identity, cut = found
        self.budget -= len(data)
        self.more = self.more or offset + len(data) < size
        if data or cut:
            self.pieces.append(which + [offset, len(data), size, identity, cut])
            self.parts.append(data)


def _runs(request):
    """(run, attempt, [what is known of a file]) of a request, checked."""
    found = []
    for entry in wire.field(request, "runs", list, required=True):
        if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[2], list):
            raise Refused("Each of `runs` is an id, an attempt and a list of files.")
        found.append(
            (
                layout.check_id(entry[0]),
                layout.check_attempt(entry[1]),
                [beside.known(words) for words in entry[2]],
            )
        )
    return found


def _piece(fd, offset, identity, check, most):
    """What one file has beyond `offset`: (offset, bytes, size, identity, cut), None if it is no
    file."""
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        return None
    name = logs.identity(info)
    cut = identity not in (None, "", name) or info.st_size < offset
    if not cut and check is not None and 0 < offset < info.st_size:
        cut = beside.checksum(fd, offset) != check
    if cut:
        offset = 0
    data = os.pread(fd, min(most, info.st_size - offset), offset) if most > 0 else b""
    return offset, data, info.st_size, name, cut


def _open(base, run, attempt, parts):
    if len(parts) == 2 and parts[0] == b"logs" and parts[1].endswith(b".log"):
        rank = layout.number_of(wire.to_text(parts[1][: -len(b".log")]))
        if rank is not None:  # that of an adopted process lies elsewhere
            return logfile.open_log(run, attempt, rank)
    return files.open_below(base, parts, os.O_RDONLY | os.O_NONBLOCK)
