"""`backends`, `doctor` and `reindex`: where runs execute, and whether all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from traindeck.backends.errors import TraindeckError
from traindeck.console.cli import output
from traindeck.console.cli.answer import Json, Quiet, QuietNames, many_runs
from traindeck.console.cli.command import Group
from traindeck.console.cli.completion import complete_backend

if TYPE_CHECKING:
    from traindeck.backends.base import Health
    from traindeck.console.runs.workspace import Workspace

app = typer.Typer(rich_markup_mode=None, add_completion=False)
backends_app = typer.Typer(cls=Group, rich_markup_mode=None, invoke_without_command=True)
app.add_typer(backends_app, name="backends")


@backends_app.callback()
def backends_command(
    context: typer.Context, json: Json = False, quiet: QuietNames = False
) -> int | None:
    """The places runs execute at: list, add, check.

    Examples:

    traindeck backends

    traindeck backends add ssh gpu1

    traindeck backends check local
    """
    if context.invoked_subcommand is None:
        return _list(json, quiet)
    return None


@backends_app.command("list")
def list_command(json: Json = False, quiet: QuietNames = False) -> int:
    """List the configured backends. --json: an array of {"name", "kind", "options"}."""
    return _list(json, quiet)


@backends_app.command("add")
def add_command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="ssh, slurm, process, …")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="HOST", help="The machine, as ssh knows it; else NAME."),
    ] = None,
    ssh_config: Annotated[
        str | None,
        typer.Option("--ssh-config", metavar="FILE", help="An ssh configuration of its own."),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option("--root", metavar="FOLDER", help="Where runs lie there; ~/.traindeck."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="K=V", help="An option of its kind.")
    ] = None,
    json: Json = False,
    quiet: QuietNames = False,
) -> int:
    """Add a backend to the settings file. --json: it, as in `backends list --json`.

    Examples:

    traindeck backends add ssh gpu1

    traindeck backends add ssh big --host me@gpu7.example.org --root /scratch/me/traindeck
    """
    from traindeck.backends.encoding import encode
    from traindeck.console.runs.placing import add_backend
    from traindeck.console.runs.request import parse_pairs
    from traindeck.console.runs.workspace import open_workspace

    options = {"host": host, "ssh_config": ssh_config, "root": root}
    added = add_backend(
        open_workspace(), kind, name, {**options, **parse_pairs(option or [], "--option")}
    )
    if json:
        output.emit_json(encode(added))
    else:
        output.line(name)
    return 0


@backends_app.command("check")
def check_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="BACKEND", autocompletion=complete_backend),
    ] = None,
    accept_new: Annotated[
        bool,
        typer.Option("--accept-new", help="Note the key of a machine that is not known yet."),
    ] = False,
    json: Json = False,
    quiet: QuietNames = False,
) -> int:
    """Ask backends how they are, line by line. Returns 1 if something is wrong. -q names those.

    --json: an array of {"name", "reach", "observed_at", "version", "clock_skew_s", "checks"}, with
    {"ok", "text"} of each check.
    """
    import asyncio

    from traindeck.console.cli.session import with_workspace

    async def body(ws: Workspace) -> int:
        asked = names or list(ws.settings.backends)
        healths = list(
            zip(asked, await asyncio.gather(*(_probe(ws, n) for n in asked)), strict=True)
        )
        if json:
            output.emit_json([_health_json(name, health) for name, health in healths])
        elif quiet:
            for name, health in healths:
                if not all(passed for passed, _ in health.checks):
                    output.line(name)
        else:
            for name, health in healths:
                for passed, text in health.checks:
                    output.line(f"{'ok ' if passed else '!! '} {name}: {output.neutral(text)}")
        return 0 if all(passed for _, h in healths for passed, _ in h.checks) else 1

    return with_workspace(body, accept_new=accept_new)


@app.command("doctor")
def doctor_command(json: Json = False, quiet: QuietNames = False) -> int:
    """Check this installation and the places runs execute at. Changes nothing. -q names only what
    is wrong.

    --json: an array of {"topic", "ok", "text", "fix"}; `ok` is null for what is neither.
    """
    from traindeck.backends.encoding import encode
    from traindeck.console.cli.screen import check_settings
    from traindeck.console.cli.session import with_workspace
    from traindeck.console.runs.diagnosis import diagnose

    async def body(ws: Workspace) -> int:
        checks = []
        async for check in diagnose(ws, check_settings):
            checks.append(check)
            if quiet and not json and check.ok is False:
                output.line(check.topic)
            if not (json or quiet):
                mark = {True: "ok ", False: "!! ", None: "   "}[check.ok]
                fix = f"  ({check.fix})" if check.fix else ""
                output.line(f"{mark} {check.topic:<10}{output.neutral(check.text)}{fix}")
        if json:
            output.emit_json(encode(checks))
        return 1 if any(check.ok is False for check in checks) else 0

    return with_workspace(body, checked=False)


@app.command("reindex")
def reindex_command(json: Json = False, quiet: Quiet = False) -> int:
    """Rebuild the index from run directories, journal and annotations. Loses nothing.

    --json: {"runs": how many it lists}. -q prints their ids.
    """
    from traindeck.console.cli.session import with_workspace
    from traindeck.console.runs.reading_on import read_all
    from traindeck.console.runs.rebuild import rebuild_index
    from traindeck.console.runs.refreshing import refresh, silent_places

    async def body(ws: Workspace) -> int:
        count = rebuild_index(ws)
        await read_all(ws, ws.tell)
        await refresh(ws)  # of what has no record of an end, files do not say whether it goes on
        for name, why in (await silent_places(ws)).items():
            output.tell(f"what the runs of {name} do is not known: {why}")
        if json:
            output.emit_json({"runs": count})
        elif quiet:
            many_runs(ws.index.rows(ws.index.ids(), metrics="none"), json=False, quiet=True)
        else:
            output.line(f"{count:,} runs")
        return 0

    return with_workspace(body, stores=True)


def _list(json: bool, quiet: bool) -> int:
    from traindeck.backends.encoding import encode
    from traindeck.console.runs.workspace import open_workspace

    backends = open_workspace(tell=output.tell).settings.backends
    if json:
        output.emit_json([encode(entry) for entry in backends.values()])
        return 0
    for entry in backends.values():
        if quiet:
            output.line(entry.name)
            continue
        options = " ".join(f"{key}={value}" for key, value in entry.options.items())
        output.line(output.neutral(f"{entry.name:<12}{entry.kind:<10}{options}".rstrip()))
    return 0


async def _probe(ws: Workspace, name: str) -> Health:
    from traindeck.backends.base import Health
    from traindeck.backends.states import Reach

    try:
        backend = ws.backend(name)
    except TraindeckError as error:
        if name not in ws.settings.backends:
            raise  # a name that was typed
        return Health(reach=Reach.DOWN, checks=((False, str(error)),))
    return await backend.probe()


def _health_json(name: str, health: Health) -> dict[str, Any]:
    from traindeck.console.store.records import iso

    return {
        "name": name,
        "reach": str(health.reach),
        "observed_at": iso(health.observed_at or None),
        "version": health.version or None,
        "clock_skew_s": health.clock_skew,
        "checks": [{"ok": passed, "text": text} for passed, text in health.checks],
    }
