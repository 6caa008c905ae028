"""Asking a run to end. The request is a file, so that it stands whoever dies; then whoever
supervises is woken. A run whose supervisor was killed is ended by a process in its place."""

import os
import time

from . import Refused, bells, evidence, layout, procs, records, wire


def cancel(request, body):
    """The verb. Stop means the run: written for the attempt asked for and every higher one."""
    run = layout.check_id(request.get("run_id"))
    attempt = layout.check_attempt(request.get("attempt", 0))
    grace = wire.field(request, "grace", float)
    words = {"time": time.time(), "grace": grace, "by": wire.field(request, "by", str, "")[:200]}
    if not os.path.isdir(layout.run_dir(run)) or layout.is_gutted(run):
        return {"state": _end_deleted(run)}
    layout.check_readable(run, attempt)
    known = set(layout.attempts(run)) | set(layout.queued(run))
    following = max(known) + 1 if known else 0
    if attempt not in known and attempt != following:
        return {"state": "unknown"}
    look = evidence.Look()
    done = set()
    state = "over"
    todo = [attempt]
    while todo:
        for number in todo:
            done.add(number)
            if _ask(run, number, words, look):
                state = "requested"
        # Read after it was written: an attempt claimed later looks for the request itself.
        there = set(layout.attempts(run)) | set(layout.queued(run))
        todo = sorted(n for n in there if n > attempt and n not in done)
    bells.ring()
    return {"state": state}


def _ask(run, attempt, words, look):
    """Ask one attempt. False if it is over."""
    facts = None
    if attempt in layout.queued(run) and not layout.is_claimed(run, attempt):
        facts = evidence.of_run(run, look)
        if facts["attempt"] is None and facts.get("word") is not None:
            return False
        facts = None
    if layout.is_claimed(run, attempt):
        facts = evidence.of_attempt(run, attempt, look)
        if evidence.is_over(facts, layout.is_claimed(run, attempt + 1)):
            return False
    _record(run, attempt, words)
    if facts is None and layout.is_claimed(run, attempt):
        facts = evidence.of_attempt(run, attempt, evidence.Look())
    if facts is not None and facts["same_host"]:
        if facts["supervised"]:
            wake(run, attempt)
        elif facts["alive"]:
            take_over(run, attempt)
    return True


def _record(run, attempt, words):
    """Put the request down. The first one stands, unless this one is shorter of grace."""
    directory = layout.attempt_dir(run, attempt)
    folder = directory + "/control"
    path = folder + "/cancel.json"
    try:
        for name in (directory, folder):
            try:
                os.mkdir(name, 0o700)
            except FileExistsError:
                pass
        if records.make_once(path, words):
            return
        there = records.number(records.try_read(path).get("grace"))
        if words["grace"] is not None and (there is None or words["grace"] < there):
            records.replace(path, words)
    except OSError as error:
        # A full disk still takes an empty file, which asks with the run's own grace.
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError:
            raise Refused("%s cannot be written: %s." % (path, error.strerror)) from None


def wake(run, attempt):
    """Wake the supervisor that agent.json names, if it is one of this run on this host. It looks
    at its control folder once a second by itself; this saves that second, and continues one that
    was stopped."""
    directory = layout.attempt_dir(run, attempt)
    where = records.try_read(directory + "/agent.json") or records.try_read(directory + "/claim")
    if evidence.Look().is_here(where) and evidence.is_supervised(run, where):
        # Neither file is written before its process listens to the signal.
        procs.send_signal(where["pid"], where["starttime"], procs.SIGUSR1)
        procs.send_signal(where["pid"], where["starttime"], procs.SIGCONT)


def take_over(run, attempt):
    """Start the process that ends an attempt in the place of a supervisor that was killed."""
    from . import start

    send, report = start.spawn(["takeover", run, str(attempt)])
    os.close(report)
    os.close(send)


def _end_deleted(run):
    """End the members of a run whose directory somebody deleted."""
    look = evidence.Look()
    attempts = look.attempts_of(run)
    for attempt in attempts:
        take_over(run, attempt)
    return "requested" if attempts else "unknown"
