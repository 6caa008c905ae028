"""Real services for tests: OpenSSH servers, Slurm, and a bad network between us and them.

Each starts in a fraction of a second in a folder of its own, on ports of its own, and leaves no
process behind.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where daemons lie, which is not on everybody's PATH."""


@cache
def need(program: str, package: str) -> str:
    """The path of a program (or of the first file that a pattern with `/` matches). Without it the
    test skips and says what to install; in CI, where it was to be installed, the test fails."""
    if "/" in program:
        found = next(map(str, sorted(Path("/").glob(program.lstrip("/")))), None)
    else:
        found = shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), *_SBIN)))
    if found is None:
        missing(f"there is no {program}: apt-get install {package}")
    return found


def missing(why: str) -> NoReturn:
    """What the test needs is not here: a skip, and a failure in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"in CI nothing may be missing: {why}", pytrace=False)
    pytest.skip(why)


def free_port() -> int:
    """A TCP port of loopback that nobody listens on. Not one of those that the kernel gives to
    connections, so that a server can be stopped and started on it again."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(1000):
        port = random.randrange(10_000, max(lowest, 10_100))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("no free TCP port on loopback")


def below(*pids: int) -> set[int]:
    """Those of these processes that live, and all that descend from them."""
    children: dict[int, list[int]] = {}
    living = set()
    for pid, parent in _parents():
        living.add(pid)
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found & living


def marked(*marks: str) -> set[int]:
    """The processes that were started with one of these `NAME=value` in their environment, but not
    this one."""
    words = {mark.encode() for mark in marks}
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if not words.isdisjoint((folder / "environ").read_bytes().split(b"\0")):
                found.add(int(folder.name))
    return found - {os.getpid()}


def kill(pids: Iterable[int]) -> None:
    """SIGKILL to each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name stands in parentheses and may hold any character.
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                yield int(folder.name), int(parent)
