"""Asking about many runs at once: find and poll."""

import os

from . import Refused, evidence, handover, layout, wire

PAUSE_EVERY = 50


def find(request, body):
    """The verb: which runs there are."""
    asked = wire.field(request, "runs", list)
    done, said = yield from handover.asked(request)
    found = []
    if asked is None:
        try:
            names = os.listdir(layout.runs())
        except FileNotFoundError:
            names = []
        for name in sorted(names):
            if layout.is_id(name) and _is_run(name):
                found.append(_found(name, _highest(name)))
                if len(found) % PAUSE_EVERY == 0:
                    yield None, 0.0
        return dict(done, runs=found), said
    for key in asked:
        if not isinstance(key, list) or len(key) != 2:
            raise Refused("runs must be pairs of an id and an attempt.")
        run, attempt = key
        if not layout.is_id(run):
            continue
        attempt = layout.check_attempt(attempt)
        if layout.is_removed(run):
            continue
        there = _is_run(run)
        handed = there and handover.handed_number(run, attempt) is not None
        if handed or layout.is_claimed(run, attempt):
            found.append(_found(run, attempt))
        elif there:
            found.append(_found(run, None))
    return dict(done, runs=found), said


def _highest(run):
    """The highest attempt that exists: claimed, or known to a scheduler; None without one."""
    found = layout.attempts(run)
    found += [n for n in layout.queued(run)[-1:] if handover.handed_number(run, n) is not None]
    return max(found, default=None)


def _found(run, attempt):
    """What is said of an attempt, with the scheduler's number of its job: the last that was
    submitted up to it, for a job that is requeued keeps its number."""
    words = {"id": run, "attempt": attempt}
    if attempt is not None:
        handed = [n for n in layout.queued(run) if n <= attempt]
        if handed:
            words["job"] = handover.number_of(run, handed[-1])
    return words


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
    # The scheduler first: of what it calls over the record is there when we look.
    done, said = yield from handover.asked(request)
    look = evidence.Look()
    runs = {}
    for count, run in enumerate(asked, 1):
        runs[run] = evidence.of_run(run, look)
        if count % PAUSE_EVERY == 0:
            yield None, 0.0
    if done or wire.field(request, "shared", bool, False):
        done["shared"] = handover.is_shared()
    return dict(done, now=look.now, host=look.host, boot_id=look.boot_id, runs=runs), said
