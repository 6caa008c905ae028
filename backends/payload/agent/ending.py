"""The way an attempt is ended: TERM to the leader, to the others, and KILL when the grace is over.

The leader is asked first, because a trainer that saves on TERM needs its workers for that; whom it
does not take along is asked at half time. At the leader's end what is left of the tree is swept.
Shared by the supervisor and by the process that stands in for one that was killed.
"""

from . import procs, records

SWEEP_AT_LEAST = 2.0
"""Seconds that the rest of a tree gets after TERM though the grace is nearly over, if the grace
itself is not shorter."""
KILL_AGAIN = 0.05
EMPTY_LOOKS = 20
"""Looks in a row that find nobody before a tree counts as gone though others on this machine come
and go so fast that no look is complete."""


class Ending:
    """The end of one tree.

    Attributes:
        cause: Why TERM was sent before the leader ended (`cancel`, `timeout`), or None.
        due: Monotonic time of the next step, or None.
    """

    def __init__(self, members, directory):
        self.cause = None
        self.killed = False
        self.due = None
        self._members = members
        self._directory = directory
        self._grace = 0.0
        self._all_at = None
        self._kill_at = None
        self._sweeping = False
        self._empty = 0

    def ask(self, now, cause, grace, takeover=False, told=False):
        """TERM on request, to the leader (to all, if it is not known). Returns whether there was
        anybody to receive it. `told`: somebody else has sent TERM to all of them already."""
        leader = self._members.leader
        if told:
            if not self._members.told():
                return False
        elif not self._members.signal(procs.SIGTERM, leader and leader[0]):
            return False
        self.cause = cause
        self._grace = max(0.0, grace)
        self._all_at = now + self._grace / 2
        self._kill_at = now + self._grace
        self._set_due()
        more = {"takeover": True} if takeover else {}
        records.append_event(self._directory, "term_sent", cause=cause, grace=self._grace, **more)
        return True

    def shorten(self, now, grace):
        """Asked again, with less patience."""
        if self._kill_at is not None and now + grace < self._kill_at:
            self._grace = max(0.0, grace)
            self._kill_at = now + max(0.0, grace)
            if self._all_at is not None:
                self._all_at = min(self._all_at, now + max(0.0, grace) / 2)
            self._set_due()

    def step(self, now):
        """Do what is due."""
        if self._all_at is not None and now >= self._all_at:
            self._all_at = None
            self._members.signal(procs.SIGTERM)
        if self._kill_at is not None and now >= self._kill_at:
            count = self._members.signal(procs.SIGKILL)
            if not self.killed:
                self.killed = True
                records.append_event(self._directory, "kill_sent", processes=count)
            self._kill_at = now + KILL_AGAIN
        self._set_due()

    def sweep(self, now, grace):
        """After the leader's end: end the rest. True once nothing is left. To be called again and
        again; `left` then says how many there are."""
        if not self._members.scan(fresh=True):
            self._empty += 1
            return self._members.is_gone(self._empty < EMPTY_LOOKS)
        self._empty = 0
        if not self._sweeping:
            self._sweeping = True
            self._all_at = None
            asked = self._kill_at is not None
            if not asked:
                self._kill_at = now + grace
            else:
                least = now + min(self._grace, SWEEP_AT_LEAST)
                self._kill_at = max(self._kill_at, least)
            count = self._members.signal(procs.SIGTERM)
            if count and not asked:  # nobody but us wanted their end
                records.append_event(self._directory, "background_ended", processes=count)
        self.step(now)
        if self.killed:
            for pid in self._members.drop_untouchable():
                records.append_event(self._directory, "left_running", pid=pid)
        return False

    def _set_due(self):
        dues = [at for at in (self._all_at, self._kill_at) if at is not None]
        self.due = min(dues) if dues else None
