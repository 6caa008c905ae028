"""Parameters of a run as flat, typed scalars: what lists filter by and comparisons line up.

They come from the resolved recipe, or else from the options on the command line. Both are untrusted
and bounded: nothing here may make the index large.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Scalar = str | int | float | bool | None

MOST = 500
"""Parameters kept of one run."""

LONGEST = 1000
"""Characters kept of a name or value."""

_OPTION = re.compile(r"--?([A-Za-z][\w.\-/]*)")
_ASSIGNMENT = re.compile(r"[+~]{0,2}([A-Za-z_][\w.\-/@]*)=(.*)", re.DOTALL)
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?")
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "none": None, "null": None}


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Nested mappings as dotted names; a list becomes one text, its items joined by commas."""
    flat: dict[str, Scalar] = {}
    _flatten(data, prefix, flat, 0)
    return flat


def from_recipe(recipe: Mapping[str, Any]) -> dict[str, Scalar]:
    """Parameters of a resolved recipe: those below `params` if it has them apart, else all."""
    inner = recipe.get("params")
    if isinstance(inner, Mapping):
        return flatten(inner)
    return flatten({key: value for key, value in recipe.items() if key != "recipe"})


def from_argv(argv: Sequence[str]) -> dict[str, Scalar]:
    """Parameters of a command line: `--name value…`, `--name=value`, `--flag`, `name=value`.

    Dashes inside a name become underscores, as argparse does it. The last of several wins.
    """
    found: dict[str, Scalar] = {}
    name = ""
    values: list[str] = []
    for word in [*argv[1:], "--"]:
        option = _OPTION.match(word)
        if name and (option is None or _NUMBER.fullmatch(word)) and word != "--":
            values.append(word)
            continue
        if name:
            found[name] = scalar(" ".join(values)) if values else True
            name, values = "", []
        if option is not None:
            rest = word[option.end() :]
            key = option[1].replace("-", "_")
            if rest.startswith("="):
                found[key[:LONGEST]] = scalar(rest[1:])
            elif not rest:
                name = key[:LONGEST]
        elif assignment := _ASSIGNMENT.fullmatch(word):
            found[assignment[1][:LONGEST]] = scalar(assignment[2])
        if len(found) >= MOST:
            break
    return found


def scalar(text: str) -> Scalar:
    """A text as the number or truth value it spells, else as it is."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return _WORDS.get(text.lower(), text[:LONGEST])


def _flatten(value: Any, name: str, flat: dict[str, Scalar], depth: int) -> None:
    if len(flat) >= MOST:
        return
    if isinstance(value, Mapping) and depth < 20:
        for key, inner in value.items():
            _flatten(inner, f"{name}.{key}" if name else str(key), flat, depth + 1)
    elif value is None or isinstance(value, (bool, int, float)):
        flat[name[:LONGEST]] = value
    elif isinstance(value, (list, tuple)):
        flat[name[:LONGEST]] = ", ".join(str(item) for item in value[:100])[:LONGEST]
    else:
        flat[name[:LONGEST]] = str(value)[:LONGEST]
