"""Questions that only a person can answer while a connection is made: is this the right machine,
and what is the password.

Who can ask sets itself here at the start: the screen, or a command that has a terminal. Where
nobody can, an unknown machine is refused and no password is tried.
"""

from __future__ import annotations

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
    """Somebody who can ask. May be called from any thread; blocks until there is an answer."""

    def trusts(self, stranger: Stranger) -> bool:
        """Whether to go on and note the key. Asked once for a connection."""
        ...

    def secret(self, host: str, prompt: str) -> str | None:
        """A password, passphrase or one-time code; None if there is none. Never kept."""
        ...


class Nobody:
    """Trusts no stranger and knows no secret."""

    def trusts(self, stranger: Stranger) -> bool:
        return False

    def secret(self, host: str, prompt: str) -> str | None:
        return None


class _Present:
    asker: Asker = Nobody()


def set_asker(asker: Asker) -> None:
    """From now on this one is asked."""
    _Present.asker = asker


def asker() -> Asker:
    """Whom to ask."""
    return _Present.asker
