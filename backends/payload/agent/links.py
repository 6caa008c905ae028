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
NEVER = 1e18

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
        self._why = "no address"
        self._until = 0.0
        OPEN[self.name] = self

    def waits(self):
        """(descriptor, events) that it goes on at; (None, 0) if it is not a descriptor."""
        if self.socket is None or (self.made and self.credit <= 0):
            return None, 0
        return self.socket.fileno(), select.POLLIN if self.made else select.POLLOUT

    def step(self, now):
        """(answer, bytes) or None. After an answer with `eof`, `done` is set."""
        if now < self.due:
            return None
        if not self.made:
            return self._connect(now)
        self.due = NEVER
        if self.credit <= 0:
            return None
        try:
            data = self.socket.recv(min(PIECE, self.credit))
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            data = b""  # a reset says no more than an end
        self.due = 0.0
        self.credit -= len(data)
        if data:
            return {}, data
        self.done = True
        return {"eof": True}, b""

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
    """The verb: send bytes into a connection, then, with `eof`, that there are no more. Answers
    when they are taken. A generator."""
    name = wire.field(request, "link", str, required=True)
    left = memoryview(body)
    while True:
        link = OPEN.get(name)
        if link is None or not link.made or link.socket is None:
            raise Refused("That connection is over.")
        try:
            if left:
                left = left[link.socket.send(left) :]
            if not left:
                if wire.field(request, "eof", bool, False):
                    link.socket.shutdown(socket.SHUT_WR)
                return {}
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            raise Refused("That connection is over: %s." % (error.strerror or error)) from None
        yield None, 0.005
