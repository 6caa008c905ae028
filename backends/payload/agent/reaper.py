"""Ending a run whose supervisor was killed: TERM, the grace, KILL, and a record that says what can
be said. Started detached by `cancel`; one at a time for an attempt."""

import errno
import fcntl
import os
import time

from . import ending, evidence, exit_slot, layout, procs, records, tree


def reap(run, attempt):
    """The program `reap RUN ATTEMPT`."""
    path = "%s/%s.%d.reap" % (layout.locks(), run, attempt)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return
        raise
    try:
        _end(run, attempt)
    finally:
        os.unlink(path)
        os.close(lock)


def _end(run, attempt):
    directory = layout.attempt_dir(run, attempt)
    agent = records.read_object(directory + "/agent.json") or {}
    facts = evidence.of_attempt(run, attempt, evidence.Look())
    if facts["exit"] is not None or facts["supervised"] or not facts["alive"]:
        return
    leader = _proven(run, attempt, agent)
    asked = records.read_object(directory + "/control/cancel.json") or {}
    grace = records.number(asked.get("grace"))
    grace = 10.0 if grace is None or grace < 0 else grace
    members = tree.Tree(run, attempt, leader)
    end = ending.Ending(members, directory)
    if not end.ask(time.monotonic(), "cancel", grace, by_reaper=True):
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
    _record(run, attempt, agent, leader is not None, ended or time.time())


def _proven(run, attempt, agent):
    """The leader that agent.json names, if it is beyond doubt this attempt's."""
    leader = evidence.leader_of(agent)
    if leader is None or agent.get("boot_id") != procs.boot_id():
        return None
    if procs.uid_of(leader[0]) != os.getuid() or not procs.is_running(*leader):
        return None
    tag = procs.variable(procs.environ_of(leader[0]), b"TRAINDECK_RUN")
    if tag == ("%s/%d" % (run, attempt)).encode() or _holds_lock(leader[0], run, attempt):
        return leader
    return None


def _holds_lock(pid, run, attempt):
    """Whether a process has the run lock open: one that renamed itself over its own environment
    still inherited that."""
    path = layout.lock_path(run, attempt)
    folder = "/proc/%d/fd" % pid
    try:
        return any(os.readlink("%s/%s" % (folder, fd)) == path for fd in os.listdir(folder))
    except OSError:
        return False


def _record(run, attempt, agent, leader_alive, ended):
    directory = layout.attempt_dir(run, attempt)
    if leader_alive:
        cause, reason = "cancel", "stopped after its supervisor had been killed"
    else:
        cause = "unknown"
        reason = "its supervisor was killed and its leader ended unseen; the rest was stopped"
    payload = {
        "format": records.FORMAT,
        "run": run,
        "attempt": attempt,
        "cause": cause,
        "exit_code": None,
        "signal": None,
        "started": records.number(agent.get("started")),
        "ended": ended,
        "reason": reason + "; exit code not knowable",
        "host": procs.hostname(),
        "boot_id": procs.boot_id(),
    }
    data = exit_slot.pack(attempt, payload)
    while exit_slot.read(directory, attempt) is None:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(directory + "/exit.slot", flags, 0o600)
            try:
                exit_slot.write(fd, directory, data)
            finally:
                os.close(fd)
        except OSError:
            if not os.path.isdir(directory):
                return
            time.sleep(1.0)
    records.append_event(directory, "ended", cause=cause, by_reaper=True)
    try:
        records.replace(directory + "/agent.json", dict(agent, phase="ended", reason=reason))
    except OSError:
        pass
