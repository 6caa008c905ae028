"""What only we know about runs survives everything but its own file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from traindeck.console.store.annotations import Annotation, append, read
from traindeck.console.store.errors import StoreError
from traindeck.console.store.index import Index
from traindeck.console.store.records import RunRecord

APPEND = """
from pathlib import Path
from traindeck.console.store.annotations import Annotation, append
for i in range(args["count"]):
    append(Path(args["path"]), [Annotation(run_id="r", time=float(i), note=args["who"] * 500)])
"""


def test_annotations_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    written = [
        Annotation(run_id="a", time=1.5, name="kühl [bold]\n", tags={"sft": "", "old": None}),
        Annotation(run_id="b", time=2.0, note="", archived=False, looked_at=3.25),
        Annotation(run_id="c", backend="local", native_id="", attempt=0, submitted_as="calm-fox"),
        Annotation(run_id="d", deleted=True),
    ]
    append(tmp_path / "annotations.jsonl", written[:2])
    append(tmp_path / "annotations.jsonl", written[2:])
    found, end = read(tmp_path / "annotations.jsonl")
    assert found == written
    assert read(tmp_path / "annotations.jsonl", end) == ([], end)


def test_a_torn_last_line_costs_that_line_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "annotations.jsonl"
    append(path, [Annotation(run_id="a", note="kept")])
    whole = path.stat().st_size
    append(path, [Annotation(run_id="b", note="torn")])
    for cut in range(whole, path.stat().st_size):
        os.truncate(path, whole)
        with open(path, "ab") as file:
            file.write(b'{"run": "b", "time": 0.0, "note": "torn"}\n'[: cut - whole])
        assert [a.note for a in read(path)[0]] == ["kept"]
        append(path, [Annotation(run_id="c", note="after")])
        assert [a.note for a in read(path)[0] if a.run_id != "b"] == ["kept", "after"]


@pytest.mark.parametrize(
    "line",
    [
        b"not json", b"[]", b"3", b'{"run": 3}', b'{"run": ""}', b'{"note": "x"}', b"\xff\xff",
        b"[" * 100_000, b'{"run": "' + b"x" * (2 << 20) + b'"}',
    ],
)  # fmt: skip
def test_lines_that_are_not_ours_are_skipped(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "annotations.jsonl"
    path.write_bytes(line + b'\n{"run": "a", "note": "kept"}\n')
    assert [a.note for a in read(path)[0]] == ["kept"]


def test_fields_of_a_wrong_type_are_as_if_absent(tmp_path: Path) -> None:
    path = tmp_path / "annotations.jsonl"
    path.write_text(
        '{"run": "a", "time": "x", "name": 3, "note": [], "archived": 1, "looked_at": 1e999, '
        '"tags": [], "attempt": -1, "deleted": "yes", "later": true}\n'
    )
    assert read(path)[0] == [Annotation(run_id="a")]


def test_several_processes_append_at_once_and_no_line_is_lost(
    tmp_path: Path, process: Callable[..., Any]
) -> None:
    path = str(tmp_path / "annotations.jsonl")
    writers = [process(APPEND, path=path, who=who, count=100) for who in "abcd"]
    for writer in writers:
        writer.result()
    found, _ = read(Path(path))
    assert len(found) == 400
    assert {a.note for a in found} == {who * 500 for who in "abcd"}


def test_a_file_that_cannot_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "annotations.jsonl").mkdir()
    with pytest.raises(StoreError, match=r"Cannot write .*annotations\.jsonl: is a directory"):
        append(tmp_path / "annotations.jsonl", [Annotation(run_id="a")])


def test_an_annotation_shows_on_its_run(
    index: Index, tmp_path: Path, make_run: Callable[..., RunRecord]
) -> None:
    run = make_run(tags={"sft": "", "old": "1"})
    index.put(run)
    path = tmp_path / "annotations.jsonl"
    append(
        path, [Annotation(run_id=run.id, name="best", note="look", tags={"old": None, "n": "1"})]
    )
    assert index.catch_up(path) == 1
    assert index.catch_up(path) == 0
    found = index.get(run.id)
    assert found is not None
    assert (found.name, found.note, found.tags) == ("best", "look", {"sft": "", "n": "1"})
    assert index.resolve("best") == run.id
    append(path, [Annotation(run_id=run.id, note="", archived=True, looked_at=5.0)])
    index.catch_up(path)
    found = index.get(run.id)
    assert found is not None
    assert (found.note, found.archived, found.looked_at) == ("", True, 5.0)


def test_an_annotation_may_come_before_its_run(
    index: Index, tmp_path: Path, make_run: Callable[..., RunRecord]
) -> None:
    run = make_run()
    append(tmp_path / "a.jsonl", [Annotation(run_id=run.id, note="known before")])
    index.catch_up(tmp_path / "a.jsonl")
    index.put(run)
    found = index.get(run.id)
    assert found is not None
    assert found.note == "known before"
    index.put(run)  # as the next listing of its place does
    found = index.get(run.id)
    assert found is not None
    assert found.note == "known before"


def test_a_run_that_was_removed_on_purpose_does_not_come_back(
    index: Index, tmp_path: Path, make_run: Callable[..., RunRecord]
) -> None:
    run = make_run()
    index.put(run)
    append(tmp_path / "a.jsonl", [Annotation(run_id=run.id, deleted=True)])
    index.catch_up(tmp_path / "a.jsonl")
    assert index.get(run.id) is None
    index.put(run)
    assert index.get(run.id) is None


def test_annotations_that_were_replaced_are_read_from_the_start(
    index: Index, tmp_path: Path, make_run: Callable[..., RunRecord]
) -> None:
    run = make_run()
    index.put(run)
    path = tmp_path / "a.jsonl"
    append(path, [Annotation(run_id=run.id, note="first version, quite a long one")])
    index.catch_up(path)
    append(tmp_path / "b.jsonl", [Annotation(run_id=run.id, note="second")])
    (tmp_path / "b.jsonl").replace(path)
    index.catch_up(path)
    found = index.get(run.id)
    assert found is not None
    assert found.note == "second"


def test_a_job_that_no_run_stands_for_is_known(index: Index, tmp_path: Path) -> None:
    line = Annotation(run_id="r1", backend="gpu1", native_id="77", attempt=1, submitted_as="fox")
    append(tmp_path / "a.jsonl", [line, Annotation(run_id="r1", note="x")])
    index.catch_up(tmp_path / "a.jsonl")
    (job,) = index.jobs_without_run()
    assert (job.run_id, job.backend, job.native_id, job.attempt) == ("r1", "gpu1", "77", 1)


@pytest.mark.fault
@pytest.mark.parametrize("at", ["write", "fsync"])
def test_what_cannot_be_stored_is_taken_back_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    path = tmp_path / "annotations.jsonl"
    append(path, [Annotation(run_id="r", note="before")])
    before = path.read_bytes()
    real_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        if at == "write" and b"second" in data and b"first" not in data:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data[:40] if at == "write" else data)

    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", write)
    if at == "fsync":
        monkeypatch.setattr(os, "fsync", fsync)
    lines = [Annotation(run_id="r", note="first"), Annotation(run_id="r", note="second")]
    with pytest.raises(StoreError):
        append(path, lines)
    assert path.read_bytes() == before
    monkeypatch.undo()
    append(path, [Annotation(run_id="r", note="after")])
    assert [line.note for line in read(path)[0]] == ["before", "after"]
