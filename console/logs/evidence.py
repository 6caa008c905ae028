"""Findings of a log that is open: what its first error is, and what ended it.

Reads a bounded stretch through the page cache and judges it on a thread; a stretch takes some tens
of milliseconds.
"""

from __future__ import annotations

import asyncio
from functools import partial

from traindeck.console.logs.findings import WINDOW, Finding, failure, scan
from traindeck.console.logs.source import Pages

BEFORE = 4 << 10
"""Bytes before a grave line that are read with it: a chain of exceptions begins above its end."""
AFTER = 128 << 10


async def error_at(pages: Pages, offset: int) -> Finding | None:
    """The failure that the line at `offset` belongs to, e.g. `Survey.first_error`; None if the line
    only looks grave and says nothing that is known."""
    base = max(0, offset - BEFORE)
    data = await pages.read(base, offset - base + AFTER)
    cut = data.find(b"\n") + 1 if base else 0
    found = await asyncio.to_thread(scan, data[cut:], base + cut)
    return next((f for f in found if f.offset + f.length > offset), None)


async def what_ended(
    pages: Pages,
    *,
    exit_code: int | None = None,
    signal: int | None = None,
    step: int | None = None,
) -> Finding | None:
    """What ended the run, by the last megabyte of its log; see `findings.failure`."""
    base = max(0, pages.size - WINDOW)
    data = await pages.read(base, pages.size - base)
    judge = partial(failure, data, base, exit_code=exit_code, signal=signal, step=step)
    return await asyncio.to_thread(judge)
