"""Lines that look like one that was read before: only their digits differ.

To read a line means a dozen searches through it. But a script prints millions of lines of a few
shapes, and what stands at a place of one stands at the same place of all. So the third line of a
shape becomes a template: one expression that gives the step and the values of the next ones. What
it says is what `lines.read_line` would say (a property test compares them on lines of all kinds);
where that is in doubt there is no template.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from traindeck.backends.data import dataclass
from traindeck.console.metrics.bars import may_be_bar
from traindeck.console.metrics.lines import (
    AXES,
    BACK,
    EPOCHS,
    EVALUATES,
    GLOBAL,
    MARK,
    OF_EPOCH,
    UNITS,
    configures,
    counts,
    matches_of,
    unrolled,
    without,
)
from traindeck.console.metrics.names import series_name
from traindeck.console.metrics.numerals import integer, is_metric
from traindeck.console.metrics.reading import Columns, Reading

LONGEST = 600
"""Characters of a line that may become a template."""
SEEN = 3
"""Lines of a shape that make one."""
MOST_SHAPES = 500
MOST = 8
"""Templates that are kept, the last used first: each is tried on every line."""

_RUN = re.compile(r"\d+")
_GROUPS = re.compile(r"\d+(?:,\d+)+")
_DOUBTFUL = re.compile(r"\d{13}|[eE][-+]?\d{5}|[^\x20-\x7e]")
"""What may be read otherwise once it has other digits: very long numbers."""


Entry = tuple[Columns, int, float, Callable[[str], float]]
"""Where a value goes, which number it is, its factor, and what makes a float of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """How to read the lines of a shape.

    Attributes:
        match: The whole line -> its numbers.
        step, total: Which of them these are; -1 for none.
        whole: The step is one of the whole training by its name.
        values: (series, its name there if another may have that series, which number, factor, what
            makes a float of it).
    """

    match: Callable[[str], re.Match[str] | None]
    step: int
    total: int
    whole: bool
    values: tuple[tuple[str, str, int, float, Callable[[str], float]], ...]

    def enter(self, found: re.Match[str], offset: int, reading: Reading) -> None:
        """Enter what a line says, as `read_line` does."""
        numbers = found.groups()
        step = int(numbers[self.step])
        total = int(numbers[self.total]) if self.total >= 0 else None
        carry = reading.carry
        if (under := carry.get("under")) and not self.whole:
            step, total = unrolled(under[0], under[1], step, total, carry)
        known = reading.entered.get(self)
        if known is None or known[0] is not carry.get("called"):
            known = self._columns(reading)
        for columns, which, factor, value in known[1]:
            columns.steps.append(step)
            columns.times.append(math.nan)
            columns.values.append(value(numbers[which]) * factor)
            columns.offsets.append(offset)
        carry["named"] = True
        carry["step"] = reading.step = step
        if total is not None:
            reading.total = total

    def _columns(self, reading: Reading) -> tuple[object, list[Entry]]:
        """Where the values go in this source, and by which names that was found."""
        names = [reading.called(part[0], part[1]) if part[1] else part[0] for part in self.values]
        reading.placed(tuple(names))
        entries = [
            (reading.columns(name), *value[2:])
            for name, value in zip(names, self.values, strict=True)
        ]
        known = reading.entered[self] = (reading.carry.get("called"), entries)
        return known


def _grouped(text: str) -> float:
    return float(text.replace(",", ""))


_templates: list[Template] = []
_shapes: dict[str, int] = {}


def read_known(text: str, offset: int, reading: Reading) -> bool:
    """Read a line by a template. Whether there was one."""
    global _templates
    known = _templates
    for place, template in enumerate(known):
        found = template.match(text)
        if found is not None:
            if place:  # a new list: another thread may be reading by the old one
                _templates = [template, *known[:place], *known[place + 1 :]]
            template.enter(found, offset, reading)
            return True
    return False


def consider(text: str) -> None:
    """A line was read the long way: if its shape comes often, make a template of it."""
    global _templates
    if len(text) > LONGEST or _DOUBTFUL.search(text):
        return
    shape = _RUN.sub("0", text)
    if len(_shapes) >= MOST_SHAPES:
        _shapes.clear()
    seen = _shapes[shape] = _shapes.get(shape, 0) + 1
    if seen == SEEN and (template := template_of(text)) is not None:
        _templates = [template, *_templates][:MOST]


def template_of(text: str) -> Template | None:
    """The template of the lines that differ from this one in their digits; None if some of them
    might be read in another way."""
    marks = list(MARK.finditer(text))
    if OF_EPOCH.search(text) or EVALUATES.search(text) or may_be_bar(text) or not marks:
        return None
    if BACK.search(text):
        return None
    if any(mark[1].lower() in (*EPOCHS, "batch", *GLOBAL) for mark in marks[1:]):
        return None
    if text.startswith("*") or marks[0][1].lower() in (*EPOCHS, "batch"):
        return None
    mark = marks[0]
    total = integer(mark[3])
    if integer(mark[2]) is None or total == 0 or "," in mark[0]:
        return None
    spans = [mark.span(2), *([mark.span(3)] if total is not None else [])]
    rest = without(text, mark)
    gap = len(text) - len(rest)

    def back(span: tuple[int, int]) -> tuple[int, int]:
        """A place in `rest` as one in `text`."""
        return span if span[1] <= mark.start() else (span[0] + gap, span[1] + gap)

    values: list[tuple[str, str, float, Callable[[str], float]]] = []
    fixed: list[tuple[int, int]] = []
    keys: list[str] = []
    for found in matches_of(rest):
        fixed.append(back(found.match.span("key")))
        if found.value is None or found.key in AXES or not counts(found.key, found.tied, True):
            continue
        keys.append(found.key)
        name = series_name(found.key, "")
        if found.shared or not math.isfinite(found.value):
            return None
        if name is not None:
            number = found.match["value"].rstrip(",")
            start = found.match.start("value")
            spans.append(back((start, start + len(number))))
            called = found.key if is_metric(name) else ""
            factor = UNITS.get(found.match["unit"] or "", 1.0)
            values.append((name, called, factor, _grouped if "," in number else float))
    if not values or configures(text, keys):
        return None
    order = sorted(range(len(spans)), key=lambda which: spans[which])
    pattern = _expression(text, [spans[which] for which in order], fixed)
    group = {which: place for place, which in enumerate(order)}
    first = 1 if total is None else 2
    return Template(
        match=re.compile(pattern).fullmatch,
        step=group[0],
        total=group[1] if total is not None else -1,
        whole=mark[1].lower() in GLOBAL,
        values=tuple(
            (series, name, group[first + n], factor, value)
            for n, (series, name, factor, value) in enumerate(values)
        ),
    )


def _expression(text: str, numbers: list[tuple[int, int]], fixed: list[tuple[int, int]]) -> str:
    """An expression for lines like `text`, with a group for each of the numbers. Digits of names
    stay as they are: they are other names with others."""
    parts: list[str] = []
    at = 0

    def literal(end: int) -> None:
        nonlocal at
        parts.append(re.escape(text[at:end]))
        at = end

    opens = {start for start, _ in numbers}
    closes = {end for _, end in numbers}
    edges = sorted({*opens, *closes})
    groups = [found.span() for found in _GROUPS.finditer(text)]
    for run in _RUN.finditer(text):
        for edge in edges:
            if at <= edge <= run.start() and not (edge == run.start() and edge in closes):
                literal(edge)
                if edge in closes:
                    parts.append(")")
                if edge in opens:
                    parts.append("(")
                edges = edges[edges.index(edge) + 1 :]
        literal(run.start())
        inside = any(start <= run.start() < end for start, end in numbers)
        before = text[run.start() - 1 : run.start()]
        exponent = inside and re.search(r"[eE][-+]?\Z", text[: run.start()]) is not None
        named = any(start <= run.start() < end for start, end in fixed)
        grouped = any(start <= run.start() < end for start, end in groups)
        if named or (not inside and (before.isalpha() or before in ("_", "@"))):
            literal(run.end())
        else:
            if grouped:  # thousands, only as long as all but the first have three digits
                digits = r"\d{1,3}" if inside and before != "," else rf"\d{{{len(run[0])}}}"
            else:
                digits = r"\d{1,4}" if exponent else r"\d{1,12}"
            parts.append(digits)
            at = run.end()
    for edge in edges:
        literal(edge)
        parts.append(")")
    literal(len(text))
    return "".join(parts)
