"""What the screens remember from one start to the next: cursor, order, columns, folded groups.

A convenience, never the truth: a file that is missing, damaged or from another version is as good
as none, and one that cannot be written is not mentioned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from traindeck.backends import files

_FORMAT = 1
_MAX_BYTES = 200_000


class UiState:
    """A small mapping of screen -> values, loaded at the start and saved at the end."""

    def __init__(self, path: Path | None, data: Mapping[Any, Any] | None = None) -> None:
        self._path = path
        self._data: dict[str, dict[str, Any]] = {}
        self._saved: str | None = None
        for screen, values in (data or {}).items():
            if isinstance(screen, str) and isinstance(values, dict):
                self._data[screen] = values

    @classmethod
    def load(cls, path: Path | None) -> UiState:
        """What was saved, or nothing."""
        if path is None:
            return cls(None)
        try:
            with path.open("rb") as file:
                raw = json.loads(file.read(_MAX_BYTES))
        except (OSError, ValueError, RecursionError):
            return cls(path)
        if not isinstance(raw, dict) or raw.get("format") != _FORMAT:
            return cls(path)
        screens = raw.get("screens")
        return cls(path, screens if isinstance(screens, dict) else None)

    def get(self, screen: str, name: str, kind: type, default: Any) -> Any:
        """A remembered value, if it is of this kind."""
        value = self._data.get(screen, {}).get(name, default)
        return value if isinstance(value, kind) else default

    def strings(self, screen: str, name: str) -> list[str] | None:
        """A remembered list of texts, None if there is none."""
        value = self._data.get(screen, {}).get(name)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        return None

    def put(self, screen: str, **values: Any) -> None:
        """Remember values of a screen."""
        self._data.setdefault(screen, {}).update(values)

    def save(self) -> None:
        """Write it down, 0600, as a whole."""
        if self._path is None:
            return
        text = json.dumps({"format": _FORMAT, "screens": self._data})
        if text == self._saved or len(text) > _MAX_BYTES:
            return
        try:
            files.replace(self._path, text.encode(), sync=False)
            self._saved = text
        except OSError:
            return
