"""The words of an OpenSSH configuration: homes, tokens, lists of paths, hosts on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from traindeck.backends.data import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    name: str = ""
    home: str = ""


def account() -> Account:
    import pwd

    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:  # a container with a uid that nobody knows
        return Account(name=os.environ.get("USER", ""), home=os.path.expanduser("~"))
    return Account(name=entry.pw_name, home=entry.pw_dir)


def expand_home(path: str, home: str | None = None) -> str:
    """`~` is the home of the account, as for OpenSSH, unless another is given."""
    if path == "~" or path.startswith("~/"):
        return (home or account().home) + path[1:]
    return os.path.expanduser(path)


def paths(value: str) -> list[str]:
    """The paths of a list. OpenSSH prints those with spaces as it prints lists of them, so what
    begins like no path belongs to the one before."""
    found: list[str] = []
    for word in value.split(" "):
        if found and not word.startswith(("/", "~")):
            found[-1] += f" {word}"
        elif word:
            found.append(word.strip('"'))
    return found


def hop(text: str) -> tuple[str, str, str]:
    """User, host and port of a word of ProxyJump: `[user@]host[:port]` or `ssh://…`."""
    user, _, place = text.strip().removeprefix("ssh://").rstrip("/").rpartition("@")
    if found := re.fullmatch(r"\[([^]]+)\](?::(\d+))?", place):
        return user, found[1], found[2] or ""
    host, colon, port = place.rpartition(":")
    if colon and port.isdecimal() and ":" not in host:
        return user, host, port
    return user, place, ""


def bare(alias: str) -> str:
    """The name of the host in what `ssh` is given: a name, `user@name`, `ssh://…`."""
    return hop(alias)[1] if alias.startswith("ssh://") else alias.rpartition("@")[2]


def expand(text: str, token: Callable[[str], str | None], environ: Mapping[str, str]) -> str:
    """Expand `~`, `%x` and `${NAME}`, in the order of OpenSSH.

    Args:
        token: The value of a letter; None if it has no meaning there.

    Raises:
        LookupError: With the word that has no value.
    """

    def value(found: re.Match[str]) -> str:
        known = environ.get(found[2]) if found[2] else token(found[1])
        if known is None:
            raise LookupError(found[0])
        return known

    return re.sub(r"%(.)|\$\{(\w+)\}", value, expand_home(text))
