"""Run ids and the names of runs that were given none.

An id is 12 characters of Crockford's base32 in lower case: 6 of time (seconds since 2025, which
lasts until 2059) and 6 random. Ids sort by their time, and 4 characters of one already tell apart
runs that were started 17 minutes from each other. Ids need not be secret; they must not repeat.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from traindeck.backends.arrays import PREFIX

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 12
SHORTEST = 4
"""Characters of the shortest prefix that names a run."""

_EPOCH = 1_735_689_600  # 2025-01-01T00:00:00Z
_HALF = 30  # bits of time, and bits of chance
_lock = threading.Lock()
_last = 0


def mint_id(now: float | None = None) -> str:
    """A new run id. Ids minted by one process always increase, even within a second or when the
    clock is set back."""
    global _last
    seconds = int((time.time() if now is None else now) - _EPOCH) % (1 << _HALF)
    value = (seconds << _HALF) | (int.from_bytes(os.urandom(4), "big") >> 2)
    with _lock:
        if now is None:
            if value <= _last:
                value = _last + 1 + os.urandom(1)[0]
            _last = value
    return "".join(ALPHABET[(value >> shift) & 31] for shift in range(55, -1, -5))


def mint_array(taken: Callable[[str], bool]) -> str:
    """The letters that the ids of an array's runs begin with (backends/arrays.py). They leave less
    to chance than an id, so that it is looked whether there are such runs.

    Args:
        taken: Whether an id begins so.
    """
    while taken(letters := mint_id()[:PREFIX]):
        pass
    return letters


def is_id(text: str) -> bool:
    """Whether `text` has the form of a full run id. Paths are built only from such text."""
    return len(text) == LENGTH and all(char in ALPHABET for char in text)


def minted_at(run_id: str) -> float:
    """When an id was minted, to the second, in seconds since the epoch."""
    value = 0
    for char in run_id:
        value = value * 32 + ALPHABET.index(char)
    return float((value >> _HALF) + _EPOCH)


def shared_length(left: str, right: str) -> int:
    """How many characters two texts begin with in common."""
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    return count


def mint_name(taken: Callable[[str], bool]) -> str:
    """A short name that can be said aloud, such as `quiet-heron`.

    Args:
        taken: Whether a run has that name already.
    """
    from traindeck.console.store.words import ADJECTIVES, NOUNS

    name = ""
    for _ in range(20):
        chance = int.from_bytes(os.urandom(4), "big")
        first, rest = chance % len(ADJECTIVES), chance // len(ADJECTIVES)
        name = f"{ADJECTIVES[first]}-{NOUNS[rest % len(NOUNS)]}"
        if not taken(name):
            return name
    number = 2
    while taken(f"{name}-{number}"):
        number += 1
    return f"{name}-{number}"
