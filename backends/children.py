"""Children of this process that asyncio waits for."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Protocol


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
