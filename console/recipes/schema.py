"""What a recipe is: typed parameters in groups, presets, and the rules for a parameter's values.

One schema feeds the Launch form, `finetune --set`, `--help`, validation and the README's table.
Pure: nothing here reads a file, and a value is judged the same wherever it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from enum import StrEnum

from traindeck.backends.data import dataclass
from traindeck.backends.errors import UsageError, excerpt

Value = str | int | float | bool | tuple[str, ...]
"""A parameter's value. Names are a tuple; a word that stands for a number is text."""


class Kind(StrEnum):
    """What a parameter holds."""

    TEXT = "text"
    PATH = "path"
    """A file or folder where the run executes; with `hub` also an id on the hub."""
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    CHOICE = "choice"
    NAMES = "names"
    """One or more names, separated by commas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One thing that can be set.

    Attributes:
        key: Its name in `--set`, YAML and the trainer.
        meaning: One sentence.
        label: What a form calls it.
        required: It has no default and must be given.
        low, high: Bounds of a number, both allowed.
        choices: All values of a CHOICE.
        words: Words that are allowed besides a number, path or names (`auto`).
        unit: What a number counts.
        suggest: Values worth trying, for a form and for completion.
        only: It has an effect only if these parameters have these values.
        also: What other tools call it; never accepted, but recognised in a refusal.
    """

    key: str
    kind: Kind = Kind.TEXT
    meaning: str = ""
    label: str = ""
    default: Value = ""
    required: bool = False
    hub: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    unit: str = ""
    suggest: tuple[Value, ...] = ()
    only: Mapping[str, Value] = field(default_factory=dict)
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Parameters that belong to one question of the form."""

    key: str
    title: str
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Values that go together, under one name."""

    name: str
    meaning: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value that a file gives for a parameter, and where: `my-lora.yaml, line 4`."""

    value: Value
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A typed template of a run.

    Attributes:
        trainer: A trainer of ours by name (`sft`), or the path of a script.
        preset: The preset that a file chose.
        given: Values that files have set over the defaults, by key.
        path: The file it was read from last; empty for one of ours.
    """

    name: str
    description: str = ""
    trainer: str = ""
    groups: tuple[Group, ...] = ()
    presets: Mapping[str, Preset] = field(default_factory=dict)
    preset: str | None = None
    given: Mapping[str, Given] = field(default_factory=dict)
    path: str = ""

    def __iter__(self) -> Iterator[Parameter]:
        for group in self.groups:
            yield from group.parameters

    def find(self, key: str) -> Parameter | None:
        """The parameter of this key, if there is one."""
        return next((parameter for parameter in self if parameter.key == key), None)

    def parameter(self, key: str) -> Parameter:
        """The parameter of this key.

        Raises:
            UsageError: There is none; the nearest key is named.
        """
        found = self.find(key)
        if found is None:
            near = nearest_key(self, key)
            hint = f"Did you mean {near}?" if near else f"It has {', '.join(p.key for p in self)}."
            raise UsageError(f"The recipe {self.name} has no parameter {key}.", hint)
        return found


def nearest_key(recipe: Recipe, key: str) -> str | None:
    """The key that was probably meant, judged by the keys and by what other tools call them."""
    from difflib import get_close_matches

    names = {name: p.key for p in recipe for name in (*p.also, p.key)}
    wanted = key.lower().replace("-", "_")
    found = get_close_matches(wanted, names, n=1, cutoff=0.6)
    return names[found[0]] if found else None


# ----------------------------------------------------------------------------------------- values


def parse(parameter: Parameter, raw: object) -> Value:
    """A value as the parameter holds it, from text that was typed or a value out of YAML or JSON.

    YAML 1.1 reads `3e-4` as text; here it is the number it looks like.

    Raises:
        ValueError: A sentence: what was expected, what was found.
    """
    if isinstance(raw, str):
        raw = raw.strip()
        if raw in parameter.words:
            return raw
    if raw is None or raw == "":
        if parameter.kind in (Kind.TEXT, Kind.PATH) and not parameter.required:
            return parameter.default
        raise ValueError(f"expected {accepts(parameter)}, found nothing.")
    value = _PARSERS[parameter.kind](parameter, raw)
    if value is None:
        raise ValueError(f"expected {accepts(parameter)}, found {_shown(raw)}.")
    return value


def _text(parameter: Parameter, raw: object) -> Value | None:
    if isinstance(raw, bool) or not isinstance(raw, (str, int, float)):
        return None
    text = str(raw)
    return text if text.isprintable() else None


def _int(parameter: Parameter, raw: object) -> Value | None:
    number = _number(raw)
    if number is None or number != math.floor(number) or not _in_range(parameter, number):
        return None
    return int(number)


def _float(parameter: Parameter, raw: object) -> Value | None:
    number = _number(raw)
    return None if number is None or not _in_range(parameter, number) else float(number)


def _number(raw: object) -> int | float | None:
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        return None
    if isinstance(raw, str):
        try:
            return int(raw)  # exact beyond 2^53, unlike by way of float
        except ValueError:
            pass
    try:
        number = float(raw)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return raw if isinstance(raw, int) else number


def _in_range(parameter: Parameter, number: float) -> bool:
    low = -math.inf if parameter.low is None else parameter.low
    high = math.inf if parameter.high is None else parameter.high
    return low <= number <= high


_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _bool(parameter: Parameter, raw: object) -> Value | None:
    if isinstance(raw, bool):
        return raw
    return _BOOLS.get(raw.lower()) if isinstance(raw, str) else None


def _choice(parameter: Parameter, raw: object) -> Value | None:
    return raw if isinstance(raw, str) and raw in parameter.choices else None


def _names(parameter: Parameter, raw: object) -> Value | None:
    items = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(items, (list, tuple)):
        return None
    names = [item.strip() if isinstance(item, str) else "" for item in items]
    if not names or not all(name and name.isprintable() for name in names):
        return None
    return tuple(names)


_PARSERS = {
    Kind.TEXT: _text,
    Kind.PATH: _text,
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.BOOL: _bool,
    Kind.CHOICE: _choice,
    Kind.NAMES: _names,
}


def _shown(raw: object) -> str:
    return excerpt(repr(raw) if isinstance(raw, str) else str(raw))


def accepts(parameter: Parameter) -> str:
    """What a parameter takes, as the end of "expected …"."""
    match parameter.kind:
        case Kind.INT | Kind.FLOAT:
            words = "a whole number" if parameter.kind is Kind.INT else "a number"
            low, high = _bound(parameter.low), _bound(parameter.high)
            if low and high:
                words += f" from {low} to {high}"
            elif low or high:
                words += f" of at least {low}" if low else f" of at most {high}"
        case Kind.BOOL:
            words = "yes or no"
        case Kind.CHOICE:
            words = _either(parameter.choices)
        case Kind.PATH:
            words = "a path or a hub id" if parameter.hub else "a path"
        case Kind.NAMES:
            words = "names separated by commas"
        case Kind.TEXT:
            words = "text"
    return f"{words}, or {_either(parameter.words)}" if parameter.words else words


def _bound(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:,.0f}" if number == math.floor(number) else _float_text(number)


def _either(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def text_of(value: Value) -> str:
    """A value as it would be typed: `parse` gives it back."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _float_text(value)
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _float_text(value: float) -> str:
    """The shortest text that reads back as the same number: `3e-4`, `0.05`, `2`."""
    if value and abs(value) < 0.001:
        for digits in range(18):
            mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
            if float(f"{mantissa}e{exponent}") == value:
                return f"{mantissa}e{int(exponent)}"
    return repr(value).removesuffix(".0")
