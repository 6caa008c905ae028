"""Fine-tunes: a recipe, what was set, and the interpreter that has the training libraries, as an
ordinary launch request."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from traindeck.console.recipes.schema import Recipe
    from traindeck.console.runs.request import LaunchRequest
    from traindeck.console.runs.workspace import Workspace

DATA_FILES = (".jsonl", ".json", ".csv", ".parquet")

NEEDED = "torch"
"""A package that an environment must have for a trainer to run in it."""


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
    from traindeck.console.runs.request import LaunchRequest

    resolved = resolve(recipe, overrides, preset=preset)
    if present and not options.get("after"):
        _check_paths(ws, recipe, resolved.values, options.get("on", "local"), options.get("cwd"))
    interpreter = python or training_python(ws.environ)
    made = command(resolved, interpreter, gpus=int(options.get("gpus", 0)))
    request = LaunchRequest(
        argv=made.argv,
        run_dir_words=made.run_dir_words,
        files=made.files,
        recipe=resolved.to_json(),
        code="here",  # the trainer travels; the data may be named relative to the cwd
        **options,
    )
    return request, resolved.notes


def _check_paths(
    ws: Workspace, recipe: Recipe, values: Mapping[str, Any], on: str, cwd: str | None
) -> None:
    from traindeck.console.recipes.resolving import RecipeError
    from traindeck.console.recipes.schema import Kind

    if on not in ws.settings.local_roots():
        return  # what lies elsewhere is not seen from here
    from traindeck.console.runs.request import here

    problems = {}
    for parameter in recipe:
        value = values.get(parameter.key)
        if parameter.kind is not Kind.PATH or not isinstance(value, str) or not value:
            continue
        if value in parameter.words or (parameter.hub and not _is_path(value)):
            continue
        if not os.path.exists(os.path.join(cwd or here(), os.path.expanduser(value))):
            problems[parameter.key] = f"{parameter.key} {value}: no such file or folder."
    if problems:
        raise RecipeError(problems)


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
