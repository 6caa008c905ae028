"""A folder of a file server that does not answer."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

DEAD = "/mnt/dead"


@contextmanager
def dead_mount() -> Iterator[None]:
    """Who lists what is in `DEAD` waits until this is over."""
    over, scan = threading.Event(), os.scandir

    def hangs(where: Any) -> Any:
        if str(where).startswith(DEAD):
            over.wait(30)
        return scan(where)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", hangs)
        try:
            yield
        finally:
            over.set()
