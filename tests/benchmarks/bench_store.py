"""How fast the index is, beside what cannot be avoided or what else there is.

Whole processes are run in turns with their floor, so that a busy machine slows both down; the
fastest of each counts. Nothing of the user's is touched.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from traindeck.backends.base import State
from traindeck.console.runs.filters import parse
from traindeck.console.store.ids import mint_id
from traindeck.console.store.index import Index
from traindeck.console.store.records import MetricSummary, RunRecord
from traindeck.console.store.series import Batch, SourceMark

NOW = time.time()
TYPER = """
import typer
app = typer.Typer()
@app.command()
def ls() -> None:
    print("[]")
app()
"""
STORE = """
import sys
import typer
app = typer.Typer()
@app.command()
def ls() -> None:
    from traindeck.console.store.index import Index
    from traindeck.console.store.places import find_places
    places = find_places()
    index = Index.open(places.index)
    index.catch_up(places.annotations)
    sys.stdout.buffer.writelines(index.json_array())
app()
"""


def runs(count: int, params: int) -> list[RunRecord]:
    """Finished runs with parameters, two tags and a metric each."""
    chance = random.Random(1)
    states = [State.SUCCEEDED] * 8 + [State.FAILED, State.CANCELLED]
    made = []
    for number in range(count):
        loss = chance.random() * 3
        summary = MetricSummary(
            key="loss", count=1000, first=3.0, last=loss, last_step=999, min=loss, min_step=999,
            max=3.0, max_step=0, spark="654321", source="hook",
        )  # fmt: skip
        made.append(
            RunRecord(
                id=mint_id(NOW - number * 60),
                name=f"llama1b-lora-{number}",
                state=chance.choice(states),
                exit_code=0,
                observed_at=NOW,
                created=NOW - number * 60,
                started=NOW - number * 60 + 1,
                ended=NOW - number * 60 + 3000,
                host="box",
                argv=("python", "train.py", "--lr", "3e-4", "--config", "configs/base.yaml"),
                cwd="/home/user/projects/chat",
                project="chat",
                tags={"sft": "", "lr": "3e-4"},
                params={f"optimizer.param_{i}": chance.random() for i in range(params)},
                main="loss",
                metrics={"loss": summary},
            )
        )
    return made


def fill(path: Path, made: list[RunRecord]) -> Index:
    index = Index.open(path)
    index.put_many(made)
    return index


def best(work: Callable[[], object], times: int = 7) -> float:
    """The shortest of several runs, in milliseconds."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found) * 1000


def row(name: str, ours: float, other: float, unit: str, against: str) -> None:
    print(f"{name} | {ours:,.4g} {unit} | {other:,.4g} {unit} ({against}) | {ours / other:.2f}")


def command(folder: Path) -> None:
    """`traindeck ls --json` of 10,000 runs, as a whole process."""
    state = folder / "state"
    fill(state / "index.db", runs(10_000, 15)).close()
    bare, store = folder / "bare.py", folder / "store.py"
    bare.write_text(TYPER)
    store.write_text(STORE)
    env = os.environ | {
        "HOME": str(folder),
        "TRAINDECK_STATE_DIR": str(state),
        "TRAINDECK_CONFIG_DIR": str(folder / "config"),
    }
    ours, least, floor = [], [], []
    for _ in range(10):
        floor.append(spawn([sys.executable, str(bare)], env))
        least.append(spawn([sys.executable, str(store)], env))
        main = [sys.executable, "-m", "traindeck.console.cli.main"]
        ours.append(spawn([*main, "ls", "--json"], env))
    against = "typer printing []"
    row("traindeck ls --json, 10,000 runs × 15 params", min(ours), min(floor), "ms", against)
    row("typer and the store alone, the same", min(least), min(floor), "ms", against)


def spawn(argv: list[str], env: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000


def lists(folder: Path) -> None:
    """What the Runs screen asks of 100,000 runs."""
    index = fill(folder / "big.db", runs(100_000, 1))
    plain = sqlite3.connect(folder / "big.db")

    def floor() -> None:
        array("q", [n for (n,) in plain.execute("SELECT n FROM runs ORDER BY created")])

    least = best(floor)
    against = "plain sqlite3 by date"
    grouped, by_loss = ("group", "-created"), parse("sort:loss")
    some = parse("state:failed lora loss<1")
    for name, work in (
        ("row numbers of 100,000 runs, newest first", index.ids),
        ("those of the last day, by group", lambda: index.ids(sort=grouped, window=86_400)),
        ("all by group", lambda: index.ids(sort=grouped)),
        ("all by loss", lambda: index.ids(by_loss)),
        ("filtered by state, word and metric", lambda: index.ids(some)),
    ):
        row(name, best(work, 3), least, "ms", against)
    numbers = index.ids()
    everything = best(lambda: plain.execute("SELECT * FROM runs").fetchall(), 3)
    visible = best(lambda: index.rows(numbers[50_000:50_060]))
    row("60 visible runs of them", visible, everything, "ms", "all rows")
    short = index.rows(numbers[:60])
    ids = [run.id for run in short]
    row("short ids of 60", best(lambda: index.short_ids(ids)), least, "ms", against)
    plain.close()
    index.close()


def ingest(folder: Path) -> None:
    """Points into chunks and summaries, beside one row a point."""
    index = fill(folder / "points.db", runs(20, 3))
    ids = [run.id for run in index.rows(index.ids())]
    count = 100_000
    steps = array("q", range(count))
    values = array("d", [random.random() for _ in range(count)])
    marks = {run_id: SourceMark(path="m") for run_id in ids}

    def enter(run_id: str, batches: list[Batch]) -> None:
        after = replace(marks[run_id], offset=marks[run_id].offset + 1)
        assert index.ingest(run_id, marks[run_id], after, batches)
        marks[run_id] = after

    began = time.perf_counter()
    for run_id in ids[:10]:
        enter(run_id, [Batch(key="loss", steps=steps, times=values, values=values)])
    ours = 10 * count / (time.perf_counter() - began)
    plain = sqlite3.connect(folder / "rows.db")
    plain.execute("PRAGMA journal_mode = WAL")
    plain.execute(
        "CREATE TABLE points (run INT, key TEXT, step INT, time REAL, value REAL, "
        "PRIMARY KEY (run, key, step)) WITHOUT ROWID"
    )
    began = time.perf_counter()
    with plain:
        plain.executemany(
            "INSERT INTO points VALUES (1, 'loss', ?, ?, ?)",
            zip(steps, values, values, strict=True),
        )
    rows = count / (time.perf_counter() - began)
    row("points a second, read from the start", ours / 1e6, rows / 1e6, "M/s", "a row a point")
    live = [f"metric{i}" for i in range(10)]

    def step(number: int) -> None:
        enter(ids[15], [Batch(key=k, steps=[number], times=[0.0], values=[0.5]) for k in live])

    numbers = iter(range(10_000))
    one = best(lambda: step(next(numbers)), 300)
    read = best(lambda: index.points(ids[0], "loss"))
    copy = best(lambda: plain.execute("SELECT step, time, value FROM points").fetchall(), 3)
    plain.close()
    row("one step of 10 metrics, with summaries", one, read, "ms", "reading 100,000 points")
    row("reading 100,000 points", read, copy, "ms", "a row a point")
    index.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command(Path(folder))
        lists(Path(folder))
        ingest(Path(folder))


if __name__ == "__main__":
    main()
