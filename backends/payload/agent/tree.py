"""Which processes belong to an attempt, and signalling them.

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

    Attributes:
        members: {pid: starttime} as of the last scan.
        excluded: {pid: starttime} of what is not a member though it hangs in the tree.
    """

    def __init__(self, run, attempt, leader=None, parent=None):
        self.tag = ("%s/%d" % (run, attempt)).encode()
        self.leader = leader
        self.parent = parent
        self.members = {}
        self.excluded = {}
        self._known = {}
        self._uid = os.getuid()

    def exclude(self, pid, starttime):
        """A process that is not a member, nor what it starts: a hook of ours, or what an earlier
        attempt was allowed to leave running."""
        self.excluded[pid] = starttime
        self._known.pop(pid, None)

    def scan(self, fresh=False):
        """Find the members. A plain scan reads only what appeared since the last one; a `fresh`
        one reads everything, sees who has died and who became another run's, and is what a signal
        must rest on."""
        present = set(procs.pids())
        known = {}
        for pid, (kind, starttime) in self._known.items():
            if pid not in present:
                continue
            if fresh and kind != OTHER:
                kind = self._again(pid, kind, starttime)
            if not fresh or kind in (MEMBER, FOREIGN):
                known[pid] = (kind, starttime)
        self._known = known
        members = {}
        for pid in present:
            kind, starttime = known.get(pid) or self._look(pid, present)
            if kind == MEMBER:
                members[pid] = starttime
        self.members = members
        return members

    def _again(self, pid, kind, starttime):
        """What a process that was classified before is now; None if it is to be classified anew.
        A member whose parent died stays one, wherever it hangs now."""
        found = procs.stat_of(pid)
        if found is None or found.starttime != starttime or found.dead:
            return None
        if kind == MEMBER and self._tagged(pid) == FOREIGN:
            return FOREIGN
        return kind

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
        tagged = self._tagged(pid)
        if tagged is not None:
            return tagged
        if found.ppid == self.parent:
            return MEMBER
        if found.ppid in present:
            return self._look(found.ppid, present, depth + 1)[0]
        return OTHER

    def _tagged(self, pid):
        """MEMBER or FOREIGN by the environment of a process of this uid; None if that is silent."""
        if procs.uid_of(pid) != self._uid:
            return None
        environ = procs.environ_of(pid)
        run = procs.variable(environ, b"TRAINDECK_RUN")
        if run == self.tag:
            return MEMBER
        if run is not None or procs.variable(environ, b"TRAINDECK_SUPERVISOR") is not None:
            return FOREIGN
        return None

    def signal(self, number, pid=None):
        """Signal the members found by a fresh look (or `pid` alone, if it is one). Returns how
        many were signalled."""
        sent = 0
        for member, starttime in self.scan(fresh=True).items():
            if pid is None or member == pid:
                sent += procs.send_signal(member, starttime, number)
                if number == procs.SIGTERM:
                    # One that is stopped would not see it.
                    procs.send_signal(member, starttime, procs.SIGCONT)
        return sent

    def drop_untouchable(self):
        """Forget the members that are another user's by now (a setuid program): no signal of ours
        reaches them, so their end is not waited for. Returns their pids."""
        gone = [pid for pid in self.members if procs.uid_of(pid) not in (self._uid, None)]
        if self._uid == 0:
            return []
        for pid in gone:
            self.exclude(pid, self.members.pop(pid))
        return gone
