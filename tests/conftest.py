"""Fixtures for every test: a home of its own, so that no test sees or leaves a user's files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "CI", "SOAK")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty HOME, with the environment cut down to what a login would have."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    for name in list(os.environ):
        if name not in _KEPT and not name.startswith(("PYTEST", "COV")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USER", os.environ.get("USER", "tester"))
    monkeypatch.setenv("TERM", "xterm-256color")
    return folder
