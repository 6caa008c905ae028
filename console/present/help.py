"""The help as lines: keys in columns by what they are about, and how to read a row. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from traindeck.backends.data import dataclass

from .cells import Line, Span, fit_line, line_width, width
from .glyphs import BEST, Glyphs


@dataclass(frozen=True, slots=True)
class HelpEntry:
    """A key, what it does, the action's name for settings.yaml, and whether it does it just now."""

    section: str
    keys: str
    words: str
    action: str
    usable: bool = True


def help_lines(
    title: str,
    entries: Sequence[HelpEntry],
    query: str | None,
    notes: Sequence[Line],
    cells: int,
    glyphs: Glyphs = BEST,
    *,
    notes_first: bool = False,
) -> list[Line]:
    """The help for a screen.

    Args:
        query: Show only what has this text in it, with the actions' names; None shows all.
        notes: How to read the screen. notes_first: They matter more than the keys just now.
    """
    head: list[Span] = [Span("KEYS ON THIS SCREEN", "accent bold"), Span(f"  {title}", "muted")]
    ways = (Span("/", "accent bold"), Span(" search keys   ", "muted"),
            Span("esc", "accent bold"), Span(" close", "muted"))  # fmt: skip
    gap = cells - line_width(head) - line_width(ways)
    first = (*head, Span(" " * gap), *ways) if gap > 1 else tuple(head)
    if query is not None:
        return [first, (), *_found(entries, query, cells)]
    columns = _columns(entries, cells)
    if not notes:
        return [first, (), *columns]
    rule: list[Line] = [(), (Span(glyphs.rule * cells, "rule"),)]
    one, other = (notes, [(), *columns]) if notes_first else (columns, notes)
    return [first, (), *one, *rule, *other]


def _found(entries: Sequence[HelpEntry], query: str, cells: int) -> list[Line]:
    """One entry a line, with the name by which settings.yaml calls it where there is room."""
    wanted = query.casefold()
    rows: list[Line] = []
    for entry in entries:
        if wanted in f"{entry.keys} {entry.words} {entry.action}".casefold():
            line = (Span(entry.keys.ljust(16), "accent bold"), Span(entry.words.ljust(36), "text"))
            named = (*line, Span(f"  {entry.action}", "faint"))
            rows.append(fit_line(named if line_width(named) <= cells else line, cells))
    if not rows:
        return [(Span("no key for that", "muted"),)]
    note = "At the right the name under keys: in settings.yaml, to give it another key."
    return [*rows, (), *((Span(part, "faint"),) for part in textwrap.wrap(note, max(20, cells)))]


def _columns(entries: Sequence[HelpEntry], cells: int) -> list[Line]:
    """The sections side by side, as many as fit."""
    names = list(dict.fromkeys(entry.section for entry in entries))
    blocks = [_block([entry for entry in entries if entry.section == name]) for name in names]
    lines: list[Line] = []
    while blocks:
        taken = 1
        while taken < len(blocks) and _natural(blocks[: taken + 1]) <= cells:
            taken += 1
        if lines:
            lines.append(())
        lines += _side_by_side(blocks[:taken], cells)
        del blocks[:taken]
    return lines


def _block(entries: Sequence[HelpEntry]) -> list[Line]:
    keys = max(width(entry.keys) for entry in entries)
    block: list[Line] = [(Span(entries[0].section, "muted"),), ()]
    for entry in entries:
        pad = " " * (keys - width(entry.keys) + 3)
        style = "accent bold" if entry.usable else "faint"
        words = Span(entry.words, "text" if entry.usable else "faint")
        block.append((Span(entry.keys + pad, style), words))
    return block


def _natural(blocks: Sequence[Sequence[Line]]) -> int:
    return sum(max(map(line_width, block)) for block in blocks) + 3 * (len(blocks) - 1)


def _side_by_side(blocks: Sequence[Sequence[Line]], cells: int) -> list[Line]:
    gap = (cells - _natural(blocks)) // max(1, len(blocks) - 1) if len(blocks) > 1 else 0
    gap = 3 + max(0, min(gap, 8))
    lines: list[Line] = []
    for number in range(max(map(len, blocks))):
        line: list[Span] = []
        for place, block in enumerate(blocks):
            last = place == len(blocks) - 1
            room = min(max(map(line_width, block)) + (0 if last else gap), cells)
            line += fit_line(block[number] if number < len(block) else (), room)
        lines.append(fit_line(line, cells))
    return lines


def state_notes(cells: int, glyphs: Glyphs = BEST) -> list[Line]:
    """How to read a row of the list of runs."""
    left = [
        (glyphs.running, "running", "running", "answers"),
        (glyphs.starting, "starting", "running", "or stopping: on its way"),
        (glyphs.queued, "queued", "queued", "waits; the row says for what"),
        (glyphs.done, "done", "done", "exit 0"),
    ]
    right = [
        (glyphs.failed, "failed", "failed", "the row says why"),
        (glyphs.ended, "cancelled", "done", "by you; also timeout, preempted"),
        (glyphs.unknown, "unknown", "stale", "cannot tell now, not an end"),
        (glyphs.warning, "warning", "warn", "runs, but look at it"),
    ]
    lines: list[Line] = [(Span("HOW TO READ A ROW", "muted"),), ()]
    wide = cells >= 84
    for one, other in zip(left, right, strict=True):
        if wide:
            lines.append((*fit_line(_note(*one), cells // 2 - 2), *_note(*other)))
        else:
            lines += [_note(*one), _note(*other)]
    lines += [
        (),
        (
            Span(f"97 {glyphs.queued} 6m", "stale"),
            Span("  an old value, with its age", "muted"),
            Span("   LAST HALF is scaled to its own range", "muted"),
        ),
        (
            Span(f"stop{glyphs.ellipsis}", "text"),
            Span("  words that end in dots ask before anything is done", "muted"),
        ),
        (
            Span("NEEDS YOU", "text"),
            Span("  until you opened it and moved on, or said it is seen", "muted"),
        ),
        (
            Span("Your own keys in ", "muted"),
            Span("settings.yaml", "text"),
            Span(" are shown here as you set them.", "muted"),
        ),
    ]
    return lines


def language_notes(examples: Sequence[tuple[str, str]], glyphs: Glyphs = BEST) -> list[Line]:
    """What can be typed into a line that has a language, by examples, and the keys there."""
    lines: list[Line] = [(Span("WHAT A FILTER SAYS", "muted"),), ()]
    for example, meaning in examples:
        lines.append((Span(example.ljust(29), "strong"), Span(meaning, "muted")))
    return [*lines, (), *typing_notes(glyphs, words=True)]


def typing_notes(glyphs: Glyphs = BEST, *, paths: bool = False, words: bool = False) -> list[Line]:
    """What keys do in every line that is typed in, and where `paths` or `words` are completed."""
    left, right = ("left", "right") if glyphs.name == "ascii" else ("←", "→")
    rows = [
        ("ctrl+a ctrl+e", "to the start · the end"),
        ("alt+b alt+f", f"a word back · on; also ctrl+{left} ctrl+{right}"),
        ("ctrl+u ctrl+k ctrl+w", "cut what is before · behind · the word before"),
    ]
    if paths:
        rows.append((right, "behind a path: take the rest that is offered there"))
    if words:
        rows.append((f"tab {right}", "take the rest of the word that is offered there"))
    lines: list[Line] = [(Span("WHILE TYPING", "muted"),), ()]
    for name, does in rows:
        lines.append((Span(name.ljust(23), "accent bold"), Span(does, "text")))
    return lines


def _note(sign: str, word: str, style: str, words: str) -> Line:
    return (
        Span(f"{sign} ", style),
        Span(word.ljust(11), style if style in ("failed", "stale", "warn") else "text"),
        Span(words, "muted"),
    )
