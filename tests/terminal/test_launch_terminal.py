"""Launching through the screen for real: the program in a pty, a real run, a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from terminal_probe import Terminal

TRAINDECK = [sys.executable, "-m", "traindeck.console.cli.main"]


@pytest.fixture
def deck(home: Path) -> Iterator[Terminal]:
    """The screen over an empty home."""
    work = home / "work"
    work.mkdir()
    env = {**os.environ, "COLORTERM": "truecolor", "LANG": "C.UTF-8", "PWD": str(work)}
    before = Path.cwd()
    os.chdir(work)
    terminal = Terminal(TRAINDECK, env)
    os.chdir(before)
    yield terminal
    terminal.close()


def runs() -> list[dict[str, Any]]:
    """The runs there are, by the command line."""
    done = subprocess.run(
        [*TRAINDECK, "ls", "--json"], capture_output=True, text=True, check=True, timeout=60
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_a_command_is_launched_through_the_form_and_seen_in_the_list(deck: Terminal) -> None:
    deck.wait("new")
    deck.press("n")
    deck.wait("WHEN IT ENDS")
    deck.press(*"true")
    deck.wait("up to date")
    assert "nothing is started yet" in deck.text
    assert runs() == []
    deck.press("tab", *"my-first")
    deck.wait("launch my-first on local")
    deck.press("\x07")  # ctrl+g
    deck.wait("my-first")
    deck.wait(lambda terminal: "✓ done" in terminal.text and "my-first" in terminal.text)
    (run,) = runs()
    assert (run["name"], run["state"], run["exit_code"]) == ("my-first", "succeeded", 0)
    deck.press("q")
    assert deck.ended() == 0


def test_launching_again_with_changes_starts_from_the_run(deck: Terminal) -> None:
    subprocess.run(
        [*TRAINDECK, "run", "-q", "--name", "before", "--tag", "lr=1", "--", "echo", "two words"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    deck.wait("before")
    deck.wait("✓ done")
    deck.press("N")
    deck.wait("echo 'two words'")
    deck.wait("up to date")
    deck.press(*" more")
    deck.wait("echo 'two words' more")
    deck.wait("up to date")
    deck.press("\x07")
    deck.wait("launched")
    again = next(run for run in runs() if run["name"] != "before")
    assert again["tags"] == {"lr": "1"}
    logs = subprocess.run(
        [*TRAINDECK, "logs", "-f", again["id"]], capture_output=True, text=True, timeout=60
    )
    assert logs.stdout == "two words more\n"


def test_a_theme_chosen_in_the_settings_is_in_the_file(deck: Terminal, home: Path) -> None:
    deck.wait("new")
    deck.press(":")
    deck.quiet()
    deck.press(*"settings", "enter")
    deck.wait("SETTINGS")
    deck.press("space")
    deck.wait("settings.yaml, line 1")
    (file,) = home.rglob("settings.yaml")
    assert file.read_text().startswith("theme: ")
    deck.press("u")
    deck.wait(lambda terminal: "theme" not in file.read_text())
