"""The Launch form as data: four questions, each with its fields, made from a draft and its answer.

Pure. What a field means comes from the recipe's schema, the backend's options or the table of
ordinary fields; nothing is explained twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from traindeck.backends.data import dataclass
from traindeck.backends.states import Reach
from traindeck.console.runs import options
from traindeck.console.runs.drafting import (
    FIELDS,
    OPTION,
    Draft,
    Drafted,
    Ground,
    without_default,
)
from traindeck.console.runs.options import choices_of, option_text

if TYPE_CHECKING:
    from traindeck.console.recipes.schema import Parameter

COMMAND = "a command"
"""What stands in the first field if no recipe is chosen."""

START, PLACE, VALUE = "start", "on", "set."
"""Keys of the fields for what is launched and for the place; prefix of a recipe's parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A backend to choose. `note` is what to know of it now."""

    name: str
    kind: str = ""
    reach: Reach = Reach.OK
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One field.

    Attributes:
        text: What stands in it.
        hint: A few words beside it: what it takes, its range, its unit.
        takes: The same in full, for the help.
        default: What holds if it is left alone; "" if that is nothing.
        source: Where the value comes from if a person did not type it here: `preset quick`.
        choices: All it can be; empty if it is typed.
        suggest: Values worth trying.
        wide: Its text is long (a path, a command): the field takes the hint's room too.
        idle: It has no effect beside the other values.
        changed: The person has changed it since the form was filled.
        path: It may be a path, which can be completed.
    """

    key: str
    label: str
    text: str = ""
    meaning: str = ""
    hint: str = ""
    takes: str = ""
    default: str = ""
    source: str = ""
    problem: str = ""
    choices: tuple[str, ...] = ()
    suggest: tuple[str, ...] = ()
    changed: bool = False
    wide: bool = False
    idle: bool = False
    path: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One question. `note` stands at the right of its title."""

    key: str
    title: str
    entries: tuple[Entry, ...] = ()
    note: str = ""


TITLES = {"what": "WHAT", "where": "WHERE", "how": "HOW", "ends": "WHEN IT ENDS"}


def sections(
    draft: Draft, ground: Ground, drafted: Drafted | None, begun: Draft | None = None
) -> tuple[Section, ...]:
    """The whole form.

    Args:
        drafted: The answer to this draft or an earlier one; None before the first.
        begun: What the form was filled with, where that is not nothing: what differs from it was
            changed by the person.
    """
    begun = begun or Draft()
    found: dict[str, list[Entry]] = {key: [] for key in TITLES}
    names = (COMMAND, *ground.recipes)
    found["what"].append(
        Entry(
            key=START,
            label="launch",
            text=draft.recipe or COMMAND,
            meaning="A command line of yours, or a recipe: a training of which only what matters "
            "is asked.",
            choices=names if draft.recipe in ("", *ground.recipes) else (*names, draft.recipe),
            changed=draft.recipe != begun.recipe,
            hint=_about(drafted, draft),
        )
    )
    found["where"].append(
        Entry(
            key=PLACE,
            label="backend",
            text=draft.on,
            meaning="Where it runs. Further places are added in the settings.",
            choices=tuple(ground.backends),
            changed=draft.on != begun.on,
        )
    )
    for group, entry in _parameters(draft, drafted, begun):
        found[group].append(entry)
    problems = drafted.problems if drafted is not None else {}
    for entry in _options(draft, ground, begun, drafted):
        found["where"].append(entry)
    for known in FIELDS:
        if not (known.recipes if draft.recipe else known.commands):
            continue
        text = draft.text(known.key)
        if known.key == "array" and draft.on not in ground.schedulers:
            continue
        if known.key == "nodes" and draft.on not in ground.schedulers and text == known.default:
            continue
        default = known.default
        hint = known.takes
        if known.key == "cwd":
            default = ground.cwd
        if known.key == "name" and not text:
            hint = f"{draft.made_name}, made" if draft.made_name else hint
        found[known.question].append(
            Entry(
                key=known.key,
                label=known.label,
                text=text,
                meaning=known.meaning,
                hint="" if known.choices else hint,
                takes=known.takes,
                default=default,
                problem=problems.get(known.key, ""),
                choices=known.choices,
                changed=text != begun.text(known.key),
                wide=known.key in _WIDE,
                idle=known.key == "after_end" and not draft.text("after"),
                path=known.key in ("cwd", "environment", "python"),
            )
        )
    return tuple(
        Section(key=key, title=title, entries=tuple(found[key]), note=_note(key, draft, drafted))
        for key, title in TITLES.items()
    )


_WIDE = frozenset(
    {"command", "cwd", "environment", "env", "secrets", "tags", "python", "on_exit", "on_stall"}
)


def _about(drafted: Drafted | None, draft: Draft) -> str:
    if not draft.recipe:
        return ""
    return f"{len(list(drafted.recipe))} parameters" if drafted and drafted.recipe else "reading it"


def _note(key: str, draft: Draft, drafted: Drafted | None) -> str:
    recipe = drafted.recipe if drafted is not None and draft.recipe else None
    if key != "how" or recipe is None or not recipe.presets or draft.like:
        return ""
    return f"preset {draft.preset or recipe.preset or 'none'}"


def _parameters(draft: Draft, drafted: Drafted | None, begun: Draft) -> Iterator[tuple[str, Entry]]:
    """The recipe's own fields with the question they belong to; none until they are known."""
    if not draft.recipe or drafted is None or drafted.form is None or drafted.recipe is None:
        return
    from traindeck.console.recipes.schema import Kind, accepts, text_of

    had = begun.values if begun.recipe == draft.recipe else {}
    for group in drafted.recipe.groups:
        question = group.key if group.key in ("what", "how", "ends") else "how"
        for field in drafted.form.groups.get(group.title, ()):
            parameter = field.parameter
            key = parameter.key
            choices = parameter.choices
            if parameter.kind is Kind.BOOL:
                choices = ("yes", "no")
            base = "" if parameter.required else text_of(parameter.default)
            source = "" if field.source in ("default", "--set") else field.source
            text = draft.values.get(key, field.text if not field.changed else base)
            yield (
                question,
                Entry(
                    key=f"{VALUE}{key}",
                    label=parameter.label or key.replace("_", " "),
                    text=text,
                    meaning=parameter.meaning,
                    hint=_short(parameter) if field.applies else "no effect now",
                    takes=accepts(parameter),
                    default=base,
                    source=source,
                    problem=field.problem or drafted.problems.get(key, ""),
                    choices=tuple(choices),
                    suggest=tuple(text_of(value) for value in parameter.suggest),
                    changed=draft.values.get(key) != had.get(key),
                    wide=parameter.kind in (Kind.PATH, Kind.NAMES),
                    idle=not field.applies,
                    path=parameter.kind is Kind.PATH,
                ),
            )


def _short(parameter: Parameter) -> str:
    """The range and unit of a parameter, in the fewest words."""
    from traindeck.console.recipes.schema import Kind, text_of

    if parameter.kind not in (Kind.INT, Kind.FLOAT):
        return parameter.unit
    low, high = (
        "" if bound is None else f"{int(bound):,}" if bound == int(bound) else text_of(bound)
        for bound in (parameter.low, parameter.high)
    )
    span = f"{low} … {high}" if low and high else f"≥ {low}" if low else f"≤ {high}" if high else ""
    words = ", ".join(parameter.words)
    return " ".join(
        part for part in (f"{span} or {words}" if words and span else span, parameter.unit) if part
    )


def _options(
    draft: Draft, ground: Ground, begun: Draft, drafted: Drafted | None
) -> Iterator[Entry]:
    offers = drafted.offers if drafted is not None else {}
    for name, option in ground.options.get(draft.on, {}).items():
        key = f"{OPTION}{name}"
        default = option_text(option.default)
        choices = choices_of(option)
        takes = options.accepts(option)
        text = draft.fields.get(key, default)
        yield Entry(
            key=key,
            label=name.replace("_", " "),
            text=text,
            meaning=option.help,
            takes=takes,
            hint="" if choices or takes == "text" else takes,
            default=default,
            choices=choices,
            suggest=() if choices else offers.get(name, ()),
            changed=text != begun.fields.get(key, default),
        )


def flat(form: Sequence[Section]) -> list[Entry]:
    """All fields in order."""
    return [entry for section in form for entry in section.entries]


def placed(form: Sequence[Section], key: str) -> tuple[Section, Entry] | None:
    """A field and the question it belongs to."""
    for section in form:
        for entry in section.entries:
            if entry.key == key:
                return section, entry
    return None


def written(draft: Draft, entry: Entry, text: str) -> Draft:
    """The draft with a text in a field; of what is launched the screen decides itself."""
    key = entry.key
    if key == PLACE:  # its options are those of another place
        fields = {k: v for k, v in draft.fields.items() if not k.startswith(OPTION)}
        return replace(draft, on=text, fields=fields)
    if key.startswith(VALUE):
        name = key.removeprefix(VALUE)
        values = {k: v for k, v in draft.values.items() if k != name}
        return replace(draft, values={**values, name: text} if text.strip() else values)
    if key.startswith(OPTION):
        fields = {k: v for k, v in draft.fields.items() if k != key}
        kept = text.strip() and text != entry.default
        return replace(draft, fields={**fields, key: text} if kept else fields)
    return without_default(draft, key, text)
