"""What a channel of paramiko's received, until the event loop takes it."""

from __future__ import annotations

import os
import select

import paramiko.pipe

from traindeck.backends.hosts.paramiko_link import _Arrived


def test_what_arrived_is_taken_in_its_order_and_no_more_than_was_asked_for() -> None:
    arrived = _Arrived()
    for piece in (b"ab", b"cde", b"f"):
        arrived.feed(piece)
    assert len(arrived) == 6
    assert [arrived.read(4), arrived.read(0), arrived.read(1), arrived.read(9)] == [
        b"abcd", b"", b"e", b"f",
    ]  # fmt: skip
    assert arrived.read(1) == b""
    assert len(arrived) == 0


def test_whoever_waits_is_woken_by_what_comes_and_by_the_end() -> None:
    pipe = paramiko.pipe.make_pipe()

    def woken() -> bool:
        return bool(select.select([pipe.fileno()], [], [], 0)[0])

    arrived = _Arrived()
    arrived.feed(b"early")
    arrived.set_event(pipe)
    assert woken() and arrived.read_ready()
    arrived.read(2)
    assert woken()
    arrived.read(9)
    assert not woken() and not arrived.read_ready()
    arrived.feed(b"x")
    assert woken()
    arrived.close()
    assert arrived.read(9) == b"x"
    assert woken() and not arrived.read_ready()
    pipe.close()


def test_one_that_is_told_of_after_the_end_wakes_too() -> None:
    pipe = paramiko.pipe.make_pipe()
    arrived = _Arrived()
    arrived.close()
    arrived.set_event(pipe)
    assert os.read(pipe.fileno(), 1)
    pipe.close()
