"""Tables in a log: rows of numbers below a row of names (fastai, skorch, ultralytics, sklearn's
boosting), and boxes with a name and a number a line (Stable-Baselines3).

What a row says is what a line would say that names its values, and it is read as that line.
"""

from __future__ import annotations

import re

from traindeck.console.metrics.lines import read_line
from traindeck.console.metrics.numerals import is_never, number
from traindeck.console.metrics.reading import Carry, Reading

_HEAD = re.compile(r"(?:epoch|iter)(?:\s{2,}[^\W\d]\S*(?: [A-Z]\w*)?){2,40}", re.I)
_GAP = re.compile(r"\s{2,}")
_ROW = re.compile(r"(\d{1,9}(?:/\d{1,9})?)\s{2,}(?:(\S.*?): {1,3}(\d{1,3})%\|.*|(.*))")
_CELL = re.compile(r"\|\s*([^\s|]{1,60})\s*\|\s*([^\s|]{0,40})\s*\|")
_RULE = re.compile(r"-{8,}")
_MOST = 60
"""Lines of a box."""
_STEPS = ("time/total_timesteps", "time/iterations")

_ROWS = re.compile(rb"^[ \t]*\d{1,9}(?:/\d{1,9})?[ \t]{2,}\S[^\n]*", re.M)
_LINES = re.compile(rb"^(?:\|[^\n]*\||-{8,})[ \t]*$", re.M)


def rows_in(folded: bytes, carry: Carry) -> list[tuple[int, int]]:
    """Where lines of tables begin and end, for they hold no word that tells of metrics."""
    found = []
    if "table" in carry or b"epoch  " in folded or b"iter  " in folded:
        found += [row.span() for row in _ROWS.finditer(folded)]
    if "box" in carry or b"| time/" in folded or b"| rollout/" in folded:
        found += [line.span() for line in _LINES.finditer(folded)]
    return found


def read_row(text: str, offset: int, reading: Reading) -> bool:
    """Read a line that belongs to a table. Whether it does."""
    carry = reading.carry
    if text.startswith("|") and (cell := _CELL.fullmatch(text)):
        return _boxed(cell[1], cell[2], carry)
    if "box" in carry and _RULE.fullmatch(text):
        _, values = carry.pop("box")
        told = dict(values)
        step = next((told[name] for name in _STEPS if name in told), None)
        head = "" if step is None else f"step {step} "
        _enter(head, values, offset, reading)
        return True
    if "  " not in text:
        return False
    if _HEAD.fullmatch(text):
        carry["table"] = _GAP.split(text)
        return True
    if "table" in carry and (row := _ROW.fullmatch(text)):
        cells = (row[2] or row[4]).split()
        names = carry["table"][1:]
        if len(cells) == len(names):
            if row[3] in (None, "100"):  # until a bar is full its values are those of a batch
                pairs = [pair for pair in zip(names, cells, strict=True) if "." in pair[1]]
                _enter(f"{carry['table'][0]} {row[1]} ", pairs, offset, reading)
            return True
    return False


def _boxed(name: str, value: str, carry: Carry) -> bool:
    if name.endswith("/") and not value:
        carry["box"] = [name, carry["box"][1] if "box" in carry else []]
    elif "box" in carry and len(carry["box"][1]) < _MOST:
        group, values = carry["box"]
        carry["box"] = [group, [*values, [group + name, value]]]
    return "box" in carry


def _enter(head: str, values: list[tuple[str, str]], offset: int, reading: Reading) -> None:
    pairs = [
        f"{name}={value}"
        for name, value in values
        if number(value) is not None and not is_never(name.rpartition("/")[2])
    ]
    if pairs:
        read_line(head + " ".join(pairs), offset, reading)
