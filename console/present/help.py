"""The help as lines: keys in columns by what they are about, and how to read a row. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .cells import Line, Span, clip, fit_line, line_width, width
from .glyphs import BEST, Glyphs


@dataclass(frozen=True, slots=True)
class HelpEntry:
    """A key, what it does, and the action's name for settings.yaml."""

    section: str
    keys: str
    words: str
    action: str


def help_lines(
    title: str,
    entries: Sequence[HelpEntry],
    query: str | None,
    notes: Sequence[Line],
    cells: int,
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """The help for a screen.

    Args:
        query: Show only what has this text in it, with the actions' names; None shows all.
        notes: How to read the screen.
    """
    head: list[Span] = [Span("KEYS ON THIS SCREEN", "accent bold"), Span(f"  {title}", "muted")]
    ways = (Span("/", "accent bold"), Span(" search keys   ", "muted"),
            Span("esc", "accent bold"), Span(" close", "muted"))  # fmt: skip
    gap = cells - line_width(head) - line_width(ways)
    first = (*head, Span(" " * gap), *ways) if gap > 1 else tuple(head)
    if query is not None:
        return [first, (), *_found(entries, query, cells)]
    lines = [first, (), *_columns(entries, cells)]
    if notes:
        lines += [(), (Span(glyphs.rule * cells, "rule"),), *notes]
    return lines


def _found(entries: Sequence[HelpEntry], query: str, cells: int) -> list[Line]:
    """One entry a line, with the name by which settings.yaml calls it."""
    wanted = query.casefold()
    rows: list[Line] = []
    for entry in entries:
        if wanted in f"{entry.keys} {entry.words} {entry.action}".casefold():
            name = f"keys: {{{entry.action}: …}}"
            rows.append(
                fit_line(
                    (
                        Span(entry.keys.ljust(16), "accent bold"),
                        Span(clip(entry.words, 36).ljust(38), "text"),
                        Span(name, "faint"),
                    ),
                    cells,
                )
            )
    return rows or [(Span("no key for that", "muted"),)]


def _columns(entries: Sequence[HelpEntry], cells: int) -> list[Line]:
    sections = list(dict.fromkeys(entry.section for entry in entries))
    per_row = max(1, min(len(sections), cells // 34))
    lines: list[Line] = []
    for start in range(0, len(sections), per_row):
        if lines:
            lines.append(())
        lines += _side_by_side(sections[start : start + per_row], entries, cells, per_row)
    return lines


def _side_by_side(
    names: Sequence[str], entries: Sequence[HelpEntry], cells: int, per_row: int
) -> list[Line]:
    room = cells // per_row
    blocks: list[list[Line]] = []
    for name in names:
        mine = [entry for entry in entries if entry.section == name]
        keys = max((width(entry.keys) for entry in mine), default=0)
        block: list[Line] = [(Span(name, "muted"),), ()]
        for entry in mine:
            words = clip(entry.words, max(4, room - keys - 4))
            block.append(
                (
                    Span(entry.keys + " " * (keys - width(entry.keys)) + "  ", "accent bold"),
                    Span(words, "text"),
                )
            )
        blocks.append(block)
    lines = []
    for number in range(max(map(len, blocks))):
        line: list[Span] = []
        for block in blocks:
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
            Span("Your own keys in ", "muted"),
            Span("settings.yaml", "text"),
            Span(" are shown here as you set them.", "muted"),
        ),
    ]
    return lines


def _note(sign: str, word: str, style: str, words: str) -> Line:
    return (
        Span(f"{sign} ", style),
        Span(word.ljust(11), style if style in ("failed", "stale", "warn") else "text"),
        Span(words, "muted"),
    )
