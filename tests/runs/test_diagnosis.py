"""What doctor advises can be done."""

from __future__ import annotations

import json
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from traindeck.console.runs.diagnosis import with_training


def test_what_recipes_need_is_installed_from_where_this_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "a checkout"
    origins = {
        json.dumps({"url": folder.as_uri()}): f"'{folder}[train]'",
        json.dumps({"url": "file:///deleted/since"}): "'.[train]' in its checkout",
        json.dumps({"url": "https://example.org/t.whl"}): "'.[train]' in its checkout",
        "broken": "'.[train]' in its checkout",
        None: "'.[train]' in its checkout",
    }
    folder.mkdir()
    for said, words in origins.items():
        monkeypatch.setattr(PathDistribution, "read_text", lambda self, name, said=said: said)
        assert with_training() == words
