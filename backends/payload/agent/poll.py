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
        except OSError:
            names = []
        for name in sorted(names):
            if len(name) == 12 and layout.ID_LETTERS.issuperset(name):
                if os.path.lexists(layout.run_dir(name) + "/run.json"):
                    claimed = layout.attempts(name)
                    found.append({"id": name, "attempt": claimed[-1] if claimed else None})
                    if len(found) % PAUSE_EVERY == 0:
                        yield None, 0.0
        return {"runs": found}
    for key in asked:
        if not isinstance(key, list) or len(key) != 2:
            raise Refused("runs must be pairs of an id and an attempt.")
        run, attempt = layout.check_id(key[0]), layout.check_attempt(key[1])
        if os.path.lexists(layout.attempt_dir(run, attempt) + "/claim"):
            found.append({"id": run, "attempt": attempt})
        elif os.path.lexists(layout.run_dir(run) + "/run.json"):
            found.append({"id": run, "attempt": None})
    return {"runs": found}


def poll(request, body):
    """The verb: the evidence of many runs."""
    asked = [layout.check_id(run) for run in wire.field(request, "runs", list, required=True)]
    look = evidence.Look()
    runs = {}
    for count, run in enumerate(asked, 1):
        runs[run] = evidence.of_run(run, look)
        if count % PAUSE_EVERY == 0:
            yield None, 0.0
    return {"now": look.now, "host": look.host, "boot_id": look.boot_id, "runs": runs}
