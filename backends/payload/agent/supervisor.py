"""The process that stands beside a job from its first to its last moment.

It claims the attempt, starts the leader, watches, ends what is left, and writes the exit record. It
sleeps until something happens and must cost next to nothing meanwhile. Its argv holds only a run
id; the environment and the secrets came through a pipe and live in its memory.
"""

import _signal
import os
import select
import time

from . import (
    Refused,
    adopt,
    commands,
    dependency,
    ending,
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
ASLEEP = 15.0
"""Seconds for which the loop must have stood still for an end to be called seen late."""


class Wake:
    """Signals as bytes on a pipe: what the loop sleeps on."""

    def __init__(self):
        self.fd, write = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(write, False)
        _signal.set_wakeup_fd(write)
        # Asked to go away (a machine that shuts down asks everybody), it stays: the job is asked
        # as well, and its end is to be recorded.
        for number in (procs.SIGCHLD, procs.SIGUSR1, procs.SIGTERM, procs.SIGHUP, procs.SIGINT):
            _signal.signal(number, lambda *_: None)
            _signal.siginterrupt(number, False)

    def drain(self):
        """Forget what woke us; everything is looked at anyway."""
        try:
            while len(os.read(self.fd, 256)) == 256:
                pass
        except BlockingIOError:
            pass


class Orders:
    """What an attempt is run by: run.json's spec and what came through the pipe, checked."""

    def __init__(self, record, request):
        spec = record.get("spec") if record else None
        if not isinstance(spec, dict):
            raise Refused("run.json cannot be read.")
        self.spec = spec
        limits = spec.get("limits") if isinstance(spec.get("limits"), dict) else {}
        self.time = records.number(limits.get("time"))
        grace = records.number(limits.get("grace"))
        self.grace = 10.0 if grace is None or grace < 0 else grace
        retries = limits.get("retries")
        self.retries = retries if isinstance(retries, int) else 0
        stall = records.number(spec.get("stall_after"))
        self.stall_after = stall if stall and stall > 0 else None
        self.keep = bool(spec.get("keep_background"))
        self.pty = bool(spec.get("pty"))
        self.after = spec.get("after")
        self.after_any = bool(spec.get("after_any"))
        self.adopted = request.get("adopt")
        self.secrets = request.get("secrets") or {}
        self.umask = request.get("umask", 0o022)
        self.argv = [wire.to_bytes(word, "argv") for word in spec.get("argv") or []]
        if not self.argv and not self.adopted:
            raise Refused("The run has no command.")
        self.cwd = wire.to_bytes(spec.get("cwd") or "/", "cwd")
        self.inherited = {
            wire.to_bytes(name, "a variable's name"): wire.to_bytes(value, name)
            for name, value in (request.get("environ") or {}).items()
        }

    def environment(self, run, attempt):
        """The job's environment in an attempt. Raises Refused."""
        return job.environment(self.inherited, self.spec, self.secrets, run, attempt)


class Supervisor:
    """The loop around one attempt: `await_dependency`, `begin`, `watch`, `record`."""

    def __init__(self, attempt, orders, wake, before=None):
        self.attempt = attempt
        self.orders = orders
        self.wake = wake
        parent = os.getpid() if libc.become_subreaper() else None
        if orders.adopted:
            parent = None
        self.tree = tree.Tree(attempt.run, attempt.number, attempt.leader, parent)
        self.hooks = []
        if before is not None:
            # What an earlier attempt left running on purpose is not of this one.
            self.tree.excluded.update(before.tree.excluded)
            self.tree.excluded.update(before.tree.members)
            self.hooks = before.hooks
        self.ending = ending.Ending(self.tree, attempt.directory)
        self.over = False
        self.status = None
        self.ended = None
        self.cause = "self"
        self.reason = ""
        self.cancel = None
        self.stalled = False
        self.stall_told = False
        self.system = None
        self.log = None
        self.terminal = None
        self.adoption = None
        self.began = time.monotonic()
        self.slept_at = self.began
        self.beat_due = 0.0
        self.poller = select.poll()
        self.poller.register(wake.fd, select.POLLIN)

    # -- sleeping

    def sleep(self, seconds, fd=None):
        """Wait for a signal, for `fd`, for output on the terminal, or for the time to pass."""
        if fd is not None:
            self.poller.register(fd, select.POLLIN)
        terminal = self.terminal.fd if self.terminal and not self.terminal.blocked else None
        if terminal is not None:
            self.poller.register(terminal, select.POLLIN)
        self.poller.poll(max(0.0, seconds) * 1000.0 + 0.5)
        if fd is not None:
            self.poller.unregister(fd)
        if terminal is not None:
            self.poller.unregister(terminal)
        if self.terminal is not None:
            self.terminal.pump()
        self.wake.drain()
        now = time.monotonic()
        if now >= self.beat_due:
            self.beat_due = now + HEARTBEAT
            self.attempt.beat()
        self._reap(now)
        self.slept_at = now

    def _reap(self, now):
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            leader = self.attempt.leader
            if leader and pid == leader[0] and not self.over and not self.adoption:
                self._leader_ended(now, status)
            for hook in self.hooks:
                if hook.pid == pid:
                    hook.status = status
            if self.system is not None:
                self.system.reaped(usage)
        if self.adoption is not None and not self.over and self.adoption.is_over():
            self._leader_ended(now, None)

    def _leader_ended(self, now, status):
        self.over = True
        self.status = status
        self.ended = time.time()
        if self.ending.cause:
            self.cause = self.ending.cause
        elif self.adoption is not None:
            self.cause = "unknown"
            clock = time.strftime("%H:%M", time.localtime(self.ended))
            self.reason = "ended %s, exit code not knowable" % clock
        if now - self.slept_at > ASLEEP:
            self.reason = "its supervisor had been stopped for %d s: it may have ended earlier" % (
                now - self.slept_at
            )
        records.append_event(self.attempt.directory, "leader_ended", status=status)

    # -- before the job

    def await_dependency(self):
        """Wait for the run this one comes after. True to go on; False if it must not start."""
        if not self.orders.after:
            return True
        shown = None
        while True:
            if self.cancelled():
                self.cause = "cancel"
                self.reason = "stopped while it waited"
                return False
            verdict, reason = dependency.look(self.orders.after, self.orders.after_any)
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
            self.sleep(1.0)

    def cancelled(self):
        """Whether an end was asked for. The request's file is looked for each time: who wrote it
        may not have been able to wake us (another host of a shared file system)."""
        if self.cancel is None:
            path = self.attempt.directory + "/control/cancel.json"
            if os.path.lexists(path):
                self.cancel = records.read_object(path) or {}
                by = self.cancel.get("by")
                records.append_event(self.attempt.directory, "stop_requested", by=by)
        return self.cancel is not None

    def begin(self):
        """Start the leader, or take the adopted one. False if there is none to watch; then cause
        and reason say why."""
        if self.cancelled():
            self.cause = "cancel"
            self.reason = "stopped before it started"
            return False
        try:
            if self.orders.adopted:
                self.adoption = adopt.Adoption(self.attempt)
            else:
                self._launch()
        except job.NotStarted as failed:
            self.attempt.leader = self.attempt.started = None
            self.cause = "launch"
            self.reason = failed.reason
            self.over = True
            self.status = failed.code << 8
            self.ended = time.time()
            self._say("traindeck: %s\n" % failed.reason)
            return False
        now = self.began = time.monotonic()
        directory = self.attempt.directory
        try:
            if self.attempt.log_fd is not None:
                self.log = sampler.LogWatch(self.attempt.log_fd, directory + "/logs/0.idx", now)
            self.system = sampler.SystemWatch(self.tree, directory + "/system.jsonl", now)
        except OSError as error:
            # A disk that is full now: the job goes on without measurements.
            records.append_event(directory, "disk_full", error=str(error))
        return True

    def _launch(self):
        try:
            self._fork()
        except Refused as refused:
            raise job.NotStarted(126, str(refused)) from None
        except OSError as error:
            raise job.NotStarted(126, "the job cannot be started: %s" % error) from None

    def _fork(self):
        attempt, orders = self.attempt, self.orders
        env = orders.environment(attempt.run, attempt.number)
        try:
            os.mkdir(layout.run_dir(attempt.run) + "/artifacts", 0o700)
        except OSError:
            pass  # there already; if it cannot be made, the job will say what it needs
        attempt.oom = oom.now()
        slave = None
        if orders.pty:
            from . import terminal

            self.terminal = terminal.Terminal(attempt.log_fd)
            slave = self.terminal.slave
        pid, gate = job.fork_held(
            orders.argv, env, orders.cwd, attempt.log_fd, (attempt.lock_fd,), orders.umask, slave
        )
        if self.terminal is not None:
            self.terminal.started()
        attempt.leader = self.tree.leader = (pid, procs.starttime_of(pid))
        attempt.started = time.time()
        try:
            # Written down before it runs: there is never a job that nobody can name.
            attempt.publish("running")
        except OSError:
            job.drop(gate)
            os.waitpid(pid, 0)
            raise
        job.release(gate, orders.argv, orders.cwd, self._while_it_starts)
        records.append_event(attempt.directory, "started", pid=pid, pty=orders.pty)

    def _while_it_starts(self, fd):
        """Wait for word from the process that is to become the job: a directory on a file server
        may take its time, and a stop must work meanwhile."""
        self.sleep(1.0, fd)
        if self.cancelled() and not self.ending.cause:
            self.ending.ask(time.monotonic(), "cancel", 0.0)
            self.ending.step(time.monotonic())

    def _say(self, text):
        if self.attempt.log_fd is not None:
            try:
                os.write(self.attempt.log_fd, text.encode("utf-8", "replace"))
            except OSError:
                pass

    # -- beside the job

    def watch_to_end(self):
        """Watch, and go on watching whatever goes wrong: a supervisor that died of a fault of its
        own would leave a job whose end nobody sees."""
        for pause in (0.1, 1.0, 10.0, 60.0):
            try:
                return self.watch()
            except Exception as error:
                words = "%s: %s" % (type(error).__name__, error)
                records.append_event(self.attempt.directory, "agent_error", error=words)
                time.sleep(pause)
        return self.watch()

    def watch(self):
        """Stand by until the leader has ended and nothing of its tree is left."""
        while True:
            now = time.monotonic()
            if not self.over:
                self._limits(now)
                self.sleep(self._next(now) - now, self.adoption and self.adoption.fd)
            elif self._rest_is_gone(now):
                break
            else:
                self.sleep(0.05)
            self._measure(time.monotonic())
        if self.terminal is not None:
            while self.terminal.pump():
                if not self.terminal.blocked:
                    break  # left open by what was allowed to stay
                self.sleep(1.0)
        self._measure(time.monotonic(), last=True)

    def _next(self, now):
        dues = [now + 1.0]
        if self.system is not None:
            dues.append(self.system.due)
        if self.log is not None and self.log.due is not None:
            dues.append(self.log.due)
        if self.ending.due is not None:
            dues.append(self.ending.due)
        elif self.orders.time is not None:
            dues.append(self.began + self.orders.time)
        return min(dues)

    def _limits(self, now):
        if self.ending.due is not None:
            self.ending.step(now)
            return
        if self.cancelled():
            grace = records.number(self.cancel.get("grace"))
            grace = self.orders.grace if grace is None else grace
            asked = self.ending.ask(now, "cancel", grace)
        elif self.orders.time is not None and now >= self.began + self.orders.time:
            grace = self.orders.grace
            asked = self.ending.ask(now, "timeout", grace)
            if asked:
                self.reason = "the time limit of %g s was over" % self.orders.time
        else:
            return
        if asked:
            words = "TERM was sent; KILL follows %g s later" % max(0.0, grace)
            self.attempt.try_publish("stopping", words)

    def _rest_is_gone(self, now):
        """After the leader's end: end what is left of the tree. True once nothing is."""
        if not self.ending.cause and (self.orders.keep or self.adoption is not None):
            return True
        if self.ending.sweep(now, self.orders.grace):
            return True
        left = len(self.tree.members)
        words = "%d process%s of the job left" % (left, "" if left == 1 else "es")
        if self.attempt.phase != "stopping" or self.attempt.reason != words:
            self.attempt.try_publish("stopping", words)
        return False

    def _measure(self, now, last=False):
        try:
            second = self.system is not None and now >= self.system.due
            if second and not last:
                self.system.sample(now)
            if self.log is not None:
                if second or last or (self.log.due is not None and now >= self.log.due):
                    self.log.look(now)
                    self._stall(now)
        except Exception as error:
            # Measurements are worth nothing beside a job that is watched to its end.
            words = "%s: %s" % (type(error).__name__, error)
            records.append_event(self.attempt.directory, "agent_error", error=words)
            self.system = self.log = None
        self.hooks = [hook for hook in self.hooks if not hook.look(now)]

    def _stall(self, now):
        if self.orders.stall_after is None or self.over:
            return
        quiet = now - self.log.grew_at
        if quiet < self.orders.stall_after:
            self.stalled = False
        elif not self.stalled:
            self.stalled = True
            records.append_event(self.attempt.directory, "stall", quiet=round(quiet, 1))
            if not self.stall_told:
                self.stall_told = True
                self.hook("on_stall", "running", "")

    def hook(self, name, state, exit_code):
        """Run the command the spec names for an occasion, if it names one."""
        argv = self.orders.spec.get(name)
        if argv:
            hook = commands.start(name, argv, self.attempt, self.orders, state, exit_code)
            if hook is not None:
                self.tree.exclude(hook.pid, hook.starttime)
                self.hooks.append(hook)

    # -- the end

    def payload(self):
        """What the exit record says."""
        code = number = None
        if self.status is not None:
            if os.WIFSIGNALED(self.status):
                number = os.WTERMSIG(self.status)
            else:
                code = os.WEXITSTATUS(self.status)
        reason = self.reason
        if not reason and number == procs.SIGKILL and not self.ending.killed:
            reason = oom.words(self.attempt.oom)
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
        """Write the exit record, for as long as it takes: until it is on the disk, or the run
        directory does not exist any more."""
        attempt = self.attempt
        data = exit_slot.pack(attempt.number, payload)
        told = False
        while not attempt.write_slot(data):
            if attempt.is_deleted():
                return
            if not told:
                told = True
                records.append_event(attempt.directory, "disk_full")
            self.sleep(1.0)
        words = {name: payload[name] for name in ("cause", "exit_code", "signal")}
        records.append_event(attempt.directory, "ended", **words)
        attempt.try_publish("ended", payload["reason"])
        attempt.drop_reserve()

    def finish_hooks(self):
        """Wait for the commands that still run; each is bounded in time."""
        while self.hooks:
            self.sleep(0.25)
            now = time.monotonic()
            self.hooks = [hook for hook in self.hooks if not hook.look(now)]


def state_of(payload):
    """The word for an end, as backends/status.py gives it."""
    if payload["cause"] == "self":
        return "succeeded" if payload["exit_code"] == 0 else "failed"
    words = {
        "cancel": "cancelled",
        "timeout": "timeout",
        "dependency": "cancelled",
        "launch": "failed",
    }
    return words.get(payload["cause"], "lost")


def code_of(payload):
    """The exit code as a shell would say it, "" if it is not known."""
    if payload["signal"] is not None:
        return str(128 + payload["signal"])
    return "" if payload["exit_code"] is None else str(payload["exit_code"])


def supervise(run, number):
    """The program `supervise RUN ATTEMPT`, exec'ed by `start` with a request on descriptor 3 and a
    place to report to on 4."""
    request = wire.parse_object(wire.read_all(REQUEST_FD))
    os.close(REQUEST_FD)
    if request is None:
        return  # whoever started us was killed while it spoke
    wake = Wake()
    attempt = Attempt(run, number)
    try:
        path = layout.run_dir(run) + "/run.json"
        orders = Orders(records.read_object(path, records.MAX_RUN), request)
        attempt.claim(orders.adopted)
    except Taken:
        report({"taken": True})
        return
    except Refused as refused:
        report({"error": str(refused)})
        return
    report({"pid": os.getpid()})
    retries = orders.retries
    before = None
    while True:
        watch = Supervisor(attempt, orders, wake, before)
        if watch.await_dependency() and watch.begin():
            watch.watch_to_end()
        payload = watch.payload()
        following = None
        if payload["cause"] == "self" and state_of(payload) == "failed" and retries > 0:
            following = next_attempt(watch)
        watch.record(payload)
        if following is None:
            break
        retries -= 1
        orders.after = None
        records.append_event(following.directory, "retry", after=attempt.number)
        attempt.close(forget=not watch.tree.scan(fresh=True))
        attempt, before = following, watch
    watch.hook("on_exit", state_of(payload), code_of(payload))
    watch.finish_hooks()
    attempt.close(forget=not watch.tree.scan(fresh=True))


def next_attempt(watch):
    """Claim the attempt after a failed one, before its record is written: whoever looks sees the
    run go on, never an end that is none. None if it must not go on."""
    if watch.cancelled():
        return None
    following = Attempt(watch.attempt.run, watch.attempt.number + 1)
    try:
        following.claim()
    except (Taken, Refused) as reason:
        records.append_event(watch.attempt.directory, "retry", error=str(reason) or "taken")
        return None
    # Asked in between, on the attempt that was then the last: it is meant for this one.
    if watch.cancelled():
        following.inherit_cancel(watch.cancel)
    return following


def report(words):
    """Tell the `start` that waits for us, if it still does."""
    try:
        wire.write_all(REPORT_FD, wire.dumps(words).encode("ascii"))
    except OSError:
        pass
    os.close(REPORT_FD)
