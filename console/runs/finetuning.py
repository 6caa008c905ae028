"""Fine-tunes: a recipe, what was set, and the interpreter that has the training libraries, as an
ordinary launch request."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from traindeck.console.recipes.resolving import Resolved
    from traindeck.console.recipes.schema import Recipe
    from traindeck.console.runs.request import LaunchRequest
    from traindeck.console.runs.workspace import Workspace

DATA_FILES = (".jsonl", ".json", ".csv", ".parquet")

NEEDED = "torch"
"""A package that an environment must have for a trainer to run in it."""

IMPORTS = {"sft": (NEEDED, "transformers", "trl", "datasets", "accelerate")}
"""Trainer -> what it imports. Of a trainer of the user's own nothing is known."""

INDEX = "{index}"
"""Stands in a parameter for the index of a task of an array."""
ALIKE = "all tasks have the same parameters"
"""What is said of an array whose tasks only their index tells apart."""


def varying(values: Mapping[str, str]) -> bool:
    """Whether the tasks of an array differ in their parameters."""
    return any(INDEX in value for value in values.values())


def for_task(values: Mapping[str, str], index: int | None) -> dict[str, str]:
    """The parameters of one task of an array."""
    return {key: value.replace(INDEX, str(index)) for key, value in values.items()}


def recipe_names(ws: Workspace) -> list[str]:
    """Recipes there are, ours and the user's."""
    from traindeck.console.recipes.reading import list_recipes

    return list_recipes(ws.places.recipes)


def read_recipe(ws: Workspace, name: str) -> Recipe:
    """A recipe by name or file.

    Raises:
        UsageError: There is none, or its file is wrong.
    """
    from traindeck.console.recipes.reading import load

    return load(name, ws.places.recipes)


def recipe_request(
    ws: Workspace,
    recipe: Recipe,
    overrides: Mapping[str, object],
    *,
    preset: str | None = None,
    python: str | None = None,
    present: bool = True,
    **options: Any,
) -> tuple[LaunchRequest, tuple[str, ...]]:
    """The launch request of a recipe, and notes about what was set without effect.

    Args:
        overrides: As of `--set`.
        python: Interpreter with the training libraries; looked for if not given.
        present: Files and folders must be there now, if the run executes here at once.
        options: The other fields of the request.

    Raises:
        RecipeError: What was set is wrong, by name.
    """
    from traindeck.console.recipes.resolving import command, resolve
    from traindeck.console.runs.elsewhere import default_environment, is_here
    from traindeck.console.runs.request import LaunchRequest

    resolved = resolve(recipe, overrides, preset=preset)
    on = options.get("on", "local")
    if not is_here(ws, on):
        return _elsewhere(recipe, resolved, python, present=present, options=options)
    if present and not options.get("after") and on in ws.settings.local_roots():
        _check_paths(recipe, resolved.values, options.get("cwd"))
    named = (options.get("environment") or default_environment(ws, on)) not in ("", "none")
    interpreter = python or ("python" if named else training_python(ws.environ))
    made = command(resolved, interpreter, gpus=int(options.get("gpus", 0)))
    request = LaunchRequest(
        argv=made.argv,
        run_dir_words=made.run_dir_words,
        files=made.files,
        recipe=resolved.to_json(),
        needs=_imports(resolved),
        code="here",  # the trainer travels; the data may be named relative to the cwd
        **options,
    )
    return request, resolved.notes


def _elsewhere(
    recipe: Recipe,
    resolved: Resolved,
    python: str | None,
    *,
    present: bool,
    options: Mapping[str, Any],
) -> tuple[LaunchRequest, tuple[str, ...]]:
    """The request for a place that has not this machine's files: its interpreter is one of there,
    and data goes along if it lies in our folder and is small."""
    from traindeck.console.recipes.resolving import RecipeError, command
    from traindeck.console.runs.elsewhere import split_paths
    from traindeck.console.runs.request import LaunchRequest, here

    on, more = str(options.get("on")), dict(options)
    source = more.get("code_from") or here()
    cwd = str(more.get("cwd") or source)
    reads: tuple[str, ...]
    sends: tuple[str, ...] = ()
    if cwd != source and cwd.startswith(("/", "~")):
        # Relative ones begin in a folder of there; what it holds is not seen from here.
        reads = tuple(path for _, path in _paths(recipe, resolved.values, None))
    else:
        source = os.path.normpath(os.path.join(source, cwd))
        more |= {"code_from": source, "cwd": None}
        paths = dict(_paths(recipe, resolved.values, source))
        reads, sends, problems = split_paths(paths, source, on)
        if problems and present:
            raise RecipeError(problems)
    if python and not more.get("environment"):
        more["environment"], python = python, None
    # `python3` and nothing else: which one that is, is found out there.
    made = command(resolved, python or "python3", gpus=int(more.get("gpus", 0)))
    request = LaunchRequest(
        argv=made.argv,
        run_dir_words=made.run_dir_words,
        files=made.files,
        recipe=resolved.to_json(),
        needs=_imports(resolved),
        reads=reads,
        sends=sends,
        **more,
    )
    along = (f"sent along from here: {', '.join(sends)}",) if sends else ()
    return request, (*resolved.notes, *along)


def _imports(resolved: Resolved) -> tuple[str, ...] | None:
    found = IMPORTS.get(resolved.trainer)
    return (*found, "peft") if found and resolved.values.get("method") == "lora" else found


def _check_paths(recipe: Recipe, values: Mapping[str, Any], cwd: str | None) -> None:
    from traindeck.console.recipes.resolving import RecipeError
    from traindeck.console.runs.request import here

    base = cwd or here()
    problems = {
        key: f"{key} {value}: no such file or folder."
        for key, value in _paths(recipe, values, None)
        if not os.path.exists(os.path.join(base, os.path.expanduser(value)))
    }
    if problems:
        raise RecipeError(problems)


def _paths(
    recipe: Recipe, values: Mapping[str, Any], base: str | None
) -> Iterator[tuple[str, str]]:
    """The parameters that name a file or folder, with what they name.

    Args:
        base: Where a name that may be one of the hub is a folder, if it is there.
    """
    from traindeck.console.recipes.schema import Kind

    for parameter in recipe:
        value = values.get(parameter.key)
        if parameter.kind is not Kind.PATH or not isinstance(value, str) or not value:
            continue
        there = base is not None and os.path.exists(os.path.join(base, value))
        if value in parameter.words or (parameter.hub and not (_is_path(value) or there)):
            continue
        yield parameter.key, value


def _is_path(value: str) -> bool:
    """Whether a value that may be a hub id can only be a path."""
    return value.startswith(("/", "./", "../", "~")) or value.endswith(DATA_FILES)


def training_python(environ: Mapping[str, str]) -> str:
    """The interpreter a trainer runs on: the shell's, if torch is there, else the one we run on, if
    torch is there, else the shell's, whose run will then say what is missing."""
    shell = shutil.which("python3", path=environ.get("PATH"))
    shell = shell or shutil.which("python", path=environ.get("PATH"))
    candidates = [path for path in (shell, sys.executable) if path]
    for path in candidates:
        if has_training(path):
            return path
    return candidates[0]


def has_training(python: str) -> bool:
    """Whether the environment of an interpreter has torch, by its folders."""
    prefix = Path(python).parent.parent
    return any(prefix.glob(f"lib/python3*/site-packages/{NEEDED}/__init__.py"))
