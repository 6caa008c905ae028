"""Whether the runs that another one waits for are over, and how: by their run directories, the same
facts that `poll` reports."""

import time

from . import evidence

GO = "go"
WAIT = "wait"
NEVER = "never"

GONE_AFTER = 60.0
"""Seconds for which a run that cannot be seen may be on its way, or its disk away."""

NAMED = 8
"""Runs that a reason names."""


class Dependencies:
    """The runs that are waited for. One that has ended well is not looked at again: it may be
    removed while others go on.

    Args:
        runs: Their ids.
        any_end: Go on whatever their ends are.
    """

    def __init__(self, runs, any_end):
        self._all = len(runs)
        self._any_end = any_end
        self._left = [Dependency(run, any_end) for run in runs]

    def look(self):
        """(verdict, reason) for all of them: NEVER as soon as one has ended badly; what keeps one
        from being seen comes before the others in a reason."""
        look = evidence.Look()
        left = []
        obstacle = ""
        for one in self._left:
            verdict, reason = one.look(look)
            if verdict == NEVER:
                return NEVER, reason
            if verdict == WAIT:
                left.append(one)
                obstacle = obstacle or reason
        self._left = left
        if not left:
            return GO, ""
        return WAIT, obstacle or self._words([one.run for one in left])

    def _words(self, runs):
        words = "waits for " + ", ".join("run %s" % run for run in runs[:NAMED])
        if len(runs) > NAMED:
            words += " and %d more" % (len(runs) - NAMED)
        words += " to end" if self._any_end else " to succeed"
        if len(runs) < self._all:
            words += " (%d of %d left)" % (len(runs), self._all)
        return words


class Dependency:
    """One run that is waited for.

    Args:
        run: Its id.
        any_end: Go on whatever its end is.
    """

    def __init__(self, run, any_end):
        self.run = run
        self.any_end = any_end
        self._unseen_since = None

    def look(self, look):
        """(verdict, reason): GO; WAIT, with what is in the way if it is more than that the run is
        not over; NEVER with why not."""
        facts = evidence.of_run(self.run, look)
        if facts["error"] is not None:
            return WAIT, "run %s, which it waits for, cannot be read: %s" % (
                self.run,
                facts["error"],
            )
        removed = facts["removed"] and facts["exit"] is None
        if removed or not facts["found"] or facts["attempt"] is None:
            now = time.monotonic()
            if self._unseen_since is None:
                self._unseen_since = now
            if now - self._unseen_since < GONE_AFTER or facts["alive"]:
                return WAIT, "waits for run %s, which is not to be seen" % self.run
            return self._ended("cannot be found")
        self._unseen_since = None
        payload = facts["exit"]
        if payload is not None and payload.get("next") is None:
            if payload["cause"] == "self" and payload.get("exit_code") == 0:
                return GO, ""
            return self._ended(_words(payload))
        if evidence.is_over(facts):
            return self._ended("was lost")
        if not facts["same_host"]:
            host = facts["host"] or "another host"
            return WAIT, "waits for run %s, which runs on %s" % (self.run, host)
        return WAIT, ""

    def _ended(self, how):
        if self.any_end:
            return GO, ""
        return NEVER, "run %s, which it waited for, %s" % (self.run, how)


def _words(payload):
    cause = payload["cause"]
    if cause == "self":
        if payload.get("signal") is not None:
            return "was ended by signal %d" % payload["signal"]
        return "failed with exit code %s" % payload.get("exit_code")
    words = {
        "cancel": "was cancelled",
        "timeout": "ran into its time limit",
        "dependency": "was cancelled because of the run it waited for",
        "launch": "could not be started",
        "outside": "was ended from outside",
    }
    return words.get(cause, "ended in a way that is not known")
