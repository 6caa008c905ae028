"""`backends`, `doctor` and `reindex`: where runs execute, and whether all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from traindeck.backends.errors import UsageError
from traindeck.console.cli import output
from traindeck.console.cli.answer import Json, Quiet, QuietNames, many_runs
from traindeck.console.cli.command import Group
from traindeck.console.cli.completion import complete_backend, complete_host, complete_kind

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
    """The places runs execute at: list, add, check, remove.

    Examples:

    traindeck backends

    traindeck backends list --found

    traindeck backends add ssh gpu1

    traindeck backends add slurm lab --via login1

    traindeck backends check gpu1
    """
    if context.invoked_subcommand is None:
        return _list(json, quiet)
    return None


@backends_app.command("list")
def list_command(
    found: Annotated[
        bool,
        typer.Option("--found", help="What your files name and could be added (~/.ssh/config)."),
    ] = False,
    json: Json = False,
    quiet: QuietNames = False,
) -> int:
    """List the configured backends, or with --found the machines that could be added. Asks none.

    --json: an array of {"name", "kind", "options"}; with --found of {"kind", "host"}.
    """
    if not found:
        return _list(json, quiet)
    from traindeck.backends.encoding import encode
    from traindeck.console.runs.placing import found_places
    from traindeck.console.runs.workspace import open_workspace

    places = found_places(open_workspace(tell=output.tell))
    if json:
        output.emit_json([encode(place) for place in places])
        return 0
    for place in places:
        output.line(place.host if quiet else output.neutral(f"{place.host:<24}{place.kind}"))
    if not (quiet or places):
        output.tell("nothing is found that is not a backend already")
    return 0


@backends_app.command("add")
def add_command(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help="ssh, slurm, process, …", autocompletion=complete_kind),
    ],
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="What to call it.", autocompletion=complete_host),
    ],
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="The machine, as ssh knows it; else NAME.",
            autocompletion=complete_host,
        ),
    ] = None,
    ssh_config: Annotated[
        str | None,
        typer.Option("--ssh-config", metavar="FILE", help="An ssh configuration of its own."),
    ] = None,
    via: Annotated[
        str | None,
        typer.Option(
            "--via",
            metavar="HOST",
            help="Of a cluster: its login node, as ssh knows it.",
            autocompletion=complete_host,
        ),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Of a cluster: its commands are on this machine.")
    ] = False,
    rest: Annotated[
        str | None,
        typer.Option(
            "--rest",
            metavar="URL",
            help="Of a cluster: its slurmrestd; runs also need --via, or --root on its files.",
        ),
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

    Nothing is connected to before it is used: `traindeck backends check NAME` does.

    Examples:

    traindeck backends add ssh gpu1

    traindeck backends add ssh big --host me@gpu7.example.org --root /scratch/me/traindeck

    traindeck backends add slurm lab --via login1

    traindeck backends add slurm here --local --option partition=gpu

    traindeck backends add slurm lab --rest https://slurm.example.org:6820 --via login1
    """
    from traindeck.backends.encoding import encode
    from traindeck.console.runs.placing import add_backend
    from traindeck.console.runs.request import parse_pairs
    from traindeck.console.runs.workspace import open_workspace

    _check_ways(kind, via=via, local=local, rest=rest)
    options = {"host": host, "ssh_config": ssh_config, "via": via, "rest": rest, "root": root}
    added = add_backend(
        open_workspace(), kind, name, {**options, **parse_pairs(option or [], "--option")}
    )
    if json:
        output.emit_json(encode(added))
    else:
        output.line(name)
    return 0


@backends_app.command("remove")
def remove_command(
    name: Annotated[str, typer.Argument(metavar="BACKEND", autocompletion=complete_backend)],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Also if runs are not over there.")
    ] = False,
    json: Json = False,
    quiet: QuietNames = False,
) -> int:
    """Take a backend out of the settings file; comments stay. Nothing is deleted there, and its
    runs stay in the list. Refused while runs are not over there, as far as is known, without --yes.

    --json: {"name"}.

    Examples:

    traindeck backends remove gpu1
    """
    from traindeck.console.runs.placing import remove_backend
    from traindeck.console.runs.workspace import open_workspace

    remove_backend(open_workspace(tell=output.tell), name, force=yes)
    if json:
        output.emit_json({"name": name})
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

    Examples:

    traindeck backends check

    traindeck backends check gpu1 --accept-new
    """
    import asyncio

    from traindeck.console.cli.session import with_workspace
    from traindeck.console.runs.placing import check_backend

    async def body(ws: Workspace) -> int:
        asked = list(dict.fromkeys(names or ws.settings.backends))
        answers = await asyncio.gather(*(check_backend(ws, name) for name in asked))
        found = await asyncio.gather(
            *(_with_environment(ws, *pair) for pair in zip(asked, answers, strict=True))
        )
        healths = list(zip(asked, found, strict=True))
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
    from traindeck.console.runs.refreshing import refresh

    async def body(ws: Workspace) -> int:
        count = rebuild_index(ws)
        await read_all(ws, ws.tell)
        await refresh(ws)  # of what has no record of an end, files do not say whether it goes on
        for name, why in ws.silent.items():
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


def _check_ways(kind: str, *, via: str | None, local: bool, rest: str | None) -> None:
    """Refuse a cluster that is nowhere, or in two places."""
    given = [name for name, on in (("--via", via), ("--local", local), ("--rest", rest)) if on]
    if local and rest and not via:
        raise UsageError(
            "--local and --rest exclude each other.",
            "If this machine has the cluster's file system, --root names a folder on it.",
        )
    if local and len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other.", "Say where the cluster is.")
    if kind == "slurm" and not given:
        raise UsageError(
            "Where is the cluster?",
            "--via HOST names its login node; --local: its commands are on this machine; "
            "--rest URL: there is a slurmrestd.",
        )
    if kind != "slurm" and local:
        raise UsageError(f"--local says nothing of a backend of kind {kind}.")


async def _with_environment(ws: Workspace, name: str, health: Health) -> Health:
    """With a check more: of what a run would execute in there."""
    from dataclasses import replace

    from traindeck.backends.states import Reach
    from traindeck.console.runs.placing import check_environment

    check = await check_environment(ws, name) if health.reach is Reach.OK else None
    return health if check is None else replace(health, checks=(*health.checks, check))


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
