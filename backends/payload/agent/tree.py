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
        rank: Of an attempt on several nodes whose it is, as bytes; None of one that has no ranks,
            or for what starts the ranks.

    Attributes:
        members: {pid: starttime} as of the last scan.
        excluded: {pid: starttime} of what is not a member though it hangs in the tree.
        unsure: Whether somebody died during that scan who may have left a child unseen: 0 no,
            1 perhaps, 2 likely.
    """

    def __init__(self, run, attempt, leader=None, parent=None, rank=None):
        self.tag = ("%s/%d" % (run, attempt)).encode()
        self.rank = rank
        self.leader = leader
        self.parent = parent
        self.members = {}
        self.excluded = {}
        self.unsure = 0
        self._known = {}
        self._asked = {}
        self._uid = os.getuid()

    def exclude(self, pid, starttime):
        """A process that is not a member, nor what it starts: a hook of ours, or what an earlier
        attempt was allowed to leave running."""
        self.excluded[pid] = starttime
        self._known.pop(pid, None)

    def scan(self, fresh=False, found=None):
        """Find the members. A plain scan reads only what appeared since the last one; a `fresh`
        one reads everything, sees who has died and who became another run's, and is what a signal
        must rest on. It begins with the highest pids, the youngest mostly, and calls `found` with
        each member at once: one that forks and exits faster than everything can be read is met."""
        present = set(procs.pids())
        self._known = {
            pid: known
            for pid, known in self._known.items()
            if pid in present and not (fresh and known[0] == OTHER)
        }
        self.unsure = 0
        members = {}
        for pid in sorted(present, reverse=True) if fresh else present:
            if fresh and pid in self._known:
                self._recheck(pid)
            kind, starttime = self._look(pid, present)
            if kind == MEMBER:
                members[pid] = starttime
                if found is not None:
                    found(pid, starttime)
        self.members = members
        return members

    def _recheck(self, pid):
        """Forget what a process was if it is another one now. A member whose parent died stays
        one, wherever it hangs."""
        kind, starttime = self._known[pid]
        found = procs.stat_of(pid)
        if found is None or found.starttime != starttime or found.dead:
            del self._known[pid]
        elif kind == MEMBER and self._tagged(pid) == FOREIGN:
            self._known[pid] = (FOREIGN, starttime)

    def _look(self, pid, present, depth=0):
        """Classify a process and remember it: (kind, starttime)."""
        known = self._known.get(pid)
        if known is None:
            if pid <= 1 or pid == os.getpid() or depth > 4096:
                return OTHER, 0
            found = procs.stat_of(pid)
            if found is None or found.dead:
                # It may have left a child that was not there yet when we listed: perhaps, if it
                # is gone, and likely, if it was one of ours.
                ours = found is not None and found.ppid == self.parent
                self.unsure = max(self.unsure, 2 if ours else 1 if found is None else 0)
                return OTHER, 0
            known = (self._classify(pid, found, present, depth), found.starttime)
            self._known[pid] = known
        return known

    def is_gone(self, patient):
        """After a fresh scan that found no member: whether there really is none. `patient`: not
        to be kept waiting any longer by processes that are likely none of ours."""
        if self.unsure == 0 or (self.unsure == 1 and not patient):
            return True
        if self.parent is None:
            return False
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return False
        except ChildProcessError:
            return True  # every orphan of the tree would be our child

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
            ours = procs.variable(environ, b"TRAINDECK_RANK") == self.rank
            return MEMBER if ours else FOREIGN
        if run is not None or procs.variable(environ, b"TRAINDECK_SUPERVISOR") is not None:
            return FOREIGN
        return None

    def signal(self, number, pid=None):
        """Signal the members found by a fresh look (or `pid` alone, if it is one). Each gets TERM
        once: many a trainer takes a second one for an order to give up saving. Returns how many
        were signalled."""
        sent = []

        def found(member, starttime):
            if pid is not None and member != pid:
                return
            if number == procs.SIGTERM:
                if self._asked.get(member) == starttime:
                    return
                self._asked[member] = starttime
            sent.append(procs.send_signal(member, starttime, number))
            if number == procs.SIGTERM:
                # One that is stopped would not see it.
                procs.send_signal(member, starttime, procs.SIGCONT)

        self.scan(fresh=True, found=found)
        return sum(sent)

    def told(self):
        """Note that somebody else has sent TERM to every member there is: each gets it once.
        Returns how many there are."""
        members = self.scan(fresh=True)
        self._asked.update(members)
        return len(members)

    def pass_on(self, number):
        """Signal those who have a handler for it: the leader, or, where it is a shell or a
        launcher that would only be ended by it, the first below it that have one; not what these
        have started. Returns how many were signalled."""
        members = self.scan(fresh=True)
        below = {}
        for pid in members:
            found = procs.stat_of(pid)
            parent = found.ppid if found is not None else None
            below.setdefault(parent if parent in members else None, []).append(pid)
        sent = 0
        look = below.pop(None, [])
        while look:
            pid = look.pop()
            if procs.catches(pid, number):
                sent += procs.send_signal(pid, members[pid], number)
            else:
                look += below.pop(pid, [])
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
