"""The bad network that other tests rely on does what it says, to the byte."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.services.proxy import Proxy


class Echo:
    """A server that sends back what it gets."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):  # closed before
            self.listener.shutdown(socket.SHUT_RDWR)  # else the thread in `accept` takes one more
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=[connection], daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        try:
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)
        except OSError:
            pass


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=30)


def read_all(connection: socket.socket) -> bytes:
    """Until the end, however it comes."""
    got = b""
    try:
        while data := connection.recv(65536):
            got += data
    except ConnectionResetError:
        pass
    return got


def exchange(connection: socket.socket, data: bytes) -> bytes:
    sender = threading.Thread(target=connection.sendall, args=[data])
    sender.start()
    got = b""
    while len(got) < len(data) and (more := connection.recv(65536)):
        got += more
    sender.join()
    return got


def test_bytes_pass_unchanged_and_are_counted(echo: Echo) -> None:
    data = bytes(range(256)) * 40_000
    with Proxy(echo.port) as proxy, connect(proxy) as connection:
        assert exchange(connection, data) == data
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
        counts = proxy.counts()
        assert (counts.up, counts.down, counts.connections) == (len(data), len(data), 1)


def test_every_byte_takes_the_delay_each_way(echo: Echo) -> None:
    with Proxy(echo.port, delay=0.04) as proxy, connect(proxy) as connection:
        took = []
        for _ in range(5):
            began = time.monotonic()
            assert exchange(connection, b"x") == b"x"
            took.append(time.monotonic() - began)
        assert min(took) >= 0.08


def test_no_more_than_the_rate_passes(echo: Echo) -> None:
    with Proxy(echo.port, rate=1_000_000) as proxy, connect(proxy) as connection:
        began = time.monotonic()
        exchange(connection, bytes(200_000))
        assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("count", [0, 1, 1000, 70_001, 1_000_003])
def test_a_cut_comes_after_exactly_so_many_bytes(echo: Echo, direction: str, count: int) -> None:
    with Proxy(echo.port) as proxy:
        proxy.cut_after(count, direction)
        with connect(proxy) as connection:

            def send() -> None:
                try:
                    connection.sendall(bytes(4_000_000))
                except OSError:
                    pass

            sender = threading.Thread(target=send)
            sender.start()
            got = read_all(connection)
            sender.join()
        counts = proxy.counts()
        assert counts.cuts == 1
        if direction == "down":
            assert len(got) == counts.down == count
        else:
            assert counts.up == count
        with connect(proxy) as connection:  # only once
            assert exchange(connection, b"again") == b"again"


def test_a_stalled_link_says_nothing_and_loses_nothing(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connect(proxy) as old:
        assert exchange(old, b"1") == b"1"
        proxy.stall()
        old.sendall(b"2")
        with connect(proxy) as new:
            new.sendall(b"3")
            for connection in (old, new):
                connection.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                connection.settimeout(30)
            proxy.heal()
            assert old.recv(1) == b"2" and new.recv(1) == b"3"


def test_connections_are_dropped_and_refused_and_taken_again(echo: Echo) -> None:
    with Proxy(echo.port) as proxy:
        with connect(proxy) as connection:
            assert exchange(connection, b"x") == b"x"
            proxy.drop()
            assert read_all(connection) == b""
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        proxy.heal()
        with connect(proxy) as connection:
            assert exchange(connection, b"x") == b"x"


def test_garbage_comes_instead_of_an_answer(echo: Echo) -> None:
    with Proxy(echo.port) as proxy:
        proxy.garbage(100_000, first=b"SSH-2.0-x\r\n")
        with connect(proxy) as connection:
            connection.sendall(b"hello")
            connection.shutdown(socket.SHUT_WR)
            got = read_all(connection)
        assert got.startswith(b"SSH-2.0-x\r\n") and len(got) == 100_000 + 11
        assert proxy.counts().up == 0


def test_a_server_that_is_down_looks_so_through_the_proxy(echo: Echo) -> None:
    echo.close()
    with Proxy(echo.port) as proxy, connect(proxy) as connection:
        assert read_all(connection) == b""
