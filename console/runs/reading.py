"""Small reads of what lies in a run's directory, wherever that is."""

from __future__ import annotations

from traindeck.backends.base import BackendError, SeekableLogs, State
from traindeck.console.runs.workspace import Workspace, ref_of
from traindeck.console.store.records import RunRecord


async def log_tail(ws: Workspace, run: RunRecord, size: int, rank: int = 0) -> bytes:
    """The last `size` bytes of a run's log; b"" if there is none or its place does not answer."""
    if run.state in (State.NEW, State.QUEUED):
        return b""
    try:
        backend = ws.backend(run.backend)
        if not isinstance(backend, SeekableLogs):
            return b""
        stat = await backend.log_stat(ref_of(run), rank)
        return await backend.read_at(ref_of(run), rank, max(0, stat.size - size), size)
    except BackendError:
        return b""


def reason_in(tail: bytes, exit_code: int | None, signal: int | None) -> str | None:
    """Why a run failed, by the end of its log, in one line; None if the log does not say."""
    from traindeck.console.logs.findings import WIDTHS, failure

    found = failure(tail, exit_code=exit_code, signal=signal)
    return found.reason(WIDTHS[0]) if found is not None else None
