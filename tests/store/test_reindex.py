"""Losing the index loses nothing: run directories, journal and annotations give the same list."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.base import Code, Rank, Reach, Resources, RunSpec, State, Status
from traindeck.backends.status import decode_evidence, status_of
from traindeck.console.store.annotations import Annotation, append
from traindeck.console.store.describe import describe
from traindeck.console.store.filtering import Condition, Filter
from traindeck.console.store.ids import mint_id
from traindeck.console.store.index import Index
from traindeck.console.store.journal import Journal
from traindeck.console.store.places import Places
from traindeck.console.store.records import RunRecord
from traindeck.console.store.reindex import Refilled, fill
from traindeck.console.store.rundirs import (
    highest_attempt,
    list_runs,
    read_exit,
    read_object,
    read_run,
)
from traindeck.console.store.series import Batch, SourceMark

from .conftest import listed

NOW = 1_800_000_000.0
MakeDir = Callable[..., Path]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    state = tmp_path / "state"
    return Places(config=tmp_path / "config", state=state, index=state / "index.db")


def spec(number: int, **changes: Any) -> RunSpec:
    made = RunSpec(
        run_id=mint_id(NOW - 9000 + 60 * number),
        name=f"run-{number}",
        argv=("python", "train.py", "--lr", "3e-4", "--bf16"),
        cwd="/home/u/chat/train",
        resources=Resources(gpus=2),
        code=Code(root="/home/u/chat", commit="c0ffee"),
        tags={"sft": "", "lr": "3e-4"},
        created=NOW - 9000 + 60 * number + 0.25,
    )
    return replace(made, **changes)


def measure(index: Index, run: RunRecord, folder: Path) -> None:
    """Metrics as the capture enters them."""
    for path in sorted(folder.glob("attempts/*/metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        name = str(path.relative_to(folder))
        batch = Batch(
            key="loss",
            steps=[row["step"] for row in rows],
            times=[row["time"] for row in rows],
            values=[row["loss"] for row in rows],
            attempt=int(path.parent.name),
        )
        before = index.source(run.id, name)
        after = SourceMark(path=name, offset=path.stat().st_size)
        assert index.ingest(run.id, before, after, [batch], main="loss")


def observed(root: Path, made: RunSpec, index: Index) -> None:
    """A run as its launch and the polls since brought it in."""
    index.put(describe(made, "local"))
    found = read_run(root, made.run_id, "local", NOW)
    facts = decode_evidence(
        {
            "found": True, "attempt": found.attempt, "phase": "ended", "host": "box", "pid": 77,
            "started": found.started, "log_bytes": found.log_bytes, "alive": False,
            "supervised": False, "same_host": True, "heartbeat_age": 3.0,
            "exit": read_exit(
                root / "runs" / made.run_id / "attempts" / str(found.attempt) / "exit.slot",
                made.run_id, found.attempt,
            ),
        }
    )  # fmt: skip
    index.update_status(made.run_id, status_of(facts, 0, NOW), now=NOW)
    fresh = index.get(made.run_id)
    assert fresh is not None
    measure(index, fresh, root / "runs" / made.run_id)


def listing(index: Index) -> list[Any]:
    """`ls --json`, but for when each run was looked at last: that is now, for all of them."""
    shown = listed(index)
    return [{key: value for key, value in run.items() if key != "observed_at"} for run in shown]


def test_deleting_the_index_gives_the_same_list(
    tmp_path: Path, places: Places, make_rundir: MakeDir, attempt: Any
) -> None:
    curve = "".join(
        json.dumps({"step": step, "time": NOW + step, "loss": 3 - step / 100}) + "\n"
        for step in range(200)
    )
    resumed = "".join(
        json.dumps({"step": step, "time": NOW + step, "loss": 1.0}) + "\n"
        for step in range(150, 160)
    )
    ends = {
        "done": [attempt(end={"exit_code": 0}, metrics=curve)],
        "failed": [attempt(end={"exit_code": 3})],
        "killed": [attempt(end={"signal": 9})],
        "stopped": [attempt(end={"cause": "cancel", "signal": 15})],
        "timed out": [attempt(end={"cause": "timeout", "exit_code": 143})],
        "missing": [attempt(end={"cause": "launch", "exit_code": 127, "reason": "no such file"})],
        "retried": [
            attempt(end={"exit_code": 1}, metrics=curve),
            attempt(end={"exit_code": 0}, started=NOW - 3000, log=99, metrics=resumed),
        ],
    }
    root = tmp_path / "root"
    index = Index.open(places.index)
    specs = [spec(i, name=name) for i, name in enumerate(ends)]
    for made, tries in zip(specs, ends.values(), strict=True):
        make_rundir(made, attempts=tries)
        observed(root, made, index)
    append(
        places.annotations,
        [
            Annotation(run_id=specs[0].run_id, name="the best", tags={"sft": None, "kept": "1"}),
            Annotation(run_id=specs[1].run_id, note="out of memory?", looked_at=NOW),
            Annotation(run_id=specs[2].run_id, archived=True),
            *(Annotation(run_id=s.run_id, backend="local", native_id="", attempt=0) for s in specs),
            Annotation(run_id=specs[6].run_id, deleted=True),
        ],
    )
    index.catch_up(places.annotations)
    before = listing(index)
    index.close()
    assert len(before) == 6
    for file in places.state.glob("index.db*"):
        file.unlink()
    done: list[Refilled] = []
    index = Index.open(
        places.index,
        rebuild=lambda fresh: done.append(
            fill(fresh, places, {"local": root}, now=NOW, measure=measure)
        ),
    )
    assert listing(index) == before
    assert done == [Refilled(with_directory=7, only_known=0)]
    found = index.get(index.resolve("the best"))
    assert found is not None
    assert (found.params, found.project, found.gpus) == ({"lr": 3e-4, "bf16": True}, "chat", 2)
    assert found.metrics["loss"].count == 200
    assert found.looked_at is None
    index.close()


def test_a_run_that_is_still_going_is_unknown_until_it_was_asked_about(
    tmp_path: Path, places: Places, make_rundir: MakeDir, attempt: Any
) -> None:
    made = spec(0)
    make_rundir(made, attempts=[attempt(phase="running")])
    index = Index.open(places.index, rebuild=lambda i: None)
    fill(index, places, {"local": tmp_path / "root"}, now=NOW)
    (run,) = index.active()
    assert (run.state, run.observed_at, run.pid) == (State.RUNNING, 0.0, 77)
    assert run.unknown
    asked = Filter((Condition(kind="state", values=("unknown",)),))
    assert len(index.ids(asked)) == 1 and asked.matches(run, NOW)
    index.update_status(run.id, Status(state=State.RUNNING, observed_at=NOW, rank=Rank.NONE))
    (run,) = index.active()
    assert not run.unknown and len(index.ids(asked)) == 0
    index.close()


def test_runs_that_only_journal_or_annotations_know_are_listed(
    tmp_path: Path, places: Places
) -> None:
    from traindeck.backends.base import encode

    sent, elsewhere, gone = spec(0), mint_id(NOW), mint_id(NOW)
    Journal(places.journal).begin(
        run_id=sent.run_id, attempt=0, backend="local", plan_digest="d", spec=encode(sent)
    )
    job = Annotation(run_id=elsewhere, backend="gpu1", native_id="4711", submitted_as="far-fox")
    append(
        places.annotations, [job, replace(job, run_id=gone), Annotation(run_id=gone, deleted=True)]
    )
    index = Index.open(places.index)
    assert fill(index, places, {"local": tmp_path / "root"}, now=NOW).only_known == 2
    run = index.get(sent.run_id)
    assert run is not None
    assert (run.name, run.state, run.argv) == (sent.name, State.NEW, sent.argv)
    run = index.get(elsewhere)
    assert run is not None
    assert (run.name, run.backend, run.native_id) == ("far-fox", "gpu1", "4711")
    assert (run.reach, run.created) == (Reach.STALE, NOW)
    assert index.get(gone) is None
    index.close()


def test_what_a_run_directory_says_beyond_its_formats_can_be_added(
    tmp_path: Path, places: Places, make_rundir: MakeDir, attempt: Any
) -> None:
    made = spec(0)
    make_rundir(made, attempts=[attempt(end={"exit_code": 1})])
    index = Index.open(places.index)
    fill(
        index,
        places,
        {"local": tmp_path / "root"},
        adjust=lambda run, folder: replace(run, reason=f"CUDA out of memory in {folder.name}"),
    )
    run = index.get(made.run_id)
    assert run is not None
    assert run.reason == f"CUDA out of memory in {made.run_id}"
    index.close()


def test_two_backends_of_one_root_list_a_run_once_at_the_one_it_was_sent_to(
    tmp_path: Path, places: Places, make_rundir: MakeDir, attempt: Any
) -> None:
    made, other = spec(0), spec(1)
    for one in (made, other):
        make_rundir(one, attempts=[attempt(end={"exit_code": 0})])
    append(places.annotations, [Annotation(run_id=made.run_id, backend="scratch")])
    index = Index.open(places.index)
    roots = {"local": tmp_path / "root", "scratch": tmp_path / "root"}
    assert fill(index, places, roots).with_directory == 2
    assert {run.id: run.backend for run in index.rows(index.ids())} == {
        made.run_id: "scratch",
        other.run_id: "local",
    }
    index.close()


# -------------------------------------------------------------------------------- run directories


def test_only_run_directories_are_read(tmp_path: Path, make_rundir: MakeDir) -> None:
    folder = make_rundir(spec(0))
    runs = folder.parent
    (runs / ".new-x").mkdir()
    (runs / "notes").mkdir()
    (runs / mint_id()).mkdir()
    (runs / mint_id()).write_text("")
    assert list(list_runs(runs.parent)) == [folder.name]
    assert list(list_runs(tmp_path / "nowhere")) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"spec": 3}', b'{"spec": {"argv": 3}}', b"\xff" * 50]
)
def test_a_run_whose_run_json_cannot_be_read_is_still_a_run(
    tmp_path: Path, make_rundir: MakeDir, attempt: Any, content: bytes
) -> None:
    folder = make_rundir(spec(0), attempts=[attempt(end={"exit_code": 0})])
    (folder / "run.json").write_bytes(content)
    told: list[str] = []
    run = read_run(tmp_path / "root", folder.name, "local", NOW, told.append)
    assert (run.id, run.state, run.exit_code) == (folder.name, State.SUCCEEDED, 0)
    assert (run.name, run.adopted) == (folder.name, False)
    assert len(told) == 1 and str(folder / "run.json") in told[0]


def test_an_exit_record_that_is_cut_or_anothers_is_none(
    tmp_path: Path, make_rundir: MakeDir, attempt: Any
) -> None:
    folder = make_rundir(spec(0), attempts=[attempt(end={"exit_code": 7})])
    path = folder / "attempts" / "0" / "exit.slot"
    whole = path.read_bytes()
    length = int.from_bytes(whole[8:12], "little")
    record = read_exit(path, folder.name, 0)
    assert record is not None
    assert record["exit_code"] == 7
    assert read_exit(path, folder.name, 1) is None
    assert read_exit(path, mint_id(), 0) is None
    for cut in range(12 + length + 4):
        path.write_bytes(whole[:cut] + b"\0" * (len(whole) - cut))
        assert read_exit(path, folder.name, 0) is None, cut
        path.write_bytes(whole[:cut])
        assert read_exit(path, folder.name, 0) is None, cut
    path.unlink()
    assert read_exit(path, folder.name, 0) is None


def test_the_highest_claimed_attempt_is_the_runs(make_rundir: MakeDir, attempt: Any) -> None:
    folder = make_rundir(spec(0), attempts=[attempt(), attempt()])
    for name in ("2", "007", "1000000", "x", "-1", "٣"):
        (folder / "attempts" / name).mkdir()
    (folder / "attempts" / "1000000" / "claim").touch()
    assert highest_attempt(folder) == 1
    (folder / "attempts" / "2" / "claim").symlink_to("/nowhere")
    assert highest_attempt(folder) == 2, "that a claim exists is what counts"


def test_reading_follows_no_links_waits_for_no_pipe_and_takes_no_giants(tmp_path: Path) -> None:
    (tmp_path / "true.json").write_text("{}")
    assert read_object(tmp_path / "true.json") == {}
    (tmp_path / "link.json").symlink_to(tmp_path / "true.json")
    assert read_object(tmp_path / "link.json") is None
    os.mkfifo(tmp_path / "pipe.json")
    assert read_object(tmp_path / "pipe.json") is None
    (tmp_path / "giant.json").write_text('{"a": "' + "x" * 70_000 + '"}')
    assert read_object(tmp_path / "giant.json") is None
    (tmp_path / "deep.json").write_text("[" * 60_000)
    assert read_object(tmp_path / "deep.json") is None
    assert read_object(tmp_path) is None


def test_the_log_of_an_adopted_process_counts_if_it_is_still_that_file(
    tmp_path: Path, make_rundir: MakeDir, attempt: Any
) -> None:
    folder = make_rundir(spec(0), attempts=[attempt(end={"exit_code": 0})])
    logs = folder / "attempts" / "0" / "logs"
    (logs / "0.log").unlink()
    log = tmp_path / "nohup.out"
    log.write_text("hello")
    found = log.stat()
    named = {"path": str(log), "dev": found.st_dev, "inode": found.st_ino}
    (logs / "0.ref").write_text(json.dumps(named))
    assert read_run(tmp_path / "root", folder.name, "local", NOW).log_bytes == 5
    (logs / "0.ref").write_text(json.dumps(named | {"inode": 1}))
    assert read_run(tmp_path / "root", folder.name, "local", NOW).log_bytes is None


def test_reading_a_run_directory_changes_nothing_in_it(
    tmp_path: Path, make_rundir: MakeDir, attempt: Any
) -> None:
    folder = make_rundir(spec(0), attempts=[attempt(end={"exit_code": 0})])
    listing = ["find", str(folder), "-printf", "%p %s %T@ %m\n"]
    before = subprocess.run(listing, capture_output=True, check=True).stdout
    read_run(tmp_path / "root", folder.name, "local", NOW)
    assert subprocess.run(listing, capture_output=True, check=True).stdout == before
