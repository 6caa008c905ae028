"""Running a command's coroutine with an open workspace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from traindeck.console.cli import output
from traindeck.console.runs.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from traindeck.backends.asking import Asker

T = TypeVar("T")


def with_workspace(
    body: Callable[[Workspace], Awaitable[T]],
    *,
    checked: bool = True,
    stores: bool = False,
    accept_new: bool = False,
) -> T:
    """Open a workspace, run `body` in an event loop, close everything, return its result.
    Interrupting it ends the command and touches no run. `checked` and `stores` as for
    `open_workspace`; with `accept_new` the keys of machines that are not known are noted."""

    def asker() -> Asker:
        from traindeck.console.cli.asking import CommandAsker

        return CommandAsker(accept_new=accept_new)

    async def main() -> T:
        async with open_workspace(tell=output.tell, checked=checked, stores=stores) as ws:
            ws.asks = asker
            return await body(ws)

    return asyncio.run(main())
