"""The process that stands beside a job from its first to its last moment.

It claims the attempt, starts the leader, watches, ends what is left, and writes the exit record. It
sleeps until something happens and reads nothing it was not told to watch. Its argv holds only a run
id; the environment and the secrets came through a pipe and live in its memory.
"""

import _signal
import os
import select
import time

from . import (
    Refused,
    commands,
    dependency,
    exit_slot,
    job,
    layout,
    libc,
    oom,
    procs,
    records,
    sampler,
    tree,
    wire,
)
from .attempt import Attempt, Taken

REQUEST_FD = 3
REPORT_FD = 4
HEARTBEAT = 10.0


class Wake:
    """Signals as bytes on a pipe: what the loop sleeps on."""

    def __init__(self):
        self.fd, write = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(write, False)
        _signal.set_wakeup_fd(write)
        # Asked to go away (a machine that shuts down asks everybody), it stays: the job is asked
        # as well, and its end is to be recorded.
        for number in (procs.SIGCHLD, procs.SIGUSR1, procs.SIGTERM, 1, 2):
            _signal.signal(number, lambda *_: None)
            _signal.siginterrupt(number, False)

    def drain(self):
        """Forget what woke us; everything is looked at anyway."""
        try:
            while len(os.read(self.fd, 256)) == 256:
                pass
        except BlockingIOError:
            pass


class Supervisor:
    """The loop around one attempt. `run_to_end` returns the payload of its exit record."""

    def __init__(self, attempt, spec, inherited, secrets, umask, wake, excluded):
        self.attempt = attempt
        self.spec = spec
        self.inherited = inherited
        self.secrets = secrets
        self.umask = umask
        self.wake = wake
        limits = spec.get("limits") if isinstance(spec.get("limits"), dict) else {}
        self.time_limit = records.number(limits.get("time"))
        grace = records.number(limits.get("grace"))
        self.grace = 10.0 if grace is None or grace < 0 else grace
        stall = records.number(spec.get("stall_after"))
        self.stall_after = stall if stall and stall > 0 else None
        self.keep = bool(spec.get("keep_background"))
        parent = os.getpid() if libc.become_subreaper() else None
        self.tree = tree.Tree(attempt.run, attempt.number, parent=parent)
        for pid, starttime in excluded.items():
            self.tree.exclude(pid, starttime)
        self.env = None
        self.leader_status = None
        self.ended = None
        self.cause = "self"
        self.reason = ""
        self.term_at = None
        self.term_cause = None
        self.kill_at = None
        self.all_term_at = None
        self.killed = False
        self.cancel = None
        self.hooks = []
        self.stalled = False
        self.system = None
        self.log = None
        self.beat_due = 0.0
        self.poller = select.poll()
        self.poller.register(wake.fd, select.POLLIN)

    # -- waiting

    def await_dependency(self):
        """Wait for the run this one comes after. True to go on; False if it must not start."""
        after = self.spec.get("after")
        if not after:
            return True
        shown = None
        while True:
            if self._cancelled():
                self.cause = "cancel"
                self.reason = "stopped while it waited"
                return False
            verdict, reason = dependency.look(after, bool(self.spec.get("after_any")))
            if verdict == dependency.GO:
                return True
            if verdict == dependency.NEVER:
                self.cause = "dependency"
                self.reason = reason
                return False
            if reason != shown:
                shown = reason
                self.attempt.try_publish("waiting", reason)
                records.append_event(self.attempt.directory, "waiting", reason=reason)
            self._sleep(1.0)

    def _cancelled(self):
        if self.cancel is None:
            path = self.attempt.directory + "/control/cancel.json"
            if os.path.lexists(path):
                self.cancel = records.read_object(path) or {}
                by = self.cancel.get("by")
                records.append_event(self.attempt.directory, "stop_requested", by=by)
        return self.cancel is not None

    def _sleep(self, seconds):
        now = time.monotonic()
        if now >= self.beat_due:
            self.beat_due = now + HEARTBEAT
            try:
                self.attempt.beat()
                os.utime(self.attempt.lock_fd)
            except OSError:
                pass
        self.poller.poll(max(0.0, seconds) * 1000.0 + 0.5)
        self.wake.drain()
        self._reap()

    # -- running

    def start(self):
        """Start the leader. False if it could not be; then cause and reason say why."""
        attempt = self.attempt
        if self._cancelled():
            self.cause = "cancel"
            self.reason = "stopped before it started"
            return False
        spec = self.spec
        self.env = job.environment(self.inherited, spec, self.secrets, attempt.run, attempt.number)
        argv = [wire.to_bytes(word, "argv") for word in spec.get("argv") or []]
        cwd = wire.to_bytes(spec.get("cwd") or "/", "cwd")
        try:
            os.mkdir(layout.run_dir(attempt.run) + "/artifacts", 0o700)
        except OSError:
            pass
        attempt.oom = oom.now()
        pid, gate = job.fork_held(
            argv, self.env, cwd, attempt.log_fd, (attempt.lock_fd,), self.umask
        )
        attempt.leader = self.tree.leader = (pid, procs.starttime_of(pid))
        attempt.started = time.time()
        try:
            attempt.publish("running")
        except OSError as error:
            job.drop(gate)
            raise error
        now = time.monotonic()
        try:
            job.release(gate, argv, cwd)
        except job.NotStarted as failed:
            os.waitpid(pid, 0)
            attempt.leader = attempt.started = None
            self.cause = "launch"
            self.reason = failed.reason
            self.leader_status = failed.code << 8
            self.ended = time.time()
            wire.write_all(
                attempt.log_fd, ("traindeck: %s\n" % failed.reason).encode("utf-8", "replace")
            )
            return False
        records.append_event(attempt.directory, "started", pid=pid)
        logs = os.path.dirname(layout.log_path(attempt.run, attempt.number))
        self.log = sampler.LogWatch(attempt.log_fd, logs + "/0.idx", now)
        self.system = sampler.SystemWatch(self.tree, attempt.directory + "/system.jsonl", now)
        self.began = now
        return True

    def watch(self):
        """Stand by until the leader has ended and nothing of its tree is left."""
        while True:
            now = time.monotonic()
            if self.leader_status is None:
                self._limits(now)
                due = [self.log.due, self.system.due]
                for at in (self.all_term_at, self.kill_at):
                    if at is not None:
                        due.append(at)
                if self.time_limit is not None and self.term_at is None:
                    due.append(self.began + self.time_limit)
                self._sleep(min(due) - now)
            elif self._rest_is_gone(now):
                return
            self._measure(time.monotonic())

    def _measure(self, now):
        if now >= self.log.due:
            self.log.look(now)
            self._stall(now)
        if now >= self.system.due:
            self.system.sample(now)
        self.hooks = [hook for hook in self.hooks if not hook.look(now)]

    def _limits(self, now):
        if self.term_at is None:
            if self._cancelled():
                grace = records.number(self.cancel.get("grace"))
                self._terminate(now, "cancel", self.grace if grace is None else grace)
            elif self.time_limit is not None and now >= self.began + self.time_limit:
                self._terminate(now, "timeout", self.grace)
            return
        if self.all_term_at is not None and now >= self.all_term_at:
            self.all_term_at = None
            self.tree.signal(procs.SIGTERM)
        if now >= self.kill_at:
            self._kill(now)

    def _terminate(self, now, cause, grace):
        """Ask for an end. The leader is asked first: a trainer that saves on TERM needs its
        workers. Those that the leader does not take along are asked at half time."""
        self._reap()
        if self.leader_status is not None:
            return
        grace = max(0.0, grace)
        self.term_at = now
        self.term_cause = cause
        self.kill_at = now + grace
        self.all_term_at = now + grace / 2
        pid, starttime = self.attempt.leader
        procs.send_signal(pid, starttime, procs.SIGTERM)
        procs.send_signal(pid, starttime, procs.SIGCONT)
        records.append_event(self.attempt.directory, "term_sent", cause=cause, grace=grace)
        self.attempt.try_publish("stopping", "TERM was sent, KILL follows after %g s" % grace)

    def _kill(self, now):
        count = self.tree.signal(procs.SIGKILL)
        if not self.killed:
            self.killed = True
            records.append_event(self.attempt.directory, "kill_sent", processes=count)
        self.kill_at = now + 0.2

    def _rest_is_gone(self, now):
        """After the leader's end: end what is left of the tree. True once nothing is."""
        if self.keep and self.term_at is None:
            return True
        members = self.tree.scan(fresh=True)
        if not members:
            return True
        if self.attempt.phase != "stopping" or self.all_term_at is not None or self.kill_at is None:
            self.all_term_at = None
            soon = now + min(self.grace, 2.0)
            self.kill_at = max(self.kill_at or 0.0, soon) if self.term_at else now + self.grace
            left = "%d processes of the job are left after its end" % len(members)
            self.attempt.try_publish("stopping", left)
            self.tree.signal(procs.SIGTERM)
        elif now >= self.kill_at:
            self._kill(now)
        self._sleep(0.05)
        return False

    def _reap(self):
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.attempt.leader and pid == self.attempt.leader[0] and self.leader_status is None:
                self.leader_status = status
                self.ended = time.time()
                if self.term_cause:
                    self.cause = self.term_cause
            for hook in self.hooks:
                if hook.pid == pid:
                    hook.status = status
            if self.system is not None:
                self.system.reaped(usage)

    def _stall(self, now):
        if self.stall_after is None:
            return
        quiet = now - self.log.grew_at
        if quiet < self.stall_after:
            self.stalled = False
        elif not self.stalled:
            self.stalled = True
            records.append_event(self.attempt.directory, "stall", quiet=round(quiet, 1))
            argv = self.spec.get("on_stall")
            if argv:
                self.spec = dict(self.spec, on_stall=None)
                self._hook("on_stall", argv, "running", None)

    def _hook(self, name, argv, state, exit_code):
        hook = commands.start(name, argv, self, state, exit_code)
        if hook is not None:
            self.tree.exclude(hook.pid, hook.starttime)
            self.hooks.append(hook)

    # -- the end

    def payload(self):
        """What the exit record says."""
        status = self.leader_status
        code = number = None
        if status is not None:
            if os.WIFSIGNALED(status):
                number = os.WTERMSIG(status)
            else:
                code = os.WEXITSTATUS(status)
        reason = self.reason
        if not reason and number == procs.SIGKILL and not self.killed:
            reason = oom.words(self.attempt.oom)
        if not reason and self.cause == "timeout":
            reason = "the time limit of %g s was over" % self.time_limit
        return {
            "format": records.FORMAT,
            "run": self.attempt.run,
            "attempt": self.attempt.number,
            "cause": self.cause,
            "exit_code": code,
            "signal": number,
            "started": self.attempt.started,
            "ended": self.ended if self.ended is not None else time.time(),
            "reason": reason,
            "host": procs.hostname(),
            "boot_id": procs.boot_id(),
        }

    def record(self, payload):
        """Write the exit record, for as long as it takes. Returns once it is on the disk, or the
        run directory does not exist any more."""
        attempt = self.attempt
        data = exit_slot.pack(attempt.number, payload)
        told = False
        while True:
            try:
                exit_slot.write(attempt.slot_fd, attempt.directory, data)
                break
            except OSError as error:
                if os.fstat(attempt.slot_fd).st_nlink == 0 or not os.path.isdir(attempt.directory):
                    break
                if not told:
                    told = True
                    records.append_event(attempt.directory, "disk_full", error=error.strerror)
                self._sleep(1.0)
        records.append_event(
            attempt.directory,
            "ended",
            cause=payload["cause"],
            exit_code=payload["exit_code"],
            signal=payload["signal"],
        )
        attempt.try_publish("ended", payload["reason"])
        try:
            os.unlink(attempt.directory + "/reserve")
        except OSError:
            pass

    def finish_hooks(self):
        """Wait for the commands that still run; each is bounded in time."""
        while self.hooks:
            self._sleep(0.1)
            now = time.monotonic()
            self.hooks = [hook for hook in self.hooks if not hook.look(now)]


def state_of(payload):
    """The word for an end, as backends/status.py gives it."""
    if payload["cause"] == "self":
        return "succeeded" if payload["exit_code"] == 0 else "failed"
    words = {"cancel": "cancelled", "timeout": "timeout", "dependency": "cancelled"}
    return words.get(payload["cause"], "failed" if payload["cause"] == "launch" else "lost")


def supervise(run, number):
    """The program `supervise RUN ATTEMPT`, exec'ed by `start` with a request on descriptor 3 and a
    place to report to on 4. Never returns a value anybody reads."""
    request = wire.parse_object(wire.read_all(REQUEST_FD))
    os.close(REQUEST_FD)
    if request is None:
        return  # whoever started us was killed while it spoke
    wake = Wake()
    attempt = Attempt(run, number)
    try:
        record = records.read_object(layout.run_dir(run) + "/run.json", records.MAX_RUN)
        if record is None or not isinstance(record.get("spec"), dict):
            raise Refused("The run %s has no readable run.json." % run)
        attempt.claim()
    except Taken:
        report({"taken": True})
        return
    except Refused as refused:
        report({"error": str(refused)})
        return
    report({"pid": os.getpid()})
    spec = record["spec"]
    limits = spec.get("limits") if isinstance(spec.get("limits"), dict) else {}
    retries = limits.get("retries")
    retries = retries if isinstance(retries, int) else 0
    inherited = {
        wire.to_bytes(k): wire.to_bytes(v) for k, v in (request.get("environ") or {}).items()
    }
    secrets = request.get("secrets") or {}
    excluded = {}
    while True:
        watch = Supervisor(
            attempt, spec, inherited, secrets, request.get("umask", 0o022), wake, excluded
        )
        if watch.await_dependency() and watch.start():
            watch.watch()
        payload = watch.payload()
        following = None
        if payload["cause"] == "self" and state_of(payload) == "failed" and retries > 0:
            following = next_attempt(watch)
        watch.record(payload)
        if following is None:
            break
        retries -= 1
        records.append_event(following.directory, "retry", after=attempt.number)
        watch.tree.excluded.update(watch.tree.scan(fresh=True))
        excluded = watch.tree.excluded
        attempt.close()
        attempt = following
        spec = dict(spec, after=None)
    argv = spec.get("on_exit")
    if argv:
        watch._hook("on_exit", argv, state_of(payload), payload["exit_code"])
    watch.finish_hooks()


def next_attempt(watch):
    """Claim the attempt after a failed one, before its record is written: whoever looks sees the
    run go on, never an end that is none. None if it must not go on."""
    if watch._cancelled():
        return None
    following = Attempt(watch.attempt.run, watch.attempt.number + 1)
    try:
        following.claim()
    except (Taken, Refused):
        return None
    return following


def report(words):
    """Tell the `start` that waits for us, if it still does."""
    try:
        wire.write_all(REPORT_FD, wire.dumps(words).encode("ascii"))
    except OSError:
        pass
    os.close(REPORT_FD)
