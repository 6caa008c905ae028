"""What a workspace tells while the screens are open, a line at a time, from any thread."""

from __future__ import annotations

import threading
from collections import deque


class Told:
    """Lines to be said, each once: by whoever takes it, or else at the end."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._waiting: deque[str] = deque()
        self._unsaid: list[str] = []
        self._lock = threading.Lock()

    def tell(self, line: str) -> None:
        """Have a line said, if it was not told before."""
        with self._lock:
            if line not in self._known:
                self._known.add(line)
                self._waiting.append(line)

    def take(self) -> str | None:
        """The next line that nobody has said."""
        return self._waiting.popleft() if self._waiting else None

    def leave(self, line: str) -> None:
        """There was no room to say all of a line that was taken: it is said at the end too."""
        self._unsaid.append(line)

    def rest(self) -> list[str]:
        """What is left to be said at the end."""
        return [*self._unsaid, *self._waiting]
