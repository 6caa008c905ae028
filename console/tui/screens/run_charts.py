"""The Charts tab: a tree of metrics, up to four charts on one x axis, one cursor through all.

The pane holds which metrics are drawn and how one looks at them; it asks its source for points when
something is new and never waits for them before it answers a key. What it shows is made by
console.present.charts_view. numpy is imported when the tab is first opened, on a thread.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from textual.binding import BindingType

from traindeck.backends.errors import TraindeckError
from traindeck.console.metrics.names import main_metric
from traindeck.console.present.cells import Line, Span
from traindeck.console.present.metric_tree import SYSTEM, Node, nodes, tree_cells
from traindeck.console.store.records import CHECKPOINT, RunRecord
from traindeck.console.tui import keys
from traindeck.console.tui.widgets.lines import Lines

from .run_tab import update_chrome

if TYPE_CHECKING:
    from traindeck.console.metrics.axis import Axis
    from traindeck.console.present.charts_view import Shown
    from traindeck.console.present.curves import Curve, View

AGAIN = 1.0
"""Seconds between two looks at an active run's series."""

LEAST_WINDOW = 1e-6
"""Share of the whole axis that zooming stops at."""

COLOURS = 8

SYSTEM_SHOWN = (f"{SYSTEM}/cpu_pct", f"{SYSTEM}/rss_bytes")
"""What `d` draws of the process tree's samples."""


class SeriesSource(Protocol):
    """Where points come from. Coroutines that do not block the loop."""

    async def series(self, run_id: str, names: Sequence[str]) -> Mapping[str, Any]:
        """Metric -> its `store.series.Points`; those the run does not have are left out."""
        ...

    async def log_share(self, run_id: str) -> float:
        """How much of its log has been read for metrics, 0 to 1."""
        ...


class ChartsPane(Lines, can_focus=True, inherit_bindings=False):
    """The tab's whole content.

    Args:
        source: Gives the points.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(keys.CHARTS)]
    DEFAULT_CSS = "ChartsPane { height: 1fr; }"
    keys_in_order = True

    def __init__(self, source: SeriesSource, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._source = source
        self._run: RunRecord | None = None
        self._points: Mapping[str, Any] = {}
        self._share = 1.0
        self._curves: dict[str, Curve] = {}
        self._on: Axis | None = None
        self._alerts: list[tuple[float, str]] = []
        self._chosen: list[str] = []
        self._colours: dict[str, int] = {}
        self._rows: list[Node] = []
        self._row = 0
        self._folded: frozenset[str] = frozenset()
        self._view: View | None = None
        self._smoothing = 2  # noisy curves are the rule: a line over their band
        self._asked_smooth = False
        self._axis = "step"
        self._log = False
        self._cursor: float | None = None
        self._window: tuple[float, float] | None = None
        self._held = False  # the window does not go along with the newest points
        self._with_marks = True
        self._tree = False
        self._ready = False
        self._fetching: asyncio.Task[None] | None = None
        self._fetched: tuple[float, object] = (0.0, None)
        self._later: Any = None
        self._said = ""
        self._wished = 0

    # ------------------------------------------------------------------------------- from outside

    def focus(self, scroll_visible: bool = True) -> ChartsPane:
        """At once: put off, it would come after that of a tab that was asked for meanwhile."""
        self.screen.set_focus(self, scroll_visible)
        return self

    def show_run(self, run: RunRecord) -> None:
        """Show this run; call again whenever its record is new."""
        another = self._run is None or self._run.id != run.id
        self._run = run
        self._rows = nodes(run, self._folded)
        self._row = min(self._row, max(0, len(self._rows) - 1))
        if another:
            self._points, self._curves, self._chosen = {}, {}, []
            self._window = self._cursor = None
        if not self._chosen:
            self._choose_first()
        if another or self._fetched[1] != self._stamp():
            self._fetch_soon()
        self.update()

    def start(self) -> None:
        """The tab is in sight."""
        self._fetch()

    def stop(self) -> None:
        """The tab is out of sight."""
        if self._later is not None:
            self._later.stop()
            self._later = None

    def escape(self) -> bool:
        """`esc` takes away the cursor, then the zoom, before it leaves."""
        if self._tree and self.check_action("tree", ()):
            self.action_tree()
            return True
        if self._cursor is None and self._window is None:
            return False
        if self._cursor is not None:
            self._cursor = None
        else:
            self._window = None
        self.update()
        return True

    def words(self) -> Sequence[Line]:
        """How one looks at the charts, for the line of the tabs."""
        if not self._ready or not self._chosen:
            return ()
        from traindeck.console.present.charts_view import choices

        shown = self._shown()
        return (choices(shown.view, shown.drawn.values()),)

    def context(self) -> Line:
        """What part of the run is drawn, for the footer."""
        if not self._ready or self._run is None:
            return ()
        from traindeck.console.present.charts_view import seen

        return seen(self._shown())

    def state(self) -> dict[str, Any]:
        """What is worth keeping over a restart."""
        return {"smoothing": self._smoothing, "axis": self._axis, "log": self._log}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave. Nonsense is ignored."""
        if isinstance(state.get("smoothing"), int):
            self._smoothing = state["smoothing"] % 4
        if state.get("axis") in ("step", "time", "epoch"):
            self._axis = state["axis"]
        self._log = state.get("log") is True

    # -------------------------------------------------------------------------------------- actions

    def action_row(self, by: int) -> None:
        self._row = min(max(0, self._row + by), max(0, len(self._rows) - 1))
        self.update()

    def action_draw(self) -> None:
        node = self._node()
        if node is None:
            return
        if not node.key:
            self.action_fold()
        elif node.key in self._chosen:
            self._chosen.remove(node.key)
            self._rebuild()
        else:
            self._chosen.append(node.key)
            self._fetch()

    def action_only(self) -> None:
        node = self._node()
        if node is not None and node.key:
            self._chosen = [node.key]
            self._fetch()

    def action_fold(self) -> None:
        node = self._node()
        if node is None or self._run is None:
            return
        self._folded = self._folded ^ {node.group}
        self._rows = nodes(self._run, self._folded)
        heads = [n for n, row in enumerate(self._rows) if row.group == node.group and not row.key]
        self._row = heads[0] if heads else 0
        self.update()

    def action_tree(self) -> None:
        self._tree = not self._tree
        self.update()

    def update(self) -> None:
        super().update()
        self._chrome()

    def _chrome(self) -> None:
        update_chrome(self)

    def action_system(self) -> None:
        assert self._run is not None
        wanted = [key for key in SYSTEM_SHOWN if key in self._run.metrics]
        if not wanted:
            self.deck.notice("nothing was sampled of this run's processes", "muted")
            return
        shown = [key for key in self._chosen if not key.startswith(f"{SYSTEM}/")]
        if any(key in self._chosen for key in wanted):
            self._chosen = shown
        else:
            if self._x != "time" and self._clock() is None:
                self._axis = "time"  # nothing says which step it was then
                self._window = self._cursor = None
            self._chosen = shown + wanted
        self._fetch()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that would do nothing here are not offered."""
        from traindeck.console.present.charts_size import WIDE

        wide = self.size.width >= WIDE
        if action == "tree":
            return not wide
        if action in ("draw", "only", "fold", "row"):
            return bool(self._rows) and (wide or self._tree)
        if action == "system":
            return any(key in self._run.metrics for key in SYSTEM_SHOWN) if self._run else False
        return bool(self._chosen) and (not self._tree or wide)

    def action_marks(self) -> None:
        self._with_marks = not self._with_marks
        self.update()

    def action_log_scale(self) -> None:
        self._log = not self._log
        self.update()

    def action_smooth(self) -> None:
        if not self._ready:
            return
        from traindeck.console.present.curves import smooths

        shown = self._shown()
        seen = self._smoothing if smooths(shown.drawn.values(), shown.view) else 0
        self._smoothing = (seen + 1) % 4
        self._asked_smooth = True
        self._rebuild()

    def action_axis(self) -> None:
        kinds = ["step", "time"]
        if self._run is not None and "epoch" in self._run.metrics:
            kinds.append("epoch")
        self._axis = kinds[(kinds.index(self._x) + 1) % len(kinds)]
        self._window = None
        if set(self._guides()) <= set(self._points):
            self._rebuild()
        else:
            self._fetch()

    def action_whole(self) -> None:
        self._window = None
        self.update()

    def action_follow(self) -> None:
        """The newest points, in a window as wide as now, from now on; or hold what is drawn."""
        goes_on = self._run is not None and self._run.active
        self._window = self._window or self._extent()
        self._held = goes_on and not self._held
        if not self._held:
            self._go_along()
            self._cursor = None
        self.update()

    def _go_along(self) -> None:
        """Move a window that is not held to the newest points; what shows all goes on doing so."""
        if self._window is None or self._held:
            return
        start, end = self._extent()
        low, high = self._window
        self._window = (max(start, end - (high - low)), end) if low > start else None

    def action_cursor(self, by: int) -> None:
        low, high = self._window or self._extent()
        columns = max(1, self._columns())
        here = high if self._cursor is None else self._cursor
        self._cursor = min(max(low, here + by * (high - low) / columns), high)
        self.update()

    def action_zoom(self, factor: float) -> None:
        """Around the cursor, else around the middle."""
        start, end = self._extent()
        low, high = self._window or (start, end)
        wide = (high - low) * factor
        if wide >= end - start:
            self._window = None
        elif wide > (end - start) * LEAST_WINDOW:
            middle = (low + high) / 2 if self._cursor is None else self._cursor
            share = (middle - low) / (high - low) if high > low else 0.5
            left = min(max(start, middle - share * wide), end - wide)
            self._show_from(left, wide)
        self.update()

    def action_pan(self, share: float) -> None:
        start, end = self._extent()
        low, high = self._window or (start, end)
        wide = high - low
        left = min(max(start, low + share * wide), end - wide)
        self._show_from(left, wide)
        self._keep_in_sight()
        self.update()

    def _show_from(self, left: float, wide: float) -> None:
        """Show this part; one that ends before the newest points is held."""
        self._window = (left, left + wide)
        self._held = left + wide < self._extent()[1] - wide * LEAST_WINDOW

    def _keep_in_sight(self) -> None:
        """A cursor that nobody sees reads nothing out: it goes along with the window's edge."""
        if self._cursor is not None and self._curves:
            low, high = self._window or self._extent()
            self._cursor = min(max(low, self._cursor), high)

    # -------------------------------------------------------------------------------------- content

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        if self._run is None or not self._ready:
            return [(), (Span("  reading…", "muted"),)]
        from traindeck.console.present.charts_view import charts_lines

        theme = self.deck.painter.theme
        return charts_lines(
            self._run,
            self._shown(),
            cells,
            rows,
            bands=theme.band is not None and theme.depth in ("truecolor", "256"),
            glyphs=self.deck.painter.glyphs,
        )

    def _shown(self) -> Shown:
        from traindeck.console.metrics.capture import looked_for
        from traindeck.console.metrics.reduce import SMOOTHING
        from traindeck.console.present.charts_view import Shown
        from traindeck.console.present.curves import View
        from traindeck.console.present.sentences import part_read

        start, end = self._window or (None, None)
        drawn = {key: self._curves[key] for key in self._chosen if key in self._curves}
        part, note = part_read(self._share), ""
        if self._run is not None and not any(
            not key.startswith((f"{SYSTEM}/", "__")) for key in self._run.metrics
        ):
            note = looked_for(self._run)
            if part:
                note = f"No metrics in {part}. `traindeck metrics` reads the rest."
        marks: list[float] = []
        if self._with_marks and CHECKPOINT in self._points:
            marks = self._places(CHECKPOINT, range(len(self._points[CHECKPOINT].steps)))
        return Shown(
            rows=self._rows,
            cursor=self._row,
            folded=self._folded,
            drawn=drawn,
            view=View(
                start=start,
                end=end,
                log=self._log,
                smoothing=SMOOTHING[self._smoothing],
                sparse=self._sparse(drawn.values()),
                # What the curves are on: another axis takes a moment to make.
                axis=self._on.kind if self._on is not None else self._x,
                cursor=self._cursor,
                focus=next(iter(drawn), ""),
            ),
            part=part,
            checkpoints=marks,
            alerts=self._alerts if self._with_marks else [],
            seams=self._seams(),
            tree=self._tree,
            note=note,
            started=self._run.started if self._run else None,
            held=self._held
            and self._window is not None
            and self._run is not None
            and self._run.active,
        )

    def _sparse(self, drawn: Iterable[Curve]) -> int:
        """Points from which on a series is smoothed: where all that is drawn is short, a person
        who asks for it gets it."""
        from traindeck.console.present.curves import SPARSE

        short = all(curve.y.size < SPARSE for curve in drawn)
        return 2 if self._asked_smooth and short else SPARSE

    def _seams(self) -> list[float]:
        """Where another attempt took over, on the x axis: with the first point that it measured of
        what is drawn."""
        found: dict[int, float] = {}
        for key in self._chosen:
            if key in self._points:
                points = self._points[key]
                for at, attempt in points.seams:
                    if attempt and at < len(points.steps):
                        for place in self._places(key, [at]):
                            found[attempt] = min(place, found.get(attempt, place))
        return sorted(set(found.values()))

    def _places(self, key: str, indices: Iterable[int]) -> list[float]:
        """Where points of a series lie on the x axis; those without a place are left out."""
        if self._on is None:
            return []
        places = self._on.places(key, self._points[key])
        return [place for place in (float(places[i]) for i in indices) if math.isfinite(place)]

    def _clock(self) -> str | None:
        """The training metric whose times say which step it was when."""
        if self._run is None:
            return None
        have = self._run.metrics
        keys = [key for key in have if not key.startswith((f"{SYSTEM}/", "__"))]
        timed = [key for key in keys if have[key].last_time is not None]
        return max(timed, key=lambda key: have[key].count, default=None)

    def _guides(self) -> list[str]:
        """Series that the x axis needs though they are not drawn."""
        wanted: list[str] = []
        if self._x == "epoch":
            wanted.append("epoch")
        clock = self._clock()
        if clock is not None and any(key.startswith(f"{SYSTEM}/") for key in self._chosen):
            wanted.append(clock)
        return wanted

    def _began(self) -> float | None:
        """Second that the time axis starts at; None if nothing drawn has a time."""
        if self._run is not None and self._run.started is not None:
            return self._run.started
        drawn = [self._points[key] for key in self._chosen if key in self._points]
        known = [min(filter(math.isfinite, p.times), default=math.inf) for p in drawn]
        return min((t for t in known if math.isfinite(t)), default=None)

    # --------------------------------------------------------------------------------------- inside

    @property
    def _x(self) -> str:
        """The axis that was chosen, for whatever run; the step where this one knows no epochs."""
        unknown = self._run is None or "epoch" not in self._run.metrics
        return "step" if self._axis == "epoch" and unknown else self._axis

    def _node(self) -> Node | None:
        return self._rows[self._row] if self._row < len(self._rows) else None

    def _choose_first(self) -> None:
        """The main metric and its evaluation, and the gradient's norm."""
        assert self._run is not None
        have = self._run.metrics
        main = self._run.main or main_metric(have)
        wanted = [main, f"eval/{main}", "grad_norm"] if main else []
        self._chosen = [key for key in wanted if key in have]

    def _stamp(self) -> object:
        """Another one when the run has new points of what is drawn."""
        assert self._run is not None
        have = self._run.metrics
        counts = [
            (have[key].count, have[key].last_step)
            for key in (*self._chosen, CHECKPOINT)
            if key in have
        ]
        return (self._run.id, self._run.attempt, tuple(counts))

    def _fetch_soon(self) -> None:
        """Fetch what is new, but not more often than once in `AGAIN` seconds."""
        left = self._fetched[0] + AGAIN - time.monotonic()
        if left <= 0 or not self._ready:
            self._fetch()
        elif self._later is None and self.display:
            self._later = self.set_timer(left, self._fetch_later)

    def _fetch_later(self) -> None:
        self._later = None
        self._fetch()

    def _fetch(self) -> None:
        if self._fetching is None and self.is_mounted:
            self._fetching = self.deck.start(self._load(), "")

    async def _load(self) -> None:
        try:
            run = self._run
            if run is None:
                return
            self._fetched = (time.monotonic(), self._stamp())
            await asyncio.to_thread(_import)
            names = [*dict.fromkeys([*self._chosen, CHECKPOINT, *self._guides()])]
            try:
                self._points = await self._source.series(run.id, names)
                # Of one that goes on more is read at every look.
                self._share = 1.0 if run.active else await self._source.log_share(run.id)
            except TraindeckError as error:
                if error.what != self._said:  # once, not at every look
                    self._said = error.what
                    self.deck.complain(error)
            else:
                self._said = ""
            await self._make_curves()
        finally:
            self._fetching = None
        if {*self._chosen, *self._guides()} - set(names):
            self._fetch()  # something was chosen meanwhile

    def _rebuild(self) -> None:
        """Make the curves anew from the points that are here."""
        if self.is_mounted and self._ready:
            self.deck.start(self._make_curves(), "")

    async def _make_curves(self) -> None:
        from traindeck.console.metrics.axis import Axis, carried
        from traindeck.console.metrics.reduce import SMOOTHING
        from traindeck.console.present.curves import View, alerts, curves, softened

        run = self._run
        if run is None:
            return
        wanted = {key: self._points[key] for key in self._chosen if key in self._points}
        weight = SMOOTHING[self._smoothing]
        axis, began, points = self._x, self._began(), self._points
        self._wished += 1
        wish = self._wished

        def work() -> tuple[Axis, dict[str, Curve], list[tuple[float, str]]]:
            on = Axis.over(axis, points, began)
            made = curves(wanted, on=on)
            view = View(smoothing=weight, sparse=self._sparse(made))
            drawn = {c.key: softened(replace(c, colour=self._colour(c.key)), view) for c in made}
            return on, drawn, alerts(made)

        made = await asyncio.to_thread(work)
        if wish != self._wished:
            return  # something else was chosen meanwhile
        before, at = self._on, self._cursor
        self._on, self._curves, self._alerts = made
        if before is not None and before.kind != self._on.kind:
            self._window = None  # also one that a key has set meanwhile: it was on the old axis
            self._cursor = None if at is None else carried(at, wanted, before, self._on)
        self._ready = True
        self._go_along()
        self._keep_in_sight()
        self.update()

    def _colour(self, key: str) -> int:
        """A series keeps its colour as long as it is drawn; a new one takes the first free."""
        for gone in [k for k in self._colours if k not in self._chosen]:
            del self._colours[gone]
        if key not in self._colours:
            taken = set(self._colours.values())
            free = [n for n in range(COLOURS) if n not in taken]
            self._colours[key] = free[0] if free else len(self._colours) % COLOURS
        return self._colours[key]

    def _extent(self) -> tuple[float, float]:
        if not self._ready:
            return 0.0, 1.0
        from traindeck.console.present.curves import extent

        return extent([self._curves[key] for key in self._chosen if key in self._curves])

    def _columns(self) -> int:
        from traindeck.console.present.charts_size import WIDE

        cells = self.size.width
        return cells - (tree_cells(self._rows, cells) + 2 if cells >= WIDE else 0) - 11


def _import() -> None:
    """Import numpy and what needs it away from the loop: it takes 100 ms once."""
    import traindeck.console.present.charts_view  # noqa: F401
