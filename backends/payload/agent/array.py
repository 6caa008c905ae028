"""A job array in a request to submit: the first task's run is the request's own, and `array` names
its index and the others, of which only what differs is sent."""

from . import Refused, layout, wire

MAX_TASKS = 10000


def tasks(request):
    """(run, index) of all tasks, the request's own first; none if it is no array."""
    words = wire.field(request, "array", dict)
    if words is None:
        return []
    others = wire.field(words, "others", list, [])
    if len(others) > MAX_TASKS:
        raise Refused("An array of %d tasks is too large." % len(others))
    found = []
    for task in [dict(words, run_id=request.get("run_id"))] + others:
        if not isinstance(task, dict):
            raise Refused("A task of an array must be an object.")
        index = wire.field(task, "index", int, required=True)
        run = layout.check_id(task.get("run_id"))
        if run != layout.task_id(run[:8], index) or run[:8] != request["run_id"][:8]:
            raise Refused("Run %s cannot be task %d of this array." % (run, index))
        found.append((run, index))
    return found


def others(request, body):
    """(request, body) that `prepare` is to be asked for each of the other tasks: the files of the
    first one, but for those that a task brings itself."""
    words = wire.field(request, "array", dict)
    if words is None:
        return
    shared = []
    at = 0
    for entry in wire.field(request, "files", list, []):
        size = _size(entry)
        shared.append((entry, body[at : at + size]))
        at += size
    for task in wire.field(words, "others", list, []):
        own = wire.field(task, "files", list, [])
        size = sum(_size(entry) for entry in own)
        names = [entry.get("path") for entry in own]
        taken = [(entry, data) for entry, data in shared if entry.get("path") not in names]
        data = b"".join(data for _, data in taken) + body[at : at + size]
        at += size
        files = [entry for entry, _ in taken] + own
        mine = dict(request, run_id=task["run_id"], run=task.get("run"), files=files)
        del mine["array"]
        yield mine, data


def _size(entry):
    if not isinstance(entry, dict):
        raise Refused("A file of a plan must be an object.")
    return 0 if "tree" in entry else max(0, wire.field(entry, "size", int, 0))


def name(request, number):
    """What names the first task's job to the scheduler; of what is no array its number."""
    words = wire.field(request, "array", dict)
    if words is None or number is None or "_" in number:
        return number
    return "%s_%d" % (number, words["index"])
