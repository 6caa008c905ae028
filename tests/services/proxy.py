"""A network as bad as one likes between a client and a server on loopback.

A TCP proxy in a process of its own, so that it takes no time from what is measured or tested beside
it. It is told what to do over a pipe, answers every word, and ends when the pipe does: it leaves
nothing behind even if the tests are killed.

    with Proxy(box.port, delay=0.04) as proxy:     # 80 ms there and back
        … connect to proxy.port …
        proxy.cut_after(10_000, "down")

`up` is from the client to the server, `down` is back.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

_HELD = 16 << 20
"""Bytes that may be under way in one direction of a connection; then its sender has to wait."""
_PIECE = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What has passed since the start.

    Attributes:
        connections: How many were taken.
        open: How many are open now.
        up, down: Bytes handed on.
        cuts: How often `cut_after` has come true.
    """

    connections: int = 0
    open: int = 0
    up: int = 0
    down: int = 0
    cuts: int = 0


class Proxy:
    """Use it with `with`.

    Args:
        target: The port of the server on 127.0.0.1.
        delay: Seconds that a byte takes each way.
        rate: Bytes a second each way and connection; None for as fast as it goes.

    Attributes:
        port: Where to connect to instead.
    """

    def __init__(self, target: int, *, delay: float = 0.0, rate: float | None = None) -> None:
        self._first = {"target": target, "delay": delay, "rate": rate}
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Proxy:
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self.port = self._ask("start", **self._first)["port"]
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Every connection breaks, and nobody listens any more."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def set(self, *, delay: float = 0.0, rate: float | None = None) -> None:
        """Change delay and rate for what is received from now on."""
        self._ask("set", delay=delay, rate=rate)

    def drop(self) -> None:
        """Reset every open connection; new ones are taken."""
        self._ask("drop")

    def cut_after(self, count: int, direction: str = "down") -> None:
        """Hand on this many more bytes in a direction, over all connections, then `drop`; once."""
        self._ask("cut_after", count=count, direction=direction)

    def stall(self) -> None:
        """Hand on nothing more. Nobody is told: connections stay open, new ones are accepted and
        hear nothing, as when a cable is pulled out."""
        self._ask("stall")

    def refuse(self) -> None:
        """New connections are refused; open ones go on."""
        self._ask("refuse")

    def garbage(self, count: int | None = None, *, first: bytes = b"") -> None:
        """Answer every new connection ourselves: `first`, then this many random bytes, or for as
        long as they are taken."""
        self._ask("garbage", count=count, first=base64.b64encode(first).decode())

    def heal(self) -> None:
        """Undo `stall`, `refuse`, `garbage` and a cut that has not come yet. What a stall held back
        arrives now."""
        self._ask("heal")

    def counts(self) -> Counts:
        """What has passed so far."""
        return Counts(**self._ask("counts"))

    def _ask(self, verb: str, **words: Any) -> dict[str, Any]:
        assert self._process and self._process.stdin and self._process.stdout, "not started"
        self._process.stdin.write(json.dumps({"verb": verb, **words}).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


# ------------------------------------------------------------------------- in its own process


class _Connection:
    """Two sockets and what is under way between them."""

    def __init__(self, server: _Server, near: asyncio.StreamWriter) -> None:
        self.server = server
        self.near = near
        self.far: asyncio.StreamWriter | None = None
        self.broken = False

    async def run(self, reader: asyncio.StreamReader) -> None:
        await self.server.flowing.wait()
        far_reader, self.far = await asyncio.open_connection(
            "127.0.0.1", self.server.target, limit=_PIECE * 4
        )
        async with asyncio.TaskGroup() as both:
            both.create_task(_Way(self, "up", reader, self.far).run())
            both.create_task(_Way(self, "down", far_reader, self.near).run())

    def reset(self) -> None:
        self.broken = True
        for writer in (self.near, self.far):
            if writer is not None:
                writer.transport.abort()


class _Way:
    """One direction of a connection."""

    def __init__(
        self,
        connection: _Connection,
        name: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.connection = connection
        self.server = connection.server
        self.name = name
        self.reader = reader
        self.writer = writer
        # `drain` is to mean that the kernel has it all, or a cut would lose what it let pass.
        writer.transport.set_write_buffer_limits(0)
        self.under_way: deque[tuple[float, bytes]] = deque()
        self.held = 0
        self.changed = asyncio.Event()
        self.free_at = 0.0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as both:
            both.create_task(self.take())
            both.create_task(self.give())

    async def take(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            while self.held >= _HELD:
                self.changed.clear()
                await self.changed.wait()
            data = await self.reader.read(_PIECE)
            self.held += len(data)
            self.under_way.append((clock() + self.server.delay, data))
            self.changed.set()
            if not data:
                return

    async def give(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            while not self.under_way:
                self.changed.clear()
                await self.changed.wait()
            due, data = self.under_way.popleft()
            if self.server.rate:
                self.free_at = max(self.free_at, clock(), due) + len(data) / self.server.rate
                due = self.free_at
            while (left := due - clock()) > 0:
                await asyncio.sleep(left)
            await self.server.flowing.wait()
            self.held -= len(data)
            self.changed.set()
            if not data:
                with suppress(OSError):  # the other side may be gone already
                    self.writer.write_eof()
                return
            await self.hand_on(data)

    async def hand_on(self, data: bytes) -> None:
        server = self.server
        cut = server.cut
        last = cut is not None and cut[0] == self.name and len(data) >= cut[1]
        if cut is not None and cut[0] == self.name:
            data = data[: cut[1]]
            server.cut = None if last else (self.name, cut[1] - len(data))
        if last:
            server.break_off()
        elif self.connection.broken:
            return
        server.counts[self.name] += len(data)
        self.writer.write(data)
        if not last:
            await self.writer.drain()
            return
        # What was handed on is to arrive, but a reader that does not read cannot put off the cut.
        with suppress(TimeoutError):
            await asyncio.wait_for(self.arrived(), 2)
        server.counts["cuts"] += 1
        server.drop()

    async def arrived(self) -> None:
        """Returns when the kernel of the other side has all."""
        await self.writer.drain()
        number = self.writer.get_extra_info("socket").fileno()
        while struct.unpack("i", fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4)))[0]:
            await asyncio.sleep(0.001)


class _Server:
    """What the process does: takes connections, obeys the pipe."""

    def __init__(self) -> None:
        self.target = 0
        self.delay = 0.0
        self.rate: float | None = None
        self.cut: tuple[str, int] | None = None
        self.noise: tuple[bytes, int | None] | None = None
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.counts = asdict(Counts())
        self.connections: set[_Connection] = set()
        self.listener: asyncio.Server | None = None
        self.port = 0

    async def main(self) -> None:
        commands = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
        )
        while line := await commands.readline():
            words = json.loads(line)
            answer = await getattr(self, "do_" + words.pop("verb"))(**words)
            sys.stdout.write(json.dumps(answer or {}) + "\n")
            sys.stdout.flush()

    async def listen(self) -> None:
        self.listener = await asyncio.start_server(
            self.serve, "127.0.0.1", self.port, limit=_PIECE * 4, backlog=1000
        )
        self.port = self.listener.sockets[0].getsockname()[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, writer)
        self.connections.add(connection)
        self.counts["connections"] += 1
        try:
            if self.noise is not None:
                await self.make_noise(reader, writer, *self.noise)
            else:
                await connection.run(reader)
        except (OSError, ExceptionGroup):
            pass  # one side has gone
        finally:
            connection.reset()
            self.connections.discard(connection)

    async def make_noise(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        first: bytes,
        count: int | None,
    ) -> None:
        writer.write(first)
        while count is None or count > 0:
            await self.flowing.wait()
            data = os.urandom(_PIECE if count is None else min(_PIECE, count))
            count = None if count is None else count - len(data)
            writer.write(data)
            await writer.drain()
            self.counts["down"] += len(data)
        while await reader.read(_PIECE):
            pass

    def break_off(self) -> None:
        """Nothing more passes on the connections that are open."""
        for connection in self.connections:
            connection.broken = True

    def drop(self) -> None:
        for connection in list(self.connections):
            connection.reset()

    async def do_start(self, target: int, delay: float, rate: float | None) -> dict[str, Any]:
        self.target, self.delay, self.rate = target, delay, rate
        await self.listen()
        return {"port": self.port}

    async def do_set(self, delay: float, rate: float | None) -> None:
        self.delay, self.rate = delay, rate

    async def do_drop(self) -> None:
        self.drop()

    async def do_cut_after(self, count: int, direction: str) -> None:
        self.cut = (direction, count)

    async def do_stall(self) -> None:
        self.flowing.clear()

    async def do_refuse(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    async def do_garbage(self, count: int | None, first: str) -> None:
        self.noise = (base64.b64decode(first), count)

    async def do_heal(self) -> None:
        self.cut = self.noise = None
        self.flowing.set()
        if self.listener is None:
            await self.listen()

    async def do_counts(self) -> dict[str, Any]:
        return {**self.counts, "open": sum(not one.broken for one in self.connections)}


if __name__ == "__main__":
    asyncio.run(_Server().main())
