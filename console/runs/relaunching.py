"""A new run like one that there is: what the Launch form is filled in with, what `--like` takes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from traindeck.backends.errors import UsageError
from traindeck.console.runs.drafting import (
    BY_KEY,
    OPTION,
    Draft,
    draft_of,
    draft_recipe,
    read_fields,
    request_of,
)
from traindeck.console.runs.elsewhere import is_here
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.workspace import Workspace

BY_NAME = ("env", "tags", "options")
"""Options that hold several things by name: what is given replaces the one of its name."""

_OPTION = {"command": "argv", "background": "keep_background"}
"""Field -> option of the request, where they are called differently."""


async def draft_like(ws: Workspace, text: str) -> Draft:
    """A draft that asks for what a run was started with.

    Args:
        text: The run, as for `Workspace.record`.

    Raises:
        UsageError: There is no such run, or nothing says how it was started.
        BackendError: Its directory is gone.
    """
    from traindeck.console.runs.reading import read_spec

    run = ws.record(text)
    if run.foreign:
        raise UsageError(f"{run.id} was not started by Traindeck, so how is not known.")
    spec = await read_spec(ws.reader(run.backend), run)
    return draft_of(spec, run.backend, ws.environ)


async def command_like(ws: Workspace, text: str, given: Mapping[str, Any]) -> LaunchRequest:
    """The request for a command's run like another.

    Args:
        text: The run, as for `Workspace.record`.
        given: Options of the request that take the place of the run's.

    Raises:
        UsageError, BackendError: As for `draft_like`; or it was made from a recipe.
    """
    draft = await draft_like(ws, text)
    if draft.recipe:
        raise UsageError(
            f"{text} was made from the recipe {draft.recipe}, not from a command.",
            f"Start one like it with: traindeck finetune --like {shlex.quote(text)}",
        )
    request, _ = request_of(ws, draft, None, _options(ws, draft, text, given))
    return request


async def finetune_like(
    ws: Workspace,
    text: str,
    given: Mapping[str, Any],
    *,
    recipe: str | None = None,
    values: Mapping[str, str],
    python: str | None = None,
) -> tuple[LaunchRequest, tuple[str, ...]]:
    """The request for a recipe's run like another, and notes about what was set without effect.

    Args:
        text, given: As for `command_like`.
        recipe: Name or file, if it was named; it must be the run's.
        values: Parameters that take the place of the run's.
        python: Interpreter in place of the run's.

    Raises:
        UsageError, BackendError: As for `draft_like`; or it was not made from this recipe.
        RecipeError: What was set is wrong, by name.
    """
    from traindeck.console.runs.finetuning import read_recipe

    draft = await draft_like(ws, text)
    if not draft.recipe:
        raise UsageError(
            f"{text} was made from a command, not from a recipe.",
            f"Start one like it with: traindeck run --like {shlex.quote(text)}",
        )
    if recipe and (name := read_recipe(ws, recipe).name) != draft.recipe:
        raise UsageError(f"{text} was made from the recipe {draft.recipe}, not from {name}.")
    fields = {**draft.fields, "python": python} if python else draft.fields
    draft = replace(draft, fields=fields, values=values)
    return request_of(ws, draft, await draft_recipe(ws, draft), _options(ws, draft, text, given))


def _options(ws: Workspace, draft: Draft, text: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a draft, with those that were given in their place."""
    on = given.get("on", draft.on)
    if on != draft.on:
        # As in the form: another place has other options.
        fields = {k: v for k, v in draft.fields.items() if not k.startswith(OPTION)}
        draft = replace(draft, fields=fields)
    found, problems = read_fields(draft, elsewhere=not is_here(ws, on))
    for key, problem in problems.items():
        if _OPTION.get(key, key) not in given:
            raise UsageError(f"{BY_KEY[key].label} of {text}: {problem}")
    env, secrets = given.get("env", {}), given.get("secrets", ())
    # One that was a secret is none if its value is given, and the other way round.
    found["env"] = {name: value for name, value in found["env"].items() if name not in secrets}
    kept = tuple(name for name in found["secrets"] if name not in env)
    return {
        **found,
        **given,
        **{key: {**found[key], **given.get(key, {})} for key in BY_NAME},
        "secrets": (*kept, *secrets),
    }
