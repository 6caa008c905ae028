"""What a backend's own options can be at a place (partitions, accounts), as it was last heard:
offered to whoever types one, by the shell's completion too, which asks nobody.

Kept in a file of a place's own that can be deleted. Nothing is refused by it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from traindeck.console.store.errors import StoreError
from traindeck.console.store.places import Places, make_folder

LONGEST = 200
MOST = 200
"""Values of an option that are kept, and letters of one."""

Offers = Mapping[str, tuple[str, ...]]


def note(places: Places, backend: str, offers: Offers) -> None:
    """Keep what a place said. That it cannot be written down hurts nobody."""
    said = {name: tuple(_plain(values)) for name, values in offers.items()}
    if not said or said == offered(places, backend):
        return
    path = _path(places, backend)
    try:
        make_folder(path.parent)
        fresh = path.with_suffix(f".{os.getpid()}")
        with open(fresh, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump(said, file)
        fresh.replace(path)
    except (OSError, StoreError):
        return


def offered(places: Places, backend: str) -> Offers:
    """What a place said last, by option; empty if it has not been asked."""
    try:
        with _path(places, backend).open("rb") as file:
            said = json.loads(file.read(1 << 20))
    except (OSError, ValueError):
        return {}
    if not isinstance(said, dict):
        return {}
    return {
        name: tuple(_plain(values))
        for name, values in said.items()
        if isinstance(name, str) and isinstance(values, list)
    }


def _plain(values: Iterable[object]) -> list[str]:
    """Those that can be shown and typed."""
    words = [one for one in values if isinstance(one, str) and one.isprintable() and one]
    return [word for word in words if len(word) <= LONGEST][:MOST]


def _path(places: Places, backend: str) -> Path:
    return places.offers / f"{backend.replace('/', '_')}.json"
