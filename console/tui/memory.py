"""Garbage is collected while nobody types.

A collection of everything stops all threads, and among the records of ten thousand jobs it takes a
fifth of a second. Those of what is young are short, and go on as ever.
"""

from __future__ import annotations

import gc

EVERY = 5.0
"""Seconds between two looks at whether it is the moment."""
QUIET = 2.0
"""Seconds without a key after which none is expected just now."""
_NEVER = 1 << 30


def begin() -> None:
    """From now on everything is collected by `collect` alone. What is there by now stays for as
    long as the program, and is looked at no more."""
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _NEVER)


def collect(idle: float) -> None:
    """Collect everything, if no key was pressed for a while.

    Args:
        idle: Seconds since the last key.
    """
    if idle > QUIET:
        gc.collect()
