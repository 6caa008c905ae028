"""The heart of the agent, on every Python from 3.6 up that this machine has."""

from __future__ import annotations

import os
import sys

import pytest
from tests.fakes.content import MemoryContent
from tests.payload.harness import Agent, Refusal, Served, members, until


def test_a_run_from_its_start_to_its_record(every_agent: Agent) -> None:
    agent = every_agent
    hello, _ = agent.once("hello")
    assert hello["root"] == str(agent.root)
    request = agent.request(
        ["sh", "-c", 'printf "%s" "$GREETING"; echo err >&2; exit 3'],
        environ={"GREETING": "h\u00e9llo \udcff", "PATH": os.environ["PATH"]},
    )
    answer, _ = agent.once("start", request)
    assert answer["created"] is True
    run = request["run_id"]
    record = agent.ended(run)
    assert (record["cause"], record["exit_code"], record["signal"]) == ("self", 3, None)
    assert record["started"] <= record["ended"]
    log = "h\u00e9llo \udcff".encode("utf-8", "surrogateescape") + b"err\n"
    _, body = agent.once("read_at", {"run_id": run, "attempt": 0, "rank": 0, "offset": 1})
    assert body == log[1:]
    stat, _ = agent.once("log_stat", {"run_id": run, "attempt": 0, "rank": 0})
    assert stat["size"] == len(log) and stat["ended"] is True
    again, _ = agent.once("start", request)
    assert again["created"] is False
    found, _ = agent.once("find", {"runs": None})
    assert found["runs"] == [{"id": run, "attempt": 0}]


def test_stopping_a_tree(every_agent: Agent) -> None:
    run = every_agent.shell("setsid sleep 300 & sleep 300 & wait", limits={"grace": 5})
    until(lambda: len(members(run)) == 3)
    answer, _ = every_agent.once("cancel", {"run_id": run, "attempt": 0, "by": "a test"})
    assert answer == {"state": "requested"}
    record = every_agent.ended(run)
    assert (record["cause"], record["signal"]) == ("cancel", 15)
    assert members(run) == []


def test_following_a_log_while_it_grows(every_agent: Agent) -> None:
    run = every_agent.shell("for i in 1 2 3; do echo $i; sleep 0.1; done")
    served = Served(every_agent, "xyz")
    number = served.ask(
        "follow", {"run_id": run, "attempt": 0, "rank": 0, "offset": 0, "credit": 1000}
    )
    log = b""
    while True:
        answer, body = served.receive()
        assert answer["id"] == number
        log += body
        assert answer["offset"] == len(log)
        if answer.get("eof"):
            break
    assert log == b"1\n2\n3\n"
    assert served.close() == 0


def test_repeats_hooks_and_limits(every_agent: Agent) -> None:
    waited = every_agent.shell("sleep 0.3")
    run = every_agent.shell(
        'test "$TRAINDECK_RUN" = "${TRAINDECK_RUN%/*}/1" && sleep 300',
        limits={"retries": 2, "time": 1.0, "grace": 1},
        after=waited,
        on_exit=["sh", "-c", "echo $TRAINDECK_STATE"],
    )
    record = every_agent.ended(run)
    assert (record["attempt"], record["cause"]) == (1, "timeout")
    log = every_agent.directory(run, 1) / "logs" / "on_exit.log"
    assert log.read_text() == "timeout\n"


def test_a_terminal(every_agent: Agent) -> None:
    program = "import sys; print(sys.stdout.isatty(), sys.stdin.isatty())"
    run = every_agent.start(sys.executable, "-c", program, pty=True)
    assert every_agent.ended(run)["exit_code"] == 0
    assert every_agent.log(run) == b"True False\n"


def test_refusals_are_sentences(every_agent: Agent) -> None:
    for verb, request in (
        ("start", {"run_id": "../../etc/abc"}),
        ("read", {"run_id": "0123456789ab", "path": "../x"}),
        ("nonsense", {}),
        ("poll", {"runs": 5}),
    ):
        with pytest.raises(Refusal, match=r"^\S+( \S+){2,}\.$"):
            every_agent.once(verb, request)


def test_code_from_the_store_of_blobs(every_agent: Agent) -> None:
    code = MemoryContent({"a/x.py": b"print(1)\n", "large": b"y" * 100_000}, ["out"])
    entries = [{"digest": digest, "size": len(data)} for digest, data in code.data.items()]
    every_agent.once("blobs_put", {"blobs": entries}, b"".join(code.data.values()))
    asked = bytes.fromhex("".join(code.data))
    assert every_agent.once("blobs_missing", {}, asked)[0] == {"missing": 0, "partial": {}}
    request = every_agent.request(["sh", "-c", "cd $TRAINDECK_RUN_DIR/code && cat a/x.py && ls"])
    request["files"] = [{"path": "code/", "tree": code.tree.digest}]
    every_agent.once("start", request)
    every_agent.ended(request["run_id"])
    assert every_agent.log(request["run_id"]) == b"print(1)\na\nlarge\nout\n"
