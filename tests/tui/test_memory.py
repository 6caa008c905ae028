"""Garbage is collected while nobody types."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from traindeck.console.tui import memory


class Ring:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    memory.begin()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_rings_are_collected_while_no_key_is_pressed_and_not_before(collector: None) -> None:
    ring = Ring()
    gc.collect()  # it is old now
    gone = weakref.ref(ring)
    del ring
    kept = [[number] for number in range(300_000)]  # which would collect all that is old
    memory.collect(idle=0.5)
    assert gone() is not None and kept
    memory.collect(idle=10.0)
    assert gone() is None
