"""Factories of the suite for a machine over SSH on a bad day: with a login shell that is none of
the usual, one that talks, a clock that is wrong, a home that cannot be written, a link that stands
still now and then. The suite is the same for them; `OURS` of conftest.py names them where SOAK is
set, and tests/hosts/test_bad_days.py does the little that everybody does on each of them.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.conformance.subject import CutHost, Subject, machines, over_ssh
from tests.services import need
from tests.services.proxy import Proxy
from tests.services.sshd import Box

from traindeck.backends.base import AgentChannel, Connection, Terminal, TerminalSize, Unreachable

if TYPE_CHECKING:
    from tests.services.sshd import Sshd

STALL = 30.0
CLEAR = 40.0
"""Seconds for which the link stands still, and between two times."""

CONDA = """
\x1b]0;login\x07\x1b[33m######## Cluster maintenance on {monday}; $HOME is `purged` ########\x1b[0m
==> WARNING: A newer version of conda exists. <==
  current version: 4.5.11
\tPlease update conda by running:  $ conda update -n base -c defaults conda'"
\x00\xff\xfe(base) % cannot change locale (xx_XX.UTF-8)\r\n{"id": 2, "error": "no frame of ours"}
"""


def fish(folder: Path) -> Subject:
    """The login shell is fish."""
    return _machine(folder, "paramiko", "fish")


def tcsh(folder: Path) -> Subject:
    """The login shell is tcsh."""
    return _machine(folder, "openssh", "tcsh")


def talks(folder: Path) -> Subject:
    """A long .bashrc prints much, on both ways out, and lets a program read what comes in."""
    return _machine(folder, "paramiko", "talks")


def ahead(folder: Path) -> Subject:
    """Its clock is 3 h ahead."""
    return _machine(folder, "openssh", "ahead")


def behind(folder: Path) -> Subject:
    """Its clock is 3 h behind."""
    return _machine(folder, "paramiko", "behind")


def unwritable(folder: Path) -> Subject:
    """The home there can only be read; the agent lies elsewhere."""
    return _machine(folder, "paramiko", "unwritable")


def stalls(folder: Path) -> Subject:
    """The link stands still for 30 s again and again."""
    return _stalling(folder, "paramiko")


def stalls_openssh(folder: Path) -> Subject:
    """The same, by the user's own `ssh`."""
    return _stalling(folder, "openssh")


DAYS = (fish, tcsh, talks, ahead, behind, unwritable)
"""Those that a machine is made for. What a stalled link needs is patience."""


def _machine(folder: Path, transport: str, day: str) -> Subject:
    made = over_ssh(folder, transport, "box0", boxes=functools.partial(box, day))
    return replace(made, patience=60.0)


@functools.cache
def box(day: str) -> Sshd:
    """The machine of a day, `box0`."""
    match day:
        case "fish" | "tcsh":
            return machines(Box(shell=day))
        case "ahead" | "behind":
            return machines(Box(env=clock(10_800 if day == "ahead" else -10_800)))
        case "unwritable":
            home = ("{box}/home", "{box}/home")
            return machines(
                Box(mounts=[("--bind", *home), ("-o", "remount,bind,ro", home[1])]),
            )
    sshd = machines(Box())
    sshd[0].greet(CONDA)
    (sshd[0].home / ".bashrc").write_text(
        f"cat {sshd[0].home}/.greeting; cat {sshd[0].home}/.greeting >&2\n"
        "alias python3=false; test() { echo mine; }; export PYTHONSTARTUP=/nonexistent\n"
    )
    return sshd


def clock(seconds: int) -> dict[str, str]:
    """Variables for a machine whose clock goes wrong by so much, that of its files too."""
    wrapper = need("/usr/lib/*-linux-gnu*/faketime/libfaketimeMT.so.1", "faketime")
    return {"LD_PRELOAD": wrapper, "FAKETIME": f"{seconds:+d}s"}


# -------------------------------------------------------------------------------------- stalls


def _stalling(folder: Path, transport: str) -> Subject:
    made = over_ssh(folder, transport, "box0", boxes=_behind_weather, behind=PatientHost)
    return replace(made, patience=5 * STALL)


@functools.cache
def _behind_weather() -> Sshd:
    """A machine behind a link that stalls by itself for as long as this process lives."""
    sshd = machines(Box())
    proxy = Proxy(sshd[0].port).__enter__()
    sshd.write_configuration(ports={"box0": proxy.port})

    def weather() -> None:
        pause = threading.Event()
        while True:
            pause.wait(CLEAR)
            proxy.stall()
            pause.wait(STALL)
            proxy.heal()

    threading.Thread(target=weather, daemon=True, name="weather").start()
    return sshd


class PatientHost(CutHost):
    """A host that is asked to connect again while its link does not let anybody through: what
    whoever follows a run does."""

    async def agent(self) -> AgentChannel:
        return await self._patiently(super().agent)

    async def terminal(self, argv: Any, *, size: TerminalSize | None = None) -> Terminal:
        return await self._patiently(lambda: CutHost.terminal(self, argv, size=size))

    async def connect(self, port: int | str, *, address: str = "localhost") -> Connection:
        return await self._patiently(lambda: CutHost.connect(self, port, address=address))

    async def _patiently(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        loop = asyncio.get_running_loop()
        until = loop.time() + 3 * STALL
        while True:
            try:
                return await ask()
            except Unreachable:
                if not self._link.whole or loop.time() > until:
                    raise
            await asyncio.sleep(0.5)
