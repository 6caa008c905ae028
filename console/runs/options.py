"""A backend's own options: typed text in, the values of its `options_schema` out.

Both front ends launch through here, so that a backend gets only options that it named, each of the
type and among the choices that it said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from traindeck.backends.base import Backend, Option
from traindeck.backends.errors import UsageError, excerpt

_FLAGS = {"yes": True, "true": True, "no": False, "false": False}


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError  # no plan can hold it
    return value


_READ: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "int": (int, "a whole number"),
    "float": (_finite, "a number"),
    "bool": (lambda text: _FLAGS[text.lower()], "yes or no"),
}


_TEXT: tuple[Callable[[str], Any], str] = (str, "text")


def read_options(backend: Backend, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of options, as typed or as an earlier run had them.

    Raises:
        UsageError: The backend has no such option, or it takes no such value.
    """
    return {name: read_option(backend, name, raw) for name, raw in given.items()}


def read_option(backend: Backend, name: str, raw: Any) -> Any:
    """The value of one option, as `read_options`."""
    option = backend.options_schema.get(name)
    if option is None:
        there_are = ", ".join(sorted(backend.options_schema)) or "none"
        raise UsageError(
            f"{backend.name} has no option {excerpt(name)}.", f"Its options: {there_are}."
        )
    text = option_text(raw)
    read, expected = _READ.get(option.type, _TEXT)
    try:
        value = read(text)
    except (ValueError, KeyError):
        value = None
    if option.choices and text not in option.choices:
        value, expected = None, f"one of {', '.join(option.choices)}"
    if value is None:
        raise UsageError(f"Option {name}: expected {expected}, found {excerpt(text)!r}.")
    return value


def accepts(option: Option) -> str:
    """What an option takes, in words."""
    return _READ.get(option.type, _TEXT)[1]


def choices_of(option: Option) -> tuple[str, ...]:
    """The texts there are to choose from, if they can be listed."""
    return option.choices or (("no", "yes") if option.type == "bool" else ())


def option_text(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
