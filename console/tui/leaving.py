"""Leaving: when not a key says so but a signal, or a terminal that is gone; and what is left.

Textual ends with neither: a signal kills it with the terminal left as it was for the screens, and
without a terminal it reads the end of its input for ever, on a whole core.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.driver import Driver

PATIENCE = 3.0
"""Seconds until the process ends though the screens did not."""


def leave_when_told(exit: Any) -> None:
    """Have `exit(return_code=…)` called on the running loop at SIGTERM, SIGHUP, or the end of the
    terminal at stdin. A signal that was ignored (nohup) stays so."""
    loop = asyncio.get_running_loop()

    def leave(number: int) -> None:
        code = 128 + number
        last = threading.Timer(PATIENCE, os._exit, (code,))
        last.daemon = True
        last.start()
        # The loop may be waiting for a terminal that takes nothing any more.
        loop.call_soon_threadsafe(lambda: exit(return_code=code))

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, _frame: leave(number))
    watch = threading.Thread(target=_watch, args=(leave,), name="terminal", daemon=True)
    watch.start()


def _watch(leave: Any) -> None:
    poller = select.poll()
    poller.register(sys.stdin.fileno(), 0)  # for nothing but that it is gone
    while not poller.poll():
        pass
    leave(signal.SIGHUP)


def leaves_nothing(driver: type[Driver]) -> type[Driver]:
    """The same driver, which empties its screen before it gives it back. tmux keeps the cells that
    were right of a window's edge when it was made narrower, and on the way back to the shell wraps
    them into lines above the prompt."""

    class Emptied(driver):  # type: ignore[misc, valid-type]
        def stop_application_mode(self) -> None:
            self.write("\x1b[2J")
            super().stop_application_mode()

    return Emptied
