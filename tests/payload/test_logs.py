"""Reading logs: any place, any size, while they grow."""

from __future__ import annotations

import base64
import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.payload.harness import Agent, Refusal


def key(run: str) -> dict[str, Any]:
    return {"run_id": run, "attempt": 0, "rank": 0}


@pytest.fixture
def ended_run(agent: Agent) -> str:
    run = agent.shell("seq 1 1000")
    agent.ended(run)
    return run


def find(agent: Agent, run: str, needle: bytes, offset: int, backward: bool = False) -> int | None:
    answer = agent.call(
        "log_find",
        **key(run),
        needle=base64.b64encode(needle).decode(),
        offset=offset,
        backward=backward,
    )
    found: int | None = answer["offset"]
    return found


def test_any_piece_can_be_read(agent: Agent, ended_run: str) -> None:
    log = agent.log(ended_run)
    for offset, size in ((0, 10), (17, 100), (len(log) - 3, 100), (len(log), 5), (10**9, 5)):
        _, body = agent.call_body("read_at", **key(ended_run), offset=offset, size=size)
        assert body == log[offset : offset + size]
    _, body = agent.call_body("read_at", **key(ended_run), offset=0, size=1 << 40)
    assert body == log


def test_at_most_four_mebibytes_are_read_at_once(agent: Agent, ended_run: str) -> None:
    os.truncate(agent.directory(ended_run) / "logs/0.log", 10 << 20)
    _, body = agent.call_body("read_at", **key(ended_run), offset=0, size=10 << 20)
    assert len(body) == 4 << 20


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": -1},
        {"size": -1},
        {"offset": "0"},
        {"offset": 1.5},
        {"rank": -1},
        {"rank": 100_000},
        {"attempt": True},
        {"run_id": "short"},
        {"attempt": 1},
        {"run_id": "0" * 12},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(
    agent: Agent, ended_run: str, wrong: dict[str, Any]
) -> None:
    with pytest.raises(Refusal):
        agent.call("read_at", **{**key(ended_run), "offset": 0, "size": 1, **wrong})


def test_a_log_that_is_not_there_yet_is_empty(agent: Agent, ended_run: str) -> None:
    stat = agent.call("log_stat", **{**key(ended_run), "rank": 3})
    assert stat == {"size": 0, "identity": "", "ended": True}
    assert agent.call_body("read_at", **{**key(ended_run), "rank": 3}, offset=0)[1] == b""


def test_the_identity_changes_with_the_file(agent: Agent, ended_run: str) -> None:
    path = agent.directory(ended_run) / "logs/0.log"
    before = agent.call("log_stat", **key(ended_run))
    os.truncate(path, 5)
    cut = agent.call("log_stat", **key(ended_run))
    assert cut == {**before, "size": 5}
    path.rename(path.with_suffix(".old"))
    path.write_bytes(b"new")
    replaced = agent.call("log_stat", **key(ended_run))
    assert replaced["identity"] not in ("", before["identity"])


def test_a_log_that_leads_elsewhere_is_not_read(agent: Agent, ended_run: str) -> None:
    path = agent.directory(ended_run) / "logs/0.log"
    path.unlink()
    for make in (lambda: path.symlink_to("/etc/passwd"), lambda: os.mkfifo(path)):
        make()
        assert agent.call_body("read_at", **key(ended_run), offset=0)[1] == b""
        assert agent.call("log_stat", **key(ended_run))["size"] == 0
        path.unlink()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_searching_is_what_find_and_rfind_say(agent: Agent, data: st.DataObject) -> None:
    if not agent.ids:
        agent.ended(agent.start("true"))
    run = agent.ids[0]
    log = data.draw(st.binary(max_size=200) | st.text("ab\n", max_size=200).map(str.encode))
    (agent.directory(run) / "logs/0.log").write_bytes(log)
    needle = data.draw(
        st.binary(min_size=1, max_size=3) | st.text("ab\n", min_size=1).map(str.encode)
    )
    offset = data.draw(st.integers(0, 250))
    found = log.find(needle, offset)
    assert find(agent, run, needle, offset) == (found if found >= 0 else None)
    at = min(offset, len(log))
    before = log.rfind(needle, 0, max(0, at - 1) + len(needle)) if at else -1
    assert find(agent, run, needle, offset, backward=True) == (before if before >= 0 else None)


def test_a_match_across_the_pieces_of_a_search_is_found(agent: Agent, ended_run: str) -> None:
    piece = 4 << 20
    path = agent.directory(ended_run) / "logs/0.log"
    rng = random.Random(5)
    places = sorted(
        {0, piece - 1, piece - 4, piece, 2 * piece - 2, *rng.sample(range(3 * piece), 5)}
    )
    with open(path, "wb") as file:
        file.truncate(3 * piece + 10)
        for place in places:
            file.seek(place)
            file.write(b"NEEDLE"[:6])
    with open(path, "rb") as file:
        log = file.read()
    at = 0
    expected = []
    while (at := log.find(b"NEEDLE", at)) >= 0:
        expected.append(at)
        at += 1
    seen = []
    at = 0
    while (found := find(agent, ended_run, b"NEEDLE", at)) is not None:
        seen.append(found)
        at = found + 1
    assert seen == expected
    seen = []
    at = len(log)
    while (found := find(agent, ended_run, b"NEEDLE", at, backward=True)) is not None:
        seen.append(found)
        at = found
    assert seen[::-1] == expected


@pytest.mark.parametrize("needle", ["", "*not base64*", "A"], ids=repr)
def test_a_needle_that_is_none_is_refused(agent: Agent, ended_run: str, needle: str) -> None:
    with pytest.raises(Refusal):
        agent.call("log_find", **key(ended_run), needle=needle, offset=0)
