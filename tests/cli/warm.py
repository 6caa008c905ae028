"""Commands without their first tenth of a second: a process that has imported what all of them
import, and forks for each. What runs is a process of its own with its own directory, environment
and pipes, as a shell starts one; only Python's start and its imports are not done again.

As a program it is that process: it takes requests from the socket whose number it is given.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_AT_START = ("PYTHON", "LANG", "LC_", "LD_", "TZ")
"""How names of variables begin that say something to Python while it starts."""
_LARGEST = 60_000
"""Bytes of a request. What is larger is a matter of what `exec` takes."""
_ALL_FOR_REAL = bool(os.environ.get("SOAK"))


def _said_at_start(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(_AT_START)}


class Warm:
    """Runs commands in forks of a process that it starts with the first."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._start: dict[str, str] = {}
        self._known: set[str] = set()

    def run(
        self, args: Sequence[str], cwd: Path, environ: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str] | None:
        """What a command did; None where it has to be started for real: the first time each, so
        that what it imports is imported in its own order, where its environment has something to
        say to Python itself, and always where SOAK is set."""
        request = json.dumps([args, str(cwd), dict(environ)]).encode()
        if not args or args[0] not in self._known or len(request) > _LARGEST or _ALL_FOR_REAL:
            self._known.update(args[:1])
            return None
        if self._socket is None:
            self._begin(environ)
        if _said_at_start(environ) != self._start:
            return None
        assert self._socket is not None
        null, (out, out_end), (err, err_end) = os.open(os.devnull, os.O_RDWR), os.pipe(), os.pipe()
        try:
            self._socket.sendall(len(request).to_bytes(4, "big"))
            socket.send_fds(self._socket, [request[:1]], [null, out_end, err_end])
            self._socket.sendall(request[1:])
        finally:
            for number in (null, out_end, err_end):
                os.close(number)
        pid, said = self._number(), {out: b"", err: b""}
        try:
            self._read(said, time.monotonic() + timeout)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._number()
            raise subprocess.TimeoutExpired(list(args), timeout, said[out], said[err]) from None
        finally:
            os.close(out)
            os.close(err)
        return subprocess.CompletedProcess(
            list(args), self._number(), _text(said[out]), _text(said[err])
        )

    def _begin(self, environ: Mapping[str, str]) -> None:
        self._start = _said_at_start(environ)
        self._socket, end = socket.socketpair()
        with end:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(end.fileno())],
                env=environ, pass_fds=[end.fileno()],
                # As the commands are to have them: Python's streams remember what they are upon.
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip

    def _read(self, said: dict[int, bytes], end: float) -> None:
        """Read to the ends of both outputs, as whoever waits for a command does."""
        with selectors.DefaultSelector() as selector:
            for number in said:
                selector.register(number, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(end - time.monotonic())
                if not ready:
                    raise TimeoutError
                for key, _ in ready:
                    data = os.read(key.fd, 65536)
                    said[key.fd] += data
                    if not data:
                        selector.unregister(key.fd)

    def _number(self) -> int:
        assert self._socket is not None
        return int.from_bytes(_exactly(self._socket, 4), "big", signed=True)

    def close(self) -> None:
        """End the process, if one was started."""
        if self._socket is not None and self._process is not None:
            self._socket.close()
            _, said = self._process.communicate()
            assert not said, said.decode()


def _text(data: bytes) -> str:
    return data.decode().replace("\r\n", "\n").replace("\r", "\n")  # as subprocess does


def _exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = stream.recv(size - len(data))
        if not more:
            raise EOFError("the process that commands are forked from is gone")
        data += more
    return data


def _serve(stream: socket.socket) -> None:
    """Fork for each request, and say the child's pid and how it ended."""
    while True:
        try:
            size = int.from_bytes(_exactly(stream, 4), "big")
        except EOFError:
            return
        first, fds, _, _ = socket.recv_fds(stream, 1, 3)
        args, cwd, environ = json.loads(first + _exactly(stream, size - 1))
        pid = os.fork()
        if pid == 0:
            stream.close()
            for number, fd in enumerate(fds):
                os.dup2(fd, number)
                os.close(fd)
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(environ)
            sys.argv[1:] = args
            sys.path[0] = cwd
            command.main()
        for fd in fds:
            os.close(fd)
        stream.sendall(pid.to_bytes(4, "big"))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        stream.sendall(code.to_bytes(4, "big", signed=True))


def _import_all() -> None:
    """What commands import: their own modules, and what most of them want then."""
    from traindeck.console.cli import app

    for name in sorted(set(app.COMMANDS.values())):
        importlib.import_module(f"traindeck.console.cli.{name}")
    for name in ("runs.launching", "runs.measuring", "runs.mirroring", "runs.settling",
                 "runs.workspace", "present.listing", "store.reading"):  # fmt: skip
        importlib.import_module(f"traindeck.console.{name}")
    importlib.import_module("traindeck.backends.process")


if __name__ == "__main__":
    from traindeck.console.cli import main as command

    channel = socket.socket(fileno=int(sys.argv[1]))
    sys.argv = [command.__file__]
    _import_all()
    _serve(channel)
