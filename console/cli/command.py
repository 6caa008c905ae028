"""What all commands have in common: an option that takes one value is given once, and plain values
are taken as they are."""

from __future__ import annotations

import re
from typing import Any, get_args, get_origin

from typer.core import TyperCommand, TyperGroup

from traindeck.backends.errors import UsageError


class Command(TyperCommand):
    """Refuses what the parser would drop: of an option given twice it takes the last value."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _taken_plainly(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            for param in given:
                takes_one = param.param_type_name == "option" and not param.multiple
                is_flag = getattr(param, "is_flag", False)
                if takes_one and not is_flag and given.count(param) > 1:
                    name = max(param.opts, key=len)
                    raise UsageError(f"{name} is given more than once; it takes one value.")
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """Several commands under one word."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _taken_plainly(super().get_params(ctx))


def _taken_plainly(params: list[Any]) -> list[Any]:
    """Parameters whose values typer does not validate where there is nothing to find: it would
    import pydantic for it, which takes longer than most commands."""
    for param in params:
        validated = getattr(param, "get_runtime_param", None)
        if validated is not None and not isinstance(validated, _Plain):
            param.get_runtime_param = _Plain(validated, param.type_descriptor.annotation)
    return params


_DIGITS = re.compile("[0-9]{1,18}")


class _Plain:
    """In place of typer's validation of a parameter: a text that is to be one, and digits that are
    to be a number, need none."""

    def __init__(self, validated: Any, wanted: Any) -> None:
        self._validated = validated
        self._wanted = wanted

    def __call__(self) -> _Plain:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as the command takes it.

        Raises:
            typer.BadParameter: It is not of the type that is wanted.
        """
        wanted, many = self._wanted, param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        if many and get_origin(wanted) is list and isinstance(value, (list, tuple)):
            if get_args(wanted) == (str,) and all(type(item) is str for item in value):
                return list(value)
        elif wanted in (str, int, bool) and type(value) is wanted:
            return value
        elif wanted is int and isinstance(value, str) and _DIGITS.fullmatch(value):
            return int(value)
        return self._validated().coerce(value, param=param, ctx=ctx)
