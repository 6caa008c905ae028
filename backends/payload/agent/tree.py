"""Which processes belong to an attempt, and ending them.

A process is a member if it carries `TRAINDECK_RUN=<id>/<attempt>` in its environment, or descends
from the leader: the supervisor adopts orphans (it is their subreaper), so a daemon that forked
twice is still found. A run launched from inside this one is its own: whatever carries another run's
name, or supervises another run, is foreign, and so is everything below it.
"""

import os

from . import procs

MEMBER = 1
FOREIGN = 2
OTHER = 3


class Tree:
    """The processes of one attempt.

    Args:
        run, attempt: Whose they are.
        leader: (pid, starttime) of the first, or None before it exists.
        parent: Pid of the supervisor if orphans of the tree come to it, else None.
    """

    def __init__(self, run, attempt, leader=None, parent=None):
        self.tag = ("%s/%d" % (run, attempt)).encode()
        self.run = run.encode()
        self.leader = leader
        self.parent = parent
        self.excluded = {}
        self.members = {}
        self._known = {}
        self._uid = os.getuid()

    def exclude(self, pid, starttime):
        """A process that is not a member, nor what it starts: a hook of ours, or what an earlier
        attempt was allowed to leave running."""
        self.excluded[pid] = starttime

    def scan(self, fresh=False):
        """Find the members among the processes that appeared since the last look (or, `fresh`,
        among all, without zombies). Returns {pid: starttime}."""
        present = set(procs.pids())
        kept = {}
        for pid, known in self._known.items():
            if pid in present and (not fresh or known[0] == FOREIGN):
                kept[pid] = known
        self._known = kept
        members = {}
        for pid in present:
            kind, starttime = kept.get(pid) or self._look(pid, present)
            if kind == MEMBER:
                members[pid] = starttime
        self.members = members
        return members

    def _look(self, pid, present, depth=0):
        """Classify a process and remember it: (kind, starttime)."""
        known = self._known.get(pid)
        if known is None:
            found = procs.stat_of(pid) if pid > 1 and depth < 4096 else None
            if found is None or pid == os.getpid() or found.dead:
                return OTHER, 0
            known = (self._classify(pid, found, present, depth), found.starttime)
            self._known[pid] = known
        return known

    def _classify(self, pid, found, present, depth):
        if self.excluded.get(pid) == found.starttime:
            return FOREIGN
        if self.leader == (pid, found.starttime):
            return MEMBER
        if found.ppid in (0, 2):
            return OTHER
        if procs.uid_of(pid) == self._uid:
            environ = procs.environ_of(pid)
            run = procs.variable(environ, b"TRAINDECK_RUN")
            if run == self.tag:
                return MEMBER
            if run is not None or procs.variable(environ, b"TRAINDECK_SUPERVISOR") is not None:
                return FOREIGN
        if found.ppid == self.parent:
            return MEMBER
        if found.ppid in present:
            return self._look(found.ppid, present, depth + 1)[0]
        return OTHER

    def signal(self, number, only=None):
        """Signal the members found by a fresh look (or `only` one of them). What changed its name
        to another run's in the meantime is spared. Returns how many were signalled."""
        sent = 0
        for pid, starttime in self.scan(fresh=True).items():
            if only is None or pid == only:
                sent += procs.send_signal(pid, starttime, number)
                if number == procs.SIGTERM:
                    # One that is stopped would not see it.
                    procs.send_signal(pid, starttime, procs.SIGCONT)
        return sent
