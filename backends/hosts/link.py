"""An authenticated connection to another machine, however it came about.

Two ways of making one stand beside this module: paramiko's, and the user's own `ssh`. What runs
over a link knows nothing of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import field
from typing import Protocol

from traindeck.backends.data import dataclass
from traindeck.backends.errors import Unreachable

STDERR_KEPT = 4096
"""Bytes of a command's stderr that are kept, the last ones."""

READ_AHEAD = 1 << 18
"""Bytes that a pipe reads ahead of whoever takes them; at twice as much it stops reading."""


THROTTLING = "It may be throttling (MaxStartups)."
"""Why a server may break off before it has said who it is."""


class NeedsPerson(Unreachable):
    """A connection that would fail again: a person has to decide or to mend something."""


class NotLetIn(NeedsPerson):
    """A machine that is the right one, and that this way of connecting is not understood or not let
    in by: another way may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipe:
    """A command that runs on the other side: its stdout and stdin.

    Attributes:
        said: The last of what it wrote to stderr, as text.
        close: Ends it; idempotent, and never waits for the other side.
    """

    reader: asyncio.StreamReader = field(default_factory=asyncio.StreamReader)
    writer: asyncio.StreamWriter | None = None
    said: Callable[[], str] = str
    close: Callable[[], None] = lambda: None


class Link(Protocol):
    """A connection over which commands are run."""

    kind: str
    """`paramiko` or `openssh`."""

    @property
    def alive(self) -> bool:
        """Whether it may still carry something, as far as is known."""
        ...

    async def open(self, command: str) -> Pipe:
        """Have the login shell there run a command line.

        Raises:
            Unreachable: The connection is gone, or was never had.
            BackendError: The server opens no more sessions on it.
        """
        ...

    async def aclose(self) -> None:
        """Close it. Idempotent; never waits long."""
        ...


def last_words(said: str) -> str:
    """The last line with something in it, cut to what fits a sentence."""
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else ""
