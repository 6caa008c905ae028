"""How runs are: the states of the contract and what is known of one attempt.

Apart from base.py, which hands all of it on, because whoever only lists runs needs nothing else of
the contract: the data classes of the rest cost a start ten milliseconds.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from traindeck.backends.data import dataclass


class State(StrEnum):
    """What a run is doing. `unknown` is not a state: it is a `reach` of `down`."""

    NEW = "new"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    LOST = "lost"

    @property
    def terminal(self) -> bool:
        """Whether an attempt in this state is over."""
        return self in TERMINAL


TERMINAL = frozenset(
    {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.TIMEOUT, State.PREEMPTED, State.LOST}
)
ACTIVE = frozenset(State) - TERMINAL


class Reach(StrEnum):
    """Whether the place a run executes at answered when it was last asked."""

    OK = "ok"
    STALE = "stale"
    DOWN = "down"


class Rank(IntEnum):
    """What a terminal state rests on. Within an attempt only a stronger one replaces it."""

    NONE = 0
    """Absence, or a conclusion of the console's own. Anything the place says overrules it."""
    LOST = 1
    """It is gone, and nothing recorded how it ended. A later sign of life overrules it."""
    NATIVE = 2
    """The terminal word of the backend's own scheduler."""
    RECORD = 3
    """The exit record in the run directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is known of an attempt.

    Attributes:
        observed_at: By the console's clock. A sign of life is dated when the place was asked, its
            absence (rank below NATIVE) when the place had answered: an answer that was long on its
            way must not pass for a later sign of life.
        rank: What a terminal state rests on; NONE while it is not terminal.
        exit_code: The leader's exit code; None if it was killed or never ran. A program that cannot
            be started is 127 if it is missing, else 126.
        signal: Number of the signal that ended the leader.
        reason: One sentence: why it waits, failed, or was lost. Of a job that runs, what is wrong
            with it though it runs: screens show it as a warning.
        started, ended: Of the job itself, on the place's clock.
        host: Where it executes.
        limit: Wall time that the place allows the attempt, in seconds from `started`.
        expected: When the place expects to start it, on the place's clock.
        nodes: The machines it has been given, where that is for the place to say.
        evidence: What the state rests on, strongest first, for `show`.
    """

    state: State = State.NEW
    observed_at: float = 0.0
    reach: Reach = Reach.OK
    attempt: int = 0
    rank: Rank = Rank.NONE
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    started: float | None = None
    ended: float | None = None
    host: str | None = None
    pid: int | None = None
    log_bytes: int | None = None
    limit: float | None = None
    expected: float | None = None
    nodes: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
