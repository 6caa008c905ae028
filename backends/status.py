"""What is known of an attempt, from what was seen: one table for every backend.

`status_of` turns one look at a place (the run directory's facts, and the scheduler's word where
there is a scheduler) into a `Status`; `merge` lays a look over what was known before. Both are
pure: no I/O, no clock of their own. They must never call a run failed because something could not
be seen, and never let weak evidence undo strong.

How strong a terminal state is (`base.Rank`):

    RECORD  the exit record that the supervisor wrote
    NATIVE  the terminal word of the backend's scheduler
    LOST    positive evidence that nothing is left, and no record: a dead supervisor, a reboot
    NONE    absence, or a conclusion of the console's own; anything that is seen overrules it

Within an attempt only stronger evidence replaces a terminal state; at equal strength the first
stays. A sign of life seen later overrules LOST and NONE, nothing else. A higher attempt always
wins.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from traindeck.backends.base import Rank, Reach, State, Status, decode
from traindeck.backends.data import dataclass

SILENCE = 60.0
"""Seconds after which a heartbeat (every 10 s) counts as silent, and a claim as abandoned."""

ATTRIBUTE_CACHE = 60.0
"""Seconds for which another client of a shared file system may not see what was written
(acdirmax, acregmax of nfs(5)). What `cache` should be where the run directory is on one."""

SETTLE = 120.0
"""Seconds for which a run that was just made may not be found at its place yet."""

_TEXT = 500
_TERMINAL_WORDS = frozenset(str(state) for state in State if state.terminal)
_LATEST = 253_402_300_799.0  # the last second that datetime can hold
_ATTEMPTS = 99_999


# --------------------------------------------------------------------------------------- evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """An exit record (FORMAT.md §5). `next` is the attempt its supervisor was about to start,
    `word` what the place itself called the end, if it was heard."""

    cause: str = "self"
    exit_code: int | None = None
    signal: int | None = None
    started: float | None = None
    ended: float | None = None
    reason: str = ""
    host: str = ""
    next: int | None = None
    word: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """What a scheduler was handed (FORMAT.md §2, queued.json): the attempt, the number of its job,
    None while that is not known, and when."""

    attempt: int = 0
    id: str | None = None
    time: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """The scheduler's last word on an attempt, as somebody kept it (FORMAT.md §2, word.json)."""

    state: str = ""
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    started: float | None = None
    ended: float | None = None
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The facts of a run directory, as `poll` answers them (FORMAT.md §8)."""

    found: bool = False
    attempt: int | None = None
    phase: str = "none"
    reason: str = ""
    alive: bool | None = None
    supervised: bool | None = None
    same_host: bool | None = None
    rebooted: bool = False
    heartbeat_age: float | None = None
    age: float | None = None
    exit: Exit | None = None
    pid: int | None = None
    started: float | None = None
    log_bytes: int | None = None
    cancel_requested: float | None = None
    host: str = ""
    adopted: bool = False
    claimed_at: float | None = None
    oom_kills: int | None = None
    removed: bool = False
    newer: int | None = None
    error: str | None = None
    queued: Queued | None = None
    word: Word | None = None
    job: str | None = None
    batch_said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """What a backend's own scheduler says of a job.

    Attributes:
        answered: Whether it could be asked at all. If not, nothing is concluded from what else is
            here but `reason`, which says why.
        state: Its word, translated: queued, starting, running, stopping or a terminal state. None:
            it does not know the job (any more).
        reason: Why, in words fit for a person.
        over_for: Seconds since it first said that the job is over or gone.
    """

    answered: bool = True
    state: State | None = None
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    started: float | None = None
    ended: float | None = None
    host: str | None = None
    over_for: float = 0.0

    @property
    def active(self) -> bool:
        """Whether the scheduler still holds the job."""
        if not self.answered:
            return True  # for all that is known
        return self.state is not None and not self.state.terminal


def decode_evidence(raw: object) -> Evidence:
    """Evidence from an agent's answer. Never raises: what has another shape than FORMAT.md §8 is
    evidence of nothing, and says so in `error`. Impossible times become None, texts are cut."""
    if not isinstance(raw, Mapping):
        return Evidence(found=True, error="the agent's answer could not be read")
    try:
        seen = decode(Evidence, raw)
        _check(seen.attempt, 0, _ATTEMPTS, "attempt")
        record = seen.exit
        if record is not None:
            _check(record.exit_code, -(1 << 31), 1 << 32, "exit_code")
            _check(record.signal, 1, 127, "signal")
            _check(record.next, 0, _ATTEMPTS + 1, "next")
            record = replace(
                record,
                started=_moment(record.started),
                ended=_moment(record.ended),
                reason=_text(record.reason),
                host=_text(record.host),
            )
        word = seen.word
        if word is not None:
            _check(word.exit_code, -(1 << 31), 1 << 32, "exit_code")
            _check(word.signal, 1, 127, "signal")
            word = replace(
                word,
                state=word.state if word.state in _TERMINAL_WORDS else "",
                started=_moment(word.started),
                ended=_moment(word.ended),
                reason=_text(word.reason),
                host=_text(word.host),
            )
        if seen.queued is not None:
            _check(seen.queued.attempt, 0, _ATTEMPTS, "attempt")
    except (ValueError, RecursionError) as error:
        return Evidence(found=True, error=_text(f"the agent's answer could not be read ({error})"))
    return replace(
        seen,
        exit=record,
        word=word if word is not None and word.state else None,
        batch_said=_text(seen.batch_said),
        reason=_text(seen.reason),
        host=_text(seen.host),
        error=None if seen.error is None else _text(seen.error) or "it could not be read",
        started=_moment(seen.started),
        cancel_requested=None if seen.cancel_requested is None else max(seen.cancel_requested, 0.0),
        claimed_at=_moment(seen.claimed_at),
        heartbeat_age=None if seen.heartbeat_age is None else max(seen.heartbeat_age, 0.0),
        age=None if seen.age is None else max(seen.age, 0.0),
        log_bytes=None if seen.log_bytes is None else max(seen.log_bytes, 0),
    )


def _check(value: int | None, low: int, high: int, name: str) -> None:
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} {value} is out of range")


def _moment(value: float | None) -> float | None:
    return value if value is not None and 0.0 <= value <= _LATEST else None


def _text(value: str) -> str:
    return " ".join(value[: 2 * _TEXT].split())[:_TEXT]


# -------------------------------------------------------------------------------------- one look


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A row of the table that fits."""

    state: State
    rank: Rank
    reason: str = ""
    reach: Reach = Reach.OK
    exit_code: int | None = None
    signal: int | None = None
    ended: float | None = None


def status_of(
    evidence: Evidence,
    attempt: int,
    asked: float,
    *,
    answered: float | None = None,
    native: Native | None = None,
    cache: float = 0.0,
) -> Status:
    """The status that one look at a place supports, on its own.

    Args:
        evidence: What the run directory shows.
        attempt: The attempt that was asked about; a higher one that is there is reported instead.
        asked: When the place was asked, by the console's clock.
        answered: When its answer was there, if that was not at once.
        native: The scheduler's word, where there is a scheduler.
        cache: Seconds for which the asker may not see an exit record that was written: 0 on the
            machine itself, `ATTRIBUTE_CACHE` on a shared file system. The scheduler's end of a job
            is believed only after that, so that the record's own exit code is what is reported.
    """
    verdict = _judge(evidence, attempt, native, cache)
    record = evidence.exit
    claimed = evidence.attempt
    absent = verdict.state.terminal and verdict.rank < Rank.NATIVE
    return Status(
        state=verdict.state,
        observed_at=answered if absent and answered is not None else asked,
        reach=verdict.reach,
        attempt=attempt if claimed is None or claimed < attempt else claimed,
        rank=verdict.rank,
        exit_code=verdict.exit_code,
        signal=verdict.signal,
        reason=verdict.reason,
        started=_first(
            record.started if record else None, evidence.started, native.started if native else None
        ),
        ended=verdict.ended,
        host=(record.host if record else "") or evidence.host or (native.host if native else None),
        pid=evidence.pid,
        log_bytes=evidence.log_bytes,
        evidence=_grounds(evidence, native),
    )


def _judge(seen: Evidence, asked: int, native: Native | None, cache: float) -> _Verdict:
    here = seen.found and not seen.removed
    claimed = seen.found and seen.attempt is not None and seen.attempt >= asked
    if claimed and seen.exit is not None:
        return _recorded(seen, seen.exit, native)  # it stays when a run's files are removed
    claimed = claimed and here
    if seen.error is not None or seen.newer is not None:
        return _unreadable(seen, native)
    if (seen.alive or seen.supervised) and (claimed or seen.attempt is None):
        return _alive(seen, native)
    if native is not None:
        return _scheduled(seen, native, cache, claimed)
    if not here:
        if seen.removed:
            return _Verdict(State.LOST, Rank.NONE, "its run directory was removed")
        return _Verdict(State.LOST, Rank.NONE, "its run directory is gone")
    if not claimed:
        return _unclaimed(seen, asked)
    if seen.rebooted or (seen.same_host and seen.alive is False):
        return _gone(seen)
    if seen.phase == "claimed" and seen.same_host is None and _reach(seen) is Reach.STALE:
        # A torn claim: its supervisor was cut off before it wrote who it is, so before any job.
        return _gone(seen)
    return _elsewhere(seen)


def _recorded(seen: Evidence, record: Exit, native: Native | None) -> _Verdict:
    """There is an exit record: it decides, except where it hands the question on."""
    code, number = record.exit_code, record.signal
    said = record.reason
    if record.next is not None:
        follows = f"attempt {record.next}"
        why = f"{_how(code, number)}; {follows} follows"
        if seen.supervised:
            return _Verdict(State.STOPPING, Rank.NONE, why)
        held = not seen.rebooted if native is None else native.active
        if seen.supervised is None and held:
            return _Verdict(State.STOPPING, Rank.NONE, why, _reach(seen))
        asked = seen.cancel_requested is not None
        lost = f"{'stopped' if asked else 'its supervisor was killed'} before {follows}"
        said = f"{said or _how(code, number)}; {lost}"
    state: State
    match record.cause:
        case "self":
            state = State.SUCCEEDED if code == 0 else State.FAILED
            if state is State.FAILED and not said:
                said = _killed_by_kernel(seen) if number == signal.SIGKILL else ""
                word = native.reason if native is not None and not native.active else ""
                said = said or word or _how(code, number)
        case "cancel":
            state, said = State.CANCELLED, said or "stopped on request"
        case "timeout":
            state, said = State.TIMEOUT, said or "its time limit was reached"
        case "dependency":
            state, said = State.CANCELLED, said or "the run it waited for did not succeed"
        case "launch":
            state, said = State.FAILED, said or "it could not be started"
        case "outside":
            if native is not None and native.active:
                # The scheduler takes it back, or is not done with it: its own word is to come.
                queued = native.state is State.QUEUED
                return _Verdict(
                    State.QUEUED if queued else State.STOPPING,
                    Rank.NONE,
                    native.reason or ("requeued" if queued else "ended from outside"),
                )
            state, said = State.FAILED, said or "ended from outside"
            if native is not None and native.state in _TAKEN:
                state, said = native.state, native.reason or said
            elif record.word in _TAKEN_WORDS:
                state = _TAKEN_WORDS[record.word]
            elif seen.cancel_requested is not None:
                state, said = State.CANCELLED, "stopped on request"
        case "unknown":
            state = State.LOST
            said = said or f"ended{_clock(record.ended)}, exit code not knowable"
        case other:
            state = State.SUCCEEDED if code == 0 else State.FAILED
            said = said or f"{_how(code, number)} (cause {_text(other)!r} of a newer agent)"
    return _Verdict(state, Rank.RECORD, said, exit_code=code, signal=number, ended=record.ended)


_TAKEN = frozenset({State.TIMEOUT, State.PREEMPTED, State.CANCELLED})
_TAKEN_WORDS: Mapping[str | None, State] = {str(state): state for state in _TAKEN}


def _unreadable(seen: Evidence, native: Native | None) -> _Verdict:
    """The run directory cannot be read, which says nothing about the job."""
    why = seen.error or f"written by a newer Traindeck (format {seen.newer}): upgrade to read it"
    if native is not None and native.active:
        return _Verdict(native.state or State.NEW, Rank.NONE, why)
    if seen.alive:
        return _Verdict(State.RUNNING, Rank.NONE, why)
    return _Verdict(_PHASES.get(seen.phase, State.NEW), Rank.NONE, why, Reach.DOWN)


def _alive(seen: Evidence, native: Native | None) -> _Verdict:
    """Processes of the run were seen on this machine."""
    if not seen.found or seen.removed:
        return _Verdict(
            State.RUNNING,
            Rank.NONE,
            "its run directory was deleted; it runs on, log and exit code are lost",
        )
    state = _PHASES.get(seen.phase, State.RUNNING)
    if native is not None and native.state is not None and native.state.terminal:
        return _Verdict(State.STOPPING, Rank.NONE, native.reason)
    if seen.supervised is False:
        if seen.cancel_requested is not None:
            return _Verdict(State.STOPPING, Rank.NONE, "stop requested; its supervisor was killed")
        if state is State.STOPPING:
            return _Verdict(state, Rank.NONE, "its supervisor was killed; some of it runs on")
        return _Verdict(
            State.RUNNING,
            Rank.NONE,
            "its supervisor was killed; it runs on, exit code will not be known",
        )
    if seen.cancel_requested is not None and state is not State.STOPPING:
        return _Verdict(State.STOPPING, Rank.NONE, "stop requested")
    silent = seen.heartbeat_age
    if silent is not None and silent > SILENCE:
        return _Verdict(state, Rank.NONE, f"its supervisor has been silent for {_span(silent)}")
    return _Verdict(state, Rank.NONE, seen.reason)


def _scheduled(seen: Evidence, native: Native, cache: float, claimed: bool) -> _Verdict:
    """No exit record, and a scheduler to ask."""
    if not native.answered:
        return _unanswered(seen, native, claimed)
    if native.state is not None and not native.state.terminal:
        state = native.state
        if state is State.RUNNING:
            # The allocation runs; the job in it may wait, start or stop.
            state = _PHASES.get(seen.phase, state) if claimed else State.STARTING
        if seen.cancel_requested is not None:
            return _Verdict(State.STOPPING, Rank.NONE, native.reason or "stop requested")
        return _Verdict(state, Rank.NONE, native.reason or seen.reason)
    word = (
        f"the scheduler says {native.state}" if native.state else "the scheduler knows it no more"
    )
    unstarted = native.state in (None, State.CANCELLED) and native.started is None
    if not claimed and unstarted and seen.cancel_requested is not None:
        # It was asked to go before it was seen to begin; a record of the contrary would overrule.
        return _Verdict(State.CANCELLED, Rank.LOST, "stopped before it started")
    if native.over_for < cache:
        return _Verdict(State.STOPPING, Rank.NONE, f"{word}; waiting for its exit record")
    if native.state is not None:
        return _Verdict(
            native.state,
            Rank.NATIVE,
            native.reason or word,
            exit_code=native.exit_code,
            signal=native.signal,
            ended=native.ended,
        )
    if not claimed:
        if seen.cancel_requested is not None:
            return _Verdict(State.CANCELLED, Rank.LOST, "stopped before it started")
        return _Verdict(State.LOST, Rank.LOST, f"{word}; it was never started")
    return _Verdict(State.LOST, Rank.LOST, f"{word}; it left no exit record")


def _unanswered(seen: Evidence, native: Native, claimed: bool) -> _Verdict:
    """There is a scheduler, and it cannot be asked now: only the run directory tells."""
    if claimed:
        return _elsewhere(seen)
    state = State.QUEUED if seen.queued is not None and seen.queued.id else State.NEW
    if seen.cancel_requested is not None:
        state = State.STOPPING
    return _Verdict(state, Rank.NONE, native.reason, Reach.STALE)


def _unclaimed(seen: Evidence, asked: int) -> _Verdict:
    """The directory is there, and the attempt asked for was not begun."""
    if seen.attempt is not None:
        return _Verdict(State.LOST, Rank.NONE, f"attempt {asked} is not there")
    if seen.cancel_requested is not None:
        # A supervisor looks for the request after its claim, so none will start it any more.
        return _Verdict(State.CANCELLED, Rank.LOST, "stopped before it started")
    if seen.age is not None and seen.age >= SILENCE:
        return _Verdict(State.FAILED, Rank.LOST, "not started: the launcher died")
    return _Verdict(State.NEW, Rank.NONE)


def _gone(seen: Evidence) -> _Verdict:
    """Claimed, nothing is left of it, and no exit record."""
    cause = "its host restarted" if seen.rebooted else "its supervisor was killed"
    if seen.phase == "claimed":
        if seen.cancel_requested is not None:
            return _Verdict(State.CANCELLED, Rank.LOST, "stopped before it started")
        why = "its host restarted" if seen.rebooted else "the launcher died"
        return _Verdict(State.FAILED, Rank.LOST, f"not started: {why}")
    if seen.phase == "waiting":
        what = "host rebooted while it waited" if seen.rebooted else f"{cause} while it waited"
        return _Verdict(State.LOST, Rank.LOST, what)
    if seen.rebooted:
        return _Verdict(State.LOST, Rank.LOST, "host rebooted while it ran")
    if oom := _killed_by_kernel(seen):
        return _Verdict(State.LOST, Rank.LOST, oom)
    if seen.phase == "starting":
        return _Verdict(State.LOST, Rank.LOST, f"{cause} while it started")
    return _Verdict(State.LOST, Rank.LOST, f"{cause}; how it ended is not known")


def _elsewhere(seen: Evidence) -> _Verdict:
    """It runs where nothing of it can be seen but files: silence is no end."""
    state = _PHASES.get(seen.phase, State.RUNNING)
    reach = _reach(seen)
    if reach is Reach.STALE:
        since = "" if seen.heartbeat_age is None else f" for {_span(seen.heartbeat_age)}"
        place = seen.host or "its host"
        return _Verdict(state, Rank.NONE, f"no heartbeat from {place}{since}", reach)
    if seen.cancel_requested is not None:
        return _Verdict(State.STOPPING, Rank.NONE, "stop requested")
    return _Verdict(state, Rank.NONE, seen.reason)


_PHASES: Mapping[str, State] = {
    "none": State.NEW,
    "claimed": State.STARTING,
    "waiting": State.QUEUED,
    "starting": State.STARTING,
    "running": State.RUNNING,
    "stopping": State.STOPPING,
    "ended": State.STOPPING,
}


def _reach(seen: Evidence) -> Reach:
    """Whether the supervisor was heard of lately, where only files tell."""
    heard = seen.heartbeat_age if seen.heartbeat_age is not None else seen.age
    return Reach.OK if heard is not None and heard <= SILENCE else Reach.STALE


# ------------------------------------------------------------------------------- look upon look


def merge(previous: Status | None, seen: Status, now: float, *, settle: float = SETTLE) -> Status:
    """What is known after a look, given what was known before it.

    The result depends on what was seen and when, not on the order in which looks arrive, so that
    several processes may record theirs. Looks of the same attempt are dated by `observed_at`; one
    from the future (the clock was set back since) does not count as later.

    Args:
        previous: What was known, None if nothing.
        seen: The new look.
        now: By the console's clock.
        settle: Seconds for which a run that its place has never shown is `new`, not gone.
    """
    if previous is None:
        return seen
    if previous.attempt != seen.attempt:
        return seen if seen.attempt > previous.attempt else previous
    later = seen.observed_at > previous.observed_at or previous.observed_at > now
    if seen.reach is Reach.DOWN and not seen.state.terminal:
        return unreachable(previous, seen.reason) if later else previous
    if max(previous.rank, seen.rank) >= Rank.NATIVE:
        return seen if seen.rank > previous.rank else previous
    if previous.state.terminal and seen.state.terminal:
        # The first stays, but is as fresh as the last look: an older sign of life is no news.
        kept = seen if seen.rank > previous.rank else previous
        newest = seen.observed_at if later else previous.observed_at
        return kept if kept.observed_at == newest else replace(kept, observed_at=newest)
    if previous.state.terminal:
        return seen if later and _shows_life(seen) else previous
    if seen.state.terminal:
        if seen.rank is Rank.NONE and previous.state is State.NEW:
            return previous if 0 <= now - previous.observed_at < settle else seen
        return seen if later or not _shows_life(previous) else previous
    if seen.observed_at == previous.observed_at:
        return seen if _ORDER[seen.state] > _ORDER[previous.state] else previous
    return seen if later else previous


_ORDER: Mapping[State, int] = {state: place for place, state in enumerate(State)}


def _shows_life(status: Status) -> bool:
    return status.reach is Reach.OK and status.state is not State.NEW


def unreachable(previous: Status, reason: str = "") -> Status:
    """What is known of an attempt whose place did not answer: what was known, out of reach. What
    is over stays as it is: it needs no answer any more."""
    if previous.state.terminal:
        return previous
    return replace(previous, reach=Reach.DOWN, reason=reason or previous.reason)


# ---------------------------------------------------------------------------------------- words


def _how(code: int | None, number: int | None) -> str:
    if number is not None:
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"
    return "no exit code" if code is None else f"exit code {code}"


def _killed_by_kernel(seen: Evidence) -> str:
    return "killed, likely out of memory (kernel OOM count rose)" if seen.oom_kills else ""


def _clock(moment: float | None) -> str:
    return "" if moment is None else time.strftime(" %H:%M", time.localtime(moment))


def _span(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "ever"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _grounds(seen: Evidence, native: Native | None) -> tuple[str, ...]:
    """What a status rests on, strongest first, for `show`."""
    lines: list[str] = []
    if seen.exit is not None:
        lines.append(
            f"exit record: {seen.exit.cause}, {_how(seen.exit.exit_code, seen.exit.signal)}"
        )
    if native is not None:
        word = native.state or "does not know it" if native.answered else "does not answer"
        lines.append(f"scheduler: {word}{f' (job {seen.job})' if seen.job else ''}")
    if seen.error is not None:
        lines.append(f"run directory: {seen.error}")
    elif not seen.found:
        lines.append("run directory: not there")
    elif seen.removed:
        lines.append("run directory: removed")
    else:
        lines.append(f"phase: {seen.phase}")
    if seen.alive is not None:
        supervisor = {True: "alive", False: "gone", None: "not known"}[seen.supervised]
        lines.append(f"processes: {'alive' if seen.alive else 'none'}, supervisor {supervisor}")
    if seen.rebooted:
        lines.append("host: restarted since")
    elif seen.same_host is False:
        lines.append(f"host: {seen.host or 'another one'}, seen from outside")
    if seen.heartbeat_age is not None:
        lines.append(f"heartbeat: {_span(seen.heartbeat_age)} ago")
    if seen.cancel_requested is not None:
        lines.append("stop: requested")
    if seen.oom_kills:
        lines.append(f"kernel: {seen.oom_kills} OOM kills since the start")
    return tuple(lines)
