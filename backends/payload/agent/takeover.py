"""Ending an attempt whose supervisor was killed: TERM, the grace, KILL, and a record that says what
can be said. Started detached by `cancel`; one at a time for an attempt."""

import os
import time

from . import bells, ending, evidence, exit_slot, layout, locking, procs, records, tree


def takeover(run, attempt):
    """The program `takeover RUN ATTEMPT`."""
    layout.locks()
    path = layout.lock_path(run, attempt, "takeover")
    lock = locking.take(path)
    if lock is not None:
        # Left where it is, as every lock file: an unlinked one could be locked by two.
        _end(run, attempt)
        os.close(lock)


def _end(run, attempt):
    directory = layout.attempt_dir(run, attempt)
    look = evidence.Look()
    agent = {}
    if layout.is_claimed(run, attempt):
        facts = evidence.of_attempt(run, attempt, look)
        agent = records.try_read(directory + "/agent.json")
        if evidence.is_over(facts) or facts["supervised"] or not facts["alive"]:
            return
    asked = records.try_read(directory + "/control/cancel.json")
    grace = records.number(asked.get("grace"))
    if grace is None or grace < 0:
        grace = _own_grace(run)
    leader = _proven(run, attempt, agent, look)
    members = tree.Tree(run, attempt, leader)
    end = ending.Ending(members, directory)
    if not end.ask(time.monotonic(), "cancel", grace, takeover=True):
        return  # nothing of it can be proven to run
    ended = None
    while True:
        now = time.monotonic()
        if ended is None and leader is not None and not procs.is_running(*leader):
            ended = time.time()
        if leader is None or ended is not None:
            if end.sweep(now, grace):
                break
        else:
            end.step(now)
        time.sleep(0.05)
    if os.path.isdir(directory):
        _record(run, attempt, agent, leader is not None, ended or time.time())


def _own_grace(run):
    record = records.try_read(layout.run_dir(run) + "/run.json", records.MAX_RUN)
    spec = record.get("spec")
    limits = spec.get("limits") if isinstance(spec, dict) else None
    grace = records.number(limits.get("grace")) if isinstance(limits, dict) else None
    return 10.0 if grace is None or grace < 0 else grace


def _proven(run, attempt, agent, look):
    """The leader that agent.json names, if it is beyond doubt this attempt's: it carries its name,
    or holds its lock, or was adopted by the very claim."""
    leader = evidence.leader_of(agent)
    if leader is None or not look.is_here(agent) or not procs.is_running(*leader):
        return None
    pid, starttime = leader
    if procs.uid_of(pid) != os.getuid():
        return None
    tag = procs.variable(procs.environ_of(pid), b"TRAINDECK_RUN")
    if tag == ("%s/%d" % (run, attempt)).encode():
        return leader
    if layout.lock_path(run, attempt) in procs.open_files(pid):
        return leader
    claim = records.try_read(layout.attempt_dir(run, attempt) + "/claim")
    adopted = {"pid": pid, "starttime": starttime}
    return leader if claim.get("adopted") == adopted else None


def _record(run, attempt, agent, leader_alive, ended):
    directory = layout.attempt_dir(run, attempt)
    if leader_alive:
        cause, reason = "cancel", "stopped after its supervisor had been killed"
    else:
        cause = "unknown"
        reason = "its supervisor was killed and its leader ended unseen; the rest was stopped"
    started = records.number(agent.get("started"))
    payload = {
        "format": records.FORMAT,
        "run": run,
        "attempt": attempt,
        "cause": cause,
        "exit_code": None,
        "signal": None,
        "started": started,
        "ended": max(ended, started or 0.0),
        "reason": reason + "; exit code not knowable",
        "host": procs.hostname(),
        "boot_id": procs.boot_id(),
        "next": None,
    }
    data = exit_slot.pack(attempt, payload)
    while not _write(directory, data) and os.path.isdir(directory):
        time.sleep(1.0)
    records.append_event(directory, "ended", cause=cause, takeover=True)
    try:
        records.replace(directory + "/agent.json", dict(agent, phase="ended", reason=reason))
    except OSError:
        pass
    bells.ring()


def _write(directory, data):
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(directory + "/exit.slot", flags, 0o600)
        try:
            exit_slot.write(fd, directory, data)
        finally:
            os.close(fd)
        return True
    except OSError:
        return False
