"""The agent's store of blobs, and the trees that it lays out for runs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.content import MemoryContent
from tests.payload.harness import Agent, Refusal, Served, until

DAY = 86400.0
FILES = {
    "train.py": b"print(1)\n",
    "empty.py": b"",
    "pkg/deep/a.py": b"a\n",
    "go.sh": b"#!/bin/sh\n",
}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(agent: Agent, *blobs: bytes) -> None:
    entries = [{"digest": sha(data), "size": len(data)} for data in blobs]
    agent.call("blobs_put", b"".join(blobs), blobs=entries)


def missing(agent: Agent, *digests: str) -> set[str]:
    answer, body = agent.call_body("blobs_missing", bytes.fromhex("".join(digests)))
    assert answer["missing"] * 32 == len(body)
    return {body[at : at + 32].hex() for at in range(0, len(body), 32)}


def path_of(agent: Agent, digest: str) -> Path:
    return agent.root / "blobs" / digest[:2] / digest


def with_code(agent: Agent, digest: str, *argv: str) -> dict[str, Any]:
    """What `start` is asked with, for a run whose code is a tree."""
    request = agent.request(argv or ["true"])
    request["files"] = [{"path": "code/", "tree": digest}]
    return request


def left(agent: Agent) -> list[str]:
    """What lies in the folder of runs."""
    runs = agent.root / "runs"
    return sorted(n for n in os.listdir(runs) if n != ".swept") if runs.exists() else []


def test_a_run_gets_the_files_and_folders_of_a_tree(agent: Agent) -> None:
    odd = "odd \n\udcff \u00e9"
    code = MemoryContent({**FILES, odd: b"odd"}, ["out", "a/b"], executable=["go.sh"])
    put(agent, *code.data.values())
    request = with_code(agent, code.tree.digest)
    agent.call("start", **request)
    top = agent.directory(request["run_id"], None) / "code"
    for path, data in {**FILES, odd: b"odd"}.items():
        assert (top / path).read_bytes() == data
        assert (top / path).stat().st_mode & 0o777 == (0o700 if path == "go.sh" else 0o600)
    assert (top / "out").is_dir() and (top / "a/b").is_dir()
    assert {p.stat().st_mode & 0o777 for p in (top, top / "pkg", top / "out")} == {0o700}


def test_an_empty_tree_is_an_empty_folder(agent: Agent) -> None:
    code = MemoryContent({})
    put(agent, *code.data.values())
    request = with_code(agent, code.tree.digest)
    agent.call("start", **request)
    assert os.listdir(agent.directory(request["run_id"], None) / "code") == []


def test_blobs_are_private(agent: Agent) -> None:
    put(agent, b"x")
    path = path_of(agent, sha(b"x"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.stat().st_mode & 0o777 for p in list(path.parents)[:2]] == [0o700, 0o700]


def test_what_is_missing_is_refused_in_words_and_named(agent: Agent) -> None:
    code = MemoryContent(FILES)
    kept = [data for data in code.data.values() if data not in (b"a\n", b"print(1)\n")]
    put(agent, *kept)
    link = Served(agent)
    number = link.ask("start", with_code(agent, code.tree.digest))
    answer, body = link.receive()
    link.close()
    assert answer["id"] == number and answer["missing"] == 2
    assert answer["error"].startswith("2 blobs of the code are not in ")
    assert {body[:32].hex(), body[32:].hex()} == {sha(b"a\n"), sha(b"print(1)\n")}
    assert left(agent) == []


def test_a_tree_of_which_nothing_is_here_is_refused(agent: Agent) -> None:
    with pytest.raises(Refusal, match="1 blobs of the code are not in"):
        agent.once("start", with_code(agent, "0" * 64))
    assert left(agent) == []


def test_what_is_asked_for_is_answered_by_what_is_not_there(agent: Agent) -> None:
    assert missing(agent) == set()
    put(agent, b"one", b"two")
    assert missing(agent, sha(b"one"), sha(b"three"), sha(b"two")) == {sha(b"three")}
    with pytest.raises(Refusal, match="32 bytes"):
        agent.call("blobs_missing", b"abc")


def test_bytes_that_are_not_those_of_the_digest_are_not_kept(agent: Agent) -> None:
    with pytest.raises(Refusal, match="not its own"):
        agent.call("blobs_put", b"two", blobs=[{"digest": sha(b"one"), "size": 3}])
    assert missing(agent, sha(b"one")) == {sha(b"one")}
    assert [p for p in (agent.root / "blobs").rglob("*") if p.is_file()] == []


def test_a_large_blob_comes_in_pieces_and_goes_on_where_it_was_cut(agent: Agent) -> None:
    data = os.urandom(300_000)
    entry = {"digest": sha(data), "size": len(data)}

    def piece(at: int, length: int) -> None:
        entries = [{**entry, "offset": at, "length": length}]
        agent.call("blobs_put", data[at : at + length], blobs=entries)

    piece(0, 100_000)
    answer = agent.call("blobs_missing", bytes.fromhex(sha(data)))
    assert answer == {"missing": 1, "partial": {sha(data): 100_000}}
    with pytest.raises(Refusal, match="only 100000 bytes are here"):
        piece(200_000, 100_000)
    piece(50_000, 150_000)  # sent twice in part, as by another sender
    piece(200_000, 100_000)
    piece(200_000, 100_000)  # as by another, who had not heard of it
    assert path_of(agent, sha(data)).read_bytes() == data
    assert agent.call("blobs_missing", bytes.fromhex(sha(data))) == {"missing": 0, "partial": {}}


def test_pieces_that_do_not_make_the_blob_are_not_kept(agent: Agent) -> None:
    entry = {"digest": sha(b"right"), "size": 5}
    agent.call("blobs_put", b"wro", blobs=[{**entry, "offset": 0, "length": 3}])
    with pytest.raises(Refusal, match="not its own"):
        agent.call("blobs_put", b"ng", blobs=[{**entry, "offset": 3, "length": 2}])
    assert agent.call("blobs_missing", bytes.fromhex(sha(b"right")))["partial"] == {}


def test_many_senders_of_the_same_blobs_do_not_hurt_each_other(agent: Agent) -> None:
    small = [b"%d" % n for n in range(200)]
    large = os.urandom(400_000)
    senders = [Served(agent, f"s{n}") for n in range(4)]
    for at in range(0, len(large), 100_000):
        for link in senders:
            entry = {"digest": sha(large), "size": len(large), "offset": at, "length": 100_000}
            link.ask("blobs_put", {"blobs": [entry]}, large[at : at + 100_000])
    for link in senders:
        entries = [{"digest": sha(data), "size": len(data)} for data in small]
        link.ask("blobs_put", {"blobs": entries}, b"".join(small))
    for link in senders:
        for _ in range(5):
            answer, _ = link.receive()
            # One that lags may be told that the beginning has gone to its place; then all is there.
            assert "error" not in answer or "bytes are here" in answer["error"]
        link.close()
    assert missing(agent, sha(large), *map(sha, small)) == set()
    assert path_of(agent, sha(large)).read_bytes() == large
    assert not [p for p in (agent.root / "blobs").rglob(".*") if p.is_file()]


@pytest.mark.parametrize(
    "blobs",
    [
        [{"digest": "../../x", "size": 1}],
        [{"digest": "A" * 64, "size": 1}],
        [{"digest": sha(b"x")}],
        [{"digest": sha(b"x"), "size": -1}],
        [{"digest": sha(b"x"), "size": 5}],
        [{"digest": sha(b"x"), "size": 1, "offset": 1, "length": 1}],
        ["x"],
        None,
    ],
)
def test_senseless_blobs_are_refused_in_a_sentence(agent: Agent, blobs: Any) -> None:
    with pytest.raises(Refusal, match=r"^\S+( \S+){2,}\.$"):
        agent.once("blobs_put", {"blobs": blobs}, b"x")
    assert not [p for p in agent.root.rglob("*") if p.is_file() and "bin" not in p.parts]


def tree(*entries: Any, **more: Any) -> bytes:
    return json.dumps({"format": 1, "entries": entries, **more}).encode()


HOSTILE: Mapping[str, bytes] = {
    "above": tree(["..", "tree", "EMPTY", 0]),
    "itself": tree([".", "tree", "EMPTY", 0]),
    "no name": tree(["", "file", "EMPTY", 0]),
    "absolute": tree(["/etc/x", "file", "EMPTY", 0]),
    "a path": tree(["a/b", "file", "EMPTY", 0]),
    "a zero": tree(["a\0b", "file", "EMPTY", 0]),
    "no text": tree([5, "file", "EMPTY", 0]),
    "half a character": tree(["\ud800", "file", "EMPTY", 0]),
    "a device": tree(["a", "device", "EMPTY", 0]),
    "no digest": tree(["a", "file", "../../../etc/passwd", 0]),
    "no size": tree(["a", "file", "EMPTY", -1]),
    "short": tree(["a", "file"]),
    "no list": tree("abc"),
    "newer": tree(format=2),
    "no entries": b'{"format":1}',
    "no JSON": b"\0\1",
    "twice": tree(["a", "file", "EMPTY", 0], ["a", "file", "EMPTY", 0]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tree_that_cannot_be_is_refused_and_leaves_nothing(agent: Agent, name: str) -> None:
    data = HOSTILE[name].replace(b"EMPTY", sha(b"").encode())
    put(agent, data, b"")
    with pytest.raises(Refusal, match=r"^\S+( \S+){2,}\.$"):
        agent.once("start", with_code(agent, sha(data)))
    assert left(agent) == []


def test_a_tree_that_names_itself_over_and_over_ends_in_words(agent: Agent) -> None:
    """A small one that would be two to the power of forty folders. The agent counts to a million
    where SOAK is set, else to a part of it."""
    most = b"#: MOST = 1000000\n"
    source = agent.file.read_bytes()
    assert source.count(most) == 1
    agent.file.write_bytes(
        source if os.environ.get("SOAK") else source.replace(most, b"#: MOST = 50000\n")
    )
    data = tree()
    put(agent, data)
    for _ in range(40):
        data = tree(
            ["a", "tree", sha(data), 0], ["b", "tree", sha(data), 0], ["c", "file", "0" * 64, 1]
        )
        put(agent, data)
    with pytest.raises(Refusal, match="deeper or has more files"):
        agent.once("start", with_code(agent, sha(data)))
    assert left(agent) == []


def test_a_job_that_changes_its_code_does_not_change_that_of_others(agent: Agent) -> None:
    code = MemoryContent({"config": b"one\n", "large": b"x" * 100_000})
    put(agent, *code.data.values())
    script = "cd $TRAINDECK_RUN_DIR/code && echo two >> config && printf y >> large && rm -f x"
    first = with_code(agent, code.tree.digest, "sh", "-c", script)
    agent.call("start", **first)
    assert agent.ended(first["run_id"])["exit_code"] == 0
    second = with_code(agent, code.tree.digest, "sh", "-c", "cat $TRAINDECK_RUN_DIR/code/config")
    agent.call("start", **second)
    agent.ended(second["run_id"])
    assert agent.log(second["run_id"]) == b"one\n"
    assert path_of(agent, sha(b"x" * 100_000)).read_bytes() == b"x" * 100_000


def test_a_blob_that_a_crash_has_cut_short_is_missed_and_can_come_again(agent: Agent) -> None:
    code = MemoryContent(FILES)
    put(agent, *code.data.values())
    path_of(agent, sha(b"print(1)\n")).write_bytes(b"")
    with pytest.raises(Refusal, match="1 blobs"):
        agent.once("start", with_code(agent, code.tree.digest))
    put(agent, b"print(1)\n")
    agent.once("start", with_code(agent, code.tree.digest))


def test_a_run_that_is_there_needs_its_tree_no_more(agent: Agent) -> None:
    code = MemoryContent(FILES)
    put(agent, *code.data.values())
    request = with_code(agent, code.tree.digest)
    agent.call("start", **request)
    for path in (agent.root / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    assert agent.call("start", **request)["created"] is False


def test_others_are_answered_while_a_large_tree_is_laid_out(agent: Agent) -> None:
    code = MemoryContent({f"{n // 50}/{n}.py": b"%d" % n for n in range(6_000)})
    put(agent, *code.data.values())
    link = Served(agent)
    start = link.ask("start", with_code(agent, code.tree.digest))
    pings = 0
    while True:
        ping = link.ask("ping", {})
        answer, _ = link.receive()
        if answer["id"] == start:
            break
        assert answer["id"] == ping
        pings += 1
    link.receive()
    link.close()
    assert pings > 5


def test_a_large_tree_is_laid_out_whole(agent: Agent) -> None:
    """By several processes, where there is more than one processor."""
    files = {f"{n // 50}/deep/{n}.py": b"%d" % n for n in range(6_000)}
    code = MemoryContent(files, ["out", "7/deep/empty"])
    put(agent, *code.data.values())
    request = with_code(agent, code.tree.digest)
    agent.call("start", **request)
    top = agent.directory(request["run_id"], None) / "code"
    found = {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}
    assert found == files
    assert (top / "out").is_dir() and (top / "7/deep/empty").is_dir()


def test_all_that_a_large_tree_lacks_is_named_at_once(agent: Agent) -> None:
    code = MemoryContent({f"{n // 50}/{n}.py": b"%d" % n for n in range(6_000)})
    lacking = {b"%d" % n for n in range(7, 6_000, 80)}
    put(agent, *(data for data in code.data.values() if data not in lacking))
    link = Served(agent)
    link.ask("start", with_code(agent, code.tree.digest))
    answer, body = link.receive()
    link.close()
    assert answer["missing"] == len(lacking)
    named = {body[at : at + 32].hex() for at in range(0, len(body), 32)}
    assert named == set(map(sha, lacking))
    assert left(agent) == []


def test_whoever_asked_and_went_away_leaves_no_half_a_run(agent: Agent) -> None:
    code = MemoryContent({f"{n // 50}/{n}.py": b"%d" % n for n in range(6_000)})
    put(agent, *code.data.values())
    link = Served(agent)
    start = link.ask("start", with_code(agent, code.tree.digest))
    until(lambda: left(agent), "the folder")
    link.send({"id": start, "close": True})
    link.call("ping", {})
    link.close()
    assert left(agent) == []


def test_a_full_disk_is_said(agent: Agent, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    blobs = agent.root / "blobs"
    blobs.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "x", str(blobs)], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(Refusal, match=r"cannot be kept in .*No space left"):
            put(agent, b"x" * 200_000)
        assert not [p for p in blobs.rglob("*") if p.is_file()]
    finally:
        subprocess.run(["umount", str(blobs)], check=True)


def test_a_disk_that_is_full_half_way_through_a_large_tree_is_said(agent: Agent) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    code = MemoryContent({f"{n // 50}/{n}.py": b"%d" % n for n in range(6_000)})
    put(agent, *code.data.values())
    runs = agent.root / "runs"
    runs.mkdir(mode=0o700)
    files = ["mount", "-t", "tmpfs", "-o", "nr_inodes=5000", "x", str(runs)]
    if subprocess.run(files, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(Refusal, match="No space left"):
            agent.once("start", with_code(agent, code.tree.digest))
        assert left(agent) == []
    finally:
        subprocess.run(["umount", str(runs)], check=True)


# ------------------------------------------------------------------------------------------ sweep


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def test_blobs_that_no_recent_tree_needs_are_swept_once_a_day(agent: Agent) -> None:
    old, recent = MemoryContent({"a/old.py": b"old"}), MemoryContent({"a/new.py": b"new"})
    put(agent, *old.data.values(), *recent.data.values(), b"just sent")
    for code in (old, recent):
        agent.once("start", with_code(agent, code.tree.digest))
    until(lambda: (agent.root / "blobs/.swept").exists(), "the first sweep")
    files = [p for p in (agent.root / "blobs").rglob("*") if p.is_file()]
    for path in files:
        if path.name not in (recent.tree.digest, sha(b"just sent")) or path.parent.name != "trees":
            age(path, 15)
    age(path_of(agent, sha(b"just sent")), 13)
    (path_of(agent, sha(b"old")).parent / ".new-0").write_bytes(b"")
    age(path_of(agent, sha(b"old")).parent / ".new-0", 2)
    (path_of(agent, sha(b"old")).parent / f".part-{sha(b'x')}").write_bytes(b"")
    agent.once("start", with_code(agent, recent.tree.digest))
    until(lambda: not path_of(agent, sha(b"old")).exists(), "the sweep")
    until(lambda: not (agent.root / "blobs/trees" / old.tree.digest).exists(), "the use")
    until(lambda: missing_files(agent, old) == set(old.data), "all of the old one")
    assert missing_files(agent, recent) == set()
    assert path_of(agent, sha(b"just sent")).exists()
    assert not (path_of(agent, sha(b"old")).parent / ".new-0").exists()
    assert (path_of(agent, sha(b"old")).parent / f".part-{sha(b'x')}").exists()


def missing_files(agent: Agent, code: MemoryContent) -> set[str]:
    """As seen on the disk: asking would touch them."""
    return {digest for digest in code.data if not path_of(agent, digest).exists()}


def test_what_somebody_has_just_asked_for_is_not_swept(agent: Agent) -> None:
    put(agent, b"counted on", b"not asked for")
    for data in (b"counted on", b"not asked for"):
        age(path_of(agent, sha(data)), 20)
    assert missing(agent, sha(b"counted on")) == set()
    subprocess.run([*agent.argv, "sweep", "blobs"], check=False)  # nothing was ever used: no rule
    code = MemoryContent(FILES)
    put(agent, *code.data.values())
    agent.once("start", with_code(agent, code.tree.digest))
    until(lambda: not path_of(agent, sha(b"not asked for")).exists(), "the sweep")
    assert path_of(agent, sha(b"counted on")).exists()


def test_a_sweep_is_not_waited_for_and_is_not_due_again_the_same_day(agent: Agent) -> None:
    code = MemoryContent(FILES)
    put(agent, *code.data.values())
    unfinished = path_of(agent, sha(b"old")).parent / ".new-0"
    unfinished.parent.mkdir(exist_ok=True)
    unfinished.write_bytes(b"")
    age(unfinished, 2)
    agent.once("start", with_code(agent, code.tree.digest))
    until(lambda: not unfinished.exists(), "the sweep to have been in that folder")
    put(agent, b"old")
    age(path_of(agent, sha(b"old")), 20)
    stamp = (agent.root / "blobs/.swept").stat().st_mtime_ns
    agent.once("start", with_code(agent, code.tree.digest))
    assert (agent.root / "blobs/.swept").stat().st_mtime_ns == stamp
    assert path_of(agent, sha(b"old")).exists()
