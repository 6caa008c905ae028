"""Getting at a run where it is: a shell in the terminal, a port at this machine, its files here."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events

from traindeck.backends.errors import TraindeckError
from traindeck.console.present.caret import Caret
from traindeck.console.present.cells import Line, Span, clean, fit
from traindeck.console.present.dialogs import wrapped
from traindeck.console.present.numbers import size as bytes_text
from traindeck.console.store.records import RunRecord
from traindeck.console.tui.typed import put, typed

from .one_line import OneLineScreen
from .overlay import Overlay

if TYPE_CHECKING:
    from traindeck.backends.base import FileEntry, Listener
    from traindeck.console.runs.pulling import Progress, Pulled
    from traindeck.console.tui.app import TraindeckApp
    from traindeck.console.tui.services import Forwarded

AGAIN = 0.5
"""Seconds between two words on how far a pull is, and two looks at the ports that are open."""


Begun = Callable[[asyncio.Task[None]], object]
"""Takes what goes on in the background, once it does."""


# ------------------------------------------------------------------------------------------ shell


def open_shell(deck: TraindeckApp, run: RunRecord) -> None:
    """Hand the terminal to a shell in the run's directory, until that ends."""
    deck.start(_shell(deck, run), f"opening a shell at {clean(run.backend)}")


async def _shell(deck: TraindeckApp, run: RunRecord) -> None:
    from traindeck.console.runs.shell import Relay, terminal_size

    sink = 1 if os.isatty(1) else 2
    # Before anything is given away: what is wrong is said on the screen.
    terminal = await deck.services.open_shell(run.id, terminal_size(sink))
    try:
        relay = Relay(terminal, run.backend, raw=True, sink=sink)
        code = await deck.lend_terminal(relay.run)
    finally:
        await terminal.aclose()
    deck.notice(f"the shell ended{f' with {code}' if code else ''}", "muted")


# ---------------------------------------------------------------------------------------- forward


def ask_forward(deck: TraindeckApp, run: RunRecord) -> None:
    """Ask for a port of where the run is, and show those that are open."""
    deck.push_screen(ForwardScreen(run))


class ForwardScreen(Overlay[None]):
    """The ports that may be wanted of a run, with a field for another, and those that are open. The
    digits go into the field whatever the cursor is on."""

    wanted_cells = 64

    def __init__(self, run: RunRecord) -> None:
        super().__init__()
        self._run = run
        self._found: Sequence[Listener] = ()
        self._open: Sequence[Forwarded] = ()
        self._looked = False
        self._caret = Caret("", 0)
        self._at = 0
        self._problem = ""
        self._busy = False

    def on_mount(self) -> None:
        self.deck.hush()
        self._tasks = [self.deck.start(self._look(), ""), self.deck.start(self._follow(), "")]

    def on_unmount(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _look(self) -> None:
        try:
            self._found = await self.deck.services.ports(self._run.id)
        except TraindeckError as error:
            self._problem = str(error)
        self._looked = True
        self.changed()

    async def _follow(self) -> None:
        while True:
            found = await self.deck.services.forwards()
            if found != self._open:
                self._open = found
                self.changed()
            await asyncio.sleep(AGAIN)

    # ----------------------------------------------------------------------------------- content

    def lines(self, cells: int) -> list[Line]:
        rows: list[Line] = [
            (Span(fit(f"Forward a port of {clean(self._run.name)}", cells), "accent bold"),),
            (),
        ]
        for number, listener in enumerate(self._found):
            rows.append(self._row(number, str(listener.port), _what(listener), cells))
        if not self._found:
            words = "it listens on no port that is known" if self._looked else "looking"
            rows.append((Span(f"  {words}", "faint"),))
        rows += [(), self._field(), ()]
        if self._problem:
            sign = self.deck.painter.glyphs.failed
            rows += [*wrapped(f"{sign} {clean(self._problem)}", cells, "failed"), ()]
        if self._open:
            rows.append((Span("open until traindeck ends", "muted"),))
        for number, made in enumerate(self._open, start=len(self._found)):
            what = f"{clean(made.name)} {made.port}"
            rows.append(self._row(number, made.url, what, cells))
            if made.problem:
                sign = self.deck.painter.glyphs.warning
                rows.append((Span(fit(f"    {sign} {clean(made.problem)}", cells), "warn"),))
        return rows[: self.inner_rows]

    def _row(self, number: int, first: str, then: str, cells: int) -> Line:
        here = number == self._at and not self._caret.text
        ground = " @select" if here else ""
        sign = self.deck.painter.glyphs.cursor if here else " "
        rest = max(0, cells - 3 - len(first))
        return (
            Span(f"{sign} ", f"accent{ground}"),
            Span(first, f"{'strong' if here else 'text'}{ground}"),
            Span(fit(f" {then}", rest), f"muted{ground}"),
        )

    def _field(self) -> Line:
        text, at = self._caret.text, self._caret.at
        return (
            Span("  another port  ", "muted"),
            Span(text[:at], "strong"),
            Span(text[at : at + 1] or " ", "on_accent @accent"),
            Span(text[at + 1 :], "strong"),
        )

    def footer_keys(self) -> list[tuple[str, str]]:
        shown = [("enter", "forward"), ("esc", "close")]
        chosen = self._chosen_open()
        if chosen is not None and not self._caret.text:
            shown = [("x", "end it"), ("y", "copy link"), ("esc", "close")]
        return shown

    # -------------------------------------------------------------------------------------- keys

    def _chosen_open(self) -> Forwarded | None:
        at = self._at - len(self._found)
        return self._open[at] if 0 <= at < len(self._open) else None

    def take_key(self, event: events.Key) -> None:
        count = len(self._found) + len(self._open)
        chosen = self._chosen_open() if not self._caret.text else None
        if event.key in ("escape", "ctrl+c"):
            self.dismiss(None)
        elif event.key in ("down", "j", "tab", "up", "k", "shift+tab"):
            step = 1 if event.key in ("down", "j", "tab") else -1
            self._at = (self._at + step) % max(1, count)
            self._caret = Caret("", 0)
            self.changed()
        elif event.key == "enter":
            self._take()
        elif event.key == "x" and chosen is not None:
            self.deck.start(self._end(chosen), "")
        elif event.key == "y" and chosen is not None:
            self.deck.copy(chosen.url, "link")
        elif not (event.character or "").isprintable() or (event.character or "0").isdecimal():
            self._type(typed(self._caret, event.key, event.character))

    def take_paste(self, text: str) -> None:
        """Text that was pasted. Called in the order of typing."""
        self._type(put(self._caret, "".join(c for c in text if c.isdecimal())[:5]))

    def _type(self, after: Caret | None) -> None:
        if after is not None and len(after.text) <= 5:
            self._caret, self._problem = after, ""
            self.changed()

    def _take(self) -> None:
        from traindeck.console.runs.forwarding import parse_port

        if self._busy:
            return
        if self._caret.text:
            try:
                port, _ = parse_port(self._caret.text)
            except TraindeckError as error:
                self._problem = error.what
                self.changed()
                return
        elif self._at < len(self._found):
            port = self._found[self._at].port
        else:
            return
        self._busy = True
        self.deck.start(self._forward(port), f"forwarding port {port}")

    async def _forward(self, port: int) -> None:
        try:
            made = await self.deck.services.forward(self._run.id, port)
        except TraindeckError as error:
            self._problem, self._busy = str(error), False
            self.changed()
            return
        self._busy = False
        self._caret = Caret("", 0)
        words = f"port {made.port} of {clean(self._run.backend)}"
        self.deck.notice(
            (
                Span(made.url, "accent"),
                Span(f" is {words}", "text"),
                Span(f" · {clean(made.problem)}" if made.problem else "", "warn"),
            ),
            seconds=12,
        )
        self._open = await self.deck.services.forwards()
        locals_open = [one.local for one in self._open]
        self._at = len(self._found) + locals_open.index(made.local)
        self.changed()

    async def _end(self, made: Forwarded) -> None:
        await self.deck.services.end_forward(made.local)
        self._open = await self.deck.services.forwards()
        self._at = min(self._at, max(0, len(self._found) + len(self._open) - 1))
        self.deck.notice(f"port {made.local} is closed", "muted")
        self.changed()


def _what(listener: Listener) -> str:
    from traindeck.console.runs.forwarding import LIKELY

    return LIKELY.get(listener.port) or clean(listener.program)


# ------------------------------------------------------------------------------------------- pull


def ask_pull(deck: TraindeckApp, run: RunRecord, entry: FileEntry, begun: Begun) -> None:
    """Ask where a file or folder of the run is to go, and bring it. `begun` is given what does so,
    which may be cancelled."""
    from traindeck.console.runs.pulling import folder_for

    deck.push_screen(PullScreen(run, entry, folder_for(run, Path.cwd()), begun))


class PullScreen(OneLineScreen):
    """Asks for the folder."""

    wanted_cells = 72
    title_words = "Bring it here"
    label = "to"
    words = "It gets the path below this folder that it has in the run's directory."
    does = "bring it"

    def __init__(self, run: RunRecord, entry: FileEntry, folder: Path, begun: Begun) -> None:
        super().__init__(clean(str(folder)))
        self._run = run
        self._entry = entry
        self._begun = begun

    def about(self, cells: int) -> Sequence[Line]:
        what = clean(self._entry.path) + ("/" if self._entry.is_dir else "")
        size = "" if self._entry.is_dir else f"  {bytes_text(self._entry.size)}"
        return [(Span(fit(f"{what}{size}", cells), "text"),)]

    def take(self, text: str) -> None:
        if not text:
            self.refuse("Name a folder.")
            return
        self.dismiss(None)
        work = _pull(self.deck, self._run, self._entry, Path(text).expanduser())
        self._begun(self.deck.start(work, f"bringing {clean(self._entry.path)}, esc stops it"))


async def _pull(deck: TraindeckApp, run: RunRecord, entry: FileEntry, folder: Path) -> None:
    from traindeck.console.present.pull_view import meter_words, sum_words

    begun = said = time.monotonic()

    def tell(at: Progress) -> None:
        nonlocal said
        now = time.monotonic()
        if at.waiting or now - said >= AGAIN:
            said = now
            words = at.waiting or meter_words(at, now - begun)
            deck.notice(clean(words), "warn" if at.waiting else "text", seconds=3)

    try:
        pulled = await deck.services.pull(run.id, [entry.path], folder, tell)
    except asyncio.CancelledError:
        deck.notice(f"{clean(entry.path)} was not brought to its end; p goes on where it was")
        raise
    _said(deck, pulled, sum_words(pulled, time.monotonic() - begun), folder)


def _said(deck: TraindeckApp, pulled: Sequence[Pulled], words: str, folder: Path) -> None:
    failed = [one for one in pulled if one.state in ("failed", "skipped")]
    line = [Span(words, "text"), Span(f" in {clean(str(folder))}", "muted")]
    if failed:
        sign = deck.painter.glyphs.warning
        more = f" and {len(failed) - 1:,} more" if failed[1:] else ""
        why = f"{clean(failed[0].path)}: {clean(failed[0].error)}{more}"
        line = [Span(f"{sign} ", "warn"), Span(why, "text"), Span(" · ", "muted"), *line]
    deck.notice(tuple(line), seconds=12)
