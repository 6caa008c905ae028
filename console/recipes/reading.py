"""Recipes as files: ours beside this module, the user's in `recipes/` of the config folder.

A file either defines a recipe (trainer, groups of parameters) or builds on another one (`recipe:`
and `set:`). What is wrong in it is named with its line. YAML is imported when a file is read, not
before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from traindeck.backends.errors import UsageError
from traindeck.console import documents
from traindeck.console.documents import Document, Key
from traindeck.console.recipes.schema import (
    Given,
    Group,
    Kind,
    Parameter,
    Preset,
    Recipe,
    Value,
    accepts,
    nearest_key,
    parse,
)

OURS = Path(__file__).parent
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")

_DEFINITION = ("name", "description", "trainer", "groups", "presets")
_DERIVED = ("recipe", "name", "description", "preset", "set")
_PARAMETER = (
    *("type", "meaning", "label", "default", "required", "hub", "range", "choices", "words"),
    *("unit", "suggest", "only", "also"),
)


def list_recipes(folder: Path | None = None) -> list[str]:
    """Names of the recipes there are, sorted.

    Args:
        folder: The user's recipes; need not be there.
    """
    return sorted(_files(folder))


def load(name: str, folder: Path | None = None) -> Recipe:
    """A recipe by name, or from a file: YAML, or the recipe.json of a run.

    Raises:
        UsageError: There is none of that name (the nearest is named).
        DocumentError: Its file is not what it should be; with the line.
    """
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml", ".json") or "/" in name:
        if path.suffix == ".json":
            return _from_json_file(path, folder)
        return _read(path, folder, ())
    found = _files(folder).get(name)
    if found is None:
        names = list_recipes(folder)
        near = documents.nearest(name, names)
        hint = f"Did you mean {near}?" if near else f"There are: {', '.join(names)}."
        raise UsageError(f"There is no recipe {name}.", hint)
    return _read(found, folder, ())


def from_run(saved: Mapping[str, Any], source: str, folder: Path | None = None) -> Recipe:
    """The recipe that a run was made from, with the run's values: for "launch again with changes".

    Args:
        saved: `RunSpec.recipe` of the run.
        source: What to call these values: `run k3f9`.

    Raises:
        UsageError: It was not made from a recipe, the recipe is not there any more, or it has a
            parameter no more that the run had (named).
    """
    name, values = saved.get("recipe"), saved.get("values")
    if not isinstance(name, str) or not isinstance(values, Mapping):
        raise UsageError(f"{source} holds no recipe's values.")
    origin = saved.get("path")
    recipe = load(name, folder) if name in _files(folder) else _by_path(name, origin, folder)
    given = {}
    for key, raw in values.items():
        parameter = recipe.find(key)
        if parameter is None:
            problem = (
                f"{source} sets {key}, which the recipe {recipe.name} of this version has not."
            )
            raise UsageError(problem, "Launch it with the Traindeck that made it, or set anew.")
        try:
            given[key] = Given(value=parse(parameter, raw), source=source)
        except ValueError as error:
            raise UsageError(f"{source}: {key}: {error}") from None
    return replace(recipe, given={**recipe.given, **given}, preset=None)


def _by_path(name: str, origin: object, folder: Path | None) -> Recipe:
    if isinstance(origin, str) and Path(origin).is_file():
        return _read(Path(origin), folder, ())
    return load(name, folder)  # its refusal names what there is


def _from_json_file(path: Path, folder: Path | None) -> Recipe:
    try:
        saved = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}.") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path}: not JSON.") from None
    if not isinstance(saved, dict):
        raise UsageError(f"{path}: expected an object.")
    return from_run(saved, path.name, folder)


def _files(folder: Path | None) -> dict[str, Path]:
    """Name -> file; the user's come before ours of the same name."""
    found = {path.stem: path for path in OURS.glob("*.yaml")}
    if folder is not None and folder.is_dir():
        found |= {p.stem: p for p in folder.glob("*.yaml") if _NAME.fullmatch(p.stem)}
    return found


# --------------------------------------------------------------------------------------- one file


def _read(path: Path, folder: Path | None, above: tuple[Path, ...]) -> Recipe:
    path = path.absolute()
    document = documents.read(path)
    derived = "recipe" in document.data
    _no_others(document, (), document.data, _DERIVED if derived else _DEFINITION)
    name = _string(document, ("name",), document.data.get("name", path.stem))
    if not _NAME.fullmatch(name):
        problem = f"{name!r} is no name for a recipe (letters, digits, `.`, `_`, `-`)."
        raise document.error(("name",), problem)
    if derived:
        return _derive(document, name, folder, (*above, path))
    return _define(document, name)


def _derive(document: Document, name: str, folder: Path | None, above: tuple[Path, ...]) -> Recipe:
    base = _string(document, ("recipe",), document.data["recipe"])
    if base.endswith((".yaml", ".yml")):
        path = document.path.parent / Path(base).expanduser()
    else:
        files = _files(folder)
        found, ours = files.get(base), _files(None).get(base)
        if found in above:
            found = ours or found  # the user's sft.yaml builds on our sft
        if found is None:
            near = documents.nearest(base, files)
            hint = f"Did you mean {near}?" if near else ""
            raise document.error(("recipe",), f"there is no recipe {base}.", hint)
        path = found
    if path.absolute() in above:
        raise document.error(("recipe",), f"{base} builds on this recipe itself.")
    recipe = _read(path, folder, above)
    given = dict(recipe.given)
    for key, raw in _mapping(document, ("set",)).items():
        value = _value(document, ("set", key), recipe, key, raw)
        where = f"{document.path.name}, line {document.line(('set', key))}"
        given[key] = Given(value=value, source=where)
    preset = recipe.preset
    if document.data.get("preset") is not None:
        preset = _string(document, ("preset",), document.data["preset"])
        if preset not in recipe.presets:
            problem = f"{recipe.name} has no preset {preset} (it has {', '.join(recipe.presets)})."
            raise document.error(("preset",), problem)
    description = document.data.get("description", recipe.description)
    return replace(
        recipe,
        name=name,
        description=_string(document, ("description",), description),
        given=given,
        preset=preset,
        path=str(document.path),
    )


def _define(document: Document, name: str) -> Recipe:
    trainer = _string(document, ("trainer",), document.data.get("trainer"))
    if trainer.endswith(".py"):
        script = document.path.parent / Path(trainer).expanduser()
        if not script.is_file():
            raise document.error(("trainer",), f"{script}: no such file.")
        trainer = str(script)
    elif not _NAME.fullmatch(trainer):
        raise document.error(("trainer",), f"{trainer!r} is neither a trainer nor a .py file.")
    groups = []
    seen: set[str] = set()
    for group, body in _mapping(document, ("groups",)).items():
        key: Key = ("groups", group)
        _no_others(document, key, body, ("title", "parameters"))
        parameters = []
        for parameter in _mapping(document, (*key, "parameters")):
            if parameter in seen or not _KEY.fullmatch(parameter):
                problem = "stands in two groups" if parameter in seen else "is no key (a-z, 0-9, _)"
                raise document.error((*key, "parameters", parameter), f"{parameter} {problem}.")
            seen.add(parameter)
            parameters.append(_parameter(document, (*key, "parameters", parameter)))
        title = _string(document, (*key, "title"), body.get("title", group))
        groups.append(Group(key=group, title=title, parameters=tuple(parameters)))
    recipe = Recipe(
        name=name,
        description=_string(document, ("description",), document.data.get("description", "")),
        trainer=trainer,
        groups=tuple(groups),
        path="" if document.path.parent == OURS.absolute() else str(document.path),
    )
    for parameter_found in recipe:
        _check_only(document, recipe, parameter_found)
    return replace(recipe, presets=dict(_presets(document, recipe)))


def _presets(document: Document, recipe: Recipe) -> Iterator[tuple[str, Preset]]:
    for name in _mapping(document, ("presets",)):
        key: Key = ("presets", name)
        _no_others(document, key, _mapping(document, key), ("meaning", "values"))
        values = {
            parameter: _value(document, (*key, "values", parameter), recipe, parameter, raw)
            for parameter, raw in _mapping(document, (*key, "values")).items()
        }
        meaning = _string(document, (*key, "meaning"), _at(document, (*key, "meaning")) or "")
        yield name, Preset(name=name, meaning=meaning, values=values)


def _parameter(document: Document, key: Key) -> Parameter:
    body = _mapping(document, key)
    _no_others(document, key, body, _PARAMETER)

    def text(name: str, default: str = "") -> str:
        return _string(document, (*key, name), body.get(name, default))

    def flag(name: str) -> bool:
        value = body.get(name, False)
        if not isinstance(value, bool):
            raise document.error((*key, name), f"{name}: expected true or false.")
        return value

    def words(name: str) -> tuple[str, ...]:
        value = body.get(name, [])
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise document.error((*key, name), f"{name}: expected a list of words.")
        return tuple(value)

    kind_name = text("type")
    if kind_name not in tuple(Kind):
        problem = f"type: expected {', '.join(Kind)}, found {kind_name!r}."
        raise document.error((*key, "type"), problem)
    kind = Kind(kind_name)
    low, high = _range(document, (*key, "range"), body.get("range"), kind)
    name = str(key[-1])
    parameter = Parameter(
        key=name,
        kind=kind,
        meaning=text("meaning"),
        label=text("label", name.replace("_", " ")),
        required=flag("required"),
        hub=flag("hub"),
        low=low,
        high=high,
        choices=words("choices"),
        words=words("words"),
        unit=text("unit"),
        also=words("also"),
    )
    if bool(parameter.choices) != (kind is Kind.CHOICE):
        raise document.error((*key, "choices"), f"{name}: choices belong to type choice.")
    if parameter.required == ("default" in body):
        raise document.error(key, f"{name}: expected either a default or `required: true`.")

    def judged(place: Key, raw: Any) -> Value:
        try:
            return parse(parameter, raw)
        except ValueError as error:
            raise document.error(place, f"{name}: {error}") from None

    suggest = body.get("suggest", [])
    if not isinstance(suggest, list):
        raise document.error((*key, "suggest"), "suggest: expected a list.")
    suggested = tuple(judged((*key, "suggest", i), raw) for i, raw in enumerate(suggest))
    only = _mapping(document, (*key, "only"))
    if parameter.required:
        return replace(parameter, suggest=suggested, only=only)
    default = judged((*key, "default"), body["default"])
    return replace(parameter, default=default, suggest=suggested, only=only)


def _range(
    document: Document, key: Key, raw: object, kind: Kind
) -> tuple[float | None, float | None]:
    if raw is None:
        return None, None
    if kind not in (Kind.INT, Kind.FLOAT):
        raise document.error(key, "range: belongs to a number.")
    numbers = []
    for item in raw if isinstance(raw, list) else []:
        try:
            numbers.append(float(item))
        except (TypeError, ValueError):
            break
    if len(numbers) != 2 or not numbers[0] <= numbers[1]:
        raise document.error(key, "range: expected [lowest, highest].")
    return numbers[0], numbers[1]


def _check_only(document: Document, recipe: Recipe, parameter: Parameter) -> None:
    """Bring the conditions of a parameter to the values they are compared with."""
    if not parameter.only:
        return
    group = next(g.key for g in recipe.groups if parameter in g.parameters)
    place: Key = ("groups", group, "parameters", parameter.key, "only")
    for key, raw in parameter.only.items():
        other = recipe.find(key)
        if other is None:
            raise document.error((*place, key), f"only: there is no parameter {key}.")
        try:
            same = parse(other, raw) == raw
        except ValueError as error:
            raise document.error((*place, key), f"only: {key}: {error}") from None
        if not same:
            raise document.error((*place, key), f"only: {key}: expected {accepts(other)}.")


def _value(document: Document, place: Key, recipe: Recipe, key: str, raw: Any) -> Value:
    parameter = recipe.find(key)
    if parameter is None:
        near = nearest_key(recipe, key)
        hint = f"Did you mean {near}?" if near else ""
        raise document.error(place, f"{recipe.name} has no parameter {key}.", hint)
    try:
        return parse(parameter, raw)
    except ValueError as error:
        raise document.error(place, f"{key}: {error}") from None


def _at(document: Document, key: Key) -> Any:
    found: Any = document.data
    for name in key:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _mapping(document: Document, key: Key) -> dict[str, Any]:
    found = _at(document, key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise document.error(key, f"{key[-1]}: expected `name: value` lines below it.")
    return found


def _string(document: Document, key: Key, raw: object) -> str:
    if isinstance(raw, str):
        return " ".join(raw.split())
    name = key[-1]
    problem = "is missing" if raw is None else f"expected text, found {type(raw).__name__}"
    raise document.error(key, f"{name}: {problem}.")


def _no_others(document: Document, key: Key, body: object, known: tuple[str, ...]) -> None:
    if not isinstance(body, Mapping):
        raise document.error(key, f"{key[-1]}: expected `name: value` lines below it.")
    for name in body:
        if name not in known:
            near = documents.nearest(name, known)
            hint = f"Did you mean {near}?" if near else f"Known are {', '.join(known)}."
            raise document.error((*key, name), f"there is no field {name} here.", hint)
