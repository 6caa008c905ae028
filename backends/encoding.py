"""The contract's data classes as JSON and back.

`decode` ignores fields it does not know, so that a record written by a newer version can be read by
an older one. Fields marked `wire: False` in their metadata are left out; `wire: FEW` is a sequence
that is written as it was when it could hold one value only.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")

FEW = "few"
"""Marks (as `wire`) a field of texts that is null in JSON if it has none, and a text if it has
one."""


def encode(value: Any) -> Any:
    """A data class (or a mapping, sequence, enum of them) as plain JSON values. Bytes are refused:
    what is binary travels beside the JSON (fields marked `wire: False` are left out).

    Raises:
        TypeError: A value of a type that JSON has not.
        ValueError: A number that is not finite.
    """
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        how = {f.name: f.metadata.get("wire", True) for f in fields(value)}
        return {
            name: (_encode_few if wire == FEW else encode)(getattr(value, name))
            for name, wire in how.items()
            if wire
        }
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items: Iterable[Any] = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [encode(v) for v in items]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"cannot encode {value}: JSON has only finite numbers")
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"cannot encode {type(value).__name__}")


def _encode_few(texts: Sequence[str]) -> Any:
    return encode(texts) if len(texts) > 1 else next(iter(texts), None)


_HINTS: dict[type, dict[str, Any]] = {}


def decode(kind: type[T], data: Mapping[str, Any]) -> T:
    """The inverse of `encode` for a data class. Unknown fields are ignored, missing ones take
    their defaults.

    Raises:
        ValueError: A known field holds a value of another shape.
    """
    hints = _HINTS.get(kind)
    if hints is None:
        hints = _HINTS[kind] = typing.get_type_hints(kind)
    known = {f.name: f.metadata.get("wire", True) for f in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, raw in data.items():
        if wire := known.get(name):
            if wire == FEW and not isinstance(raw, list):
                raw = [] if raw is None else [raw]
            try:
                values[name] = _decode_value(hints[name], raw)
            except (TypeError, ValueError, AttributeError, OverflowError) as error:
                raise ValueError(f"{kind.__name__}.{name}: {error}") from None
    return kind(**values)


def _decode_value(hint: Any, raw: Any) -> Any:
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if raw is None:
            return None
        return _decode_value(next(a for a in args if a is not type(None)), raw)
    if hint is Any:
        return raw
    if origin is tuple:
        if not isinstance(raw, (list, tuple)):
            raise ValueError(f"expected a list, got {type(raw).__name__}")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_decode_value(args[0], v) for v in raw)
        return tuple(_decode_value(a, v) for a, v in zip(args, raw, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(raw, Mapping):
            raise ValueError(f"expected an object, got {type(raw).__name__}")
        return {str(k): _decode_value(args[1], v) for k, v in raw.items()}
    if isinstance(hint, type):
        if is_dataclass(hint):
            if not isinstance(raw, Mapping):
                raise ValueError(f"expected an object, got {type(raw).__name__}")
            return decode(hint, raw)
        if issubclass(hint, Enum):
            return hint(raw)
        if hint is bytes and not isinstance(raw, bytes):
            raise ValueError("bytes travel beside the JSON")
        if hint is float and isinstance(raw, (int, float)) and not isinstance(raw, bool):
            if not math.isfinite(raw):
                raise ValueError("expected a finite number")
            return float(raw)
        if hint in (str, int, float, bool) and (
            not isinstance(raw, hint) or (hint is int and isinstance(raw, bool))
        ):
            raise ValueError(f"expected {hint.__name__}, got {type(raw).__name__}")
    return raw
