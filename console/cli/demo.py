"""`demo`: everything once, for real, in minutes."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from traindeck.console.cli import output
from traindeck.console.cli.answer import Json, Quiet, many_runs

if TYPE_CHECKING:
    from traindeck.console.present.cells import Line
    from traindeck.console.runs.demo import Demo, Look
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.records import RunRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("demo")
def demo_command(
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Of data, model and training.")
    ] = 0,
    python: Annotated[
        str | None, typer.Option("--python", metavar="PATH", help="Interpreter that has torch.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Build a small model, fine-tune it twice, examine all three. Takes minutes.

    The runs are ordinary ones: Ctrl-C stops watching them, nothing else. Without torch it says how
    to get it.

    --json: {"runs", "question", "wanted", "models", "problems"}; `runs` as `show --json` prints
    them, `models` with how each did in the exam.
    """
    from traindeck.console.cli.session import with_workspace
    from traindeck.console.runs import demo as service

    async def body(ws: Workspace) -> int:
        output.note(
            "traindeck: launching the demo: a base model, two LoRA fine-tunes of it, an exam. "
            "The first import of torch can take minutes."
        )
        made = await service.launch(ws, seed=seed, python=python)
        try:
            await _watch(ws, made)
        except asyncio.CancelledError:
            _say_what_goes_on(ws, made)
            raise
        report = await service.report(ws, made)
        if json:
            output.emit_json(report.to_json())
        elif not many_runs(report.runs, json=False, quiet=quiet):
            from traindeck.console.present.ansi import terminal_width
            from traindeck.console.present.demo_view import report_lines

            width = terminal_width(sys.stdout) if sys.stdout.isatty() else 100
            table = _table(ws, list(report.runs), width)
            signs = output.glyphs(ws, sys.stdout)
            output.print_lines(report_lines(report, table, width=width, glyphs=signs), ws)
        return 1 if report.problems or report.exam is None else 0

    return with_workspace(body, stores=True)


async def _watch(ws: Workspace, made: Demo) -> None:
    """Show progress: on a terminal one block of lines painted over, else a line a change."""
    from traindeck.console.present.ansi import encode
    from traindeck.console.present.cells import clip_line
    from traindeck.console.present.demo_view import progress_line
    from traindeck.console.runs import demo as service

    theme = output.theme(ws, sys.stderr)
    cells = _columns()
    signs = output.glyphs(ws, sys.stderr)
    painted = 0
    said: dict[str, str] = {}
    async for looks in service.follow(ws, made):
        now = ws.clock()
        lines: list[Line] = [progress_line(look, now, signs, cells) for look in looks]
        if sys.stderr.isatty():
            up = f"\x1b[{painted}A" if painted else ""
            body = "".join(f"\x1b[2K{encode(clip_line(x, cells - 1), theme)}\n" for x in lines)
            sys.stderr.write(up + body)
            sys.stderr.flush()
            painted = len(lines)
        else:
            _say_changes(looks, lines, said)


def _say_what_goes_on(ws: Workspace, made: Demo) -> None:
    runs = [run for step in made.steps if (run := ws.index.get(step.run_id)) and run.active]
    if runs:
        short = ws.index.short_ids([run.id for run in runs])
        names, ids = ", ".join(run.name for run in runs), " ".join(short.values())
        goes, ends = ("goes", "it") if len(runs) == 1 else ("go", "them")
        output.note(f"traindeck: {names} {goes} on; `traindeck stop {ids}` ends {ends}.")


def _say_changes(looks: tuple[Look, ...], lines: list[Line], said: dict[str, str]) -> None:
    from traindeck.console.present.ansi import encode

    for look, line in zip(looks, lines, strict=True):
        progress = look.run.progress
        tenth = int((progress.fraction or 0.0) * 4)
        now = f"{look.run.state} {tenth} {look.says if progress.step is None else ''}"
        if look.run.state != "queued" and said.get(look.step.run_id) != now:
            said[look.step.run_id] = now
            output.note("  " + encode(line, None))


def _columns() -> int:
    from traindeck.console.present.ansi import terminal_width

    return terminal_width(sys.stderr) if sys.stderr.isatty() else 100


def _table(ws: Workspace, runs: list[RunRecord], width: int) -> list[Line]:
    from traindeck.console.present.listing import list_lines

    lines = list_lines(
        runs,
        now=ws.clock(),
        width=width,
        short_ids=ws.index.short_ids([run.id for run in runs]),
        total=len(runs),
        glyphs=output.glyphs(ws, sys.stdout),
    )
    return list(lines[:-1])
