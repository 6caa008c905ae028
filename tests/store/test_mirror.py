"""Copies of what grows elsewhere: true at any instant, whoever reads, whoever is killed."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from traindeck.console.store import mirror as mirrors
from traindeck.console.store.mirror import Copy, Held, Mirror

RUN = "0123456789ab"
LOG = "attempts/0/logs/0.log"


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirror")


def whole(copy: Copy) -> bytes:
    held = copy.held()
    data = copy.read(held.begin, held.size, held.content)
    assert data is not None
    return data


def test_what_is_appended_is_held_by_its_place_in_the_file(mirror: Mirror) -> None:
    copy = mirror.copy(RUN, LOG)
    assert copy.held() == Held() and copy.read(0, 5, "") is None
    with copy.writing() as writer:
        assert writer is not None and writer.cursor == ""
        writer.append(0, b"one\n", "1:2")
        writer.append(4, b"two\n", "1:2")
        writer.append(2, b"e\ntwo\nthree\n", "1:2")  # some of it is known
        writer.append(100, b"beyond a gap", "1:2")
        assert writer.cursor == "14@1:2"
    assert whole(copy) == b"one\ntwo\nthree\n"
    held = copy.held()
    assert copy.read(4, 3, held.content) == b"two"
    assert copy.read(14, 3, held.content) == b"" and copy.read(15, 3, held.content) is None
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (copy.path, copy.path.parent)]
    assert modes == [0o600, 0o700]


def test_a_file_that_was_cut_or_replaced_is_never_mixed_with_what_it_was(mirror: Mirror) -> None:
    copy = mirror.copy(RUN, LOG)
    contents = []
    for identity, data, cut in (("1:2", b"old", False), ("1:2", b"cut", True), ("3", b"x", False)):
        with copy.writing() as writer:
            assert writer is not None
            writer.append(0, data, identity, cut=cut)
        contents.append(copy.held().content)
        assert whole(copy) == data
    assert len(set(contents)) == 3
    assert copy.read(0, 1, contents[0]) is None


def test_one_process_at_a_time_writes(mirror: Mirror) -> None:
    copy = mirror.copy(RUN, LOG)
    with copy.writing() as first:
        assert first is not None
        with mirror.copy(RUN, LOG).writing() as second:
            assert second is None
    with copy.writing() as third:
        assert third is not None


def test_a_file_far_ahead_is_held_from_near_its_end(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "WHOLE", 1000)
    monkeypatch.setattr(mirrors, "END", 100)
    copy = mirror.copy(RUN, LOG)
    with copy.writing() as writer:
        assert writer is not None
        writer.skip_to(1000, "1:2")
        writer.append(0, b"x" * 1000, "1:2")
        writer.skip_to(1900, "1:2")
        assert writer.cursor == "1000@1:2"
        writer.skip_to(10**10, "1:2")
        assert writer.cursor == f"{10**10 - 100}@1:2"
        writer.append(10**10 - 100, b"e" * 100, "1:2")
    held = copy.held()
    assert (held.begin, held.size) == (10**10 - 100, 10**10)
    assert copy.read(0, 5, held.content) is None
    assert copy.read(10**10 - 5, 9, held.content) == b"eeeee"
    assert copy.path.stat().st_blocks * 512 < 1 << 20


def test_no_copy_grows_without_bound(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "LIMIT", 1 << 20)
    copy = mirror.copy(RUN, LOG)
    data = random.Random(1).randbytes(5 << 20)
    with copy.writing() as writer:
        assert writer is not None
        for at in range(0, len(data), 10_000):
            writer.append(at, data[at : at + 10_000], "1:2")
            assert copy.path.stat().st_blocks * 512 < 3 << 20
    held = copy.held()
    assert held.size == len(data) and held.size - held.begin <= 1 << 20
    assert whole(copy) == data[held.begin :]


def test_what_a_crash_of_the_machine_may_have_taken_is_not_believed(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = mirror.copy(RUN, LOG)
    for unsynced, data in ((0, b"synced"), (1 << 20, b"synced and not")):
        monkeypatch.setattr(mirrors, "UNSYNCED", unsynced)
        with copy.writing() as writer:
            assert writer is not None
            writer.append(0, data, "1:2")
    assert whole(copy) == b"synced and not"
    monkeypatch.setattr(mirrors, "boot_id", lambda: "another")
    assert whole(copy) == b"synced"
    with copy.writing() as writer:
        assert writer is not None and writer.cursor == "6@1:2"
        writer.append(6, b" again", "1:2")
        assert whole(copy) == b"synced again"


KILLED = """
import sys
from pathlib import Path
from traindeck.console.store.mirror import Mirror
with Mirror(Path(sys.argv[1])).copy(sys.argv[2], sys.argv[3]).writing() as writer:
    turn = 0
    print(flush=True)
    while True:
        letter = b"abcdefgh"[turn % 8 : turn % 8 + 1]
        writer.append(0, letter * 10, str(turn), cut=True)
        for at in range(10, 5000, 100):
            writer.append(at, letter * 100, str(turn))
        turn += 1
"""


@pytest.mark.parametrize("seed", range(10))
def test_who_is_killed_while_writing_leaves_true_bytes(mirror: Mirror, seed: int) -> None:
    copy = mirror.copy(RUN, LOG)
    command = [sys.executable, "-c", KILLED, str(mirror.folder), RUN, LOG]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    seen = 0
    wanted = random.Random(seed).randint(1, 2000)
    while seen < wanted:
        held = copy.held()
        data = copy.read(held.begin, held.size, held.content) if held.identity else None
        if data is not None:
            letter = b"abcdefgh"[int(held.identity) % 8 :][:1]
            assert data == letter * len(data)
            seen += 1
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    held = copy.held()
    letter = b"abcdefgh"[int(held.identity) % 8 :][:1]
    assert whole(copy) == letter * held.size
    with copy.writing() as mine:
        assert mine is not None and mine.held == held


def test_small_files_are_kept_and_listed(mirror: Mirror) -> None:
    mirror.keep(RUN, "run.json", b"{}")
    with mirror.copy(RUN, LOG).writing() as writer:
        assert writer is not None
        writer.append(0, b"line\n", "1:2")
    assert mirror.kept(RUN, "run.json") == b"{}" and mirror.kept(RUN, LOG) == b"line\n"
    assert mirror.kept(RUN, "attempts/0/exit.slot") is None
    names = [(name, size, folder) for name, size, _, folder in mirror.entries(RUN)]
    assert [(name, folder) for name, _, folder in names] == [
        ("attempts", True),
        ("run.json", False),
    ]
    assert [entry[:2] for entry in mirror.entries(RUN, "attempts/0/logs")] == [(LOG, 5)]
    mirror.forget(RUN)
    assert not mirror.has(RUN) and mirror.kept(RUN, "run.json") is None


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a/../b", ".x", "a/.x.of", "\0", ""])
def test_no_path_leads_out_of_the_mirror(mirror: Mirror, path: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        mirror.keep(RUN, path, b"x")


def test_what_was_not_written_for_longest_goes_first(mirror: Mirror) -> None:
    for number in range(5):
        run = f"{number:012d}"
        mirror.keep(run, "run.json", b"x" * 100_000)
        path = mirror.folder / run / "run.json"
        os.utime(path, (number, number))
    mirror.prune(220_000)
    assert [mirror.has(f"{number:012d}") for number in range(5)] == [False] * 3 + [True] * 2


def test_where_nothing_can_be_written_nothing_is_held(tmp_path: Path) -> None:
    (tmp_path / "mirror").write_bytes(b"a file")
    mirror = Mirror(tmp_path / "mirror")
    mirror.keep(RUN, "run.json", b"{}")
    with mirror.copy(RUN, LOG).writing() as writer:
        assert writer is None
    assert mirror.kept(RUN, "run.json") is None and mirror.entries(RUN) == []
