"""What looks have left of logs and files of metrics is read on by a process of its own.

A look reads for a moment, for somebody waits for it. The first one that leaves more than a little
starts this process, which reads what all runs have left, the newest first, and ends when nothing
is: so a run that ended while nobody looked is measured to its end without anybody asking, and no
screen waits while numbers are parsed. One reads at a time on an index, by a lock beside it; of a
single run that somebody has opened one more may, for whoever reads a piece second drops it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from traindeck.backends import children
from traindeck.backends.errors import TraindeckError
from traindeck.console.store.schema import MOST_LEFT

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace

NICE = 10
"""Others go first: a training run, for example."""

COMMAND = (sys.executable, "-P", "-m", "traindeck.console.runs.reading_on")

_started: list[subprocess.Popen[bytes]] = []
"""Readers of this process that have not been seen to end."""


def read_on(ws: Workspace) -> None:
    """See to it that what is left is being read. Cheap if nothing is, if somebody reads already, or
    if all that was left is what a reader that was started for it could not read."""
    _started[:] = [reader for reader in _started if reader.poll() is None]
    left = ws.index.unread()
    if not left or left == ws.left:
        return
    with _reading(ws.places.index) as mine:
        if not mine:
            return
    ws.left = left
    nothing = subprocess.DEVNULL
    with suppress(OSError):
        _started.append(
            subprocess.Popen(
                COMMAND, env=dict(ws.environ), cwd="/", start_new_session=True,
                stdin=nothing, stdout=nothing, stderr=nothing,
            )
        )  # fmt: skip


async def read_run(ws: Workspace, run_id: str) -> None:
    """Have what is left of one run read by a process, and wait for that. Cancelled it ends, what
    it has read stays; if none can be started, nothing is read."""
    if not any(run == run_id for run, _, _ in ws.index.unread()):
        return
    nothing = subprocess.DEVNULL
    try:
        reader = await asyncio.create_subprocess_exec(
            *COMMAND, run_id, env=dict(ws.environ), cwd="/", start_new_session=True,
            stdin=nothing, stdout=nothing, stderr=nothing,
        )  # fmt: skip
    except OSError:
        return
    try:
        await reader.wait()
    finally:
        if reader.returncode is None:
            children.end(reader)
            await reader.wait()  # or a loop that ends now would leave it behind


async def read_all(ws: Workspace, tell: Callable[[str], None] | None = None) -> None:
    """Read what is left, until nothing is or what is left cannot be read."""
    from traindeck.console.runs.measuring import complete, telling_faults

    before: frozenset[tuple[str, str, int]] = frozenset()
    while (left := ws.index.unread()) and left != before:
        before = left
        numbers = (ws.index.number_of(run_id) for run_id in {run for run, _, _ in left})
        found = ws.index.rows([number for number in numbers if number is not None])
        for run in sorted(found, key=lambda run: run.created, reverse=True):
            try:
                with telling_faults(run, ws.tell):
                    await complete(ws, run, tell, most=MOST_LEFT)
            except TraindeckError as error:
                ws.tell(error.what)


@contextmanager
def _reading(index: Path) -> Iterator[bool]:
    """Be the one who reads what is left. False if somebody is, or if nothing can be locked."""
    try:
        fd = os.open(f"{index}.reading", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


async def _read(run_id: str | None) -> None:
    from traindeck.console.runs.measuring import complete
    from traindeck.console.runs.workspace import open_workspace

    async with open_workspace() as ws:
        if run_id is not None:
            await complete(ws, ws.record(run_id), most=MOST_LEFT)
            return
        with _reading(ws.places.index) as mine:
            if mine:
                await read_all(ws)


def main() -> None:
    """The process."""
    os.nice(NICE)
    asyncio.run(_read(sys.argv[1] if len(sys.argv) > 1 else None))


if __name__ == "__main__":
    main()
