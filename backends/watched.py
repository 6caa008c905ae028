"""Hearing how runs are instead of asking for it, where the same ones are asked about again and
again: the agent there tells what is new (`watch` of payload/FORMAT.md §7), and that nothing is.

What was heard answers a poll only while it is beyond doubt as good as an answer: from the same
agent, of the same runs, no longer ago than the agent may be silent, and after whatever was last
asked or done here. Anything else, and the place is asked, as if there were no watch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from traindeck.backends.base import AgentChannel, AgentRefused, BackendError, JobRef, Status
from traindeck.backends.status import decode_evidence, status_of

if TYPE_CHECKING:
    import asyncio

VERB = "watch"

EVERY, LATE = 5.0, 1.0
"""Seconds after which an agent says that nothing is new, and by which that may be late; then it is
asked. A place that is gone is so found silent before it was for as long as one is called stale."""

TIMES = 2
"""So often the same runs have to be asked about one after the other to be watched: the last of
these is answered by the first word, which costs no more than an answer."""

APART, IDLE = 0.5, 5.0
"""Seconds between two of those, at least and at most. Who asks more often wants it as it is now,
who asks less often needs no watch; one that nobody asks any more is closed."""

RENEWED = 600.0
"""Seconds after which a watch is begun anew: two clocks part."""


class Watched:
    """What one place is watched for. Used from one event loop.

    Args:
        clock: Returns now, for `observed_at`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._watch: _Watch | None = None
        self._runs: tuple[str, ...] = ()
        self._times = 0
        self._polled = -IDLE
        self._asked = 0.0
        self._mute: AgentChannel | None = None
        """One that cannot watch: it is older than that."""

    async def told(
        self, agent: AgentChannel, runs: Sequence[str], refs: Collection[JobRef]
    ) -> dict[JobRef, Status] | None:
        """What is known of these runs without asking; None if they have to be asked about.

        Args:
            runs: Their ids, in order, each once.
        """
        now = time.monotonic()
        since, self._polled = now - self._polled, now
        watch = self._watch
        if watch is not None and (watch.over or watch.agent is not agent or watch.is_silent(now)):
            self.close()
            watch = None
        if watch is None or watch.runs != tuple(runs):
            watch = self._begin(agent, tuple(runs), since)
        elif since < APART:
            return None
        if watch is None:
            return None
        watch.polled = now
        await watch.begun()
        if watch is not self._watch or watch.over or watch.made < self._asked:
            return None
        return {ref: watch.status(ref) for ref in refs}

    def asked(self, moment: float, runs: Collection[str]) -> None:
        """Somebody was told something of these runs that was so at this `moment` of the monotonic
        clock, or later: no answer is to be older than one that was given before it."""
        if self._watch is not None and not set(self._watch.runs).isdisjoint(runs):
            self._asked = max(self._asked, moment)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Something is done to the runs there: after it they are asked about."""
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """Watch nothing any more, until there is reason to again."""
        self._times = 0
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _begin(self, agent: AgentChannel, runs: tuple[str, ...], since: float) -> _Watch | None:
        """Note a poll of what is not watched; if it was one of enough, it is from now on."""
        in_time = APART <= since <= IDLE and runs == self._runs
        self._times = self._times + 1 if in_time else 1
        self._runs = runs
        if self._times < TIMES or agent is self._mute:
            return None
        self.close()
        self._asked = 0.0
        self._watch = _Watch(agent, runs, self._clock, self._cannot)
        return self._watch

    def _cannot(self, agent: AgentChannel) -> None:
        self._mute = agent


class _Watch:
    """One stream of what an agent tells, and what it has told.

    Attributes:
        polled: When somebody last asked about its runs, by the monotonic clock.
        heard, made: When the last word came, and the earliest that it can have been said, by the
            monotonic clock; 0 before the first.
        over: Nothing more will come.
        told: What was said of each run.
    """

    def __init__(
        self,
        agent: AgentChannel,
        runs: tuple[str, ...],
        clock: Callable[[], float],
        cannot: Callable[[AgentChannel], None],
    ) -> None:
        import asyncio

        self.agent = agent
        self.runs = runs
        self.polled = self._began = time.monotonic()
        self.heard = self.made = 0.0
        self.over = False
        self._clock = clock
        self._cannot = cannot
        self._first = 0.0
        self._at = 0.0
        self._dates = (0.0, 0.0)
        self.told: dict[str, Any] = {}
        self._heard_it = asyncio.Event()
        self._seen: dict[JobRef, Status] = {}
        self._task: asyncio.Task[None] = asyncio.create_task(self._listen(), name="watch-runs")

    def is_silent(self, now: float) -> bool:
        """Whether nothing was heard for longer than can be, or a clock says so: this machine may
        have slept."""
        if not self.heard:
            return now - self._began > EVERY + LATE
        slept = self._clock() - self._dates[1]
        return max(now - self.heard, slept) > EVERY + LATE or now - self._began > RENEWED

    async def begun(self) -> None:
        """Wait for the first word, as long as may be waited for any."""
        import asyncio

        if not self.heard and not self.over:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY + LATE):
                    await self._heard_it.wait()

    def status(self, ref: JobRef) -> Status:
        """How a run is, as of when its agent was heard last."""
        if (known := self._seen.get(ref)) is None:
            asked, answered = self._dates
            seen = decode_evidence(self.told.get(ref.run_id))
            known = status_of(seen, ref.attempt, asked, answered=answered)
            if len(self._seen) < 2 * len(self.runs):
                self._seen[ref] = known
        return known

    def close(self) -> None:
        """Leave it. Idempotent."""
        self.over = True
        self._task.cancel()

    async def _listen(self) -> None:
        params = {"runs": list(self.runs), "every": EVERY}
        try:
            async with self.agent.stream(VERB, params) as answers:
                async for answer, _ in answers:
                    self._hear(answer)
                    if time.monotonic() - self.polled > IDLE:
                        break
        except AgentRefused:
            if not self.heard:
                self._cannot(self.agent)
        except (BackendError, TypeError, ValueError):
            pass  # whoever asks will hear why
        finally:
            self.over = True
            self._heard_it.set()

    def _hear(self, answer: dict[str, Any]) -> None:
        at = float(answer.get("at", "nan"))
        news = answer.get("runs")
        if not isinstance(news, dict) or not at >= self._at:
            raise ValueError("no answer of a watch")
        self.heard = now = time.monotonic()
        if not self.made:
            self._first = at
        # It was asked when the first look was not begun yet, and theirs is a clock that nobody
        # sets. So a word that was long on its way does not pass for a later one.
        self.made = min(self._began + at - self._first, now)
        moment = self._clock()
        self._dates = (moment - (now - self.made), moment)
        self._at = at
        for run in self.runs:
            if run in news:
                self.told[run] = news[run]
        self._seen.clear()
        self._heard_it.set()
