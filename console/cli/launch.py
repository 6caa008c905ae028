"""`run`, `finetune`, `retry` and `adopt`: whatever starts a run or takes one under watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from traindeck.backends.base import State, UsageError
from traindeck.backends.errors import excerpt
from traindeck.console.cli import output
from traindeck.console.cli.answer import Json, Quiet, one_run
from traindeck.console.cli.command import Command
from traindeck.console.cli.completion import (
    complete_backend,
    complete_recipe,
    complete_run,
    complete_setting,
)

if TYPE_CHECKING:
    from traindeck.backends.base import Plan
    from traindeck.console.recipes.schema import Recipe
    from traindeck.console.runs.request import LaunchRequest
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.records import RunRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False)

On = Annotated[
    str,
    typer.Option("--on", metavar="BACKEND", help="Where to run.", autocompletion=complete_backend),
]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="A name for the run.")]
Gpus = Annotated[int, typer.Option("--gpus", metavar="N", help="GPUs a node.")]
Nodes = Annotated[int, typer.Option("--nodes", metavar="N", help="Nodes.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="K=V", help="An option of the backend's own."),
]
Env = Annotated[list[str] | None, typer.Option("--env", metavar="K=V", help="Set a variable.")]
Secret = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="NAME", help="Pass a variable; its value is never stored."),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="K[=V]", help="Tag the run.")]
After = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="RUN",
        help="Wait until RUN succeeded, then run in a copy of the code.",
        autocompletion=complete_run,
    ),
]
AfterAny = Annotated[
    str | None,
    typer.Option(
        "--after-any",
        metavar="RUN",
        help="Wait until RUN is over, whatever its end.",
        autocompletion=complete_run,
    ),
]
Time = Annotated[
    str | None,
    typer.Option("--time", metavar="T", help="Limit: 90s, 30m, 2h, 1d or [D-]HH:MM:SS."),
]
Grace = Annotated[str | None, typer.Option("--grace", metavar="T", help="From TERM to KILL (10s).")]
Retries = Annotated[int, typer.Option("--retries", metavar="N", help="Repeat a failed attempt.")]
Cwd = Annotated[str | None, typer.Option("--cwd", metavar="DIR", help="Directory to run in.")]
CodeMode = Annotated[
    str | None,
    typer.Option("--code", metavar="here|snapshot", help="Run the code in place, or a copy."),
]
Pty = Annotated[
    bool, typer.Option("--pty", help="Give its output a terminal; its input stays empty.")
]
KeepBackground = Annotated[
    bool, typer.Option("--keep-background", help="Leave the rest of its processes running.")
]
OnExit = Annotated[
    str | None,
    typer.Option("--on-exit", metavar="CMD", help="Run CMD (no shell) at the end."),
]
OnStall = Annotated[
    str | None,
    typer.Option("--on-stall", metavar="T:CMD", help="Run CMD (no shell) after T without log."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and start nothing.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Follow the log until it is over.")]


class RunCommand(Command):
    """Says where a command's options go, if one was taken for an option of ours."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, list(args))
        except Exception as error:
            # What the parser finds wrong, as in app.py: its classes are not ours to import.
            option = getattr(error, "option_name", None)
            at = None if option is None or "--" in args else self._command_at(args)
            if at is None or not any(word.startswith("-") for word in args[at:]):
                raise
            import shlex

            whole = shlex.join(["traindeck", "run", *args[:at], "--", *args[at:]])
            raise UsageError(
                f"No such option: {option}.",
                f"The command and its options go after `--`: {whole}",
            ) from None

    def _command_at(self, args: list[str]) -> int | None:
        """Where the first word stands that is neither an option nor the value of one."""
        takes = {
            name for param in self.params if not getattr(param, "is_flag", False)
            for name in param.opts
        }  # fmt: skip
        value = False
        for place, word in enumerate(args):
            if not value and not word.startswith("-"):
                return place
            value = not value and word in takes
        return None


@app.command("run", cls=RunCommand, context_settings={"ignore_unknown_options": False})
def run_command(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- CMD", help="The command to run and its arguments."),
    ] = None,
    on: On = "local",
    name: Name = None,
    gpus: Gpus = 0,
    nodes: Nodes = 1,
    option: Options = None,
    env: Env = None,
    secret: Secret = None,
    tag: Tags = None,
    after: After = None,
    after_any: AfterAny = None,
    time: Time = None,
    grace: Grace = None,
    retries: Retries = 0,
    cwd: Cwd = None,
    code: CodeMode = None,
    pty: Pty = False,
    keep_background: KeepBackground = False,
    on_exit: OnExit = None,
    on_stall: OnStall = None,
    dry_run: DryRun = False,
    follow: Follow = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Start a command as a run of its own, detached from this terminal.

    Examples:

    traindeck run -- python train.py --lr 3e-4

    traindeck run --gpus 1 --name big --time 12h --tag lr=3e-4 -- torchrun train.py

    traindeck run --after calm-fox --follow -- python evaluate.py
    """
    from traindeck.console.runs.request import LaunchRequest, parse_pairs, parse_tags

    stall_after, stall_argv = _stall(on_stall)
    request = LaunchRequest(
        argv=tuple(command or ()),
        on=on,
        name=name,
        cwd=cwd,
        env=parse_pairs(env or [], "--env"),
        secrets=tuple(secret or ()),
        tags=parse_tags(tag or []),
        gpus=gpus,
        nodes=nodes,
        options=dict(parse_pairs(option or [], "--option")),
        time=_duration(time, "--time"),
        grace=_duration(grace, "--grace") or 10.0,
        retries=retries,
        code=_code(code),
        pty=pty,
        keep_background=keep_background,
        on_exit=_command(on_exit, "--on-exit"),
        on_stall=stall_argv,
        stall_after=stall_after,
    )
    return _start(request, after, after_any, dry_run, follow, json, quiet)


_RECIPE = "traindeck.recipe"


class FinetuneCommand(Command):
    """`--help` behind a recipe's name goes on with the recipe's own parameters."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # Before the options are acted on, and --help is one of them.
        words, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_RECIPE] = words.get("recipe")
        helps = {"--help", "-h"} & set(args)
        if not (words.get("recipe") or helps or ctx.resilient_parsing):
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
        str,
        typer.Argument(
            metavar="RECIPE", help="A recipe's name or file.", autocompletion=complete_recipe
        ),
    ],
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
    on: On = "local",
    name: Name = None,
    gpus: Gpus = 0,
    env: Env = None,
    secret: Secret = None,
    tag: Tags = None,
    after: After = None,
    after_any: AfterAny = None,
    time: Time = None,
    grace: Grace = None,
    retries: Retries = 0,
    dry_run: DryRun = False,
    follow: Follow = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Fine-tune a model by a recipe.

    Examples:

    traindeck finetune sft --set model=./base --set data=train.jsonl --set lr=3e-4

    traindeck finetune sft --parameters
    """
    from traindeck.console.recipes.resolving import parse_set
    from traindeck.console.runs.finetuning import read_recipe, recipe_request
    from traindeck.console.runs.request import parse_pairs, parse_tags
    from traindeck.console.runs.workspace import open_workspace

    ws = open_workspace()
    chosen = read_recipe(ws, recipe)
    if parameters:
        _print_parameters(chosen, json, quiet)
        return 0
    request, notes = recipe_request(
        ws,
        chosen,
        parse_set(set_ or []),
        preset=preset,
        python=python,
        on=on,
        name=name,
        gpus=gpus,
        env=parse_pairs(env or [], "--env"),
        secrets=tuple(secret or ()),
        tags=parse_tags(tag or []),
        time=_duration(time, "--time"),
        grace=_duration(grace, "--grace") or 10.0,
        retries=retries,
    )
    for line in notes:
        output.note(f"traindeck: {line}")
    return _start(request, after, after_any, dry_run, follow, json, quiet)


def _print_parameters(recipe: Recipe, json: bool, quiet: bool) -> None:
    from traindeck.backends.base import encode
    from traindeck.console.recipes.describing import help_text

    found = [(group, parameter) for group in recipe.groups for parameter in group.parameters]
    if json:
        output.emit_json([{"group": group.key, **encode(one)} for group, one in found])
    elif quiet:
        for _, one in found:
            output.line(one.key)
    else:
        output.line(help_text(recipe))


@app.command("retry")
def retry_command(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run that is over.", autocompletion=complete_run)
    ],
    dry_run: DryRun = False,
    follow: Follow = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Start a finished run again, as its next attempt: the same command, with the snapshot of its
    code if it has one, else with its code in place, as it is now.

    Example: traindeck retry calm-fox
    """
    from traindeck.console.cli.session import with_workspace
    from traindeck.console.runs import launching
    from traindeck.console.runs.refreshing import refresh

    _refuse_mixture(follow, json)

    async def body(ws: Workspace) -> int:
        record = ws.record(run)
        await refresh(ws, [record])
        made = await launching.retry(ws, ws.record(record.id))
        return await _send(ws, made, dry_run, follow, json, quiet)

    return with_workspace(body, stores=not dry_run)


@app.command("adopt")
def adopt_command(
    pid: Annotated[
        int, typer.Argument(metavar="PID", help="A process of yours that runs already.")
    ],
    on: On = "local",
    name: Name = None,
    tag: Tags = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Watch a process that already runs. Its end will be seen, its exit code not.

    Example: traindeck adopt 4711 --name tmux-run
    """
    from traindeck.console.cli.session import with_workspace
    from traindeck.console.runs import launching
    from traindeck.console.runs.reading import why_no_log
    from traindeck.console.runs.request import check_name, parse_tags
    from traindeck.console.runs.settling import settle

    tags = parse_tags(tag or [])
    checked = check_name(name) if name is not None else None

    async def body(ws: Workspace) -> int:
        await settle(ws)
        record = await launching.adopt(ws, pid, on=on, name=checked, tags=tags)
        no_log = await why_no_log(ws, record)
        _say(ws, record, json, quiet, has_log=not no_log)
        if no_log:
            output.note(f"traindeck: {no_log}. Its end and what it takes are still seen.")
        return 0

    return with_workspace(body, stores=True)


# ------------------------------------------------------------------------------------------ inside


def _start(
    request: LaunchRequest,
    after: str | None,
    after_any: str | None,
    dry_run: bool,
    follow: bool,
    json: bool,
    quiet: bool,
) -> int:
    from dataclasses import replace

    from traindeck.console.cli.session import with_workspace
    from traindeck.console.runs import launching
    from traindeck.console.runs.settling import settle

    if after and after_any:
        raise UsageError("--after and --after-any exclude each other.")
    _refuse_mixture(follow, json)

    async def body(ws: Workspace) -> int:
        await settle(ws)
        wanted = request
        if waits_for := after or after_any:
            target = ws.record(waits_for)
            if target.backend != request.on:
                raise UsageError(
                    f"--after {waits_for}: {target.name} runs on {target.backend}, "
                    f"this run would on {request.on}.",
                    "A run can wait only for one of the same backend.",
                )
            wanted = replace(request, after=target.id, after_any=after_any is not None)
        made = await launching.plan(ws, wanted)
        return await _send(ws, made, dry_run, follow, json, quiet)

    return with_workspace(body, stores=not dry_run)


def _refuse_mixture(follow: bool, json: bool) -> None:
    """JSON with a raw log behind it is neither."""
    if follow and json:
        raise UsageError(
            "--follow and --json exclude each other: both print to standard output.",
            "Start with --json, then `traindeck logs -f` and `wait` with the id.",
        )


async def _send(
    ws: Workspace, made: Plan, dry_run: bool, follow: bool, json: bool, quiet: bool
) -> int:
    from traindeck.console.present.asked import not_copied
    from traindeck.console.runs import launching

    if dry_run:
        _show_plan(made, json)
        return 0
    record = await launching.launch(ws, made, briefly=quiet and not json)
    failed = _not_started(record)
    for warning in made.warnings if not failed else ():
        output.tell(warning)
    _say(ws, record, json, quiet)
    if missing := not_copied(made.spec.code, 3):
        output.tell(f"not in the snapshot: {', '.join(missing)}; all: traindeck show {record.id}")
    if follow:
        from traindeck.console.cli.logs import follow_run

        return await follow_run(ws, record)
    if failed:
        output.error(f"{record.reason}. The run is recorded as failed.")
    return 1 if failed else 0


def _not_started(record: RunRecord) -> bool:
    """Whether the program could not be started: that is known milliseconds after the launch, and
    all that there is to say about it."""
    from traindeck.console.store.records import NOT_STARTED

    return record.state is State.FAILED and record.exit_code in NOT_STARTED


def _show_plan(made: Plan, json: bool) -> None:
    from traindeck.backends.base import encode

    if json:
        output.emit_json(encode(made))
        return
    from traindeck.console.present.plan_view import plan_lines

    for label, text in plan_lines(made, whole=True):
        output.line(f"{label:<10}{output.neutral(text)}")
    output.note("traindeck: nothing was started.")


def _say(
    ws: Workspace, record: RunRecord, json: bool, quiet: bool, *, has_log: bool = True
) -> None:
    import sys

    if not one_run(ws, record.id, json=json, quiet=quiet):
        short = ws.index.short_ids([record.id])[record.id]
        output.line(f"{record.id}  {output.neutral(record.name)}  {record.state}")
        if sys.stdout.isatty():
            follow = f"follow: traindeck logs -f {short}   " if has_log else ""
            leave = f"   only end the watching: traindeck rm {short}" if record.adopted else ""
            output.note(f"{follow}stop: traindeck stop {short}{leave}")
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:
        # Else a script would take it for a launch that failed, and start it twice.
        output.note(f"traindeck: run {record.id} was started, though its id cannot be printed.")
        raise


def _duration(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    from traindeck.console.durations import parse_duration

    return parse_duration(text, option)


def _command(text: str | None, option: str) -> tuple[str, ...]:
    if text is None:
        return ()
    from traindeck.console.runs.request import command_words

    return command_words(text, option)


def _stall(text: str | None) -> tuple[float | None, tuple[str, ...]]:
    if text is None:
        return None, ()
    from traindeck.console.durations import parse_stall

    seconds, command = parse_stall(text, "--on-stall")
    return seconds, _command(command, "--on-stall")


def _code(text: str | None) -> Any:
    if text not in (None, "here", "snapshot"):
        raise UsageError(f"--code {excerpt(text or '')}: expected here or snapshot.")
    return text
