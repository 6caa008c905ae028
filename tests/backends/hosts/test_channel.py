"""The client's end of `agent serve`: how much of a stream it lets be on its way."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
from types import SimpleNamespace

import pytest

from traindeck.backends.hosts import channel
from traindeck.backends.hosts.channel import CREDIT, MOST_CREDIT, Channel

MIB = 1 << 20


class Agent:
    """An agent behind a link, as far as a stream's credit goes; it is also the writer to it."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader(limit=MOST_CREDIT)
        self.asked: list[dict[str, int]] = []

    def write(self, data: bytes) -> None:
        size, _ = struct.unpack(">II", data[:8])
        self.asked.append(json.loads(data[8 : 8 + size]))

    async def drain(self) -> None:
        """All is taken at once."""

    def close(self) -> None:
        """There is nothing to close."""

    async def wait_closed(self) -> None:
        """It is."""

    def send(self, size: int) -> None:
        head = json.dumps({"id": self.asked[0]["id"]}).encode()
        self.reader.feed_data(struct.pack(">II", len(head), size) + head + bytes(size))


@pytest.mark.parametrize(
    ("rate", "round_trip", "expected"),
    [
        (300e6, 0.0016, MOST_CREDIT),  # loopback: what takes its time are the processes
        (110e6, 0.08, MOST_CREDIT),  # far, but quick: the credit would bound
        (110e6, 0.001, 8 * MIB),  # the network of a laboratory
        (10e6, 0.01, CREDIT),  # a slow link is kept short: what is asked next waits behind it
        (1e6, 0.08, CREDIT),
    ],
)
async def test_the_credit_of_a_stream_grows_where_it_is_the_credit_that_bounds(
    monkeypatch: pytest.MonkeyPatch, rate: float, round_trip: float, expected: int
) -> None:
    now = 100.0
    monkeypatch.setattr(channel, "time", SimpleNamespace(monotonic=lambda: now))
    agent = Agent()
    link = Channel(agent.reader, agent, None)  # type: ignore[arg-type]
    link.round_trip = round_trip
    try:
        async with link.stream("follow") as answers:
            credit = 0
            taking = asyncio.ensure_future(anext(answers))
            await asyncio.sleep(0)
            for _ in range(10):
                credit += agent.asked[-1]["credit"]
                half = credit // 2
                now += max(half / rate, round_trip / 2)
                agent.send(half)
                await taking
                credit -= half
                taking = asyncio.ensure_future(anext(answers))
                await asyncio.sleep(0)
            taking.cancel()
        assert credit + agent.asked[-2]["credit"] == expected
    finally:
        await link.aclose()


async def test_credit_is_given_once_half_of_it_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(channel, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    agent = Agent()
    link = Channel(agent.reader, agent, None)  # type: ignore[arg-type]
    try:
        async with link.stream("follow") as answers:
            agent.send(CREDIT // 2 - 1)
            assert len((await anext(answers))[1]) == CREDIT // 2 - 1
            assert len(agent.asked) == 1
            agent.send(1)
            await anext(answers)
            assert agent.asked[1] == {"id": agent.asked[0]["id"], "credit": CREDIT // 2}
    finally:
        await link.aclose()
