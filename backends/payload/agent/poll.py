"""Asking about many runs at once: find and poll."""

import os

from . import Refused, evidence, layout, wire

PAUSE_EVERY = 50


def find(request, body):
    """The verb: which runs there are."""
    asked = wire.field(request, "runs", list)
    found = []
    if asked is None:
        try:
            names = os.listdir(layout.runs())
        except FileNotFoundError:
            names = []
        for name in sorted(names):
            if layout.is_id(name) and _is_run(name):
                claimed = layout.attempts(name)
                found.append({"id": name, "attempt": claimed[-1] if claimed else None})
                if len(found) % PAUSE_EVERY == 0:
                    yield None, 0.0
        return {"runs": found}
    for key in asked:
        if not isinstance(key, list) or len(key) != 2:
            raise Refused("runs must be pairs of an id and an attempt.")
        run, attempt = key
        if not layout.is_id(run):
            continue
        attempt = layout.check_attempt(attempt)
        if layout.is_removed(run):
            continue
        if layout.is_claimed(run, attempt):
            found.append({"id": run, "attempt": attempt})
        elif _is_run(run):
            found.append({"id": run, "attempt": None})
    return {"runs": found}


def _is_run(run):
    """Whether there is a run directory of that id whose files were not removed."""
    return os.path.lexists(layout.run_dir(run) + "/run.json") and not layout.is_removed(run)


def poll(request, body):
    """The verb: the evidence of many runs."""
    asked = wire.field(request, "runs", list, required=True)
    if not all(isinstance(run, str) for run in asked):
        raise Refused("runs must be ids.")
    if asked:
        layout.check_mounted()
    look = evidence.Look()
    runs = {}
    for count, run in enumerate(asked, 1):
        runs[run] = evidence.of_run(run, look)
        if count % PAUSE_EVERY == 0:
            yield None, 0.0
    return {"now": look.now, "host": look.host, "boot_id": look.boot_id, "runs": runs}
