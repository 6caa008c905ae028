"""The standard `dataclass`, for frozen classes at a quarter of what it takes to make one.

Every command makes some dozens of classes of data before it does anything, and for each the
standard library compiles six functions, which together was a tenth of a start. Of those only
`__init__` hangs on the fields so much that it has to be compiled. The other five are shared here.
What comes out is a data class like any other: `fields`, `replace`, `asdict` and type checkers do
not know the difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, **options):
        """As the standard one, with the same options."""

        def make(plain):
            usual = options.keys() <= _OURS and options.get("frozen") and options.get("slots")
            if not usual or hasattr(plain, "__dataclass_fields__"):  # inherited
                return dataclasses.dataclass(plain, **options)
            return _frozen(plain, options.get("kw_only", False), options.get("eq", True))

        return make if cls is None else make(cls)


_OURS = {"frozen", "slots", "kw_only", "eq"}
"""Options of the classes that are made here; all others are the standard library's."""

_ABSENT: Any = object()
"""In place of a value that a factory makes."""


def _frozen(plain: type, kw_only: bool, eq: bool) -> Any:
    decorate = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)
    made: Any = decorate(plain)
    # What a subclass made by the standard library looks at.
    how = made.__dataclass_params__
    how.init, how.repr, how.eq, how.frozen = True, True, eq, True
    fields = dataclasses.fields(made)
    shown = [f.name for f in fields if f.repr]
    compared = _values([f.name for f in fields if f.compare])

    def __repr__(self: Any) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({values})"

    def __eq__(self: Any, other: object) -> Any:
        return compared(self) == compared(other) if type(other) is type(self) else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(compared(self))

    shared = [("__getstate__", _state), ("__setstate__", _take_state), ("__repr__", __repr__)]
    for name, method in [*shared, *([("__eq__", __eq__), ("__hash__", __hash__)] if eq else [])]:
        if plain.__dict__.get(name) is None:  # else the class has its own
            setattr(made, name, method)
    made.__setattr__ = _refuse_to_assign
    made.__delattr__ = _refuse_to_delete
    made.__init__ = _init(made, fields)
    return made


def _values(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What takes these fields of an object."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda of: tuple(getattr(of, name) for name in names)


def _state(self: Any) -> list[Any]:
    """For a copy or a pickle: the values of all fields, those too that a class built on it adds."""
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _take_state(self: Any, values: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), values, strict=True):
        object.__setattr__(self, field.name, value)


def _refuse_to_assign(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _init(made: type, fields: tuple[dataclasses.Field[Any], ...]) -> Callable[..., None]:
    known: dict[str, Any] = {"__set": object.__setattr__, "__absent": _ABSENT}
    taken: dict[bool, list[str]] = {False: [], True: ["*"]}
    lines = [""]
    for field in fields:
        name = value = field.name
        if field.default is not dataclasses.MISSING:
            known[f"__of_{name}"] = field.default
            parameter = f"{name}=__of_{name}"
        elif field.default_factory is not dataclasses.MISSING:
            known[f"__of_{name}"] = field.default_factory
            parameter = f"{name}=__absent"
            value = f"__of_{name}() if {name} is __absent else {name}"
        else:
            parameter = name
        taken[bool(field.kw_only)].append(parameter)
        lines.append(f" __set(self, {name!r}, {value})")
    if hasattr(made, "__post_init__"):
        lines.append(" self.__post_init__()")
    parameters = ["self", *taken[False], *(taken[True] if len(taken[True]) > 1 else [])]
    lines[0] = f"def __init__({', '.join(parameters)}):" + " pass" * (len(lines) == 1)
    exec("\n".join(lines), known)  # noqa: S102 - the names of fields, as the standard library does
    init: Callable[..., None] = known["__init__"]
    init.__qualname__ = f"{made.__qualname__}.__init__"
    return init
