"""The commands by name, and the one place where errors become text and exit codes.

A command's module is imported when it is called, so that `ls` does not pay for what `demo` needs.
Exit codes: 0 done, 1 it failed, 2 the request was wrong; `wait` and `--follow` return the run's.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from traindeck.backends.errors import TraindeckError, UsageError
from traindeck.console.cli import output, streams
from traindeck.console.cli.command import Command, Group

COMMANDS: dict[str, str] = {
    "run": "launch",
    "finetune": "finetune",
    "retry": "launch",
    "adopt": "launch",
    "ls": "view",
    "show": "view",
    "logs": "logs",
    "metrics": "metrics",
    "pull": "pull",
    "shell": "shell",
    "forward": "forward",
    "stop": "control",
    "wait": "control",
    "rm": "control",
    "rename": "edit",
    "tag": "edit",
    "note": "edit",
    "seen": "edit",
    "top": "top",
    "backends": "places",
    "doctor": "places",
    "reindex": "places",
    "demo": "demo",
}
"""Command -> module of this package that holds it, in the order `--help` lists them."""

ACTS = frozenset(COMMANDS) - {"ls", "show", "logs", "metrics", "top", "backends", "doctor"}
"""Commands that do more than print: what they did is done, whoever reads of it or not."""


class Commands(Group):
    """Finds commands without importing them all."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            module_name = COMMANDS.get(cmd_name)
            if module_name is None:
                from difflib import get_close_matches

                near = get_close_matches(cmd_name, COMMANDS, n=1)
                raise UsageError(
                    f"No such command {cmd_name!r}.",
                    f"Did you mean {near[0]}?" if near else "See `traindeck --help`.",
                )
            module = importlib.import_module(f"traindeck.console.cli.{module_name}")
            self.commands.update(_commands(module.app, cmd_name))
        return self.commands.get(cmd_name)


def _commands(shared: typer.Typer, name: str) -> dict[str, Any]:
    """A module's command of this name. The others that share the module are not made: each takes
    milliseconds."""
    groups = (group.typer_instance for group in shared.registered_groups)
    for one in (shared, *filter(None, groups)):
        for command in one.registered_commands:
            if command.cls in (None, TyperCommand):
                command.cls = Command
    asked = [command for command in shared.registered_commands if command.name == name]
    if not asked:  # a group
        return dict(typer.main.get_group(shared).commands)
    only = typer.Typer(rich_markup_mode=None, add_completion=False)
    only.registered_commands = asked
    return {name: typer.main.get_command(only)}


app = typer.Typer(
    name="traindeck",
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from traindeck.console import __version__

        output.line(f"traindeck {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Launch, follow, inspect and stop training runs.

    Without a command the full-screen console starts.
    """


def run(args: Sequence[str]) -> int:
    """Run one command line. Returns the exit code; never raises, never prints a traceback."""
    code = _run(args)
    try:
        sys.stdout.flush()
    except OSError:
        pass  # kept by the stream
    failure = streams.failure()
    if failure is None:
        # Closed on purpose: what was done is done, and who was only to print has failed.
        return code or int(streams.unheard() and args[0] not in ACTS)
    streams.silence()
    if isinstance(failure, BrokenPipeError):
        return code  # `| head` has seen enough
    output.error(f"standard output could not be written: {failure.strerror}.")
    return code or 1


def _run(args: Sequence[str]) -> int:
    command = " ".join(("traindeck", *[a for a in args[:1] if a in COMMANDS]))
    try:
        result = app(list(args), prog_name="traindeck", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except TraindeckError as error:
        for line in error.lines:
            output.error(line)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except typer.Abort:
        return 130
    except typer.Exit as end:
        return end.exit_code
    except SystemExit as end:
        if streams.failure():
            return 0
        # The parser's answer to any broken pipe; else it has completed a word.
        if isinstance(end.__context__, OSError):
            return _unexpected(end.__context__)
        return end.code if isinstance(end.code, int) else 1
    except Exception as error:
        if streams.failure():
            return 0
        # What the parser finds wrong: it says itself which option, and that the exit code is 2.
        message = getattr(error, "format_message", None)
        if message is None:
            return _unexpected(error)
        text = str(message()).strip().rstrip(".")
        output.error(f"{text}. See `{command} --help`.")
        return int(getattr(error, "exit_code", 2))


def _unexpected(error: BaseException) -> int:
    """A bug of ours: one line, and where to look. TRAINDECK_DEBUG=1 shows the traceback."""
    if os.environ.get("TRAINDECK_DEBUG"):
        raise error
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        output.error(f"{where}{error.strerror}.")
    else:
        output.error(
            f"unexpected {type(error).__name__}: {error}. "
            "This is a bug; TRAINDECK_DEBUG=1 shows where."
        )
    return 1
