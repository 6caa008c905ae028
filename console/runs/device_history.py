"""What a device did in the last two minutes, in a few bytes: a share of busy time and one of memory
for each two seconds. Time for which nobody was asked, or nobody answered, is missing and never 0.
"""

from __future__ import annotations

import math

from traindeck.backends.data import dataclass

SLOT = 2.0
"""Seconds that one sample stands for."""
KEPT = 120.0
"""Seconds that are kept."""
SLOTS = int(KEPT / SLOT)
MISSING = 255
HELD = 3.0
"""Times the time between two reports for which the last one holds: a longer gap was not watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The samples of one device. A new one is made for each report, so that any thread may read it.

    Attributes:
        at: The slot of the newest sample: seconds since the epoch / `SLOT`.
        utilization, memory: Percent, a byte a slot, the newest last; `MISSING` where none is known.
    """

    at: int = 0
    utilization: bytes = b""
    memory: bytes = b""

    def after(
        self, now: float, utilization: float | None, memory: float | None, every: float
    ) -> History:
        """This history with what was said at `now`, where a report is due each `every` seconds."""
        slot = int(now // SLOT)
        passed = slot - self.at
        if passed < 0 or not self.utilization:  # the clock was set back, or it is the first one
            return History(
                at=slot,
                utilization=bytes((_byte(utilization),)),
                memory=bytes((_byte(memory),)),
            )
        watched = passed * SLOT <= max(HELD * every, 2 * SLOT)
        return History(
            at=slot,
            utilization=_more(self.utilization, passed, _byte(utilization), watched),
            memory=_more(self.memory, passed, _byte(memory), watched),
        )

    def shares(self, kind: str, cells: int, now: float | None = None) -> list[float | None]:
        """The last two minutes in so many cells, each the mean of its samples, 0 to 100; None where
        all are missing. What lies before the first sample is left out, so there may be fewer.

        Args:
            kind: "utilization" or "memory".
            now: When the two minutes end; None is with the newest sample.
        """
        samples: bytes = self.utilization if kind == "utilization" else self.memory
        if not samples or cells <= 0:
            return []
        first = self.at - len(samples) + 1
        wide = SLOTS / cells
        last = math.floor((self.at if now is None else max(self.at, int(now // SLOT))) / wide)
        # A cell stands for the same slots from one look to the next: what is drawn does not waver.
        begin = max(last - cells + 1, math.floor(first / wide))
        found: list[float | None] = []
        for cell in range(begin, last + 1):
            low = max(0, math.ceil(cell * wide) - first)
            high = max(low, math.ceil((cell + 1) * wide) - first)
            known = [one for one in samples[low:high] if one != MISSING]
            if known:
                found.append(sum(known) / len(known))
            elif found and low == high:
                found.append(found[-1])  # more cells than samples: two show the same one
            else:
                found.append(None)
        return found


def _more(samples: bytes, passed: int, byte: int, watched: bool) -> bytes:
    if passed == 0:
        return samples[:-1] + bytes((byte,))
    between = min(passed - 1, SLOTS)
    filled = byte if watched else MISSING
    return (samples + bytes((filled,)) * between + bytes((byte,)))[-SLOTS:]


def _byte(percent: float | None) -> int:
    return MISSING if percent is None else round(min(100.0, max(0.0, percent)))
