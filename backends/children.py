"""Children of this process that asyncio waits for."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any, Protocol


class Child(Protocol):
    """A process that was started, as asyncio and the standard library have it."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...


def end(child: Child, number: int = signal.SIGTERM) -> None:
    """Send a child a signal, unless it is known to have ended.

    Not by its own `terminate` or `kill`, which look first whether it has ended and thereby take its
    exit code from whoever waits for it: asyncio then says 255, and a warning on stderr (CPython
    issue 127049).
    """
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(child.pid, number)


def is_closed(child: asyncio.subprocess.Process) -> bool:
    """Whether it has ended, and all that it wrote was read."""
    return bool(_transport(child).is_closing())


def hear_no_more(child: asyncio.subprocess.Process) -> None:
    """Close what a child writes to. Its `wait` waits for the end of that too, which never comes of
    what nobody reads; and the collector would close it when the loop is no more, with a traceback
    on stderr."""
    for fd in (1, 2):
        if (pipe := _transport(child).get_pipe_transport(fd)) is not None:
            pipe.close()


def _transport(child: asyncio.subprocess.Process) -> Any:
    return child._transport  # type: ignore[attr-defined]
