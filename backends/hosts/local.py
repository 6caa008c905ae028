"""This machine as a host: argv are child processes, the agent is a child on two pipes.

The agent inherits the caller's whole environment in memory, and a job started through it inherits
that in turn; nothing of it is written down. The child is in a session of its own, so that ctrl+c in
the terminal reaches only the program that was asked to stop.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from traindeck.backends import children, files
from traindeck.backends.base import (
    BackendError,
    Connection,
    DeviceCount,
    LinkState,
    Terminal,
    TerminalSize,
    Unreachable,
)
from traindeck.backends.data import dataclass
from traindeck.backends.hosts.channel import Channel
from traindeck.backends.payload.build import agent_name, agent_source

_MAX_AGENT = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """A connection to an agent, and the agent."""

    channel: Channel
    process: asyncio.subprocess.Process


class LocalHost:
    """The machine this program runs on.

    Where our agent cannot be put in place (a disk that is full, or read-only), the newest that is
    there answers and stops runs; it starts none.

    Args:
        root: Where agents and runs lie; `~/.traindeck` by default.
        python: Interpreter for the agent; the one we run on by default, without its virtual
            environment, which may be gone while a run still lives.
        environ: The environment handed to the agent; this process's by default.
    """

    name = "local"
    here = True
    remarks: tuple[tuple[bool, str], ...] = ()

    def __init__(
        self,
        root: str | None = None,
        *,
        python: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.root = Path(root).expanduser() if root else Path.home() / ".traindeck"
        self.python = python or os.path.realpath(sys.executable)
        self._environ = environ
        self._served: _Served | None = None
        self._older: _Served | None = None
        self._starting = asyncio.Lock()

    @property
    def link(self) -> LinkState:
        """See `Host.link`: nothing lies between."""
        return LinkState()

    def try_now(self) -> None:
        """See `Host.try_now`: it is always tried."""

    async def terminal(self, argv: Sequence[str], *, size: TerminalSize | None = None) -> Terminal:
        """See `Host.terminal`. The program inherits what the agent does."""
        from traindeck.backends.hosts.terminals import open_local

        return await open_local(argv, size, os.environ if self._environ is None else self._environ)

    async def connect(self, port: int | str, *, address: str = "localhost") -> Connection:
        """See `Host.connect`."""
        try:
            if isinstance(port, str):
                return await asyncio.open_unix_connection(port)
            return await asyncio.open_connection(address, port)
        except OSError as error:
            where = port if isinstance(port, str) else f"port {port} of {address}"
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise BackendError(f"{where} cannot be connected to: {reason}.") from None

    async def agent(self) -> Channel:
        """See `Host.agent`."""
        async with self._starting:
            if self._served is not None and not self._served.channel.failed:
                return self._served.channel
            older = self._older
            if older is not None and not older.channel.failed and not self._has_room():
                return older.channel
            await self._stop(self._served)
            self._served = None
            try:
                path = self.install()
            except BackendError as error:
                if older is None or older.channel.failed:
                    await self._stop(older)
                    older = self._older = await self._serve(self._newest(error), error)
                return older.channel
            # An older one may be following a log: it is left to that.
            self._served = await self._serve(path)
            return self._served.channel

    async def devices(self) -> DeviceCount:
        """The GPUs that NVML counts. Free of cost where there is no NVIDIA driver."""
        from traindeck.backends.devices.nvml import count

        return await asyncio.to_thread(count)

    async def aclose(self) -> None:
        """End the agent's connection. Runs are not touched."""
        served, older = self._served, self._older
        self._served = self._older = None
        await self._stop(served)
        await self._stop(older)

    def install(self) -> Path:
        """Put the agent in place, content-addressed: a version that is there stays as it is."""
        path = self.root / "bin" / agent_name()
        source = agent_source()
        try:
            if path.stat().st_size == len(source):
                return path
        except FileNotFoundError:
            pass
        except OSError as error:
            raise BackendError(f"{path} cannot be read: {error.strerror}.") from None
        write_atomically(path, source, 0o600)
        return path

    def _has_room(self) -> bool:
        """Whether the agent may fit by now: trying takes from a full disk what others need."""
        try:
            space = os.statvfs(self.root)
        except OSError:
            return False
        return space.f_bavail * space.f_frsize > 2 * len(agent_source())

    def _newest(self, error: BackendError) -> Path:
        """The newest agent that is in place, whole and unchanged. One that was never ours has
        another digest than its name says.

        Raises:
            BackendError: `error`, if there is none.
        """
        found = []
        for path in (self.root / "bin").glob("agent-*.py"):
            with suppress(OSError), files.open_regular(path) as file:
                digest = hashlib.sha256(file.read(_MAX_AGENT)).hexdigest()
                if path.name == f"agent-{digest[:16]}.py":
                    found.append((os.fstat(file.fileno()).st_mtime, path))
        if not found:
            raise error
        return max(found)[1]

    async def _serve(self, path: Path, starts_nothing: BackendError | None = None) -> _Served:
        marker = secrets.token_hex(16)
        environ = dict(os.environ if self._environ is None else self._environ)
        try:
            process = await asyncio.create_subprocess_exec(
                *(self.python, "-I", "-S", str(path), "serve", marker),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=environ,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise Unreachable(f"The agent cannot be started with {self.python}: {error}.") from None
        assert process.stdout is not None and process.stdin is not None
        channel = Channel(process.stdout, process.stdin, marker, starts_nothing=starts_nothing)
        return _Served(channel=channel, process=process)

    @staticmethod
    async def _stop(served: _Served | None) -> None:
        if served is None:
            return
        await served.channel.aclose()
        process = served.process
        assert process.stdout is not None
        try:
            async with asyncio.timeout(2):
                # To the end: a stream that was left in the middle fills the pipe, and neither the
                # agent nor the pipe would ever close.
                while await process.stdout.read(1 << 20):
                    pass
                await process.wait()
        except TimeoutError:
            children.end(process, signal.SIGKILL)
            await process.wait()


def write_atomically(path: Path, data: bytes, mode: int) -> None:
    """Write a file so that it is whole or not there. Missing folders are made 0700.

    Raises:
        BackendError: The folder cannot be written or the disk is full.
    """
    try:
        files.replace(path, data, mode=mode)
    except OSError as error:
        raise BackendError(
            f"{path} cannot be written: {error.strerror or error}.",
            "Free some space, or choose another place with `root` in the backend's settings.",
        ) from None
