"""`top`: the accelerators of all places, once or again and again."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from traindeck.backends.errors import UsageError
from traindeck.console.cli import output
from traindeck.console.cli.answer import Json
from traindeck.console.cli.completion import complete_backend

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Sequence

    from traindeck.console.runs.fleet import Fleet, PlaceDevices
    from traindeck.console.runs.workspace import Workspace

app = typer.Typer(rich_markup_mode=None, add_completion=False)

EVERY = 2.0
SOONEST = 0.1
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""The terminal's other screen, without a cursor; and back."""
BEGIN, CLEAR_LINE, END = "\x1b[?2026h\x1b[H", "\x1b[K", "\x1b[J\x1b[?2026l"
"""A frame that is shown as a whole, over the one before."""
WITHIN = 20.0
"""Seconds that a place has for its first answer: a driver may have to wake its devices."""


@app.command("top")
def top_command(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BACKEND", help="Only these places.", autocompletion=complete_backend
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Once, also on a terminal.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Again and again, also when piped or with --json.")
    ] = False,
    every: Annotated[
        str | None, typer.Option("--every", metavar="T", help="Time between two looks: 2s.")
    ] = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only UUIDs.")] = False,
) -> int:
    """The GPUs of all places: how busy they are, and with whose processes and runs.

    Live on a terminal until q or ctrl+c; once if it is piped, or with --once or --json.

    --json: an array of devices, each with its backend; with --watch one array a line. What a device
    does not say is null.

    Examples:

    traindeck top

    traindeck top --once gpu1

    traindeck top --json | jq '.[] | select(.processes == []) | .uuid'
    """
    if once and watch:
        raise UsageError("--once and --watch contradict each other.")
    seconds = _seconds(every)
    import asyncio

    from traindeck.console.runs.workspace import open_workspace

    live = watch or not (once or json or quiet or not sys.stdout.isatty())
    ws = open_workspace(tell=output.tell)
    try:
        return asyncio.run(
            _top(ws, places or (), seconds if live else None, json, quiet and not json)
        )
    except KeyboardInterrupt:
        if live:
            return 0  # the way to end it
        raise


def _seconds(text: str | None) -> float:
    if text is None:
        return EVERY
    from traindeck.console.durations import parse_duration

    seconds = parse_duration(text, "--every")
    if seconds < SOONEST:
        raise UsageError(f"--every {text} is too short.", f"At least {SOONEST} s.")
    return seconds


async def _top(
    ws: Workspace, names: Sequence[str], every: float | None, json: bool, quiet: bool
) -> int:
    from traindeck.console.runs.fleet import Fleet

    async with ws:
        fleet = Fleet(ws, names, every=every)
        fleet.begin()
        try:
            await fleet.all(WITHIN)
            if quiet:
                for place in fleet:
                    for device in place.devices:
                        output.line(output.neutral(device.uuid))
            elif every is not None:
                await (_lines(fleet, every) if json else _live(ws, fleet, every))
            elif json:
                output.emit_json(_json(list(fleet)))
            else:
                output.print_lines(_table(ws, list(fleet), None, sys.stdout.isatty()), ws)
            if every is None and (json or quiet):
                from traindeck.console.present.top_view import problems

                for words in problems(list(fleet)):
                    output.tell(words)
        finally:
            await fleet.aclose()
    return 0


def _json(places: Sequence[PlaceDevices]) -> list[dict[str, Any]]:
    from traindeck.console.runs.fleet import device_json

    return [device_json(place, device) for place in places for device in place.devices]


async def _lines(fleet: Fleet, every: float) -> None:
    """One line a refresh, for as long as somebody reads."""
    import asyncio
    import json

    while True:
        sys.stdout.write(json.dumps(_json(list(fleet)), allow_nan=False) + "\n")
        sys.stdout.flush()
        await asyncio.sleep(every)


async def _live(ws: Workspace, fleet: Fleet, every: float) -> None:
    """The table in place of the one before; a terminal is left as it was."""
    import asyncio

    if not sys.stdout.isatty():
        while True:
            output.print_lines(_table(ws, list(fleet), every, False), ws)
            output.line()
            sys.stdout.flush()
            await asyncio.sleep(every)
    ended = asyncio.Event()
    with _keys(ended):
        sys.stdout.write(ENTER)
        try:
            while not ended.is_set():
                sys.stdout.write(BEGIN)
                for line in output.encoded(_table(ws, list(fleet), every, True), ws):
                    sys.stdout.write(f"{line}{CLEAR_LINE}\r\n")
                sys.stdout.write(END)
                sys.stdout.flush()
                with suppress(TimeoutError):
                    async with asyncio.timeout(every):
                        await ended.wait()
        finally:
            sys.stdout.write(LEAVE)
            sys.stdout.flush()


@contextmanager
def _keys(ended: asyncio.Event) -> Iterator[None]:
    """`q` ends it, where keys can be heard."""
    import asyncio
    import os
    import termios
    import tty

    if not sys.stdin.isatty():
        yield
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)

    def typed() -> None:
        if b"q" in os.read(number, 1024):
            ended.set()

    loop = asyncio.get_running_loop()
    tty.setcbreak(number, termios.TCSANOW)
    loop.add_reader(number, typed)
    try:
        yield
    finally:
        loop.remove_reader(number)
        termios.tcsetattr(number, termios.TCSANOW, before)


def _table(
    ws: Workspace, places: Sequence[PlaceDevices], every: float | None, fitted: bool
) -> list[Any]:
    import shutil

    from traindeck.console.present.top_view import Seen, top_lines
    from traindeck.console.runs.fleet import runs_on

    size = shutil.get_terminal_size()
    seen = Seen(
        now=ws.clock(),
        names={key: run.name for key, run in runs_on(ws, places).items()},
        every=every,
        width=size.columns if fitted else None,
        height=size.lines - 1 if fitted and every is not None else None,
        glyphs=output.glyphs(ws, sys.stdout),
    )
    return top_lines(places, seen)
