"""A port of a run's machine at this one: for as long as it is wanted, whatever the link does."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.conformance.subject import Subject, process
from tests.conformance.test_reaching import SERVES

from traindeck.backends.base import JobRef, Listener, RunSpec, Unreachable
from traindeck.backends.errors import TraindeckError, UsageError
from traindeck.console.runs import forwarding
from traindeck.console.runs.workspace import Workspace, open_workspace
from traindeck.console.store.records import RunRecord

LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"


def minted() -> str:
    """Another id for each test: the locks of runs are this machine's."""
    return "".join(secrets.choice(LETTERS) for _ in range(12))


class World:
    """A place with one run that listens on a port and sends back what it is sent, turned round."""

    def __init__(self, subject: Subject, ws: Workspace, port: int, run_id: str) -> None:
        self.subject = subject
        self.ws = ws
        self.port = port
        self.run = RunRecord(id=run_id, name="calm-fox", backend="local", state="running")

    async def asked(self, local: int, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        try:
            writer.write(data)
            writer.write_eof()
            async with asyncio.timeout(20):
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@pytest.fixture
async def world(home: Path, tmp_path: Path) -> AsyncIterator[World]:
    subject = process(tmp_path)
    ws = open_workspace()
    backend = subject.make()
    ws.use_backend(backend)
    run_id = minted()
    spec = RunSpec(run_id=run_id, argv=(sys.executable, "-c", SERVES), cwd="/", created=1.0)
    ref: JobRef = await backend.submit(backend.plan(spec, await backend.survey(spec)))
    said = b""
    async with backend.logs(ref) as chunks:
        async for chunk in chunks:
            said += chunk.data
            if b"end" in said:
                break
    yield World(subject, ws, int(said.split()[1]), run_id)
    assert subject.restore is not None and subject.close is not None
    subject.restore()
    over = False
    while not over:
        with suppress(Unreachable):  # that the agent was cut off is not noticed at once
            await backend.cancel(ref, grace=0.0)
            over = (await backend.poll([ref]))[ref].state.terminal
        await asyncio.sleep(0.02)
    await ws.aclose()
    await subject.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def test_what_is_sent_here_is_answered_there(world: World) -> None:
    async with await forwarding.start(world.ws, world.run, world.port, free_port()) as made:
        assert made.problem == ""
        data = os.urandom(2_000_000)
        answers = await asyncio.gather(*(world.asked(made.local, data) for _ in range(5)))
        assert answers == [data[::-1]] * 5
        assert made.connections == 0
        assert made.url == f"http://127.0.0.1:{made.local}"


async def test_a_port_that_is_taken_here_gives_another_unless_it_was_named(world: World) -> None:
    # The run itself has it, for it is on this machine.
    async with await forwarding.start(world.ws, world.run, world.port) as made:
        assert made.moved and made.local != world.port
        assert await world.asked(made.local, b"ab") == b"ba"
        with pytest.raises(UsageError, match=f"Port {made.local} of this machine is taken"):
            await forwarding.start(world.ws, world.run, world.port, made.local)


async def test_a_port_of_a_run_on_this_machine_never_leads_to_itself(world: World) -> None:
    free = free_port()
    async with await forwarding.start(world.ws, world.run, free) as made:
        assert made.local != free and made.problem
    with pytest.raises(UsageError, match="is here already"):
        await forwarding.start(world.ws, world.run, world.port, world.port)


async def test_only_this_machine_can_connect_to_it(world: World) -> None:
    async with await forwarding.start(world.ws, world.run, world.port) as made:
        assert made._server is not None
        assert [s.getsockname()[0] for s in made._server.sockets] == ["127.0.0.1"]


async def test_that_nobody_listens_there_is_said_and_a_later_one_is_reached(world: World) -> None:
    port = free_port()
    async with await forwarding.start(world.ws, world.run, port, free_port()) as made:
        assert str(port) in made.problem
        assert await world.asked(made.local, b"") == b""
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", port)
        await world.asked(made.local, b"")
        assert made.problem == ""
        server.close()


async def test_it_outlives_a_link_that_was_cut(world: World) -> None:
    assert world.subject.cut is not None and world.subject.restore is not None
    async with await forwarding.start(world.ws, world.run, world.port, free_port()) as made:
        assert await world.asked(made.local, b"ab") == b"ba"
        world.subject.cut()
        assert await world.asked(made.local, b"ab") == b""
        assert "cut" in made.problem
        world.subject.restore()
        assert await world.asked(made.local, b"ab") == b"ba"
        assert made.problem == ""


async def test_the_end_of_it_ends_what_is_open(world: World) -> None:
    made = await forwarding.start(world.ws, world.run, world.port, free_port())
    reader, writer = await asyncio.open_connection("127.0.0.1", made.local)
    writer.write(b"half")
    while not made.connections:
        await asyncio.sleep(0.01)
    await made.aclose()
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", made.local)
    await made.aclose()


async def test_no_more_connections_are_taken_than_can_be_wanted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "MOST_CONNECTIONS", 2)
    async with await forwarding.start(world.ws, world.run, world.port) as made:
        held = [await asyncio.open_connection("127.0.0.1", made.local) for _ in range(2)]
        async with asyncio.timeout(20):
            while made.connections < 2:
                await asyncio.sleep(0.01)
        assert await world.asked(made.local, b"abc") == b""
        assert "no more are taken" in made.problem
        for _, writer in held:
            writer.close()
        async with asyncio.timeout(20):
            while made.connections:
                await asyncio.sleep(0.01)
        assert await world.asked(made.local, b"abc") == b"cba"


async def test_the_port_is_found_by_itself(world: World) -> None:
    (found,) = await forwarding.likely_ports(world.ws, world.run)
    assert found.port == world.port
    assert forwarding.the_one([found], "calm-fox") == world.port


def test_of_several_ports_one_has_to_be_named() -> None:
    found = [Listener(port=6006, program="python3"), Listener(port=7000, program="srv")]
    with pytest.raises(UsageError, match=r"6006 \(TensorBoard\), 7000 \(srv\)"):
        forwarding.the_one(found, "calm-fox")
    with pytest.raises(UsageError, match="Name one"):
        forwarding.the_one([], "calm-fox")


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "-1", "6006:", "6006:0", "1:2:3", "²"])
def test_an_absurd_port_is_refused(text: str) -> None:
    with pytest.raises(TraindeckError, match="is no port"):
        forwarding.parse_port(text)


def test_a_port_may_have_another_number_here() -> None:
    assert forwarding.parse_port("6006") == (6006, None)
    assert forwarding.parse_port("6006:16006") == (6006, 16006)
