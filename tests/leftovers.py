"""What runs leave outside of their root: their locks, in a folder that all roots of a user share.

Where that is cannot be chosen (two agents that looked in different places would not see each
other's runs), so tests use the real one, and take away what was theirs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from traindeck.backends.payload.agent import layout


def run_ids(below: Path) -> Iterator[str]:
    """The ids of all runs of all roots below a folder."""
    for folder, inside, _ in os.walk(below):
        if "bin" in inside and "runs" in inside:
            yield from filter(layout.is_id, os.listdir(f"{folder}/runs"))
            inside.remove("runs")


def forget_locks(below: Path) -> None:
    """Remove the locks of every run of the roots below a folder, and of no other."""
    gone = set(run_ids(below))
    for lock in Path(layout.locks_path()).glob("*.*.*"):
        if lock.name.partition(".")[0] in gone:
            lock.unlink(missing_ok=True)
