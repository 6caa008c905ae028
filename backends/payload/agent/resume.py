"""Where a later attempt may go on from: the newest checkpoint that an earlier one has left.

Looked for when the attempt starts and not before: what was newest at submission is not what was
saved last."""

import os

from . import layout, records, wire

TAIL = 1 << 20
"""Bytes at the end of a metrics.jsonl that are looked through."""
INCOMPLETE = "checkpoint-is-incomplete.txt"
"""Left by transformers in a folder that it was still writing to."""


def newest(run, attempt):
    """The path of the newest checkpoint of the attempts before this one, or None.

    Reported ones (the `checkpoint` events of metrics.jsonl, whose newest is the last one that is
    there) come before those that are found: the folders `checkpoint-<step>` of artifacts/ that were
    written to their end, as transformers writes them.
    """
    directory = layout.run_dir(run)
    for number in range(attempt - 1, -1, -1):
        for path in reversed(_reported(layout.attempt_dir(run, number) + "/metrics.jsonl")):
            path = os.path.join(directory, path)
            if os.path.exists(path) and not os.path.exists(path + "/" + INCOMPLETE):
                return path
    return _found(directory + "/artifacts")


def _reported(path):
    try:
        fd = records.open_regular(path)
        if fd is None:
            return []
        try:
            size = os.fstat(fd).st_size
            data = os.pread(fd, TAIL, max(0, size - TAIL))
        finally:
            os.close(fd)
    except OSError:
        return []
    paths = []
    for line in data.splitlines():
        if b'"__event__"' not in line or b"checkpoint" not in line:
            continue
        words = wire.parse_object(line) or {}
        if words.get("__event__") == "checkpoint" and isinstance(words.get("path"), str):
            if "\0" not in words["path"]:
                paths.append(words["path"])
    return paths


def _found(folder):
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    best = None
    for name in names:
        _, dash, step = name.partition("checkpoint-")
        path = "%s/%s" % (folder, name)
        if not dash or not step.isdigit() or len(step) > 15 or (best and int(step) <= best[0]):
            continue
        whole = os.path.exists(path + "/trainer_state.json")
        if whole and not os.path.exists(path + "/" + INCOMPLETE):
            best = int(step), path
    return best and best[1]
