"""The index's file: shared, damaged, deleted, outdated, full. It heals or says what to do."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.base import State, Status
from traindeck.console.runs.filters import parse
from traindeck.console.store import schema
from traindeck.console.store.errors import NoSuchRun, StoreError
from traindeck.console.store.index import Index
from traindeck.console.store.records import (
    MetricSummary,
    Progress,
    RunRecord,
    iso,
    needs_you,
    silent_after,
)
from traindeck.console.store.series import Batch, SourceMark

from .conftest import NOW, listed

Make = Callable[..., RunRecord]
Start = Callable[..., Any]

OPEN = """
from pathlib import Path
from traindeck.console.store.index import Index
from traindeck.console.store.records import RunRecord
def rebuild(index):
    index.put(RunRecord(id="truth", name="rebuilt", created=1.0))
said = []
index = Index.open(Path(args["path"]), rebuild=rebuild, tell=said.append)
print("open", flush=True)
sys.stdin.readline()
names = [run.name for run in index.rows(index.ids())]
print(json.dumps({"names": names, "said": said}), flush=True)
"""


def truth(index: Index) -> None:
    """A rebuild that finds one run."""
    index.put(RunRecord(id="truth", name="rebuilt", created=1.0))


def names(index: Index) -> list[str]:
    return [run.name for run in index.rows(index.ids())]


@pytest.fixture
def filled(tmp_path: Path, make_run: Make) -> Path:
    """A closed index with 300 runs and two series."""
    path = tmp_path / "index.db"
    with_runs = Index.open(path)
    runs = [make_run(name=f"run-{i}") for i in range(300)]
    with_runs.put_many(runs)
    for run in runs[:2]:
        steps = range(3000)
        batch = Batch(key="loss", steps=steps, times=[0.0] * 3000, values=[0.5] * 3000)
        mark = SourceMark(path="m")
        assert with_runs.ingest(run.id, mark, SourceMark(path="m", offset=1), [batch], main="loss")
    with_runs.close()
    return path


def test_the_files_are_the_users_alone(filled: Path) -> None:
    index = Index.open(filled)
    files = sorted(filled.parent.glob("index.db*"))
    assert [file.name for file in files if file.stat().st_mode & 0o077] == []
    assert len(files) == 4, files
    index.close()
    assert sorted(f.name for f in filled.parent.iterdir()) == ["index.db", "index.db.lock"]


def test_a_missing_index_is_built_from_the_truth(tmp_path: Path, lines: list[str]) -> None:
    index = Index.open(tmp_path / "index.db", rebuild=truth, tell=lines.append)
    assert names(index) == ["rebuilt"]
    assert lines == [], "a first start has nothing to tell"
    index.close()
    index = Index.open(tmp_path / "index.db", rebuild=pytest.fail)
    index.close()


def test_a_rebuild_that_fails_leaves_no_half_index(tmp_path: Path) -> None:
    def fails(index: Index) -> None:
        truth(index)
        raise StoreError("the annotations cannot be read")

    with pytest.raises(StoreError, match="annotations"):
        Index.open(tmp_path / "index.db", rebuild=fails)
    index = Index.open(tmp_path / "index.db", rebuild=truth)
    assert names(index) == ["rebuilt"]
    index.close()


@pytest.mark.fault
@pytest.mark.parametrize(
    "garbage", [b"", b"not a database, but long enough to look like one" * 100]
)
def test_a_file_that_is_no_database_is_moved_aside_and_rebuilt(
    tmp_path: Path, lines: list[str], garbage: bytes
) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(garbage)
    index = Index.open(path, rebuild=truth, tell=lines.append)
    assert names(index) == ["rebuilt"]
    index.close()
    aside = list(tmp_path.glob("index.db.corrupt-*"))
    if garbage:
        assert [file.read_bytes() for file in aside] == [garbage]
        assert len(lines) == 1
        assert aside[0].name in lines[0]
    else:
        assert aside == []


@pytest.mark.fault
def test_a_damaged_schema_is_healed(filled: Path, lines: list[str]) -> None:
    data = filled.read_bytes()
    assert b"CREATE TABLE cuts" in data
    filled.write_bytes(data.replace(b"CREATE TABLE cuts", b"CREATE T\xd3BLE cuts"))
    index = Index.open(filled, rebuild=truth, tell=lines.append)
    assert names(index) == ["rebuilt"]
    assert len(lines) == 1
    index.close()


def use(index: Index, run: RunRecord) -> None:
    """Most of what an index does."""
    numbers = index.ids()
    rows = index.rows(numbers, metrics="all")
    index.groups(numbers)
    list(index.json_array())
    index.counts()
    for row in rows[:5]:
        index.points(row.id, "loss")
        index.resolve(row.id)
    index.short_ids([row.id for row in rows])
    index.update_status(run.id, Status(state=State.RUNNING, observed_at=run.observed_at + 1))
    mark = index.source(run.id, "m")
    batch = Batch(key="loss", steps=[5000], times=[0.0], values=[1.0])
    index.ingest(run.id, mark, SourceMark(path="m", offset=mark.offset + 1), [batch])
    index.put(run)
    index.delete([run.id])


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(int(os.environ.get("SOAK", "40")) // 2 or 1))
def test_damage_at_random_places_is_healed_by_rebuilding(
    filled: Path, tmp_path: Path, make_run: Make, seed: int
) -> None:
    """Whatever SQLite reports, in use or when asked to check: nothing is refused, what is listed is
    the truth again, and the file is whole."""
    chance = random.Random(seed)
    data = bytearray(filled.read_bytes())
    for _ in range(chance.choice([1, 3, 50])):
        start = chance.randrange(len(data))
        for place in range(start, min(len(data), start + chance.choice([1, 8, 4096]))):
            data[place] = chance.randrange(256)
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    filled.write_bytes(data)
    said: list[str] = []
    index = Index.open(filled, rebuild=truth, tell=said.append)
    for _ in range(2):
        try:
            use(index, make_run())
        except NoSuchRun:
            assert said, "only a rebuild between two questions takes a run away"
    if not said and check(filled) != ["ok"]:
        index.rebuild()  # `reindex`: none of what was asked came upon it
        said.append("rebuilt")
    if said:
        assert names(index) == ["rebuilt"]
        assert [run["name"] for run in listed(index)] == ["rebuilt"]
    index.close()
    assert check(filled) == ["ok"]
    for line in said:
        assert "rebuilt" in line
    if [line for line in said if "damaged" in line]:
        assert list(filled.parent.glob("index.db.corrupt-*"))


def check(path: Path) -> list[str]:
    """What SQLite's own check of a file says."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        try:
            return [str(line) for (line,) in db.execute("PRAGMA integrity_check")]
        except (sqlite3.Error, UnicodeDecodeError) as error:
            return [str(error)]


@pytest.mark.fault
def test_damage_that_appears_while_it_is_open_is_healed_on_the_way(
    filled: Path, lines: list[str], make_run: Make
) -> None:
    index = Index.open(filled, rebuild=truth, tell=lines.append)
    assert len(index.ids()) == 300
    with open(filled, "rb+") as file:
        for page in range(1, filled.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    index._db._connection.execute("PRAGMA shrink_memory")  # type: ignore[union-attr]
    assert names(index) == ["rebuilt"]
    assert len(lines) == 1
    assert lines[0].startswith("the index was damaged (")
    index.put(make_run(name="after"))
    assert "after" in names(index)
    index.close()


@pytest.mark.fault
def test_of_several_processes_that_find_the_damage_one_heals(filled: Path, process: Start) -> None:
    filled.write_bytes(b"x" * 100_000)
    openers = [process(OPEN, path=str(filled)) for _ in range(4)]
    for opener in openers:
        assert opener.line() == "open"
    told = [json.loads(opener.popen.communicate("\n", timeout=60)[0]) for opener in openers]
    assert [one["names"] for one in told] == [["rebuilt"]] * 4
    assert sum(len(one["said"]) for one in told) == 1
    assert len(list(filled.parent.glob("index.db.corrupt-*"))) == 1


@pytest.mark.fault
@pytest.mark.parametrize("all_files", [True, False])
def test_deleting_the_index_under_open_consoles_loses_nothing(
    filled: Path, process: Start, make_run: Make, all_files: bool
) -> None:
    index = Index.open(filled, rebuild=truth)
    other = process(OPEN, path=str(filled))
    assert other.line() == "open"
    index.put(make_run(name="before"))
    for file in filled.parent.glob("index.db*" if all_files else "index.db"):
        file.unlink()
    index.put(make_run(name="after"))
    assert sorted(names(index)) == ["after", "rebuilt"]
    out, err = other.popen.communicate("\n", timeout=60)
    assert other.popen.returncode == 0, err
    assert sorted(json.loads(out)["names"]) == ["after", "rebuilt"]
    # Whoever had the old file open has closed it now: the new one must be whole.
    index.put_many(make_run(name="more") for _ in range(200))
    index.close()
    with sqlite3.connect(filled) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (202,)
    db.close()


def test_a_reindex_is_seen_by_everyone_at_once(filled: Path, make_run: Make) -> None:
    one = Index.open(filled, rebuild=truth)
    two = Index.open(filled)
    generation = two.version()[0]
    numbers = two.ids()
    one.rebuild()
    assert names(one) == names(two) == ["rebuilt"]
    assert two.version()[0] != generation
    assert len(numbers) == 300
    two.put(make_run(name="new"))
    assert sorted(names(one)) == ["new", "rebuilt"]
    one.close()
    two.close()
    assert not list(filled.parent.glob("index.db.corrupt-*")), "nothing was damaged"


def test_a_number_of_a_run_means_no_other_one_after_a_rebuild(filled: Path) -> None:
    index = Index.open(filled, rebuild=lambda index: index.put_many(runs))
    index.delete([run.id for run in index.rows(index.ids()[5:8])])  # the numbers have a gap now
    runs = index.rows(index.ids())
    before = {n: index.rows([n])[0].id for n in index.ids()}
    index.rebuild()
    assert sorted(names(index)) == sorted(run.name for run in runs)
    found = index.rows_by_number(list(before))
    assert {n: run.id for n, run in found.items()} == {n: before[n] for n in found}
    index.close()


def test_an_index_of_a_newer_traindeck_is_refused_in_words_and_left_alone(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = (*schema.STEPS, "ALTER TABLE runs ADD COLUMN mood TEXT;\n")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", newer)
        upgraded = Index.open(filled)
        assert len(upgraded.ids()) == 300, "an older index is upgraded, not rebuilt"
        upgraded.close()
    before = filled.read_bytes()
    known = schema.version()
    with pytest.raises(
        StoreError,
        match=rf"written by a newer Traindeck \(version {known + 1}, this one knows {known}",
    ):
        Index.open(filled, rebuild=truth)
    assert filled.read_bytes() == before
    assert not list(filled.parent.glob("*.corrupt-*"))


def without_limits(db: sqlite3.Connection) -> None:
    """As it was before the index knew how long a run may take."""
    db.execute("ALTER TABLE runs DROP COLUMN time_limit")
    db.execute("ALTER TABLE runs DROP COLUMN place_limit")


def without_trouble(db: sqlite3.Connection) -> None:
    """As it was before the index knew when a run fell into trouble or silence."""
    db.execute("DROP INDEX runs_archived")
    db.execute("DROP INDEX runs_group")
    db.execute("ALTER TABLE runs DROP COLUMN troubled_at")
    db.execute("ALTER TABLE runs DROP COLUMN silent_from")
    without_limits(db)
    db.execute("CREATE INDEX runs_group ON runs (state, created)")


def test_an_older_index_knows_what_hangs_and_what_is_in_trouble(
    tmp_path: Path, make_run: Make
) -> None:
    path = tmp_path / "index.db"
    old = Index.open(path)
    going = {"state": State.RUNNING, "observed_at": NOW, "started": NOW - 900, "ended": None}
    loss = MetricSummary(key="loss", count=100, last=2.0, last_time=NOW - 400)
    machine = MetricSummary(key="system/cpu", count=900, last=2.0, last_time=NOW - 1)
    both = {"loss": loss, "system/cpu": machine}
    old.put_many(
        [
            make_run(name="hangs", metrics=both, **going),
            make_run(name="slow", metrics={"loss": replace(loss, count=5)}, **going),
            make_run(name="steps", progress=Progress(step=50, at=NOW - 300), **going),
            make_run(name="stalled", reason="stalled: no output for 4 s", **going),
            make_run(name="quiet", **going),
            make_run(name="over", metrics=both),
        ]
    )
    expected = {
        run.id: silent_after(run, found and found.last_time, found and found.count)
        for run in old.rows(old.ids(), metrics="all")
        if run.active
        for found in [run.metrics.get("loss")]
    }
    old.close()
    with sqlite3.connect(path) as db:
        without_trouble(db)
        db.execute("UPDATE meta SET value = 10 WHERE key = 'schema'")
        db.execute("PRAGMA user_version = 10")
    db.close()
    index = Index.open(path)
    found = index.rows(index.ids())
    needing = {run.name for run in found if needs_you(run, NOW)}
    assert needing == {"hangs", "steps", "stalled"}
    assert set(index.ids(parse("is:needs-you"), now=NOW)) == {
        n for n, run in index.rows_by_number(index.ids()).items() if run.name in needing
    }
    assert {run.id: run.silent_from for run in found if run.active} == expected
    index.close()


def test_an_older_index_says_nan_where_it_said_null(tmp_path: Path, make_run: Make) -> None:
    path = tmp_path / "index.db"
    broken = MetricSummary(key="loss", count=2, last=math.nan, nonfinite=1)
    old = Index.open(path)
    at = NOW - 3600.25
    old.put_many(
        [make_run(metrics={"loss": broken}), make_run(metrics={}, progress=Progress(at=at))]
    )
    ready = listed(old)
    old.close()
    with sqlite3.connect(path) as db:  # as version 2 wrote it
        db.execute("""UPDATE ready SET metrics = replace(metrics, '"NaN"', 'null')""")
        cut = """UPDATE ready SET head = substr(head, 1, instr(head, ', "partial"') - 1)
            || substr(head, instr(head, '}, "main"'))"""
        db.execute(cut)
        db.execute("ALTER TABLE runs DROP COLUMN adopted")
        db.execute("ALTER TABLE series DROP COLUMN broken_step")
        db.execute("ALTER TABLE runs DROP COLUMN partial")
        db.execute("DROP INDEX sources_left")
        db.execute("ALTER TABLE marks DROP COLUMN attempts")
        without_trouble(db)
        db.execute("UPDATE meta SET value = 2 WHERE key = 'schema'")
        db.execute("PRAGMA user_version = 2")
    db.close()
    index = Index.open(path)
    told = {run["metrics"].get("loss", {}).get("last") for run in listed(index)}
    assert told == {"NaN", None}
    assert all(run["progress"]["partial"] is False for run in listed(index))
    assert [run["progress"] for run in listed(index)] == [run["progress"] for run in ready]
    assert iso(at) in {run["progress"]["at"] for run in ready}
    index.close()


def test_an_open_console_notices_that_a_newer_one_upgraded_the_index(
    filled: Path, monkeypatch: pytest.MonkeyPatch, make_run: Make
) -> None:
    old = Index.open(filled, rebuild=truth)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", (*schema.STEPS, "ALTER TABLE runs ADD COLUMN x TEXT;\n"))
        Index.open(filled).close()
    with pytest.raises(StoreError, match="newer Traindeck"):
        old.put(make_run())
    with pytest.raises(StoreError, match="newer Traindeck"):
        old.ids()
    old.close()


@pytest.mark.fault
def test_a_version_that_only_damage_wrote_is_healed_not_refused(
    filled: Path, lines: list[str]
) -> None:
    with open(filled, "rb+") as file:
        file.seek(60)  # the header's user_version, big endian
        file.write((77).to_bytes(4, "big"))
    index = Index.open(filled, rebuild=truth, tell=lines.append)
    assert names(index) == ["rebuilt"]
    assert f"version 77 in the header, {schema.version()} inside" in lines[0]
    index.close()


def test_an_index_that_another_process_holds_is_waited_for_then_refused_in_words(
    filled: Path, make_run: Make
) -> None:
    index = Index.open(filled, wait=0.2)
    holder = sqlite3.connect(filled, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert len(index.ids()) == 300, "reading does not wait"
    with pytest.raises(StoreError, match=r"locked by another process for 0\.2 s"):
        index.put(make_run())
    holder.execute("COMMIT")
    index.put(make_run())
    holder.close()
    index.close()


@pytest.mark.fault
def test_a_full_disk_is_one_clear_sentence_and_half_of_nothing(
    filled: Path, make_run: Make
) -> None:
    index = Index.open(filled)
    db = index._db._connection
    assert db is not None
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages + 20}")
    with pytest.raises(StoreError, match="is full"):
        index.put_many([make_run(note="x" * 1000) for _ in range(500)])
    assert len(index.ids()) == 300
    db.execute("PRAGMA max_page_count = 1000000")
    index.put(make_run())
    assert len(index.ids()) == 301
    index.close()


@pytest.mark.fault
def test_a_disk_that_is_full_while_the_index_is_made_is_not_filled_by_the_attempt(
    tmp_path: Path,
) -> None:
    def full(index: Index) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="no space left"):
        Index.open(tmp_path / "index.db", rebuild=full)
    assert {path.name for path in tmp_path.iterdir()} <= {"index.db.lock"}


def test_a_state_folder_that_cannot_be_made_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreError, match="is not a folder"):
        Index.open(tmp_path / "state" / "index.db")
    with pytest.raises(StoreError, match="Cannot"):
        Index.open(tmp_path / "state" / "deeper" / "index.db")
    (tmp_path / "index.db").mkdir()
    with pytest.raises(StoreError, match=r"index\.db"):
        Index.open(tmp_path / "index.db")


def test_any_thread_may_use_an_open_index(filled: Path, make_run: Make) -> None:
    index = Index.open(filled)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                index.put(make_run())
                index.rows(index.ids()[:20])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(index.ids()) == 380
    index.close()


def test_a_mistake_of_ours_is_no_reason_to_rebuild(filled: Path, lines: list[str]) -> None:
    index = Index.open(filled, rebuild=truth, tell=lines.append)
    with pytest.raises(StoreError, match="no such table: nowhere"):
        index._db.read(lambda db: db.execute("SELECT * FROM nowhere"))
    with pytest.raises(StoreError, match="constraint"):
        index._db.write(lambda db: db.execute("INSERT INTO runs (id) VALUES (NULL)"))
    assert lines == []
    assert len(index.ids()) == 300
    index.close()


def test_an_index_that_was_copied_with_its_log_is_read_whole(
    filled: Path, tmp_path: Path, make_run: Make
) -> None:
    index = Index.open(filled)
    index.put(make_run(name="in the log"))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in filled.parent.glob("index.db*"):
        shutil.copy(file, copy)
    index.close()
    other = Index.open(copy / "index.db", rebuild=truth)
    assert "in the log" in names(other)
    other.close()


REBUILD_SLOWLY = """
import time
from pathlib import Path
from traindeck.console.store.index import Index
from traindeck.console.store.records import MetricSummary, RunRecord
def rebuild(index):
    index.put(RunRecord(id="half", name="half", created=1.0))
    print("half", flush=True)
    time.sleep(60)
Index.open(Path(args["path"]), rebuild=rebuild)
"""


@pytest.mark.fault
def test_a_rebuild_that_is_killed_is_begun_again(
    filled: Path, process: Start, lines: list[str]
) -> None:
    filled.write_bytes(b"damaged" * 1000)
    rebuilder = process(REBUILD_SLOWLY, path=str(filled))
    assert rebuilder.line() == "half"
    rebuilder.popen.kill()
    rebuilder.popen.wait()
    index = Index.open(filled, rebuild=truth, tell=lines.append)
    assert names(index) == ["rebuilt"]
    index.close()
    left = {file.name.partition(".corrupt-")[0] for file in filled.parent.iterdir()}
    assert left == {"index.db", "index.db.lock"}


@pytest.fixture
def read_only(filled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The closed index, in a folder where nobody can make or open a file for writing."""
    real = os.open

    def refuse(path: Any, flags: int, *args: Any, **more: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and str(path).startswith(str(filled.parent)):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *args, **more)

    monkeypatch.setattr(os, "open", refuse)
    return filled


@pytest.mark.fault
def test_an_index_that_cannot_be_written_is_used_from_memory_and_said_once(
    read_only: Path, lines: list[str], make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_only.read_bytes()
    with pytest.raises(StoreError, match="read-only file system"):
        Index.open(read_only)
    index = Index.open(read_only, tell=lines.append, copy=True)
    assert len(index.ids()) == 300
    index.put(make_run(name="seen"))
    assert "seen" in names(index)
    assert len(lines) == 1 and "read-only" in lines[0] and "not kept" in lines[0]
    assert read_only.read_bytes() == before
    generation = index.version()[0]
    monkeypatch.undo()  # it can be written again: what was only seen is forgotten
    index._db._return_at = 0.0
    index.put(make_run(name="kept"))
    assert {"kept", "seen"} & set(names(index)) == {"kept"}
    assert index.version()[0] != generation, "row numbers of the copy are void"
    index.close()
    assert len(lines) == 1
    again = Index.open(read_only)
    assert "kept" in names(again)
    again.close()


@pytest.mark.fault
@pytest.mark.parametrize("damage", [b"", b"no database" * 1000])
def test_an_index_that_is_gone_and_cannot_be_made_is_built_in_memory(
    read_only: Path, lines: list[str], damage: bytes
) -> None:
    read_only.write_bytes(damage)

    def threads(index: Index) -> None:
        """As measuring does: with the index used from another thread."""
        worker = threading.Thread(target=truth, args=(index,))
        worker.start()
        worker.join(10)

    index = Index.open(read_only, rebuild=threads, tell=lines.append, copy=True)
    assert names(index) == ["rebuilt"]
    index.close()
    assert read_only.read_bytes() == damage
    assert len(lines) == 1


@pytest.mark.fault
def test_a_disk_that_gets_full_under_an_open_index_stops_nobody_who_looks(
    filled: Path, lines: list[str], make_run: Make
) -> None:
    index = Index.open(filled, tell=lines.append, copy=True)
    other = Index.open(filled)
    other.put(make_run(name="other"))  # in the log only
    db = index._db._connection
    assert db is not None
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages + 20}")
    index.put_many([make_run(note="x" * 1000) for _ in range(500)])
    assert len(index.ids()) == 801
    assert len(lines) == 1 and "is full" in lines[0]
    assert len(other.ids()) == 301, "and half of nothing"
    other.close()
    index.close()


def test_a_program_that_stays_carries_over_what_was_written_apart_and_loses_none_of_it(
    tmp_path: Path, make_run: Make
) -> None:
    path = tmp_path / "index.db"
    index = Index.open(path)
    index.carry_over_apart()
    index.carry_over()  # too little was written yet
    before = path.stat().st_size
    note = "x" * 2000
    runs = [make_run(note=note) for _ in range(4000)]
    index.put_many(runs)
    assert path.stat().st_size == before, "no transaction had to"
    thread = threading.Thread(target=index.carry_over)
    thread.start()
    index.put(make_run())  # beside it
    thread.join()
    assert path.stat().st_size > before + len(runs) * len(note)
    index.close()
    again = Index.open(path)
    assert again.get(runs[-1].id) is not None
    assert len(again.ids()) == len(runs) + 1
    again.close()
