"""`show --script`: a script of its own, that says where the code in place is not what ran."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .conftest import Cli


def git(cwd: Path, *words: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", *identity, *words], cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def tree(cli: Cli) -> Path:
    work = cli.cwd / "it's mine"
    work.mkdir()
    cli.cwd = work
    git(work, "init", "-q")
    (work / "train.sh").write_text("echo one\n")
    git(work, "add", ".")
    git(work, "commit", "-qm", "one")
    return work


def again(cli: Cli) -> tuple[str, list[str]]:
    """Stdout and warnings of the script of a run of train.sh."""
    run = cli.run("sh", "train.sh")
    cli("wait", run)
    return script_of(cli, run)


def script_of(cli: Cli, run: str) -> tuple[str, list[str]]:
    text = cli.ok("show", "--script", run)
    done = subprocess.run(["sh"], input=text, capture_output=True, text=True, check=True, cwd="/")
    return done.stdout, done.stderr.splitlines()


def test_the_script_of_code_that_is_as_it_was_says_nothing(cli: Cli, tree: Path) -> None:
    assert again(cli) == ("one\n", [])


def test_the_script_warns_of_another_commit_and_runs(cli: Cli, tree: Path) -> None:
    run = cli.run("sh", "train.sh")
    cli("wait", run)
    (tree / "train.sh").write_text("echo two\n")
    out, (warning,) = script_of(cli, run)
    assert out == "two\n" and "has uncommitted changes, the run had none" in warning
    git(tree, "commit", "-qam", "two")
    out, (warning,) = script_of(cli, run)
    assert out == "two\n" and f"{tree} is at git " in warning and ", the run was of " in warning


def test_the_script_warns_of_captured_changes_and_names_them(cli: Cli, tree: Path) -> None:
    (tree / "train.sh").write_text("echo changed\n")
    out, (warning,) = again(cli)
    assert out == "changed\n" and "uncommitted changes" in warning
    patch = Path(warning.rpartition(": ")[2])
    assert "+echo changed" in patch.read_text()
    patch.unlink()
    run = patch.parts[-4]
    assert "they were not kept" in script_of(cli, run)[1][0]


def test_the_script_runs_where_the_repository_is_none_any_more(cli: Cli, tree: Path) -> None:
    run = cli.run("sh", "train.sh")
    cli("wait", run)
    (tree / ".git").rename(tree / "gone")
    out, (warning,) = script_of(cli, run)
    assert out == "one\n" and "is at git unknown" in warning, "of changes nothing is known"
