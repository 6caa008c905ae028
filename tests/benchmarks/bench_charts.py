"""How fast a chart is drawn and metrics are read, beside the widgets and readers there are.

The frame: 20 curves at 160 × 50 cells. The peers are given the same points, once raw (as far as
they can bear it in a minute) and once reduced to 600 points a curve beforehand, which is what their
users have to do. Peers that are not installed are left out, and it is said.
"""

from __future__ import annotations

import asyncio
import io
import json
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from traindeck.console.metrics import jsonl, stdout, tfevents
from traindeck.console.metrics.reading import Carry, Reading
from traindeck.console.metrics.reduce import smooth
from traindeck.console.present.chart import chart
from traindeck.console.present.curves import Curve, View, softened

CURVES, POINTS, FEWER, REDUCED = 20, 100_000, 10_000, 600
CELLS, ROWS = 160, 50


def row(name: str, ours: float, peer: float, what: str) -> None:
    print(
        f"{name:52} | {ours * 1e3:9.1f} ms | {peer * 1e3:9.1f} ms ({what}) | {ours / peer:8.4f}",
        flush=True,
    )


def best(work: Callable[[], object], times: int = 7) -> float:
    """The shortest of several runs, in seconds."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def series(points: int) -> tuple[np.ndarray[Any, Any], list[np.ndarray[Any, Any]]]:
    rng = np.random.default_rng(0)
    x = np.arange(points, dtype=np.float64)
    return x, [
        2 * np.exp(-x / (points / 3)) + 0.1 * n + rng.normal(size=points) * 0.05
        for n in range(CURVES)
    ]


def plotext_frame(x: np.ndarray[Any, Any], ys: list[np.ndarray[Any, Any]]) -> Callable[[], object]:
    """What textual-plotext's widget does to paint: the plot of plotext, built."""
    from textual_plotext import PlotextPlot

    widget = PlotextPlot()
    xs = x.tolist()
    lists = [y.tolist() for y in ys]

    def work() -> object:
        plot = widget.plt
        plot.clear_figure()
        plot.plotsize(CELLS, ROWS)
        for values in lists:
            plot.plot(xs, values, marker="braille")
        return plot.build()

    return work


async def textual_plot_frame(x: np.ndarray[Any, Any], ys: list[np.ndarray[Any, Any]]) -> float:
    """textual-plot's widget in an application without a terminal."""
    from textual.app import App, ComposeResult
    from textual_plot import HiResMode, PlotWidget

    class Shown(App[None]):
        def compose(self) -> ComposeResult:
            yield PlotWidget()

    app = Shown()
    async with app.run_test(size=(CELLS, ROWS)) as pilot:
        widget = app.query_one(PlotWidget)
        for y in ys:
            widget.plot(x, y, hires_mode=HiResMode.BRAILLE)
        await pilot.pause()
        return best(widget._render_plot, 2)


def frames() -> None:
    x, ys = series(POINTS)
    drawn = [Curve(f"run{n}/loss", x, y, n % 8) for n, y in enumerate(ys)]
    soft = [softened(curve, View(smoothing=0.9)) for curve in drawn]
    raw = best(lambda: chart(drawn, View(), CELLS, ROWS))
    smoothed = best(lambda: chart(soft, View(smoothing=0.9, cursor=5e4), CELLS, ROWS))
    zoomed = best(lambda: chart(drawn, View(start=4e4, end=4.2e4), CELLS, ROWS))
    log = best(lambda: chart(drawn, View(log=True), CELLS, ROWS))
    whole = f"one frame, {CURVES} curves × {POINTS:,} raw points"
    few_x, few_ys = series(FEWER)
    few = [Curve(f"run{n}/loss", few_x, y, n % 8) for n, y in enumerate(few_ys)]
    less = best(lambda: chart(few, View(), CELLS, ROWS))
    at = np.linspace(0, POINTS - 1, REDUCED).astype(np.int64)
    thin_x, thin_ys = x[at], [y[at] for y in ys]
    try:
        peer = asyncio.run(textual_plot_frame(thin_x, thin_ys))
        given = f"textual-plot, given only {REDUCED} points a curve"
        row(whole, raw, peer, given)
        row("the same, smoothed over bands, with a cursor", smoothed, peer, given)
        row("the same, a window of 2 %", zoomed, peer, given)
        row("the same, log y", log, peer, given)
        peer = asyncio.run(textual_plot_frame(few_x, few_ys))
        row(f"one frame, {CURVES} × {FEWER:,} raw points", less, peer, "textual-plot, the same")
    except ImportError:
        print("textual-plot is not installed: left out")
    try:
        row(whole, raw, best(plotext_frame(thin_x, thin_ys), 2),
            f"textual-plotext, given only {REDUCED} points a curve")  # fmt: skip
        row(f"one frame, {CURVES} × {FEWER:,} raw points", less,
            best(plotext_frame(few_x, few_ys), 1), "textual-plotext, the same")  # fmt: skip
    except ImportError:
        print("textual-plotext is not installed: left out")


def smoothing() -> None:
    y = series(POINTS)[1][0]

    def plain() -> list[float]:
        state, out = 0.0, []
        for count, value in enumerate(y.tolist(), 1):
            state = 0.9 * state + 0.1 * value
            out.append(state / (1 - 0.9**count))
        return out

    row(f"smoothing {POINTS:,} points", best(lambda: smooth(y, 0.9)), best(plain, 2), "a loop")


def whole(read: Callable[[bytes, Carry], Reading], data: bytes) -> int:
    """Read a file in the pieces that capture takes. Returns the points."""
    carry: Carry = {}
    at = points = 0
    while at < len(data):
        reading = read(data[at : at + (1 << 19)], carry)
        if not reading.consumed:
            break
        at += reading.consumed
        carry = reading.carry
        points += sum(len(columns.steps) for columns in reading.series.values())
    return points


def readers(folder: Path) -> None:
    steps, tags = 10_000, [f"train/metric{n}" for n in range(10)]
    events = folder / "events.out.tfevents.1.bench"
    crc = _checksum()
    with events.open("wb") as file:
        for step in range(1, steps + 1):
            for tag in tags:
                value = b"\x0a" + bytes([len(tag)]) + tag.encode() + b"\x15"
                value += struct.pack("<f", step / 7)
                body = b"\x0a" + bytes([len(value)]) + value
                payload = b"\x09" + struct.pack("<d", 1e9 + step) + b"\x10" + _varint(step)
                payload += b"\x2a" + bytes([len(body)]) + body
                head = struct.pack("<Q", len(payload))
                file.write(head + crc(head) + payload + crc(payload))
    data = events.read_bytes()
    ours = best(lambda: whole(tfevents.read_events, data), 3)
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        def theirs() -> None:
            EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()

        row(f"TensorBoard events, {steps * len(tags):,} scalars", ours, best(theirs, 1),
            "EventAccumulator")  # fmt: skip
    except ImportError:
        print("tensorboard is not installed: left out")
    rows = "".join(
        json.dumps({"step": n, "time": 1e9 + n, **dict.fromkeys(tags, n / 7)}) + "\n"
        for n in range(steps)
    ).encode()
    parsed = best(lambda: [json.loads(line) for line in io.BytesIO(rows)], 3)
    ours = best(lambda: whole(jsonl.read_metrics, rows), 3)
    row(f"JSON lines, {steps * len(tags):,} values", ours, parsed, "json.loads alone")
    log = "".join(
        f"step {n}: loss {3 / (n + 1):.4f}, lr 1.0e-04, tok/s 12,345\n"
        if n % 10 == 0
        else f"2026-01-01 12:00:00 INFO worker {n % 8} fetched shard {n} from cache in 12 ms\n"
        for n in range(50_000)
    ).encode()
    split = best(lambda: [line.decode() for line in log.split(b"\n")], 3)
    ours = best(lambda: whole(stdout.read_stdout, log), 3)
    row("50,000 lines of log, each tenth with metrics", ours, split, "splitting and decoding them")


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes((value & 127 | 128,))
        value >>= 7
    return out + bytes((value,))


def _checksum() -> Callable[[bytes], bytes]:
    """The masked CRC-32C that TensorBoard checks (RFC 3720 B.4), by a table."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)

    def masked(data: bytes) -> bytes:
        crc = 0xFFFFFFFF
        for byte in data:
            crc = table[(crc ^ byte) & 255] ^ crc >> 8
        crc ^= 0xFFFFFFFF
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    return masked


def main() -> None:
    frames()
    smoothing()
    with tempfile.TemporaryDirectory() as folder:
        readers(Path(folder))


if __name__ == "__main__":
    main()
