"""What a run's state looks like and whether it needs a person: shape, word and colour together.

`unknown` is a word of the screen only: the state stays what it was when the place last answered.
"""

from __future__ import annotations

from traindeck.backends.data import dataclass
from traindeck.backends.states import Reach, State
from traindeck.console.store.records import RunRecord, broken_metric

from .ages import age
from .glyphs import Glyphs


@dataclass(frozen=True, slots=True)
class Mark:
    """`sign` is the name of a glyph, `style` a theme token."""

    sign: str
    word: str
    style: str

    def glyph(self, glyphs: Glyphs) -> str:
        """The sign itself."""
        return str(getattr(glyphs, self.sign))


_MARKS = {
    State.NEW: Mark("queued", "new", "queued"),
    State.QUEUED: Mark("queued", "queued", "queued"),
    State.STARTING: Mark("starting", "starting", "running"),
    State.RUNNING: Mark("running", "running", "running"),
    State.STOPPING: Mark("starting", "stopping", "running"),
    State.SUCCEEDED: Mark("done", "done", "done"),
    State.FAILED: Mark("failed", "failed", "failed"),
    State.CANCELLED: Mark("ended", "cancelled", "done"),
    State.TIMEOUT: Mark("ended", "timeout", "warn"),
    State.PREEMPTED: Mark("ended", "preempted", "warn"),
    State.LOST: Mark("unknown", "lost", "failed"),
}
LOOKS = 2.5
"""Seconds within which a place that answers is looked at again."""
UNKNOWN = Mark("unknown", "unknown", "stale")
WARNING = Mark("warning", "warning", "warn")


def mark(run: RunRecord, now: float | None = None) -> Mark:
    """How a run's state is shown. With `now`, of one whose place has just ceased to answer how old
    that is: it is not unknown yet, and not shown as live. A place that answers while its scheduler
    does not says so each time: there is no age to that."""
    if run.unknown:
        return UNKNOWN
    if now is not None and run.active and run.reach is Reach.STALE:
        old = now - run.observed_at
        return Mark("queued", age(old) if old > LOOKS else _MARKS[run.state].word, "stale")
    return _MARKS[run.state]


def state_mark(state: State) -> Mark:
    """How a state as such is shown."""
    return _MARKS[state]


def alert(run: RunRecord) -> str | None:
    """Name of the metric that has gone wrong in a running run: its newest value is no number."""
    summary = broken_metric(run)
    return None if summary is None else metric_word(summary.key or run.main or "metric")


def metric_word(key: str) -> str:
    """The word for a metric in a sentence or a column head: the last part of its name."""
    word = key.replace("train/", "").replace("train_", "").strip("/_ ")
    return word or key


def is_quiet(run: RunRecord) -> bool:
    """Whether a run is over and done with, to be shown without contrast."""
    return run.state in (State.SUCCEEDED, State.CANCELLED)
