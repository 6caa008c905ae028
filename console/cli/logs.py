"""`logs`: a run's output, raw to a pipe, harmless to a terminal."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from traindeck.backends.base import Files, SeekableLogs
from traindeck.backends.errors import TraindeckError, Unreachable, UsageError
from traindeck.console.cli import output
from traindeck.console.cli.completion import complete_run
from traindeck.console.runs.mirrored import has_copies, is_far, log_path

if TYPE_CHECKING:
    from traindeck.backends.base import JobRef
    from traindeck.console.logs.raw import Grep
    from traindeck.console.present.theme import Theme
    from traindeck.console.runs.mirrored import Reading
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.mirror import Copy
    from traindeck.console.store.records import RunRecord

PIECE = 1 << 20
"""Bytes that are printed at once of what is held here."""

LONGEST_LINE = 1 << 16
"""Bytes without a break that are held back from a terminal."""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("logs")
def logs_command(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id or name.", autocompletion=complete_run)
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it is over.")] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", metavar="N", help="Only the last N lines.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="T", help="Only what is newer than T.")
    ] = None,
    grep: Annotated[
        str | None, typer.Option("--grep", metavar="RE", help="Only lines that match.")
    ] = None,
    rank: Annotated[
        str, typer.Option("--rank", metavar="R|all", help="Of this rank, or of all.")
    ] = "0",
    attempt: Annotated[
        int | None, typer.Option("--attempt", metavar="N", help="Of this attempt; the last one.")
    ] = None,
) -> int:
    """Print a run's log. To a pipe byte for byte; to a terminal with its colours, but without what
    could harm it.

    Ctrl-C stops printing, never the run.

    Examples:

    traindeck logs -f calm-fox

    traindeck logs calm-fox --since 5m --grep 'loss'
    """
    from traindeck.console.cli.session import with_workspace
    from traindeck.console.durations import parse_duration
    from traindeck.console.runs.refreshing import refresh

    if lines is not None and lines < 0:
        raise UsageError(f"--lines {lines}: must be 0 or more.")
    if lines is not None and since is not None:
        raise UsageError("--lines and --since exclude each other.")
    asked = _rank(rank)
    seconds = parse_duration(since, "--since") if since else None

    def wanted() -> Grep | None:
        if grep is None:
            return None
        from traindeck.console.logs.raw import Grep

        return Grep(grep, tell=output.tell)

    wanted()  # refuses what is no expression

    async def body(ws: Workspace) -> int:
        from traindeck.console.runs.foreign import look_up
        from traindeck.console.runs.reading import check_attempt, ranks_of, why_no_log
        from traindeck.console.runs.reasons import told
        from traindeck.console.runs.workspace import ref_of

        await look_up(ws, [run])
        record = ws.record(run)
        await refresh(ws, [record])
        record = ws.record(record.id)
        if attempt is not None:
            check_attempt(record, attempt)
        waits = record.state == "queued" and not follow and attempt in (None, record.attempt)
        if waits:
            # A cluster may have put it back into its queue; then there is a log already.
            how = "waits to start again" if record.log_bytes else "has not started"
            why = told(ws.index, record.reason)
            output.note(f"traindeck: {record.name} {how}. {why}".rstrip())
            if not record.log_bytes:
                return 0
        if no_log := await why_no_log(ws, record, attempt):
            if record.archived or not record.adopted:
                raise TraindeckError(f"{record.name} ({record.id}): {no_log}.")
            output.note(f"traindeck: {no_log}.")
        backend = ws.reader(record.backend)
        ref = ref_of(record) if attempt is None else replace(ref_of(record), attempt=attempt)
        ranks = await ranks_of(backend, ref) if asked is None else [asked]
        if len(ranks) > 1 and follow:
            raise UsageError(f"{record.name} has several ranks.", "Follow one: --rank 0.")
        if asked and not (follow and record.active):
            await _refuse_unknown_rank(backend, ref, asked, record.name)
        moment = None if seconds is None else ws.clock() - seconds
        colors = output.theme(ws, sys.stdout)
        silent: Unreachable | None = None
        for one in ranks:
            if len(ranks) > 1:
                output.note(f"traindeck: rank {one} of {record.name}")
            try:
                offset = await _begin(ws, backend, ref, one, lines, moment)
                if follow and attempt is None:
                    await _follow(ws, record, one, offset, _Sink(colors, wanted()))
                else:
                    await _print(ws, ref, one, offset, follow, _Sink(colors, wanted()))
            except Unreachable as error:
                silent = error  # of the others something may be held here
        if silent is not None:
            raise silent
        return 0

    return with_workspace(body)


async def follow_run(ws: Workspace, record: RunRecord) -> int:
    """Print a run's log until the run is over. Returns the run's own exit code."""
    from traindeck.console.runs.outcome import exit_status
    from traindeck.console.runs.reasons import told

    sink = _Sink(output.theme(ws, sys.stdout))
    record = await _follow(ws, record, 0, 0, sink)
    why = f": {told(ws.index, record.reason)}" if record.reason else ""
    sink.note(f"traindeck: {record.name} {record.state}{why}")
    return exit_status(record.state, record.exit_code, record.signal)


async def _follow(
    ws: Workspace, record: RunRecord, rank: int, offset: int, sink: _Sink
) -> RunRecord:
    """Print until the run is over, through all attempts its place makes by itself. Returns the run
    as it ended; who interrupts is told that it goes on."""
    from traindeck.console.runs.controlling import watch
    from traindeck.console.runs.workspace import ref_of

    attempt = record.attempt
    try:
        while True:
            ref = replace(ref_of(record), attempt=attempt)
            await _print(ws, ref, rank, offset, True, sink)
            async for seen in watch(ws, record.id, soon=True):
                record = seen
                if record.attempt > attempt:
                    break
            if record.attempt > attempt:
                attempt, offset = attempt + 1, 0
                sink.note(f"traindeck: attempt {attempt} of {record.name}")
            elif not record.active:
                return record
    except asyncio.CancelledError:
        if record.active:
            short = ws.index.short_ids([record.id])[record.id]
            sink.note(f"traindeck: {record.name} goes on; `traindeck stop {short}` ends it.")
        raise


def _rank(text: str) -> int | None:
    """The rank that is meant, None for all.

    Raises:
        UsageError: It is neither a number nor `all`.
    """
    if text == "all":
        return None
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"--rank {text}: expected a number from 0 on, or all.")
    return int(text)


async def _refuse_unknown_rank(backend: Reading, ref: JobRef, rank: int, name: str) -> None:
    if not isinstance(backend, SeekableLogs):
        return
    if not (await backend.log_stat(ref, rank)).identity:
        raise UsageError(f"--rank {rank}: {name} has no log of such a rank.")


async def _begin(
    ws: Workspace,
    backend: Reading,
    ref: JobRef,
    rank: int,
    lines: int | None,
    moment: float | None,
) -> int:
    """Where to begin. While its place does not answer, no further ahead than it is held here."""
    if lines is None and moment is None:
        return 0
    try:
        return await _asked_for(backend, ref, rank, lines, moment)
    except Unreachable:
        if not has_copies(ref):
            raise
        held = ws.mirror.copy(ref.run_id, log_path(ref, rank)).held()
        if not held.identity:
            raise
        return held.begin


async def _asked_for(
    backend: Reading, ref: JobRef, rank: int, lines: int | None, moment: float | None
) -> int:
    from traindeck.console.logs.raw import since_offset, tail_offset
    from traindeck.console.logs.source import BackendSource, RunFileSource
    from traindeck.console.logs.times import Times

    if not isinstance(backend, SeekableLogs):
        raise UsageError(f"{backend.name} cannot read logs from the middle.", "Leave -n out.")
    source = BackendSource(backend, ref, rank)
    if lines is not None:
        return await tail_offset(source, lines)
    if not isinstance(backend, Files):
        raise UsageError(f"{backend.name} keeps no times of its logs.", "Leave --since out.")
    assert moment is not None
    samples = RunFileSource(backend, ref, f"attempts/{ref.attempt}/logs/{rank}.idx")
    offset = await since_offset(source, Times(samples), moment)
    if offset is None:
        output.note("traindeck: nobody noted times for this log; all of it is printed.")
    return offset or 0


async def _print(
    ws: Workspace,
    ref: JobRef,
    rank: int,
    offset: int,
    follow: bool,
    sink: _Sink,
) -> None:
    """Print a log from an offset on. Where the place is elsewhere and its link is lost, a line says
    so, and whoever follows goes on once it is back.

    Raises:
        Unreachable: Its place does not answer; what is held here was printed.
    """
    from traindeck.console.runs.following import Answered, Appended, Ended, Lost, follow_log

    backend = ws.backend(ref.backend)
    far, lost, printed = is_far(backend), False, False
    held_here = far and has_copies(ref)
    copy = ws.mirror.copy(ref.run_id, log_path(ref, rank)) if held_here else None
    events = follow_log(backend, ref, rank, offset, follow=follow, copy=copy, fill=True)
    async with aclosing(events):
        async for event in events:
            match event:
                case Appended(_, data):
                    sink(data, False)
                    printed = True
                case Lost(why):
                    if not (follow and far):
                        if not printed and copy is not None:
                            printed = _print_end(copy, offset, sink)
                        held = "what is held here of its log was printed, there may be more"
                        raise Unreachable(f"{ref.backend}: {held}. {why}" if printed else why)
                    lost = True
                    why = output.neutral(" ".join(why.split()))
                    sink.note(f"traindeck: {ref.backend} is waited for: {why}")
                case Answered() if lost:
                    lost = False
                    sink.note(f"traindeck: {ref.backend} answers again.")
                case Ended():
                    sink(b"", True)


def _print_end(copy: Copy, offset: int, sink: _Sink) -> bool:
    """Print what is held of a log, if that begins after `offset`. Whether anything is."""
    held = copy.held()
    if not held.identity or held.begin <= offset or held.begin == held.size:
        return False
    sink.note(f"traindeck: of this log only the last {held.size - held.begin:,} bytes are here.")
    at = held.begin
    while data := copy.read(at, PIECE, held.content):
        sink(data, False)
        at += len(data)
    sink(b"", True)
    return True


class _Sink:
    """Takes chunks of a log and the word whether this was the last, and prints what is wanted."""

    def __init__(self, colors: Theme | None, grep: Grep | None = None) -> None:
        self._colors = colors
        self._grep = grep
        self._tty = sys.stdout.isatty()
        self._rest = b""
        self._within = False
        sys.stdout.flush()
        self._out = sys.stdout.buffer

    def __call__(self, data: bytes, last: bool) -> None:
        if self._grep is not None:
            data = self._grep.feed(data) + (self._grep.close() if last else b"")
        if self._tty:
            # Whole lines and states of bars only: an escape sequence may be cut anywhere.
            data = self._rest + data
            cut = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
            if last or (not cut and len(data) > LONGEST_LINE):
                cut = len(data)
            data, self._rest = data[:cut], data[cut:]
            data = b"".join(
                _harmless(line, self._colors) for line in data.splitlines(keepends=True)
            )
        if data:
            self._within = not data.endswith(b"\n")
        self._out.write(data)
        self._out.flush()

    def note(self, text: str) -> None:
        """Say something that is not of the log: on a terminal below it, whatever it ended with."""
        if self._tty and self._within:
            self._out.write(b"\n")
            self._within = False
        output.note(text)


def _harmless(line: bytes, colors: Theme | None) -> bytes:
    """A line as a terminal may have it: progress bars and breaks kept, of escapes only colours and
    weights, in the theme's own as on the screen, over before its end."""
    from traindeck.console.logs.neutral import neutral

    body = line.rstrip(b"\r\n")
    shown = neutral(body)
    text = shown.text
    if colors is not None and shown.spans:
        from traindeck.console.present.ansi import encode_all
        from traindeck.console.present.cells import Span
        from traindeck.console.present.log_colors import styled

        # What asks for no colour stays in the terminal's own, as all that is around it.
        pieces = [(piece, styled(look).removeprefix("text")) for piece, look in shown.pieces()]
        text = encode_all([Span(*piece) for piece in pieces], colors)
    return text.encode() + line[len(body) :]
