"""The application over a fake world, as a program of its own: what the terminal tests start.

python deck_program.py [--rows N] [--delay SECONDS] [--hz CHANGES] [--state FOLDER] [--empty]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traindeck.console.store.records import RunRecord


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=0, help="a crowd instead of the small world")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds every service takes")
    parser.add_argument("--hz", type=float, default=0.0, help="how often 50 rows change")
    parser.add_argument("--state", default="", help="folder for settings and what is remembered")
    parser.add_argument("--empty", action="store_true", help="no runs")
    parser.add_argument("--all", action="store_true", help="list all runs, not a day's")
    parser.add_argument("--nasty", action="store_true", help="names that try to do something")
    parser.add_argument("--crash", action="store_true", help="a bug in a screen, on f")
    parser.add_argument("--modules", default="", help="file for the modules of the first frame")
    parser.add_argument("--patience", type=float, help="seconds the first frame waits for rows")
    args = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.fakes
    from tests.fakes.runs import NOW, FakeServices, crowd, small_services, small_world

    from traindeck.backends.base import TraindeckError
    from traindeck.console.cli.main import end
    from traindeck.console.settings import load
    from traindeck.console.store.places import find_places
    from traindeck.console.tui import app
    from traindeck.console.tui.app import TraindeckApp
    from traindeck.console.tui.screens.runs import RunsScreen

    if args.state:
        for name in ("CONFIG", "STATE"):
            os.environ[f"TRAINDECK_{name}_DIR"] = str(Path(args.state) / name.lower())
    places = find_places() if args.state else None
    if args.empty:
        services = FakeServices([])
    elif args.rows:
        services = FakeServices(crowd(args.rows))
    elif args.nasty:
        services = FakeServices([nasty(run, n) for n, run in enumerate(small_world())])
    else:
        services = small_services()
    services.delay = args.delay
    app.FIRST_FRAME = args.patience or app.FIRST_FRAME
    if args.crash:
        RunsScreen.action_freeze = crash  # type: ignore[method-assign]

    class Deck(TraindeckApp):
        """With runs that report."""

        def on_ready(self) -> None:
            if args.modules:
                note_modules(Path(args.modules))
            if args.hz:
                self.start(report(services, args.hz), "")

    try:
        settings = load(places.settings if places else Path("/nonexistent/settings.yaml"))
        if args.all:
            settings = replace(settings, window=None)
        deck = Deck(services, settings, places=places, clock=lambda: NOW)
        deck.run()
    except TraindeckError as error:
        sys.exit(f"traindeck: {error}")
    end(deck.return_code or 0)


def crash(screen: object) -> None:
    """A bug."""
    secret = "hunter2"
    raise KeyError(f"no row {len(secret)}")


def note_modules(path: Path) -> None:
    """What has been imported when the first frame is on screen."""
    if not path.exists() or path.stat().st_mtime < os.path.getmtime(f"/proc/{os.getpid()}"):
        path.write_text("\n".join(sorted(sys.modules)))


def nasty(run: RunRecord, number: int) -> RunRecord:
    """A run whose every text would do something to a careless terminal."""
    evil = f"{number}\x1b]52;c;aGk=\x07\x1b]0;title\x07\x1b[2J\x9b31m\n[bold]x"
    return replace(
        run, name=evil, reason=evil, tags={evil: evil}, note=evil, backend=evil, argv=(evil,),
        cwd=evil, project=evil, host=evil,
    )  # fmt: skip


async def report(services: object, hz: float) -> None:
    """Fifty runs report a value each, so many times a second."""
    from tests.fakes.runs import FakeServices

    assert isinstance(services, FakeServices)
    dice = random.Random(1)
    while True:
        await asyncio.sleep(1 / hz)
        for key in range(50):
            run = services.runs[key]
            if run is not None and "loss" in run.metrics:
                loss = replace(run.metrics["loss"], last=dice.random() * 3)
                services.report(key, replace(run, metrics={**run.metrics, "loss": loss}))


if __name__ == "__main__":
    main()
