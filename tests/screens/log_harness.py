"""What tests of the Log tab share: a long log, the tab that shows it, keys."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from screen_harness import settle
from screen_svg import screen_text
from tests.fakes.run import FakeRunServices, run_world
from tests.fakes.runs import NOW

from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.screens.run_log import LogPane

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}
RUNNING, FAILED, DONE, QUEUED = range(4)

FRAME = b'  File "/home/u/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line %d'


def training(steps: int = 300) -> list[bytes]:
    """What a training that ran out of memory wrote, by line."""
    lines = []
    for n in range(steps):
        step = 10 * n + 10
        figures = (step, 3.2 - n * 0.004, 1 + n % 7 * 0.01)
        lines.append(b"step %5d | loss %.4f | grad %.2f | lr 5.99e-04 | mem 74.2 GB\n" % figures)
        if n == steps - 20:
            states = (b"\rLoading shards: %3d%%" % (k * 100 // 212) for k in range(212))
            lines.append(b"".join(states) + b"\rLoading shards: 100% 16/16 [00:24<00:00]\n")
        if n % 97 == 0:
            lines.append(b"eval at %d: loss 3.2210, perplexity 25.05 (64 batches)\n" % step)
        if n in (120, steps - 10):
            lines.append(b"WARNING  fragmentation 11 % of reserved memory\n")
    frames = b"".join(FRAME % n + b", in _call_impl\n    return f(*args)\n" for n in range(14))
    lines += [
        b"Traceback (most recent call last):\n",
        b'  File "/home/u/p/train.py", line 231, in main\n    loss = trainer.step(batch)\n',
        b'  File "/home/u/p/trainer.py", line 88, in step\n    out = self.model(batch.ids)\n',
        frames,
        b'  File "/home/u/p/attention.py", line 41, in forward\n    att = q @ k * self.scale\n',
        b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a "
        b"total capacity of 79.10 GiB of which 1.00 GiB is free. Of the allocated memory 66.40 GiB "
        b"is allocated by PyTorch, and 5.90 GiB is reserved by PyTorch but unallocated.\n",
    ]
    return lines


def samples(lines: list[bytes], began: float = NOW - 12000) -> bytes:
    """What a supervisor would have noted of them, a line each two seconds."""
    size, out = 0, b""
    for number, line in enumerate(lines):
        size += len(line)
        out += struct.pack("<dQ", began + 2 * number, size)
    return out


def world() -> FakeRunServices:
    """The runs that can be opened; the failed one with a long log and its times."""
    made = run_world()
    lines = training()
    failed = made.runs[FAILED]
    assert failed is not None
    made.logs[failed.id] = b"".join(lines)
    made.samples[failed.id] = samples(lines)
    return made


@asynccontextmanager
async def opened(
    app: TraindeckApp, run: int = FAILED, size: str = "120x40"
) -> AsyncIterator[tuple[Any, LogPane]]:
    services = app.services
    assert isinstance(services, FakeRunServices)
    async with app.run_test(size=SIZES[size]) as pilot:
        record = services.runs[run]
        assert record is not None
        app.open_run(record, "log")
        await settle(app, pilot, lambda: bool(app.screen.query(LogPane)))
        pane = app.screen.query_one(LogPane)
        await settle(app, pilot, lambda: pane.settled)
        yield pilot, pane


async def press(app: TraindeckApp, pilot: Any, pane: LogPane, keys: str) -> str:
    """Press keys, and wait until what they ask for is on the screen."""
    for key in keys.split():
        await pilot.press(key)
    await pilot.pause()
    await settle(app, pilot, lambda: pane.settled or bool(pane.asking_keys()))
    return screen_text(app)


def marked(app: TraindeckApp) -> str:
    """The one row that is where one is."""
    (row,) = [row for row in log_rows(app) if row.startswith("▌")]
    return row


def log_rows(app: TraindeckApp) -> list[str]:
    return screen_text(app).splitlines()[3:-1]
