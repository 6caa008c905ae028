"""What can be said of a run from its directory, the locks and the processes of this machine: the
facts of FORMAT.md §6 and §8. Reading changes nothing and takes no lock."""

import errno
import os
import time

from . import exit_slot, layout, locking, logfile, oom, procs, records, slurm

PHASES = ("waiting", "starting", "running", "stopping", "ended")
FRESH = 20.0
"""Seconds of age up to which the clock of this machine is taken for the file server's."""
REBOOT_SILENCE = 60.0


class Look:
    """One look at this machine, shared by all the runs of a poll. What is expensive is looked up
    when the first run needs it.

    Attributes:
        supervisors: Of each run whose supervisor was seen here, (pid, starttime, state).
    """

    def __init__(self):
        self.now = time.time()
        self.host = procs.hostname()
        self.boot_id = procs.boot_id()
        self.pidns = procs.pid_namespace()
        self.supervisors = {}
        self._locks = None
        self._processes = None
        self._offset = None

    def is_here(self, where):
        """Whether a record (a claim or an agent.json) was written on this host: True, False, or
        None if it does not say."""
        boot, pidns = where.get("boot_id"), where.get("pidns")
        if not boot or pidns is None:
            return None
        return boot == self.boot_id and pidns == self.pidns

    def lock_is_held(self, run, attempt, name):
        """Whether the run lock is held, by the name its taker recorded, else by its inode."""
        if self._locks is None:
            self._locks = locking.held()
        if isinstance(name, str) and name.count(":") == 2:
            return name in self._locks
        try:
            inode = os.lstat(layout.lock_path(run, attempt)).st_ino
        except OSError:
            return False
        return str(inode) in self._locks

    def has_process(self, run, attempt):
        """Whether a process of this uid carries the attempt in its environment or has its lock
        open."""
        return attempt in self.attempts_of(run)

    def attempts_of(self, run):
        """The attempts of a run of which there are processes of this uid."""
        if self._processes is None:
            self._processes = self._walk()
        return self._processes.get(run, ())

    @staticmethod
    def _walk():
        """The runs and attempts that processes of this uid belong to."""
        found = {}

        def note(name, separator):
            run, _, attempt = name.partition(separator)
            number = layout.number_of(attempt)
            if layout.is_id(run) and number is not None:
                found.setdefault(run, set()).add(number)

        uid = os.getuid()
        locks = layout.locks_path() + "/"
        for pid in procs.pids():
            if procs.uid_of(pid) != uid:
                continue
            state = procs.stat_of(pid)
            if state is None or state.dead:
                continue
            tag = procs.variable(procs.environ_of(pid), b"TRAINDECK_RUN")
            if tag:
                note(tag.decode("ascii", "replace"), "/")
            for path in procs.open_files(pid):
                if path.startswith(locks) and path.endswith(".lock"):
                    note(path[len(locks) : -len(".lock")], ".")
        return found

    def age(self, moment):
        """Seconds since a file's time, by the clock of the file server that set it."""
        age = self.now - moment
        if 0 <= age < FRESH:
            return age
        if self._offset is None:
            self._offset = self._server_time() - self.now
        return max(0.0, age + self._offset)

    def _server_time(self):
        path = "%s/.clock-%d" % (layout.runs(), os.getpid())
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                return os.fstat(fd).st_mtime
            finally:
                os.close(fd)
                os.unlink(path)
        except OSError:
            return self.now


def nothing():
    """The facts of a run of which nothing is known."""
    return {
        "found": True,
        "attempt": None,
        "phase": "none",
        "reason": "",
        "alive": None,
        "supervised": None,
        "same_host": None,
        "rebooted": False,
        "heartbeat_age": None,
        "age": None,
        "exit": None,
        "pid": None,
        "started": None,
        "log_bytes": None,
        "cancel_requested": None,
        "host": "",
        "adopted": False,
        "claimed_at": None,
        "oom_kills": None,
        "removed": False,
        "newer": None,
        "error": None,
    }


def of_run(run, look):
    """The facts of a run's highest attempt. Never raises."""
    facts = nothing()
    if not layout.is_id(run):
        facts["found"] = False
        return facts
    try:
        try:
            info = os.lstat(layout.run_dir(run))
        except FileNotFoundError:
            return _deleted(facts, run, look)
        numbers, handed = layout.known(run)
        if handed and (not numbers or handed[-1] > numbers[-1]):
            facts = _of_queued(run, handed[-1], look)
        elif numbers:
            facts = of_attempt(run, numbers[-1], look)
            while facts["exit"] is not None and facts["exit"].get("next") is not None:
                # Its supervisor may have gone on, and even ended, since the attempts were listed.
                numbers, before = layout.attempts(run), numbers
                if numbers[-1:] == before[-1:] or not numbers:
                    break
                facts = of_attempt(run, numbers[-1], look)
        elif layout.is_gutted(run):
            facts = _deleted(facts, run, look)
        else:
            facts["age"] = look.age(info.st_mtime)
            _read_cancel(facts, run, 0)
        facts["removed"] = layout.is_removed(run)
        newer = _format_of_run(run)
        if newer is not None and newer > records.FORMAT:
            facts["newer"] = newer
    except Exception as error:
        # A fault of ours as well: what a job wrote there must not hide all the other runs.
        facts["error"] = words_for(error)
    return facts


def _deleted(facts, run, look):
    facts["found"] = False
    facts["same_host"] = True
    facts["alive"] = bool(look.attempts_of(run))
    return facts


def words_for(error):
    """A sentence for what kept a run directory from being read."""
    if not isinstance(error, OSError):
        return "%s: %s" % (type(error).__name__, error)
    what = error.strerror or str(error)
    where = error.filename
    return "%s: %s" % (where, what) if isinstance(where, str) else what


def _format_of_run(run):
    """The `format` of run.json, from its first bytes: it is too long to be read by each poll."""
    head = records.read_bytes(layout.run_dir(run) + "/run.json", 64) or b""
    name, _, rest = head.partition(b":")
    number = rest.split(b",")[0].strip()
    return int(number) if name.strip(b'{" ') == b"format" and number.isdigit() else None


def of_attempt(run, attempt, look):
    """The facts of one claimed attempt. Raises OSError if its directory cannot be read."""
    directory = layout.attempt_dir(run, attempt)
    facts = nothing()
    facts["attempt"] = attempt
    facts["phase"] = "claimed"
    claim = records.read_object(directory + "/claim") or {}
    agent = records.read_object(directory + "/agent.json")
    if agent is not None and isinstance(agent.get("format"), int):
        if agent["format"] > records.FORMAT:
            facts["newer"] = agent["format"]
            agent = None
    if agent is not None and (agent.get("run") != run or agent.get("phase") not in PHASES):
        agent = None
    where = agent or claim
    _read_agent(facts, agent)
    _read_queue(facts, run, attempt)
    claimed_at = os.lstat(directory + "/claim").st_mtime
    facts["claimed_at"] = records.number(claim.get("time")) or claimed_at
    facts["host"] = where.get("host") if isinstance(where.get("host"), str) else ""
    if isinstance(where.get("scheduler"), dict):
        facts["scheduler"] = where["scheduler"]
        job = slurm.job_of(where["scheduler"])
        if isinstance(job, str):
            facts["job"] = job
    _read_exit(facts, directory, run, attempt)
    _read_cancel(facts, run, attempt)
    facts["log_bytes"] = logfile.size(run, attempt)
    over = facts["exit"] is not None and facts["exit"].get("next") is None
    try:
        beat = os.lstat(directory + "/heartbeat").st_mtime
        facts["heartbeat_age"] = max(0.0, look.now - beat) if over else look.age(beat)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    facts["age"] = max(0.0, look.now - claimed_at) if over else look.age(claimed_at)
    facts["same_host"] = look.is_here(where)
    if facts["same_host"]:
        _look_around(facts, run, attempt, look, where, over)
        if facts["exit"] is None and not facts["alive"]:
            # It may have ended between the two looks: a supervisor writes before it goes.
            _read_exit(facts, directory, run, attempt)
    elif facts["same_host"] is False and facts["host"] == look.host:
        age = facts["heartbeat_age"]
        facts["rebooted"] = (facts["age"] if age is None else age) > REBOOT_SILENCE
    return facts


def _of_queued(run, attempt, look):
    """The facts of an attempt that was handed to a scheduler and is not claimed."""
    facts = nothing()
    facts["age"] = look.age(os.lstat(layout.attempt_dir(run, attempt) + "/queued.json").st_mtime)
    _read_queue(facts, run, attempt)
    _read_cancel(facts, run, attempt)
    said = (records.read_bytes(layout.run_dir(run) + "/batch.log", 1 << 16) or b"")[-400:]
    if said.strip():
        facts["batch_said"] = said.decode("utf-8", "replace")
    return facts


def _read_queue(facts, run, attempt):
    """What a scheduler was given, and its last word if somebody kept it."""
    directory = layout.attempt_dir(run, attempt)
    there = records.read_object(directory + "/queued.json")
    if there is not None:
        number = there.get("id")
        facts["queued"] = {
            "attempt": attempt,
            "id": number if isinstance(number, str) else None,
            "time": records.number(there.get("time")),
        }
        if isinstance(number, str):
            facts["job"] = number
    word = records.read_object(directory + "/word.json")
    if word is not None and word.get("format") == records.FORMAT:
        facts["word"] = word


def _read_agent(facts, agent):
    if agent is None:
        return
    facts["phase"] = agent["phase"]
    facts["reason"] = agent["reason"] if isinstance(agent.get("reason"), str) else ""
    facts["started"] = records.number(agent.get("started"))
    facts["adopted"] = agent.get("adopted") is True
    if agent.get("rings") is True:
        facts["rings"] = True
    leader = leader_of(agent)
    facts["pid"] = leader and leader[0]


def _read_exit(facts, directory, run, attempt):
    payload = exit_slot.read(directory, run, attempt)
    if payload is not None and payload["format"] > records.FORMAT:
        facts["newer"] = payload["format"]
    else:
        facts["exit"] = payload


def _read_cancel(facts, run, attempt):
    path = layout.attempt_dir(run, attempt) + "/control/cancel.json"
    try:
        asked = os.lstat(path).st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return
    words = records.read_object(path) or {}
    # An empty one counts as well: a full disk takes no more.
    facts["cancel_requested"] = records.number(words.get("time")) or asked


def _look_around(facts, run, attempt, look, where, over):
    """What the processes of this machine say."""
    supervisor = _supervisor(run, where)
    facts["supervised"] = supervisor is not None
    if supervisor is not None:
        look.supervisors[run] = where["pid"], supervisor.starttime, supervisor.state
    facts["alive"] = (
        facts["supervised"]
        or look.lock_is_held(run, attempt, where.get("lock"))
        or _leader_runs(where)
        # After its recorded end only that is asked: to walk through all processes for each of 500
        # finished runs would be felt.
        or (not over and look.has_process(run, attempt))
    )
    if supervisor is not None and supervisor.state in (b"T", b"t"):
        facts["reason"] = "its supervisor is stopped (signal STOP)"
    if not over:
        facts["oom_kills"] = oom.since(where.get("oom"))


def leader_of(agent):
    """(pid, starttime) of the leader that an agent.json names, or None."""
    leader = agent.get("leader") if agent else None
    if not isinstance(leader, dict):
        return None
    pid, starttime = leader.get("pid"), leader.get("starttime")
    if not isinstance(pid, int) or not isinstance(starttime, int) or not 1 < pid < 1 << 31:
        return None
    return pid, starttime


def _leader_runs(where):
    leader = leader_of(where)
    return leader is not None and procs.is_running(*leader)


def is_supervised(run, where):
    """Whether the supervisor named by agent.json (or by the claim before there is one), which was
    written on this host, exists."""
    return _supervisor(run, where) is not None


def _supervisor(run, where):
    pid, starttime = where.get("pid"), where.get("starttime")
    if not isinstance(pid, int) or not isinstance(starttime, int):
        return None
    return procs.supervisor(pid, starttime, run)


def is_over(facts, higher=False):
    """Whether an attempt is over: nothing of it will happen any more (FORMAT.md §6). `higher`: an
    attempt after it is claimed."""
    payload = facts["exit"]
    if payload is not None and payload.get("next") is None:
        return True
    if payload is not None:
        return higher or facts["supervised"] is False or facts["rebooted"]
    if facts["error"] is not None or facts["newer"] is not None:
        return False
    if facts["attempt"] is None:
        if facts.get("queued") is None:
            return False
        # A cancel seen beside a missing claim has won.
        return facts.get("word") is not None or facts["cancel_requested"] is not None
    if facts.get("word") is not None and not facts["alive"]:
        return True
    return facts["rebooted"] or (bool(facts["same_host"]) and facts["alive"] is False)
