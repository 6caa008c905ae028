"""What many files of many runs have grown by, in one answer: whoever keeps copies of them elsewhere
asks for nothing that has not changed, and for no more at once than a link can take."""

import os
import stat

from . import Refused, files, layout, logfile, logs, start, wire

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
    if len(wanted) > MAX_FILES:
        raise Refused("More than %d files were asked for at once." % MAX_FILES)
    layout.check_mounted()
    pieces = []
    parts = []
    more = False
    for count, (at, number, base, run, attempt, (name, offset, identity)) in enumerate(wanted):
        if count % BETWEEN == BETWEEN - 1:
            yield None, 0.0
        try:
            found = _piece(base, run, attempt, name, offset, identity, min(budget, PIECE))
        except (OSError, Refused):
            continue  # not there, or not to be read: nothing is said of it
        if found is None:
            continue
        offset, data, size, identity, cut = found
        budget -= len(data)
        more = more or offset + len(data) < size
        if data or cut:
            pieces.append([at, number, offset, len(data), size, identity, cut])
            parts.append(data)
    return {"pieces": pieces, "more": more}, b"".join(parts)


def _runs(request):
    """(run, attempt, [(name, offset, identity)]) of a request, checked."""
    found = []
    for entry in wire.field(request, "runs", list, required=True):
        if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[2], list):
            raise Refused("Each of `runs` is an id, an attempt and a list of files.")
        names = []
        for words in entry[2]:
            if not isinstance(words, list) or len(words) != 3:
                raise Refused("Each file is a name, an offset and an identity.")
            file = {"name": words[0], "offset": words[1], "identity": words[2]}
            offset = wire.field(file, "offset", int, 0)
            if offset < 0:
                raise Refused("offset must not be negative.")
            name = start.relative_path(wire.field(file, "name", str, required=True))
            names.append((name, offset, wire.field(file, "identity", str)))
        found.append((layout.check_id(entry[0]), layout.check_attempt(entry[1]), names))
    return found


def _piece(base, run, attempt, parts, offset, identity, most):
    """What one file has beyond `offset`: (offset, bytes, size, identity, cut), None if it is not
    there."""
    fd = _open(base, run, attempt, parts)
    if fd is None:
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return None
        name = logs.identity(info)
        cut = identity not in (None, "", name) or info.st_size < offset
        if cut:
            offset = 0
        data = os.pread(fd, min(most, info.st_size - offset), offset) if most > 0 else b""
        return offset, data, info.st_size, name, cut
    finally:
        os.close(fd)


def _open(base, run, attempt, parts):
    if len(parts) == 2 and parts[0] == b"logs" and parts[1].endswith(b".log"):
        rank = layout.number_of(wire.to_text(parts[1][: -len(b".log")]))
        if rank is not None:  # that of an adopted process lies elsewhere
            return logfile.open_log(run, attempt, rank)
    return files.open_below(base, parts, os.O_RDONLY | os.O_NONBLOCK)
