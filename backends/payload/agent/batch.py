"""The program that Slurm runs as a job's batch step: `batch RUN ATTEMPT [KILL_WAIT]`. (For RUN see
slurm.own_run.)

It supervises as the program beside a local job does (the same loop, the same records), but in the
foreground, and it claims for itself: the attempt that it was submitted for, or, started again by
Slurm, the next one. Its exit code is the job's.
"""

import os
import time

from . import Refused, layout, records, secrets, slurm, start
from .attempt import Attempt, NoRoom, Taken
from .orders import Orders, Request
from .supervise import see_through
from .supervisor import Supervisor
from .wake import Wake

DUPLICATE = 73
"""Exit code of a batch step whose attempt is somebody else's (EX_CANTCREAT; 75 is what our trainers
end with after a stop)."""
KILL_WAIT = 30.0
"""Slurm's default of the seconds between TERM and KILL."""
TOLD_WITHIN = 0.15
"""Seconds for TERM to have come to everybody if it came to us."""


def batch(words):
    """The program. Returns the exit code."""
    environ = start.own_environ()
    if "TRAINDECK_RUN" in environ:
        _again(environ)
    try:
        run = slurm.own_run(words[0], environ)
        number = layout.check_attempt(int(words[1]) if words[1].isdigit() else words[1])
        kill_wait = float(words[2]) if len(words) > 2 else KILL_WAIT
        return _Step(run, number, environ, kill_wait).run()
    except (Refused, NoRoom, OSError, ValueError) as error:
        slurm.say(str(error))
        return 1


def _again(environ):
    """Start ourselves anew without the names of a run that submitted this one: whoever looks at
    environments would take us for a part of it."""
    import sys

    from . import UMASK

    os.umask(UMASK)
    env = {k: v for k, v in environ.items() if not k.startswith("TRAINDECK_")}
    argv = [sys.executable, "-I", "-S", layout.agent_file(), *sys.argv[1:]]
    os.execve(sys.executable, argv, env)  # noqa: S606


class _Step:
    """One batch step."""

    def __init__(self, run, number, environ, kill_wait):
        self.run_id = run
        self.number = number
        self.environ = environ
        self.kill_wait = kill_wait
        self.place = slurm.place(environ)

    def run(self):
        """Everything. Returns the exit code."""
        os.chdir("/")
        run = self.run_id
        wake = Wake()
        word = slurm.Word(self.place, self.environ)
        if layout.is_removed(run):
            raise Refused("Run %s was removed." % run)
        record = records.read_object(layout.run_dir(run) + "/run.json", records.MAX_RUN)
        if record is None:
            raise Refused("There is no run %s." % run)
        from . import UMASK

        orders = Orders(
            record,
            {
                "environ": slurm.job_environ(self.environ),
                "secrets": secrets.read(run, start.secret_names(run)),
                "umask": 0o022 if UMASK is None else UMASK,
            },
        )
        # Slurm has waited for them, by their jobs; it alone sees those that left no record.
        orders.after = []
        earlier = self._number()
        options = orders.spec.get("options")
        once = isinstance(options, dict) and options.get("launch") == "once"
        several = self.place["node_count"] > 1 and not once
        if several:
            from .ranks import MARGIN, LauncherAttempt, RanksSupervisor
        attempt = (LauncherAttempt if several else Attempt)(run, self.number)
        attempt.scheduler = self.place
        try:
            attempt.claim()
        except Taken:
            slurm.say(self._taken())
            return DUPLICATE
        watch = (RanksSupervisor if several else BatchSupervisor)(attempt, orders, wake)
        # A request to stop what Slurm has started again is meant for the run.
        watch.requests[:0] = [Request(layout.attempt_dir(run, n)) for n in earlier]
        kill_wait = self.kill_wait
        if several:
            # Room for the ranks' end before ours.
            kill_wait = max(kill_wait - MARGIN, kill_wait / 2)
        watch.settle_in(word, slurm.Canary(), kill_wait)
        watch, payload = see_through(watch)
        if payload is None:
            return 1
        if payload["cause"] != "outside" or payload.get("word") is not None:
            secrets.drop(run)
        return _end_as(watch.status, payload)

    def _number(self):
        """Choose the attempt to claim. Returns the numbers of those that this job made before.

        Only a job that Slurm has started again goes on with the next: of two jobs that were
        submitted for one attempt (the first answer was lost), the second one must not run."""
        if not self.place["restart_count"]:
            return []
        claimed = layout.attempts(self.run_id)
        ours = [number for number in claimed if self._job_of(number) in (None, self._job())]
        if claimed and claimed[-1] >= self.number:
            if claimed[-1] not in ours:
                self.number = claimed[-1]
            else:
                self.number = claimed[-1] + 1
        return ours

    def _job(self):
        # A task of an array may get another number when it is started again.
        return slurm.job_of(self.place)

    def _job_of(self, number):
        """The Slurm job that claimed an attempt, or None if its records do not say."""
        directory = layout.attempt_dir(self.run_id, number)
        for name in ("claim", "agent.json"):
            words = records.try_read("%s/%s" % (directory, name))
            if isinstance(words.get("scheduler"), dict):
                return slurm.job_of(words["scheduler"])
            if words:
                return ""  # a process of ours that was started without Slurm
        return None

    def _taken(self):
        directory = layout.attempt_dir(self.run_id, self.number)
        claim = records.try_read(directory + "/claim")
        who = self._job_of(self.number)
        by = "Slurm job %s" % who if who else "another supervisor"
        if isinstance(claim.get("host"), str):
            by += " on %s" % claim["host"]
        return "attempt %d of run %s is claimed by %s; job %s does nothing." % (
            self.number,
            self.run_id,
            by,
            self._job(),
        )


class BatchSupervisor(Supervisor):
    """A Supervisor in the foreground of an allocation, that Slurm ends by signals."""

    def __init__(self, attempt, orders, wake, before=None):
        Supervisor.__init__(self, attempt, orders, wake, before)
        self.word = self.canary = None
        self.kill_wait = KILL_WAIT
        if before is not None:
            self.settle_in(before.word, before.canary, before.kill_wait)

    def settle_in(self, word, canary, kill_wait):
        """Take what all attempts of this batch step share."""
        self.word = word
        self.canary = canary
        self.kill_wait = kill_wait
        self.tree.exclude(canary.pid, canary.starttime)
        if canary.status is None and canary not in self.hooks:
            self.hooks.append(canary)

    def _outside(self, now, grace):
        until = now + TOLD_WITHIN
        while self.canary.status is None and time.monotonic() < until:
            self.sleep(0.02)
        if self.over:
            return False
        # Slurm's KILL ends us as well: the record must be written before.
        left = self.kill_wait - min(3.0, self.kill_wait / 3)
        now = time.monotonic()
        asked = self.ending.ask(now, "outside", min(grace, left), told=self.canary.was_told)
        if asked:
            self.reason = "Slurm sent TERM to job %s" % self.attempt.scheduler["job_id"]
        return asked

    def _leader_ended(self, now, status):
        Supervisor._leader_ended(self, now, status)
        # Slurm signals all processes of a job at once: the leader may end before we hear of it.
        if not self.ending.cause and (self.wake.asked or self.word.said() is not None):
            self.cause = "outside"

    def payload(self):
        """See Supervisor.payload; with the scheduler's word for why the job was ended."""
        if self.cause == "self" and self.status is not None and os.WIFSIGNALED(self.status):
            until = time.monotonic() + TOLD_WITHIN
            while not self.wake.asked and time.monotonic() < until:
                self.sleep(0.02)
            if self.wake.asked or self.word.said() is not None:
                self.cause = "outside"
        payload = Supervisor.payload(self)
        if payload["cause"] == "outside":
            said = self.word.said()
            if said is None and self.word.time_is_over():
                said = "timeout", "the time limit of the Slurm job was over"
            if said is not None:
                payload["word"], payload["reason"] = said
                if said[0] == "timeout":
                    payload["cause"] = "timeout"
        return payload

    def finish_hooks(self):
        """See Supervisor.finish_hooks."""
        self.canary.release()
        Supervisor.finish_hooks(self)


def _end_as(status, payload):
    """End as the job did, so that Slurm's own record says the same. Returns the exit code where
    there is one."""
    if status is None:
        return 130 if payload["cause"] == "cancel" else 1
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    import resource

    number = os.WTERMSIG(status)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        import _signal

        _signal.signal(number, _signal.SIG_DFL)
    except (OSError, ValueError):
        pass  # KILL needs none
    os.kill(os.getpid(), number)
    time.sleep(1.0)
    return 128 + number
