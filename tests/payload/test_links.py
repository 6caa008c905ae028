"""Connections that the agent makes for somebody who cannot: in order, whole, and bounded."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from tests.payload.harness import Agent, Refusal, Served, until


@pytest.fixture
def served(agent: Agent) -> Iterator[Served]:
    link = Served(agent)
    yield link
    link.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(30)
        yield made


def open_to(served: Served, server: socket.socket, credit: int = 1 << 30) -> socket.socket:
    """A connection called `a` from the agent; returns the server's end."""
    port = server.getsockname()[1]
    served.ask("link", {"link": "a", "address": "127.0.0.1", "port": port, "credit": credit})
    assert served.receive()[0]["made"]
    made, _ = server.accept()
    made.settimeout(30)
    return made


def test_what_is_given_arrives_and_what_is_answered_comes_back(
    served: Served, server: socket.socket
) -> None:
    far = open_to(served, server)
    data = os.urandom(200_000)
    for at in range(0, len(data), 7_000):  # nobody answers these, and none overtakes another
        words = {"link": "a", "quiet": True, "eof": at + 7_000 >= len(data)}
        served.ask("give", words, data[at : at + 7_000])
    got = b""
    while piece := far.recv(1 << 16):
        got += piece
    assert got == data
    far.sendall(b"ab")
    far.sendall(b"cd")
    far.close()
    # Both of the little messages, and the end, are one.
    answer, body = served.receive()
    assert (answer.get("eof"), body) == (True, b"abcd")
    with pytest.raises(Refusal, match="is over"):
        served.call("give", {"link": "a"}, b"x")


def test_whoever_takes_nothing_holds_only_its_own_connection_up(
    served: Served, server: socket.socket
) -> None:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    far = open_to(served, server)
    given = served.ask("give", {"link": "a"}, bytes(4_000_000))
    served.call("ping", {})
    with pytest.raises(Refusal, match="More was given than is taken"):
        served.call("give", {"link": "a"}, bytes(4_000_000))
    taken = 0
    while taken < 4_000_000:
        taken += len(far.recv(1 << 20))
    assert served.receive()[0]["id"] == given


def test_no_more_comes_than_there_is_credit_for(served: Served, server: socket.socket) -> None:
    far = open_to(served, server, credit=1000)
    far.sendall(bytes(5000))
    number = served.number
    assert len(served.receive()[1]) == 1000
    served.call("ping", {})
    served.send({"id": number, "credit": 3000})
    assert len(served.receive()[1]) == 3000


def test_what_cannot_be_reached_is_said_in_words(served: Served, server: socket.socket) -> None:
    port = server.getsockname()[1]
    server.close()
    for words, why in (
        ({"link": "a", "port": port}, f"Port {port} of localhost cannot be reached: connection"),
        ({"link": "a", "port": 0}, "0 is no port"),
        ({"link": "a", "port": port, "address": "no..such"}, "cannot be found"),
        ({"port": port}, "lacks link"),
    ):
        served.ask("link", {**words, "credit": 1})
        assert why in served.receive()[0]["error"]


def test_a_connection_goes_with_its_stream_and_with_the_agent(
    served: Served, server: socket.socket
) -> None:
    far = open_to(served, server)
    served.send({"id": served.number, "close": True})
    assert far.recv(1) == b""
    far = open_to(served, server)
    gone: list[bytes] = []
    threading.Thread(target=lambda: gone.append(far.recv(1)), daemon=True).start()
    served.close()
    until(lambda: gone == [b""], "the connection to end")
