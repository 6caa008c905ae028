"""How every command answers when a program asks: the options --json and -q, each defined once.

`--json` prints one JSON document, `-q` only the ids (of what has no id, its name); with both it is
JSON. What a command says about runs is the object of `show --json`: one for a command that takes
one run, else an array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from traindeck.backends.errors import UsageError
from traindeck.console.cli import output

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.records import RunRecord

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")]
QuietNames = Annotated[bool, typer.Option("--quiet", "-q", help="Print names only.")]


def one_run(ws: Workspace, run_id: str, *, json: bool, quiet: bool) -> bool:
    """Answer with a run as it is now. False, and nothing printed, if a person asked."""
    if json:
        from traindeck.console.store.records import run_json

        output.emit_json(run_json(ws.record(run_id)))
    elif quiet:
        output.line(run_id)
    return json or quiet


def many_runs(runs: Sequence[RunRecord], *, json: bool, quiet: bool) -> bool:
    """Answer with runs. False, and nothing printed, if a person asked."""
    if json:
        from traindeck.console.store.records import run_json

        output.emit_json([run_json(run) for run in runs])
    elif quiet:
        for run in runs:
            output.line(run.id)
    return json or quiet


def refuse_mixture(**options: bool) -> None:
    """Raises UsageError if more than one of these options was given; each prints something else."""
    given = [f"--{name}" for name, value in options.items() if value]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other.")
