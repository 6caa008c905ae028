"""How long one frame of a chart takes, beside the chart libraries for Textual (if installed)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from traindeck.console.present.chart import Curve, View, chart, softened

CELLS, ROWS = 160, 50
SERIES, POINTS, REDUCED = 20, 100_000, 600


def median_ms(work: Callable[[], object], times: int) -> float:
    """The median of some runs, in milliseconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1e3)
    return statistics.median(taken)


def textual_plot(series: list[tuple[np.ndarray, np.ndarray]]) -> Callable[[], object] | None:
    """One frame of textual-plot's widget, drawn in a headless application."""
    try:
        import asyncio

        from textual.app import App, ComposeResult
        from textual_plot import HiResMode, PlotWidget
    except ImportError:
        return None

    class Plot(App[None]):
        def compose(self) -> ComposeResult:
            yield PlotWidget()

        def on_mount(self) -> None:
            plot = self.query_one(PlotWidget)
            for x, y in series:
                plot.plot(x=x, y=y, hires_mode=HiResMode.BRAILLE)

    async def frame() -> None:
        async with Plot().run_test(size=(CELLS, ROWS)) as pilot:
            await pilot.pause()

    return lambda: asyncio.run(frame())


def plotext(series: list[tuple[np.ndarray, np.ndarray]]) -> Callable[[], object] | None:
    """One frame of plotext, which textual-plotext draws with."""
    try:
        import plotext as plt
    except ImportError:
        return None

    def frame() -> str:
        plt.clear_figure()
        plt.plot_size(CELLS, ROWS)
        for x, y in series:
            plt.plot(x.tolist(), y.tolist(), marker="braille")
        return str(plt.build())

    return frame


def main() -> None:
    chance = np.random.default_rng(0)
    raw = [
        (np.arange(float(POINTS)), np.cumsum(chance.normal(size=POINTS)) + 3 * n)
        for n in range(SERIES)
    ]
    drawn = [Curve(f"k{n}", x, y, n % 8) for n, (x, y) in enumerate(raw)]
    soft = [softened(curve, 0.9) for curve in drawn]
    thin = [(x[:: POINTS // REDUCED], y[:: POINTS // REDUCED]) for x, y in raw]
    ours = median_ms(lambda: chart(drawn, View(), CELLS, ROWS), 9)
    band = median_ms(lambda: chart(soft, View(smoothing=0.9), CELLS, ROWS), 9)
    floor = median_ms(lambda: [(float(y.min()), float(y.max())) for _, y in raw], 9)
    few = [Curve(f"k{n}", x, y, n % 8) for n, (x, y) in enumerate(thin)]
    small = median_ms(lambda: chart(few, View(), CELLS, ROWS), 9)
    print("name | ours | peer or floor (what it is) | ratio")
    name = f"{SERIES} curves x {POINTS:,} raw points, one frame"
    print(f"{name} | {ours:.1f} ms | {floor:.1f} ms (min and max of them) | {ours / floor:.1f}")
    print(f"the same, band and smoothed | {band:.1f} ms | {ours:.1f} ms (raw) | {band / ours:.1f}")
    for label, make in (("textual-plot", textual_plot), ("plotext", plotext)):
        frame = make(thin)
        if frame is None:
            print(
                f"{SERIES} curves x {REDUCED} points | {small:.1f} ms | – ({label} is not here) | –"
            )
            continue
        frame()
        peer = median_ms(frame, 3)
        print(
            f"{SERIES} curves x {REDUCED} points | {small:.1f} ms | {peer:.0f} ms ({label}) | "
            f"{small / peer:.3f}"
        )


if __name__ == "__main__":
    main()
