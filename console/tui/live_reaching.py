"""Getting at runs for the screens: what is open stays with the services' own loop.

A terminal is handed out as one that can be used from the loop that answers keys; forwarded ports
live here, and end with the services.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from traindeck.console.runs.placing import connect
from traindeck.console.tui.services import Forwarded

if TYPE_CHECKING:
    from pathlib import Path

    from traindeck.backends.base import Done, Listener, Terminal, TerminalSize
    from traindeck.console.runs.forwarding import Forwarding
    from traindeck.console.runs.pulling import Progress, Pulled
    from traindeck.console.runs.workspace import Workspace

T = TypeVar("T")


class Bridge(Protocol):
    """Begins a coroutine on the services' loop, for whoever waits on another."""

    async def __call__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T: ...


class BridgedTerminal:
    """A terminal of another loop, as one of this."""

    def __init__(self, inner: Terminal, bridge: Bridge) -> None:
        self._inner = inner
        self._bridge = bridge

    async def read(self) -> tuple[int, bytes]:
        return await self._bridge(self._inner.read)

    async def write(self, data: bytes) -> None:
        await self._bridge(lambda: self._inner.write(data))

    async def write_eof(self) -> None:
        await self._bridge(self._inner.write_eof)

    async def resize(self, size: TerminalSize) -> None:
        await self._bridge(lambda: self._inner.resize(size))

    async def wait(self) -> Done:
        return await self._bridge(self._inner.wait)

    async def aclose(self) -> None:
        await self._bridge(self._inner.aclose)


class LiveReaching:
    """Implements `Reaching`, as a part of `LiveServices`."""

    def __init__(self) -> None:
        self._forwards: dict[int, Forwarding] = {}

    async def _bridge(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        raise NotImplementedError

    async def _await(self, body: Callable[[Workspace], Awaitable[T]]) -> T:
        raise NotImplementedError

    async def open_shell(self, run_id: str, size: TerminalSize) -> Terminal:
        from traindeck.console.runs.shell import open_shell

        async def start(ws: Workspace) -> Terminal:
            run = ws.record(run_id)
            await connect(ws, run.backend)
            return await open_shell(ws, run, size=size)

        return BridgedTerminal(await self._await(start), self._bridge)

    async def ports(self, run_id: str) -> Sequence[Listener]:
        from traindeck.console.runs import forwarding

        return await self._await(lambda ws: forwarding.likely_ports(ws, ws.record(run_id)))

    async def forward(self, run_id: str, port: int) -> Forwarded:
        from traindeck.console.runs import forwarding

        async def start(ws: Workspace) -> Forwarded:
            for made in self._forwards.values():
                if (made.run.id, made.port) == (run_id, port):
                    await made.check()
                    return _said(made)
            run = ws.record(run_id)
            await connect(ws, run.backend)
            made = await forwarding.start(ws, run, port)
            self._forwards[made.local] = made
            return _said(made)

        return await self._await(start)

    async def forwards(self) -> Sequence[Forwarded]:
        return [_said(made) for made in list(self._forwards.values())]

    async def end_forward(self, local: int) -> None:
        made = self._forwards.pop(local, None)
        if made is not None:
            await self._bridge(made.aclose)

    async def pull(
        self, run_id: str, paths: Sequence[str], to: Path, tell: Callable[[Progress], None]
    ) -> Sequence[Pulled]:
        from traindeck.console.runs import pulling

        loop = asyncio.get_running_loop()

        def told(progress: Progress) -> None:
            with suppress(RuntimeError):  # nobody is there any more to be told
                loop.call_soon_threadsafe(tell, progress)

        async def fetch(ws: Workspace) -> Sequence[Pulled]:
            run = ws.record(run_id)
            await connect(ws, run.backend)
            return await pulling.pull(ws, run, paths, to, tell=told)

        return await self._await(fetch)

    async def end_forwards(self) -> None:
        """End all of them. Called on the services' loop."""
        while self._forwards:
            await self._forwards.popitem()[1].aclose()


def _said(made: Forwarding) -> Forwarded:
    return Forwarded(
        run_id=made.run.id,
        name=made.run.name,
        port=made.port,
        local=made.local,
        url=made.url,
        moved=made.moved,
        problem=made.problem,
    )
