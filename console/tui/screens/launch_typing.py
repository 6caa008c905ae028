"""One line of text being edited: what each key makes of it. Pure; the screen owns the line."""

from __future__ import annotations

from traindeck.console.present.cells import clean
from traindeck.console.present.form import Caret

LONGEST = 16_384
"""Characters a field takes; what is pasted beyond is left out."""


def typed(caret: Caret, key: str, character: str | None) -> Caret | None:
    """The line after a key; None if the key does nothing to a line.

    Args:
        key: In Textual's names.
        character: What the key types, if it types something.
    """
    text, at = caret.text, caret.at
    if character is not None and len(character) == 1 and character.isprintable():
        return put(caret, character)
    match key:
        case "left":
            return Caret(text, max(0, at - 1))
        case "right":
            return Caret(text, min(len(text), at + 1))
        case "home":
            return Caret(text, 0)
        case "end":
            return Caret(text, len(text))
        case "backspace" | "ctrl+h":
            return Caret(text[: max(0, at - 1)] + text[at:], max(0, at - 1))
        case "delete":
            return Caret(text[:at] + text[at + 1 :], at)
        case "ctrl+u":
            return Caret(text[at:], 0)
        case "ctrl+k":
            return Caret(text[:at], at)
        case "ctrl+w":
            kept = text[:at].rstrip()
            kept = kept[: len(kept) - len(kept.split(" ")[-1])]
            return Caret(kept + text[at:], len(kept))
    return None


def put(caret: Caret, words: str) -> Caret:
    """The line with something typed or pasted into it, as one line without control characters."""
    words = clean(" ".join(words.splitlines()))[: max(0, LONGEST - len(caret.text))]
    at = caret.at + len(words)
    return Caret(caret.text[: caret.at] + words + caret.text[caret.at :], at)
