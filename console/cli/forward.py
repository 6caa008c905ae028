"""`forward`: a port of where a run is, at this machine."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from traindeck.console.cli import output
from traindeck.console.cli.completion import complete_active

if TYPE_CHECKING:
    from traindeck.console.runs.forwarding import Forwarding
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.records import RunRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("forward")
def forward_command(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id or name.", autocompletion=complete_active)
    ],
    port: Annotated[
        str | None,
        typer.Argument(metavar="PORT[:LOCAL]", help="There, and here: the same if it is free."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the link only.")] = False,
) -> int:
    """Make a port of the machine that a run is on one of this machine, for TensorBoard or Jupyter.
    Without PORT it is the one that the run listens on. Stays until Ctrl-C, which ends no run.

    --json: one object, {"run", "port", "local", "url", "problem"}; `problem` is null if somebody
    listens there.

    Examples:

    traindeck forward calm-fox

    traindeck forward calm-fox 6006:16006
    """
    from traindeck.console.cli.session import with_workspace

    async def body(ws: Workspace) -> int:
        from traindeck.console.runs import forwarding

        record = ws.record(run)
        if port is None:
            likely = await forwarding.likely_ports(ws, record, strict=True)
            wanted = forwarding.the_one(likely, record.name)
            local = None
        else:
            wanted, local = forwarding.parse_port(port)
        async with await forwarding.start(ws, record, wanted, local) as made:
            _say(made, record, json, quiet)
            await _stay(made)
        return 0

    return with_workspace(body)


def _say(made: Forwarding, record: RunRecord, json: bool, quiet: bool) -> None:
    if json:
        output.emit_json(
            {
                "run": record.id,
                "port": made.port,
                "local": made.local,
                "url": made.url,
                "problem": made.problem or None,
            }
        )
    else:
        output.line(made.url)
    sys.stdout.flush()
    if made.moved:
        output.tell(f"port {made.port} of this machine is not free; this is {made.local}")
    if made.problem:
        output.tell(f"{made.problem} It is tried again with each connection.")
    elif not quiet:
        output.tell(
            f"port {made.port} of {record.backend}, where {record.name} is; ctrl-c ends this, "
            "not the run"
        )


async def _stay(made: Forwarding) -> None:
    """Until somebody interrupts. Says of the place what changes, once."""
    changed = asyncio.Event()
    made.changed = changed.set
    said = made.problem
    while True:
        await changed.wait()
        changed.clear()
        if made.problem != said:
            said = made.problem
            output.tell(said or f"port {made.port} of {made.run.backend} answers again")
