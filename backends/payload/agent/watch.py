"""Telling of runs as things change: a stream of `serve`, so that nobody has to ask.

It looks when it is rung (bells.py), and now and then by itself, for what changes only because time
goes on. In between it glances at the supervisors: what nobody lives to ring for has to be seen, and
a program that wakes every few seconds pays for each page it touches. What is said again is only
what is new.
"""

import select
import time

from . import Refused, bells, evidence, layout, procs, wire

EVERY = 5.0
SHORTEST, LONGEST = 0.1, 3600.0
"""Seconds between two glances: if none are asked for, and at least and at most."""
LOOK = 15.0
"""Seconds between two looks by itself, if glances come more often."""
UNRUNG = 1.0
"""The same, at most, while there is a run whose end may be rung by nobody though its supervisor
lives, or has none."""
REST = 0.05
BUSY = 4.0
"""Seconds from a look to the next one that is rung for, at least, and in times what it took: of
five hundred runs that end one after the other not each is worth a look at all."""
STOPPED = (b"T", b"t")
AT_ONCE = 50
"""Runs that are looked at before others have a turn."""
LATE, LATER = 30.0, 10.0
"""Seconds of age from which on a heartbeat (each 10 s) is said again, and by which more."""


class Watch:
    """The runs of one stream. Its first answer is what `poll` says of all of them."""

    def __init__(self, request):
        asked = wire.field(request, "runs", list, required=True)
        if not all(isinstance(run, str) for run in asked):
            raise Refused("runs must be ids.")
        every = wire.field(request, "every", float, EVERY)
        self.every = min(max(every, SHORTEST), LONGEST)
        if asked:
            layout.check_mounted()
        self.runs = list(dict.fromkeys(asked))
        self.credit = wire.field(request, "credit", int, 0)
        self.due = 0.0
        self.done = False
        self.bell = bells.Bell()
        self._said = {}
        self._is_first = True
        self._say_due = 0.0
        self._look_due = 0.0
        self._rung = False
        self._rest_until = 0.0
        self._looking = None
        self._supervisors = {}

    def waits(self):
        """(descriptor, events) of the bell. While one who has rung waits for our rest to be over,
        nothing: who rings then is heard as well."""
        return (None, 0) if self._rung else (self.bell.fd, select.POLLIN)

    def close(self):
        """Wait no more."""
        self.bell.take_down()

    def step(self, now):
        """(answer, bytes) or None."""
        if now < self.due:
            return None
        if self._looking is None:
            # Before the look: who rings meanwhile is looked for again.
            self._rung = self.bell.drain() or self._rung
            rested = self._rung and now >= self._rest_until
            if now < self._look_due and not rested:
                word = None
                if now >= self._say_due and self._is_as_before(now):
                    self._say_due = now + self.every
                    word = {"now": time.time(), "at": now, "runs": {}}, b""
                if now < self._say_due:
                    self.due = min(self._look_due, self._say_due)
                    if self._rung:
                        self.due = min(self.due, self._rest_until)
                    return word
            self._rung = False
            self._looking = self._look(now)
        answer = next(self._looking)
        if answer is None:
            self.due = now  # the others' turn
            return None
        self._looking = None
        return (answer, b"") if answer else None

    def _is_as_before(self, now):
        """A glance: whether the supervisors live and do what they did, whoever has not rung."""
        self._prepare(now)
        for pid, starttime, state in self._supervisors.values():
            seen = procs.stat_of(pid)
            if seen is None or seen.starttime != starttime or seen.dead:
                return False
            if (seen.state in STOPPED) != (state in STOPPED):
                return False
        return True

    def _prepare(self, now):
        self.bell.hang_up(now)  # before we look, for what is written after it
        if self.runs:
            layout.check_mounted()

    def _look(self, now):
        """Look at all of them: gives None after a part of them, at the end the answer, which is
        empty if there is nothing to say."""
        self._prepare(now)
        at = begun = time.monotonic()
        took = 0.0
        look = evidence.Look()
        news = {}
        answer = {}
        quiet = self.bell.fd is not None
        for count, run in enumerate(self.runs, 1):
            facts = evidence.of_run(run, look)
            quiet = quiet and _is_rung_for(facts)
            if self._is_news(run, facts):
                news[run] = facts
            if count % AT_ONCE == 0 and count < len(self.runs):
                took += time.monotonic() - begun
                yield None
                begun = time.monotonic()
        now = time.monotonic()
        took += now - begun
        self._rest_until = now + max(REST, BUSY * took)
        if news or now >= self._say_due:
            self._say_due = now + self.every
            answer = {"now": look.now, "at": at, "runs": news}
            if self._is_first:
                self._is_first = False
                answer.update(host=look.host, boot_id=look.boot_id)
        self._supervisors = look.supervisors
        self._look_due = now + (max(self.every, LOOK) if quiet else min(self.every, UNRUNG))
        self.due = min(self._look_due, self._say_due)
        yield answer

    def _is_news(self, run, facts):
        """Whether something else is to be said of a run than was said last; noted as said. Ages are
        no news, but of a heartbeat that does not come any more."""
        lasting = {k: v for k, v in facts.items() if k not in ("age", "heartbeat_age")}
        silent = facts["age" if facts["heartbeat_age"] is None else "heartbeat_age"]
        if silent is not None and silent >= LATE and not evidence.is_over(facts):
            lasting["late"] = silent // LATER
        if self._said.get(run) == lasting:
            return False
        self._said[run] = lasting
        return True


def _is_rung_for(facts):
    """Whether whatever may become of a run next will be rung for: it is over, or its supervisor is
    here, lives, and rings."""
    if facts["error"] is not None or facts["newer"] is not None:
        return False
    if evidence.is_over(facts):
        return True
    return bool(facts.get("rings") and facts["supervised"] and facts["exit"] is None)
