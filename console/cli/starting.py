"""From a request to a run, with what is printed of it: what all commands that start one share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from traindeck.backends.errors import UsageError
from traindeck.backends.states import State
from traindeck.console.cli import output
from traindeck.console.cli.answer import one_run

if TYPE_CHECKING:
    from traindeck.backends.base import Plan
    from traindeck.console.runs.request import LaunchRequest
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.records import RunRecord

SOON = 2.0
"""Seconds for which nothing is said about a place that is being asked."""

Make = Callable[["Workspace", dict[str, Any], int | None], Awaitable["LaunchRequest"]]
"""Makes the request of what was given, and of the index if it is one for a task of an array."""


def start(
    make: Make,
    given: dict[str, Any],
    after: list[str] | None,
    after_any: list[str] | None,
    dry_run: bool,
    follow: bool,
    json: bool,
    quiet: bool,
    *,
    array: str | None = None,
    varies: bool = False,
) -> int:
    """Plan and launch what `make` makes, or an array of it.

    Args:
        varies: Whether the tasks of an array differ in more than their index.
    """
    from traindeck.console.cli.session import with_workspace
    from traindeck.console.runs import choosing, launching
    from traindeck.console.runs.awaiting import awaited, refuse_elsewhere
    from traindeck.console.runs.foreign import look_up
    from traindeck.console.runs.settling import settle

    if after and after_any:
        raise UsageError("--after and --after-any exclude each other.")
    refuse_json_beside_log(follow, json)
    numbers: tuple[int, ...] = ()
    if array is not None:
        from traindeck.backends.arrays import read_indices

        numbers = read_indices(array).numbers
        if follow:
            raise UsageError(
                "--follow and --array exclude each other: each task has a log of its own.",
                "Start it, then: traindeck logs -f NAME-0",
            )

    async def body(ws: Workspace) -> int:
        if array is not None and choosing.is_auto(ws, given.get("on")):
            raise UsageError("--array: a place is not chosen for one.", "Name it with --on.")
        await settle(ws)
        await look_up(ws, after or after_any or ())
        runs = awaited(ws, after or after_any or ())
        more = {"after": tuple(run.id for run in runs), "after_any": bool(after_any)}
        asked = {**given, **more} if runs else given
        if choosing.is_auto(ws, given.get("on")):
            only = {run.backend for run in runs} if runs else None
            made = await choosing.plan(
                ws, lambda name: make(ws, {**asked, "on": name}, None), only=only
            )
            output.tell(made.place)
        else:
            request = await make(ws, asked, numbers[0] if numbers else None)
            refuse_elsewhere(runs, request.on)
            rest = [await make(ws, asked, n) if varies else request for n in numbers[1:]]
            with _saying_why_it_takes_long(ws, request.on):
                if array is not None:
                    plans = await launching.plan_array(ws, [request, *rest], array)
                else:
                    made = await launching.plan(ws, request)
            if array is not None:
                return await _send_array(ws, plans, dry_run, json, quiet)
        return await send(ws, made, dry_run, follow, json, quiet)

    return with_workspace(body, stores=not dry_run)


@contextmanager
def _saying_why_it_takes_long(ws: Workspace, name: str) -> Iterator[None]:
    """A line on stderr, if a place elsewhere is asked for longer than people wait for nothing."""
    from traindeck.console.runs.elsewhere import is_here

    if is_here(ws, name):
        yield
        return
    words = f"{name}: looking for an environment (torch imports take a while the first time)"
    timer = asyncio.get_running_loop().call_later(SOON, output.tell, words)
    try:
        yield
    finally:
        timer.cancel()


def refuse_json_beside_log(follow: bool, json: bool) -> None:
    """JSON with a raw log behind it is neither."""
    if follow and json:
        raise UsageError(
            "--follow and --json exclude each other: both print to standard output.",
            "Start with --json, then `traindeck logs -f` and `wait` with the id.",
        )


async def send(
    ws: Workspace, made: Plan, dry_run: bool, follow: bool, json: bool, quiet: bool
) -> int:
    from traindeck.console.present.asked import not_copied
    from traindeck.console.runs import launching
    from traindeck.console.runs.request import code_not_kept

    if dry_run:
        _show_plan(made, json)
        return 0
    record = await launching.launch(ws, made, briefly=quiet and not json)
    failed = _not_started(record)
    hushed = {code_not_kept(made.spec)} if quiet else ()
    for warning in made.warnings if not failed else ():
        if warning not in hushed:
            output.tell(warning)
    say(ws, record, json, quiet)
    if missing := not_copied(made.spec.code, 3):
        output.tell(f"not in the snapshot: {', '.join(missing)}; all: traindeck show {record.id}")
    if follow:
        from traindeck.console.cli.logs import follow_run

        return await follow_run(ws, record)
    if failed:
        output.error(f"{record.reason}. The run is recorded as failed.")
    elif record.state is State.CANCELLED and record.reason:  # what it was to wait for failed before
        from traindeck.console.runs.reasons import told

        output.tell(told(ws.index, record.reason))
    return 1 if failed else 0


async def _send_array(
    ws: Workspace, plans: Sequence[Plan], dry_run: bool, json: bool, quiet: bool
) -> int:
    from traindeck.console.cli.answer import many_runs
    from traindeck.console.runs import launching
    from traindeck.console.runs.request import code_not_kept

    first = plans[0]
    if dry_run:
        if json:
            from traindeck.backends.encoding import encode

            output.emit_json([{**encode(made), **_listed(made)} for made in plans])
            return 0
        _show_plan(first, json)
        from traindeck.console.present.plan_view import of_array

        output.note(f"traindeck: {of_array(len(plans))}.")
        return 0
    records = await launching.launch_array(ws, plans)
    hushed = {code_not_kept(first.spec)} if quiet else ()
    for warning in first.warnings:
        if warning not in hushed:
            output.tell(warning)
    if not many_runs(records, json=json, quiet=quiet):
        for record in records:
            output.line(f"{record.id}  {output.neutral(record.name)}  {record.state}")
    return 0


def _not_started(record: RunRecord) -> bool:
    """Whether the program could not be started: that is known milliseconds after the launch, and
    all that there is to say about it."""
    from traindeck.console.store.records import NOT_STARTED

    return record.state is State.FAILED and record.exit_code in NOT_STARTED


def _listed(made: Plan) -> dict[str, Any]:
    """The files of a plan's tree, which the plan itself names by one digest."""
    from traindeck.backends.encoding import encode
    from traindeck.backends.trees import files_of

    tree = made.spec.code.tree
    if tree is None:
        return {}
    return {"tree": {f"code/{path}": encode(blob) for path, blob in files_of(tree)}}


def _show_plan(made: Plan, json: bool) -> None:
    from traindeck.backends.encoding import encode

    if json:
        output.emit_json({**encode(made), **_listed(made)})
        return
    from traindeck.console.present.plan_view import plan_lines

    for label, text in plan_lines(made, whole=True):
        output.line(f"{label:<10}{output.neutral(text)}")
    output.note("traindeck: nothing was started.")


def say(ws: Workspace, record: RunRecord, json: bool, quiet: bool, *, has_log: bool = True) -> None:
    import sys

    if not one_run(ws, record.id, json=json, quiet=quiet):
        short = ws.index.short_ids([record.id])[record.id]
        output.line(f"{record.id}  {output.neutral(record.name)}  {record.state}")
        if sys.stdout.isatty():
            follow = f"follow: traindeck logs -f {short}   " if has_log else ""
            leave = f"   only end the watching: traindeck rm {short}" if record.adopted else ""
            output.note(f"{follow}stop: traindeck stop {short}{leave}")
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:
        # Else a script would take it for a launch that failed, and start it twice.
        output.note(f"traindeck: run {record.id} was started, though its id cannot be printed.")
        raise
