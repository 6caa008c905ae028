"""Questions that only a person can answer while a connection is made: is this the right machine,
and what is the password.

Who can ask sets itself here at the start: the screen, or a command that has a terminal. Where
nobody can, an unknown machine is refused and no password is tried.

A program that also asks places by itself, over and over, does that `unattended`: a question that
nobody waits for the answer of would only be in the way of whatever the person does just then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from traindeck.backends.data import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """A machine whose key is not known.

    Attributes:
        host: What the user calls it.
        address: Where it answers.
        key_type: As in known_hosts, e.g. `ssh-ed25519`.
        fingerprint: `SHA256:…`, as `ssh-keygen -l` prints it.
        file: Where the key will be noted.
    """

    host: str = ""
    address: str = ""
    key_type: str = ""
    fingerprint: str = ""
    file: str = ""


class Asker(Protocol):
    """Somebody who can ask. May be called from any thread; blocks until there is an answer.

    Attributes:
        again: What a person does in this program to be asked again, in a sentence.
    """

    again: str

    def trusts(self, stranger: Stranger) -> bool:
        """Whether to go on and note the key. Asked once for a connection."""
        ...

    def secret(self, host: str, prompt: str) -> str | None:
        """A password, passphrase or one-time code; None if there is none. Never kept."""
        ...

    def notice(self, host: str, text: str) -> None:
        """Say what a person has to do meanwhile, which nothing is typed for: touch a key. Does not
        wait."""
        ...


class Nobody:
    """Trusts no stranger and knows no secret."""

    again = "Start it again where somebody can be asked."

    def trusts(self, stranger: Stranger) -> bool:
        return False

    def secret(self, host: str, prompt: str) -> str | None:
        return None

    def notice(self, host: str, text: str) -> None:
        return None


class _Present:
    asker: Asker = Nobody()


_attended: ContextVar[bool] = ContextVar("attended", default=True)


def set_asker(asker: Asker) -> None:
    """From now on this one is asked."""
    _Present.asker = asker


def asker() -> Asker:
    """Whom to ask. On a thread of one's own only in the context of who wants to know."""
    return _Present.asker if _attended.get() else Nobody()


def how_to_connect() -> str:
    """How a person has a place tried again that only they can connect to, in the program that this
    is: a connection that another one makes is of no use to it."""
    return _Present.asker.again


def is_attended() -> bool:
    """Whether a person waits for what is being done."""
    return _attended.get()


@contextmanager
def attended() -> Iterator[None]:
    """What is done within, a person has just asked for."""
    token = _attended.set(True)
    try:
        yield
    finally:
        _attended.reset(token)


@contextmanager
def unattended() -> Iterator[None]:
    """What is done within, nobody has asked for just now: no questions."""
    token = _attended.set(False)
    try:
        yield
    finally:
        _attended.reset(token)
