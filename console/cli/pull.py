"""`pull`: files of a run, brought here."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from traindeck.console.cli import output
from traindeck.console.cli.answer import Json
from traindeck.console.cli.completion import complete_run

if TYPE_CHECKING:
    from traindeck.console.runs.pulling import Progress, Pulled
    from traindeck.console.runs.workspace import Workspace

AGAIN = 0.1
"""Seconds between two lines of progress."""
SHOWN = 5
"""Files named of those that did not come."""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("pull")
def pull_command(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id or name.", autocompletion=complete_run)
    ],
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH]…", help="In the run's directory; its artifacts."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Where to; a folder of its own.")
    ] = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print paths only.")] = False,
) -> int:
    """Bring files of a run here, from wherever it is: what it made, or the files and folders named.

    They get the paths below DIR that they have in the run's directory. What is here already does
    not come again, and what was interrupted goes on at the byte. Links are not followed.

    --json: {"run", "to", "files": [{"path", "size_bytes", "state", "error"}]}; state is written,
    same, skipped or failed.

    Examples:

    traindeck pull calm-fox

    traindeck pull calm-fox artifacts/checkpoint-500 --to ~/models
    """
    from traindeck.console.cli.session import with_workspace

    async def body(ws: Workspace) -> int:
        from traindeck.console.runs.pulling import folder_for, pull

        record = ws.record(run)
        folder = to.expanduser() if to is not None else folder_for(record, Path.cwd())
        meter = _Meter()
        begun = time.monotonic()
        try:
            pulled = await pull(ws, record, paths or (), folder, tell=meter)
        finally:
            meter.clear()
        if json:
            output.emit_json(
                {
                    "run": record.id,
                    "to": str(folder),
                    "files": [
                        {
                            "path": one.path,
                            "size_bytes": one.size,
                            "state": one.state,
                            "error": one.error or None,
                        }
                        for one in pulled
                    ],
                }
            )
        elif quiet:
            for one in pulled:
                if one.state in ("written", "same"):
                    output.line(output.neutral(str(folder / one.path)))
        else:
            output.line(output.neutral(str(folder)))
        _say(pulled, time.monotonic() - begun)
        return 1 if any(one.state == "failed" for one in pulled) else 0

    return with_workspace(body)


def _say(pulled: Sequence[Pulled], seconds: float) -> None:
    from traindeck.console.present.pull_view import sum_words

    output.tell(sum_words(pulled, seconds))
    for state, what in (("skipped", "left out"), ("failed", "not brought")):
        some = [one for one in pulled if one.state == state]
        for one in some[:SHOWN]:
            output.tell(f"{what}: {one.path}: {one.error}")
        if len(some) > SHOWN:
            output.tell(f"{what}: {len(some) - SHOWN:,} more; --json names all")


class _Meter:
    """One line on a terminal that says how far it is; nothing to a pipe but what stops it."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._due = 0.0
        self._begun = time.monotonic()
        self._wide = 0
        self._waiting = ""

    def __call__(self, at: Progress) -> None:
        if at.waiting and at.waiting != self._waiting:
            self.clear()
            output.tell(f"{at.waiting} It goes on as soon as that is there again.")
        self._waiting = at.waiting
        now = time.monotonic()
        if self._tty and now >= self._due:
            from traindeck.console.present.pull_view import meter_words

            self._due = now + AGAIN
            self._draw(meter_words(at, now - self._begun))

    def _draw(self, text: str) -> None:
        import shutil

        text = output.neutral(text)[: shutil.get_terminal_size().columns - 1]
        sys.stderr.write("\r" + text.ljust(self._wide))
        sys.stderr.flush()
        self._wide = len(text)

    def clear(self) -> None:
        """Leave an empty line for whatever is said next."""
        if self._wide:
            sys.stderr.write("\r" + " " * self._wide + "\r")
            sys.stderr.flush()
            self._wide = 0
