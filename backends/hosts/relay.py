"""Byte streams of the event loop, made of what is none: a program's pipes, and connections that an
agent makes for us (`link` and `give`, payload/FORMAT.md §7)."""

from __future__ import annotations

import asyncio
import secrets
import select
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from traindeck.backends.base import BackendError, Connection, Terminal, Unreachable
from traindeck.backends.hosts.channel import Channel

PIECE = 1 << 18
AHEAD = 1 << 20
"""Bytes given to an agent at a time, and until it is waited for them to be taken."""
TAKEN_WITHIN = 3600.0
"""Seconds for that: it is the program there that takes them, and it may take its time."""
LOOK = 1.0
"""Seconds between two looks whether somebody who says no more has closed."""
SAID = 4096
"""Bytes of a program's stderr that are kept, the last ones."""

_running: set[asyncio.Task[None]] = set()


class Pipes:
    """A program on three pipes as a connection: what it says is read, what it hears is written.

    Args:
        terminal: The program; hung up when the connection is closed.

    Attributes:
        said: The last of what it wrote to stderr.
        ended: Called when it is over.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.said = b""
        self.ended: Callable[[], None] = lambda: None
        self._terminal = terminal

    async def open(self) -> Connection:
        """Both directions. Once."""
        (reader, writer), theirs = await _pair()
        self._task = _begin(self._move(*theirs))
        return reader, writer

    async def aclose(self) -> None:
        """End the program. Idempotent."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _move(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        giving = asyncio.create_task(self._give(reader))
        try:
            while True:
                number, data = await self._terminal.read()
                if not data:
                    break
                if number == 2:
                    self.said = (self.said + data)[-SAID:]
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # whoever read it is gone
        finally:
            giving.cancel()
            writer.close()
            self.ended()
            await self._terminal.aclose()

    async def _give(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(PIECE):
                await self._terminal.write(data)
        # The end of what it hears; ours has closed, so nobody hears it either.
        await self._terminal.write_eof()


async def linked(
    channel: Channel,
    port: int,
    *,
    address: str = "localhost",
    closed: Callable[[], None] = lambda: None,
) -> Connection:
    """A connection that an agent makes from where it is.

    Args:
        closed: Called when it is over.

    Raises:
        BackendError: Nobody listens there, or it has too many connections open.
        Unreachable: The agent went away.
    """
    ends, theirs = await _pair()
    made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = _begin(_carry(channel, port, address, *theirs, made))
    task.add_done_callback(lambda _: closed())
    try:
        await made
    except BaseException:
        task.cancel()
        ends[1].close()
        raise
    return ends


async def _carry(
    channel: Channel,
    port: int,
    address: str,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    made: asyncio.Future[None],
) -> None:
    name = secrets.token_hex(8)
    carrying = asyncio.current_task()
    assert carrying is not None

    def end(_: object) -> None:
        carrying.cancel()

    giving: asyncio.Task[None] | None = None
    try:
        asked = {"link": name, "address": address, "port": port}
        async with channel.stream("link", asked) as answers:
            async for header, body in answers:
                if giving is None:
                    if not made.done():
                        made.set_result(None)
                    giving = asyncio.create_task(_give(channel, name, reader, writer))
                    giving.add_done_callback(end)
                if body:
                    writer.write(body)
                    await writer.drain()
                if header.get("eof"):
                    break
    except (BackendError, Unreachable) as error:
        if not made.done():
            made.set_exception(error)
    except OSError:
        pass  # whoever read it is gone
    finally:
        if giving is not None:
            giving.remove_done_callback(end)
            giving.cancel()
        if not made.done():
            made.cancel()
        writer.close()


async def _give(
    channel: Channel,
    name: str,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    with suppress(BackendError, Unreachable, OSError):
        ahead = 0
        while data := await reader.read(PIECE):
            ahead += len(data)
            if ahead < AHEAD:
                # An answer would only hold up what the program says to it (links.PAUSE).
                await channel.tell("give", {"link": name, "quiet": True}, data)
            else:
                await channel.call("give", {"link": name}, data, timeout=TAKEN_WITHIN)
                ahead = 0
        await channel.tell("give", {"link": name, "quiet": True, "eof": True})
    # Whoever has said all may listen on; one that has closed does not, and only this tells.
    poller = select.poll()
    poller.register(writer.get_extra_info("socket").fileno(), 0)
    while not poller.poll(0):  # noqa: ASYNC110 (nothing else tells)
        await asyncio.sleep(LOOK)


async def _pair() -> tuple[Connection, Connection]:
    one, other = socket.socketpair()
    return (
        await asyncio.open_unix_connection(sock=one, limit=PIECE),
        await asyncio.open_unix_connection(sock=other, limit=PIECE),
    )


def _begin(moving: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(moving)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task
