"""How fast a log is opened, moved over and searched, beside tail, grep and wc on the same bytes.

Makes a real log of 1 GiB and a sparse one of 10 GiB with a real end in a temporary folder (1.2 GB
of disk). Ours and the peer run in turns; the fastest of each counts. What has no peer stands beside
what it cannot do without: the start of a bare interpreter, an idle event loop.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from traindeck.console.logs.search import Pattern, Search
from traindeck.console.logs.source import FileSource
from traindeck.console.logs.survey import Survey
from traindeck.console.logs.window import LogView

GIB = 1 << 30
TURNS = 3
ROWS, CELLS = 36, 104


def row(name: str, ours: float, peer: float, what: str, unit: str = "ms") -> None:
    scale = 1e3 if unit == "ms" else 1
    print(
        f"{name:46} | {ours * scale:9.1f} {unit} | {peer * scale:9.1f} {unit} ({what})"
        f" | {ours / peer:6.2f}",
        flush=True,
    )


def write_logs(folder: Path) -> tuple[Path, Path, Path]:
    """A log of 1 GiB, one of 128 MiB with the same lines, and one of 10 GiB that is mostly hole."""
    chance = random.Random(1)
    lines = [
        f"step {n:>9,} | loss {chance.random() * 3:.4f} | grad {chance.random():.2f} |"
        f" lr 5.99e-04 | 21.9k tok/s | mem 74.2 GB\n"
        for n in range(160_000)
    ]
    lines.append("WARNING activation memory grows with its length\n")
    block = "".join(lines).encode()
    large, middle, huge = folder / "large.log", folder / "middle.log", folder / "huge.log"
    with large.open("wb") as file:
        for _ in range(GIB // len(block) + 1):
            file.write(block)
        file.write(b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8 GiB\n")
    with middle.open("wb") as file:
        for _ in range(GIB // 8 // len(block) + 1):
            file.write(block)
    with huge.open("wb") as file:
        file.truncate(10 * GIB)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + block)
    return large, middle, huge


def process(*argv: str | Path) -> float:
    """Seconds that a whole process takes. Into a pipe: grep stops early if it sees /dev/null."""
    start = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.PIPE, check=False)
    return time.perf_counter() - start


async def timed(action: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await action()
    return time.perf_counter() - start


async def opening(huge: Path) -> None:
    async def first_screen() -> None:
        view = LogView(FileSource(huge))
        view.height, view.width = ROWS, CELLS
        window = await view.open()
        assert len(window.rows) == ROWS
        await view.pages.source.aclose()

    ours, peer = [], []
    for _ in range(TURNS):
        ours.append(await timed(first_screen))
        peer.append(process("tail", "-n", str(ROWS), huge))
    row("10 GiB log: its end laid out", min(ours), min(peer), "tail, whole process")


async def moving(huge: Path, folder: Path) -> None:
    small = folder / "small.log"
    with huge.open("rb") as file:
        file.seek(-200_000, os.SEEK_END)
        small.write_bytes(file.read())

    async def keys(path: Path, percent: float) -> float:
        view = LogView(FileSource(path))
        view.height, view.width = ROWS, CELLS
        await view.open()
        await view.to_percent(percent)
        best = []
        for turn in range(30):

            async def key(rows: int = 1 if turn % 2 else -1) -> None:
                await view.scroll(rows)
                await view.window()

            best.append(await timed(key))
        await view.pages.source.aclose()
        return sorted(best)[len(best) // 2]

    large, little = await keys(huge, 99.9), await keys(small, 50)
    row("10 GiB log: a row up or down, median", large, little, "the same in 200 kB")


async def counting(large: Path) -> None:
    size = large.stat().st_size
    for text, what in (
        ("CUDA out of memory", "once"),
        ("memory", "now and then"),
        ("never there", "never"),
        ("loss", "every line"),
        ("0000", "common bytes"),
    ):
        ours, peer = [], []
        for _ in range(TURNS):
            source = FileSource(large)
            search = Search(source, Pattern(text))
            ours.append(await timed(lambda search=search: search.count(size)))
            await search.aclose()
            await source.aclose()
            peer.append(process("grep", "-cF", text, large))
        row(f"1 GiB counted: {text!r} ({what})", min(ours), min(peer), "grep -cF")


async def expressions(large: Path, middle: Path) -> None:
    size = middle.stat().st_size
    for pattern, flag in (
        (Pattern("MEMORY GROWS", ignore_case=True), "-ciF"),
        (Pattern(r"loss 2\.9[0-9]+ .*mem", regex=True), "-cE"),
    ):
        source = FileSource(middle)
        search = Search(source, pattern)
        ours = await timed(lambda search=search: search.count(size))
        row(
            f"128 MiB counted: {pattern.text!r}",
            ours,
            process("grep", flag, pattern.text, middle),
            f"grep {flag}",
        )
        await search.aclose()
        await source.aclose()
    bare = min(process(sys.executable, "-I", "-S", "-c", "import re") for _ in range(TURNS))
    source = FileSource(large)
    search = Search(source, Pattern("(a|l)oss.*never", regex=True))
    first = asyncio.Event()
    start = time.perf_counter()
    task = asyncio.create_task(search.count(large.stat().st_size, on_progress=first.set))
    await first.wait()
    row("1 GiB, expression: first progress", time.perf_counter() - start, bare, "bare python")
    start = time.perf_counter()
    search.stop()
    await task
    row("1 GiB, expression: esc to stopped", time.perf_counter() - start, bare, "bare python")
    await search.aclose()
    await source.aclose()


async def surveying(large: Path) -> None:
    ours, peer, gaps, idle = [], [], [], []
    for _ in range(2):
        source = FileSource(large)
        survey = Survey(source)
        task = asyncio.create_task(survey.read(large.stat().st_size))
        start = time.perf_counter()
        gaps.append(await longest_gap(task))
        ours.append(time.perf_counter() - start)
        await survey.aclose()
        await source.aclose()
        peer.append(process("wc", "-l", large))
        idle.append(await longest_gap(asyncio.create_task(asyncio.sleep(0.5))))
    row("1 GiB surveyed (line numbers, errors)", min(ours), min(peer), "wc -l")
    row("longest turn of the event loop meanwhile", min(gaps), min(idle), "idle loop")


async def longest_gap(task: asyncio.Task[None]) -> float:
    """The longest that a tick every millisecond was late while a task ran."""
    longest = 0.0
    while not task.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before - 0.001)
    return longest


def resident() -> float:
    """Megabytes of this process that are in memory."""
    status = Path("/proc/self/status").read_text()
    return next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmRSS")) / 1024


async def memory(huge: Path) -> None:
    before = resident()
    view = LogView(FileSource(huge))
    view.height, view.width = ROWS, CELLS
    await view.open()
    view.search = Search(view.pages.source, Pattern("loss"))
    await view.search.count(2 * GIB)  # the hole reads at memory speed, 10 GiB take their seconds
    await view.jump(backward=True)
    for percent in range(0, 101, 5):
        await view.to_percent(percent)
        await view.window()
    row("10 GiB log open, searched, moved over", resident(), before, "before", "MB")
    await view.search.aclose()
    await view.pages.source.aclose()


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="traindeck-bench-") as name:
        folder = Path(name)
        large, middle, huge = write_logs(folder)
        await memory(huge)
        await opening(huge)
        await moving(huge, folder)
        await counting(large)
        await expressions(large, middle)
        await surveying(large)


if __name__ == "__main__":
    asyncio.run(main())
