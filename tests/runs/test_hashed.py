"""What is remembered of files that were hashed: never anything that is not so any more."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from traindeck.console.runs import capture as capturing
from traindeck.console.runs.capture import capture
from traindeck.console.runs.hashed import FORGOTTEN, SETTLED, Hashed
from traindeck.console.runs.snapshot import Snapshot

LONG_AGO = time.time() - 1000


@pytest.fixture
def top(home: Path) -> Path:
    """Some files that nobody has touched for a while."""
    folder = home / "w"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.py", "b.py", "sub/c.py"):
        (folder / name).write_text(f"# {name}\n")
        os.utime(folder / name, (LONG_AGO, LONG_AGO))
    return folder


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a while after all that the test has done, so that files have settled."""
    monkeypatch.setattr(Hashed, "now", lambda self: time.time() + 2 * SETTLED)


def snapshot(top: Path, memory: Path | None) -> Snapshot:
    tree = capture(str(top), "snapshot", None, memory).code.tree
    assert tree is not None and isinstance(tree.content, Snapshot)
    return tree.content


def read(monkeypatch: pytest.MonkeyPatch, top: Path, memory: Path | None) -> set[str]:
    """The files that a snapshot reads."""
    seen = set()

    def look(data: bytes) -> bool:
        seen.add(data.decode().strip("# \n"))
        return False

    monkeypatch.setattr(capturing, "holds_private_key", look)
    snapshot(top, memory)
    return seen


def test_only_files_that_changed_are_read_again(
    monkeypatch: pytest.MonkeyPatch, top: Path, tmp_path: Path
) -> None:
    memory = tmp_path / "memory"
    first = snapshot(top, memory)
    assert read(monkeypatch, top, memory) == set()
    (top / "b.py").write_text("# changed\n")
    os.utime(top / "b.py", (LONG_AGO, LONG_AGO))  # as a tool that keeps times would
    assert read(monkeypatch, top, memory) == {"changed"}
    assert read(monkeypatch, top, memory) == set()
    second = snapshot(top, memory)
    assert first.files["a.py"] == second.files["a.py"]
    assert first.files["b.py"] != second.files["b.py"]


def test_the_tree_is_the_same_with_and_without_a_memory(top: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    snapshot(top, memory)
    assert snapshot(top, memory).tree == snapshot(top, None).tree


def test_a_file_that_changed_just_before_it_was_read_is_read_again(
    monkeypatch: pytest.MonkeyPatch, top: Path, tmp_path: Path
) -> None:
    """Another change in the same tick of the clock leaves size and times as they are."""
    memory = tmp_path / "memory"
    monkeypatch.setattr(capturing, "STILL_WRITTEN", 0.0)
    changed = (top / "a.py").stat().st_ctime
    monkeypatch.setattr(Hashed, "now", lambda self: changed + SETTLED / 2)
    snapshot(top, memory)
    assert "a.py" in read(monkeypatch, top, memory)


def test_another_file_under_the_same_name_and_times_is_read(top: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    before = snapshot(top, memory).tree
    (top / "new").write_text("# b.py!"[:7])
    (top / "new").write_bytes(b"# X.py\n")
    os.utime(top / "new", (LONG_AGO, LONG_AGO))
    (top / "new").rename(top / "b.py")
    assert snapshot(top, memory).tree.digest != before.digest


def test_a_changed_mode_is_seen_though_nothing_is_read(top: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    snapshot(top, memory)
    (top / "a.py").chmod(0o755)
    assert snapshot(top, memory).files["a.py"].executable
    assert snapshot(top, memory).files["a.py"].executable


def test_a_link_put_in_the_place_of_a_folder_is_not_followed(top: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    snapshot(top, memory)
    (top / "sub").rename(tmp_path / "elsewhere")
    (top / "sub").symlink_to(tmp_path / "elsewhere")
    found = capture(str(top), "snapshot", None, memory).code
    assert found.tree is not None and found.tree.files == 2
    assert "sub" in found.omitted


def test_new_rules_look_at_all_files_again(
    monkeypatch: pytest.MonkeyPatch, top: Path, tmp_path: Path
) -> None:
    memory = tmp_path / "memory"
    snapshot(top, memory)
    monkeypatch.setattr("traindeck.console.runs.hashed.RULES", 1)
    assert len(read(monkeypatch, top, memory)) == 3


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "\0", '{"rules": 1}', '{"rules": 0, "files": 5}', "{}", '{"files": {}}']
)
def test_a_memory_that_is_torn_is_made_anew(top: Path, tmp_path: Path, text: str) -> None:
    memory = tmp_path / "memory"
    tree = snapshot(top, memory).tree
    (file,) = memory.glob("hashed-*")
    whole = file.read_text()
    file.write_text(text)
    assert snapshot(top, memory).tree == tree
    assert json.loads(file.read_text()) == json.loads(whole)


def test_a_memory_that_holds_nonsense_for_files_is_made_anew(top: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    tree = snapshot(top, memory).tree
    (file,) = memory.glob("hashed-*")
    found = json.loads(file.read_text())
    file.write_text(json.dumps({**found, "files": {"a.py": 5, "b.py": None}}))
    assert snapshot(top, memory).tree == tree


def test_a_memory_that_cannot_be_written_is_done_without(top: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    taken = snapshot(top, tmp_path / "file" / "memory")
    taken.sent("place")
    assert taken.tree.files == 3 and not taken.known("place")


def test_what_was_sent_is_remembered_by_place(top: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    taken = snapshot(top, memory)
    assert not taken.known("box:/r")
    taken.sent("box:/r")
    again = snapshot(top, memory)
    assert set(again.known("box:/r")) == set(again.sizes)
    assert not again.known("box:/other")
    assert {file.stat().st_mode & 0o777 for file in memory.iterdir()} == {0o600}


def test_what_was_not_used_for_long_is_forgotten(top: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    (memory / "hashed-0").write_text("")
    then = time.time() - FORGOTTEN - 10
    os.utime(memory / "hashed-0", (then, then))
    snapshot(top, memory)
    assert not (memory / "hashed-0").exists()
