"""Many processes on one index: a screen, ten commands, readers of one growing file, kill -9."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.base import Rank, State
from traindeck.console.store.index import Index
from traindeck.console.store.records import RunRecord
from traindeck.console.store.series import SourceMark

from .conftest import listed

Make = Callable[..., RunRecord]
Start = Callable[..., Any]

SOAK = int(os.environ.get("SOAK", "0"))

# Reads whole lines of a file behind the mark and enters them, until the file says "end".
INGEST = """
import os
from pathlib import Path
from traindeck.console.store.index import Index
from traindeck.console.store.series import Batch, SourceMark
index = Index.open(Path(args["index"]))
entered = 0
print("ready", flush=True)
while True:
    before = index.source(args["run"], args["path"])
    with open(args["path"], "rb") as file:
        file.seek(before.offset)
        data = file.read(before.offset % 977 + 200)
        found = os.fstat(file.fileno())
    data = data[: data.rfind(b"\\n") + 1]
    if data == b"end\\n":
        break
    points = [line.split() for line in data.split(b"\\n") if line and line != b"end"]
    if not points:
        continue
    data = data[: data.find(b"end")] if b"end" in data else data
    after = SourceMark(path=args["path"], inode=found.st_ino, size=found.st_size,
                       offset=before.offset + len(data))
    batches = [Batch(key=key, steps=[int(p[0]) for p in points],
                     times=[0.0] * len(points), values=[float(p[1]) for p in points])
               for key in ("loss", "acc")]
    if index.ingest(args["run"], before, after, batches):
        entered += len(points)
print(entered, flush=True)
"""

COMMAND = """
from pathlib import Path
from traindeck.backends.base import State, Status
from traindeck.console.store.index import Index
from traindeck.console.store.records import RunRecord
from traindeck.console.store.ids import mint_id
index = Index.open(Path(args["index"]))
sys.stdin.readline()
for turn in range(args["turns"]):
    run = RunRecord(id=mint_id(), name=f"{args['who']}-{turn}", created=float(turn),
                    params={"turn": turn})
    index.put(run)
    index.update_status(run.id, Status(state=State.RUNNING, observed_at=1.0))
    assert index.get(run.id).state is State.RUNNING
    assert run.id.encode() in b"".join(index.json_array())
    index.rows(index.ids()[:50])
    if turn % 3 == 0:
        index.delete([run.id])
index.close()
print("done")
"""


def grow(path: Path, first: int, last: int) -> None:
    with open(path, "a") as file:
        for step in range(first, last):
            file.write(f"{step} {step / 7}\n")


@pytest.fixture
def growing(index: Index, make_run: Make, tmp_path: Path) -> tuple[Path, str]:
    run = make_run()
    index.put(run)
    path = tmp_path / "metrics.txt"
    path.touch()
    return path, run.id


def check(index: Index, run_id: str, count: int) -> None:
    points = index.points(run_id, "loss")
    assert list(points.steps) == list(range(count))
    assert list(points.values) == [step / 7 for step in range(count)]
    run = index.get(run_id)
    assert run is not None
    assert {key: metric.count for key, metric in run.metrics.items()} == {
        "loss": count,
        "acc": count,
    }


@pytest.mark.fault
def test_four_processes_read_one_growing_file_and_each_point_enters_once(
    index: Index, growing: tuple[Path, str], process: Start
) -> None:
    path, run_id = growing
    readers = [process(INGEST, index=str(index.path), run=run_id, path=str(path)) for _ in range(4)]
    for reader in readers:
        assert reader.line() == "ready"
    for first in range(0, 6000, 40):
        grow(path, first, first + 40)
    with open(path, "a") as file:
        file.write("end\n")
    entered = [int(reader.result()) for reader in readers]
    assert sum(entered) == 6000
    check(index, run_id, 6000)


@pytest.mark.fault
def test_killing_readers_at_any_moment_loses_and_doubles_nothing(
    index: Index, growing: tuple[Path, str], process: Start
) -> None:
    path, run_id = growing
    chance = random.Random(7)
    count = 0
    for _ in range(max(8, SOAK // 20)):
        readers = [
            process(INGEST, index=str(index.path), run=run_id, path=str(path)) for _ in range(2)
        ]
        for reader in readers:
            assert reader.line() == "ready"
        grow(path, count, count + 1500)
        count += 1500
        while index.source(run_id, str(path)).offset == 0:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        for reader in readers:
            reader.popen.kill()
            reader.popen.wait()
    with open(path, "a") as file:
        file.write("end\n")
    process(INGEST, index=str(index.path), run=run_id, path=str(path)).result()
    check(index, run_id, count)


@pytest.mark.fault
def test_a_screen_and_ten_commands_use_the_index_at_once(
    index: Index, make_run: Make, process: Start
) -> None:
    index.put_many(make_run() for _ in range(200))
    commands = [
        process(COMMAND, index=str(index.path), who=str(who), turns=12) for who in range(10)
    ]
    for command in commands:
        command.popen.stdin.write("\n")
        command.popen.stdin.flush()
    looks = 0
    while any(command.popen.poll() is None for command in commands):
        numbers = index.ids(sort=("group", "-created"))
        index.rows(numbers[:60])
        index.counts()
        looks += 1
    for command in commands:
        assert command.result() == "done"
    assert looks > 3
    assert len(index.ids()) == 200 + 10 * 8
    assert all(run["id"] for run in listed(index))


@pytest.mark.fault
def test_commands_that_are_killed_leave_a_sound_index(
    index: Index, make_run: Make, process: Start
) -> None:
    chance = random.Random(11)
    for _ in range(max(6, SOAK // 20)):
        command = process(COMMAND, index=str(index.path), who="x", turns=100_000)
        command.popen.stdin.write("\n")
        command.popen.stdin.flush()
        before = index.version()
        while index.version() == before:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.03)
        command.popen.kill()
        command.popen.wait()
    run = make_run(state=State.FAILED, rank=Rank.RECORD)
    index.put(run)
    assert index.get(run.id) == run
    checked = index._db.read(lambda db: db.execute("PRAGMA integrity_check").fetchall())
    assert checked == [("ok",)]
    orphans = "SELECT count(*) FROM texts WHERE n NOT IN (SELECT n FROM runs)"
    assert index._db.read(lambda db: db.execute(orphans).fetchone()) == (0,)
    numbers = index.ids()
    assert len(index.rows(numbers)) == len(numbers) == len(listed(index))


def test_two_readers_at_the_same_place_enter_it_once(index: Index, make_run: Make) -> None:
    from traindeck.console.store.series import Batch

    run = make_run()
    index.put(run)
    other = Index.open(index.path)
    before = index.source(run.id, "m")
    after = SourceMark(path="m", offset=10, size=10, inode=1)
    batch = Batch(key="loss", steps=[1], times=[0.0], values=[2.0])
    assert [one.ingest(run.id, before, after, [batch]) for one in (index, other)] == [True, False]
    other.close()
