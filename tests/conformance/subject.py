"""What the suite has to know of a backend under test: how to make one, and how to disturb it.

A third party hands the suite a factory, `factory(folder: pathlib.Path)`, that returns either a
backend, or an object with `make` and any of the other attributes of `Subject` below; what is left
out is not tested, and the skip says so. The factory is called again with the same folder where the
suite wants another console on the same place, in this process or another.

The last functions are the factories of this tree; what `--backend` names looks just like them.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
import os
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.conformance import fake as memory

from traindeck.backends.base import (
    AgentChannel,
    Backend,
    Connection,
    Host,
    LinkState,
    Reach,
    Terminal,
    TerminalSize,
    Unreachable,
)
from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.hosts.ssh import SSHHost
from traindeck.backends.process import ProcessBackend
from traindeck.backends.slurm.backend import SlurmBackend

if TYPE_CHECKING:
    from tests.services.sshd import Sshd


@dataclass(kw_only=True)
class Subject:
    """A backend under test.

    Attributes:
        make: Another backend object on the same place. Does no I/O.
        python: A Python >= 3.6 there, which runs the suite's jobs.
        cwd: A directory there that a job may start in.
        options: Values for the backend's own options, for every run.
        patience: Seconds within which anything that is to happen there must have happened.
        trips: How many round trips all backends of `make` have made so far.
        cut: Make the place unreachable, breaking what is open; `restore` undoes it. May be async.
        folders: Local folders in which a secret must not be found.
        durable: Whether a process that is killed while it submits can be simulated by one that
            calls the factory with the same folder and is killed.
        here: Whether jobs are processes of this machine that this user can see.
        keeps: Name of the file in a run directory in which the place keeps a run's secrets while it
            may have to start it again; nobody but this user may read it, and it goes with the end.
        apart: Processes of the place itself that are below the suite's own, as pids.
        close: Give everything back at the end. May be async.
    """

    make: Callable[[], Backend]
    python: str = sys.executable
    cwd: str = "/"
    options: Mapping[str, Any] = field(default_factory=dict)
    patience: float = 30.0
    trips: Callable[[], int] | None = None
    cut: Callable[[], Any] | None = None
    restore: Callable[[], Any] | None = None
    folders: tuple[Path, ...] = ()
    durable: bool = False
    here: bool = False
    keeps: str = ""
    apart: Callable[[], Collection[int]] | None = None
    close: Callable[[], Any] | None = None


def subject_from(factory: Callable[[Path], Any], folder: Path) -> Subject:
    """What a factory made, as a `Subject`."""
    made = factory(folder)
    if isinstance(made, Subject):
        return made
    if isinstance(made, Backend):
        first = [made]
        return Subject(make=lambda: first.pop() if first else factory(folder), cwd=str(folder))
    known = {
        name: getattr(made, name) for name in Subject.__dataclass_fields__ if hasattr(made, name)
    }
    return Subject(**{"cwd": str(folder), **known})


async def called(function: Callable[[], Any] | None) -> None:
    """Call what may be missing and may be async."""
    result = function() if function is not None else None
    if inspect.isawaitable(result):
        await result


# ------------------------------------------------------------------------- those of this tree


def fake(folder: Path) -> Subject:
    """The backend in memory."""
    place = memory.Place()
    return Subject(
        make=lambda: memory.FakeBackend("fake", place),
        python=memory.PYTHON,
        patience=5.0,
        trips=lambda: place.trips,
        cut=lambda: setattr(place, "reachable", False),
        restore=lambda: setattr(place, "reachable", True),
        close=place.close,
    )


def process(folder: Path) -> Subject:
    """Processes on this machine, with a root of their own."""
    return _local(folder, lambda host: ProcessBackend("local", host))


def _local(
    folder: Path, backend: Callable[[Host], Backend], environ: Mapping[str, str] | None = None
) -> Subject:
    """A backend on this machine as the host, with a root of its own."""
    link = _Link()
    hosts: list[LocalHost] = []

    def make() -> Backend:
        hosts.append(LocalHost(str(folder / "root"), environ=environ))
        return backend(_Host(link, hosts[-1]))

    def cut() -> None:
        link.whole = False
        for host in hosts:
            served = host._served
            if served is not None and served.process.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(served.process.pid, signal.SIGKILL)

    async def close() -> None:
        for host in hosts:
            await host.aclose()

    return Subject(
        make=make,
        cwd=str(folder),
        trips=lambda: link.trips,
        cut=cut,
        restore=lambda: setattr(link, "whole", True),
        folders=(folder,),
        durable=True,
        here=True,
        close=close,
    )


def slurm(folder: Path) -> Subject:
    """A real Slurm cluster, whose commands are on this machine."""
    environ, more = _cluster(folder)
    made = _local(folder, lambda host: SlurmBackend("lab", host), {**os.environ, **environ})
    return replace(made, **more)


def slurm_over_ssh(folder: Path) -> Subject:
    """The same, its login host behind a jump host."""
    environ, more = _cluster(folder)
    login = functools.partial(_boxes, tuple(environ.items()))
    made = _over_ssh(folder, "paramiko", "hop1", lambda host: SlurmBackend("lab", host), login)
    return replace(made, **more)


def slurm_by_rest(folder: Path) -> Subject:
    """The same, asked by slurmrestd. Of Slurm's commands only srun finds the cluster: it is the way
    into an allocation."""
    from tests.services import need
    from tests.services.slurm import REST_PACKAGES

    from traindeck.backends.slurm.by_rest import ByRest
    from traindeck.backends.slurm.rest import Slurmrestd, place_of
    from traindeck.backends.slurm.rest_token import Tokens

    need("slurmrestd", REST_PACKAGES)
    environ, more = _cluster(folder)
    conf = environ["SLURM_CONF"]
    url = Path(conf).with_name("rest.url").read_text()
    mint = ("env", f"SLURM_CONF={conf}", "scontrol", "token", "lifespan=3600")

    def make(host: Host) -> Backend:
        server = Slurmrestd("lab", place_of("lab", url), Tokens("lab", mint))
        return SlurmBackend("lab", host, scheduler=ByRest(server))

    only = folder / "bin"
    only.mkdir(exist_ok=True)
    srun = only / "srun"
    if not srun.exists():
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {need("srun", REST_PACKAGES)} "$@"\n')
        srun.chmod(0o755)
    made = _local(folder, make, {**os.environ, "PATH": f"{only}:/usr/bin:/bin"})
    return replace(made, **more)


def _cluster(folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """One cluster for all tests of a session; a process that is started by one of them finds it by
    a file in the folder. (Variables by which its commands find it, what a subject says of it.)"""
    from tests.services.slurm import shared

    rest = shutil.which("slurmrestd") is not None  # without it, the others still can be tested
    environ, daemons = shared(folder / "slurm.conf.is", nodes=2, cpus=64, rest=rest)
    return environ, {"patience": 90.0, "keeps": "secrets.json", "apart": daemons}


def ssh(folder: Path) -> Subject:
    """Processes on a machine behind a jump host, over SSH by paramiko."""
    return _over_ssh(folder, "paramiko", "hop1")


def openssh(folder: Path) -> Subject:
    """Processes on a machine over SSH, by the user's own `ssh`."""
    return _over_ssh(folder, "openssh", "box0")


@functools.cache
def _boxes(env: tuple[tuple[str, str], ...] = ()) -> Sshd:
    """Two machines for as long as this process lives: each test has a root of its own there."""
    from tempfile import TemporaryDirectory

    from tests.services.sshd import Box, Sshd

    folder = TemporaryDirectory(prefix="traindeck-boxes-")
    sshd = Sshd(Path(folder.name), Box(), Box(env=dict(env)))
    sshd.__enter__()

    def end() -> None:
        sshd.stop()
        folder.cleanup()

    atexit.register(end)
    return sshd


def _over_ssh(
    folder: Path,
    transport: str,
    alias: str,
    backend: Callable[[Host], Backend] = lambda host: ProcessBackend("far", host, kind="ssh"),
    boxes: Callable[[], Sshd] = _boxes,
) -> Subject:
    link = _Link()
    hosts: list[SSHHost] = []
    config = folder / "ssh_config"
    if not config.exists():  # else this is a second console, in a process of its own
        config.write_bytes(boxes().config.read_bytes())
    root = folder / "root"

    def make() -> Backend:
        host = SSHHost("far", alias, config_file=str(config), transport=transport, root=str(root))
        hosts.append(host)
        return backend(_Host(link, host))

    def cut() -> None:
        link.whole = False
        for box in boxes().boxes:
            box.drop()

    async def close() -> None:
        for host in hosts:
            await host.aclose()

    return Subject(
        make=make,
        cwd=str(folder),
        trips=lambda: link.trips,
        cut=cut,
        restore=lambda: setattr(link, "whole", True),
        folders=(folder,),
        durable=True,
        here=True,
        close=close,
    )


@dataclass
class _Link:
    """The way to a host: counted, and cut."""

    whole: bool = True
    trips: int = 0


class _Host:
    """A host behind a link that can be cut."""

    def __init__(self, link: _Link, inner: LocalHost | SSHHost) -> None:
        self.name = inner.name
        self.here = inner.here
        self.remarks = inner.remarks
        self._link = link
        self._inner = inner

    @property
    def link(self) -> LinkState:
        return (
            self._inner.link if self._link.whole else LinkState(state=Reach.DOWN, why="It is cut.")
        )

    def try_now(self) -> None:
        self._inner.try_now()

    def _check(self) -> None:
        if not self._link.whole:
            raise Unreachable("The link to this host is cut.")

    async def terminal(self, argv: Any, *, size: TerminalSize | None = None) -> Terminal:
        self._check()
        return await self._inner.terminal(argv, size=size)

    async def connect(self, port: int | str, *, address: str = "localhost") -> Connection:
        self._check()
        return await self._inner.connect(port, address=address)

    async def agent(self) -> AgentChannel:
        self._check()
        return _Channel(self._link, await self._inner.agent())

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Channel:
    """A channel that counts its requests."""

    def __init__(self, link: _Link, inner: AgentChannel) -> None:
        self._link = link
        self._inner = inner

    async def call(
        self,
        verb: str,
        params: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        self._link.trips += 1
        return await self._inner.call(verb, params, body, timeout=timeout)

    def stream(
        self, verb: str, params: Mapping[str, Any] | None = None
    ) -> AbstractAsyncContextManager[Any]:
        self._link.trips += 1
        return self._inner.stream(verb, params)


async def settled(condition: Callable[[], bool], patience: float = 10.0) -> bool:
    """Wait until a condition of this machine holds. Whether it did."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while not condition():
        if loop.time() > end:
            return False
        await asyncio.sleep(0.02)
    return True
