"""The Runs screen in a real pty: first paint, key to paint, idle, memory, at 100,000 runs.

First paint is the whole `traindeck` command on a real index until the list is on screen (as by
default: what is active, and a day's finished runs), in turns with `python -c "import textual.app"`,
which nobody who uses Textual can avoid; then the same, listing all runs there are. Key to paint is
measured at 100,000 and at 1,000 rows while 50 rows report ten times a second: over the real index,
which another process writes, and over a list in memory, which is the screen alone. Of repeated
starts the fastest counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "terminal"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from terminal_probe import Terminal
from tests.fakes.runs import crowd

from traindeck.console.store.index import Index
from traindeck.console.tui.services import View

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent / "terminal" / "deck_program.py"
MAIN = "from traindeck.console.cli.main import main; import sys; sys.argv = ['traindeck']; main()"
MANY = 100_000
DAY = 86400.0
WRITER = """
import random, time
from dataclasses import replace
from traindeck.console.store.index import Index
from traindeck.console.store.places import find_places
from traindeck.console.tui.services import View
index = Index.open(find_places().index)
order = index.ids(sort=("group", *View().order), now=time.time(), window=None)
runs = index.rows(order[:50], metrics="all")
while True:
    time.sleep(0.1)
    index.put_many([replace(run, metrics={key: replace(one, last=random.random() * 3)
                    for key, one in run.metrics.items()}) for run in runs])
"""
"""A process of its own that writes the first fifty rows of an index ten times a second."""
SIGN = b"ENDING-7f3a"
"""The last line of the huge log."""
SIGNS = {"j": "▌".encode(), "k": "▌".encode(), "pagedown": b"\x1b[12;"}
"""What each key has to write: the bar on another row, or another run in a row amid the list."""

ENV = {
    "PATH": os.environ.get("PATH", ""),
    "TERM": "xterm-256color",
    "COLORTERM": "truecolor",
    "LANG": "C.UTF-8",
    "TRAINDECK_GLYPHS": "best",
}


def row(name: str, ours: str, floor: str, ratio: float | str) -> None:
    shown = ratio if isinstance(ratio, str) else f"{ratio:.2f}"
    print(f"{name:<48} | {ours:>18} | {floor:<44} | {shown}", flush=True)


def fill(folder: Path, many: int = MANY) -> tuple[dict[str, str], bytes, bytes]:
    """A home with an index of so many finished runs; the names that stand first in the list of a
    day and in that of all."""
    env = {**ENV, "HOME": str(folder), "TRAINDECK_STATE_DIR": str(folder / "state"),
           "TRAINDECK_CONFIG_DIR": str(folder / "config")}  # fmt: skip
    (folder / "state").mkdir(mode=0o700, parents=True)
    index = Index.open(folder / "state" / "index.db")
    runs = [run for run in crowd(many + many // 50, now=time.time()) if run.state.terminal]
    for start in range(0, many, 5000):
        index.put_many(runs[start : min(start + 5000, many)])
    firsts = []
    for window in (DAY, None):
        order = index.ids(sort=("group", *View().order), now=time.time(), window=window)
        firsts.append(index.rows(order[:1])[0].name.encode())
    index.close()
    return env, firsts[0], firsts[1]


def first_paint(env: dict[str, str], sign: bytes) -> tuple[float, float, int]:
    """(seconds until `sign` is on screen, seconds of the floor, resident bytes)."""
    ours, floor, memory = [], [], 0
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import textual.app"], env=env, check=True)
        floor.append(time.perf_counter() - begin)
        deck = Terminal([sys.executable, "-c", MAIN], env)
        ours.append(deck.hear(sign) - deck.started)
        deck.listen(1.0)
        pages = Path(f"/proc/{deck.pid}/statm").read_text().split()[1]
        memory = max(memory, int(pages) * os.sysconf("SC_PAGE_SIZE"))
        deck.press("q")
        deck.ended()
        deck.close()
    return min(ours), min(floor), memory


def huge_log(env: dict[str, str]) -> tuple[float, float, int]:
    """(seconds of the first and of a later opening of a 10 GiB log, resident bytes with all runs
    listed and the log open, searched and moved over)."""
    run = [sys.executable, "-m", "traindeck.console.cli.main", "run", "-q", "--name", "huge"]
    done = subprocess.run([*run, "--", "true"], env=env, check=True, capture_output=True, text=True)
    wait = [*run[:3], "wait", "-q", done.stdout.strip()]
    subprocess.run(wait, env=env, check=True, capture_output=True)  # seen and measured: it is empty
    found = Path(env["HOME"]) / ".traindeck/runs" / done.stdout.strip() / "attempts/0/logs/0.log"
    line = b"step %d loss 0.5 and some more words that make it a line of usual length\n"
    with found.open("r+b") as file:
        file.write(b"".join(line % n for n in range(20_000)))
        file.truncate(10 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"".join(line % n for n in range(20_000)) + SIGN + b"\n")
    deck = Terminal([sys.executable, "-c", MAIN], {**env, "TRAINDECK_WINDOW": "all"})
    deck.wait("selected 1/", timeout=60)
    deck.press("/huge\r")
    deck.wait("selected 1/1")
    deck.quiet(1.5)  # what a first key needs is imported a moment after the start
    times = []
    for _ in range(4):
        times.append(deck.latency("l", SIGN))
        deck.quiet(0.3)
        deck.press("escape")
        deck.wait("selected 1/1")
        deck.quiet(0.3)  # beside the list stands the end of the log
    deck.press("escape", "l")
    deck.wait(SIGN.decode())
    deck.press("/some more\r")
    deck.quiet(1.0)
    for percent in range(0, 101, 10):
        deck.press(f"%{percent}\r")
        deck.quiet(0.2)
    pages = Path(f"/proc/{deck.pid}/statm").read_text().split()[1]
    deck.close()
    return times[0], min(times[1:]), int(pages) * os.sysconf("SC_PAGE_SIZE")


def in_memory(rows: int) -> list[str]:
    """The screen over so many rows of a list in memory."""
    return [sys.executable, str(PROGRAM), "--rows", str(rows), "--all"]


def keys_of_index(env: dict[str, str]) -> tuple[float, float]:
    """`keys` of the whole `traindeck` over all runs of an index that another process writes."""
    with subprocess.Popen([sys.executable, "-c", WRITER], env=env) as writer:
        try:
            return keys([sys.executable, "-c", MAIN], {**env, "TRAINDECK_WINDOW": "all"})
        finally:
            writer.kill()


def keys(argv: list[str], env: dict[str, str]) -> tuple[float, float]:
    """(p50, p99 of key to paint)"""
    deck = Terminal(argv, env)
    deck.wait("selected 1/", timeout=60)
    deck.listen(2.0)  # what a first key needs is imported a moment after the start
    times = []
    # As far as the list need not scroll: there the bar would stay where it is.
    for key in (["j"] * 15 + ["k"] * 15) * 5 + ["pagedown"] * 30:
        deck.listen(0.035)
        times.append(deck.latency(key, SIGNS[key]))
    times.sort()
    deck.close()
    return times[len(times) // 2], times[int(len(times) * 0.99)]


def idle(argv: list[str]) -> float:
    """Bytes a second that are written when nothing happens."""
    deck = Terminal(argv, ENV)
    deck.wait("selected 1/", timeout=60)
    deck.quiet(0.5)
    written = deck.listen(4.0) / 4
    deck.close()
    return written


def row_of_keys(what: str, many: tuple[float, float], few: tuple[float, float]) -> None:
    for name, ours, less in zip(("p50", "p99"), many, few, strict=True):
        row(f"key to paint {name}, {MANY:,} rows {what}", f"{ours * 1e3:.1f} ms",
            f"{less * 1e3:.1f} ms the same at 1,000 rows", ours / less)  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        env, recent, newest = fill(Path(folder))
        ours, floor, _ = first_paint(env, recent)
        every, floor_2, memory = first_paint({**env, "TRAINDECK_WINDOW": "all"}, newest)
        few, _, _ = fill(Path(folder) / "few", 1000)
        of_index = keys_of_index(env), keys_of_index(few)
        first, later, both = huge_log(env)
    row(f"first paint, {MANY:,} runs", f"{ours * 1e3:.0f} ms",
        f"{floor * 1e3:.0f} ms python -c 'import textual.app'", ours / floor)  # fmt: skip
    row(f"all {MANY:,} in order on screen", f"{every * 1e3:.0f} ms",
        f"{floor_2 * 1e3:.0f} ms python -c 'import textual.app'", every / floor_2)  # fmt: skip
    row(f"memory, {MANY:,} runs", f"{memory / 1e6:.0f} MB", "150 MB goal", memory / 150e6)
    row("10 GiB log in the screens, key to its end", f"{first * 1e3:.0f} ms",
        f"{later * 1e3:.0f} ms opened again", f"{first / 0.1:.2f} of 100 ms")  # fmt: skip
    row(f"memory, {MANY:,} runs and a 10 GiB log open", f"{both / 1e6:.0f} MB", "150 MB goal",
        both / 150e6)  # fmt: skip
    row_of_keys("indexed, 10 Hz", *of_index)
    fast = ["--hz", "10"]
    row_of_keys("in memory, 10 Hz", *(keys(in_memory(n) + fast, ENV) for n in (MANY, 1000)))
    written = idle(in_memory(MANY))
    row("written when idle", f"{written / 1024:.2f} KiB/s", "8 KiB/s goal", written / 8192)


if __name__ == "__main__":
    main()
