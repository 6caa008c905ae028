"""The Files tab: a run's directory as a tree, and a look into one of its files. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from traindeck.backends.base import FileEntry

from .ages import age
from .cells import Line, Span, clean, fit, fit_line
from .glyphs import BEST, Glyphs
from .numbers import size as bytes_text

AGE, SIZE = 6, 10


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


def file_lines(
    entries: Sequence[FileEntry],
    cursor: int,
    cells: int,
    rows: int,
    now: float,
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """The visible part of the tree with a head, the selected row in sight."""
    taken = sizes(entries)
    total = sum(entry.size for entry in entries if not entry.is_dir)
    name = max(10, cells - AGE - SIZE - 5)
    head = (
        Span("  "),
        Span(fit("FILE", name), "muted"),
        Span(fit("SIZE", SIZE, "right"), "muted"),
        Span(fit("AGE", AGE, "right"), "muted"),
    )
    lines: list[Line] = [fit_line(head, cells)]
    room = max(1, rows - 2)
    top = min(max(0, cursor - room // 2), max(0, len(entries) - room))
    for number, entry in enumerate(entries[top : top + room], top):
        here = number == cursor
        ground = " @select" if here else ""
        depth = entry.path.count("/")
        label = "  " * depth + entry.path.rpartition("/")[2] + ("/" if entry.is_dir else "")
        style = "muted" if entry.is_dir else "text"
        line = (
            Span(f"{glyphs.cursor} " if here else "  ", f"accent{ground}"),
            Span(fit(label, name), style + ground),
            Span(fit(bytes_text(taken[entry.path]), SIZE, "right"), "text" + ground),
            Span(fit(age(now - entry.modified), AGE, "right"), "muted" + ground),
        )
        lines.append(fit_line(line, cells, f"text{ground}"))
    lines += [()] * (rows - 1 - len(lines))
    lines.append((Span(f"  {len(entries):,} entries, {bytes_text(total)}", "muted"),))
    return lines


def content_lines(path: str, data: bytes, size: int, cells: int) -> list[Line]:
    """A file's beginning as harmless text, to be scrolled; of a binary one only what it is."""
    from traindeck.console.logs.neutral import neutral

    cut = len(data) < size
    head: Line = (
        Span(f"  {clean(path)}", "strong"),
        Span(f"  {bytes_text(size)}" + (", its beginning" if cut else ""), "muted"),
    )
    if b"\0" in data[:4096]:
        return [head, (), (Span("  binary", "muted"),)]
    body: list[Line] = [
        (Span("  " + neutral(line.rstrip(b"\r")[:4096]).text, "text"),)
        for line in data.split(b"\n")
    ]
    return [head, (), *body]
