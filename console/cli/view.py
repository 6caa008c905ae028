"""`ls` and `show`: what runs there are, and one of them in full."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from traindeck.backends.errors import TraindeckError, UsageError
from traindeck.console.cli import output
from traindeck.console.cli.answer import Json, Quiet, refuse_mixture
from traindeck.console.cli.command import Command
from traindeck.console.cli.completion import complete_filter, complete_run

if TYPE_CHECKING:
    from traindeck.backends.states import Status
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.records import RunRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False)

WINDOW = 86400.0
"""Seconds for which a finished run stays in `ls`."""

LOG_TAIL = 16 << 10

Cached = Annotated[bool, typer.Option("--cached", help="Ask nobody: what was last seen.")]


class FilterCommand(Command):
    """A command whose words may begin with a dash: `ls -demo` leaves out what `demo` finds."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {name for param in self.params for name in param.opts}
        letters = {name[1:] for name in known if len(name) == 2}
        words: list[str] = []
        options: list[str] = []
        rest = iter(args)
        for arg in rest:
            if arg == "--":
                words += rest
            elif arg.startswith("-") and (arg.startswith("--") or set(arg[1:]) <= letters):
                options.append(arg)
            else:
                words.append(arg)
        return super().parse_args(ctx, [*options, "--", *words])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from traindeck.console.runs.filters import LANGUAGE

        with formatter.section("Filters"):
            formatter.write_dl(LANGUAGE)
        super().format_epilog(ctx, formatter)


@app.command("ls", cls=FilterCommand)
def ls_command(
    filter: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILTER", help="As in the screen's `/`.", autocompletion=complete_filter
        ),
    ] = None,
    all: Annotated[bool, typer.Option("--all", "-a", help="Not only the last 24 hours.")] = False,
    cached: Cached = False,
    size: Annotated[bool, typer.Option("--size", help="What each run takes on disk.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """List runs: active ones and those of the last 24 hours. --json and -q list all.

    A filter is words of names and tags, and KEY:VALUE of state, is, tag, name, id, backend, host,
    project, recipe, note, reach, since, before, sort. is: takes active, over, needs-you, archived,
    foreign.

    Examples:

    traindeck ls state:failed since:2d

    traindeck ls 'lr>1e-4' tag:sft sort:loss

    traindeck ls --json 'name:*lora*'
    """
    from traindeck.console.runs.workspace import open_workspace

    ws = open_workspace(tell=output.tell)
    wanted = None
    if filter:
        from traindeck.console.runs.filters import parse

        wanted = parse(filter)  # nobody is asked for a list that cannot be
    if not cached and ws.has_questions():
        _refresh(ws)
    if filter:
        wanted = parse(filter, known=ws.index)
    if json and not size:
        sys.stdout.flush()
        sys.stdout.buffer.writelines(ws.index.json_array(wanted))
        sys.stdout.buffer.flush()
        return 0
    everything = all or (wanted is not None and wanted.says_when)
    window = None if everything or quiet or json else WINDOW
    keys = ws.index.ids(wanted, window=window)
    if quiet:
        for run in ws.index.rows(keys, metrics="none"):
            output.line(run.id)
        return 0
    runs = ws.index.rows(keys)
    sizes = _sizes(ws, runs) if size else None
    if json:
        from traindeck.console.store.records import run_json

        output.emit_json(
            [{**run_json(run), "size_bytes": (sizes or {}).get(run.id)} for run in runs]
        )
        return 0
    for name in sorted({run.backend for run in runs if run.active} & ws.silent.keys()):
        output.tell(f"{name} cannot be asked, each command tries anew: {ws.silent[name]}")
    # Where nothing fits, more is listed only if the next line says so.
    _print_list(ws, runs, sizes, hidden=not everything and (wanted is None or bool(runs)))
    if wanted is not None and window is not None and not runs:
        from traindeck.console.present.runs_counts import beyond_words
        from traindeck.console.runs.beyond import fit_beyond

        if words := beyond_words(*fit_beyond(ws.index, wanted, ws.clock())):
            output.tell(f"only {words}: traindeck ls --all")
    return 0


@app.command("show")
def show_command(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id or name.", autocompletion=complete_run)
    ],
    script: Annotated[
        bool, typer.Option("--script", help="Print it as a shell script that needs no Traindeck.")
    ] = False,
    path: Annotated[bool, typer.Option("--path", help="Print where its directory lies.")] = False,
    params: Annotated[bool, typer.Option("--params", help="Print all its parameters.")] = False,
    cached: Cached = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Show one run.

    --json: one object, of which `ls --json` prints an array; `attempts` has how each known one
    ended and is null if that cannot be read; `progress` is that of its last step, made `at`, and
    `partial` while its log has not been read to the end. Times are ISO 8601 UTC, what is not known
    is null.

    Examples:

    traindeck show calm-fox

    traindeck show calm-fox --script > again.sh
    """
    from traindeck.console.cli.session import with_workspace
    from traindeck.console.runs.foreign import look_up
    from traindeck.console.runs.refreshing import refresh
    from traindeck.console.store.records import attempt_json, run_json

    refuse_mixture(script=script, path=path, params=params, json=json, quiet=quiet)

    async def body(ws: Workspace) -> int:
        if not cached:
            await look_up(ws, [run])
        record = ws.record(run)
        if quiet:
            output.line(record.id)
            return 0
        if not cached:
            await refresh(ws, [record], max_age=0.0)
            record = ws.record(record.id)
        if script:
            from traindeck.console.runs.reading import read_spec
            from traindeck.console.runs.script import script as as_script

            spec = await read_spec(ws.backend(record.backend), record)
            text = as_script(spec, await _directory(ws, record))
            sys.stdout.flush()
            # To the byte: a word of a command line need not be text.
            sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        elif path:
            output.line(await _directory(ws, record))
        elif params:
            from traindeck.console.present.numbers import parameter

            if not record.params:
                output.note(f"traindeck: {record.name} has no parameters on its command line.")
            for key, value in record.params.items():
                shown = "" if value == "" else parameter(value)
                output.line(output.neutral(f"{key}={shown}"))
        elif json:
            from traindeck.console.runs.measuring import log_read

            tried = await _attempts(ws, record, ask=not cached)
            known = None if tried is None else [attempt_json(status) for status in tried]
            # Where that is less than log_bytes, what the metrics say is not all there is.
            read = log_read(ws.index, record)
            output.emit_json({**run_json(record), "log_read_bytes": read, "attempts": known})
        else:
            await _print_run(ws, record, ask=not cached)
        return 0

    return with_workspace(body)


def _refresh(ws: Workspace) -> None:
    import asyncio

    from traindeck.console.runs.refreshing import refresh

    async def ask() -> None:
        try:
            await refresh(ws)
        finally:
            await ws.close_backends()

    asyncio.run(ask())


def _sizes(ws: Workspace, runs: list[RunRecord]) -> dict[str, int | None]:
    import asyncio

    from traindeck.console.runs.controlling import disk

    async def measure() -> dict[str, int | None]:
        sizes: dict[str, int | None] = {}
        try:
            for run in runs:
                try:
                    sizes[run.id] = (await disk(ws, run)).total
                except TraindeckError:
                    sizes[run.id] = None
        finally:
            await ws.close_backends()
        return sizes

    return asyncio.run(measure())


async def _attempts(ws: Workspace, record: RunRecord, *, ask: bool) -> list[Status] | None:
    """How its attempts ended; None if that cannot be known now."""
    from traindeck.console.runs.reading import attempts_of

    if record.attempt and not ask:
        return None
    try:
        return await attempts_of(ws, record)
    except TraindeckError:
        return None


async def _kept(ws: Workspace, record: RunRecord) -> int | None:
    """Bytes of the artifacts of an archived run; None if that cannot be had."""
    from traindeck.console.runs.controlling import disk

    try:
        return ((await disk(ws, record)).by_name or {}).get("artifacts", 0)
    except TraindeckError:
        return None


async def _directory(ws: Workspace, record: RunRecord) -> str:
    health = await ws.backend(record.backend).probe()
    if not health.root:
        raise UsageError(health.note or f"{record.backend} keeps no run directories.")
    return f"{health.root}/{record.id}"


def _print_list(
    ws: Workspace, runs: list[RunRecord], sizes: dict[str, int | None] | None, *, hidden: bool
) -> None:
    from traindeck.console.present.ansi import terminal_width
    from traindeck.console.present.listing import list_lines
    from traindeck.console.runs.reasons import named

    lines = list_lines(
        named(ws.index, runs),
        now=ws.clock(),
        width=terminal_width(sys.stdout) if sys.stdout.isatty() else None,
        short_ids=ws.index.short_ids([run.id for run in runs]),
        total=sum(ws.index.counts().values()),
        sizes=sizes,
        windowed=hidden,
        glyphs=output.glyphs(ws, sys.stdout),
    )
    output.print_lines(lines, ws)


async def _print_run(ws: Workspace, record: RunRecord, *, ask: bool) -> None:
    """The card of a run; with what only its place knows, if that is to be asked."""
    from traindeck.console.present.ansi import terminal_width
    from traindeck.console.present.card import card_lines
    from traindeck.console.runs.beside import left_out
    from traindeck.console.runs.measuring import share_read
    from traindeck.console.runs.reading import (
        background_ended,
        hook_failures,
        log_tail,
        read_spec,
        why_no_log,
    )
    from traindeck.console.runs.reasons import named, with_name
    from traindeck.console.runs.refreshing import is_there

    full = named(ws.index, ws.index.rows([ws.index.number_of(record.id) or 0], metrics="all"))
    shown = full[0] if full else record
    spec, folder, kept, log, no_log = None, None, None, b"", ""
    hooks: list[str] = []
    outlived = 0
    gone = away = False
    if ask:
        try:
            spec = await read_spec(ws.backend(record.backend), record)
            hooks = await hook_failures(ws, record, spec)
            outlived = await background_ended(ws, record)
            folder = await _directory(ws, record)
        except TraindeckError as error:
            spec, folder = None, None
            if record.state != "queued" and not record.foreign:
                output.note(f"traindeck: only what is known here: {error.what}")
        there = await is_there(ws, record)
        away = there is None
        gone = not away and not record.foreign and (spec is None or not there)
        if record.archived:
            kept = await _kept(ws, record)
        log = await log_tail(ws, record, LOG_TAIL)
        no_log = "" if log else await why_no_log(ws, record)
    if spec is not None:
        spec = replace(spec, after=tuple(with_name(ws.index, run_id) for run_id in spec.after))
    lines = card_lines(
        shown,
        now=ws.clock(),
        width=terminal_width(sys.stdout) if sys.stdout.isatty() else None,
        short_id=ws.index.short_ids([record.id])[record.id],
        spec=spec,
        hooks=hooks,
        outlived=outlived,
        attempts=await _attempts(ws, record, ask=ask) or (),
        folder=_home_short(folder, ws.environ.get("HOME")),
        kept=kept,
        gone=gone,
        away=away,
        log=log,
        no_log=no_log,
        left_out=left_out(ws, shown) if ask else (),
        glyphs=output.glyphs(ws, sys.stdout),
    )
    output.print_lines(lines, ws)
    if not record.active:
        share = share_read(ws.index, record)
        if share < 0.99:
            output.note(
                f"traindeck: {share:.0%} of the log was read for metrics; "
                f"`traindeck metrics {record.id}` reads the rest."
            )


def _home_short(path: str | None, home: str | None) -> str | None:
    if path and home and path.startswith(home.rstrip("/") + os.sep):
        return "~" + path[len(home.rstrip("/")) :]
    return path
