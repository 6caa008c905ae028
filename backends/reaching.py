"""Hosts: where argv can be run and bytes moved, and how it stands with the way there.

Part of the contract; base.py hands all of it on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from traindeck.backends.data import dataclass
from traindeck.backends.spec import DeviceCount
from traindeck.backends.states import Reach

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """How it stands with the way to a place, without asking it.

    Attributes:
        state: `stale` while one that was lost is being made again, `down` once that has failed.
        since: When it became so; 0 if that is not known.
        next_try: When the place itself tries again. Whoever asks before that is refused at once.
            None if nothing is tried until somebody asks.
        why: What went wrong, in a sentence; "" if nothing did.
        person: Only a person can mend it (a password, a key that is not known), and nothing is
            tried before `try_now`.
    """

    state: Reach = Reach.OK
    since: float = 0.0
    next_try: float | None = None
    why: str = ""
    person: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalSize:
    """How large a terminal is, in cells."""

    columns: int = 80
    rows: int = 24


Connection: TypeAlias = "tuple[StreamReader, StreamWriter]"
"""Both directions of a byte stream. Closing the writer ends it."""


class Terminal(Protocol):
    """A program on a host, and a person or a pipe in front of it. Used from one event loop."""

    async def read(self) -> tuple[int, bytes]:
        """What the program wrote next: (1, bytes) of its stdout, which is all there is of a
        terminal, (2, bytes) of its stderr; (0, b"") at the end of both, and once the connection
        broke. One reader at a time. Output that nobody reads holds the program up."""
        ...

    async def write(self, data: bytes) -> None:
        """Give it input; returns when there is room for more. To a program that is gone it is
        nothing."""
        ...

    async def write_eof(self) -> None:
        """End its stdin. Of a terminal, nothing: there ctrl+d is input."""
        ...

    async def resize(self, size: TerminalSize) -> None:
        """Say that the person's terminal has this size now. Never raises."""
        ...

    async def wait(self) -> Done:
        """How it ended: `EXITED`, `SIGNALLED`, or `CUT` if the connection broke. Comes after the
        end of `read`."""
        ...

    async def aclose(self) -> None:
        """Hang up, as closing the window would. Idempotent."""
        ...


class Outcome(StrEnum):
    """How a command on a host ended."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    CUT = "cut"
    """The connection broke; the command's fate is not known."""
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished command. `code` is the exit code or signal number, by `outcome`."""

    outcome: Outcome = Outcome.EXITED
    code: int = 0
    out: bytes = b""
    err: bytes = b""


class AgentChannel(Protocol):
    """A connection to the agent on a host: many requests at once over one pipe."""

    async def call(
        self,
        verb: str,
        params: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        """One request, one reply: (JSON object, bytes). `timeout` in seconds; None is the
        channel's own.

        Raises:
            Unreachable: The agent went away before it answered.
            AgentRefused: It said no; the message says why.
        """
        ...

    def stream(
        self, verb: str, params: Mapping[str, Any] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[dict[str, Any], bytes]]]:
        """One request, many replies. Leaving the context ends it on the other side too."""
        ...


class Host(Protocol):
    """Where argv can be run and bytes moved. Backends are written on this and never ask whether
    the other side is near or far."""

    name: str
    here: bool
    """Whether it is this machine: its files are those of this program, and what it starts inherits
    this program's environment."""

    @property
    def link(self) -> LinkState:
        """How it stands with the way there. Asks nobody. What is asked of a host that is out of
        reach fails at once while it waits for its next try: callers come back, it backs off."""
        ...

    def try_now(self) -> None:
        """See `Linked.try_now`."""
        ...

    @property
    def remarks(self) -> tuple[tuple[bool, str], ...]:
        """How it was reached, and what was odd about it: lines for `Health.checks`. Asks nobody."""
        ...

    async def terminal(self, argv: Sequence[str], *, size: TerminalSize | None = None) -> Terminal:
        """Start an argv with a terminal of this size, of the kind that this program's is (`TERM`);
        without a size with three pipes. Over a network it has a channel of its own.

        Raises:
            Unreachable: The host does not answer.
            BackendError: The host gives no terminal (no free channel, no pty), or the program
                cannot be started.
        """
        ...

    async def connect(self, port: int | str, *, address: str = "localhost") -> Connection:
        """Connect, from the host, to a TCP port of an address, or to a Unix socket if `port` is a
        path.

        Raises:
            Unreachable: The host does not answer.
            BackendError: Nobody listens there, or the host does not forward.
        """
        ...

    async def agent(self) -> AgentChannel:
        """The channel to the agent, installed and started if need be. Cheap when it is there."""
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class HostDevices(Protocol):
    """A host that can list its accelerators itself."""

    async def devices(self) -> DeviceCount: ...
