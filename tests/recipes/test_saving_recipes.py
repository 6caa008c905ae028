"""A form kept as a recipe of one's own is that recipe again."""

from __future__ import annotations

from pathlib import Path

import pytest

from traindeck.backends.base import UsageError
from traindeck.console.recipes.reading import load
from traindeck.console.recipes.resolving import resolve
from traindeck.console.recipes.saving import save_recipe

SET = {"model": "./base", "data": "chats.jsonl", "lr": "3e-5", "lora_targets": "q_proj,v_proj"}


def test_a_saved_recipe_says_the_same_values(tmp_path: Path) -> None:
    resolved = resolve(load("sft"), SET, preset="quick")
    path = save_recipe(tmp_path / "recipes", "mine", "sft", resolved, preset="quick")
    again = resolve(load("mine", tmp_path / "recipes"), {})
    assert again.values == resolved.values
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_recipe_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    resolved = resolve(load("sft"), SET)
    path = save_recipe(tmp_path, "mine", "sft", resolved)
    before = path.read_text()
    with pytest.raises(UsageError, match="There is a recipe mine already"):
        save_recipe(tmp_path, "mine", "sft", resolve(load("sft"), {**SET, "lr": "1"}))
    assert path.read_text() == before


@pytest.mark.parametrize("name", ["", "../evil", "a/b", "with space", "-x", "x" * 65])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name"):
        save_recipe(tmp_path, name, "sft", resolve(load("sft"), SET))
