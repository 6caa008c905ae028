"""Servers that are no slurmrestd, or one on a bad day: what they can do to us, which is little."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.backends.base import BackendError, TraindeckError, Unreachable
from traindeck.backends.slurm import rest, rest_json
from traindeck.backends.slurm.by_rest import ByRest
from traindeck.backends.slurm.rest import NotSent, Refused, Slurmrestd, place_of
from traindeck.backends.slurm.rest_token import Tokens

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdW4iOiJyb290In0.c2lnbmVk"
DATA = Path(__file__).parent / "data"
PATHS = {"paths": {"/slurm/v0.0.42/jobs/": {}, "/slurm/v0.0.99/jobs/": {}}}

Reply = Callable[[str, asyncio.StreamWriter], Awaitable[bytes | None]]


def answer(data: bytes | Any, status: str = "200 OK", kind: str = "application/json") -> bytes:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Server:
    """Answers on the loopback with what `replies` has for the path, a description by default."""

    def __init__(self) -> None:
        self.replies: dict[str, bytes | Reply] = {"/openapi/v3": answer(PATHS)}
        self.asked: list[str] = []
        self.url = ""

    async def start(self, path: str | None = None) -> None:
        if path is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            port = self._server.sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
        else:
            self._server = await asyncio.start_unix_server(self._serve, path)
            self.url = f"unix://{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if length := re.search(r"content-length: (\d+)", head, re.I):
                    await reader.readexactly(int(length[1]))
                self.asked.append(head)
                path = head.split(" ", 2)[1].partition("?")[0]
                reply = self.replies.get(path, answer({"errors": []}, "404 Not Found"))
                data = reply if isinstance(reply, bytes) else await reply(head, writer)
                if data is None:
                    return
                writer.write(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def asks(server: Server) -> AsyncIterator[Slurmrestd]:
    made = client(server)
    yield made
    await made.aclose()


def client(server: Server, token: str = TOKEN) -> Slurmrestd:
    environ = {"SLURM_JWT": token} if token else {}
    tokens = Tokens("lab", environ=environ, needed=bool(token))
    return Slurmrestd("lab", place_of("lab", server.url), tokens)


async def test_both_headers_go_with_every_request_and_the_version_into_its_path(
    server: Server, asks: Slurmrestd
) -> None:
    server.replies["/slurm/v0.0.42/jobs/"] = answer(
        (DATA / "24.11" / "rest-jobs.json").read_bytes()
    )
    told = await ByRest(asks).jobs()
    assert told.jobs is not None and len(list(told.jobs.foreign())) == 14
    for head in server.asked:
        assert f"x-slurm-user-token: {TOKEN}" in head.lower().replace(TOKEN.lower(), TOKEN)
        assert "x-slurm-user-name: root" in head.lower()


async def test_a_redirect_is_not_followed_with_the_token(server: Server, asks: Slurmrestd) -> None:
    other = Server()
    await other.start()
    target = f"Location: {other.url}/slurm/v0.0.42/jobs/\r\n".encode()
    moved = answer(b"", "307 Temporary Redirect").replace(b"\r\n\r\n", b"\r\n" + target + b"\r\n")
    server.replies["/slurm/v0.0.42/jobs/"] = moved
    with pytest.raises(BackendError, match="sends us elsewhere"):
        await asks.get("jobs")
    assert other.asked == []
    await other.stop()


async def test_no_proxy_of_the_environment_sees_the_token(
    server: Server, asks: Slurmrestd, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await asks.discover() == 42


async def endless(head: str, writer: asyncio.StreamWriter) -> bytes | None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    while not writer.is_closing():
        writer.write(piece)
        await writer.drain()
    return None


async def silent(head: str, writer: asyncio.StreamWriter) -> bytes | None:
    await asyncio.sleep(60)
    return None


async def dribbling(head: str, writer: asyncio.StreamWriter) -> bytes | None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)
    return None


async def gone(head: str, writer: asyncio.StreamWriter) -> bytes | None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    return None


async def heads(head: str, writer: asyncio.StreamWriter) -> bytes | None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not writer.is_closing():
        writer.write(b"X-More: " + b"x" * 0x10000 + b"\r\n")
        await writer.drain()
    return None


GZIPPED = answer(b"\x1f\x8b", kind="application/json").replace(
    b"Content-Type", b"Content-Encoding: gzip\r\nContent-Type"
)
GARBAGE: dict[str, tuple[bytes | Reply, type[Exception], str]] = {
    "endless": (endless, BackendError, "more than 1 MB"),
    "endless heads": (heads, Unreachable, "broke off"),
    "silent": (silent, Unreachable, "did not answer in time"),
    "dribbling": (dribbling, Unreachable, "did not answer in time"),
    "gone": (gone, Unreachable, "broke off"),
    "not http": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Unreachable, "broke off"),
    "a page": (answer(b"<html>", kind="text/html"), BackendError, "no JSON"),
    "deep": (answer(b"[" * 200_000), BackendError, "no JSON"),
    "a list": (answer([1]), BackendError, "no object"),
    "nothing": (answer(b""), BackendError, "no object"),
    "gzip": (GZIPPED, BackendError, "an encoding that was not asked for"),
    "binary": (answer(bytes(range(256))), BackendError, "no JSON"),
    "escapes": (
        answer({"errors": [{"error": "\x1b[31mred\r\n" + TOKEN}]}, "500 Oops"),
        Refused,
        r"says: \[31mred …",
    ),
    "unauthorized": (
        answer(b"Authentication failure", "401 Unauthorized", "text/plain"),
        Refused,
        "refuses the token: Authentication failure",
    ),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_whatever_is_answered_becomes_one_sentence(
    name: str, server: Server, asks: Slurmrestd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "MOST", 1 << 20)
    monkeypatch.setattr(rest, "WITHIN", 1.0)
    reply, kind, words = GARBAGE[name]
    server.replies["/slurm/v0.0.42/jobs/"] = reply
    with pytest.raises(kind, match=words) as refused:
        await asks.get("jobs")
    said = str(refused.value)
    assert isinstance(refused.value, TraindeckError)
    assert said.isprintable() and TOKEN not in said
    # A console that polls is told the same, and nothing of a job.
    told = await ByRest(asks).jobs()
    assert told.jobs is None and told.why


async def test_what_is_no_slurmrestd_or_a_newer_one_is_called_so(server: Server) -> None:
    for paths, words in (
        ({}, "no slurmrestd"),
        (
            {"/slurm/v0.0.99/jobs/": {}},
            r"offers 0\.0\.99, and Traindeck speaks 0\.0\.38 to 0\.0\.45",
        ),
        ({"/slurm/v0.0.36/jobs": {}}, r"offers 0\.0\.36"),
    ):
        server.replies["/openapi/v3"] = answer({"paths": paths})
        asks = client(server)
        with pytest.raises(BackendError, match=words):
            await asks.discover()
        await asks.aclose()


async def test_a_server_that_was_upgraded_is_asked_again_what_it_offers(
    server: Server, asks: Slurmrestd
) -> None:
    server.replies["/slurm/v0.0.42/jobs/"] = answer({"jobs": []})
    await asks.get("jobs")
    del server.replies["/slurm/v0.0.42/jobs/"]
    server.replies["/openapi/v3"] = answer({"paths": {"/slurm/v0.0.45/jobs/": {}}})
    server.replies["/slurm/v0.0.45/jobs/"] = answer({"jobs": []})
    with pytest.raises(Refused):
        await asks.get("jobs")
    assert await asks.get("jobs") == {"jobs": []}
    assert asks.version == 45


async def test_a_command_is_asked_for_another_token_when_one_is_refused(
    server: Server, tmp_path: Path
) -> None:
    count = tmp_path / "count"
    argv = ["sh", "-c", 'echo x >> "$0"; echo SLURM_JWT=t$(wc -l < "$0")', str(count)]
    asks = Slurmrestd("lab", place_of("lab", server.url), Tokens("lab", argv))

    async def only_second(head: str, writer: asyncio.StreamWriter) -> bytes:
        return answer(PATHS) if "t2" in head else answer(b"", "401 Unauthorized", "text/plain")

    server.replies["/openapi/v3"] = only_second
    assert await asks.discover() == 42
    await asks.aclose()


async def test_a_socket_of_this_machine_needs_no_token(tmp_path: Path) -> None:
    server = Server()
    await server.start(str(tmp_path / "s"))
    server.replies["/slurm/v0.0.42/jobs/"] = answer({"jobs": []})
    asks = client(server, token="")
    assert await asks.get("jobs") == {"jobs": []}
    assert "x-slurm" not in "".join(server.asked).lower()
    assert (True, "no token: the socket knows who asks") in await ByRest(asks).checks()
    await asks.aclose()
    await server.stop()


async def test_a_port_that_nobody_listens_on_has_been_sent_nothing() -> None:
    asks = Slurmrestd("lab", place_of("lab", "http://127.0.0.1:9"), Tokens("lab", ["echo", "t"]))
    with pytest.raises(NotSent, match="cannot be reached"):
        await asks.get("jobs")
    await asks.aclose()


# ---------------------------------------------------------------------------- a submission, cut


class Agent:
    """The agent's side of a submission, as far as `hand_over` asks it."""

    def __init__(self, turn: str | None = "submit") -> None:
        self.turn = turn
        self.outcomes: list[tuple[str, str | None]] = []

    async def send(self, verb: str, header: Any) -> dict[str, Any]:
        assert verb == "reserve"
        return {"evidence": {}, **({"turn": self.turn} if self.turn else {})}

    async def call(self, verb: str, words: Any) -> tuple[dict[str, Any], bytes]:
        assert verb == "handed"
        self.outcomes.append((words["outcome"], words["job"]))
        return {"evidence": {}, "job": words["job"]}, b""


HEADER = {"run_id": "0123456789ab", "attempt": 0}
SENT = {"version": 42, "request": {"job": {}}}
OURS = {"job_id": 12, "name": "td-0123456789ab-0", "job_state": ["PENDING"], "user_name": "root"}


async def hand_over(asks: Slurmrestd, agent: Any) -> dict[str, Any]:
    return await ByRest(asks).hand_over(agent, agent.send, HEADER, SENT)


async def test_a_submission_whose_answer_was_lost_is_looked_for_before_anything_else(
    server: Server, asks: Slurmrestd
) -> None:
    server.replies["/slurm/v0.0.42/job/submit"] = gone
    server.replies["/slurm/v0.0.42/jobs/"] = answer({"jobs": [OURS]})
    agent = Agent()
    assert (await hand_over(asks, agent))["job"] == "12"
    assert agent.outcomes == [("handed", "12")]


async def test_one_that_may_still_arrive_is_not_called_refused(
    server: Server, asks: Slurmrestd
) -> None:
    server.replies["/slurm/v0.0.42/job/submit"] = gone
    server.replies["/slurm/v0.0.42/jobs/"] = answer({"jobs": []})
    agent = Agent()
    with pytest.raises(Unreachable, match=r"broke off.* The run is kept"):
        await hand_over(asks, agent)
    assert agent.outcomes == [("unknown", None)]


async def test_one_that_is_given_up_halfway_is_left_for_the_next_to_look_for(
    server: Server, asks: Slurmrestd
) -> None:
    sent = asyncio.Event()

    async def received(head: str, writer: asyncio.StreamWriter) -> bytes | None:
        sent.set()
        return await silent(head, writer)

    server.replies["/slurm/v0.0.42/job/submit"] = received
    agent = Agent()
    submitting = asyncio.create_task(hand_over(asks, agent))
    await sent.wait()
    submitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitting
    assert agent.outcomes == [("unknown", None)]


async def test_the_next_one_looks_and_submits_none_if_there_is_one(
    server: Server, asks: Slurmrestd
) -> None:
    server.replies["/slurm/v0.0.42/jobs/"] = answer({"jobs": [OURS]})
    agent = Agent(turn="look")
    assert (await hand_over(asks, agent))["job"] == "12"
    assert not any("submit" in head.partition("\r\n")[0] for head in server.asked)


async def test_a_plan_made_for_another_version_is_not_sent(
    server: Server, asks: Slurmrestd
) -> None:
    server.replies["/openapi/v3"] = answer({"paths": {"/slurm/v0.0.45/jobs/": {}}})
    agent = Agent()
    with pytest.raises(BackendError, match="Plan it anew"):
        await hand_over(asks, agent)
    assert agent.outcomes == []


# ------------------------------------------------------------------------------ large, or silent


@settings(max_examples=200, deadline=None)
@given(
    value=st.dictionaries(st.text(max_size=5), st.lists(st.integers()) | st.text() | st.none())
    | st.lists(st.integers()),
    indent=st.sampled_from([None, 1]),
    cut=st.integers(0, 40),
)
def test_json_in_pieces_is_read_as_any_json_or_refused_as_it(
    value: Any, indent: int | None, cut: int
) -> None:
    whole = json.dumps(value, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rest_json, "LARGE", 0)
        patch.setattr(rest_json, "AT_ONCE", 2)
        assert asyncio.run(rest_json.read(whole.encode())) == value
        for broken in (whole[:cut], whole + "x", whole.replace(",", ",,", 1), whole[cut:]):
            try:
                expected = json.loads(broken)
            except ValueError:
                with pytest.raises(ValueError):
                    asyncio.run(rest_json.read(broken.encode()))
            else:
                assert asyncio.run(rest_json.read(broken.encode())) == expected


async def test_others_have_their_turn_while_the_jobs_of_a_large_cluster_are_read(
    server: Server, asks: Slurmrestd
) -> None:
    (one,) = json.loads((DATA / "22.05" / "rest-job.json").read_text())["jobs"]
    many = {"jobs": [{**one, "job_id": number} for number in range(1, 3001)]}
    server.replies["/slurm/v0.0.42/jobs/"] = answer(many)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    data = json.dumps(many).encode()
    counting = asyncio.create_task(count())
    assert len((await rest_json.read(data))["jobs"]) == 3000
    counting.cancel()
    assert turns >= 3000 // rest_json.AT_ONCE - 1
    told = await ByRest(asks).jobs()
    assert told.jobs is not None and len(told.jobs.of_run("0123456789ab")) == 3000


async def test_a_server_that_is_silent_is_not_waited_for_at_every_look(
    server: Server, asks: Slurmrestd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "WITHIN", 0.3)
    server.replies["/slurm/v0.0.42/jobs/"] = silent
    by_rest = ByRest(asks)
    first = await by_rest.jobs()
    asked = len(server.asked)
    again = await by_rest.jobs()
    assert first.why == again.why != "" and again.jobs is None
    assert len(server.asked) == asked
    server.replies["/slurm/v0.0.42/jobs/"] = answer({"jobs": []})
    by_rest._again_at = 0.0
    assert (await by_rest.jobs()).jobs is not None
