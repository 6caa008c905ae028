"""Ports of where a run is, at this machine: a listener here, and a connection there for each one.

Nothing is held open towards the place but what is in use: a link that was cut is dialled again by
the next connection, and a page that is loaded again is there.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol, Self, cast

from traindeck.backends.base import (
    Backend,
    BackendError,
    Capability,
    Forward,
    Listener,
    Unreachable,
)
from traindeck.backends.errors import TraindeckError, UsageError
from traindeck.console.runs.workspace import Workspace, ref_of
from traindeck.console.store.records import RunRecord

PIECE = 1 << 16
MOST_CONNECTIONS = 128
"""Connections through one port at a time: one that leads back to itself would take all."""
LIKELY = {6006: "TensorBoard", 8888: "Jupyter", 8787: "Dask", 8265: "Ray", 5000: "MLflow"}
"""What mostly listens on a port."""
_URL = re.compile(rb"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\]|[\w.-]+):(\d{2,5})\b")


class Reached(Backend, Forward, Protocol):
    """A backend that forwards."""


def parse_port(text: str) -> tuple[int, int | None]:
    """`PORT` or `PORT:LOCAL`.

    Raises:
        UsageError: No port can have such a number.
    """
    there, colon, here = text.partition(":")
    ports = []
    for word in (there, here) if colon else (there,):
        if not (word.isascii() and word.isdecimal() and len(word) < 6 and 0 < int(word) < 65536):
            raise UsageError(
                f"{text[:40]!r} is no port.", "Give a number from 1 to 65535, or PORT:LOCAL."
            )
        ports.append(int(word))
    return ports[0], ports[1] if colon else None


def forwarding(ws: Workspace, run: RunRecord) -> Reached:
    """The backend of a run, as one that can be connected to.

    Raises:
        BackendError: It cannot.
        UsageError: It was taken out of the settings.
    """
    backend = ws.backend(run.backend)
    if not isinstance(backend, Forward):
        raise BackendError(f"{backend.name} cannot forward a port of its runs.")
    return cast("Reached", backend)


async def likely_ports(ws: Workspace, run: RunRecord, *, strict: bool = False) -> list[Listener]:
    """What a run may be asked for: what its processes listen on, and what its log names in a link,
    the best first. A place that does not answer has none.

    Raises:
        Unreachable: It does not answer, no link is known, and that is to be said (`strict`).
    """
    from traindeck.console.runs.reading import log_tail

    backend = forwarding(ws, run)
    found: dict[int, Listener] = {}
    silent: Unreachable | None = None
    try:
        for listener in await backend.listeners(ref_of(run)):
            found.setdefault(listener.port, listener)
    except Unreachable as error:
        silent = error
    except TraindeckError:
        pass
    for number in _URL.findall(await log_tail(ws, run, PIECE)):
        port = int(number)
        if 0 < port < 65536:
            found.setdefault(port, Listener(port=port, program="named in its log"))
    if strict and silent is not None and not found:
        raise silent
    return sorted(found.values(), key=lambda one: (one.port not in LIKELY, one.port))


def called(listener: Listener) -> str:
    """A port with what is behind it, in words."""
    what = LIKELY.get(listener.port) or listener.program
    return f"{listener.port} ({what})" if what else str(listener.port)


class Forwarding:
    """One port of a run's machine at 127.0.0.1. Made by `start`; ends with `aclose`.

    Attributes:
        local: The port here.
        moved: `local` is another one than was wanted, which was taken.
        problem: Why the last connection did not come about; "" once one did.
        connections: How many are open.
        changed: Called when any of these changed.
    """

    def __init__(self, backend: Reached, run: RunRecord, port: int) -> None:
        self.run = run
        self.port = port
        self.local = 0
        self.moved = False
        self.problem = ""
        self.connections = 0
        self.changed: Callable[[], None] = lambda: None
        self._backend = backend
        self._server: asyncio.Server | None = None
        self._checked = asyncio.Event()
        self._ended = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.local}"

    async def listen(self, local: int | None) -> None:
        """Listen on `local`, which has to be free, or on the port's own number, else on any. On
        the machine that the run is on, the port's own number is the run's: to take it would be to
        connect to ourselves.

        Raises:
            UsageError: `local` is taken, or may not be had.
        """
        # Jobs that inherit what this process has in memory are processes of this machine; a
        # cluster's are on its nodes, even where this is its login node.
        here = bool(self._backend.capabilities & Capability.INHERITS)
        if here and local == self.port:
            raise UsageError(
                f"{self.run.name} is on this machine: its port {local} is here already.",
                f"Open http://127.0.0.1:{local}.",
            )
        self.moved = here and local is None
        for wanted in (local or (0 if here else self.port), 0):
            try:
                self._server = await asyncio.start_server(self._accept, "127.0.0.1", wanted)
                break
            except OSError as error:
                if local is not None or error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    why = "is taken" if error.errno == errno.EADDRINUSE else "cannot be had"
                    raise UsageError(
                        f"Port {wanted} of this machine {why}.",
                        f"Choose another: {self.port}:LOCAL, or leave it out for any.",
                    ) from None
                self.moved = True
        assert self._server is not None
        self.local = self._server.sockets[0].getsockname()[1]

    async def check(self) -> bool:
        """Whether nobody listens there now, as far as the place says; `problem` says why no
        connection comes about."""
        try:
            _, writer = await self._backend.connect(ref_of(self.run), self.port)
        except TraindeckError as error:
            self._say(error.what)
            return not isinstance(error, Unreachable)
        self._say("")
        await _close(writer)
        return False

    async def open(self, local: int | None) -> None:
        """Listen here, check, and take connections from then on.

        Raises:
            UsageError: As `listen`; or nobody listened there before we did, so it leads to us.
        """
        nobody = await self.check()
        await self.listen(local)
        if nobody and not await self.check() and not self.problem:
            raise UsageError(
                f"Port {self.port} of {self.run.backend} is port {self.local} of this machine, "
                "which would be forwarded to itself.",
                f"Take another one here, as {self.port}:LOCAL.",
            )
        self._checked.set()

    async def aclose(self) -> None:
        """Listen no longer, and end what is open. Idempotent."""
        self._ended = True
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ------------------------------------------------------------------------------- inside

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._ended:
            await _close(writer)
            return
        if len(self._tasks) >= MOST_CONNECTIONS:
            self._say(f"more than {MOST_CONNECTIONS} connections are open: no more are taken")
            await _close(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._checked.wait()
            try:
                far_reader, far_writer = await self._backend.connect(ref_of(self.run), self.port)
            except TraindeckError as error:
                self._say(error.what)
                return
            self.connections += 1
            self._say("")
            try:
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            except OSError:
                pass  # one of the two ends is gone, and so is the other
            finally:
                self.connections -= 1
                self.changed()
                await _close(far_writer)
        except asyncio.CancelledError:
            pass  # `aclose`: the streams' own task would complain of it
        finally:
            self._tasks.discard(task)
            await _close(writer)

    def _say(self, problem: str) -> None:
        self.problem = problem
        self.changed()


async def start(ws: Workspace, run: RunRecord, port: int, local: int | None = None) -> Forwarding:
    """Listen here for a port of where a run is. Whether anybody listens there, `problem` says.

    Raises:
        BackendError: The place cannot be connected to, ever.
        UsageError: The local port is taken, or what listens there would be we.
    """
    made = Forwarding(forwarding(ws, run), run, port)
    try:
        await made.open(local)
    except BaseException:
        await made.aclose()
        raise
    return made


def the_one(found: Sequence[Listener], name: str) -> int:
    """The port that is meant where none was named.

    Raises:
        UsageError: There is none, or more than one.
    """
    if not found:
        raise UsageError(
            f"No process of {name} is known to listen on a port.", "Name one, say 6006."
        )
    if len(found) > 1:
        some = ", ".join(called(one) for one in found[:10])
        raise UsageError(f"{name} may mean several ports: {some}.", "Name one.")
    return found[0].port


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that comes, as fast as it is taken; then its end, for one direction alone may be over."""
    while data := await reader.read(PIECE):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        with suppress(OSError, RuntimeError):
            writer.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()
