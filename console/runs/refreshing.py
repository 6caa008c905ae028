"""Bringing the index up to date with the places runs execute at.

One question a place, whatever the number of runs, and none about what any command saw a moment ago.
A place that does not answer costs its time limit and nothing else: what was known stays, with its
age.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from traindeck.backends.base import Backend, JobRef
from traindeck.backends.errors import BackendError, UsageError
from traindeck.backends.states import Rank, Reach, State, Status
from traindeck.console.runs.settling import settle
from traindeck.console.runs.workspace import Workspace, ref_of
from traindeck.console.store.records import (
    NOT_STARTED,
    ONLY_KNOWN,
    RunRecord,
    is_explained_by_log,
)

T = TypeVar("T")

MAX_AGE = 2.0
"""Seconds after which an observation is asked for again."""

PATIENCE = 2.0
"""Seconds that one place may take to answer a command."""

STALE_FOR = 10.0
"""Seconds for which what was heard last of a place is shown with its age: a link that was lost for
a moment is made again by then. After that nobody knows how its runs are."""

LOOK = 0.02
"""Seconds between two looks at whether it is one's turn."""

PIECE = 250
"""Runs that are worked on before others have a turn."""

AT_ONCE = 32
"""Runs whose run.json is asked for at the same time."""

YOUNG = 1.0
"""Seconds after its start for which a run is not asked what it has measured: a launch must not wait
for that."""


async def refresh(
    ws: Workspace,
    runs: Collection[RunRecord] | None = None,
    *,
    max_age: float = MAX_AGE,
    patience: float = PATIENCE,
    turns: bool = False,
    briefly: bool = False,
) -> list[str]:
    """Ask about runs that are not over and were not seen for `max_age` seconds.

    Args:
        runs: Only these, lost ones as well; by default all active ones, and now and then those
            whose directory was gone.
        turns: Ask as one of many who come back: of a place that somebody else is asking right now
            take what they hear, and ask for what the others wait for too.
        briefly: Leave to the next look what is over: its end is entered together with what it
            measured, and reading that takes time. A program that could not be started measured
            nothing.

    Returns:
        Ids of the runs that changed.
    """
    await settle(ws)
    now = ws.clock()
    if not ws.index.clock_goes_on():
        max_age = 0.0  # it was set: how old a look is cannot be told from its date
    if runs is None:
        asked = [*await _active(ws), *ws.missing()]
    else:
        # One that was lost sight of may be seen again, and whoever names it wants to know.
        asked = [run for run in runs if run.active or run.state is State.LOST]
    due: dict[str, list[RunRecord]] = {}
    for run in asked:
        # A time from the future is a clock that was set back: ask.
        if not 0 <= now - run.observed_at < max_age:
            due.setdefault(run.backend, []).append(run)
    changed = await asyncio.gather(
        *(
            _ask(ws, name, members, max_age, patience, turns, briefly)
            for name, members in due.items()
        )
    )
    if runs is None:
        from traindeck.console.runs.foreign import look_for_foreign

        changed.append(await look_for_foreign(ws, patience))
    if ws.index.unread():
        from traindeck.console.runs.reading_on import read_on

        read_on(ws)
    return [run_id for ids in changed for run_id in ids]


async def _ask(
    ws: Workspace,
    name: str,
    runs: Sequence[RunRecord],
    max_age: float,
    patience: float,
    turns: bool,
    briefly: bool,
) -> list[str]:
    if not turns:
        return await _ask_now(ws, name, runs, patience, briefly)
    lease = f"poll {name}"
    end = time.monotonic() + patience
    before: dict[str, tuple[float, bool]] | None = None
    while not ws.index.try_lease(lease, patience):
        if time.monotonic() > end:
            return []  # the caller comes back
        if before is None:
            before = ws.index.observed(name)
        await asyncio.sleep(LOOK)
    try:
        left = runs
        if before is not None or ws.index.latest_look(name) > max(r.observed_at for r in runs):
            seen = ws.index.observed(name)
            since = ws.clock() - max_age
            left = [run for run in runs if not _is_heard(run, before, seen, since)]
            if not left:
                return []
        asked = {run.id: run for run in [*left, *_awaited(ws, name)]}
        return await _ask_now(ws, name, list(asked.values()), patience, briefly)
    finally:
        ws.index.release(lease)


def _is_heard(
    run: RunRecord,
    before: Mapping[str, tuple[float, bool]] | None,
    seen: Mapping[str, tuple[float, bool]],
    since: float,
) -> bool:
    """Whether a run that was due need not be asked for, once it is our turn. What somebody heard
    while we waited for it (since `before`) is as new as what we would have; if that was that the
    place does not answer, it is not asked at once again."""
    if run.id not in seen:
        return run.active  # it is over
    observed_at, answers = seen[run.id]
    if before is None:
        return observed_at > since and observed_at != run.observed_at
    return not answers or observed_at != before.get(run.id, (0.0, True))[0]


def _awaited(ws: Workspace, name: str) -> list[RunRecord]:
    """The runs at a place that somebody waits for."""
    found = [ws.index.get(run_id) for run_id in ws.index.wanted()]
    return [run for run in found if run is not None and run.active and run.backend == name]


async def _ask_now(
    ws: Workspace, name: str, runs: Sequence[RunRecord], patience: float, briefly: bool
) -> list[str]:
    sending = _being_sent(ws, runs)
    try:
        async with asyncio.timeout(patience):
            backend = ws.backend(name)
            refs: dict[str, JobRef] = {}
            async for some in _pieces(runs):
                refs |= {run.id: ref_of(run) for run in some}
            statuses = await backend.poll(refs.values())
        ws.index.note_clock()
        ws.silent.pop(name, None)
        ws.asked_at[name] = max(status.observed_at for status in statuses.values())
    except (BackendError, UsageError, TimeoutError) as error:  # also one that is in no settings now
        ws.silent[name] = str(error) or "it does not answer."
        ws.index.set_reach(name, _silence(ws, name, runs))
        return []
    changed = []
    async for some in _pieces(runs):
        seen = {run.id: statuses[refs[run.id]] for run in some}
        there = [run for run in some if not (run.id in sending and is_absent(seen[run.id]))]
        changed += await enter(ws, backend, there, seen, briefly=briefly)
    return changed


async def _active(ws: Workspace) -> list[RunRecord]:
    """The runs that are not over."""
    found: list[RunRecord] = []
    async for some in _pieces(ws.index.active_numbers()):
        found += ws.index.rows(some)
    return found


async def _pieces(values: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """All of them, some at a time: a screen whose rows are read on the same loop has its turn."""
    for low in range(0, len(values), PIECE):
        if low:
            await asyncio.sleep(0)
        yield values[low : low + PIECE]


def _silence(ws: Workspace, name: str, runs: Sequence[RunRecord]) -> Reach:
    """How it stands with runs whose place did not answer just now: what was heard of a place behind
    a link a moment ago is old first, and unknown only if it stays silent."""
    from traindeck.backends.base import Capability, Linked

    backend = ws.backend(name) if ws.has_backend(name) else None
    far = backend is not None and not backend.capabilities & Capability.HERE
    behind = far and isinstance(backend, Linked)
    heard = max(run.observed_at for run in runs)
    return Reach.STALE if behind and 0 <= ws.clock() - heard < STALE_FOR else Reach.DOWN


def _being_sent(ws: Workspace, runs: Sequence[RunRecord]) -> frozenset[str]:
    """Ids of new runs whose submission is not settled: that a place does not know them says
    nothing, however long the sending takes. To be looked up before the place is asked, for what
    was sent by then it knows."""
    if not any(run.state is State.NEW for run in runs):
        return frozenset()
    return frozenset(submission.run_id for submission in ws.journal.entries())


def is_absent(status: Status) -> bool:
    """Whether it says no more than that there is no such run."""
    return status.state.terminal and status.rank is Rank.NONE


async def is_there(ws: Workspace, run: RunRecord) -> bool | None:
    """Whether a run's place still has what it can go on with; None if it cannot say now: it does
    not answer, or its disk is not mounted."""
    if not ws.has_backend(run.backend):
        return False
    try:
        async with asyncio.timeout(PATIENCE):
            (status,) = (await ws.backend(run.backend).poll([ref_of(run)])).values()
    except (BackendError, UsageError, TimeoutError):
        return None
    return run.archived or not is_absent(status)


async def why_silent(ws: Workspace, run: RunRecord) -> str:
    """Why nothing can be learnt of a run now; "" if it can."""
    try:
        async with asyncio.timeout(PATIENCE):
            await ws.backend(run.backend).poll([ref_of(run)])
    except (BackendError, UsageError) as error:
        return str(error)
    except TimeoutError:
        return "it does not answer."
    return ""


async def enter(
    ws: Workspace,
    backend: Backend,
    runs: Sequence[RunRecord],
    statuses: Mapping[str, Status],
    *,
    briefly: bool = False,
) -> list[str]:
    """Enter what a place has said of runs, by their ids, with why they failed and what they have
    measured. Returns the ids of those that changed. `briefly` as for `refresh`."""
    await _make_known(ws, runs)
    seen: dict[str, Status] = {}
    for run in runs:
        status = statuses[run.id]
        if briefly and status.state.terminal and status.exit_code not in NOT_STARTED:
            continue
        if is_explained_by_log(status.state, status.exit_code):
            from traindeck.console.runs.reading import explain

            status = await explain(backend, run, status)
        seen[run.id] = status
    # One that merely goes on is entered after what it measured: seen just now, with nothing new, it
    # would look silent until that is read.
    going = [run for run in runs if run.id in seen and _goes_on(run, seen[run.id])]
    on = {run.id: seen.pop(run.id) for run in going}
    changed = ws.index.update_statuses(seen, settle=backend.settle) if seen else []
    await ingest(ws, backend, going, on)
    changed += ws.index.update_statuses(on, settle=backend.settle) if on else []
    await ingest(ws, backend, [run for run in runs if run.id in seen], seen)
    return changed


async def _make_known(ws: Workspace, runs: Sequence[RunRecord]) -> None:
    """Enter what runs were made from of which only the submission is known: the index was lost, and
    their directories are elsewhere."""
    only_known = [run for run in runs if run.reason == ONLY_KNOWN and not run.argv]
    if not only_known:
        return
    from traindeck.console.runs.reading import read_spec
    from traindeck.console.store.describe import describe

    async def known(run: RunRecord) -> RunRecord | None:
        try:
            spec = await read_spec(ws.reader(run.backend), run)
        except BackendError:
            return None
        return replace(describe(spec, run.backend, run.native_id), attempt=run.attempt)

    for first in range(0, len(only_known), AT_ONCE):
        found = await asyncio.gather(*map(known, only_known[first : first + AT_ONCE]))
        ws.index.put_many(run for run in found if run is not None)


def _goes_on(run: RunRecord, status: Status) -> bool:
    """Whether nothing is new of a run but what it measures."""
    return run.state is status.state is State.RUNNING and run.attempt == status.attempt


async def ingest(
    ws: Workspace, backend: Backend, runs: Sequence[RunRecord], seen: dict[str, Status]
) -> None:
    """Enter what the runs have measured since the last look."""
    now = ws.clock()
    due = []
    for run in runs:
        if run.foreign:
            continue  # it has no run directory to measure in
        status = seen[run.id]
        young = status.started is None or now - status.started < YOUNG
        went_on = status.attempt > run.attempt  # what its last attempt wrote is read now or never
        if status.state.terminal or went_on or not young:
            due.append((run, status))
    if due:
        from traindeck.console.runs.measuring import fetch, measure, telling_faults

        reader = await fetch(ws, backend, due)
        for run, status in due:
            with telling_faults(run, ws.tell):
                await measure(ws, reader, run, status)
