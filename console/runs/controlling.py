"""Stopping, waiting for and removing runs, and what a person notes about them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from traindeck.backends.base import Adopt, Files
from traindeck.backends.data import dataclass
from traindeck.backends.errors import BackendError, TraindeckError, UsageError
from traindeck.backends.states import Reach, State
from traindeck.console.runs.foreign import look_up
from traindeck.console.runs.reading import attempts_of
from traindeck.console.runs.refreshing import MAX_AGE, refresh, why_silent
from traindeck.console.runs.request import check_name
from traindeck.console.runs.workspace import Workspace, ref_of, refuse_id
from traindeck.console.store import archive
from traindeck.console.store.annotations import Annotation, append, refuse_unwritable
from traindeck.console.store.journal import Submission
from traindeck.console.store.records import NOT_SENT, RunRecord, needs_you
from traindeck.console.store.rows import fold
from traindeck.console.store.schema import MOST_LEFT

T = TypeVar("T")
R = TypeVar("R", str, RunRecord)

AT_ONCE = 16
"""Runs to which something is done at one time."""

FIRST_WAIT = 0.1
LONGEST_WAIT = 2.0
"""Seconds between two looks at a run that is waited for: quick at its beginning and towards its
end, else sparing."""

FOLLOWS = 1.25
"""Who finds that another process has looked waits so much longer: then it is that one that looks
again, and the others need no connection of their own."""

WANTED_FOR = 10.0
"""Seconds for which others, who ask a run's place, ask for it on behalf of who waits for it."""

MAX_NOTE = 4000

KEPT_OF_END = ("claim", "agent.json", "exit.slot")
"""Of the last attempt, what a removal that keeps something leaves."""


async def stop(ws: Workspace, run: RunRecord, *, grace: float | None = None) -> bool:
    """Ask a run to end: TERM, `grace` seconds, KILL. False if it is over already. What is known of
    it says so at once: nobody is to take it for one that was not asked.

    Raises:
        Unreachable: Its place does not answer; nothing was asked.
    """
    if not run.active:
        return False
    await ws.backend(run.backend).cancel(ref_of(run), grace=grace)
    await refresh(ws, [run], max_age=0.0, briefly=True)
    return True


async def each(runs: Sequence[R], act: Callable[[R], Awaitable[T]]) -> list[T | TraindeckError]:
    """Do something to each of several runs, beside one another: a place that does not answer keeps
    no other's from it. Returns what came of each, in their order, or why it could not be."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(run: R) -> T | TraindeckError:
        async with turns:
            try:
                return await act(run)
            except TraindeckError as error:
                return error

    return await asyncio.gather(*map(one, runs))


async def to_stop(ws: Workspace, texts: Sequence[str]) -> list[RunRecord]:
    """The runs that are to end, each once, in the order given. A name means the run of it that is
    not over, by what its place says now.

    Raises:
        UsageError: No run is meant, or a name is that of several which are not over: none of them
            is guessed.
    """
    await look_up(ws, texts)
    asked = {ws.index.resolve(text) for text in texts}
    names = {fold(text) for text in texts}
    meant = [r for r in ws.index.active() if r.id in asked or fold(r.name) in names]
    # Of two of one name, one may be over since it was seen last.
    await refresh(ws, meant, max_age=0.0 if len(meant) > len(texts) else MAX_AGE)
    active = ws.index.active()
    for text in texts:
        twins = [run.id for run in active if fold(run.name) == fold(text)]
        if len(twins) > 1:
            raise UsageError(
                f"Several active runs are called {text}: {', '.join(twins)}.", "Give an id."
            )
    return list({run.id: run for run in (ws.record(text, active=True) for text in texts)}.values())


async def watch(ws: Workspace, run_id: str, *, soon: bool = False) -> AsyncIterator[RunRecord]:
    """The run whenever it was looked at, until it is over. Cancelling touches nothing.

    Args:
        soon: Its end is near, by what the caller has seen: look at once, and often at first.

    Raises:
        UsageError: It was removed, or its backend is not in the settings any more.
    """
    first = begun = time.monotonic()
    while True:
        run = ws.index.get(run_id)
        if run is None:
            raise UsageError(f"Run {run_id} was removed.")
        age = begun - first
        if calm := not soon and run.state in (State.QUEUED, State.RUNNING):
            age = max(age, abs(ws.clock() - (run.started or run.created)))
        wait = min(max(FIRST_WAIT, age / 3), LONGEST_WAIT)
        if run.observed_at > ws.asked_at.get(run.backend, 0.0):
            wait *= FOLLOWS
        if run.active:
            ws.backend(run.backend)  # of one that is not there, no end will ever be seen
            ws.index.want(run_id, WANTED_FOR)
            # At first, somebody who asks this place anyway will soon ask for this run too.
            if not (calm and begun == first and _is_asked(ws, run.backend)):
                await refresh(ws, [run], max_age=wait, turns=True)
            run = ws.index.get(run_id) or run
        yield run
        if not run.active:
            return
        # Until what is known is as old as may be, not from when this look began: whoever asked last
        # would find its own answer just too new, and somebody else would ask before it comes back.
        left = run.observed_at + wait - ws.clock()
        await asyncio.sleep(left + 0.001 if 0 < left <= wait else wait)
        begun = time.monotonic()


def _is_asked(ws: Workspace, name: str) -> bool:
    """Whether some process asks a place again and again: it has a moment ago."""
    last = max((at for at, _ in ws.index.observed(name).values()), default=0.0)
    return ws.index.clock_goes_on() and 0 <= ws.clock() - last < 2 * LONGEST_WAIT


async def wait(ws: Workspace, run_ids: Sequence[str]) -> list[RunRecord]:
    """Return when all of these runs are over, in the order given. Of a place that does not answer
    a line says so, once, and one when it does again."""
    silent: set[str] = set()

    async def one(run_id: str) -> RunRecord:
        last: RunRecord | None = None
        async for run in watch(ws, run_id):
            last = run
            if run.active and run.reach is Reach.DOWN and run.backend not in silent:
                if why := await why_silent(ws, run):
                    silent.add(run.backend)
                    ws.tell(f"{run.backend} cannot be asked, the waiting goes on: {why}")
            elif run.reach is Reach.OK and run.backend in silent:
                silent.discard(run.backend)
                ws.tell(f"{run.backend} answers again.")
        assert last is not None
        return last

    return list(await asyncio.gather(*(one(run_id) for run_id in run_ids)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What removing a run's directory frees, in bytes, by top-level name.

    Attributes:
        kept: What stays of it when only its artifacts are to be kept: they, and how it ended.
    """

    run_id: str = ""
    total: int = 0
    by_name: Mapping[str, int] | None = None
    kept: int = 0


async def disk(ws: Workspace, run: RunRecord) -> Disk:
    """Measure what removing a run would free.

    Raises:
        BackendError: The backend keeps none, or it cannot be read.
    """
    backend = ws.backend(run.backend)
    if not isinstance(backend, Files):
        raise BackendError(f"{run.backend} keeps no run directories.")
    ref = ref_of(run)
    # FORMAT.md, verb `rm`.
    last = f"attempts/{run.attempt}"
    stay = {"run.json", "removed.json", *(f"{last}/{name}" for name in KEPT_OF_END)}
    # The log of an adopted process is a second name of its own file, which stays; what the
    # supervisor holds in reserve for the end of a run is gone when that has come.
    free_nothing = {f"{last}/logs/0.log"} if run.adopted else set()
    if run.active:
        free_nothing.add(f"{last}/reserve")
    kept = 0

    async def below(path: str) -> int:
        nonlocal kept
        total, folders = 0, [path]
        while folders:
            for entry in await backend.list_files(ref, folders.pop()):
                if entry.is_dir:
                    folders.append(entry.path)
                elif entry.path not in free_nothing:
                    total += entry.size
                    kept += entry.size if entry.path in stay else 0
        return total

    sizes = {}
    for entry in await backend.list_files(ref):
        sizes[entry.path] = await below(entry.path) if entry.is_dir else entry.size
        kept += sizes[entry.path] if entry.path == "artifacts" or entry.path in stay else 0
    return Disk(run_id=run.id, total=sum(sizes.values()), by_name=sizes, kept=kept)


async def remove(ws: Workspace, run: RunRecord, *, keep_artifacts: bool = False) -> int:
    """Delete a run that is over: its directory and what we know of it. Returns the bytes freed. Of
    an adopted process that still runs only the watching ends. With `keep_artifacts` its directory
    keeps what it made, and the run stays listed as archived. Of a place that is in the settings no
    more, only what we know of the run goes.

    Raises:
        TraindeckError: Somebody else has removed it since it was looked at.
        UsageError: The run is not over, or foreign.
        BackendError: Its directory could not be deleted; then the run stays listed.
    """
    if ws.index.number_of(run.id) is None:
        raise TraindeckError(f"{run.name} ({run.id}) is gone: it was removed meanwhile.")
    refuse_removal(run)
    check_notes(ws)
    freed = 0
    if run.active:
        watching = ws.backend(run.backend)
        if not isinstance(watching, Adopt):
            raise UsageError(f"{run.backend} cannot end the watching of {run.name}.")
        await watching.unwatch(ref_of(run))
    if ws.has_backend(run.backend):
        backend = ws.backend(run.backend)
        if isinstance(backend, Files):
            keep = ("artifacts",) if keep_artifacts else ()
            if keep and not run.archived:
                await _keep_known(ws, run)
            freed = await backend.remove(ref_of(run), keep=keep)
    ws.mirror.forget(run.id)
    if keep_artifacts:
        annotate(ws, [Annotation(run_id=run.id, time=ws.clock(), archived=True)])
    else:
        annotate(ws, [Annotation(run_id=run.id, time=ws.clock(), deleted=True)])
        ws.index.delete([run.id])
        archive.forget(ws.places, run.id)
        if run.reason == NOT_SENT:
            ws.journal.remove(Submission(run_id=run.id))
    return freed


async def _keep_known(ws: Workspace, run: RunRecord) -> None:
    """Keep how the attempts of a run ended, and what they measured, before their records are
    removed and their logs, which say why."""
    from traindeck.console.runs.measuring import complete, telling_faults

    with telling_faults(run, ws.tell):
        await complete(ws, run, ws.tell, most=MOST_LEFT)
    archive.save(ws.places, ws.index, ws.index.get(run.id) or run)
    ended = tuple(one for one in await attempts_of(ws, run) if one.state.terminal)
    annotate(ws, [Annotation(run_id=run.id, time=ws.clock(), attempts=ended)])


def refuse_removal(run: RunRecord) -> None:
    """Raises UsageError if a run is foreign, or goes on and was not merely adopted."""
    if run.foreign:
        raise UsageError(f"{run.id} was not started by Traindeck, so it cannot be removed.")
    if not run.removable:
        raise UsageError(
            f"{run.name} is {run.state}, not over.", f"Stop it first: traindeck stop {run.id}"
        )


def rename(ws: Workspace, run: RunRecord, name: str) -> str:
    """Give a run another name. Returns what is worth knowing about it; "" for nothing.

    Raises:
        UsageError: It is no name, or the beginning of an id.
    """
    refuse_id(ws, name)
    taken = run.name != name and ws.index.has_name(name)
    annotate(ws, [Annotation(run_id=run.id, time=ws.clock(), name=check_name(name))])
    return f"another run is called {name} too; only the ids tell them apart" if taken else ""


def set_tags(ws: Workspace, runs: Sequence[RunRecord], tags: Mapping[str, str | None]) -> None:
    """Set tags of runs; a value of None takes the tag away from those that have it.

    Raises:
        TraindeckError: None of the runs has such a tag to take away; nothing is changed.
    """
    present = sorted({name for run in runs for name in run.tags})
    for name, value in tags.items():
        if value is None and name not in present:
            one = len(runs) == 1
            none = f"{runs[0].name} has no" if one else f"None of these {len(runs):,} runs has a"
            has = f"{'It has' if one else 'They have'} {', '.join(present) or 'none'}."
            raise TraindeckError(f"{none} tag {name}.", has)
    now = ws.clock()
    changes = [
        {name: value for name, value in tags.items() if value is not None or name in run.tags}
        for run in runs
    ]
    annotate(
        ws,
        [
            Annotation(run_id=run.id, time=now, tags=changed)
            for run, changed in zip(runs, changes, strict=True)
            if changed
        ],
    )


def set_note(ws: Workspace, run: RunRecord, note: str) -> None:
    """Write a run's note; "" takes it away.

    Raises:
        UsageError: It is too long.
    """
    if len(note) > MAX_NOTE:
        raise UsageError(f"The note has {len(note):,} characters; at most {MAX_NOTE:,} are kept.")
    annotate(ws, [Annotation(run_id=run.id, time=ws.clock(), note=note)])


def look(ws: Workspace, run: RunRecord) -> None:
    """A person opened the run: what it did until now needs them no more."""
    now = ws.clock()
    annotate(ws, [Annotation(run_id=run.id, time=now, looked_at=now)])


def see(ws: Workspace, runs: Sequence[RunRecord]) -> list[RunRecord]:
    """A person says that these are seen. Returns those that needed them, as they were: one that is
    not known to need anybody may have failed meanwhile, and nobody has seen that."""
    now = ws.clock()
    found = [run for run in runs if needs_you(run, now)]
    annotate(ws, [Annotation(run_id=run.id, time=now, looked_at=now) for run in found])
    return found


def check_notes(ws: Workspace) -> None:
    """Look whether anything can be noted about runs, before something is done that has to be. On a
    full disk it can: the line may still fit, or what is done makes room.

    Raises:
        StoreError: The annotations cannot be written.
    """
    refuse_unwritable(ws.places.annotations)


def annotate(ws: Workspace, lines: Sequence[Annotation]) -> None:
    """Append what we know about runs, durably, and show it in the index."""
    append(ws.places.annotations, lines)
    ws.index.catch_up(ws.places.annotations)
