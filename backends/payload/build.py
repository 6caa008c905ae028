"""Builds the agent package into the one file that travels.

The result depends on nothing but the sources in agent/: the same tree gives the same bytes on every
machine, and their SHA-256 names the version. The head (agent/boot.py) is ordinary code; the modules
follow as comments, readable by whoever finds the file on a cluster and free to compile.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

SOURCES = Path(__file__).parent / "agent"
HEAD = "boot"


@functools.cache
def agent_source() -> bytes:
    """The agent as one self-contained Python file (UTF-8, Python 3.6 syntax)."""
    parts = [(SOURCES / f"{HEAD}.py").read_text("utf-8").rstrip("\n"), ""]
    for path in sorted(SOURCES.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
        if name == HEAD:
            continue
        # A folder's own module goes by the folder's name, that of the whole by "__init__".
        parts.append(f"#@ {name.removesuffix('.__init__')}")
        parts += [f"#: {line}".rstrip() for line in path.read_text("utf-8").splitlines()]
    return ("\n".join(parts) + "\n").encode()


@functools.cache
def agent_version() -> str:
    """The first 16 hex digits of the SHA-256 of `agent_source()`: the name of this version."""
    return hashlib.sha256(agent_source()).hexdigest()[:16]


def agent_name() -> str:
    """The file name the agent has on every machine, below `<root>/bin/`."""
    return f"agent-{agent_version()}.py"
