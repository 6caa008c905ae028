"""`shell`: a terminal where a run is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from traindeck.console.cli.completion import complete_run

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("shell")
def shell_command(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id or name.", autocompletion=complete_run)
    ],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- CMD…]", help="In place of your shell.")
    ] = None,
) -> int:
    """Open a terminal in a run's directory, where the run is. Returns the shell's exit code.

    It finds the values that the run was started with, and TRAINDECK_RUN_DIR, TRAINDECK_ARTIFACTS
    and TRAINDECK_METRICS, in its environment. Without a terminal the command's input and output are
    ours. `~.` at the beginning of a line hangs up.

    Examples:

    traindeck shell calm-fox

    traindeck shell calm-fox -- nvidia-smi

    traindeck shell calm-fox -- tar c artifacts | tar x
    """
    from traindeck.console.cli.session import with_workspace

    async def body(ws: Workspace) -> int:
        from traindeck.console.runs.shell import Relay, open_shell, terminal_size

        record = ws.record(run)
        raw = os.isatty(0) and os.isatty(1)
        size = terminal_size(1) if raw else None
        terminal = await open_shell(ws, record, command or (), size=size)
        return await Relay(terminal, record.backend, raw=raw).run()

    return with_workspace(body)
