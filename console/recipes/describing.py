"""A recipe for people: `--help`, the README's table, the fields of the Launch form.

All of it comes from the schema, so that what is explained is what is accepted. Returns text and
data; no terminal library.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from traindeck.backends.data import dataclass
from traindeck.console.recipes.resolving import RecipeError, Resolved, applies, resolve
from traindeck.console.recipes.schema import Kind, Parameter, Recipe, accepts, text_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One line of the Launch form.

    Attributes:
        text: The value as it is typed.
        source: Where it came from; `default` means that nobody chose it.
        problem: Why it cannot be launched with, else empty.
        applies: Whether it has an effect beside the other values.
    """

    parameter: Parameter
    text: str
    source: str
    problem: str = ""
    applies: bool = True

    @property
    def changed(self) -> bool:
        return self.source == "--set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The Launch form of a recipe: group title -> fields, and what it comes to if it is whole."""

    groups: Mapping[str, tuple[Field, ...]]
    resolved: Resolved | None = None
    problems: Mapping[str, str] | None = None


def _anything(parameter: Parameter) -> str:
    """A value that a parameter takes, to stand for one that is missing. It is never shown."""
    match parameter.kind:
        case Kind.INT | Kind.FLOAT:
            return f"{next((b for b in (parameter.low, parameter.high) if b is not None), 1):g}"
        case Kind.BOOL:
            return "no"
        case Kind.CHOICE:
            return parameter.choices[0]
    return "…"


def form(recipe: Recipe, overrides: Mapping[str, str], *, preset: str | None = None) -> Form:
    """The form with what was typed so far, right or wrong. Never raises for what was typed.

    Raises:
        UsageError: There is no such preset.
    """
    problems: dict[str, str] = {}
    resolved = None
    try:
        resolved = resolve(recipe, overrides, preset=preset)
        known = resolved
    except RecipeError as error:
        problems = error.problems
        good = {key: text for key, text in overrides.items() if key not in problems}
        missing = {p.key: _anything(p) for p in recipe if p.required and p.key in problems}
        known = resolve(recipe, {**good, **missing}, preset=preset)
    values = known.values
    groups = {}
    for group in recipe.groups:
        fields = []
        for parameter in group.parameters:
            key = parameter.key
            setting = known.settings[key]
            wrong = key in problems
            fields.append(
                Field(
                    parameter=parameter,
                    text=overrides.get(key, "") if wrong else text_of(setting.value),
                    source="--set" if key in overrides else "" if wrong else setting.source,
                    problem=problems.get(key, ""),
                    applies=applies(parameter, values),
                )
            )
        groups[group.title] = tuple(fields)
    return Form(groups=groups, resolved=resolved, problems=problems or None)


def help_text(recipe: Recipe, width: int = 88) -> str:
    """What `finetune RECIPE --help` says of the recipe's parameters."""
    lines = textwrap.wrap(f"{recipe.name}: {recipe.description}", width)
    column = max((len(p.key) for p in recipe), default=0) + 4
    for group in recipe.groups:
        lines += ["", f"{group.title}:"]
        for parameter in group.parameters:
            words = f"{parameter.meaning} [{_default(recipe, parameter)}; {accepts(parameter)}]"
            wrapped = textwrap.wrap(words, max(20, width - column), break_on_hyphens=False)
            lines.append(f"  {parameter.key:<{column - 2}}{wrapped[0]}")
            lines += [" " * column + line for line in wrapped[1:]]
    if recipe.presets:
        lines += ["", "Presets:"]
        for preset in recipe.presets.values():
            chosen = " ".join(f"{k}={text_of(v)}" for k, v in preset.values.items())
            wrapped = textwrap.wrap(f"{preset.meaning} [{chosen}]", max(20, width - column))
            lines.append(f"  {preset.name:<{column - 2}}{wrapped[0]}")
            lines += [" " * column + line for line in wrapped[1:]]
    return "\n".join(lines)


def readme_table(recipe: Recipe) -> str:
    """The recipe's parameters as a table in Markdown."""
    lines = ["| parameter | default | accepts | meaning |", "|---|---|---|---|"]
    for parameter in recipe:
        cells = (
            f"`{parameter.key}`",
            "required" if parameter.required else f"`{text_of(parameter.default) or '(empty)'}`",
            accepts(parameter),
            parameter.meaning,
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def completions(recipe: Recipe, incomplete: str) -> list[tuple[str, str]]:
    """What can follow `--set`: (text, meaning) pairs of keys with `=`, or of values after it."""
    key, equals, start = incomplete.partition("=")
    if not equals:
        return [(f"{p.key}=", p.meaning) for p in recipe if p.key.startswith(key)]
    parameter = recipe.find(key)
    if parameter is None:
        return []
    offered = [*parameter.suggest, *parameter.choices, *parameter.words]
    if parameter.kind == "bool":
        offered = [True, False]
    texts = dict.fromkeys(text_of(value) for value in offered)
    return [(f"{key}={text}", "") for text in texts if text.startswith(start)]


def _default(recipe: Recipe, parameter: Parameter) -> str:
    given = recipe.given.get(parameter.key)
    if given is not None:
        return f"{text_of(given.value)}, from {given.source}"
    if parameter.required:
        return "required"
    text = text_of(parameter.default)
    return f"default {text}" if text else "default empty"
