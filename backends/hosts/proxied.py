"""A ProxyCommand as a socket. That of paramiko knows no shell's lines, does not notice the end of
the command, and keeps what it said to itself."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import suppress
from typing import Any

from traindeck.backends.hosts.link import STDERR_KEPT


class Proxied:
    """The way through a command, with what paramiko wants of a socket.

    Args:
        line: For the user's shell, as OpenSSH hands it on.

    Raises:
        OSError: The shell cannot be started.
    """

    def __init__(self, line: str) -> None:
        import subprocess

        self._way, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [os.environ.get("SHELL") or "/bin/sh", "-c", f"exec {line}"],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except BaseException:
                self._way.close()
                raise
        self._kept = b""
        self._reading = threading.Thread(target=self._read, name="ssh-proxy", daemon=True)
        self._reading.start()

    def said(self) -> str:
        """The last of its stderr, once it has ended or will not say more in a second."""
        self._reading.join(1.0)
        return self._kept.decode("utf-8", "replace")

    def close(self) -> None:
        """End it, and what it has started. Idempotent."""
        with suppress(OSError):
            self._way.shutdown(socket.SHUT_RDWR)
        self._way.close()
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGHUP)

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            while data := os.read(stderr.fileno(), 4096):
                self._kept = (self._kept + data)[-STDERR_KEPT:]
        self._process.wait()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._way, name)
