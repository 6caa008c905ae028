"""`finetune`: a run made from a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from traindeck.backends.errors import UsageError
from traindeck.console.cli import output
from traindeck.console.cli.answer import Json, Quiet, refuse_mixture
from traindeck.console.cli.command import Command
from traindeck.console.cli.completion import complete_recipe, complete_setting
from traindeck.console.cli.launch_options import (
    After,
    AfterAny,
    Array,
    DryRun,
    Env,
    Environment,
    Follow,
    Gpus,
    Grace,
    Like,
    Name,
    On,
    Retries,
    Secret,
    Tags,
    Time,
    given,
)
from traindeck.console.cli.starting import start

if TYPE_CHECKING:
    from traindeck.console.recipes.schema import Recipe
    from traindeck.console.runs.request import LaunchRequest
    from traindeck.console.runs.workspace import Workspace

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_RECIPE = "traindeck.recipe"


class FinetuneCommand(Command):
    """`--help` behind a recipe's name goes on with the recipe's own parameters."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # Before the options are acted on, and --help is one of them.
        words, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_RECIPE] = words.get("recipe")
        helps = {"--help", "-h"} & set(args)
        if not (words.get("recipe") or words.get("like") or helps or ctx.resilient_parsing):
            from traindeck.console.runs.finetuning import recipe_names
            from traindeck.console.runs.workspace import open_workspace

            names = ", ".join(recipe_names(open_workspace()))
            raise UsageError(
                f"Name a recipe. There are: {names}.",
                "Its parameters: traindeck finetune RECIPE --parameters",
            )
        return super().parse_args(ctx, args)

    def get_help(self, ctx: Any) -> str:
        return f"{super().get_help(ctx)}\n\n{_recipe_help(ctx.meta.get(_RECIPE))}"


def _recipe_help(name: object) -> str:
    from traindeck.backends.errors import TraindeckError
    from traindeck.console.recipes.describing import help_text
    from traindeck.console.runs.finetuning import read_recipe
    from traindeck.console.runs.workspace import open_workspace

    hint = "A recipe's parameters: traindeck finetune RECIPE --help"
    if not isinstance(name, str):
        return hint
    try:
        return help_text(read_recipe(open_workspace(), name))
    except TraindeckError as error:
        return f"{error}\n{hint}"


@app.command("finetune", cls=FinetuneCommand)
def finetune_command(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", help="A recipe's name or file.", autocompletion=complete_recipe
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a parameter.",
            autocompletion=complete_setting,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", metavar="NAME", help="Begin from a preset of the recipe."),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option("--python", metavar="PATH", help="Interpreter with the training libraries."),
    ] = None,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="List the recipe's parameters and stop.")
    ] = False,
    like: Like = None,
    on: On = None,
    name: Name = None,
    array: Array = None,
    gpus: Gpus = None,
    environment: Environment = None,
    env: Env = None,
    secret: Secret = None,
    tag: Tags = None,
    after: After = None,
    after_any: AfterAny = None,
    time: Time = None,
    grace: Grace = None,
    retries: Retries = None,
    dry_run: DryRun = False,
    follow: Follow = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Fine-tune a model by a recipe.

    Examples:

    traindeck finetune sft --set model=./base --set data=train.jsonl --set lr=3e-4

    traindeck finetune sft --parameters

    traindeck finetune --like calm-fox --set lr=1e-4

    traindeck finetune --like calm-fox --on lab --array 0-7 --set 'seed={index}'

    --like takes the recipe and all parameters of RUN, and of its launch what `run --like` takes.
    """
    from traindeck.console.recipes.resolving import parse_set
    from traindeck.console.runs.finetuning import (
        ALIKE,
        INDEX,
        for_task,
        read_recipe,
        recipe_request,
        varying,
    )

    if like is not None:
        refuse_mixture(like=True, preset=preset is not None)
        refuse_mixture(like=True, parameters=parameters)
    if parameters and recipe is not None:
        from traindeck.console.runs.workspace import open_workspace

        _print_parameters(read_recipe(open_workspace(), recipe), json, quiet)
        return 0
    values = parse_set(set_ or [])
    varies = varying(values)
    if varies and array is None:
        raise UsageError(f"{INDEX} in --set stands for the index of a task: there is no --array.")
    found = given(
        on=on,
        environment=environment,
        name=name,
        gpus=gpus,
        env=env,
        secret=secret,
        tag=tag,
        time=time,
        grace=grace,
        retries=retries,
    )

    noted: set[str] = set()

    async def make(ws: Workspace, given: dict[str, Any], index: int | None) -> LaunchRequest:
        own = for_task(values, index)
        if like is not None:
            from traindeck.console.runs.relaunching import finetune_like

            request, notes = await finetune_like(
                ws, like, given, recipe=recipe, values=own, python=python
            )
        else:
            assert recipe is not None  # FinetuneCommand has seen to it
            chosen = read_recipe(ws, recipe)
            request, notes = recipe_request(ws, chosen, own, preset=preset, python=python, **given)
        if array is not None and not varies:
            notes = (*notes, f"{ALIKE}: --set 'seed={INDEX}' tells them apart")
        for line in notes:
            if line not in noted:
                output.note(f"traindeck: {line}")
        noted.update(notes)
        return request

    return start(
        *(make, found, after, after_any, dry_run, follow, json, quiet), array=array, varies=varies
    )


def _print_parameters(recipe: Recipe, json: bool, quiet: bool) -> None:
    from traindeck.backends.encoding import encode
    from traindeck.console.recipes.describing import help_text

    found = [(group, parameter) for group in recipe.groups for parameter in group.parameters]
    if json:
        output.emit_json([{"group": group.key, **encode(one)} for group, one in found])
    elif quiet:
        for _, one in found:
            output.line(one.key)
    else:
        output.line(help_text(recipe))
