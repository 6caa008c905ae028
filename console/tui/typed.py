"""One line of text being edited: what each key makes of it, as on a shell's line. Pure; who shows
the line owns it."""

from __future__ import annotations

from traindeck.console.present.caret import Caret
from traindeck.console.present.cells import clean

LONGEST = 16_384
"""Characters a field takes; what is pasted beyond is left out."""


def typed(caret: Caret, key: str, character: str | None) -> Caret | None:
    """The line after a key; None if the key does nothing to a line.

    Args:
        key: In Textual's names.
        character: What the key types, if it types something.
    """
    text, at = caret.text, caret.at
    plain = not key.startswith(("alt+", "ctrl+"))
    if plain and character is not None and len(character) == 1 and character.isprintable():
        return put(caret, character)
    if caret.mark is not None and key in ("backspace", "ctrl+h", "delete", "ctrl+d"):
        return put(caret, "")
    match key:
        case "left" | "ctrl+b":
            return Caret(text, max(0, at - 1))
        case "right" | "ctrl+f" if caret.rest and at == len(text):
            return put(caret, caret.rest)
        case "right" | "ctrl+f":
            return Caret(text, min(len(text), at + 1))
        case "home" | "ctrl+a":
            return Caret(text, 0)
        case "end" | "ctrl+e":
            return Caret(text, len(text))
        case "ctrl+left" | "alt+b" | "alt+left":
            return Caret(text, _word_before(text, at))
        case "ctrl+right" | "alt+f" | "alt+right":
            return Caret(text, _word_after(text, at))
        case "backspace" | "ctrl+h":
            return Caret(text[: max(0, at - 1)] + text[at:], max(0, at - 1))
        case "delete" | "ctrl+d":
            return Caret(text[:at] + text[at + 1 :], at)
        case "ctrl+u":
            return Caret(text[at:], 0)
        case "ctrl+k":
            return Caret(text[:at], at)
        case "ctrl+w":
            kept = text[:at].rstrip()
            kept = kept[: len(kept) - len(kept.split(" ")[-1])]
            return Caret(kept + text[at:], len(kept))
        case "alt+backspace":
            start = _word_before(text, at)
            return Caret(text[:start] + text[at:], start)
        case "alt+d":
            return Caret(text[:at] + text[_word_after(text, at) :], at)
    return None


def put(caret: Caret, words: str) -> Caret:
    """The line with something typed or pasted into it, as one line without control characters, in
    place of what is selected."""
    start, end = sorted((caret.at, caret.at if caret.mark is None else caret.mark))
    head, tail = caret.text[:start], caret.text[end:]
    room = max(0, LONGEST - len(head) - len(tail))
    words = clean(" ".join(words.splitlines()))[:room]
    return Caret(head + words + tail, start + len(words))


def _word_before(text: str, at: int) -> int:
    """Where the word before a place begins: letters and digits, as a shell counts words."""
    while at and not text[at - 1].isalnum():
        at -= 1
    while at and text[at - 1].isalnum():
        at -= 1
    return at


def _word_after(text: str, at: int) -> int:
    """Where the word after a place ends."""
    while at < len(text) and not text[at].isalnum():
        at += 1
    while at < len(text) and text[at].isalnum():
        at += 1
    return at
