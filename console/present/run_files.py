"""The Files tab: a run's directory as a tree that folds. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from traindeck.backends.base import FileEntry

from .ages import age
from .cells import Line, Span, clean, clip, fit, fit_line
from .glyphs import BEST, Glyphs
from .numbers import plural
from .numbers import size as bytes_text

AGE, SIZE = 6, 10
DEEPEST = 8
"""Levels that are indented further; what lies deeper stands at the same place."""


def sizes(entries: Sequence[FileEntry]) -> dict[str, int]:
    """Path -> bytes; of a folder, of all that is below it."""
    found = {entry.path: 0 if entry.is_dir else entry.size for entry in entries}
    for entry in entries:
        if entry.is_dir:
            continue
        parts = entry.path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder in found:
                found[folder] += entry.size
    return found


def unfolded(entries: Sequence[FileEntry], folded: Collection[str]) -> list[FileEntry]:
    """The entries that are not hidden in a folded folder."""
    if not folded:
        return list(entries)
    hidden = tuple(f"{path}/" for path in folded)
    return [entry for entry in entries if not entry.path.startswith(hidden)]


def head(folder: str, cells: int) -> Line:
    """The line above the tree: where it lies, and the column heads."""
    name = max(10, cells - AGE - SIZE - 5)
    return fit_line(
        (
            Span("   "),
            Span(fit(clip(clean(folder), name - 3, "end") or "FILE", name - 1), "muted"),
            Span(fit("SIZE", SIZE, "right"), "muted"),
            Span(fit("AGE", AGE, "right"), "muted"),
        ),
        cells,
    )


def tree(
    entries: Sequence[FileEntry],
    taken: dict[str, int],
    folded: Collection[str],
    cursor: int,
    top: int,
    cells: int,
    rows: int,
    now: float,
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """The rows in sight.

    Args:
        entries: Those that are not hidden, see `unfolded`.
        taken: Of all entries, see `sizes`.
        cursor, top: Index of the selected one, and of the first in sight.
    """
    name = max(10, cells - AGE - SIZE - 5)
    lines: list[Line] = []
    for number, entry in enumerate(entries[top : top + rows], top):
        here = number == cursor
        ground = " @select" if here else ""
        depth = min(entry.path.count("/"), DEEPEST)
        sign = "  "
        if entry.is_dir:
            sign = (glyphs.folded if entry.path in folded else glyphs.unfolded) + " "
        label = clean(entry.path.rpartition("/")[2]) + ("/" if entry.is_dir else "")
        style = "strong bold" if here else "muted" if entry.is_dir else "text"
        room = name - 1 - 2 * depth - 2
        line = (
            Span(glyphs.cursor if here else " ", f"accent{ground}"),
            Span(f"  {'  ' * depth}{sign}", f"faint{ground}"),
            Span(fit(label, max(4, room), keep="both"), f"{style}{ground}"),
            Span(fit(bytes_text(taken.get(entry.path, 0)), SIZE, "right"), f"text{ground}"
                 if not entry.is_dir else f"muted{ground}"),
            Span(fit(age(now - entry.modified), AGE, "right"), f"muted{ground}"),
        )  # fmt: skip
        lines.append(fit_line(line, cells, f"text{ground}"))
    return lines


def summary(entries: Sequence[FileEntry], most: int) -> str:
    """How much there is, for the footer."""
    files = [entry for entry in entries if not entry.is_dir]
    more = f", the first {most:,} entries" if len(entries) >= most else ""
    return f"{plural(len(files), 'file')} · {bytes_text(sum(e.size for e in files))}{more}"
