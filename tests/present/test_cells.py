"""What anybody may call a run, and that it neither breaks the grid nor does anything."""

import sys
import unicodedata

import pytest
import wcwidth
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from traindeck.console.present.cells import (
    Span,
    clean,
    clip,
    clip_line,
    distinct,
    fit,
    fit_line,
    line_width,
    plain,
    take,
    take_end,
    width,
)
from traindeck.console.present.glyphs import SETS, ascii_text

NASTY = [
    "実験-学習率",
    "emoji 🚀👨‍👩‍👧‍👦❤️🇩🇪👍🏽",
    "e\u0301\u0301\u0301\u0301\u0301\u0301 zalgo",
    "שלום עולם",
    "مرحبا",
    "[bold]not markup[/]",
    "\x1b[31mred\x1b]52;c;aGk=\x07",
    "two\nlines\tand\rmore",
    "\x9b31m",
    "\x00\x7f",
    "हिन्दी नाम",
    "각 한글",
    "\u200b\ufeff\u2028",
    "a" * 4000,
    "\ud800 surrogate",
    "\U0001f9ff\U0001fae8",
]


def test_every_character_of_unicode_gets_the_width_the_terminal_gives_it() -> None:
    wrong, known = [], set()
    for code in range(0x20, sys.maxunicode + 1):
        shown = clean("x" + chr(code))
        if shown in known:
            continue  # most are unassigned, and shown as one and the same
        known.add(shown)
        if not width(shown) == cell_len(shown) == wcwidth.wcswidth(shown):
            wrong.append(hex(code))
    assert wrong == []


def test_nothing_that_survives_can_move_the_cursor() -> None:
    for code in range(sys.maxunicode + 1):
        for char in clean(chr(code)):
            assert unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp"), hex(code)


@pytest.mark.parametrize("text", NASTY)
def test_a_name_of_any_kind_fills_its_column_exactly(text: str) -> None:
    for cells in (0, 1, 2, 3, 7, 18, 40):
        for keep in ("start", "end", "both"):
            shown = fit(clean(text), cells, keep=keep)
            assert width(shown) == cell_len(shown) == cells


def test_what_a_person_wrote_is_shown_and_not_obeyed() -> None:
    assert clean("[bold]x[/]") == "[bold]x[/]"
    assert clean("\x1b[31mred") == "␛[31mred"
    assert clean("two\nlines") == "two␊lines"
    assert clean("🇩🇪") == "DE"
    assert clean("実験") == "実験"
    assert clean("e\u0301") == "é"


@given(st.text(max_size=60), st.integers(0, 30))
def test_cutting_never_needs_more_cells_than_it_was_given(text: str, cells: int) -> None:
    safe = clean(text)
    assert width(take(safe, cells)) <= cells
    assert width(take_end(safe, cells)) <= cells
    assert safe.startswith(take(safe, cells))
    assert safe.endswith(take_end(safe, cells))
    for keep in ("start", "end", "both"):
        cut = clip(safe, cells, keep)
        assert width(cut) <= cells
        assert cut == safe or "…" in cut or cells == 0


def test_names_that_share_their_start_keep_their_end() -> None:
    assert clip("llama1b-lora-lr1e4", 14, "both") == "llama1…ra-lr1e4"[:6] + "…" + "a-lr1e4"


@given(
    st.lists(st.tuples(st.text(max_size=12), st.sampled_from(["text", "muted"])), max_size=6),
    st.integers(0, 40),
)
def test_a_line_is_cut_and_filled_to_its_width(parts: list[tuple[str, str]], cells: int) -> None:
    line = tuple(Span(clean(text), style) for text, style in parts)
    assert line_width(clip_line(line, cells)) <= cells
    assert line_width(fit_line(line, cells)) == cells
    if line_width(line) <= cells:
        assert plain(clip_line(line, cells)) == plain(line)


def test_every_sign_of_every_set_takes_one_cell() -> None:
    for glyphs in SETS.values():
        for field in glyphs.__slots__:
            sign = getattr(glyphs, field)
            if field in ("name", "charts"):
                continue
            assert all(width(char) == 1 for char in sign), (glyphs.name, field)
            assert len(sign) == (7 if field == "spark" else 1)
    for field in SETS["ascii"].__slots__:
        assert getattr(SETS["ascii"], field).isascii()


@given(st.text(max_size=40))
def test_an_ascii_terminal_gets_ascii_in_the_same_cells(text: str) -> None:
    safe = clean(text)
    assert ascii_text(safe).isascii()
    assert len(ascii_text(safe)) == width(safe)


@pytest.mark.parametrize("sign", "•◆┊▐≤≥…·–−×→›≈")
def test_a_sign_of_ours_is_no_question_mark_where_only_ascii_is_known(sign: str) -> None:
    assert ascii_text(sign) not in ("?", sign)


@pytest.mark.parametrize("cells", [6, 9, 13, 20, 30, 80])
def test_names_that_differ_stay_different_when_they_are_shortened(cells: int) -> None:
    names = [
        "loss", "rewards/length_penalty_of_answers_v1", "rewards/length_penalty_of_answers_v2",
        "rewards/length_penalty_of_answers_v2_long", "rewards/length_penalty_of_answers",
        "a_very_long_name_that_differs_1_in_the_middle_of_it_all_and_then_goes_on",
        "a_very_long_name_that_differs_2_in_the_middle_of_it_all_and_then_goes_on",
        "漢字漢字漢字漢字漢字漢字甲", "漢字漢字漢字漢字漢字漢字乙",
    ]  # fmt: skip
    short = distinct(names, cells)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert all(width(text) <= cells for text in short.values())
    assert all(short[name] == name for name in names if width(name) <= cells)
