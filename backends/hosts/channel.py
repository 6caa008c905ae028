"""The client's end of `agent serve`: many requests over one pair of pipes.

The frames are those of payload/FORMAT.md §7. It knows nothing of how the pipes came about: a local
child process and an SSH channel look the same from here. It never retries: who asks decides.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from traindeck.backends.base import AgentRefused, BackendError, Unreachable

CREDIT = 1 << 20
MOST_CREDIT = 16 << 20
"""Bytes of a stream that may be on their way, at first and at most. It grows while they arrive as
soon as they can, and not when it is the link that they wait for: what is under way there stands
before the answer to whatever is asked next."""

SOON = 1.7
"""Round trips within which all of a stream's credit has come: then it is the credit that bounds."""

LITTLE_WHILE = 0.02
"""Seconds within which that is so however short a round trip is: to read, to decrypt and to take
what came, each process in its turn, takes longer than the way over a quick network."""

BEGINNING = ("start", "adopt", "prepare", "enqueue", "reserve")
"""Verbs that leave a supervisor behind, whose run.json may ask for what an older agent ignores."""

MOST_HELD = 3 * MOST_CREDIT
FRAME_COSTS = 512
"""Bytes of a stream that are held for whoever takes them, above which an agent does not keep to the
credit it was given; and what each frame counts beside its content."""

_HEAD = struct.Struct(">II")
_MAX_JSON = 64 << 20
_MAX_BODY = 64 << 20
_NUMBER = (int, type(None))  # None: an answer to what was no request

Answer = tuple[dict[str, Any], bytes]


class _Words(dict[str, Any]):
    """What an agent answered. What is looked for and is not there is its fault, not ours."""

    def __missing__(self, name: str) -> Any:
        raise BackendError(f"The agent there gave an answer without {name!r}, which is none.")


class _Stream:
    """Answers of one streaming request that were received and not yet taken."""

    def __init__(self) -> None:
        self.answers: deque[tuple[Answer, int]] = deque()
        self.held = 0
        self.ready = asyncio.Event()
        self.credit = CREDIT
        self.ended = False
        self.error: Exception | None = None


class Channel:
    """Speaks to one `agent serve`. Made on, and used from, one event loop.

    Args:
        reader, writer: The agent's stdout and stdin.
        marker: The random marker it was started with; everything before it is a login banner. None
            if that has been read already.
        timeout: Seconds to wait for an answer to a call before calling the agent unreachable.
        starts_nothing: Why no run may be begun with this agent; raised where one would be.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        marker: str | None,
        *,
        timeout: float = 45.0,
        starts_nothing: BackendError | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._marker = None if marker is None else marker.encode()
        self._timeout = timeout
        self._starts_nothing = starts_nothing
        self._next_id = 1
        self._calls: dict[int, asyncio.Future[Answer]] = {}
        self._streams: dict[int, _Stream] = {}
        self._failed: Unreachable | None = None
        self.round_trip = 0.0
        """Seconds of the quickest answer so far; 0 before the first."""
        self.heard = time.monotonic()
        """When something of the agent's last arrived, by the monotonic clock."""
        self._task = asyncio.create_task(self._read(), name="agent-channel")

    @property
    def failed(self) -> bool:
        """Whether the agent is gone. A failed channel stays failed."""
        return self._failed is not None

    async def call(
        self,
        verb: str,
        params: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> Answer:
        """See `AgentChannel.call`."""
        if self._starts_nothing is not None and verb in BEGINNING:
            raise self._starts_nothing
        number = self._number()
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        limit = self._timeout if timeout is None else timeout
        asked = time.monotonic()
        try:
            async with asyncio.timeout(limit):
                await self._send({**(params or {}), "id": number, "verb": verb}, body)
                answer = await future
        except TimeoutError:
            raise Unreachable(f"The agent did not answer `{verb}` within {limit:.0f} s.") from None
        finally:
            self._calls.pop(number, None)
        took = time.monotonic() - asked
        self.round_trip = min(self.round_trip or took, took)
        return answer

    async def tell(self, verb: str, params: Mapping[str, Any], body: bytes = b"") -> None:
        """A request that nobody answers.

        Raises:
            Unreachable: The agent went away.
        """
        await self._send({**params, "id": self._number(), "verb": verb}, body)

    @asynccontextmanager
    async def stream(
        self, verb: str, params: Mapping[str, Any] | None = None
    ) -> AsyncIterator[AsyncIterator[Answer]]:
        """See `AgentChannel.stream`."""
        number = self._number()
        stream = self._streams[number] = _Stream()
        try:
            await self._send({**(params or {}), "id": number, "verb": verb, "credit": CREDIT}, b"")
            yield self._take(number, stream)
        finally:
            self._streams.pop(number, None)
            if not stream.ended and self._failed is None:
                with suppress(Unreachable):
                    await self._send({"id": number, "close": True}, b"")

    def fail(self, error: Unreachable) -> None:
        """Give the agent up: whoever waits for it hears why."""
        self._fail(error)
        self._task.cancel()

    async def aclose(self) -> None:
        """Close the agent's stdin, which ends it. Idempotent."""
        self._fail(Unreachable("The connection to the agent was closed."))
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    # ------------------------------------------------------------------------------- inside

    def _number(self) -> int:
        if self._failed is not None:
            raise self._failed
        self._next_id += 1
        return self._next_id

    async def _send(self, header: Mapping[str, Any], body: bytes) -> None:
        data = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
        try:
            self._writer.write(_HEAD.pack(len(data), len(body)) + data)
            if body:
                self._writer.write(body)
            await self._writer.drain()
        except (OSError, RuntimeError) as error:
            raise Unreachable(f"The connection to the agent broke: {error}.") from None

    async def _take(self, number: int, stream: _Stream) -> AsyncIterator[Answer]:
        taken = 0
        since = time.monotonic()
        while True:
            while stream.answers:
                answer, size = stream.answers.popleft()
                stream.held -= size
                taken += len(answer[1])
                if taken >= stream.credit // 2 and not stream.ended:
                    now = time.monotonic()
                    # Half of it has come: twice as much would have, had there been more.
                    soon = 2 * (now - since) < max(SOON * self.round_trip, 2 * LITTLE_WHILE)
                    more = stream.credit if soon else 0
                    more = min(more, MOST_CREDIT - stream.credit)
                    stream.credit += more
                    await self._send({"id": number, "credit": taken + more}, b"")
                    taken, since = 0, now
                yield answer
            if stream.error is not None:
                raise stream.error
            if stream.ended:
                return
            stream.ready.clear()
            await stream.ready.wait()

    async def _read(self) -> None:
        try:
            if self._marker is not None:
                await self._skip_banner(self._marker + b"\n")
            while True:
                head = await self._reader.readexactly(_HEAD.size)
                self.heard = time.monotonic()
                json_size, body_size = _HEAD.unpack(head)
                if json_size > _MAX_JSON or body_size > _MAX_BODY:
                    raise ValueError("a frame of absurd size")
                header = json.loads(await self._reader.readexactly(json_size))
                body = await self._reader.readexactly(body_size) if body_size else b""
                if not isinstance(header, dict) or not isinstance(header.get("id"), _NUMBER):
                    raise ValueError("a frame that answers nothing")
                self._dispatch(_Words(header), body, FRAME_COSTS + json_size + body_size)
        except asyncio.IncompleteReadError:
            self._fail(Unreachable("The agent ended its connection."))
        except (OSError, ValueError, RecursionError) as error:
            self._fail(Unreachable(f"The connection to the agent broke: {error}."))

    async def _skip_banner(self, wanted: bytes) -> None:
        seen = b""
        while not seen.endswith(b"\n" + wanted) and seen != wanted:
            line = await self._reader.readline()
            if not line:
                raise asyncio.IncompleteReadError(seen, None)
            seen = (seen + line)[-65536:]

    def _dispatch(self, header: dict[str, Any], body: bytes, size: int) -> None:
        number = header.pop("id", None)
        error = header.get("error")
        failure = AgentRefused(str(error), header, body) if error is not None else None
        if (future := self._calls.get(number)) is not None:
            if not future.done():
                if failure is not None:
                    future.set_exception(failure)
                else:
                    future.set_result((header, body))
        elif (stream := self._streams.get(number)) is not None:
            if failure is not None:
                stream.error = failure
                stream.ended = True
            else:
                stream.held += size
                if stream.held > MOST_HELD:
                    raise ValueError("more than was asked for")
                stream.answers.append(((header, body), size))
                stream.ended = bool(header.get("eof"))
            stream.ready.set()

    def _fail(self, error: Unreachable) -> None:
        if self._failed is None:
            self._failed = error
        for future in self._calls.values():
            if not future.done():
                future.set_exception(error)
        for stream in self._streams.values():
            if not stream.ended:
                stream.error, stream.ended = error, True
            stream.ready.set()
