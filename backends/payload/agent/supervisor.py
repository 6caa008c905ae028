"""The process that stands beside a job from its first to its last moment.

It claims the attempt, starts the leader, watches, ends what is left, and writes the exit record. It
sleeps until something happens and must cost next to nothing meanwhile. Its argv holds only a run
id; the environment and the secrets came through a pipe and live in its memory.
"""

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
)
from .orders import Request

HEARTBEAT = 10.0
CARE = 0.9
"""Seconds after which children, requests and the heartbeat are looked after without a signal."""
ASLEEP = 15.0
"""Seconds for which the loop must have stood still for an end to be called seen late."""


class Supervisor:
    """The loop around one attempt: `await_dependency`, `begin`, `watch`, `record`."""

    def __init__(self, attempt, orders, wake, before=None):
        self.attempt = attempt
        # A request to stop an earlier attempt of ours is meant for the run.
        self.requests = [*(before.requests if before else ()), Request(attempt.directory)]
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
        self.stalled = False
        self.stall_told = False
        self.system = None
        self.log = None
        self.terminal = None
        self.adoption = None
        self.began = time.monotonic()
        self.cared_at = self.began
        self.care_due = self.beat_due = self.warn_due = 0.0
        self.poller = select.poll()
        self.poller.register(wake.fd, select.POLLIN)

    # -- sleeping

    def sleep(self, seconds, fd=None):
        """Wait for a signal, for `fd`, for output on the terminal, or for the time to pass. What
        is to be cared for is, at least once a second; False if there was no need yet (ten times a
        second of sampling a log leave no time for more)."""
        terminal = self.terminal.fd if self.terminal and not self.terminal.blocked else None
        more = [extra for extra in (fd, terminal) if extra is not None]
        for extra in more:
            self.poller.register(extra, select.POLLIN)
        happened = self.poller.poll(max(0.0, seconds) * 1000.0 + 0.5)
        for extra in more:
            self.poller.unregister(extra)
        now = time.monotonic()
        if not happened and now < self.care_due:
            return False
        if self.terminal is not None:
            self.terminal.pump()
        self.wake.drain()
        if now >= self.beat_due:
            self.beat_due = now + HEARTBEAT
            self.attempt.beat()
        self._reap(now)
        self.cared_at = now
        self.care_due = now + CARE
        return True

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
        if self.adoption is not None and not self.over:
            if self.adoption.is_over():
                self._leader_ended(now, None)
            elif not self.ending.cause and self.adoption.is_let_go():
                self._let_go()

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
        if now - self.cared_at > ASLEEP:
            self.reason = "its supervisor had been stopped for %d s: it may have ended earlier" % (
                now - self.cared_at
            )
        records.append_event(self.attempt.directory, "leader_ended", status=status)

    def _let_go(self):
        """The adopted process goes on; only this watching is over."""
        self.over = True
        self.ended = time.time()
        self.cause = "unknown"
        clock = time.strftime("%H:%M", time.localtime(self.ended))
        self.reason = "not watched from %s on; the process went on" % clock
        records.append_event(self.attempt.directory, "unwatched")

    # -- before the job

    def await_dependency(self):
        """Wait for the runs this one comes after. True to go on; False if it must not start."""
        if not self.orders.after:
            return True
        waited = dependency.Dependencies(self.orders.after, self.orders.after_any)

        def look():
            verdict, reason = waited.look()
            if verdict == dependency.NEVER:
                self.cause = "dependency"
                self.reason = reason
                return False, reason
            return True if verdict == dependency.GO else None, reason

        return self._wait(look)

    def await_devices(self):
        """Wait until it has the devices that it is to have. True to go on; False if it must not
        start."""
        if self.orders.lease is None or self.orders.adopted:
            return True
        from . import leases

        attempt = self.attempt
        words = {"run": attempt.run, "attempt": attempt.number, "name": self.orders.name}

        def look():
            try:
                if attempt.devices is None:
                    attempt.devices = leases.Wanted(self.orders.lease)
                reason = attempt.devices.try_to_take(words)
            except Refused as refused:
                self._not_started(126, str(refused))
                return False, str(refused)
            return None if reason else True, reason

        return self._wait(look)

    def _wait(self, look):
        """Look each second, until there is nothing to wait for. `look` returns (True to go on,
        False if it must not start or None to wait, the reason)."""
        shown = None
        while True:
            if self._stopped_before("stopped while it waited"):
                return False
            goes, reason = look()
            if goes is not None:
                return goes
            if reason != shown:
                shown = reason
                self.attempt.try_publish("waiting", reason)
                records.append_event(self.attempt.directory, "waiting", reason=reason)
            self.sleep(1.0)

    def cancelled(self):
        """Whether an end was asked for."""
        looked = [request.look() for request in self.requests]
        return True in looked

    def _grace(self):
        """The grace that was asked for, the shortest; else the run's own."""
        asked = [request.grace for request in self.requests if request.grace is not None]
        return min(asked) if asked else self.orders.grace

    def _stopped_before(self, reason):
        if self.cancelled():
            self.cause = "cancel"
            self.reason = reason
        elif self.wake.asked:
            self.cause = "outside"
            self.reason = "its supervisor was sent TERM before it started"
        else:
            return False
        return True

    def begin(self):
        """Start the leader, or take the adopted one. False if there is none to watch; then cause
        and reason say why."""
        # What was adopted runs already: a stop that came this early has to end it.
        if not self.orders.adopted and self._stopped_before("stopped before it started"):
            return False
        try:
            if self.orders.adopted:
                self.adoption = adopt.Adoption(self.attempt)
            else:
                self._launch()
        except job.NotStarted as failed:
            self._not_started(failed.code, failed.reason)
            return False
        now = self.began = time.monotonic()
        directory = self.attempt.directory
        try:
            path = self.attempt.index_path()
            if self.attempt.log_fd is not None and path is not None:
                self.log = sampler.LogWatch(self.attempt.log_fd, path, now, not self.adoption)
            path = self.attempt.system_path()
            if path is not None:
                self.system = sampler.SystemWatch(self.tree, path, now, not self.adoption)
        except OSError as error:
            # A disk that is full now: the job goes on without measurements.
            records.append_event(directory, "disk_full", error=str(error))
        return True

    def _not_started(self, code, reason):
        self.attempt.leader = self.attempt.started = None
        self.cause = "launch"
        self.reason = reason
        self.over = True
        self.status = code << 8
        self.ended = time.time()
        self._say("traindeck: %s\n" % reason)

    def _launch(self):
        try:
            self._fork()
        except Refused as refused:
            raise job.NotStarted(126, str(refused)) from None
        except OSError as error:
            raise job.NotStarted(126, "the job cannot be started: %s" % error) from None

    def _fork(self):
        attempt, orders = self.attempt, self.orders
        argv, env, cwd = self._program()
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
        keep = [attempt.lock_fd]
        if attempt.devices is not None:
            keep += [lease.fd for lease in attempt.devices.leases]
            env.update(attempt.devices.variables())
        pid, gate = job.fork_held(argv, env, cwd, attempt.log_fd, keep, orders.umask, slave)
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
        job.release(gate, argv, cwd, self._while_it_starts)
        records.append_event(attempt.directory, "started", pid=pid, pty=orders.pty)

    def _program(self):
        """What the leader is: argv, environment and folder, all bytes. Raises Refused."""
        orders = self.orders
        return orders.argv, orders.environment(self.attempt.run, self.attempt.number), orders.cwd

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
        cared = True
        pause = 0.01
        while True:
            now = time.monotonic()
            if not self.over:
                due = self._deadline(now)
                if cared or now >= due:
                    self._limits(now)
                    due = self._deadline(now)
                if self.log is not None and self.log.due is not None:
                    due = min(due, self.log.due)
                cared = self.sleep(due - now, self.adoption and self.adoption.fd)
            elif self._rest_is_gone(now):
                break
            else:
                # A child that ends wakes us; this is for those that are not ours.
                pause = min(0.25, pause * 2)
                self.sleep(pause)
            self._measure(time.monotonic())
        if self.terminal is not None:
            while self.terminal.pump():
                if not self.terminal.blocked:
                    break  # left open by what was allowed to stay
                self.sleep(1.0)
        self._measure(time.monotonic(), last=True)

    def _deadline(self, now):
        """When something must be done that no signal announces."""
        due = self.system.due if self.system is not None else now + CARE
        if self.ending.due is not None:
            return min(due, self.ending.due)
        if self.orders.time is not None:
            return min(due, self.began + self.orders.time)
        return due

    def _outside(self, now, grace):
        """TERM was sent to the supervisor itself. Returns whether it was passed on."""
        asked = self.ending.ask(now, "outside", grace)
        if asked:
            self.reason = "its supervisor was sent TERM and passed it on"
        return asked

    def _warn(self, now):
        """The time is nearly over, says whoever gave it (USR2): so is told who listens, where
        nobody does to USR2 by USR1, which Lightning and submitit take for it unless told
        otherwise. As long as nobody does at all it is kept: a job that still imports listens
        later, and nobody says it twice."""
        count = self.tree.pass_on(procs.SIGUSR2) or self.tree.pass_on(procs.SIGUSR1)
        if count or not self.warn_due:
            records.append_event(self.attempt.directory, "warned", processes=count)
        self.wake.warned = not count
        self.warn_due = now + CARE

    def _limits(self, now):
        if self.wake.warned and now >= self.warn_due:
            self._warn(now)
        cancelled = self.cancelled()
        if self.ending.due is not None:
            if cancelled:
                self.ending.shorten(now, self._grace())
            self.ending.step(now)
            return
        grace = self.orders.grace
        if cancelled:
            grace = self._grace()
            asked = self.ending.ask(now, "cancel", grace)
        elif self.wake.asked:
            asked = self._outside(now, grace)
        elif self.orders.time is not None and now >= self.began + self.orders.time:
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
        if self.cancelled():
            self.ending.shorten(now, self._grace())
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
        limit = self.orders.stall_after
        quiet = now - self.log.grew_at
        if quiet < limit:
            if self.stalled and self.attempt.phase == "running":
                self.attempt.try_publish(reason="")
            self.stalled = False
        elif not self.stalled:
            self.stalled = True
            if self.attempt.phase == "running":
                span = "%g s" % limit if limit < 120 else "%.4g min" % (limit / 60)
                self.attempt.try_publish(reason="stalled: no output for %s" % span)
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
            # The clock may have been set back meanwhile.
            "ended": max(self.ended or time.time(), self.attempt.started or 0.0),
            "reason": reason,
            "host": procs.hostname(),
            "boot_id": procs.boot_id(),
            "next": None,
        }

    def record(self, payload):
        """Write the exit record, for as long as it takes: until it is on the disk, or the run
        directory does not exist any more."""
        attempt = self.attempt
        # Before the record, because after it nothing is renamed any more.
        attempt.try_publish("ended", payload["reason"])
        data = exit_slot.pack(attempt.number, payload)
        told = False
        while not attempt.write_slot(data):
            if attempt.is_deleted():
                return
            if not told:
                told = True
                records.append_event(attempt.directory, "disk_full")
            self.sleep(1.0)
        words = {name: payload[name] for name in ("cause", "exit_code", "signal", "next")}
        records.append_event(attempt.directory, "ended", **words)
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
        "outside": "failed",
    }
    return words.get(payload["cause"], "lost")


def code_of(payload):
    """The exit code as a shell would say it, "" if it is not known."""
    if payload["signal"] is not None:
        return str(128 + payload["signal"])
    return "" if payload["exit_code"] is None else str(payload["exit_code"])
