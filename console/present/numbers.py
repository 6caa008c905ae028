"""Numbers as people read them: four significant digits, thousands commas, a true minus sign, and
`–` for what is not known. A figure never pretends: nothing is 0 unless it was measured as 0."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from traindeck.console.store.records import Param, RunRecord, values_of

UNKNOWN = "–"
MINUS = "−"

_MINUS_OF_NUMBER = re.compile(MINUS + r"(?=[\d∞])")
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_COUNT_UNITS = ("", "k", "M", "G", "T", "P")


def figure(value: float | int | None, digits: int = 4) -> str:
    """A number in `digits` significant digits.

    Integers are exact (`3,120`). Reals keep their digits (`2.130`, `0.5127`, `41,213`); below
    0.001 and from a million on they are written with an exponent (`8.7e−5`, `1.235e6`).
    """
    if value is None:
        return UNKNOWN
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    if value == 0:
        return "0"
    # From the rounded number, not by log10: 9.9996 has two digits in front once it is rounded.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    if exponent < -3 or exponent >= 6:
        return _scientific(value, digits)
    text = f"{value:,.{max(0, digits - 1 - exponent)}f}"
    return text.replace("-", MINUS)


def step_of(run: RunRecord, words: Callable[[int], str] = figure) -> str:
    """The step a run has come to, `≥` before it if it may have come further."""
    if run.progress.step is None:
        return UNKNOWN
    return f"{'≥ ' if run.read_in_part else ''}{words(run.progress.step)}"


def share_of(run: RunRecord) -> str:
    """The share of its steps that a run has done, `≥` before it if it may be more."""
    if run.progress.fraction is None:
        return UNKNOWN
    return f"{'≥ ' if run.read_in_part else ''}{percent(run.progress.fraction)}"


def machine_minus(text: str) -> str:
    """A text whose numbers programs are to read: with the minus sign that they know."""
    return _MINUS_OF_NUMBER.sub("-", text) if MINUS in text else text


def _scientific(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}".replace("-", MINUS)


def aligned(value: float | int | None, before: int, after: int, digits: int = 4) -> str:
    """A figure in `before + 1 + after` cells with its decimal point at cell `before`.

    A number that would stick out loses digits before it loses its place; one that cannot keep its
    point there at all is put to the right edge, and one that has an exponent keeps its digits: a
    single one of them would be half of what it says. It is never cut: one too long for its cells
    gets an exponent. `–` stands where the units are.
    """
    cells = before + 1 + after
    fitting = ""
    for wanted in range(digits, 0, -1):
        text = figure(value, wanted)
        point, exponent = text.find("."), "e" in text
        left = before - (len(text) if point < 0 or exponent else point)
        if left >= 0 and left + len(text) <= cells:
            return (" " * left + text).ljust(cells)
        if len(text) <= cells:
            fitting = fitting or text
            if exponent:
                break
    if not fitting and value is not None:
        short = (_scientific(value, wanted) for wanted in range(digits, 0, -1))
        fitting = next((text for text in short if len(text) <= cells), "…")
    return fitting.rjust(cells)


def size(count: float | int | None) -> str:
    """Bytes with a decimal unit, three digits: `912 B`, `1.24 kB`, `71.3 GB`."""
    return _scaled(count, _BYTE_UNITS)


def count(value: float | int | None) -> str:
    """A large count, shortened: `940`, `41.2 k`, `1.24 M`."""
    return _scaled(value, _COUNT_UNITS)


def rate(per_second: float | None) -> str:
    """Bytes a second."""
    return UNKNOWN if per_second is None else f"{size(per_second)}/s"


def _scaled(value: float | int | None, units: tuple[str, ...]) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return UNKNOWN if value is None else figure(value)
    sign = MINUS if value < 0 else ""
    rest = float(abs(value))
    index = 0
    while rest >= 999.5 and index + 1 < len(units):
        rest /= 1000.0
        index += 1
    if index == 0:
        text = f"{rest:.0f}" if isinstance(value, int) or rest >= 100 else f"{rest:.3g}"
    else:
        places = 2 if rest < 9.995 else 1 if rest < 99.95 else 0
        text = f"{rest:.{places}f}"
    return f"{sign}{text} {units[index]}".rstrip()


def parameter(value: Param) -> str:
    """A parameter as it would be typed (`2e-4`, `no`); several values as `a, b`."""
    from traindeck.console.recipes.schema import text_of

    return ", ".join("none" if v is None else text_of(v) or "(empty)" for v in values_of(value))


def percent(fraction: float | None) -> str:
    """A share of 1 as whole percent, never rounded up to a hundred: `99 %` until it is 1."""
    if fraction is None or math.isnan(fraction):
        return UNKNOWN
    shown = round(fraction * 100)
    if shown == 100 and fraction < 1:
        shown = 99
    return f"{shown} %"


def plural(number: int, noun: str, many: str = "") -> str:
    """`1 run`, `2 runs`, `2,318 runs`."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"
