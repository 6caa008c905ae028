"""SIGKILL at a chosen system call: strace counts the calls of a process and delivers it."""

from __future__ import annotations

import collections
import re
from pathlib import Path

CHANGES = [
    *("openat", "mkdir", "write", "pwrite64", "fsync", "fdatasync"),
    *("rename", "link", "linkat", "unlink", "truncate", "ftruncate", "utimensat", "kill"),
    *("clone", "clone3", "fork", "vfork", "wait4", "execve", "exit_group"),
]

Call = tuple[str, int]


def strace(out: str, *more: str) -> list[str]:
    known = ",".join("?" + name for name in CHANGES)
    return ["strace", "-qq", "-o", out, "-e", f"trace={known}", *more]


def killing(call: Call) -> list[str]:
    name, number = call
    return strace("/dev/null", "-e", f"inject={name}:signal=KILL:when={number}")


def calls(trace: Path) -> list[Call]:
    """The calls in a trace that change something: (name, the how manieth of its name)."""
    counts: collections.Counter[str] = collections.Counter()
    found = []
    for line in trace.read_text("latin-1").splitlines():
        name = re.match(r"(\w+)\(", line)
        if name is None:
            continue
        counts[name[1]] += 1
        looks = name[1] == "openat" and not re.search(r"O_(CREAT|WRONLY|RDWR)", line)
        if not looks and name[1] != "wait4":
            found.append((name[1], counts[name[1]]))
    # The first is the exec of the program itself.
    return found[1:]
