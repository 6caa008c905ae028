"""The options of a launch: what is common to `run` and `finetune`, and how it is read. What is not
given is not there, so that `--like` knows what takes the place of what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from traindeck.backends.errors import UsageError, excerpt
from traindeck.console.cli.completion import (
    complete_after,
    complete_after_any,
    complete_option,
    complete_place,
    complete_run,
)

On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="BACKEND",
        help="Where to run (local); auto: the first place that can start it now.",
        autocompletion=complete_place,
    ),
]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="A name for the run.")]
Gpus = Annotated[int | None, typer.Option("--gpus", metavar="N", help="GPUs a node.")]
Nodes = Annotated[int | None, typer.Option("--nodes", metavar="N", help="Nodes.")]
Array = Annotated[
    str | None,
    typer.Option(
        "--array",
        metavar="I-J[%N]",
        help="As a job array of the cluster: a run for each index, NAME-I, N at once.",
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="K=V",
        help="An option of the backend's own.",
        autocompletion=complete_option,
    ),
]
Env = Annotated[list[str] | None, typer.Option("--env", metavar="K=V", help="Set a variable.")]
Secret = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="NAME", help="Pass a variable; its value is never stored."),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="K[=V]", help="Tag the run.")]
After = Annotated[
    list[str] | None,
    typer.Option(
        "--after",
        metavar="RUN[,RUN]",
        help="Wait until each RUN succeeded, then run in a copy of the code.",
        autocompletion=complete_after,
    ),
]
AfterAny = Annotated[
    list[str] | None,
    typer.Option(
        "--after-any",
        metavar="RUN[,RUN]",
        help="Wait until each RUN is over, whatever its end.",
        autocompletion=complete_after_any,
    ),
]
Time = Annotated[
    str | None,
    typer.Option("--time", metavar="T", help="Limit: 90s, 30m, 2h, 1d, [D-]HH:MM:SS or none."),
]
Grace = Annotated[
    str | None, typer.Option("--grace", metavar="T", help="From TERM to KILL (as set: 10s).")
]
Retries = Annotated[
    int | None, typer.Option("--retries", metavar="N", help="Repeat a failed attempt.")
]
Cwd = Annotated[
    str | None,
    typer.Option("--cwd", metavar="DIR", help="Directory to run in; elsewhere, one of there."),
]
Environment = Annotated[
    str | None,
    typer.Option(
        "--environment",
        metavar="ENV",
        help="What to run in: folder of a venv or conda prefix, interpreter, conda:NAME, "
        "modules:A,B or none (as the place has it).",
    ),
]
CodeMode = Annotated[
    str | None,
    typer.Option("--code", metavar="here|snapshot", help="Run the code in place, or a copy."),
]
Pty = Annotated[
    bool | None,
    typer.Option("--pty/--no-pty", help="Give its output a terminal; its input stays empty."),
]
KeepBackground = Annotated[
    bool | None,
    typer.Option(
        "--keep-background/--no-keep-background", help="Leave the rest of its processes running."
    ),
]
OnExit = Annotated[
    str | None,
    typer.Option("--on-exit", metavar="CMD", help="Run CMD (no shell) at the end."),
]
OnStall = Annotated[
    str | None,
    typer.Option("--on-stall", metavar="T:CMD", help="Run CMD (no shell) after T without log."),
]
Like = Annotated[
    str | None,
    typer.Option(
        "--like",
        metavar="RUN",
        help="Begin with what RUN was started with; what is given here takes its place.",
        autocompletion=complete_run,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and start nothing.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Follow the log until it is over.")]


def given(
    *,
    env: list[str] | None,
    secret: list[str] | None,
    tag: list[str] | None,
    time: str | None,
    grace: str | None,
    **others: Any,
) -> dict[str, Any]:
    """The fields of a launch request that were given.

    Raises:
        UsageError: One cannot be read; the option is named.
    """
    from traindeck.console.runs.request import parse_pairs, parse_tags

    found = {
        "env": parse_pairs(env, "--env") if env else None,
        "secrets": tuple(secret) if secret else None,
        "tags": parse_tags(tag) if tag else None,
        "grace": _duration(grace, "--grace"),
        **others,
    }
    found = {key: value for key, value in found.items() if value is not None}
    if time is not None:
        found["time"] = None if time == "none" else _duration(time, "--time")
    return found


def given_to_run(
    *,
    command: list[str] | None,
    option: list[str] | None,
    code: str | None,
    on_exit: str | None,
    on_stall: str | None,
    **others: Any,
) -> dict[str, Any]:
    """`given`, with what only `run` takes."""
    from traindeck.console.durations import parse_stall
    from traindeck.console.runs.request import command_words, parse_pairs

    if code not in (None, "here", "snapshot"):
        raise UsageError(f"--code {excerpt(code or '')}: expected here or snapshot.")
    stall: Mapping[str, Any] = {}
    if on_stall is not None:
        seconds, words = parse_stall(on_stall, "--on-stall")
        stall = {"stall_after": seconds, "on_stall": command_words(words, "--on-stall")}
    return given(
        argv=tuple(command) if command else None,
        options=parse_pairs(option, "--option") if option else None,
        code=code,
        on_exit=None if on_exit is None else command_words(on_exit, "--on-exit"),
        **stall,
        **others,
    )


def _duration(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    from traindeck.console.durations import parse_duration

    return parse_duration(text, option)
