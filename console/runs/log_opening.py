"""What can be opened as a log: a rank of an attempt of a run, or any file of a run's directory; and
which ranks there are."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from traindeck.backends.base import Files, LinkState, SeekableLogs
from traindeck.backends.data import dataclass
from traindeck.backends.errors import BackendError
from traindeck.backends.states import Reach, State
from traindeck.console.logs.source import BackendSource, ByteSource, RunFileSource
from traindeck.console.logs.times import Times
from traindeck.console.runs.following import Filler, link_of
from traindeck.console.runs.log_sources import CopiedSource, NearSource
from traindeck.console.runs.mirrored import has_copies, is_far
from traindeck.console.runs.reading import folder_of, ranks_of, read_spec, why_no_log
from traindeck.console.runs.workspace import Workspace, ref_of
from traindeck.console.store.mirror import WHOLE
from traindeck.console.store.records import RunRecord, broken_metric

LOG = re.compile(r"attempts/(\d{1,5})/logs/(\d{1,5})\.log")
"""The log of a rank, as a file of the run's directory."""

FAILED = frozenset({State.FAILED, State.LOST, State.PREEMPTED})
"""Ends that the log may give a reason for. A time limit is one by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """How it stands with whatever writes a log.

    Attributes:
        over: Nothing more will be written.
        failed: It ended badly: its log may say why.
        diverged: What it trains for is no number: its log may say since when.
    """

    over: bool = True
    failed: bool = False
    exit_code: int | None = None
    signal: int | None = None
    step: int | None = None
    diverged: bool = False


async def _there_is() -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a session needs of a log; each function is called on the session's loop.

    Attributes:
        source: Makes a reader of the bytes, which the session closes.
        times: Makes the look-up of times, None if nobody notes them.
        fate: How it stands with the writer now.
        why_none: Says why there is no log, where nothing can be read; "" if there may be one.
        from_start: It is read from its beginning, as a file is, and not from its end.
        link: How it stands with the way to the place it is read from.
        most: Bytes up to which all of it is read through unasked, for its lines and errors.
    """

    source: Callable[[], ByteSource]
    times: Callable[[], Times | None] = lambda: None
    fate: Callable[[], Fate] = Fate
    why_none: Callable[[], Awaitable[str]] = _there_is
    from_start: bool = False
    link: Callable[[], LinkState] = LinkState
    most: float = math.inf


async def ranks_to_open(ws: Workspace, run: RunRecord, attempt: int) -> Sequence[int]:
    """The ranks of an attempt whose logs can be asked for, in order: those that have one, and those
    of the nodes that it was asked for. Their logs may be still to come, or elsewhere and not here.

    Raises:
        BackendError: Its backend does not answer, and nothing is held of it.
    """
    backend = ws.reader(run.backend)
    there = await ranks_of(backend, replace(ref_of(run), attempt=attempt))
    try:
        spec = await read_spec(backend, run)
    except BackendError:
        return there  # nobody here has started it
    each = spec.options.get("launch") != "once"  # else the first node's job sees to the others
    return sorted({*there, *range(spec.resources.nodes if each else 1)})


async def log_of(ws: Workspace, run: RunRecord, attempt: int, rank: int = 0) -> Opening:
    """The log of one rank of an attempt of a run.

    Raises:
        BackendError: Its backend has no logs that can be read at any place.
    """
    backend = ws.reader(run.backend)
    if not isinstance(backend, SeekableLogs):
        raise BackendError(f"{run.backend} has no logs that can be read.")
    ref = replace(ref_of(run), attempt=attempt)
    path = f"attempts/{attempt}/logs/{rank}"
    place = ws.backend(run.backend)
    filler = None
    if is_far(place) and has_copies(ref):
        filler = Filler(place, ref, rank, ws.mirror.copy(run.id, f"{path}.log"))
    folder = "" if is_far(place) else await folder_of(ws, run)
    local = Path(folder, f"{path}.log") if folder else None

    def source() -> ByteSource:
        through = BackendSource(backend, ref, rank)
        return NearSource(through, local) if filler is None else CopiedSource(through, filler)

    def link() -> LinkState:
        if filler is None or filler.lost_at is None:
            return LinkState()
        known = link_of(place)
        why = known.why or filler.why  # what made it break says less than what keeps it so
        return LinkState(state=Reach.DOWN, since=filler.lost_at, next_try=known.next_try, why=why)

    def times() -> Times | None:
        if not isinstance(backend, Files):
            return None
        return Times(RunFileSource(backend, ref, f"{path}.idx"))

    def fate() -> Fate:
        fresh = ws.index.get(run.id) or run
        if fresh.attempt != attempt:
            return Fate(failed=True)  # an earlier one: it was tried again, so it had failed
        return Fate(
            over=not fresh.active,
            failed=fresh.state in FAILED,
            exit_code=fresh.exit_code,
            signal=fresh.signal,
            step=None if fresh.progress.partial else fresh.progress.step,
            diverged=broken_metric(fresh) is not None,
        )

    async def none() -> str:
        return await why_no_log(ws, ws.index.get(run.id) or run, attempt)

    return Opening(
        source=source,
        times=times,
        fate=fate,
        why_none=_there_is if rank else none,
        link=link,
        most=math.inf if filler is None else WHOLE,
    )


async def file_of(ws: Workspace, run: RunRecord, path: str) -> Opening:
    """A file of a run's directory, read as if it were a log.

    Raises:
        BackendError: Its backend keeps no run directories.
    """
    backend = ws.reader(run.backend)
    if not isinstance(backend, Files):
        raise BackendError(f"{run.backend} keeps no run directories.")
    rank = LOG.fullmatch(path)
    if rank is not None and is_far(ws.backend(run.backend)):
        return await log_of(ws, run, int(rank[1]), int(rank[2]))  # a copy is kept of what is opened

    def fate() -> Fate:
        return Fate(over=not (ws.index.get(run.id) or run).active)

    return Opening(
        source=lambda: RunFileSource(backend, ref_of(run), path), fate=fate, from_start=True
    )
