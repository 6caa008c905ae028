"""Programs of this machine in front of a person or a pipe."""

from __future__ import annotations

import asyncio
import os

from traindeck.backends.base import Outcome, TerminalSize
from traindeck.backends.hosts.terminals import open_local


async def test_what_floods_us_and_is_not_read_can_be_hung_up_on() -> None:
    for size in (None, TerminalSize()):
        terminal = await open_local(["cat", "/dev/zero"], size, os.environ)
        await terminal.read()
        async with asyncio.timeout(30):
            await terminal.aclose()
        assert (await terminal.wait()).outcome is Outcome.SIGNALLED
