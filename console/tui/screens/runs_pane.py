"""The pane below the list: curve, figures and log of the run under the cursor.

What the list knows of a run is shown at once; curve and log follow when they have come. They are
asked for only when the cursor has rested for a moment, and again while the run goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from textual.timer import Timer

from traindeck.console.present.cells import Line
from traindeck.console.present.runs_detail import Pane, curve_size, detail
from traindeck.console.present.sentences import BLANK
from traindeck.console.store.records import RunRecord
from traindeck.console.tui.services import Curve
from traindeck.console.tui.widgets.lines import Lines

SHOWN_AFTER = 0.03
"""Seconds until the pane follows the cursor: the row is painted first, alone."""

REST = 0.08
"""Seconds the cursor must rest before curve and log are fetched."""

SETTLING = 0.5
"""Seconds after the start in which nothing is fetched."""

AGAIN = 2.0
"""Seconds between looks at an active run."""

TAIL = 16_384


class RunPane(Lines):
    """Shows one run, or nothing."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._key: int | None = None
        self._run: RunRecord | None = None
        self._full: RunRecord | None = None
        self._pane = Pane()
        self._curves: Sequence[Curve] = ()
        self._fetching: asyncio.Task[None] | None = None
        self._fetched = 0.0
        self._settled = 0.0
        self._resting: Timer | None = None
        self._drawing: Timer | None = None

    def on_mount(self) -> None:
        self._settled = time.monotonic() + SETTLING

    def select(self, key: int | None, run: RunRecord | None) -> None:
        """Show this run from now on."""
        moved = key != self._key
        self._key, self._run = key, run
        if moved:
            self._full, self._pane, self._curves = None, Pane(note=" "), ()
            self._restart(REST)
        elif run is not None and run != self._full:
            self._fetch()
        if self._drawing is None:
            self._drawing = self.set_timer(SHOWN_AFTER, self._show_it)

    def _show_it(self) -> None:
        self._drawing = None
        self.update()

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        run = self._shown()
        if run is None:
            return ()
        glyphs = self.deck.painter.glyphs
        return detail(run, self.deck.clock(), cells, _used(rows), self._pane, glyphs)

    @property
    def complete(self) -> bool:
        """Whether everything there is to show of the run has come."""
        busy = self._fetching is not None and not self._fetching.done()
        return self._drawing is None and not busy and self._full is not None

    def _shown(self) -> RunRecord | None:
        """The run with all its metrics, as soon as they are known."""
        if self._run is None or self._full is None or self._full.id != self._run.id:
            return self._run
        return self._full

    def look_again(self) -> None:
        """Time has passed: ages grow, and an active run has more to show."""
        run = self._run
        if run is not None and run.active and time.monotonic() - self._fetched > AGAIN:
            self._fetch()
        self.update()

    def on_resize(self) -> None:
        super().on_resize()
        self._fetch()

    def _restart(self, after: float) -> None:
        """Fetch when the cursor has rested."""
        if self._resting is not None:
            self._resting.stop()
        if self._fetching is not None:
            self._fetching.cancel()
        # The chart's library takes 100 ms to import: not while the first frames are painted.
        self._resting = self.set_timer(max(after, self._settled - time.monotonic()), self._fetch)

    def _fetch(self) -> None:
        if self._key is None or not self.display:
            return
        if self._fetching is not None and not self._fetching.done():
            return  # what is under way will do
        self._fetched = time.monotonic()
        self._fetching = self.deck.start(self._load(self._key), "")

    async def _load(self, key: int) -> None:
        services = self.deck.services
        run = await services.detail(key)
        if run is None or key != self._key:
            return
        self._full = run
        tail = await services.log_tail(run.id, TAIL)
        no_log = "" if tail else await services.why_no_log(run.id)
        if key != self._key:
            return
        lines = log_lines(tail) or [BLANK] * bool(tail)
        self._pane = replace(self._pane, log=lines, no_log=no_log, note="")
        self.update()
        size = curve_size(self.size.width, _used(self.size.height))
        if size is None or not run.metrics:
            return
        curves = await services.curves(run.id, chart_keys(run))
        if key == self._key and curves:
            await self._draw(run, curves, size)

    async def _draw(self, run: RunRecord, curves: Sequence[Curve], size: tuple[int, int]) -> None:
        from traindeck.console.present.runs_curve import draw, legend

        glyphs = self.deck.painter.glyphs
        lines = await asyncio.to_thread(draw, curves, *size, glyphs)
        if self._run is not None and run.id == self._run.id:
            self._pane = replace(self._pane, curve=lines, legend=legend(curves, run, glyphs))
            self.update()


def _used(rows: int) -> int:
    """Rows that say something: in a roomy pane the last one is blank."""
    return rows - 1 if rows >= 12 else rows


def chart_keys(run: RunRecord) -> list[str]:
    """The metrics that the small chart draws: the main one and its evaluation."""
    from traindeck.console.present.runs_table import find_metric
    from traindeck.console.store.records import EVALS

    keys = [run.main] if run.main else []
    other = find_metric(run, EVALS)
    if other is not None and other.key not in keys:
        keys.append(other.key)
    return keys


def log_lines(data: bytes) -> list[str]:
    """The last lines of a log as text: progress bars in their last state, blank lines left out."""
    lines = []
    for raw in data.split(b"\n")[-200:]:
        text = raw.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode("utf-8", "replace").strip()
        if text:
            lines.append(plain_text(text))
    return lines


def plain_text(text: str) -> str:
    """A line of a log without the colours it asks for."""
    import re

    return re.sub(r"\x1b\[[0-9;:]*m", "", text)
