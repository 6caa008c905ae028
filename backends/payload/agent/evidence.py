"""What can be said of a run from its directory, the locks and the processes of this machine: the
facts of FORMAT.md §8. Reading changes nothing and takes no lock."""

import os
import time

from . import exit_slot, layout, logfile, oom, procs, records

PHASES = ("waiting", "starting", "running", "stopping", "ended")


class Look:
    """One look at this machine, shared by all the runs of a poll."""

    def __init__(self):
        self.now = time.time()
        self.host = procs.hostname()
        self.boot_id = procs.boot_id()
        self.pid_ns = procs.pid_namespace()
        self._locks = None
        self._tags = None
        self._server_time = None

    def lock_is_held(self, run, attempt, name):
        """Whether the run lock is held. `name` is what its taker saw in /proc/locks, if anything:
        on some file systems the device there is another than stat says."""
        if self._locks is None:
            self._locks = procs.held_locks()
        try:
            inode = os.lstat("%s/%s.%d.lock" % (layout.locks_path(), run, attempt)).st_ino
        except OSError:
            return False
        devices = self._locks.get(inode, ())
        if isinstance(name, str) and name.endswith(":%d" % inode):
            return name.rpartition(":")[0] in devices
        return bool(devices)

    def tagged(self, run, attempt):
        """Whether a process of this uid carries the attempt in its environment."""
        if self._tags is None:
            self._tags = set()
            uid = os.getuid()
            for pid in procs.pids():
                if procs.uid_of(pid) == uid:
                    tag = procs.variable(procs.environ_of(pid), b"TRAINDECK_RUN")
                    if tag:
                        self._tags.add(tag)
        return ("%s/%d" % (run, attempt)).encode() in self._tags

    def server_time(self):
        """Now, by the clock of the file system that holds the runs."""
        if self._server_time is None:
            path = "%s/.clock-%d" % (layout.runs(), os.getpid())
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                try:
                    self._server_time = os.fstat(fd).st_mtime
                finally:
                    os.close(fd)
                    os.unlink(path)
            except OSError:
                self._server_time = self.now
        return self._server_time


def nothing(found):
    """The facts of a run of which nothing is claimed (or which is not there)."""
    return {
        "found": found,
        "attempt": None,
        "phase": "none",
        "reason": "",
        "alive": False,
        "supervised": False,
        "same_host": True,
        "rebooted": False,
        "heartbeat_age": None,
        "exit": None,
        "pid": None,
        "started": None,
        "log_bytes": None,
        "cancel_requested": None,
        "host": None,
        "adopted": False,
        "claimed_at": None,
        "oom_kills": None,
    }


def of_run(run, look):
    """The facts of a run's highest attempt."""
    numbers = layout.attempts(run)
    while numbers:
        facts = of_attempt(run, numbers[-1], look)
        if facts["exit"] is None:
            return facts
        # The next attempt is claimed before the record of a failed one is written: whoever read
        # that record can see the claim, and must not report an end that is none.
        again = layout.attempts(run)
        if again[-1:] == numbers[-1:]:
            return facts
        numbers = again
    return nothing(os.path.isfile(layout.run_dir(run) + "/run.json"))


def of_attempt(run, attempt, look):
    """The facts of one claimed attempt."""
    directory = layout.attempt_dir(run, attempt)
    facts = nothing(True)
    facts["attempt"] = attempt
    facts["phase"] = "claimed"
    claim = records.read_object(directory + "/claim") or {}
    agent = records.read_object(directory + "/agent.json")
    if agent is not None and (agent.get("run") != run or agent.get("phase") not in PHASES):
        agent = None
    where = agent or claim
    if agent is not None:
        facts["phase"] = agent["phase"]
        facts["reason"] = agent["reason"] if isinstance(agent.get("reason"), str) else ""
        facts["started"] = records.number(agent.get("started"))
        facts["adopted"] = agent.get("adopted") is True
    leader = leader_of(agent)
    if leader is not None:
        facts["pid"] = leader[0]
    facts["claimed_at"] = records.number(claim.get("time"))
    facts["host"] = where.get("host") if isinstance(where.get("host"), str) else None
    facts["exit"] = exit_slot.read(directory, attempt)
    cancel = records.read_object(directory + "/control/cancel.json")
    if cancel is not None:
        facts["cancel_requested"] = records.number(cancel.get("time"))
    facts["log_bytes"] = logfile.size(run, attempt)
    boot = where.get("boot_id")
    if boot and boot != look.boot_id:
        facts["same_host"] = facts["rebooted"] = facts["host"] == look.host
    elif where.get("pid_ns") and where["pid_ns"] != look.pid_ns:
        facts["same_host"] = False
    try:
        beat = os.stat(directory + "/heartbeat").st_mtime
        now = look.now if facts["same_host"] else look.server_time()
        facts["heartbeat_age"] = max(0.0, now - beat)
    except OSError:
        pass
    if facts["exit"] is not None and not facts["same_host"]:
        facts["alive"] = facts["supervised"] = None
    elif not facts["same_host"]:
        facts["alive"] = True if look.tagged(run, attempt) else None
        facts["supervised"] = None
    elif facts["rebooted"]:
        facts["alive"] = facts["supervised"] = False
    else:
        facts["supervised"] = is_supervised(run, where)
        facts["alive"] = is_alive(run, attempt, look, leader, where, facts["exit"] is not None)
        if facts["exit"] is None and not facts["alive"] and not facts["supervised"]:
            # It may have ended between the two looks: a supervisor writes before it goes.
            facts["exit"] = exit_slot.read(directory, attempt)
        if facts["supervised"]:
            state = procs.stat_of(where["pid"])
            if state is not None and state.state in (b"T", b"t"):
                facts["reason"] = "its supervisor is stopped (signal STOP)"
        if agent is not None and facts["exit"] is None:
            facts["oom_kills"] = oom.since(agent.get("oom"))
    return facts


def leader_of(agent):
    """(pid, starttime) of the leader that an agent.json names, or None."""
    leader = agent.get("leader") if agent else None
    if not isinstance(leader, dict):
        return None
    pid, starttime = leader.get("pid"), leader.get("starttime")
    if not isinstance(pid, int) or not isinstance(starttime, int) or pid <= 1:
        return None
    return pid, starttime


def is_supervised(run, where):
    """Whether the supervisor named by agent.json (or by the claim before there is one) exists."""
    pid, starttime = where.get("pid"), where.get("starttime")
    if not isinstance(pid, int) or not isinstance(starttime, int):
        return False
    return procs.is_supervisor(pid, starttime, run)


def is_alive(run, attempt, look, leader, where, ended):
    """Whether anything of the attempt runs on this machine. After its recorded end only the lock
    is asked: walking through all processes for each of 500 finished runs would be felt."""
    if look.lock_is_held(run, attempt, where.get("lock")):
        return True
    if leader is not None and procs.is_running(*leader):
        return True
    return not ended and look.tagged(run, attempt)
