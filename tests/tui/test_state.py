"""What the screens remember: a convenience that can never stand in the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.console.tui.state import UiState


def test_what_is_put_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "screens.json"
    state = UiState.load(path)
    state.put("runs", filter="tag:sft", order=["-created"], all=True)
    state.put("log", wrap=True)
    state.save()
    again = UiState.load(path)
    assert again.get("runs", "filter", str, "") == "tag:sft"
    assert again.strings("runs", "order") == ["-created"]
    assert again.get("runs", "all", bool, False) is True
    assert again.get("log", "wrap", bool, False) is True
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["screens.json"]


def test_a_value_of_another_kind_is_as_good_as_none(tmp_path: Path) -> None:
    state = UiState(None, {"runs": {"filter": 5, "order": ["a", 1]}, "log": "x"})
    assert state.get("runs", "filter", str, "none") == "none"
    assert state.strings("runs", "order") is None
    assert state.get("log", "wrap", bool, False) is False


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"format": 99}',
        b"\xff\xfe",
        b'{"format": 1, "screens": []}',
        b'{"format": 1, "screens": {"runs": 5}}',
        b"[" * 100_000,
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_damaged_file_is_no_more_than_a_fresh_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "screens.json"
    path.write_bytes(content)
    state = UiState.load(path)
    assert state.get("runs", "filter", str, "") == ""
    state.put("runs", filter="x")
    state.save()
    assert UiState.load(path).get("runs", "filter", str, "") == "x"


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("state") / "screens.json"
    path.write_bytes(content)
    UiState.load(path)


def test_a_folder_that_cannot_be_written_is_not_mentioned(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = UiState.load(tmp_path / "file" / "screens.json")
    state.put("runs", filter="x")
    state.save()
