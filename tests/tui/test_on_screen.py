"""What is written to the terminal is what it needs to show the wanted cells, and no more."""

from __future__ import annotations

import functools

import pyte
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style

from traindeck.console.tui.on_screen import UNKNOWN, Cell, OnScreen, cells_of

CELLS, ROWS = 24, 4

styles = st.sampled_from(
    [
        Style(),
        Style(color="#e0e0e0", bgcolor="#101010"),
        Style(color="#ff0000", bgcolor="#101010", bold=True),
        Style(color="#ff0000", bgcolor="#203040"),
        Style(bgcolor="#203040", underline=True),
        Style(color="red", reverse=True),
    ]
)
texts = st.text(st.sampled_from("aab  ·━●漢字e\u0301é"), min_size=1, max_size=9)
segments = st.lists(st.builds(Segment, texts, styles), min_size=1, max_size=5)
pieces = st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(0, CELLS - 1), segments))


class Seen:
    """A terminal."""

    def __init__(self) -> None:
        # One more: pyte lets a mark behind the last column scroll the screen.
        self.screen = pyte.Screen(CELLS + 1, ROWS)
        self._stream = pyte.Stream(self.screen)

    def feed(self, text: str) -> Seen:
        self._stream.feed(text)
        return self

    def cell(self, y: int, x: int) -> object:
        """What is in a cell; two blanks of one ground are the same, whatever their ink."""
        char = self.screen.buffer[y][x]
        blank = char.data == " " and not (char.reverse or char.underscore)
        return (char.data, char.bg) if blank else char


@functools.lru_cache(maxsize=100)
def shown(row: tuple[Cell, ...], y: int) -> Seen:
    """A row written from left to right, each cell with all of its style."""
    seen = Seen().feed(f"\x1b[{y + 1};1H")
    for char, style in row:
        seen.feed("\x1b[C" if (char, style) == UNKNOWN else (style or Style()).render(char or ""))
    return seen


def fitting(y: int, x: int, given_segments: list[Segment]) -> tuple[int, int, list[Cell]]:
    cells = cells_of(given_segments)[: CELLS - x]
    while cells and cell_len(cells[-1][0]) == 2:
        cells.pop()  # its second half is beyond the edge
    return y, x, cells


@given(st.lists(pieces, max_size=6), st.booleans())
def test_the_terminal_shows_what_was_wanted(
    frames: list[list[tuple[int, int, list[Segment]]]], wary: bool
) -> None:
    screen, terminal = OnScreen(), Seen()
    screen.wary = wary
    for frame in frames:
        fitted = [fitting(*piece) for piece in frame]
        terminal.feed(screen.write(fitted, ColorSystem.TRUECOLOR))
        for y, row in enumerate(screen._rows):
            wanted = shown(tuple(row), y)
            for x, cell in enumerate(row):
                if cell != UNKNOWN:
                    assert terminal.cell(y, x) == wanted.cell(y, x), (y, x, row)
        for y, x, cells in fitted[-1:]:  # the last piece lies over all others
            assert screen._rows[y][x : x + len(cells)] == cells
        assert screen.write(fitted[-1:], ColorSystem.TRUECOLOR) == ""


INK = Style(color="#e0e0e0", bgcolor="#101010")


def piece(text: str, style: Style = INK, y: int = 0) -> list[tuple[int, int, list[Cell]]]:
    return [(y, 0, cells_of([Segment(text, style)]))]


def test_only_the_cells_that_differ_are_written() -> None:
    screen = OnScreen()
    first = screen.write(piece("run   41s  loss 0.512"), ColorSystem.TRUECOLOR)
    assert "run   41s  loss 0.512" in first
    second = screen.write(piece("run   42s  loss 0.512"), ColorSystem.TRUECOLOR)
    assert second.startswith("\x1b[1;8H") and second.count("2") > 0 and "s" not in second
    assert len(second) < 60
    assert screen.write(piece("run   42s  loss 0.512"), ColorSystem.TRUECOLOR) == ""


def test_the_same_text_in_another_colour_is_another() -> None:
    screen = OnScreen()
    screen.write(piece("failed"), ColorSystem.TRUECOLOR)
    red = screen.write(
        piece("failed", Style(color="#ff0000", bgcolor="#101010")), ColorSystem.STANDARD
    )
    assert "failed" in red


def test_what_was_forgotten_is_written_again() -> None:
    screen = OnScreen()
    first = screen.write(piece("hello"), ColorSystem.TRUECOLOR)
    screen.forget()
    assert screen.write(piece("hello"), ColorSystem.TRUECOLOR) == first


def test_a_row_with_wide_characters_is_written_whole() -> None:
    screen = OnScreen()
    screen.write(piece("漢字 41s"), ColorSystem.TRUECOLOR)
    assert "漢字 42s" in screen.write(piece("漢字 42s"), ColorSystem.TRUECOLOR)


def test_where_signs_may_be_wide_a_row_that_holds_one_is_written_whole() -> None:
    screen = OnScreen()
    screen.wary = True
    screen.write(piece("● run 41s"), ColorSystem.TRUECOLOR)
    assert "● run 42s" in screen.write(piece("● run 42s"), ColorSystem.TRUECOLOR)
    screen.write(piece("* run 41s", y=1), ColorSystem.TRUECOLOR)
    assert "run" not in screen.write(piece("* run 42s", y=1), ColorSystem.TRUECOLOR)


def test_an_emoji_of_several_characters_takes_its_cells() -> None:
    cells = cells_of([Segment("a👩‍💻b", INK), Segment("c", INK)])
    assert "".join(char for char, _ in cells) == "a👩‍💻bc"
    assert cells[-1] == ("c", INK) and len(cells) == 5
