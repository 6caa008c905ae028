"""Reading on in many files at once: what has grown, no more than was asked for, nothing else."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from tests.payload.harness import Agent, Refusal


def pieces(agent: Agent, *files: list[Any], run: str, budget: int = 1 << 20) -> list[Any]:
    answer, body = agent.call_body("tails", runs=[[run, 0, list(files)]], budget=budget)
    found = []
    for _, number, offset, length, _, identity, cut in answer["pieces"]:
        found.append((files[number][0], offset, body[:length], identity, cut))
        body = body[length:]
    assert not body
    return found


@pytest.fixture
def run(agent: Agent) -> str:
    run = agent.shell('seq 1 1000; echo \'{"step": 1}\' >> "$TRAINDECK_METRICS"')
    agent.ended(run)
    return run


def test_only_what_is_there_and_has_grown_is_sent(agent: Agent, run: str) -> None:
    log = agent.log(run)
    asked = [["logs/0.log", 3, None], ["metrics.jsonl", 0, None], ["traces/none", 0, None]]
    first = pieces(agent, *asked, run=run)
    assert [(name, offset, data) for name, offset, data, _, _ in first] == [
        ("logs/0.log", 3, log[3:]),
        ("metrics.jsonl", 0, b'{"step": 1}\n'),
    ]
    names = {name: identity for name, _, _, identity, _ in first}
    again = [["logs/0.log", len(log), names["logs/0.log"]]]
    assert pieces(agent, *again, run=run) == []
    with open(agent.directory(run) / "logs/0.log", "ab") as file:
        file.write(b"more")
    ((_, offset, data, _, cut),) = pieces(agent, *again, run=run)
    assert (offset, data, cut) == (len(log), b"more", False)


def test_a_file_that_was_cut_or_replaced_is_sent_from_its_beginning(agent: Agent, run: str) -> None:
    ((_, _, log, identity, _),) = pieces(agent, ["logs/0.log", 0, None], run=run)
    path = agent.directory(run) / "logs/0.log"
    os.truncate(path, 5)
    known = ["logs/0.log", len(log), identity]
    ((_, offset, data, _, cut),) = pieces(agent, known, run=run)
    assert (offset, data, cut) == (0, log[:5], True)
    os.truncate(path, 0)
    assert [(p[1], p[2], p[4]) for p in pieces(agent, known, run=run)] == [(0, b"", True)]
    path.rename(path.with_name("old"))
    path.write_bytes(log + b"longer")
    ((_, offset, data, other, cut),) = pieces(agent, known, run=run)
    assert (offset, data, cut) == (0, log + b"longer", True)
    assert other != identity


def test_no_more_is_sent_than_was_asked_for(agent: Agent, run: str) -> None:
    log = agent.log(run)
    answer, body = agent.call_body(
        "tails",
        runs=[[run, 0, [["logs/0.log", 0, None], ["metrics.jsonl", 0, None]]]],
        budget=1000,
    )
    assert body == log[:1000] and answer["more"]
    assert len(answer["pieces"]) == 1


@pytest.mark.parametrize(
    "runs",
    [
        None,
        {},
        [1],
        [["short", 0, []]],
        [["0" * 12, -1, []]],
        [["0" * 12, 0, ["x"]]],
        [["0" * 12, 0, [["../../run.json", 0, None]]]],
        [["0" * 12, 0, [["/etc/passwd", 0, None]]]],
        [["0" * 12, 0, [["x", -1, None]]]],
        [["0" * 12, 0, [["x", 0, 5]]]],
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(agent: Agent, run: str, runs: Any) -> None:
    with pytest.raises(Refusal):
        agent.call("tails", runs=runs, budget=10)


def test_a_link_leads_nowhere_and_a_pipe_holds_nobody_up(agent: Agent, run: str) -> None:
    directory = agent.directory(run)
    (directory / "out").symlink_to("/etc/passwd")
    (directory / "folder").symlink_to("/etc")
    os.mkfifo(directory / "pipe")
    asked = [["out", 0, None], ["folder/passwd", 0, None], ["pipe", 0, None], ["logs", 0, None]]
    assert pieces(agent, *asked, run=run) == []
    gone = agent.call("tails", runs=[["0" * 12, 0, [["metrics.jsonl", 0, None]]]], budget=10)
    assert gone == {"pieces": [], "more": False}


def beside(
    agent: Agent, *folders: dict[str, Any], budget: int = 1 << 20
) -> tuple[list[Any], bytes]:
    answer, body = agent.call_body("tails", runs=[], beside=list(folders), budget=budget)
    return answer["beside"], body


LOOK = {"names": r".*\.csv|log\.jsonl", "skip": ["data"], "since": 0.0}


def test_files_beside_are_found_by_their_names_the_newest_first(
    agent: Agent, run: str, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    for count, name in enumerate(
        ("a.csv", "deep/er/log.jsonl", "data/b.csv", ".git/c.csv", "d.txt")
    ):
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (1000 + count, 1000 + count))
    (work / "out.csv").symlink_to("/etc/passwd")
    (work / "out").symlink_to("/etc")
    os.mkfifo(work / "pipe.csv")
    asked = {"run": run, "folder": str(work), "files": [["a.csv", 1, None, None]], "look": LOOK}
    ((folder,), body) = beside(agent, asked)
    assert [words[:3] for words in folder["found"]] == [
        ["deep/er/log.jsonl", 17, 1001.0],
        ["a.csv", 5, 1000.0],
    ]
    assert body == b".csv" and folder["pieces"][0][:2] == [0, 1]
    late = {**asked, "look": {**LOOK, "since": 1000.5}}
    ((folder,), _) = beside(agent, late)
    assert [words[0] for words in folder["found"]] == ["deep/er/log.jsonl"]
    ((folder,), _) = beside(agent, {**asked, "folder": str(tmp_path / "none")})
    assert folder == {"pieces": [], "found": []}


def test_a_file_that_was_written_anew_in_its_place_is_sent_from_its_beginning(
    agent: Agent, run: str
) -> None:
    path = agent.directory(run).parent.parent / "artifacts/a.csv"
    path.write_bytes(b"a" * 9000)

    def known(data: bytes) -> dict[str, Any]:
        info = path.stat()
        check = zlib.crc32(data[-4096:], zlib.crc32(data[:4096]))
        words = ["a.csv", len(data), f"{info.st_dev}:{info.st_ino}", check]
        return {"run": run, "folder": "artifacts", "files": [words], "look": None}

    path.write_bytes(b"a" * 9001)
    ((folder,), body) = beside(agent, known(b"a" * 9000))
    assert body == b"a" and not folder["pieces"][0][-1]
    path.write_bytes(b"b" + b"a" * 9000)
    ((folder,), body) = beside(agent, known(b"a" * 9000))
    assert body == path.read_bytes() and folder["pieces"][0][-1]


@pytest.mark.parametrize(
    "folder",
    [
        1,
        {"folder": ""},
        {"folder": "../other"},
        {"folder": "a", "files": [["/etc/passwd", 0, None, None]]},
        {"folder": "a", "files": [["x", 0, None, "check"]]},
        {"folder": "a", "look": {"names": "("}},
        {"folder": "a", "look": {"names": 5}},
    ],
    ids=str,
)
def test_a_folder_that_makes_no_sense_is_refused(agent: Agent, run: str, folder: Any) -> None:
    asked = {"run": run, **folder} if isinstance(folder, dict) else folder
    with pytest.raises(Refusal):
        agent.call("tails", runs=[], beside=[asked], budget=10)
