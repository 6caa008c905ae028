"""Submissions under way: written before anything is sent, found again after any crash."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from traindeck.console.store.errors import StoreError
from traindeck.console.store.ids import mint_id
from traindeck.console.store.journal import ABANDONED, Journal, Submission
from traindeck.console.store.owner import Life, this_process

BEGIN = """
from pathlib import Path
from traindeck.console.store.journal import Journal
s = Journal(Path(args["folder"])).begin(
    run_id=args["id"], attempt=0, backend="local", plan_digest="d", spec={"argv": ["true"]})
print("begun", flush=True)
sys.stdin.readline()
"""

CLAIM = """
from pathlib import Path
from traindeck.console.store.journal import Journal
journal = Journal(Path(args["folder"]))
print("ready", flush=True)
sys.stdin.readline()
print(sum(journal.claim(s) is not None for s in journal.entries()), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def begin(journal: Journal, **changes: Any) -> Submission:
    values: dict[str, Any] = {
        "run_id": mint_id(), "attempt": 0, "backend": "local", "plan_digest": "d",
        "spec": {"argv": ["true"]},
    }  # fmt: skip
    return journal.begin(**(values | changes))


def test_a_submission_is_on_the_disk_for_its_owner_alone(journal: Journal) -> None:
    submission = begin(journal, spec={"argv": ["echo", "\udcff"]})
    (path,) = journal.folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.folder.stat().st_mode) == 0o700
    assert journal.entries() == [submission]
    assert submission.phase == "submitting"
    assert submission.owner == this_process()


def test_the_native_id_is_kept_and_settling_removes_the_file(journal: Journal) -> None:
    submission = journal.submitted(begin(journal), "4711")
    assert journal.entries() == [submission]
    assert (submission.phase, submission.native_id) == ("submitted", "4711")
    journal.remove(submission)
    journal.remove(submission)
    assert journal.entries() == []


def test_an_attempt_cannot_be_under_way_twice(journal: Journal) -> None:
    submission = begin(journal)
    with pytest.raises(StoreError, match="is being submitted already"):
        begin(journal, run_id=submission.run_id)
    begin(journal, run_id=submission.run_id, attempt=1)
    assert len(journal.entries()) == 2


def test_a_living_owners_submission_is_left_alone(
    journal: Journal, process: Callable[..., Any]
) -> None:
    sender = process(BEGIN, folder=str(journal.folder), id=mint_id())
    assert sender.line() == "begun"
    (entry,) = journal.entries()
    assert entry.owner.life() is Life.ALIVE
    assert journal.orphans() == []
    assert journal.claim(entry) is None


def test_the_submission_of_a_killed_process_is_an_orphan(
    journal: Journal, process: Callable[..., Any]
) -> None:
    sender = process(BEGIN, folder=str(journal.folder), id=mint_id())
    assert sender.line() == "begun"
    os.kill(sender.popen.pid, signal.SIGKILL)
    # Not waited for: a zombie is dead too.
    os.waitid(os.P_PID, sender.popen.pid, os.WEXITED | os.WNOWAIT)
    (orphan,) = journal.orphans()
    assert orphan.spec == {"argv": ["true"]}
    sender.popen.wait()
    assert len(journal.orphans()) == 1


def test_an_orphan_is_settled_by_one_process_only(
    journal: Journal, process: Callable[..., Any]
) -> None:
    sender = process(BEGIN, folder=str(journal.folder), id=mint_id())
    assert sender.line() == "begun"
    sender.popen.kill()
    sender.popen.wait()
    claimers = [process(CLAIM, folder=str(journal.folder)) for _ in range(4)]
    for claimer in claimers:
        assert claimer.line() == "ready"
    for claimer in claimers:
        claimer.popen.stdin.write("\n")
        claimer.popen.stdin.flush()
    assert sorted(claimer.line() for claimer in claimers) == ["0", "0", "0", "1"]


def test_a_pid_that_was_given_to_another_process_does_not_keep_an_orphan_alive() -> None:
    mine = this_process()
    assert mine.life() is Life.ALIVE
    assert replace(mine, starttime=mine.starttime - 1).life() is Life.DEAD


def test_another_boot_means_dead_and_another_machine_means_not_known() -> None:
    mine = this_process()
    assert replace(mine, boot_id="before").life() is Life.DEAD
    assert replace(mine, boot_id="other", host="elsewhere").life() is Life.ELSEWHERE
    assert replace(mine, namespace="pid:[1]").life() is Life.ELSEWHERE, "another container"


def test_what_another_machine_sends_counts_as_dead_after_an_hour(journal: Journal) -> None:
    submission = begin(journal)
    path = next(journal.folder.glob("*.json"))
    data = json.loads(path.read_bytes())
    data["owner"] |= {"host": "elsewhere", "boot_id": "other"}
    path.write_text(json.dumps(data))
    assert journal.orphans() == []
    data["begun"] = submission.begun - ABANDONED - 1
    path.write_text(json.dumps(data))
    assert len(journal.orphans()) == 1


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"run_id": 3}', b"\xff\xfe", b"null"])
def test_a_file_that_cannot_be_read_still_names_its_run(journal: Journal, torn: bytes) -> None:
    submission = begin(journal, attempt=2)
    path = next(journal.folder.glob("*.json"))
    path.write_bytes(torn)
    (entry,) = journal.entries()
    assert (entry.run_id, entry.attempt, entry.backend) == (submission.run_id, 2, "")
    long_ago = submission.begun - ABANDONED - 1
    os.utime(path, (long_ago, long_ago))
    assert len(journal.orphans()) == 1


def test_what_a_killed_process_was_writing_is_swept_and_other_files_are_left(
    journal: Journal,
) -> None:
    submission = begin(journal)
    half = journal.folder / f".{submission.run_id}.0.json.77.0a1b2c3d"
    half.write_text("{")
    (journal.folder / "notes.txt").write_text("mine")
    assert len(journal.entries()) == 1
    journal.orphans()
    assert half.exists(), "it may be somebody's who is writing now"
    os.utime(half, (0, 0))
    journal.orphans()
    assert not half.exists()
    assert (journal.folder / "notes.txt").exists()


def test_an_unwritable_journal_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("")
    with pytest.raises(StoreError, match="is not a folder"):
        begin(Journal(tmp_path / "journal"))


def test_a_missing_journal_is_an_empty_one(journal: Journal) -> None:
    assert journal.entries() == []
    assert journal.orphans() == []
