"""Traindeck in a later version: the agent is built from sources that say something else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from traindeck.backends.payload import build


@contextmanager
def upgraded(folder: Path) -> Iterator[None]:
    """From now on the console brings another agent along, made in `folder`."""
    sources = folder / "agent"
    shutil.copytree(build.SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__"))
    with open(sources / "layout.py", "a", encoding="utf-8") as file:
        file.write("\nNEWER = True\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "SOURCES", sources)
        _forget()
        yield
    _forget()


def _forget() -> None:
    build.agent_source.cache_clear()
    build.agent_version.cache_clear()
