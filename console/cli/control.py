"""`stop`, `wait` and `rm`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from traindeck.backends.errors import TraindeckError, UsageError
from traindeck.console.cli import output
from traindeck.console.cli.answer import Json, Quiet, many_runs
from traindeck.console.cli.completion import complete_active, complete_removable

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.records import RunRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Runs = Annotated[
    list[str], typer.Argument(metavar="RUN", help="Ids or names.", autocompletion=complete_active)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("stop")
def stop_command(
    runs: Runs,
    grace: Annotated[
        str | None, typer.Option("--grace", metavar="T", help="From TERM to KILL.")
    ] = None,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Ask runs to end: TERM, a grace, then KILL. Returns when they are over; with -q at once. Asks
    before it stops several, or a job that was not started by Traindeck; one run it stops unasked.

    --json: an array of the runs that it stopped, as `show --json` prints them.

    Example: traindeck stop calm-fox --grace 60s
    """
    from traindeck.console.cli.session import with_workspace
    from traindeck.console.durations import parse_duration
    from traindeck.console.runs import controlling
    from traindeck.console.runs.reasons import with_name

    seconds = parse_duration(grace, "--grace") if grace else None

    async def body(ws: Workspace) -> int:
        records = await controlling.to_stop(ws, runs)
        active = [record for record in records if record.active]
        if len(active) > 1 or any(record.foreign for record in active):
            called = [record.name for record in active]
            names = ", ".join(
                record.name if called.count(record.name) == 1 else with_name(ws.index, record.id)
                for record in active
            )
            if not output.confirm(f"Stop {len(active)} runs: {names}?", yes=yes):
                return 1
        came = await controlling.each(
            records, lambda record: controlling.stop(ws, record, grace=seconds)
        )
        code = 0
        for record, asked in zip(records, came, strict=True):
            if isinstance(asked, TraindeckError):
                output.error(f"{record.name} was not asked to end. {' '.join(asked.lines)}")
                code = max(code, asked.exit_code)
                active = [one for one in active if one.id != record.id]
            elif not asked:
                output.note(f"traindeck: {record.name} is over already ({record.state}).")
        if not quiet:
            active = await controlling.wait(ws, [record.id for record in active])
        if not many_runs(active, json=json, quiet=quiet):
            for record in active:
                output.line(f"{record.id}  {output.neutral(record.name)}  {record.state}")
        return code

    return with_workspace(body)


@app.command("wait")
def wait_command(runs: Runs, json: Json = False, quiet: Quiet = False) -> int:
    """Wait until runs are over. Returns the first exit code that is not 0.

    128+n for signal n, 124 if its time limit was over, 130 if it was cancelled, 1 if it was lost.

    --json: an array of the runs, as `show --json` prints them.

    Example: traindeck wait calm-fox && echo done
    """
    from traindeck.console.cli.session import with_workspace
    from traindeck.console.runs import controlling
    from traindeck.console.runs.foreign import look_up
    from traindeck.console.runs.outcome import exit_status, first_failure
    from traindeck.console.runs.reasons import named

    async def body(ws: Workspace) -> int:
        await look_up(ws, runs)
        records = await controlling.wait(ws, [record.id for record in _records(ws, runs)])
        if not many_runs(records, json=json, quiet=quiet):
            for record in named(ws.index, records):
                why = f"  {output.neutral(record.reason)}" if record.reason else ""
                output.line(f"{record.id}  {output.neutral(record.name)}  {record.state}{why}")
        return first_failure(exit_status(r.state, r.exit_code, r.signal) for r in records)

    return with_workspace(body)


@app.command("rm")
def rm_command(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN", help="Full ids or exact names.", autocompletion=complete_removable
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="T", help="All that ended more than T ago."),
    ] = None,
    keep_artifacts: Annotated[
        bool, typer.Option("--keep-artifacts", help="Keep what the runs made.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Delete finished runs and their directories. Says what it frees, then asks. Of an adopted
    process that still runs it ends the watching; the process goes on.

    --json: an array of {"id", "name", "archived", "freed_bytes", "error"}, one of each run; `error`
    is null for one that was removed, `freed_bytes` for one that was not.

    Examples:

    traindeck rm calm-fox

    traindeck rm --older-than 30d --keep-artifacts
    """
    from traindeck.console.cli.session import with_workspace
    from traindeck.console.durations import parse_duration
    from traindeck.console.present.numbers import size
    from traindeck.console.runs import controlling
    from traindeck.console.runs.refreshing import refresh

    age = parse_duration(older_than, "--older-than") if older_than else None
    if bool(runs) == (age is not None):
        raise UsageError("Name the runs to remove, or give --older-than.")

    async def body(ws: Workspace) -> int:
        controlling.check_notes(ws)
        await refresh(ws)
        if age is None:
            records = _records(ws, runs or [], strict=True)
        else:
            records = _ended_before(ws, ws.clock() - age)
            if keep_artifacts:  # of archived ones, nothing else is left
                records = [record for record in records if not record.archived]
        # None is refused for what it was some seconds ago, nor for one that is gone since.
        asked = [record for record in records if record.active]
        await refresh(ws, asked, max_age=0.0)
        seen = {record.id: ws.index.get(record.id) for record in asked}
        for record in records:
            if (now := seen.get(record.id, record)) is not None:
                controlling.refuse_removal(now)
        records = [seen.get(record.id) or record for record in records]
        if not records:
            output.note("traindeck: there is nothing to remove.")
            if json:
                output.emit_json([])
            return 0
        total = 0
        for record in records:
            taken = await _taken(ws, record, keep_artifacts)
            total += taken or 0
            shown = "size unknown" if taken is None else size(taken)
            more = "  the process goes on, unwatched" if record.active else ""
            if not ws.has_backend(record.backend):
                more = f"  its directory stays: there is no backend {record.backend} any more"
            output.note(f"  {record.id}  {record.name}  {record.state}  {shown}{more}")
        what = f"{len(records)} run{'s' if len(records) > 1 else ''}"
        if not output.confirm(f"Remove {what} and free {size(total)}?", yes=yes):
            return 1
        came = await controlling.each(
            records,
            lambda record: controlling.remove(ws, record, keep_artifacts=keep_artifacts),
        )
        answer: list[dict[str, Any]] = []
        for record, freed in zip(records, came, strict=True):
            said = {"id": record.id, "name": record.name, "archived": keep_artifacts}
            if isinstance(freed, TraindeckError):
                output.error(str(freed))
                answer.append({**said, "archived": False, "freed_bytes": None, "error": str(freed)})
            else:
                answer.append({**said, "freed_bytes": freed, "error": None})
        removed = [one for one in answer if one["error"] is None]
        if json:
            output.emit_json(answer)
        elif quiet:
            for one in removed:
                output.line(one["id"])
        else:
            total = sum(one["freed_bytes"] for one in removed)
            output.line(f"removed {len(removed)}, freed {size(total)}")
        return 0 if len(removed) == len(answer) else 1

    return with_workspace(body)


def _records(ws: Workspace, texts: list[str], *, strict: bool = False) -> list[RunRecord]:
    """The runs meant, each once, in the order given."""
    found = {}
    for text in texts:
        record = ws.record(text, strict=strict)
        found[record.id] = record
    return list(found.values())


def _ended_before(ws: Workspace, moment: float) -> list[RunRecord]:
    rows = ws.index.rows(ws.index.ids(), metrics="none")
    return [
        run
        for run in rows
        if not run.active and not run.foreign and (run.ended or run.created) < moment
    ]


async def _taken(ws: Workspace, record: RunRecord, keep_artifacts: bool) -> int | None:
    from traindeck.console.runs import controlling

    try:
        disk = await controlling.disk(ws, record)
    except TraindeckError:
        return None
    return disk.total - (disk.kept if keep_artifacts else 0)
