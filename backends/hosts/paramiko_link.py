"""A link over paramiko: commands as pipes of the event loop.

paramiko blocks, so it is kept off the loop: one worker thread does what makes and feeds a
connection. It is not waited for at the program's end.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from traindeck.backends.base import BackendError, Connection, Unreachable
from traindeck.backends.hosts.link import READ_AHEAD, STDERR_KEPT, Pipe
from traindeck.backends.hosts.worker import Worker

if TYPE_CHECKING:
    import paramiko

WINDOW = 16 << 20
"""Bytes that may be on their way to us. At 80 ms there and back, 200 MB/s; what is really on its
way is bounded by the credit of each stream (channel.py)."""

PACKET = 1 << 17
"""Bytes of the largest packet: with what Python pays for each, a third as many a second arrive in
packets of the usual 32 KiB."""

CHUNK = 1 << 18
CHUNKS_AT_ONCE = 4
"""Pieces that are taken before the loop does something else."""

LITTLE = 1 << 14
"""Bytes that a socket of a living connection takes at once."""

WRITE_AHEAD = 1 << 19
"""Bytes that wait to be sent above which a writer is made to wait."""

OPEN_TIMEOUT = 15.0


class ParamikoLink:
    """See `Link`.

    Args:
        name: What the user calls the machine, for errors.
        transport: Connected and authenticated; closed together with this.
        beneath: What it runs through (jump hosts), closed after it.
        worker: The thread that made it.
    """

    kind = "paramiko"

    def __init__(
        self,
        name: str,
        transport: paramiko.Transport,
        beneath: tuple[paramiko.Transport, ...],
        worker: Worker,
    ) -> None:
        self._name = name
        self._transport = transport
        self._beneath = beneath
        self.worker = worker

    @property
    def alive(self) -> bool:
        """See `Link.alive`."""
        return bool(self._transport.is_active())

    async def open(self, command: str) -> Pipe:
        """See `Link.open`."""
        channel: Any = await self.session()
        channel.in_buffer = _Arrived()
        try:
            await self.worker.do(channel.exec_command, command)
        except BaseException as error:
            self.worker.put(lambda: _quietly(channel.close))
            if isinstance(error, asyncio.CancelledError):
                raise
            raise Unreachable(f"{self._name} runs no commands: {error}.") from None
        reader, writer, transport = self._streams(channel)
        return Pipe(reader=reader, writer=writer, said=transport.said, close=transport.close)

    def _streams(
        self, channel: paramiko.Channel
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, _ChannelTransport]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_AHEAD, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport = _ChannelTransport(loop, channel, self.worker, protocol)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop), transport

    async def do(self, task: Callable[[], Any]) -> None:
        """Do something with a channel on the thread of this connection."""
        await self.worker.do(task)

    def put(self, task: Callable[[], Any]) -> None:
        """The same, without waiting for it."""
        self.worker.put(lambda: _quietly(task))

    async def streams(self, host: str, port: int) -> Connection:
        """Both directions of a connection to a port that the machine can reach. Raises as
        `connect`."""
        reader, writer, _ = self._streams(await self.connect(host, port))
        return reader, writer

    async def session(self) -> paramiko.Channel:
        """A channel for a command or a terminal.

        Raises:
            Unreachable, BackendError: As `Link.open`.
        """
        from paramiko.ssh_exception import ChannelException

        try:
            return await self.worker.do(
                lambda: self._transport.open_session(
                    window_size=WINDOW, max_packet_size=PACKET, timeout=OPEN_TIMEOUT
                )
            )
        except ChannelException as error:
            raise BackendError(
                f"{self._name} opens no more sessions on this connection ({error.text}).",
                "End a shell there, or have MaxSessions raised in its sshd_config.",
            ) from None
        except Exception as error:
            raise Unreachable(f"The connection to {self._name} broke: {said(error)}.") from None

    async def connect(self, host: str, port: int) -> paramiko.Channel:
        """A channel to a port that the machine can reach.

        Raises:
            Unreachable: The connection is gone.
            BackendError: Nothing listens there, or it may not be forwarded.
        """
        from paramiko.ssh_exception import ChannelException

        try:
            return await self.worker.do(
                lambda: self._transport.open_channel(
                    "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=OPEN_TIMEOUT
                )
            )
        except ChannelException as error:
            why = "nothing listens there" if error.code == 2 else "its sshd forwards no ports"
            raise BackendError(f"Port {port} of {self._name} cannot be reached: {why}.") from None
        except Exception as error:
            raise Unreachable(f"The connection to {self._name} broke: {said(error)}.") from None

    async def aclose(self) -> None:
        """See `Link.aclose`."""
        self.drop()

    def drop(self) -> None:
        """Close it without waiting: by whoever gives up an attempt, from any thread."""
        for transport in (self._transport, *self._beneath):
            # On a thread of its own: closing waits for paramiko's, which may hang in a dead socket.
            threading.Thread(target=_quietly, args=(transport.close,), daemon=True).start()
        self.worker.end()


def said(error: BaseException) -> str:
    """An exception as part of a sentence."""
    text = " ".join(str(error).split())[:300].rstrip(".")
    return text or type(error).__name__


def _quietly(function: Callable[[], Any]) -> None:
    with suppress(Exception):
        function()


class _Arrived:
    """What a channel received and nobody took yet, in place of paramiko's `BufferedPipe`, which
    copies each byte four times and moves all that waits whenever some of it is taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pieces: deque[bytes] = deque()
        self._event: Any = None
        self._closed = False

    def set_event(self, event: Any) -> None:
        """What to set while there is something to read, the end among it."""
        with self._lock:
            self._event = event
            if self._pieces or self._closed:
                event.set()
            else:
                event.clear()

    def feed(self, data: bytes) -> None:
        """By the thread of the connection."""
        with self._lock:
            self._pieces.append(data)
            if self._event is not None:
                self._event.set()

    def read_ready(self) -> bool:
        """Whether there is something; the end is nothing."""
        return bool(self._pieces)

    def read(self, nbytes: int, timeout: float | None = None) -> bytes:
        """At most so many bytes of what is there. It never waits: only who has seen that there is
        something asks."""
        taken = []
        with self._lock:
            while self._pieces and nbytes > 0:
                piece = self._pieces.popleft()
                if len(piece) > nbytes:
                    self._pieces.appendleft(piece[nbytes:])
                    piece = piece[:nbytes]
                taken.append(piece)
                nbytes -= len(piece)
            if not (self._pieces or self._closed or self._event is None):
                self._event.clear()
        return b"".join(taken)

    def close(self) -> None:
        """Nothing comes after what is there."""
        with self._lock:
            self._closed = True
            if self._event is not None:
                self._event.set()

    def __len__(self) -> int:
        return sum(map(len, list(self._pieces)))


class _ChannelTransport(asyncio.Transport):
    """A paramiko channel as the event loop knows transports.

    What arrived is taken by the loop itself, which a pipe of paramiko's wakes. What is sent goes
    through the worker, unless it is little and certain to go at once: with many machines the way
    through another thread costs more than all else.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        channel: paramiko.Channel,
        worker: Worker,
        protocol: asyncio.StreamReaderProtocol,
    ) -> None:
        super().__init__()
        self._loop = loop
        self._channel = channel
        self._worker = worker
        self._protocol = protocol
        self._closing = False
        self._lost = False
        self._deaf = False
        """Whether the other side takes no more, though it may still be heard."""
        self._waiting = 0
        self._full = False
        self._reading = False
        self._said = b""
        self._wakes = channel.fileno()
        protocol.connection_made(self)
        self.resume_reading()

    # -- reading

    def _arrived(self) -> None:
        channel = self._channel
        for _ in range(CHUNKS_AT_ONCE):
            self.said()
            if not self._reading:
                return
            if channel.recv_ready():
                # It may have to tell the other side that there is room again.
                if not self._goes_at_once(0):
                    self.pause_reading()
                    self._worker.put(self._take_elsewhere)
                    return
                try:
                    data = channel.recv(CHUNK)
                except Exception as error:
                    self._broke(error)
                    return
                self._protocol.data_received(data)
            elif channel.eof_received or channel.closed:
                self.pause_reading()
                self._protocol.eof_received()
                return
            else:
                return

    def _take_elsewhere(self) -> None:
        """Take what arrived on the worker: while new keys are agreed on nothing can be sent."""
        with suppress(RuntimeError):
            try:
                data = self._channel.recv(CHUNK)
            except Exception as error:
                self._loop.call_soon_threadsafe(self._broke, error)
            else:
                self._loop.call_soon_threadsafe(self._taken, data)

    def _taken(self, data: bytes) -> None:
        if self._lost:
            return
        if data:
            self._protocol.data_received(data)
        self.resume_reading()

    def _broke(self, error: Exception) -> None:
        """The other side could not be told that there is room again. What was taken is lost with
        that: what comes after it would stand in its place."""
        self._end(OSError(said(error)))

    def said(self) -> str:
        """The last of stderr."""
        with suppress(Exception):
            while self._channel.recv_stderr_ready():
                self._said = (self._said + self._channel.recv_stderr(CHUNK))[-STDERR_KEPT:]
        return self._said.decode("utf-8", "replace")

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._wakes)

    def resume_reading(self) -> None:
        if not self._reading and not self._closing:
            self._reading = True
            self._loop.add_reader(self._wakes, self._arrived)

    def is_reading(self) -> bool:
        return self._reading

    # -- writing

    def _goes_at_once(self, size: int) -> bool:
        """Whether a message can be sent without waiting: nothing stands before it, the other side
        has room, and the connection agrees on no new keys just now."""
        transport: Any = self._channel.get_transport()
        return (
            size <= LITTLE
            and not self._waiting
            and size < self._channel.out_window_size
            and transport.clear_to_send.is_set()
        )

    def write(self, data: Any) -> None:
        if self._closing or self._deaf:
            return
        kept = bytes(data)
        if self._goes_at_once(len(kept)):
            try:
                self._channel.sendall(kept)
            except Exception as error:
                self._loop.call_soon(self._cannot_send, OSError(said(error)))
            return
        self._waiting += len(kept)
        if self._waiting > WRITE_AHEAD and not self._full:
            self._full = True
            self._protocol.pause_writing()
        self._worker.put(lambda: self._send(kept))

    def _send(self, data: bytes) -> None:
        failed: OSError | None = None
        try:
            self._channel.sendall(data)
        except Exception as error:
            failed = OSError(said(error))
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._sent, len(data), failed)

    def _sent(self, size: int, failed: OSError | None) -> None:
        self._waiting -= size
        if failed is not None:
            self._cannot_send(failed)
        elif self._full and self._waiting <= WRITE_AHEAD // 2:
            self._full = False
            self._protocol.resume_writing()

    def _cannot_send(self, error: OSError) -> None:
        """Where only the program there has ended, what it said before is still to be read, perhaps
        why it did: that, and its end, come the usual way."""
        transport: Any = self._channel.get_transport()
        if not transport.is_active() or not (self._channel.closed or self._channel.eof_received):
            self._end(error)
            return
        self._deaf = True
        if self._full:
            self._full = False
            self._protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self._waiting

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._worker.put(lambda: _quietly(self._channel.shutdown_write))

    # -- the end

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self.pause_reading()
        # After what still waits to be sent, which a dead connection would hold up for ever: its
        # transport is closed too then.
        self._worker.put(lambda: _quietly(self._channel.close))
        self._loop.call_soon(self._end, None)

    abort = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def _end(self, error: OSError | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self.pause_reading()
        self._protocol.connection_lost(error)
