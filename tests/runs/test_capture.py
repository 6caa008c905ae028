"""What a launch finds out about the code: real git work trees."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from traindeck.backends.base import UsageError
from traindeck.console.runs.capture import FILE_CAP, capture, recorded_environ


@pytest.fixture
def tree(home: Path) -> Path:
    """A work tree with one commit, one changed file, one untracked, one ignored, and secrets."""
    top = home / "project"
    (top / "src").mkdir(parents=True)
    (top / "src" / "train.py").write_text("print(1)\n")
    (top / ".gitignore").write_text("*.ckpt\n")
    (top / ".env").write_text("TOKEN=committed-by-mistake\n")
    git = ["git", "-C", str(top), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "-q", "-b", "main", str(top)], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    (top / "src" / "train.py").write_text("print(2)\n")
    (top / ".env").write_text("TOKEN=changed-secret\n")
    (top / "new.py").write_text("x = 1\n")
    (top / "big.ckpt").write_bytes(b"x")
    (top / "id_ed25519").write_text("PRIVATE KEY\n")
    return top


def test_in_place_records_commit_branch_diff_and_untracked_names(tree: Path) -> None:
    found = capture(str(tree / "src"), "here", os.environ)
    assert found.code.root == str(tree)
    assert found.code.branch == "main"
    assert found.code.commit is not None
    assert len(found.code.commit) == 40
    assert found.code.dirty
    assert found.code.untracked == ("new.py",)
    diff = found.files["code/.traindeck/diff.patch"].data
    assert diff is not None
    assert b"+print(2)" in diff
    assert not any(path.startswith("code/src") for path in found.files)


def test_a_snapshot_copies_what_git_would_and_nothing_ignored(tree: Path) -> None:
    found = capture(str(tree), "snapshot", os.environ)
    copied = {p for p in found.files if not p.startswith("code/.traindeck")}
    assert copied == {"code/.gitignore", "code/src/train.py", "code/new.py"}
    assert found.files["code/src/train.py"].read() == b"print(2)\n"


@pytest.mark.parametrize("mode", ["here", "snapshot"])
def test_secret_files_are_never_captured_tracked_or_not(tree: Path, mode: str) -> None:
    found = capture(str(tree), mode, os.environ)
    everything = b"".join(blob.read() for blob in found.files.values())
    assert b"changed-secret" not in everything
    assert b"committed-by-mistake" not in everything
    assert b"PRIVATE KEY" not in everything
    if mode == "snapshot":
        assert found.code.omitted[".env"] == "may hold secrets"


def test_a_private_key_stays_behind_whatever_it_is_called(tree: Path) -> None:
    for kind in ("", "OPENSSH ", "RSA "):
        (tree / f"mykey{kind.strip()}").write_text(f"-----BEGIN {kind}PRIVATE KEY-----\nc2VjcmV0\n")
    (tree / "about.md").write_text("It begins with -----BEGIN PRIVATE KEY-----.\n")
    found = capture(str(tree), "snapshot", os.environ)
    kept = {path for path, why in found.code.omitted.items() if why == "holds a private key"}
    assert kept == {"mykey", "mykeyOPENSSH", "mykeyRSA"}
    assert "code/about.md" in found.files
    assert not kept & {path.removeprefix("code/") for path in found.files}


def test_links_out_of_the_tree_and_large_files_stay_behind_with_the_reason(tree: Path) -> None:
    (tree / "outside").symlink_to("/etc/hostname")
    with (tree / "large.bin").open("wb") as file:
        file.truncate(FILE_CAP + 1)
    omitted = capture(str(tree), "snapshot", os.environ).code.omitted
    assert "leads out" in omitted["outside"]
    assert "larger than" in omitted["large.bin"]


def test_looking_does_not_change_the_work_tree(tree: Path) -> None:
    index = tree / ".git" / "index"
    before = index.stat().st_mtime_ns
    capture(str(tree), "here", os.environ)
    assert index.stat().st_mtime_ns == before


def test_outside_of_git_a_snapshot_walks_and_skips_environments(home: Path) -> None:
    (home / "w" / ".venv").mkdir(parents=True)
    (home / "w" / ".venv" / "x.py").write_text("")
    (home / "w" / "a.py").write_text("")
    found = capture(str(home / "w"), "snapshot", {})
    assert set(found.files) == {"code/a.py"}
    assert found.code.commit is None


def test_a_cwd_that_cannot_be_read_is_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="--cwd"):
        capture(str(home / "nowhere"), "here", {})


def test_only_a_fixed_list_of_variables_is_recorded_with_values() -> None:
    environ = {
        "PATH": "/bin",
        "HF_TOKEN": "hf_x",
        "CUDA_HOME": "/c",
        "PYTHONPATH": "/p",
        "HOME": "/",
    }
    values, names = recorded_environ(environ)
    assert set(values) == {"PATH", "CUDA_HOME", "PYTHONPATH"}
    assert names == ("HF_TOKEN", "HOME")


def test_a_snapshot_of_an_empty_directory_can_still_be_entered(tree: Path) -> None:
    (tree / "empty").mkdir()
    found = capture(str(tree / "empty"), "snapshot", {})
    assert "code/empty/.traindeck-empty" in found.files


def test_a_link_to_what_stays_behind_stays_behind(tree: Path) -> None:
    (tree / "config.txt").symlink_to(".env")
    (tree / "weights.bin").symlink_to("big.ckpt")  # ignored by git
    (tree / "same.py").symlink_to("new.py")
    found = capture(str(tree), "snapshot", os.environ)
    assert "code/config.txt" not in found.files and "code/weights.bin" not in found.files
    assert "code/same.py" in found.files
    assert "stays behind" in found.code.omitted["config.txt"]
    assert "stays behind" in found.code.omitted["weights.bin"]


def test_a_folder_that_git_only_names_is_said_to_stay_behind(tree: Path) -> None:
    inner = tree / "vendor"
    subprocess.run(["git", "init", "-q", str(inner)], check=True)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "-C", str(inner), "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    subprocess.run([*git, "-C", str(tree), "add", "vendor"], check=True, capture_output=True)
    assert "submodule" in capture(str(tree), "snapshot", os.environ).code.omitted["vendor"]
