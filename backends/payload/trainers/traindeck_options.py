"""A trainer's options: read from recipe.json into a typed data class, refused by name if wrong.

The console has checked a recipe before it is sent; a trainer checks again, since it may be run by
hand and must never train with an option that it did not understand. Travels beside the trainers
and imports nothing of Traindeck.
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from traindeck_reporting import Refused

T = TypeVar("T")


def read_options(path: str, kind: type[T]) -> T:
    """The options of a recipe.json (`{"values": {…}}`) or of a plain object of options.

    Args:
        kind: A data class: its fields are the options, their types what is accepted.

    Raises:
        Refused: It cannot be read, or an option is unknown, missing or of the wrong kind; named.
    """
    try:
        data = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise Refused(f"{path}: {(error.strerror or str(error)).lower()}.") from None
    except ValueError as error:
        raise Refused(f"{path}: not JSON: {error}.") from None
    values = data.get("values", data) if isinstance(data, dict) else None
    if not isinstance(values, dict):
        raise Refused(f"{path}: expected an object of options.")
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            hint = f" The nearest is {near[0]}." if near else ""
            raise Refused(f"{path}: {name} is no option of this trainer.{hint}")
    chosen = {}
    for option in fields(kind):
        if option.name in values:
            try:
                chosen[option.name] = _fit(hints[option.name], values[option.name])
            except ValueError as error:
                raise Refused(f"{path}: {option.name}: {error}") from None
        elif option.default is MISSING:
            raise Refused(f"{path}: {option.name} is missing.")
    return kind(**chosen)


def _fit(hint: Any, value: Any) -> Any:
    """A JSON value as the type of an option."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        problems = []
        for kind in typing.get_args(hint):
            try:
                return _fit(kind, value)
            except ValueError as error:
                problems.append(str(error))
        raise ValueError(" or ".join(problems))
    if origin is Literal:
        if value in typing.get_args(hint) and isinstance(value, str):
            return value
        raise ValueError(f"expected {' or '.join(typing.get_args(hint))}, found {value!r}.")
    if origin is tuple:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise ValueError(f"expected a list of names, found {value!r}.")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"expected {hint.__name__}, found {value!r}.")
    return value
