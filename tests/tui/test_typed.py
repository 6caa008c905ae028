"""The keys of one line of text: what a shell's line does with them, every field does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.console.present.caret import Caret
from traindeck.console.tui.typed import put, typed

LINE = "python a.py --lr 3e-4"


@pytest.mark.parametrize(
    ("keys", "text", "at"),
    [
        ("ctrl+a", LINE, 0),
        ("home", LINE, 0),
        ("home ctrl+e", LINE, 21),
        ("left left right", LINE, 20),
        ("ctrl+b ctrl+b ctrl+f", LINE, 20),
        ("alt+b", LINE, 20),
        ("alt+b alt+b", LINE, 17),
        ("ctrl+left ctrl+left ctrl+left", LINE, 14),
        ("home alt+f", LINE, 6),
        ("home ctrl+right ctrl+right", LINE, 8),
        ("ctrl+w", "python a.py --lr ", 17),
        ("ctrl+w ctrl+w", "python a.py ", 12),
        ("alt+backspace", "python a.py --lr 3e-", 20),
        ("home alt+d", " a.py --lr 3e-4", 0),
        ("home alt+f ctrl+k", "python", 6),
        ("home alt+f ctrl+u", " a.py --lr 3e-4", 0),
        ("home delete ctrl+d", "thon a.py --lr 3e-4", 0),
        ("backspace ctrl+h", "python a.py --lr 3e", 19),
        ("end delete home left backspace", LINE, 0),
    ],
)
def test_a_line_is_edited_as_in_a_shell(keys: str, text: str, at: int) -> None:
    caret = Caret(LINE, len(LINE))
    for key in keys.split():
        after = typed(caret, key, None)
        assert after is not None, key
        caret = after
    assert (caret.text, caret.at) == (text, at)


@pytest.mark.parametrize("key", ["alt+b", "alt+f", "alt+d"])
def test_a_letter_with_a_modifier_is_not_typed(key: str) -> None:
    after = typed(Caret("one two", 3), key, key[-1])  # as a terminal without key protocol sends it
    assert after is not None
    assert after.text in ("one two", "one")


def test_what_is_typed_or_pasted_replaces_a_selection() -> None:
    chosen = Caret("2s", 2, mark=0)
    assert typed(chosen, "1", "1") == Caret("1", 1)
    assert typed(chosen, "backspace", None) == typed(chosen, "delete", None) == Caret("", 0)
    assert put(chosen, "1m") == Caret("1m", 2)
    assert put(Caret("abcd", 1, mark=3), "-") == Caret("a-d", 2)


@pytest.mark.parametrize(
    ("key", "at"), [("left", 1), ("right", 2), ("home", 0), ("end", 2), ("ctrl+a", 0)]
)
def test_a_key_that_moves_keeps_what_is_selected(key: str, at: int) -> None:
    assert typed(Caret("2s", 2, mark=0), key, None) == Caret("2s", at)


KEYS = ["left", "right", "home", "end", "alt+b", "alt+f", "ctrl+w", "ctrl+u", "ctrl+k", "alt+d",
        "alt+backspace", "backspace", "delete", "ctrl+left", "ctrl+right"]  # fmt: skip


@given(st.text(max_size=12), st.lists(st.sampled_from(KEYS), max_size=12))
def test_the_cursor_never_leaves_the_line(text: str, keys: list[str]) -> None:
    caret = put(Caret(), text)
    for key in keys:
        caret = typed(caret, key, None) or caret
        assert 0 <= caret.at <= len(caret.text)


def test_a_key_that_edits_nothing_is_left_to_what_is_bound() -> None:
    assert all(typed(Caret("x", 1), key, None) is None for key in ("ctrl+g", "f1", "tab", "enter"))
