"""Which process wrote a file, beyond doubt, and whether it still lives.

A pid alone is not an identity: it is used again. With the process's start time, the boot and the
pid namespace it is; where these cannot be compared (another machine, another container) the answer
is "elsewhere", never a guess.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any

from traindeck.backends.data import dataclass


class Life(StrEnum):
    """What is known of a process."""

    ALIVE = "alive"
    DEAD = "dead"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process. `starttime` is field 22 of /proc/PID/stat, in clock ticks since the boot."""

    host: str = ""
    boot_id: str = ""
    namespace: str = ""
    pid: int = 0
    starttime: int = 0

    def life(self) -> Life:
        """Whether the process exists. Another boot of the same machine means dead."""
        here = this_process()
        if self.boot_id != here.boot_id:
            return Life.DEAD if self.host == here.host else Life.ELSEWHERE
        if self.namespace != here.namespace:
            return Life.ELSEWHERE
        state, starttime = _stat(self.pid)
        return Life.ALIVE if starttime == self.starttime and state not in "ZX" else Life.DEAD


def this_process() -> Owner:
    """The calling process."""
    host, boot_id, namespace = _machine()
    pid = os.getpid()
    return Owner(host=host, boot_id=boot_id, namespace=namespace, pid=pid, starttime=_stat(pid)[1])


def boot_id() -> str:
    """Names this machine since it was booted; "" if that cannot be read."""
    return _machine()[1]


def owner_from(data: Mapping[str, Any]) -> Owner:
    """An owner as written by `encode`. What has another shape is left at its default, which is
    nobody."""
    return Owner(
        host=str(data.get("host") or ""),
        boot_id=str(data.get("boot_id") or ""),
        namespace=str(data.get("namespace") or ""),
        pid=_number(data.get("pid")),
        starttime=_number(data.get("starttime")),
    )


@cache
def _machine() -> tuple[str, str, str]:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot_id = file.read().strip()
    except OSError:
        boot_id = ""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return os.uname().nodename, boot_id, namespace


def _stat(pid: int) -> tuple[str, int]:
    """State letter and start time of a process; ("", -1) if there is none."""
    if pid <= 0:
        return "", -1
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            rest = file.read().rpartition(b")")[2].split()
        return rest[0].decode("ascii"), int(rest[19])
    except (OSError, IndexError, ValueError):
        return "", -1


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
