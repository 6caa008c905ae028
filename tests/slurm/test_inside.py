"""Inside the allocation of a run: a shell on its node, and the node's ports.

The nodes have networks of their own here, so that a node's loopback is not ours, and its address is
not a loopback's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
from tests.services.slurm import Cluster, cluster, until
from tests.slurm.test_backend import Lab

from traindeck.backends.base import (
    BackendError,
    Done,
    JobRef,
    Outcome,
    Resources,
    State,
    Terminal,
    TerminalSize,
    Unreachable,
)
from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.slurm.backend import SlurmBackend
from traindeck.backends.slurm.inside import Stepped

SOAK = pytest.mark.skipif(not os.environ.get("SOAK"), reason="takes its time: SOAK=1")


@pytest.fixture(scope="module")
def nodes_apart() -> Iterator[Cluster]:
    """Not `slurm`, whose jobs end with each test."""
    with cluster(apart=True) as made:
        yield made


SERVES = """
import os, socket, sys, threading

def listen(address, serve):
    one = socket.create_server((address, 0), backlog=200)
    def accept():
        while True:
            threading.Thread(target=serve, args=one.accept(), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return one.getsockname()[1]

def turn(c, peer):
    data = b""
    while piece := c.recv(65536): data += piece
    c.sendall(peer[0].encode() + b"|" + data[::-1]); c.close()

def pour(c, peer):
    print("got", c.recv(9), flush=True)
    c.recv(9)  # the end of what is said; then it sends until nobody takes it
    try:
        while True: c.sendall(bytes(100000))
    except OSError: print("gone", flush=True)

own = os.environ[os.environ["SLURMD_NODENAME"]]
print("ports", listen("127.0.0.1", turn), listen("0.0.0.0", turn), listen(own, turn),
      listen("127.0.0.1", pour), "end", flush=True)
threading.Event().wait()
"""


@dataclass
class Running:
    """A run that listens, and the root that it lies in: on its node's loopback, everywhere, on the
    address that others reach it by, and again on loopback, where it pours."""

    ref: JobRef
    root: Path
    cwd: Path
    alone: int = 0
    all: int = 0
    own: int = 0
    pours: int = 0


@pytest.fixture(scope="module")
def running(nodes_apart: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """One run for all tests that only look into its allocation."""
    folder = tmp_path_factory.mktemp("inside")
    cwd = folder / "work"
    cwd.mkdir()

    async def start() -> Running:
        lab = Lab(nodes_apart, folder / "root")
        lab.backend = lab.another(prelude="export WHERE=$PWD MINE=prelude")
        nodes = {node: nodes_apart.address(node) for node in nodes_apart.nodes}
        env = {**nodes, "PATH": "/mine:/usr/bin:/bin", "MINE": "spec", "TWO": "a b"}
        spec = lab.spec(cwd=str(cwd), env=env, resources=Resources(gpus=2))
        spec = replace(spec, argv=(sys.executable, "-c", SERVES))
        ref = await lab.backend.submit(await lab.plan(spec))
        await lab.said(ref, "end")
        ports = [int(word) for word in (await lab.log(ref)).split()[1:5]]
        await lab.backend.aclose()
        return Running(ref, lab.root, cwd, *ports)

    return asyncio.run(start())


@pytest.fixture
async def lab(nodes_apart: Cluster, running: Running) -> AsyncIterator[Lab]:
    """A console of its own on the place of that run."""
    made = Lab(nodes_apart, running.root)
    yield made
    await made.backend.aclose()


async def said(lab: Lab, ref: JobRef, *argv: str, given: bytes = b"") -> tuple[bytes, bytes, int]:
    """(stdout, stderr, exit code) of a command where a run is."""
    terminal = await lab.backend.shell(ref, argv)
    await terminal.write(given)
    await terminal.write_eof()
    found = {1: b"", 2: b""}
    while True:
        number, data = await terminal.read()
        if not data:
            break
        found[number] += data
    done = await terminal.wait()
    assert done.outcome is Outcome.EXITED
    await terminal.aclose()
    return found[1], found[2], done.code


async def variables(lab: Lab, ref: JobRef) -> dict[str, str]:
    out, _, _ = await said(lab, ref, "env")
    return dict(line.partition("=")[::2] for line in out.decode().splitlines())


# ------------------------------------------------------------------------------------------ shell


async def test_a_shell_is_on_the_runs_node_with_what_the_job_has(
    lab: Lab, running: Running
) -> None:
    ref = running.ref
    own = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "3", "SRUN_X": "1"}
    lab.slurm.env.update(own)  # as if we were in an allocation ourselves
    try:
        found = await variables(lab, ref)
    finally:
        for name in own:
            del lab.slurm.env[name]
    node = (await lab.status(ref)).nodes[0]
    assert (found["SLURM_JOB_ID"], found["SLURMD_NODENAME"]) == (ref.native_id, node)
    assert found["SLURM_NTASKS"] == "1" and "SRUN_X" not in found
    assert found["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert (found["TWO"], found["PATH"]) == ("a b", "/mine:/usr/bin:/bin")
    # What the prelude does comes after the spec, as it does for the job.
    assert (found["MINE"], found["WHERE"]) == ("prelude", str(running.cwd))
    assert found["TRAINDECK_RUN_DIR"] == found["PWD"] == str(lab.directory(ref))
    assert found["TRAINDECK_RUN_ID"] == ref.run_id and "TRAINDECK_RUN" not in found


async def test_bytes_codes_and_errors_pass_as_they_are(lab: Lab, running: Running) -> None:
    ref = running.ref
    script = "pwd; readlink /proc/self/ns/net; cat; test -p /dev/stdout && echo err >&2; exit 7"
    out, err, code = await said(lab, ref, "sh", "-c", script, given=b"a\0b")
    folder, there, given = out.decode().split("\n")
    assert (folder, given, err, code) == (str(lab.directory(ref)), "a\0b", b"err\n", 7)
    assert there.startswith("net:") and there != os.readlink("/proc/self/ns/net")
    data = os.urandom(200_000)
    assert await said(lab, ref, "cat", given=data) == (data, b"", 0)


async def test_a_terminal_says_nothing_of_srun(lab: Lab, running: Running) -> None:
    size = TerminalSize(columns=70, rows=20)
    for words, code in (("stty size; exit 9", 9), ("stty size; kill -9 $$", 137)):
        terminal = await lab.backend.shell(running.ref, ["sh", "-c", words], size=size)
        seen = b""
        while data := (await terminal.read())[1]:
            seen += data
        done = await terminal.wait()
        assert seen == b"20 70\r\n"
        signalled = done.outcome is Outcome.SIGNALLED
        assert (128 * signalled + done.code, signalled) == (code, code > 128)
        await terminal.aclose()


async def test_a_run_that_waits_cannot_be_entered_and_says_why(lab: Lab) -> None:
    ref = await lab.launch("out:up", "hold", resources=Resources(gpus=4, nodes=2))
    with pytest.raises(BackendError) as refused:
        await lab.backend.shell(ref, ["true"])
    assert refused.value.what.startswith("The run has no node yet: it waits ")
    assert await lab.backend.listeners(ref) == []
    with pytest.raises(BackendError, match="Nobody listens on port 6006: the run has no node yet"):
        await lab.backend.connect(ref, 6006)
    await lab.backend.cancel(ref, grace=0.0)


async def test_of_a_run_that_is_over_there_is_its_directory(lab: Lab) -> None:
    ref = await lab.launch("out:up")
    await lab.until(ref)
    found = await variables(lab, ref)
    assert "SLURM_JOB_ID" not in found and found["TRAINDECK_RUN_ID"] == ref.run_id
    assert await lab.backend.listeners(ref) == []
    with pytest.raises(BackendError, match="port 6006: the run is over"):
        await lab.backend.connect(ref, 6006)


async def test_a_job_that_lets_nobody_in_is_said_to_with_the_reason(
    lab: Lab, running: Running
) -> None:
    ref = running.ref
    lab.slurm.run("scontrol", "suspend", ref.native_id)
    with pytest.raises(BackendError, match=f"Job {ref.native_id} is suspended"):
        await lab.backend.shell(ref, ["true"])
    lab.slurm.run("scontrol", "resume", ref.native_id)
    # As of one that ends between our look and srun's.
    _, job = await lab.backend._allocation(ref)
    assert job is not None
    gone = replace(job, number="987654")
    with pytest.raises(BackendError) as refused:
        await lab.backend._inside._open(ref, gone)
    assert refused.value.what.startswith("Slurm does not let us into job 987654 on ")
    assert "nvalid job id" in refused.value.what and "srun:" not in refused.value.what


@pytest.mark.parametrize("piece", [1, 3, 7, 1000])
async def test_marks_are_taken_out_wherever_a_piece_ends(piece: int) -> None:
    mark = b"\x1b_aabb %s\x1b\\"
    whole = b"srun: noise\r\n" + mark % b"begun 0" + b"a\x1b[1mb\x1b" + mark % b"signalled 9" + b"c"

    class Said:
        left = whole

        async def read(self) -> tuple[int, bytes]:
            data, self.left = self.left[:piece], self.left[piece:]
            return (1 if data else 0), data

        async def wait(self) -> Done:
            return Done(code=0)

    stepped = Stepped(cast("Terminal", Said()), "aabb")
    assert await stepped.begun() is None
    seen = b""
    while data := (await stepped.read())[1]:
        seen += data
    assert seen == b"a\x1b[1mb\x1bc"
    assert await stepped.wait() == Done(outcome=Outcome.SIGNALLED, code=9)


# ---------------------------------------------------------------------------------------- forward


async def answered(lab: Lab, ref: JobRef, port: int, data: bytes) -> tuple[str, bytes]:
    """(who the server was connected to by, what it made of some bytes)."""
    reader, writer = await lab.backend.connect(ref, port)
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(60):
        whole = await reader.read()
    writer.close()
    peer, _, rest = whole.partition(b"|")
    return peer.decode(), rest


@contextmanager
def decoy(port: int) -> Iterator[list[object]]:
    """Somebody who listens on the same port of this machine; who came to it."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", port)) as server:

        def accept() -> None:
            try:
                while True:
                    connection, peer = server.accept()
                    came.append(peer)
                    connection.close()
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        yield came
        server.shutdown(socket.SHUT_RDWR)


def names_of_steps(lab: Lab, ref: JobRef) -> list[str]:
    done = lab.slurm.run("squeue", "-h", "--steps", f"--jobs={ref.native_id}", "-o", "%i")
    return [name for name in done.stdout.split() if not name.endswith((".batch", ".extern"))]


def steps(lab: Lab, ref: JobRef) -> int:
    return len(names_of_steps(lab, ref))


async def test_what_listens_on_its_nodes_loopback_alone_is_reached_by_one_step(
    lab: Lab, running: Running
) -> None:
    ref, port = running.ref, running.alone
    found = {one.port: one for one in await lab.backend.listeners(ref)}
    assert list(found) == sorted((running.alone, running.all, running.own, running.pours))
    assert found[port].address == found[running.all].address == "localhost"
    assert found[port].program.startswith("python")
    with decoy(port) as came:
        data = os.urandom(2_000_000)
        assert await answered(lab, ref, port, data) == ("127.0.0.1", data[::-1])
        sizes = range(1, 100_000, 2_000)
        many = await asyncio.gather(*(answered(lab, ref, port, data[:n]) for n in sizes))
        assert many == [("127.0.0.1", data[:n][::-1]) for n in sizes]
    assert came == [] and steps(lab, ref) == 1
    with pytest.raises(BackendError, match="Port 1 of localhost cannot be reached"):
        await lab.backend.connect(ref, 1)


async def test_what_others_can_reach_is_connected_to_without_a_detour(
    lab: Lab, running: Running
) -> None:
    for port in (running.all, running.own):
        with decoy(port) as came:
            # Its peer is this machine: had it come by the node's agent, it would be the node.
            peer, data = await answered(lab, running.ref, port, b"abc")
        assert (peer.startswith("198."), data, came) == (True, b"cba", [])
        assert peer not in [lab.slurm.address(node) for node in lab.slurm.nodes]


async def test_where_a_firewall_stands_between_the_detour_is_taken(
    lab: Lab, running: Running
) -> None:
    node = await lab.backend._inside._node(running.ref)
    assert not isinstance(node, str)
    node.reached[running.own] = False
    its = lab.slurm.address((await lab.status(running.ref)).nodes[0])
    assert await answered(lab, running.ref, running.own, b"abc") == (its, b"cba")


@contextmanager
def without_controller(slurm: Cluster, number: int) -> Iterator[None]:
    """While slurmctld is ended, or merely says nothing."""
    controller = slurm._running["slurmctld"]
    if number == signal.SIGSTOP:
        controller.send_signal(number)
    else:
        slurm.stop_controller(number)
    try:
        yield
    finally:
        if number == signal.SIGSTOP:
            controller.send_signal(signal.SIGCONT)
        else:
            slurm.start_controller()


@pytest.mark.parametrize("number", [signal.SIGSTOP, pytest.param(signal.SIGTERM, marks=SOAK)])
async def test_while_slurm_says_nothing_shell_and_forward_say_so_and_what_is_open_goes_on(
    lab: Lab, running: Running, number: int
) -> None:
    ref, port = running.ref, running.alone
    # Its commands do not try for ten seconds.
    conf = lab.slurm.folder / "impatient.conf"
    conf.write_text(lab.slurm.conf.read_text() + "MessageTimeout=2\n")
    host = LocalHost(str(lab.root), environ={**lab.slurm.env, "SLURM_CONF": str(conf)})
    newcomer = SlurmBackend("lab", host)
    assert (await answered(lab, ref, port, b"abc"))[1] == b"cba"
    with without_controller(lab.slurm, number):
        async with asyncio.timeout(60):
            both = newcomer.shell(ref, ["true"]), newcomer.connect(ref, port)
            refused = await asyncio.gather(*both, return_exceptions=True)
        for error in refused:
            assert isinstance(error, Unreachable)
            words = str(error)
            assert words.startswith("Slurm does not answer") and words.endswith(" (on `lab`).")
            assert "\n" not in words and "srun" not in words
        assert (await answered(lab, ref, port, b"abc"))[1] == b"cba"
    await newcomer.aclose()
    out = b""
    async with asyncio.timeout(60):
        while not out:
            with suppress(BackendError):  # until slurmctld has heard of the node
                out, _, _ = await said(lab, ref, "echo", "in")
    assert out == b"in\n"


async def test_a_way_in_that_was_lost_is_made_again(lab: Lab, running: Running) -> None:
    ref, port = running.ref, running.alone
    reader, writer = await lab.backend.connect(ref, port)
    (step,) = names_of_steps(lab, ref)
    lab.slurm.run("scancel", step)
    async with asyncio.timeout(60):
        assert await reader.read() == b""
    writer.close()
    assert (await answered(lab, ref, port, b"abc"))[1] == b"cba"
    assert (await lab.status(ref)).state is State.RUNNING


async def test_whoever_closes_is_closed_to_the_program_and_the_way_in_goes_with_us(
    lab: Lab, running: Running
) -> None:
    ref = running.ref
    _, writer = await lab.backend.connect(ref, running.pours)
    writer.write(b"hello")
    await lab.said(ref, "got b'hello'")
    writer.close()
    await lab.said(ref, "gone")
    await lab.backend.aclose()
    until(lambda: steps(lab, ref) == 0, "the step to end")


@SOAK
async def test_of_a_run_on_several_nodes_the_first_is_meant(lab: Lab) -> None:
    nodes = {node: lab.slurm.address(node) for node in lab.slurm.nodes}
    spec = lab.spec(env=nodes, resources=Resources(nodes=2))
    spec = replace(spec, argv=(sys.executable, "-c", SERVES))
    ref = await lab.backend.submit(await lab.plan(spec))
    await lab.said(ref, "end")
    ports = [int(word) for word in (await lab.log(ref)).split()[1:5]]
    assert [one.port for one in await lab.backend.listeners(ref)] == sorted(ports)
    assert await answered(lab, ref, ports[0], b"abc") == ("127.0.0.1", b"cba")
    assert (await variables(lab, ref))["SLURMD_NODENAME"] == "n0"
    await lab.backend.cancel(ref, grace=0.0)
    await lab.until(ref)
