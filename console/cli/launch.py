"""`run`, `retry` and `adopt`: whatever starts a command or takes one under watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from traindeck.backends.errors import UsageError
from traindeck.console.cli import output
from traindeck.console.cli.answer import Json, Quiet
from traindeck.console.cli.command import Command
from traindeck.console.cli.completion import complete_retryable
from traindeck.console.cli.launch_options import (
    After,
    AfterAny,
    Array,
    CodeMode,
    Cwd,
    DryRun,
    Env,
    Environment,
    Follow,
    Gpus,
    Grace,
    KeepBackground,
    Like,
    Name,
    Nodes,
    On,
    OnExit,
    OnStall,
    Options,
    Pty,
    Retries,
    Secret,
    Tags,
    Time,
    given_to_run,
)
from traindeck.console.cli.starting import refuse_json_beside_log, say, send, start

if TYPE_CHECKING:
    from traindeck.console.runs.request import LaunchRequest
    from traindeck.console.runs.workspace import Workspace

app = typer.Typer(rich_markup_mode=None, add_completion=False)


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
    like: Like = None,
    on: On = None,
    name: Name = None,
    array: Array = None,
    gpus: Gpus = None,
    nodes: Nodes = None,
    option: Options = None,
    environment: Environment = None,
    env: Env = None,
    secret: Secret = None,
    tag: Tags = None,
    after: After = None,
    after_any: AfterAny = None,
    time: Time = None,
    grace: Grace = None,
    retries: Retries = None,
    cwd: Cwd = None,
    code: CodeMode = None,
    pty: Pty = None,
    keep_background: KeepBackground = None,
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

    traindeck run --like calm-fox --env SEED=2 --tag seed=2

    traindeck run --on lab --array 0-7%2 --name sweep -- python train.py

    --like takes all that RUN was started with but its name and what it waited for; secrets by
    name. What is given takes its place: of --env, --option and --tag the one of that name; --secret
    adds one. The tasks of an array find their index as TRAINDECK_ARRAY_INDEX.
    """
    found = given_to_run(
        command=command,
        on=on,
        environment=environment,
        name=name,
        cwd=cwd,
        env=env,
        secret=secret,
        tag=tag,
        gpus=gpus,
        nodes=nodes,
        option=option,
        time=time,
        grace=grace,
        retries=retries,
        code=code,
        pty=pty,
        keep_background=keep_background,
        on_exit=on_exit,
        on_stall=on_stall,
    )

    async def make(ws: Workspace, given: dict[str, Any], index: int | None) -> LaunchRequest:
        if like is not None:
            from traindeck.console.runs.relaunching import command_like

            return await command_like(ws, like, given)
        from traindeck.console.runs.request import LaunchRequest

        return LaunchRequest(**given)

    return start(make, found, after, after_any, dry_run, follow, json, quiet, array=array)


@app.command("retry")
def retry_command(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run that is over.", autocompletion=complete_retryable
        ),
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

    refuse_json_beside_log(follow, json)

    async def body(ws: Workspace) -> int:
        record = ws.record(run)
        await refresh(ws, [record])
        made = await launching.retry(ws, ws.record(record.id))
        return await send(ws, made, dry_run, follow, json, quiet)

    return with_workspace(body, stores=not dry_run)


@app.command("adopt")
def adopt_command(
    pid: Annotated[
        int, typer.Argument(metavar="PID", help="A process of yours that runs already.")
    ],
    on: On = None,
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
        record = await launching.adopt(ws, pid, on=on or "local", name=checked, tags=tags)
        no_log = await why_no_log(ws, record)
        say(ws, record, json, quiet, has_log=not no_log)
        if no_log:
            output.note(f"traindeck: {no_log}. Its end and what it takes are still seen.")
        return 0

    return with_workspace(body, stores=True)
