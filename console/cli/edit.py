"""`rename`, `tag`, `note` and `seen`: what people say about their runs."""

from __future__ import annotations

from typing import Annotated

import typer

from traindeck.console.cli import output
from traindeck.console.cli.answer import Json, Quiet, many_runs, one_run
from traindeck.console.cli.completion import complete_run, complete_tag

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id or name.", autocompletion=complete_run)]


@app.command("rename")
def rename_command(
    run: Run,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.")],
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Give a run another name. --json: the run, as `show --json` prints it.

    Example: traindeck rename k3f9 baseline
    """
    from traindeck.console.runs import controlling
    from traindeck.console.runs.workspace import open_workspace

    ws = open_workspace(tell=output.tell)
    controlling.check_notes(ws)
    record = ws.record(run)
    if note := controlling.rename(ws, record, name):
        output.note(f"traindeck: {note}")
    one_run(ws, record.id, json=json, quiet=quiet)
    return 0


@app.command("tag")
def tag_command(
    run: Run,
    tags: Annotated[
        list[str] | None, typer.Argument(metavar="K[=V]", help="Tags to set; with --add more runs.")
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="K[=V]", help="A tag to set of all runs that are named."),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="K", help="Take a tag away.", autocompletion=complete_tag),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Set and remove tags; without any, print them. --json: the run, as `show --json` prints it;
    with --add an array of them.

    Examples:

    traindeck tag calm-fox baseline lr=3e-4 --remove draft

    traindeck ls -q tag:sweep | xargs -r traindeck tag --add paper --remove draft
    """
    from traindeck.console.runs import controlling
    from traindeck.console.runs.request import parse_tags, tag_changes
    from traindeck.console.runs.workspace import open_workspace

    ws = open_workspace(tell=output.tell)
    if tags or add or remove:
        controlling.check_notes(ws)
    changes = tag_changes(parse_tags(add or tags or []), remove or [])
    if add:
        named = {record.id: record for record in map(ws.record, [run, *(tags or [])])}
        controlling.set_tags(ws, list(named.values()), changes)
        many_runs([ws.record(run_id) for run_id in named], json=json, quiet=quiet)
        return 0
    record = ws.record(run)
    if changes:
        controlling.set_tags(ws, [record], changes)
    if one_run(ws, record.id, json=json, quiet=quiet) or changes:
        return 0
    for name, value in sorted(record.tags.items()):
        output.line(output.neutral(f"{name}={value}" if value else name))
    return 0


@app.command("note")
def note_command(
    run: Run,
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help='The note; "" takes it away, nothing prints it.'),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Write or print a run's note. --json: the run, as `show --json` prints it.

    Example: traindeck note calm-fox "baseline for the sweep"
    """
    from traindeck.console.runs import controlling
    from traindeck.console.runs.workspace import open_workspace

    ws = open_workspace(tell=output.tell)
    if text is not None:
        controlling.check_notes(ws)
    record = ws.record(run)
    if text is not None:
        controlling.set_note(ws, record, text)
    if not one_run(ws, record.id, json=json, quiet=quiet) and text is None:
        output.line("\n".join(output.neutral(line) for line in record.note.splitlines()))
    return 0


@app.command("seen")
def seen_command(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN", help="Ids or names.", autocompletion=complete_run)
    ],
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Say that you have seen what runs came to: they need you no more. --json: an array of those
    that did, as `show --json` prints them.

    Example: traindeck ls -q is:needs-you | xargs -r traindeck seen
    """
    from traindeck.console.runs import controlling
    from traindeck.console.runs.workspace import open_workspace

    ws = open_workspace(tell=output.tell)
    controlling.check_notes(ws)
    records = {record.id: record for record in map(ws.record, runs)}
    seen = [run.id for run in controlling.see(ws, list(records.values()))]
    if not many_runs([ws.record(run) for run in seen], json=json, quiet=quiet):
        for run, record in records.items():
            if run not in seen:
                output.note(f"traindeck: {record.name} needs nobody.")
    return 0
