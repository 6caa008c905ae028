"""What all commands have in common: an option that takes one value is given once."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from traindeck.backends.errors import UsageError


class Command(TyperCommand):
    """Refuses what the parser would drop: of an option given twice it takes the last value."""

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
