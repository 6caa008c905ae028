"""Whether what is done in the background is worth a word."""

from __future__ import annotations

import time

LASTING = 0.4
"""Seconds after which it is worth saying that something is still being read or counted."""


class Lag:
    """How long work in the background has not reached what there was to do when it was last even
    with it. A log that grows without end is never read to its end, and yet nothing is behind as
    long as what there was a moment ago is done."""

    def __init__(self) -> None:
        self._goal = 0
        self._since = 0.0
        self.even = False
        """Whether it was even once."""

    def lasts(self, done: int, size: int) -> bool:
        """Whether it has been behind for so long that it is worth saying."""
        now = time.monotonic()
        if done >= min(self._goal, size):
            self.even = self.even or self._goal > 0 or done >= size > 0
            self._goal, self._since = size, now
        return done < size and now - self._since >= LASTING
