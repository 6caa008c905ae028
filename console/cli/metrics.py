"""`metrics`: what a run has measured, as a table, points or a chart."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from traindeck.backends.errors import UsageError
from traindeck.console.cli import output
from traindeck.console.cli.answer import Json, QuietNames, refuse_mixture
from traindeck.console.cli.completion import complete_metric, complete_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.index import Index
    from traindeck.console.store.records import RunRecord
    from traindeck.console.store.series import Points

app = typer.Typer(rich_markup_mode=None, add_completion=False)

ROWS = 16


@app.command("metrics")
def metrics_command(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id or name.", autocompletion=complete_run)
    ],
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY", help="Metrics.", autocompletion=complete_metric),
    ] = None,
    chart: Annotated[bool, typer.Option("--chart", help="Draw them, or the main one.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print every point as CSV.")] = False,
    json: Json = False,
    quiet: QuietNames = False,
    attempt: Annotated[
        int | None, typer.Option("--attempt", metavar="N", help="What this attempt measured.")
    ] = None,
) -> int:
    """Print what a run has measured.

    --json: {KEY: {"steps", "times", "values", "sources"}}, one of each a point. Values that are not
    finite are "NaN", "Infinity" or "-Infinity", as `last` in `show --json` and `ls --json` is; null
    is what is not known.

    Examples:

    traindeck metrics calm-fox

    traindeck metrics calm-fox loss eval/loss --chart

    traindeck metrics calm-fox loss --csv > loss.csv

    traindeck metrics calm-fox loss --attempt 0
    """
    from traindeck.console.cli.session import with_workspace
    from traindeck.console.metrics.names import curves_of
    from traindeck.console.runs.beside import LARGEST, left_out, too_large
    from traindeck.console.runs.measuring import complete, measured_alone
    from traindeck.console.runs.refreshing import refresh

    refuse_mixture(chart=chart, csv=csv, json=json, quiet=quiet)

    async def body(ws: Workspace) -> int:
        record = ws.record(run)
        await refresh(ws, [record], max_age=0.0)
        record = ws.index.get(record.id) or record
        if attempt is not None:
            async with measured_alone(ws, record, attempt) as (alone, index):
                show(ws, alone, index)
            return 0
        await complete(ws, record, ws.tell)
        found = ws.index.rows([ws.index.number_of(record.id) or 0], metrics="all")
        record = found[0] if found else record
        _say_what_is_left_out(left_out(ws, record), record)
        for file in too_large(ws, record):
            output.note(
                f"traindeck: {output.neutral(file.path)} ({file.size >> 20:,} MiB) is not read: "
                f"no file larger than {LARGEST >> 20} MiB is copied from {record.backend}."
            )
        show(ws, record, ws.index)
        return 0

    def show(ws: Workspace, record: RunRecord, index: Index) -> None:
        wanted = _wanted(ws, record, keys or [])
        if quiet:
            for name in wanted:
                output.line(output.neutral(name))
        elif csv:
            _csv(index, record, wanted)
        elif json:
            output.emit_json(_json(index, record, wanted))
        elif chart:
            drawn = wanted if keys else curves_of(record.metrics, record.main)
            _chart(ws, record, {key: index.points(record.id, key) for key in drawn})
        else:
            _table(ws, record, wanted if keys else None)

    return with_workspace(body)


def _say_what_is_left_out(paths: list[str], record: RunRecord) -> None:
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        output.note(
            f"traindeck: {paths[0]}{more} not read: another run worked in {record.cwd} at the same "
            "time, and nothing says whose it is. An output folder named on the command line, or "
            "$TRAINDECK_ARTIFACTS, would."
        )


def _wanted(ws: Workspace, record: RunRecord, keys: list[str]) -> list[str]:
    """Names as asked for, or all.

    Raises:
        UsageError: The run has no such metric; the nearest is named.
    """
    from difflib import get_close_matches

    from traindeck.console.metrics.names import canonical

    names = []
    for key in keys:
        name = key if key in record.metrics else canonical(key)
        if name not in record.metrics:
            near = get_close_matches(name, record.metrics, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"`traindeck metrics {record.id}` lists."
            if ws.index.has_name(key) or ws.index.get(key) is not None:
                hint = f"{key} is a run, and this takes one run."
            raise UsageError(f"{record.name} has no metric {key!r}.", hint)
        names.append(name)
    return names or [key for key in record.metrics if not key.startswith("__")]


def _table(ws: Workspace, record: RunRecord, only: list[str] | None) -> None:
    from dataclasses import replace

    from traindeck.console.metrics.capture import looked_for
    from traindeck.console.present.ansi import terminal_width
    from traindeck.console.present.metrics_list import metric_lines

    if only is not None:
        record = replace(record, metrics={key: record.metrics[key] for key in only})
    lines = metric_lines(
        record,
        looked_for(record),
        width=terminal_width(sys.stdout) if sys.stdout.isatty() else None,
        glyphs=output.glyphs(ws, sys.stdout),
    )
    output.print_lines(lines, ws)


def _csv(index: Index, record: RunRecord, keys: list[str]) -> None:
    import csv

    from traindeck.console.store.records import iso
    from traindeck.console.store.series import NAMES

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["metric", "step", "time", "value", "source"])
    for key in keys:
        points = index.points(record.id, key)
        for i, step in enumerate(points.steps):
            moment = points.times[i]
            writer.writerow(
                [
                    key,
                    step,
                    iso(moment) if math.isfinite(moment) else "",
                    points.values[i],
                    NAMES[points.source_of[i]],
                ]
            )


def _json(index: Index, record: RunRecord, keys: list[str]) -> dict[str, Any]:
    """Key -> steps, times, values and sources, one of each a point. A value that is not finite is
    its name, as text, for JSON has no such number; a time that nobody noted is null."""
    from traindeck.console.store.records import iso, json_value
    from traindeck.console.store.series import NAMES

    answer = {}
    for key in keys:
        points = index.points(record.id, key)
        answer[key] = {
            "steps": list(points.steps),
            "times": [iso(moment) for moment in points.times],
            "values": [json_value(v) for v in points.values],
            "sources": [NAMES[trust] for trust in points.source_of],
        }
    return answer


def _chart(ws: Workspace, record: RunRecord, series: Mapping[str, Points]) -> None:
    from traindeck.console.present.ansi import terminal_width
    from traindeck.console.present.chart import text_chart

    if not series:
        _table(ws, record, None)
        return
    width = terminal_width(sys.stdout) if sys.stdout.isatty() else 100
    signs = output.glyphs(ws, sys.stdout)
    output.print_lines(text_chart(series, width=width, height=ROWS, glyphs=signs), ws)
