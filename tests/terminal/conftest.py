"""Fixtures that every terminal test inherits: the real program in a pty."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from terminal_probe import StartDeck, Terminal

PROGRAM = Path(__file__).parent / "deck_program.py"


@pytest.fixture
def start_deck() -> Iterator[StartDeck]:
    """Starts the application over a fake world in a pty; see deck_program.py for the options."""
    started: list[Terminal] = []

    def start(
        *options: str,
        cells: int = 120,
        rows: int = 40,
        width_of_signs: int = 3,
        **variables: str,
    ) -> Terminal:
        env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", **variables}
        env = {name: value for name, value in env.items() if value}
        terminal = Terminal(
            [sys.executable, str(PROGRAM), *options],
            env,
            cells=cells,
            rows=rows,
            width_of_signs=width_of_signs,
        )
        started.append(terminal)
        return terminal

    yield start
    for terminal in started:
        terminal.close()
