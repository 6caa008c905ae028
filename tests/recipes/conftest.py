"""The recipe of ours, and a user's folder to put others in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from traindeck.console.recipes.reading import load
from traindeck.console.recipes.schema import Recipe


@pytest.fixture(scope="session")
def sft() -> Recipe:
    return load("sft")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The user's recipes folder."""
    path = tmp_path / "recipes"
    path.mkdir()
    return path


@pytest.fixture
def write(folder: Path) -> Callable[[str, str], Path]:
    """Put a recipe into the user's folder."""

    def put(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text)
        return path

    return put
