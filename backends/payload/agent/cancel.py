"""Asking a run to end. The request is a file, so that it stands whoever dies; then whoever
supervises is woken. A run whose supervisor was killed is ended by a small process of its own."""

import os
import time

from . import evidence, layout, procs, records, wire


def cancel(request, body):
    """The verb."""
    run = layout.check_id(request.get("run_id"))
    attempt = layout.check_attempt(request.get("attempt", 0))
    grace = wire.field(request, "grace", float)
    by = wire.field(request, "by", str, "")
    numbers = [n for n in layout.attempts(run) if n >= attempt]
    if not numbers:
        return {"state": "unknown"}
    # The executing side may have gone on to another attempt by itself: that one is meant.
    attempt = numbers[-1]
    look = evidence.Look()
    facts = evidence.of_attempt(run, attempt, look)
    if facts["exit"] is not None:
        return {"state": "over"}
    dead = facts["alive"] is False and not facts["supervised"]
    if dead:
        return {"state": "over"}
    _record(run, attempt, {"time": time.time(), "grace": grace, "by": by[:200]})
    if facts["supervised"]:
        wake(run, attempt)
    elif facts["same_host"]:
        from . import start

        send, report = start.spawn(["reap", run, str(attempt)])
        os.close(report)
        os.close(send)
    return {"state": "requested"}


def _record(run, attempt, words):
    """Put the request down; the first one stands."""
    folder = layout.attempt_dir(run, attempt) + "/control"
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    records.make_once(folder + "/cancel.json", words)


def wake(run, attempt):
    """Wake the supervisor that agent.json names, if it is one of this run. It looks at its control
    folder once a second by itself; this saves that second, and continues one that was stopped."""
    directory = layout.attempt_dir(run, attempt)
    where = records.read_object(directory + "/agent.json")
    if where is None:
        where = records.read_object(directory + "/claim") or {}
    pid, starttime = where.get("pid"), where.get("starttime")
    if evidence.is_supervised(run, where):
        # An agent.json is written before its process listens to anything else.
        procs.send_signal(pid, starttime, procs.SIGUSR1)
        procs.send_signal(pid, starttime, procs.SIGCONT)
