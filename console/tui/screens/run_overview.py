"""The Overview tab of a run: what the record says at once, the curve, what it is and the end of its
log as they come. An active run is looked at again every two seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from textual.timer import Timer

from traindeck.backends.errors import TraindeckError
from traindeck.console.present.cells import Line
from traindeck.console.present.run_overview import Facts, curve_size, overview
from traindeck.console.store.records import RunRecord
from traindeck.console.tui.services import Services

from .base import tries_of
from .run_tab import RunTab

TAIL = 65_536
AGAIN = 2.0
BAD = frozenset({"failed", "lost", "timeout", "preempted"})


class OverviewPane(RunTab):
    """Figures, facts, the main curve, the end of the log."""

    def __init__(self, services: Services, *, id: str | None = None) -> None:
        super().__init__(services, id=id)
        self._facts = Facts(log=None)
        self._timer: Timer | None = None

    def start(self) -> None:
        super().start()
        if self._timer is None:
            self._timer = self.set_interval(AGAIN, self._again)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def show_run(self, run: RunRecord) -> None:
        before = self.shown
        super().show_run(run)
        # What it measured to its end may come after that.
        new = before is not None and (before.active or before.metrics != run.metrics)
        if new and not run.active:
            self.load()

    def _again(self) -> None:
        if self.shown is not None and self.shown.active:
            self.load()
        else:
            self.update()  # ages grow

    async def read(self, run: RunRecord) -> None:
        from traindeck.console.runs.reading import evidence_in

        services = self.services
        again = tries_of(await services.places()).get(run.backend)
        self._facts = facts = replace(self._facts, again=again)
        if facts.spec is None:
            facts = replace(facts, spec=await services.spec(run.id))
        if not facts.folder:
            facts = replace(facts, folder=await services.folder(run.id))
        if run.attempt and len(facts.attempts) != run.attempt + 1:
            with suppress(TraindeckError):  # its place does not answer; the rest may be known
                facts = replace(facts, attempts=await services.attempts(run.id))
        share = await services.log_share(run.id)
        log = await services.log_tail(run.id, TAIL)
        no_log = "" if log else await services.why_no_log(run.id)
        bad = run.state in BAD
        evidence, grave = await asyncio.to_thread(evidence_in, log, run) if bad else ("", False)
        facts = replace(facts, log=log, no_log=no_log, share=share)
        self._facts = replace(facts, evidence=evidence, grave=grave)
        self.update()
        await self._draw(run)

    async def _draw(self, run: RunRecord) -> None:
        size = curve_size(self.size.width, self.size.height)
        if size is None or not run.metrics:
            return
        from traindeck.console.present.runs_curve import draw, legend
        from traindeck.console.tui.screens.runs_pane import chart_keys

        try:
            curves = await self.services.curves(run.id, chart_keys(run))
        except TraindeckError:
            return  # the figures say what is known
        if not curves:
            return
        glyphs = self.deck.painter.glyphs
        lines = await asyncio.to_thread(draw, curves, *size, glyphs)
        self._facts = replace(self._facts, curve=lines, legend=legend(curves, run, glyphs))

    def on_resize(self) -> None:
        super().on_resize()
        self._facts = replace(self._facts, curve=())
        self.load()

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        if self.shown is None:
            return []
        now, glyphs = self.deck.clock(), self.deck.painter.glyphs
        return overview(self.shown, self._facts, cells, rows, now=now, glyphs=glyphs)
