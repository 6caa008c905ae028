"""`S` in the screens: the terminal is a shell's for a while, and then as it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal_probe import Terminal

pytestmark = pytest.mark.terminal

MAIN = [sys.executable, "-m", "traindeck.console.cli.main"]


@pytest.fixture
def deck(home: Path) -> Iterator[Terminal]:
    """The real program with one real run that goes on."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR")}
    env = {**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8", "SHELL": "/bin/sh", "ENV": ""}
    run = subprocess.run(
        [*MAIN, "run", "-q", "--name", "calm-fox", "--env", "PS1=inner$ ", "--", "sleep", "600"],
        env=env, cwd=home, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    terminal = Terminal(MAIN, env, cells=100, rows=30)
    yield terminal
    terminal.close()
    subprocess.run([*MAIN, "stop", "--grace", "1s", run], env=env, check=True)


def without_ages(terminal: Terminal) -> list[str]:
    """The list, which counts on."""
    return [re.sub(r"\s*\d+s", "", line) for line in terminal.text.split("\n")[3:8]]


def test_the_screen_comes_back_as_it_was(deck: Terminal) -> None:
    deck.wait("selected 1/1")
    deck.quiet()
    before = without_ages(deck)
    deck.press("S")
    deck.wait(lambda t: "inner$" in t.text)
    deck.press("stty size; basename $TRAINDECK_RUN_DIR\r")
    deck.wait("30 100")
    at = len(deck.raw)
    deck.press("echo nothing; sleep 2.5; echo paints\r")  # the list would paint each second
    deck.wait(lambda t: "\npaints" in t.text)
    assert b"selected 1/1" not in deck.raw[at:]
    assert b"traindeck" not in deck.raw[at:]
    deck.press("exit 3\r")
    deck.wait("the shell ended with 3")
    deck.wait("calm-fox")
    deck.wait(lambda t: before == without_ages(t))
    deck.press("?")
    deck.wait("KEYS ON THIS SCREEN")
    deck.press("escape")
    deck.wait(lambda t: "KEYS ON THIS SCREEN" not in t.text)
    deck.resize(90, 25)
    deck.wait(lambda t: "selected 1/1" in t.screen.display[24])
    deck.press("q")
    assert deck.ended() == 0
