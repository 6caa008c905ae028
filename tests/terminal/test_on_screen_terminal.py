"""Only what differs is written to the terminal, and yet it shows what it would show if everything
were: each screen is held against itself, drawn anew."""

from __future__ import annotations

import os
import signal

import pytest
from terminal_probe import StartDeck, Terminal

pytestmark = pytest.mark.terminal

WALK = (
    "j", "G", "home", "space", "v", "j", "v", "escape", "escape", "/", "vit", "enter", "escape",
    "o", "escape", "O", "b", "O", "s", "c", "escape", "e", "escape", "?", "escape", ":", "escape",
    "enter", "2", "+", "3", "escape", "l", "escape", "n", "j", "escape", "pagedown", "s", "escape",
)  # fmt: skip
"""Through lists, tabs, dialogs and forms, with what lies over what."""


def cells(deck: Terminal) -> list[list[tuple[str, str, str, bool, bool]]]:
    """What is seen: blanks have no ink."""
    found = []
    for y in range(deck.rows):
        row = [deck.screen.buffer[y][x] for x in range(deck.cells)]
        found.append(
            [(c.data, "" if c.data == " " else c.fg, c.bg, c.bold, c.reverse) for c in row]
        )
    return found


TYPED = {"/", "vit", "e", "n", "j"}
"""Keys after which a text cursor may blink."""


@pytest.mark.parametrize(("size", "options"), [((80, 24), ()), ((120, 40), ("--nasty",))])
def test_every_screen_is_what_a_full_drawing_shows(
    start_deck: StartDeck, size: tuple[int, int], options: tuple[str, ...]
) -> None:
    deck = start_deck(*options, cells=size[0], rows=size[1])
    deck.wait("selected 1/")
    deck.quiet(1.0)  # half a second after the start a run's curve and log are fetched
    for key in WALK:
        deck.press(key)
        deck.quiet(0.4)
        seen, before = cells(deck), deck.written
        deck.press("ctrl+l")
        deck.wait(lambda t, before=before: t.written > before + 2000)  # type: ignore[misc]
        deck.quiet(0.1)
        drawn = cells(deck)
        wrong = [
            (y, x, seen[y][x], cell)
            for y, row in enumerate(drawn)
            for x, cell in enumerate(row)
            if cell != seen[y][x]
        ]
        blinks = key in TYPED and len(wrong) == 1
        assert not wrong or blinks, f"after {key}: {wrong[:5]}\n{deck.text}"


@pytest.mark.parametrize("busy", [False, True], ids=["ready", "busy"])
def test_a_resized_terminal_is_drawn_anew(start_deck: StartDeck, busy: bool) -> None:
    deck = start_deck(cells=120, rows=40)
    deck.wait("selected 1/")
    deck.quiet(1.0)
    seen = cells(deck)
    if busy:  # it learns of both at once, and of no other size
        os.kill(deck.pid, signal.SIGSTOP)
    for size in ((90, 30), (120, 40)):
        deck.resize(*size)
        deck.screen.erase_in_display(2)  # as good as what a terminal leaves of it
        deck.quiet(0.4)
    if busy:
        os.kill(deck.pid, signal.SIGCONT)
    deck.wait(lambda t: cells(t) == seen)


def test_little_is_written_while_ages_grow(start_deck: StartDeck) -> None:
    """A person behind a slow link looks on: 50 rows report twenty values a second."""
    deck = start_deck("--rows", "1000", "--hz", "10", cells=80, rows=24)
    deck.wait("selected 1/")
    deck.quiet(0.3, timeout=2.0)
    assert deck.listen(3.0) < 3 * 8192
