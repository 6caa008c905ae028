"""A link through the user's own `ssh`: for what paramiko cannot do (security keys, Kerberos, host
certificates, some second factors), and for whoever prefers it.

Each command is a child process; all but the first go through the connection of the first. It has no
terminal: what it wants to know it asks a small program of ours, which asks whoever can answer.
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from traindeck.backends import children
from traindeck.backends.asking import Nobody, asker
from traindeck.backends.base import Unreachable
from traindeck.backends.hosts import knownhosts, sshsaid
from traindeck.backends.hosts.askpass import AskServer
from traindeck.backends.hosts.link import READ_AHEAD, STDERR_KEPT, Pipe
from traindeck.backends.hosts.sshconfig import Target


class OpenSSHLink:
    """See `Link`. Nothing is connected before the first command. To be made where files may be
    read: it looks into known_hosts.

    Args:
        target: The machine.
    """

    kind = "openssh"

    def __init__(self, target: Target) -> None:
        self._target = target
        self._folder = tempfile.mkdtemp(prefix="td-")
        self._log = f"{self._folder}/log"
        """What ssh itself says, apart from what is said through it."""
        self._certified = knownhosts.marked(target, "cert-authority") is not None
        self._asks: AskServer | None = None
        self._running: list[asyncio.subprocess.Process] = []
        self._closed = False

    @property
    def alive(self) -> bool:
        """See `Link.alive`."""
        return not self._closed

    @property
    def asked(self) -> bool:
        """Whether a person had to give a secret, or to touch a key."""
        asks = self._asks
        return asks is not None and (asks.gave_secret or asks.wants_touch)

    @property
    def last_asked(self) -> float:
        """When somebody was asked last, by the monotonic clock; without end while they are."""
        return -math.inf if self._asks is None else self._asks.last

    def argv(self, *options: str, command: Sequence[str] = ()) -> list[str]:
        """How ssh is called: with options of ours, which go before those of the user's files."""
        target = self._target
        words = [*target.ssh, "-o", "NumberOfPasswordPrompts=1"]
        words += ["-o", f"ConnectTimeout={target.connect_timeout or 15:.0f}"]
        if not target.server_alive_interval:
            words += ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=2"]
        if self._certified and target.strict_host_key_checking in ("no", "accept-new"):
            # It would take the bare key from a host whose certificate is no good: we look first.
            words += ["-o", "StrictHostKeyChecking=ask"]
        elif target.strict_host_key_checking == "no":
            words += ["-o", "StrictHostKeyChecking=accept-new"]  # a changed key is never taken
        if self._can_ask():
            words += ["-o", "BatchMode=no"]
        else:
            words += ["-o", "BatchMode=yes"]
        if not target.control_path:
            words += ["-o", "ControlMaster=auto", "-o", f"ControlPath={self._folder}/c"]
            words += ["-o", "ControlPersist=no"]
        return [*words, *options, "--", target.alias, *command]

    def environ(self) -> dict[str, str]:
        """The environment ssh is started in."""
        environ = dict(os.environ)
        if self._can_ask():
            if self._asks is None:
                self._asks = AskServer(Path(self._folder), self._target, self.said)
            environ.update(self._asks.environ)
        return environ

    async def open(self, command: str) -> Pipe:
        """See `Link.open`. Whether it could connect shows in the pipe: `failure` tells why not."""
        if self._closed:
            raise Unreachable(f"The connection to {self._target.alias} was closed.")
        try:
            process = await asyncio.create_subprocess_exec(
                *self.argv("-E", self._log, "-o", "LogLevel=INFO", "-T", command=(command,)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self.environ(),
                limit=READ_AHEAD,
                start_new_session=True,
            )
        except OSError as error:
            raise Unreachable(f"ssh cannot be started: {error.strerror or error}.") from None
        self._running.append(process)
        assert process.stdout is not None and process.stdin is not None
        said = _Said(process)

        def close() -> None:
            said.task.cancel()
            children.end(process)

        return Pipe(reader=process.stdout, writer=process.stdin, said=said.text, close=close)

    def said(self) -> str:
        """The last of what ssh itself has said."""
        try:
            with open(self._log, "rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - STDERR_KEPT))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def failure(self, said: str) -> Unreachable:
        """Why a command's connection ended, by what ssh said, else by what came through it."""
        typed = self._asks is not None and self._asks.gave_secret
        return sshsaid.failure(self._target, self.said(), said, typed=typed)

    def keep(self, process: asyncio.subprocess.Process) -> None:
        """A child that is to end with this, at the latest."""
        self._running = [one for one in self._running if not children.is_closed(one)]
        self._running.append(process)

    async def aclose(self) -> None:
        """See `Link.aclose`."""
        self._closed = True
        for process in self._running:
            children.end(process)
            children.hear_no_more(process)
        for process in self._running:
            try:
                async with asyncio.timeout(2):
                    await process.wait()
            except TimeoutError:
                children.end(process, signal.SIGKILL)
                await process.wait()
        self._running.clear()
        self.drop()

    def drop(self) -> None:
        """Give back what is left when nothing runs any more."""
        if self._asks is not None:
            self._asks.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @staticmethod
    def _can_ask() -> bool:
        return not isinstance(asker(), Nobody)


class _Said:
    """Keeps the last of a child's stderr, reading it so that it never blocks."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._kept = b""
        self.task = asyncio.create_task(self._read(process), name="ssh-stderr")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        with suppress(OSError):
            while data := await process.stderr.read(4096):
                self._kept = (self._kept + data)[-STDERR_KEPT:]

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")
