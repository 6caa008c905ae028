"""The finding of a log that is open: what ended its run.

Reads a bounded stretch through the page cache and judges it on a thread; a stretch takes some tens
of milliseconds.
"""

from __future__ import annotations

import asyncio
from functools import partial

from traindeck.console.logs.findings import WINDOW, Finding, failure
from traindeck.console.logs.source import Pages


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
