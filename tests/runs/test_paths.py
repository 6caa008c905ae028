"""What completes a path: as a shell does it, and never waited for."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.mounts import DEAD, dead_mount

from traindeck.console.runs import paths
from traindeck.console.runs.drafting import Draft
from traindeck.console.runs.paths import rest_in, rest_of


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with some folders and files, which is also where we were started."""
    for folder in ("models/llama-1b", "models/llama-8b", "data/chats", ".cache"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("data/chats.jsonl", "train.py", "models/llama.md"):
        (tmp_path / file).touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("mod", "els/"),
        ("models", "/"),
        ("models/", "llama"),
        ("models/llama-", ""),
        ("models/llama-8", "b/"),
        ("./tr", "ain.py"),
        ("train.py", ""),
        ("data/c", "hats"),
        ("data/chats", ""),
        ("data/chats.", "jsonl"),
        ("~", "/"),
        ("~/mo", "dels/"),
        ("~nobody-of-that-name/x", None),
        (".c", "ache/"),
        ("..", "/"),
        ("x", ""),
        ("nowhere/x", None),
    ],
)
def test_a_path_is_completed_as_a_shell_does_it(home: Path, text: str, rest: str | None) -> None:
    if rest is None:
        with pytest.raises(OSError, match="No such file"):
            rest_of(text)
    else:
        assert rest_of(text) == rest
        if text[0] not in "~.":
            assert rest_of(f"{home}/{text}") == rest


def test_where_a_folder_is_meant_files_do_not_stand_in_the_way(home: Path) -> None:
    assert rest_of("data/chats", folders=True) == "/"
    assert rest_of("tr", folders=True) == ""


async def test_a_relative_path_begins_in_the_folder_of_the_form(home: Path) -> None:
    draft = Draft(fields={"cwd": "~/data"})
    assert await rest_in(draft, "data", "chats.") == "jsonl"
    assert await rest_in(Draft(), "data", "chats.") == ""
    assert await rest_in(draft, "cwd", "mod") == "els/"
    assert await rest_in(draft, "model", "nowhere/x") == ""
    assert await rest_in(draft, "model", "a\0b") == ""


def test_of_a_large_folder_no_more_is_read_than_it_takes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "a0").touch()
    read = 0

    class Large:
        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return self.names()

        def __exit__(self, *args: object) -> None: ...

        def names(self) -> Iterator[os.DirEntry[str]]:
            nonlocal read
            found = {entry.name: entry for entry in scan(home)}
            for name in ("data", "models", *["a0"] * 100_000):
                read += 1
                yield found[name]

    scan = os.scandir
    monkeypatch.setattr(paths.os, "scandir", lambda where: Large())
    assert rest_of("") == ""
    assert read == 2
    assert rest_of("m") == "odels/"
    assert read == 2 + 100_002


async def test_a_mount_that_never_answers_is_not_waited_for_and_takes_few_threads(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "PATIENCE", 0.05)
    with dead_mount():
        for _ in range(10):
            assert await rest_in(Draft(), "model", f"{DEAD}/x") == ""
        hanging = [thread for thread in threading.enumerate() if thread.name == "path"]
        assert len(hanging) == paths.AT_ONCE
        assert all(thread.daemon for thread in hanging)  # the program ends without them
    while any(thread.name == "path" for thread in threading.enumerate()):
        await asyncio.sleep(0.01)
    monkeypatch.setattr(paths, "PATIENCE", 10)
    assert await rest_in(Draft(), "model", "mod") == "els/"
