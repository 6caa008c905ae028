"""Many requests over one pair of pipes: none waits for another, and nothing is left behind."""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.payload.harness import PATIENCE, Agent, Served, runs, until


@pytest.fixture
def served(agent: Agent) -> Iterator[Served]:
    link = Served(agent)
    yield link
    link.close()


def follow(run: str, credit: int = 1 << 30, **more: object) -> dict[str, object]:
    return {"run_id": run, "attempt": 0, "rank": 0, "offset": 0, "credit": credit, **more}


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_marker_comes_first(agent: Agent) -> None:
    done = subprocess.run(
        [*agent.argv, "serve", "a-b-c"], input=b"", capture_output=True, check=True
    )
    assert done.stdout == b"\na-b-c\n"


def test_answers_carry_the_number_of_their_request(served: Served) -> None:
    for number in (7, 3, 2**40):
        served.send({"id": number, "verb": "hello"})
    assert [served.receive()[0]["id"] for _ in range(3)] == [7, 3, 2**40]


def test_a_refusal_answers_its_request_alone(served: Served) -> None:
    served.send({"id": 1, "verb": "no-such"})
    served.send({"id": 2, "verb": "poll", "runs": 5})
    served.send({"id": 3, "verb": "follow", "run_id": "0" * 12, "attempt": 0, "credit": 1})
    served.send({"id": 4, "verb": "ping"})
    answers = {answer["id"]: answer for answer, _ in (served.receive() for _ in range(4))}
    assert [("error" in answers[n]) for n in (1, 2, 3, 4)] == [True, True, True, False]


@pytest.mark.parametrize("number", [None, "1", True, [1]], ids=str)
def test_a_request_without_a_number_is_refused(served: Served, number: object) -> None:
    served.send({"id": number, "verb": "hello"})
    assert "number" in served.receive()[0]["error"]


@pytest.mark.parametrize(
    "noise",
    [
        b"\xff" * 64,
        struct.pack(">II", 2, 0) + b"[]",
        struct.pack(">II", 5, 0) + b"{nope",
        struct.pack(">II", 1 << 31, 0),
    ],
)
def test_what_is_no_frame_ends_the_connection(agent: Agent, noise: bytes) -> None:
    link = Served(agent)
    link.stdin.write(noise)
    link.stdin.flush()
    assert link.process.wait(PATIENCE) == 1
    link.close()


def test_a_frame_may_come_in_pieces(served: Served) -> None:
    text = json.dumps({"id": 1, "verb": "put", "path": "blobs/x"}).encode()
    frame = struct.pack(">II", len(text), 5) + text + b"hello"
    for at in range(len(frame)):
        served.stdin.write(frame[at : at + 1])
        served.stdin.flush()
    assert served.receive()[0]["size"] == 5


def test_a_ping_overtakes_a_long_search_and_a_chatty_stream(agent: Agent, served: Served) -> None:
    run = agent.start("true")
    agent.ended(run)
    log = agent.directory(run) / "logs/0.log"
    with open(log, "wb") as file:
        file.truncate(2 << 30)  # sparse
    served.send({"id": 1, "verb": "follow", **follow(run, 1 << 30)})
    served.send(
        {"id": 2, "verb": "log_find", "run_id": run, "attempt": 0, "rank": 0, "offset": 0,
         "needle": base64.b64encode(b"nowhere").decode(), "backward": False}
    )  # fmt: skip
    served.receive()
    served.send({"id": 3, "verb": "ping"})
    streamed = 0
    while True:
        answer, body = served.receive()
        assert answer["id"] != 2, "the search was done before the ping was answered"
        if answer["id"] == 3:
            break
        streamed += len(body)
    # No more than what the pipes and the buffer held.
    assert streamed < 8 << 20
    served.send({"id": 2, "close": True})
    served.send({"id": 1, "close": True})
    served.send({"id": 4, "verb": "ping"})
    while served.receive()[0]["id"] != 4:
        pass


def test_a_stream_sends_no_more_than_its_credit(agent: Agent, served: Served) -> None:
    run = agent.shell("seq 1 100000")
    agent.ended(run)
    log = agent.log(run)
    number = served.ask("follow", follow(run, 1000))
    got = b""
    while len(got) < 1000:
        got += served.receive()[1]
    assert got == log[:1000]
    served.send({"id": 99, "verb": "ping"})
    assert served.receive()[0]["id"] == 99
    served.send({"id": number, "credit": len(log)})
    while True:
        answer, body = served.receive()
        got += body
        if answer.get("eof"):
            break
    assert got == log


def test_streams_share_the_pipe(agent: Agent, served: Served) -> None:
    # Far more than waits in the pipe's queue for a stream that was asked for a moment earlier.
    ids = [agent.shell("seq 1 900000") for _ in range(3)]
    for run in ids:
        agent.ended(run)
    numbers = {served.ask("follow", follow(run)): run for run in ids}
    first: dict[int, int] = {}
    ended: list[int] = []
    position = 0
    while len(ended) < 3:
        answer, body = served.receive()
        position += len(body)
        first.setdefault(answer["id"], position)
        if answer.get("eof"):
            ended.append(answer["id"])
    # Each has sent something before any of them was through.
    assert max(first.values()) < len(agent.log(ids[0]))
    assert set(numbers) == set(ended)


def test_a_follower_gets_every_byte_and_then_the_end(agent: Agent, served: Served) -> None:
    run = agent.script("""
import os, time
for i in range(2000):
    os.write(1, b"%06d\\n" % i)
    if i % 100 == 0:
        time.sleep(0.02)
""")
    served.ask("follow", follow(run))
    log = b""
    while True:
        answer, body = served.receive()
        log += body
        if answer.get("eof"):
            break
    assert log == b"".join(b"%06d\n" % i for i in range(2000))


def test_a_follower_can_go_on_from_any_byte(agent: Agent, served: Served) -> None:
    run = agent.shell("seq 1 50")
    agent.ended(run)
    log = agent.log(run)
    for offset in range(0, len(log) + 1, 7):
        served.ask("follow", follow(run, offset=offset, follow=False))
        rest = b""
        while True:
            answer, body = served.receive()
            rest += body
            if answer.get("eof"):
                break
        assert rest == log[offset:]


def test_without_follow_it_ends_at_the_present_end(agent: Agent, served: Served) -> None:
    run = agent.shell("echo here; sleep 300")
    agent.said(run, b"here")
    served.ask("follow", follow(run, follow=False))
    assert served.receive()[1] == b"here\n"
    assert served.receive()[0]["eof"] is True


def test_a_log_that_is_cut_or_replaced_begins_again(agent: Agent, served: Served) -> None:
    run = agent.shell("echo one; sleep 300")
    agent.said(run, b"one")
    log = agent.directory(run) / "logs/0.log"
    served.ask("follow", follow(run))
    answer, body = served.receive()
    assert body == b"one\n"
    os.truncate(log, 0)
    with open(log, "ab") as file:
        file.write(b"2\n")
    answer, body = served.receive()
    if not body:
        body = served.receive()[1]
    assert answer["cut"] is True and body == b"2\n"
    log.rename(log.with_suffix(".old"))
    log.write_bytes(b"another one\n")
    answer, body = served.receive()
    assert answer["cut"] is True and answer["identity"] != ""
    assert (body or served.receive()[1]) == b"another one\n"


def test_a_reader_that_knows_another_file_begins_again(agent: Agent, served: Served) -> None:
    run = agent.shell("echo hello")
    agent.ended(run)
    served.ask("follow", follow(run, offset=3, identity="1:2", follow=False))
    answer, body = served.receive()
    assert (answer["cut"], body) == (True, b"hello\n")
    stat = agent.call("log_stat", run_id=run, attempt=0, rank=0)
    served.receive()
    served.ask("follow", follow(run, offset=3, identity=stat["identity"], follow=False))
    answer, body = served.receive()
    assert "cut" not in answer and body == b"lo\n"


def test_the_log_of_a_killed_run_ends(agent: Agent, served: Served) -> None:
    run = agent.start("sh", "-c", "echo here; exec sleep 300")
    agent.said(run, b"here")
    served.ask("follow", follow(run))
    assert served.receive()[1] == b"here\n"
    leader = agent.leader(run)
    os.kill(agent.supervisor(run), 9)
    os.kill(leader, 9)
    assert served.receive()[0]["eof"] is True


def test_twenty_starts_through_one_pipe_start_one_job(agent: Agent, served: Served) -> None:
    request = agent.request(["sh", "-c", "echo started; sleep 300"])
    for _ in range(20):
        served.ask("start", request)
    answers = [served.receive()[0] for _ in range(20)]
    assert sum(answer["created"] for answer in answers) == 1
    agent.said(request["run_id"], b"started")
    assert agent.log(request["run_id"]) == b"started\n"


def test_two_hundred_streams_leave_no_descriptor(agent: Agent, served: Served) -> None:
    run = agent.shell("echo here; sleep 300")
    agent.said(run, b"here")
    served.call("ping", {})
    before = sorted(os.listdir(f"/proc/{served.process.pid}/fd"))
    numbers = [served.ask("follow", follow(run)) for _ in range(200)]
    seen = set()
    while len(seen) < 200:
        answer, body = served.receive()
        assert body == b"here\n"
        seen.add(answer["id"])
    for number in numbers:
        served.send({"id": number, "close": True})
    served.call("ping", {})
    assert sorted(os.listdir(f"/proc/{served.process.pid}/fd")) == before


def test_a_number_may_be_used_again_when_it_is_free(agent: Agent, served: Served) -> None:
    run = agent.shell("sleep 300")
    served.send({"id": 5, "verb": "follow", **follow(run)})
    served.send({"id": 5, "verb": "hello"})
    assert "in use" in served.receive()[0]["error"]
    served.send({"id": 5, "close": True})
    served.send({"id": 5, "verb": "hello"})
    assert "root" in served.receive()[0]


def test_it_ends_with_its_stdin_whatever_it_was_doing(agent: Agent) -> None:
    run = agent.shell("while :; do echo chatty; done")
    agent.said(run, b"chatty")
    link = Served(agent)
    link.ask("follow", follow(run))
    link.ask(
        "log_find",
        {"run_id": run, "attempt": 0, "rank": 0, "offset": 0, "needle": "bm93aGVyZQ=="},
    )
    link.receive()
    pid = link.process.pid
    # Nobody reads any more: its pipe is full.
    assert link.close() == 0
    assert not runs(pid)
    assert agent.evidence(run)["phase"] == "running"


def test_it_ends_when_nobody_can_hear_it(agent: Agent) -> None:
    link = Served(agent)
    link.stdout.close()
    assert link.process.wait(PATIENCE) == 0
    link.stdin.close()


def test_it_is_idle_when_nothing_is_asked(agent: Agent, served: Served) -> None:
    run = agent.start("sleep", "300")
    served.ask("follow", follow(run))
    served.send({"id": 99, "verb": "ping"})
    assert served.receive()[0]["id"] == 99
    before = cpu_seconds(served.process.pid)
    time.sleep(1.0)
    assert cpu_seconds(served.process.pid) - before <= 0.1


def test_a_poll_of_five_hundred_is_one_answer(agent: Agent, served: Served) -> None:
    run = agent.shell("exit 3")
    agent.ended(run)
    for number in range(499):
        copy = agent.root / "runs" / f"c{number:011d}"
        copy.mkdir()
        (copy / "run.json").write_text('{"format":1}')
    ids = [run, *(path.name for path in (agent.root / "runs").glob("c*"))]
    answer, _ = served.call("poll", {"runs": ids})
    assert set(answer["runs"]) == set(ids)
    assert answer["runs"][run]["exit"]["exit_code"] == 3


def test_its_start_goes_on_though_the_pipe_is_cut(agent: Agent) -> None:
    request = agent.request(["sleep", "300"])
    link = Served(agent)
    link.ask("start", request)
    link.process.kill()
    link.process.wait()
    link.stdin.close()
    link.stdout.close()
    # Either it never was, or it is whole: and asking again settles it.
    agent.call("start", **request)
    until(lambda: agent.evidence(request["run_id"])["phase"] == "running")
    assert len(agent.happened(request["run_id"], "claimed")) == 1
