"""What tests of the screenful share: a view of a log, and what it must show pieces of."""

from __future__ import annotations

from pathlib import Path

from traindeck.console.logs.layout import Block, Role, blocks
from traindeck.console.logs.lines import make_line
from traindeck.console.logs.neutral import neutral, wrap, wrap_words
from traindeck.console.logs.rows import Anchor, Window
from traindeck.console.logs.source import FileSource
from traindeck.console.logs.units import forward, walk
from traindeck.console.logs.window import MESSAGE, LogView

EVIDENCE = Path(__file__).parent / "evidence"
OOM = (EVIDENCE / "oom-two-ranks.log").read_bytes()
TORCHRUN = (EVIDENCE / "torchrun.log").read_bytes()


def all_blocks(data: bytes, toggled: set[int] | None = None) -> list[Block]:
    """The whole log laid out at once: what the screen must show pieces of."""
    units: list[tuple[int, int]] = []
    while more := walk(
        forward(units[-1][1] if units else 0, 1000), lambda at, n: data[at : at + n]
    ):
        units += more
    lines = [
        make_line(start, data[start:end], head=start == 0 or data[start - 1 : start] == b"\n")
        for start, end in units
    ]
    return blocks(lines, toggled or set())


def all_rows(
    data: bytes, width: int, wrapped: bool, toggled: set[int] | None = None
) -> list[Anchor]:
    rows = []
    for block in all_blocks(data, toggled):
        count = 1
        line = neutral(block.lines[0].data)
        said = block.role is Role.RAISED and line.cells <= MESSAGE * width
        if (wrapped or said) and not block.folded:
            count = len((wrap_words if block.role is Role.RAISED else wrap)(line, width))
        rows += [Anchor(block.start, sub) for sub in range(count)]
    return rows


def view_of(log: Path, data: bytes, height: int = 10, width: int = 40) -> LogView:
    log.write_bytes(data)
    view = LogView(FileSource(log))
    view.height, view.width = height, width
    return view


def texts(window: Window) -> list[str]:
    return [row.line.text for row in window.rows]
