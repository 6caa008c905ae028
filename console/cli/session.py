"""Running a command's coroutine with an open workspace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from traindeck.console.cli import output
from traindeck.console.runs.workspace import Workspace, open_workspace

T = TypeVar("T")


def with_workspace(
    body: Callable[[Workspace], Awaitable[T]], *, checked: bool = True, stores: bool = False
) -> T:
    """Open a workspace, run `body` in an event loop, close everything, return its result.
    Interrupting it ends the command and touches no run. `checked` and `stores` as for
    `open_workspace`."""

    async def main() -> T:
        async with open_workspace(tell=output.tell, checked=checked, stores=stores) as ws:
            return await body(ws)

    return asyncio.run(main())
