"""TCP connections from this machine, for somebody who cannot make them: a stream of `serve` brings
what arrives, `give` sends what the other end is to have."""

import errno
import os
import select
import socket

from . import Refused, wire

MOST = 256
"""Connections at a time."""
WITHIN = 5.0
"""Seconds for an address to answer."""
PIECE = 1 << 16
LITTLE, PAUSE = 1 << 14, 0.002
"""Bytes below which it is waited a moment (seconds) whether more comes: on the way through srun a
second little message waits for the first to be acknowledged, 40 ms mostly."""
MOST_LEFT = 4 << 20
"""Bytes that wait for one connection to take them."""
LONG = 3600.0
"""Seconds until a connection is looked at of which nothing is heard."""

OPEN = {}
"""Those that are open, by the names that whoever asked gave them."""


class Link:
    """One connection. Its first answer, without bytes, says that it is made; its last, with `eof`,
    that the other end sends no more."""

    def __init__(self, request):
        self.name = wire.field(request, "link", str, required=True)
        address = wire.field(request, "address", str, "localhost")
        port = wire.field(request, "port", int, required=True)
        if not 0 < port < 65536:
            raise Refused("%d is no port." % port)
        if self.name in OPEN:
            raise Refused("A connection has that name already.")
        if len(OPEN) >= MOST:
            raise Refused("%d connections are open: no more are made." % len(OPEN))
        self._where = "Port %d of %.100s" % (port, address)
        try:
            self._left = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[:4]
        except (OSError, UnicodeError) as error:
            raise Refused("%.100s cannot be found: %s." % (address, error)) from None
        self.credit = wire.field(request, "credit", int, 0)
        self.due = 0.0
        self.done = False
        self.made = False
        self.socket = None
        self.left = bytearray()
        self.last = False
        self._got = bytearray()
        self._ended = False
        self._send_at = None
        self._why = "no address"
        self._until = 0.0
        OPEN[self.name] = self

    def waits(self):
        """(descriptor, events) that it goes on at; (None, 0) if it is not a descriptor."""
        if self.socket is None:
            return None, 0
        if not self.made:
            return self.socket.fileno(), select.POLLOUT
        wanted = select.POLLIN if self._room() > 0 and not self._ended else 0
        wanted |= select.POLLOUT if self.left else 0
        return (self.socket.fileno() if wanted else None), wanted

    def _room(self):
        return min(PIECE, self.credit) - len(self._got)

    def step(self, now):
        """(answer, bytes) or None. After an answer with `eof`, `done` is set."""
        if now < self.due:
            return None
        if not self.made:
            return self._connect(now)
        self.flush()
        while self._room() > 0 and not self._ended:
            try:
                data = self.socket.recv(self._room())
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""  # a reset says no more than an end
            self._got += data
            self._ended = not data
        self.due = now + LONG
        if not self._got and not self._ended:
            return None
        if len(self._got) < LITTLE and not self._ended:
            if self._send_at is None:
                self._send_at = now + PAUSE
            if now < self._send_at:
                self.due = self._send_at
                return None
        self._send_at = None
        self.due = 0.0
        self.credit -= len(self._got)
        data, self._got = bytes(self._got), bytearray()
        self.done = self._ended
        return ({"eof": True} if self._ended else {}), data

    def flush(self):
        """Send what the connection takes of what it is to have."""
        try:
            while self.left:
                del self.left[: self.socket.send(self.left[:PIECE])]
            if self.last and not self.left:
                self.last = False
                self.socket.shutdown(socket.SHUT_WR)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.left.clear()  # what comes from there says that it is over
            self.last = False

    def _connect(self, now):
        """Try one address after the other, waiting for none."""
        while True:
            if self.socket is None:
                if not self._left:
                    raise Refused("%s cannot be reached: %s." % (self._where, self._why))
                family, kind, _, _, where = self._left.pop(0)
                try:
                    self.socket = socket.socket(family, kind)
                    self.socket.setblocking(False)
                    code = self.socket.connect_ex(where)
                except OSError as error:
                    code = error.errno or errno.EINVAL
                self._until = now + WITHIN
            else:
                code = errno.EINPROGRESS if now < self._until else errno.ETIMEDOUT
                if select.select([], [self.socket], [], 0)[1]:
                    code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                self.made = True
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return {"made": True}, b""
            if code == errno.EINPROGRESS:
                self.due = self._until
                return None
            self._why = os.strerror(code).lower()
            self._drop()

    def _drop(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def close(self):
        """End it, both ways."""
        OPEN.pop(self.name, None)
        self._drop()


def give(request, body):
    """The verb: send bytes into a connection, then, with `eof`, that there are no more. With
    `quiet` it is not answered, else when all has been taken. A generator."""
    link = OPEN.get(wire.field(request, "link", str, required=True))
    if link is None or not link.made or link.socket is None:
        raise Refused("That connection is over.")
    if len(link.left) + len(body) > MOST_LEFT:
        raise Refused("More was given than is taken there.")
    link.left += body
    link.last = link.last or wire.field(request, "eof", bool, False)
    link.flush()
    if wire.field(request, "quiet", bool, False):
        return None
    return _taken(link)


def _taken(link):
    while link.left:
        yield None, 0.005
    return {}
