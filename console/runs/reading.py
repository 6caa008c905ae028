"""Small reads of what lies in a run's directory, wherever that is."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from traindeck.backends.base import FileEntry, Files, JobRef, RunSpec, SeekableLogs
from traindeck.backends.encoding import decode
from traindeck.backends.errors import BackendError, Unreachable, UsageError
from traindeck.backends.states import State, Status
from traindeck.backends.status import decode_evidence, status_of
from traindeck.console.runs.mirrored import Reading
from traindeck.console.runs.workspace import Workspace, ref_of
from traindeck.console.store.records import (
    LOG_REMOVED,
    RunRecord,
    failed_rank,
    is_explained_by_log,
    status_of_run,
)
from traindeck.console.store.rundirs import FILE_LIMIT, as_object, parse_exit

RUN_FILE_LIMIT = 4 << 20
"""Bytes that a run.json may have."""
EVENTS_LIMIT = 1 << 20
"""Bytes of events that are looked through."""
MOST_ENTRIES = 2000
"""Files of a run that are listed."""
MOST_ATTEMPTS = 50
"""Attempts of a run that are looked at, the last ones."""
LAST_LINE = 120
"""Characters of a log's last line that are said as a reason."""

_HOOKS = {"on_exit": "on exit", "on_stall": "on stall"}


async def read_spec(backend: Reading, run: RunRecord) -> RunSpec:
    """The spec a run was made from, out of its run directory.

    Raises:
        BackendError: The directory is gone, or the backend keeps none.
    """
    return await read_spec_of(backend, ref_of(run))


async def read_spec_of(backend: Reading, ref: JobRef) -> RunSpec:
    """`read_spec` by reference."""
    import json

    if not isinstance(backend, Files):
        raise BackendError(f"{backend.name} keeps no run directory to read from.")
    data = await backend.read_file(ref, "run.json", 0, RUN_FILE_LIMIT)
    try:
        return decode(RunSpec, json.loads(data)["spec"])
    except (ValueError, KeyError, TypeError) as error:
        why = f"there is no {error}" if isinstance(error, KeyError) else error
        raise BackendError(f"run.json of run {ref.run_id} cannot be read: {why}.") from None


async def ranks_of(backend: Reading, ref: JobRef) -> list[int]:
    """Ranks of an attempt that have a log, in order; the first if there is none yet."""
    found = []
    if isinstance(backend, Files):
        try:
            entries = await backend.list_files(ref, f"attempts/{ref.attempt}/logs")
        except Unreachable:
            raise
        except BackendError:  # an attempt that waits has no folder for them yet
            entries = []
        for entry in entries:
            stem, _, kind = entry.path.rpartition("/")[2].partition(".")
            if kind == "log" and stem.isascii() and stem.isdecimal():
                found.append(int(stem))
    return sorted(found) or [0]


async def log_tail(ws: Workspace, run: RunRecord, size: int, rank: int | None = None) -> bytes:
    """The last lines of a run's log, of `size` bytes; b"" if there is none or its place does not
    answer. Of several ranks, by default that of the one that failed first. No line is without its
    beginning: of `loss=12.5` the end says something else. Of one that is longer than `size` the end
    stands behind a `…`."""
    if run.state in (State.NEW, State.QUEUED):
        return b""
    if rank is None:
        rank = failed_rank(run.reason)[0]
    try:
        backend = ws.reader(run.backend)
        if not isinstance(backend, SeekableLogs):
            return b""
        stat = await backend.log_stat(ref_of(run), rank)
        start = max(0, stat.size - size)
        tail = await backend.read_at(ref_of(run), rank, start, size)
    except (BackendError, UsageError):  # a backend that was taken out of the settings
        return b""
    if not start:
        return tail
    _, *lines = re.split(rb"[\r\n]", tail, maxsplit=1)
    return b"".join(lines) or "…".encode() + tail


async def explain(backend: Reading, run: RunRecord, status: Status) -> Status:
    """A failed attempt's status with the reason its log gives, if it gives one."""
    from traindeck.console.logs.findings import WINDOW

    if not isinstance(backend, SeekableLogs):
        return status
    ref = replace(ref_of(run), attempt=status.attempt)
    rank, _ = failed_rank(status.reason)
    try:
        stat = await backend.log_stat(ref, rank)
        tail = await backend.read_at(ref, rank, max(0, stat.size - WINDOW), WINDOW)
    except BackendError:
        return status
    reason = reason_in(tail, status.exit_code, status.signal, status.reason)
    return replace(status, reason=reason) if reason else status


def reason_in(
    tail: bytes, exit_code: int | None, signal: int | None, known: str = ""
) -> str | None:
    """Why a run failed, by the end of its log, in one line; None if the log does not say. Without
    the step: a log may count anew in each epoch, and how far the run was its progress says.

    Args:
        known: What its place says. If that is no more than the exit code, the log's last line is
            added to it: `sys.exit("no data")` prints that and nothing else. The rank that it names
            stays named.
    """
    _, by = failed_rank(known)
    if by:  # one that could not begin, or was lost, has not ended by what its log says
        why = reason_in(tail, exit_code, signal, f"exit code {exit_code}") if " on " in by else None
        return None if why is None else by + why
    from traindeck.console.logs.findings import WIDTHS, failure

    found = failure(tail, exit_code=exit_code, signal=signal, at_step=False)
    if found is None or not found.length:
        said = _said_last(tail) or (found.reason(WIDTHS[0]) if found else None)
        if said is None and known == f"exit code {exit_code}" and (last := _last_line(tail)):
            shown = last if len(last) <= LAST_LINE else f"{last[: LAST_LINE - 1].rstrip()}…"
            return f"{known} · last line: {shown}"
        return said
    return found.reason(WIDTHS[0])


def evidence_in(tail: bytes, run: RunRecord) -> tuple[str, bool]:
    """The line of a log's end that says why, and whether any line there looks like an error."""
    from traindeck.console.logs.findings import failure
    from traindeck.console.logs.severity import Severity, severity

    found = failure(tail, exit_code=run.exit_code, signal=run.signal, step=run.progress.step)
    grave = any(severity(line) is Severity.ERROR for line in tail.split(b"\n"))
    return found.evidence if found is not None else "", grave


def _said_last(tail: bytes) -> str | None:
    """The last line of a program that named its error, as argparse and our trainers do."""
    import re

    said = re.match(r"(?:[\w./-]{1,60}: )?(?:fatal )?error: (.{1,400})", _last_line(tail), re.I)
    return said[1].strip() if said else None


def _last_line(tail: bytes) -> str:
    """The last line that has something in it, clean; "" if none has."""
    from traindeck.console.logs.neutral import neutral

    lines = [line for line in tail[-4096:].splitlines() if line.strip()]
    return neutral(lines[-1]).text.strip() if lines else ""


async def hook_failures(ws: Workspace, run: RunRecord, spec: RunSpec) -> list[str]:
    """What went wrong with a run's commands for its end and for a stall, a line each; the only
    trace of it is an event. Asks nobody if it has none."""
    if not (spec.on_exit or spec.on_stall):
        return []
    found = []
    for event in await _events(ws, run):
        words = _HOOKS.get(event["event"])
        if words is None:
            continue
        log = f"attempts/{run.attempt}/logs/{event['event']}.log"
        if event.get("error"):
            found.append(f"{words} could not be run: {event['error']}")
        elif event.get("signal"):
            found.append(f"{words} was ended by signal {event['signal']}: {log}")
        elif event.get("exit_code"):
            found.append(f"{words} failed with exit code {event['exit_code']}: {log}")
    return found


async def background_ended(ws: Workspace, run: RunRecord) -> int:
    """How many processes had outlived the command of a run's present attempt and were ended."""
    if run.started is None or run.foreign:
        return 0
    events = await _events(ws, run)
    counts = [event.get("processes") for event in events if event["event"] == "background_ended"]
    return sum(count for count in counts if isinstance(count, int))


async def why_no_log(ws: Workspace, run: RunRecord, attempt: int | None = None) -> str:
    """Why an attempt, the present one, has no log, in a sentence: it was removed with the run's
    files or deleted by hand, nothing ever began, or it is an adopted process, of which only a file
    that it writes can be read. "" if it has one or may get one, or if that is not known."""
    if run.archived:
        return LOG_REMOVED
    if not run.adopted:
        return await _no_log(ws, run, run.attempt if attempt is None else attempt)
    said = [event.get("log") for event in await _events(ws, run) if event["event"] == "adopted"]
    words = said[-1] if said and isinstance(said[-1], str) else ""
    return f"{words}: no log" if words.startswith("its ") else ""


async def _no_log(ws: Workspace, run: RunRecord, number: int) -> str:
    if run.active and number == run.attempt:
        return ""
    try:
        backend = ws.reader(run.backend)
        if not isinstance(backend, SeekableLogs):
            return ""
        if (await backend.log_stat(replace(ref_of(run), attempt=number))).identity:
            return ""
        began = (await attempt_of(ws, run, number)).started is not None
    except (BackendError, UsageError):
        return ""
    # What begins has a log from its first moment on.
    return "its log is gone: it was deleted" if began else "it never started, so it has no log"


async def _events(ws: Workspace, run: RunRecord) -> list[dict[str, Any]]:
    """What its supervisor noted of the present attempt; nothing if that cannot be had."""
    import json

    try:
        path = f"attempts/{run.attempt}/events.jsonl"
        data = await read_file(ws, run, path, EVENTS_LIMIT)
    except (BackendError, UsageError):
        return []
    found = []
    for line in data.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            found.append(event)
    return found


async def list_files(ws: Workspace, run: RunRecord) -> list[FileEntry]:
    """All files and folders of a run's directory, folders before what they hold.

    Raises:
        BackendError: The backend keeps none, or does not answer.
    """
    backend = ws.reader(run.backend)
    if not isinstance(backend, Files):
        raise BackendError(f"{run.backend} keeps no run directories.")
    found: list[FileEntry] = []

    async def below(path: str) -> None:
        for entry in sorted(await backend.list_files(ref_of(run), path), key=lambda e: e.path):
            if len(found) >= MOST_ENTRIES:
                return
            found.append(entry)
            if entry.is_dir:
                await below(entry.path)

    await below("")
    return found


async def read_file(ws: Workspace, run: RunRecord, path: str, size: int) -> bytes:
    """The beginning of a file of a run.

    Raises:
        BackendError: It cannot be read.
    """
    backend = ws.reader(run.backend)
    if not isinstance(backend, Files):
        raise BackendError(f"{run.backend} keeps no run directories.")
    return await backend.read_file(ref_of(run), path, 0, size)


async def spec_of(ws: Workspace, run: RunRecord) -> RunSpec | None:
    """What a run was made from; None if that cannot be read now."""
    try:
        return await read_spec(ws.reader(run.backend), run)
    except BackendError:
        return None


async def attempts_of(ws: Workspace, run: RunRecord) -> list[Status]:
    """How the attempts of a run ended, the first one first; of the present one what is known now.
    Of an archived run those are left out of which nothing was noted when it was removed.

    Raises:
        BackendError: The backend keeps no run directories, or does not answer.
    """
    present = status_of_run(run)
    if run.attempt == 0:
        return [present]
    backend = ws.reader(run.backend)
    if not isinstance(backend, Files):
        return [present]
    noted = _noted(ws, run)
    earlier = range(max(0, run.attempt - MOST_ATTEMPTS), run.attempt)
    if run.archived:
        return [*[noted[n] for n in earlier if n in noted], present]
    return [*[noted.get(n) or await _ended(ws, backend, run, n) for n in earlier], present]


def _noted(ws: Workspace, run: RunRecord) -> dict[int, Status]:
    """What was noted of attempts before they were removed, by their numbers."""
    mark = ws.index.annotation(run.id)
    return {status.attempt: status for status in mark.attempts} if mark is not None else {}


async def attempt_of(ws: Workspace, run: RunRecord, number: int) -> Status:
    """How one attempt of a run ended; of the present one what is known now.

    Raises:
        UsageError: The run has no such attempt.
        BackendError: The backend keeps no run directories, or does not answer.
    """
    check_attempt(run, number)
    backend = ws.reader(run.backend)
    if number == run.attempt:
        return status_of_run(run)
    if not isinstance(backend, Files):
        raise BackendError(f"{run.backend} keeps no run directories.")
    return _noted(ws, run).get(number) or await _ended(ws, backend, run, number)


def check_attempt(run: RunRecord, number: int) -> None:
    """Raises UsageError if a run has no such attempt."""
    if not 0 <= number <= run.attempt:
        has = f"attempts 0 to {run.attempt}" if run.attempt else "only attempt 0"
        raise UsageError(f"--attempt {number}: {run.name} has {has}.")


async def _ended(ws: Workspace, backend: Files, run: RunRecord, number: int) -> Status:
    """How an attempt ended that another one followed."""
    base = f"attempts/{number}"
    record = parse_exit(await _small(backend, run, f"{base}/exit.slot"), run.id, number)
    if record is not None:
        facts: dict[str, Any] = {"phase": "ended", "exit": {**record, "next": None}}
    else:
        agent = as_object(await _small(backend, run, f"{base}/agent.json"))
        if agent is None:
            return Status(state=State.LOST, attempt=number, reason="no record of its end is there")
        then = as_object(await _small(backend, run, f"attempts/{number + 1}/claim")) or {}
        same = {name: agent.get(name) == then.get(name) for name in ("host", "boot_id")}
        facts = {
            **{name: agent.get(name) for name in ("phase", "started", "host")},
            "same_host": True,
            "alive": False,  # another attempt followed
            "rebooted": same["host"] and not same["boot_id"],
        }
    facts |= {"found": True, "attempt": number}
    status = status_of(decode_evidence(facts), number, ws.clock())
    explained = is_explained_by_log(status.state, status.exit_code)
    if record is not None and record.get("cause") == "outside" and status.reason:
        explained = False  # its place has said why; the log knows only that it was ended
    return await explain(ws.reader(run.backend), run, status) if explained else status


async def _small(backend: Files, run: RunRecord, path: str) -> bytes:
    """A small file of a run; b"" if it is not there. Raises Unreachable: that says nothing."""
    try:
        return await backend.read_file(ref_of(run), path, 0, FILE_LIMIT)
    except Unreachable:
        raise
    except BackendError:
        return b""


async def folder_of(ws: Workspace, run: RunRecord) -> str:
    """Where a run's directory lies, "" if that is not known now, or it has none."""
    if run.foreign:
        return ""
    try:
        health = await ws.backend(run.backend).probe()
    except BackendError:
        return ""
    return f"{health.root}/{run.id}" if health.root else ""
