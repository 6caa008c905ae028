"""Whatever a log holds, what is shown is harmless, lines up, and hides nothing."""

from __future__ import annotations

import os
import random
import unicodedata
from resource import RUSAGE_SELF, getrusage

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from traindeck.console.logs.neutral import (
    PLAIN,
    LogLine,
    Span,
    Style,
    clip,
    column,
    neutral,
    place,
    wrap,
    wrap_words,
)
from traindeck.console.logs.widths import width

FUZZED = int(os.environ.get("SOAK", "0")) * 500 or 20_000
"""Records: a million where `make soak` sets SOAK to its 2,000."""

NASTY = [
    b"\x1b",
    b"\x1b[",
    b"\x1b]",
    b"\x1bP",
    b"\x1b_",
    b"\x1b[31m",
    b"\x1b[0m",
    b"\x1b[38;5;",
    b"\x1b[38;2;1;2;3m",
    b"\x1b]52;c;aGk=\x07",
    b"\x1b]0;title\x1b\\",
    b"\x1b]8;;http://a\x1b\\",
    b"\x1b[2J",
    b"\x1b[10;10H",
    b"\x1b[?1049h",
    b"\x9b31m",
    b"\xc2\x9b31m",
    b"\xc2\x85",
    b"\x00" * 9,
    b"\x07\x08\x7f",
    b"\t",
    b"\xff\xfe\xc3",
    "日本語".encode(),
    "🫨👩‍👩‍👧🇩🇪👍🏽".encode(),
    ("e" + "\u0301" * 40).encode(),
    "\u202eevil\u2066x\u200b\ufeff".encode(),
    "\u2028\u2029".encode(),
    "한글ᄒ\u1161\u11ab".encode(),
    b"plain words ",
    b";:0123456789",
]


def harmless(line: LogLine) -> bool:
    """No control, no format character, nothing unassigned: nothing a terminal would act upon."""
    return line.text.isprintable() or all(
        c.isprintable() or unicodedata.category(c) in ("Co", "Zs") or width(c) > 0
        for c in line.text
    )


def check(data: bytes) -> None:
    line = neutral(data)
    assert harmless(line), data
    assert "\u202e" not in line.text and "\u200d" not in line.text
    assert line.cells == sum(map(width, line.text)), data
    if line.narrow:
        assert line.cells == len(line.text), data
    end = 0
    for span in line.spans:
        assert end <= span.start < span.end <= len(line.text), data
        assert span.style != PLAIN
        end = span.end
    assert "".join(text for text, _ in line.pieces()) == line.text


@pytest.mark.slow
def test_no_bytes_whatever_reach_a_terminal() -> None:
    """Seeded records of arbitrary bytes and of the nastiest pieces; a million in `make soak`."""
    rng = random.Random(20_26)
    for number in range(FUZZED):
        if number == FUZZED // 4:
            before = getrusage(RUSAGE_SELF).ru_maxrss
        if rng.random() < 0.2:
            data = rng.randbytes(rng.randrange(60))
        else:
            data = b"".join(
                rng.choice(NASTY) if rng.random() < 0.8 else rng.randbytes(rng.randrange(4))
                for _ in range(rng.randrange(8))
            )
        check(data)
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 16 << 10, "it grows with what it reads"


@settings(deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=100).map(str.encode))
def test_arbitrary_bytes_are_harmless(data: bytes) -> None:
    check(data)


def test_every_character_of_unicode_is_as_wide_here_as_in_textual() -> None:
    """All planes in which characters are assigned; of the others one stretch."""
    for start in (*range(0, 0x40000, 64), *range(0xE0000, 0xE1000, 64), 0xFFFC0, 0x10FFC0):
        codes = [
            c for c in range(start, start + 64) if not 0xD800 <= c <= 0xDFFF and c not in (10, 13)
        ]
        line = neutral("x".join(map(chr, codes)).encode())
        if cell_len(line.text) != line.cells or not harmless(line):
            for code in codes:
                single = neutral(b"x" + chr(code).encode())
                assert cell_len(single.text) == single.cells, hex(code)
                assert harmless(single), hex(code)


@pytest.mark.parametrize(
    ("sequence", "what"),
    [
        (b"\x1b]52;c;ZXZpbA==\x07", "the clipboard"),
        (b"\x1b]0;owned\x07", "the title, ended by BEL"),
        (b"\x1b]2;owned\x1b\\", "the title, ended by ST"),
        (b"\x1b]8;;https://evil\x1b\\", "a link"),
        (b"\x1b]1337;File=inline=1:AAAA\x07", "an inline file"),
        (b"\x1bP+q544e\x1b\\", "a device control string"),
        (b"\x1b_Ga=T;AAAA\x1b\\", "graphics"),
        (b"\x1b^private\x1b\\", "a privacy message"),
        (b"\x1bXstring\x1b\\", "a start of string"),
        (b"\x1b[2J", "erase"),
        (b"\x1b[1;1H", "move"),
        (b"\x1b[?25l", "hide the cursor"),
        (b"\x1b[?1049h", "the other screen"),
        (b"\x1b[6n", "a report that types"),
        (b"\x1b[>4;1m", "keyboard modes, which end in m too"),
        (b"\x1b[!p", "soft reset"),
        (b"\x1bc", "reset"),
        (b"\x1b(0", "another character set"),
        (b"\x1b#8", "the screen alignment test"),
        (b"\x1b[200~", "paste brackets"),
        (b"\x07", "the bell"),
        (b"\x08\x08", "backspace"),
    ],
)
def test_escapes_do_nothing_and_leave_no_trace(sequence: bytes, what: str) -> None:
    line = neutral(b"before" + sequence + b"after")
    assert (line.text, line.spans) == ("beforeafter", ()), what


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"a\x1b]52;c;visible", "a52;c;visible"),
        (b"a\x1bPrest of the line", "arest of the line"),
        (b"a\x1b[31", "a31"),
        (b"a\x1b", "a␛"),
        (b"a\x1b[8mconcealed", "aconcealed"),
        (b"a\x1b[31\x07m", "a31m"),
        ("a\u009b31mred".encode(), "a\ufffd31mred"),
        (b"a\x9b31mred", "a\ufffd31mred"),
    ],
)
def test_what_is_cut_off_or_concealed_is_shown_rather_than_hidden(data: bytes, shown: str) -> None:
    assert neutral(data).text == shown


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"a\x00b\x01\x7f", "a␀b␁␡"),
        (b"\x00" * 5000, "␀×5000"),
        (b"a\tb\tc", "a       b       c"),
        ("日\tb".encode(), "日      b"),
        ("x\u202etxt\u202c".encode(), "x�txt�"),
        ("p\u200bass\u00adword\ufeff".encode(), "password"),
        ("👩\u200d👩\u200d👧 👍🏽 ❤\ufe0f".encode(), "👩👩👧 👍 ❤"),
        ("\u0301start".encode(), "◌\u0301start"),
        ("e\u0301".encode(), "e\u0301"),
        (("e" + "\u0301" * 50 + "f").encode(), "e" + "\u0301" * 4 + "f"),
        ("one\u2028two\u0085three".encode(), "one␤two␤three"),
        (b"caf\xe9 \xff", "caf\ufffd \ufffd"),
        (b"\xf0\x9f\x98", "\ufffd"),
    ],
)
def test_characters_that_would_deceive_are_dropped_or_pictured(data: bytes, shown: str) -> None:
    assert neutral(data).text == shown


def test_colours_and_weights_become_spans() -> None:
    line = neutral(
        b"\x1b[1;31mred\x1b[0m \x1b[38;5;208mpal\x1b[39m\x1b[48;2;1;2;3mtrue\x1b[m"
        b"\x1b[38:2::9:8:7;3;4;7mcolon\x1b[22;23;24;27mx\x1b[90;107;2;9mbright"
    )
    assert line.text == "red paltruecolonxbright"
    assert line.spans == (
        Span(0, 3, Style(fg=1, bold=True)),
        Span(4, 7, Style(fg=208)),
        Span(7, 11, Style(bg=(1, 2, 3))),
        Span(11, 16, Style(fg=(9, 8, 7), italic=True, underline=True, reverse=True)),
        Span(16, 17, Style(fg=(9, 8, 7))),
        Span(17, 23, Style(fg=8, bg=15, dim=True, strike=True)),
    )


@pytest.mark.parametrize(
    "parameters",
    [b"38;5", b"38;2;1;2", b"38;5;999", b"99999999999999999999", b"38;9;1", b":::", b"5"],
)
def test_colours_that_make_no_sense_change_nothing(parameters: bytes) -> None:
    line = neutral(b"\x1b[" + parameters + b"mtext")
    assert (line.text, line.spans) == ("text", ())


LINES = st.lists(
    st.sampled_from(
        ["a", "bc", "日", "🫨", "e\u0301", "\t", "\x1b[31m", "\x1b[0m", "\u0301", "─", "\x00"]
    ),
    max_size=30,
).map(lambda parts: "".join(parts).encode())


def drawn(line: LogLine) -> list[tuple[str, Style]]:
    """The line as a terminal's cells; the second cell of a wide character is empty."""
    cells: list[tuple[str, Style]] = []
    for text, style in line.pieces():
        for character in text:
            wide = width(character)
            if wide == 0:
                cells[-1 if cells[-1][0] else -2] = (
                    cells[-1 if cells[-1][0] else -2][0] + character,
                    style,
                )
            else:
                cells += [(character, style)] + [("", style)] * (wide - 1)
    return cells


@given(LINES, st.integers(0, 40), st.integers(0, 40))
def test_a_clipped_line_is_exactly_that_stretch_of_cells(data: bytes, left: int, size: int) -> None:
    line = neutral(data)
    whole = [character for character, _ in drawn(line)]
    expected = whole[left : left + size]
    if expected and expected[0] == "":
        expected[0] = " "
    if expected and len(whole) > left + size and whole[left + size] == "":
        expected[-1] = " "
    part = clip(line, left, size)
    assert [character for character, _ in drawn(part)] == expected
    assert part.cells == len(expected)
    if "\u0301" not in line.text:
        for cell, style in zip(drawn(part), drawn(line)[left : left + size], strict=True):
            assert cell[1] in (style[1], PLAIN)


@given(LINES, st.integers(2, 20))
def test_wrapped_rows_fit_and_lose_nothing(data: bytes, size: int) -> None:
    line = neutral(data)
    rows = wrap(line, size)
    assert "".join(row.text for row in rows) == line.text
    assert all(row.cells <= size for row in rows)
    assert all(row.cells == sum(map(width, row.text)) for row in rows)
    assert sum(row.cells for row in rows) == line.cells
    assert [c for row in rows for c in drawn(row)] == drawn(line)


@given(LINES, st.integers(2, 20))
@example(b"a\t\xcc\x81", 7)
def test_rows_cut_between_words_fit_and_lose_nothing(data: bytes, size: int) -> None:
    line = neutral(data)
    rows = wrap_words(line, size)
    assert "".join(row.text for row in rows) == line.text
    assert all(row.cells - row.text.endswith(" ") <= size for row in rows)
    assert all(row.cells == sum(map(width, row.text)) for row in rows)
    assert [c for row in rows for c in drawn(row)] == drawn(line)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a capacity of 79.10 GiB", ["a capacity", "of 79.10", "GiB"]),
        ("0123456789 ab", ["0123456789", "ab"]),
        ("0123456789abc de", ["0123456789", "abc de"]),
        ("   0123456789abc", ["   0123456", "789abc"]),
        ("日本語日本 語 ab", ["日本語日本", "語 ab"]),
    ],
)
def test_only_a_word_longer_than_a_row_is_broken(text: str, rows: list[str]) -> None:
    assert [row.text.rstrip() for row in wrap_words(neutral(text.encode()), 10)] == rows


@given(LINES, LINES, LINES)
def test_the_place_of_a_hit_is_where_its_text_is_shown(a: bytes, b: bytes, c: bytes) -> None:
    data = a + b"needle" + b + b"needle" + c
    line = neutral(data)
    at = [n for n in range(len(data)) if data.startswith(b"needle", n)]
    for offset in at:
        first, last = place(line, data, offset), place(line, data, offset + 6)
        assert line.text[first:last] == "needle"
        assert column(line, first) == sum(map(width, line.text[:first]))
    assert place(line, data, 0) == 0 or data.startswith((b"\x1b", b"\xcc"))
    assert place(line, data, len(data)) <= len(line.text)


def test_a_hostile_line_takes_time_in_proportion_to_its_length() -> None:
    """Half a megabyte of each: a pattern that backtracks would not end in this life."""
    for piece in (
        b"\x1b]",
        b"\x1b[",
        b"\x1b[1;",
        b"\x1bP;",
        b"9" * 30,
        "\u0301".encode(),
        b"\x1b[38;",
    ):
        check(piece * (500_000 // len(piece)))
    check(b"\x1b[" + b"9" * 500_000 + b"m")
    check(b"\x1b[" + b"1;" * 250_000 + b"m")
