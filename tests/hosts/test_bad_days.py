"""Machines over SSH on a bad day: what everybody does goes well where it can, and where it cannot,
that is said, nothing is written by half, and little memory is used. tests/conformance does all of
its suite on the first of them where SOAK is set."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.conformance import bad_days, jobs
from tests.conformance.subject import Subject
from tests.faults.conftest import disk
from tests.faults.disks import fill_disk
from tests.hosts.test_ssh import TRANSPORTS, host, runs_a_job
from tests.payload.harness import new_id
from tests.services import missing
from tests.services.proxy import Proxy
from tests.services.sshd import Box, Sshd

from traindeck.backends.base import (
    Backend,
    BackendError,
    JobRef,
    Reach,
    RunSpec,
    State,
    Status,
    Unreachable,
)
from traindeck.backends.hosts import ssh
from traindeck.backends.hosts.paramiko_link import ParamikoLink
from traindeck.backends.process import ProcessBackend

__all__ = ["disk"]

pytestmark = pytest.mark.fault

PATIENCE = 60.0
MIB = 1 << 20
SOAK = int(os.environ.get("SOAK", "0"))
STALL = 30.0 if SOAK else 0.3
BOTH = TRANSPORTS if SOAK else TRANSPORTS[:1]
GIGABYTE = 1024 * MIB if SOAK else 160 * MIB
"""Bytes that a hostile agent answers."""


async def launch(backend: Backend, *words: str, run_id: str = "") -> JobRef:
    argv = jobs.argv(sys.executable, *words)
    spec = RunSpec(run_id=run_id or new_id(), argv=argv, cwd="/", created=1.0)
    return await backend.submit(backend.plan(spec, await backend.survey(spec)))


async def log(backend: Backend, ref: JobRef, until: bytes | None = None) -> bytes:
    said = b""
    async with asyncio.timeout(PATIENCE), backend.logs(ref) as chunks:
        async for chunk in chunks:
            said += chunk.data
            if until is not None and until in said:
                break
    return said


async def status(backend: Backend, ref: JobRef) -> Status:
    return (await backend.poll([ref]))[ref]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def does_what_everybody_does(backend: Backend) -> None:
    """A run is launched, followed, asked about and stopped."""
    before = time.time()
    ref = await launch(backend, "on-term:saved", "out:up", "hold")
    assert await log(backend, ref, until=b"up\n") == b"up\n"
    seen = await status(backend, ref)
    assert (seen.state, seen.reach) == (State.RUNNING, Reach.OK)
    assert before <= seen.observed_at <= time.time()
    await backend.cancel(ref, grace=PATIENCE)
    assert await log(backend, ref) == b"up\nsaved\n"
    seen = await status(backend, ref)
    assert (seen.state, seen.exit_code) == (State.CANCELLED, 0), seen


@pytest.mark.parametrize("day", bad_days.DAYS, ids=lambda day: day.__name__)
async def test_a_run_is_launched_followed_and_stopped_on_a_bad_day(
    tmp_path: Path, home: Path, day: Callable[[Path], Subject]
) -> None:
    subject = day(tmp_path)
    backend = subject.make()
    try:
        await does_what_everybody_does(backend)
        health = await backend.probe()
        assert health.reach is Reach.OK, health
        if day in (bad_days.ahead, bad_days.behind):
            assert health.clock_skew is not None
            assert abs(abs(health.clock_skew) - 10_800) < PATIENCE
    finally:
        await backend.aclose()


async def test_a_home_that_cannot_be_written_is_named_with_what_to_do(
    tmp_path: Path, home: Path
) -> None:
    sshd = bad_days.box("unwritable")
    async with host(sshd) as made:
        with pytest.raises(BackendError) as caught:
            await made.agent()
    assert "~/.traindeck cannot be written" in caught.value.what
    assert "Read-only file system" in caught.value.what
    assert "`root`" in caught.value.fix


# --------------------------------------------------------------------------------- a full disk


@pytest.fixture
async def full(disk: Path, tmp_path: Path) -> AsyncIterator[ProcessBackend]:
    """A machine whose runs lie on a disk of a few megabytes, with the agent in place."""
    with Sshd(tmp_path / "sshd", Box()) as sshd:
        async with host(sshd, root=str(disk / "root")) as made:
            yield ProcessBackend("box0", made, kind="ssh")


async def test_a_full_disk_refuses_a_run_in_words_and_leaves_nothing_of_it(
    full: ProcessBackend, disk: Path
) -> None:
    going = await launch(full, "on-term:saved", "out:up", "hold")
    await log(full, going, until=b"up\n")
    filler = fill_disk(disk)
    run = new_id()
    with pytest.raises(BackendError, match=r"(?i)no space left"):
        await launch(full, "out:x", run_id=run)
    assert [path.name for path in (disk / "root/runs").iterdir() if run in path.name] == []
    health = await full.probe()
    assert (False, "0.0 GB free for runs") in health.checks
    # What runs there is seen, stopped, and its end is known.
    assert (await status(full, going)).state is State.RUNNING
    await full.cancel(going, grace=PATIENCE)
    await log(full, going)
    assert (await status(full, going)).state is State.CANCELLED
    filler.unlink()
    ref = await launch(full, "out:x", "exit:3", run_id=run)
    assert await log(full, ref) == b"x\n"
    assert (await status(full, ref)).exit_code == 3


@pytest.mark.parametrize("transport", BOTH)
async def test_a_disk_without_room_for_the_agent_is_said_and_has_no_half_of_it(
    disk: Path, tmp_path: Path, transport: str
) -> None:
    filler = fill_disk(disk)
    with Sshd(tmp_path / "sshd", Box()) as sshd:
        async with host(sshd, root=str(disk / "root"), transport=transport) as made:
            with pytest.raises(BackendError) as caught:
                await made.agent()
            assert "No space left" in caught.value.what
            assert [path.name for path in disk.rglob("*") if path.is_file()] == ["filler"]
            filler.unlink()
            made.try_now()
            await runs_a_job(made)


# ------------------------------------------------------------------------------ a login that talks


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_a_login_prints_is_no_part_of_what_a_command_there_prints(
    tmp_path: Path, home: Path, transport: str
) -> None:
    async with host(bad_days.box("talks"), transport=transport, root=str(tmp_path)) as made:
        shell = await made.terminal(("sh", "-c", "cat; echo err >&2; exit 3"))
        await shell.write(b"typed")
        await shell.write_eof()
        said = {1: b"", 2: b""}
        while (piece := await shell.read())[1]:
            said[piece[0]] += piece[1]
        assert said == {1: b"typed", 2: b"err\n"}
        assert (await shell.wait()).code == 3
        await shell.aclose()
    with Sshd(tmp_path / "sshd", Box()) as sshd:
        (sshd[0].home / ".bashrc").write_text(
            "test -e ~/.closed && { echo closed for today >&2; exit 7; }\n"
        )
        async with host(sshd, transport=transport) as made:
            await made.agent()
            (sshd[0].home / ".closed").touch()
            shell = await made.terminal(("true",))
            assert await shell.read() == (2, b"closed for today\n")
            assert await shell.read() == (0, b"")
            assert (await shell.wait()).code == 7
            await shell.aclose()


# ------------------------------------------------------------------------------- a link that stalls


@pytest.mark.parametrize("transport", BOTH)
async def test_a_link_that_stands_still_for_a_while_loses_and_doubles_nothing(
    tmp_path: Path, transport: str
) -> None:
    with Sshd(tmp_path, Box()) as sshd, Proxy(sshd[0].port) as proxy:
        sshd.write_configuration(ports={"box0": proxy.port})
        async with host(sshd, transport=transport) as made:
            backend = ProcessBackend("box0", made, kind="ssh")
            ref = await launch(backend, "out:up", "hold")
            await log(backend, ref, until=b"up\n")
            proxy.stall()
            asked = [
                asyncio.create_task(status(backend, ref)),
                asyncio.create_task(launch(backend, "out:once")),
                asyncio.create_task(backend.cancel(ref, grace=PATIENCE)),
            ]
            done, _ = await asyncio.wait(asked, timeout=STALL)
            assert not done
            assert made.link.state is Reach.OK  # nobody can know yet
            proxy.heal()
            async with asyncio.timeout(PATIENCE):
                seen, other, _ = await asyncio.gather(*asked)
            assert isinstance(seen, Status) and not seen.state.terminal
            assert isinstance(other, JobRef)
            assert await log(backend, other) == b"once\n"
            await log(backend, ref)
            assert (await status(backend, ref)).state is State.CANCELLED
            assert proxy.counts().connections == 1


@pytest.mark.parametrize("transport", BOTH)
async def test_a_link_that_fell_silent_is_given_up_and_made_again(
    tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "LOOK", 0.1)
    monkeypatch.setattr(ssh, "PING", 0.2)
    monkeypatch.setattr(ssh, "ANSWER", 0.5)
    with Sshd(tmp_path, Box(config=["ConnectTimeout 1"])) as sshd, Proxy(sshd[0].port) as proxy:
        sshd.write_configuration(ports={"box0": proxy.port})
        async with host(sshd, transport=transport) as made:
            backend = ProcessBackend("box0", made, kind="ssh")
            ref = await launch(backend, "out:up", "hold")
            proxy.stall()
            with pytest.raises(Unreachable, match="box0 does not answer any more"):
                await backend.poll([ref])
            assert made.link.state is Reach.STALE
            # And it takes a connection and says nothing: no word of the run.
            with pytest.raises(Unreachable, match="box0") as caught:
                await backend.poll([ref])
            assert re.search(r"says nothing|timed out", str(caught.value)), str(caught.value)
            assert made.link.state is Reach.DOWN and made.link.next_try is not None
            proxy.heal()
            made.try_now()
            assert (await status(backend, ref)).state is State.RUNNING
            await backend.cancel(ref, grace=0.0)


@pytest.mark.parametrize("transport", BOTH)
async def test_an_answer_does_not_wait_behind_the_log_that_is_followed(
    tmp_path: Path, transport: str
) -> None:
    """By what comes before it, on a link that a job which prints without end keeps busy: less than
    comes in half a second."""
    rate = 8_000_000
    with Sshd(tmp_path, Box()) as sshd, Proxy(sshd[0].port, delay=0.04, rate=rate) as proxy:
        sshd.write_configuration(ports={"box0": proxy.port})
        async with host(sshd, transport=transport) as made:
            backend = ProcessBackend("box0", made, kind="ssh")
            argv = ("sh", "-c", "head -c 64000000 /dev/zero; exec sleep 600")
            spec = RunSpec(run_id=new_id(), argv=argv, cwd="/")
            ref = await backend.submit(backend.plan(spec, await backend.survey(spec)))
            agent = await made.agent()
            seen = 0

            async def follow() -> None:
                nonlocal seen
                async with backend.logs(ref) as chunks:
                    async for chunk in chunks:
                        seen += len(chunk.data)

            following = asyncio.create_task(follow())
            for more in (4, 2):
                before = seen
                await until(lambda much=before + more * MIB: seen > much)
                passed = (await asyncio.to_thread(proxy.counts)).down
                answer, _ = await agent.call("poll", {"runs": [ref.run_id]})
                passed = (await asyncio.to_thread(proxy.counts)).down - passed
                assert ref.run_id in answer["runs"]
                assert passed < rate / 2, f"{passed / MIB:.1f} MiB"
            assert not following.done()
            following.cancel()
            await asyncio.wait([following])
            await backend.cancel(ref, grace=0.0)


# -------------------------------------------------------------------------- a machine that restarts


async def test_what_ran_when_a_machine_was_restarted_is_lost_and_says_so(tmp_path: Path) -> None:
    """Its processes are gone, it has another boot id: nobody waits for what cannot come."""
    name = tmp_path / "box0/boot_id"
    box = Box(mounts=[("--bind", str(name), "/proc/sys/kernel/random/boot_id")])
    sshd = Sshd(tmp_path, box)
    name.write_text("11111111-0000-4000-8000-000000000000\n")
    with sshd:
        async with host(sshd, transport="paramiko") as made:
            backend = ProcessBackend("box0", made, kind="ssh")
            ended = await launch(backend, "out:x", "exit:3")
            ref = await launch(backend, "out:up", "hold")
            await log(backend, ended)
            await log(backend, ref, until=b"up\n")
            reader = asyncio.create_task(log(backend, ref))
            sshd[0].stop()
            with pytest.raises(Unreachable):
                await reader
            with pytest.raises(Unreachable):
                await backend.poll([ref])
            name.write_text("22222222-0000-4000-8000-000000000000\n")
            sshd[0].start()
            made.try_now()
            # Until its heartbeat is old it could be a namesake that beats.
            seen = await status(backend, ref)
            assert not seen.state.terminal, seen
            beat = sshd[0].home / ".traindeck/runs" / ref.run_id / "attempts/0/heartbeat"
            os.utime(beat, (time.time() - 120,) * 2)
            seen = await status(backend, ref)
            assert (seen.state, seen.reason) == (State.LOST, "host rebooted while it ran")
            assert (await status(backend, ended)).exit_code == 3
            assert await log(backend, ref) == b"up\n"  # it ends
            await backend.cancel(ref)
            again = await launch(backend, "out:again")
            assert await log(backend, again) == b"again\n"


# ---------------------------------------------------------------------- servers that give little


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_that_is_throttling_is_said_to_be_and_tried_again(
    tmp_path: Path, transport: str
) -> None:
    with Sshd(tmp_path, Box(lines=["MaxStartups 1"])) as sshd:
        async with host(sshd, transport=transport) as made:
            with socket.create_connection(("127.0.0.1", sshd[0].port)) as hog:
                assert hog.recv(4) == b"SSH-"  # it is let in, and never says who it is
                with pytest.raises(Unreachable, match="box0") as caught:
                    await made.agent()
                assert "MaxStartups" in str(caught.value)
                assert made.link.state is Reach.DOWN
                assert not made.link.person and made.link.next_try is not None
            await until(lambda: len(sshd[0]._connections()) == 0)
            made.try_now()
            await runs_a_job(made)


async def test_two_sessions_are_enough_for_the_user_s_own_ssh(tmp_path: Path) -> None:
    """Where a connection takes no more of them, ssh makes another one."""
    with Sshd(tmp_path, Box(lines=["MaxSessions 2"])) as sshd:
        async with host(sshd, transport="openssh") as made:
            await made.agent()
            shells = [await made.terminal(("sh", "-c", "echo in; read x")) for _ in range(2)]
            for shell in shells:
                async with asyncio.timeout(PATIENCE):
                    while await shell.read() != (1, b"in\n"):  # what ssh says of it comes before
                        pass
            await runs_a_job(made)
            for shell in shells:
                await shell.aclose()


# ------------------------------------------------------------------- servers that are none of ours


@asynccontextmanager
async def little_memory(most: int) -> AsyncIterator[None]:
    """Fails if this process ever had so much more of it in between, by the kernel's count."""

    def used(name: str) -> int:
        text = Path("/proc/self/status").read_text()
        return int(text.partition(f"{name}:")[2].split()[0]) << 10

    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        missing(f"the kernel does not count the most memory that was used: {error}")
    before = used("VmRSS")
    yield
    grown = used("VmHWM") - before
    assert grown < most, f"{grown / MIB:.0f} MiB"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("first", [b"", b"SSH-2.0-x\r\n"], ids=["noise", "a version and noise"])
async def test_what_answers_without_end_and_is_no_ssh_server_costs_little_memory(
    tmp_path: Path, transport: str, first: bytes
) -> None:
    with Sshd(tmp_path, Box()) as sshd, Proxy(sshd[0].port) as proxy:
        proxy.garbage(None, first=first)
        sshd.write_configuration(ports={"box0": proxy.port})
        async with host(sshd, transport=transport) as made:
            async with little_memory(48 * MIB):
                with pytest.raises(Unreachable, match="box0") as caught:
                    await made.agent()
            assert "\x1b" not in str(caught.value)
            assert made.link.state is Reach.DOWN


HOSTILE = """
import os, struct, sys
def frame(head, body=b""):
    return struct.pack(">II", len(head), len(body)) + head + body
def whole(piece):
    for _ in range(GIB // len(piece)):
        left = memoryview(piece)
        while left:
            left = left[os.write(1, left):]
GIB = int(sys.argv[3])
os.write(1, (sys.argv[2] + "\\n").encode())
kind, id = sys.argv[1], None
while id is None:
    size, _ = struct.unpack(">II", sys.stdin.buffer.read(8))
    import json
    asked = json.loads(sys.stdin.buffer.read(size))
    if kind == "hollow":
        os.write(1, frame(json.dumps({"id": asked["id"]}).encode()))
    elif asked["verb"] != "ping":
        id = json.dumps(asked["id"]).encode()
try:
    if kind == "stream":
        whole(frame(b'{"id":%s,"offset":1}' % id, b"x" * 60000))
    elif kind == "empty":
        whole(frame(b'{"id":%s}' % id) * 2000)
    elif kind == "size":
        whole(struct.pack(">II", 1 << 31, 0) + b"x" * 60000)
    elif kind == "noise":
        whole(b"\\xff" * 60000)
    elif kind == "others":
        whole(frame(b'{"id":999999}', b"x" * 60000))
    elif kind == "list":
        whole(frame(b"[" * 100000 + b"]" * 100000))
    elif kind == "id":
        whole(frame(b'{"id":{}}'))
    elif kind == "stderr":
        os.dup2(2, 1)
        whole(b"\\x1b[31mx\\n" * 10000)
except OSError:
    pass
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("hostile"), Box()) as sshd:
        yield sshd


def liar(folder: Path, kind: str) -> Path:
    """An interpreter that runs no agent of ours."""
    program, python = folder / "program.py", folder / "python"
    program.write_text(HOSTILE)
    python.write_text(
        "#!/bin/sh\n"
        f"real={shlex.quote(sys.executable)}\n"
        f'case "$4" in serve) exec "$real" -I {program} {kind} "$5" {GIGABYTE};; esac\n'
        'exec "$real" "$@"\n'
    )
    python.chmod(0o700)
    return python


async def test_an_agent_whose_answers_hold_nothing_costs_a_sentence(
    hostile: Sshd, tmp_path: Path
) -> None:
    python = str(liar(tmp_path, "hollow"))
    async with host(hostile, python=python, root=str(tmp_path / "root")) as made:
        backend = ProcessBackend("box0", made, kind="ssh")
        ref = JobRef(backend="box0", native_id="x", run_id=new_id())
        asks = (
            launch(backend, "out:x"),
            backend.find(),
            backend.cancel(ref),
            backend.log_stat(ref),
            backend.list_files(ref, "."),
            backend.session(ref),
        )
        for ask in asks:
            with pytest.raises(BackendError, match="answer without"):
                await ask
        assert not (await status(backend, ref)).state.terminal
        health = await backend.probe()
        assert health.reach is Reach.DOWN and "answer without" in health.note


@pytest.mark.parametrize("transport", BOTH)
@pytest.mark.parametrize(
    "kind",
    ["stream", "list", "id", *(["empty", "size", "noise", "stderr", "others"] if SOAK else [])],
)
async def test_an_agent_that_answers_a_gigabyte_costs_little_memory_and_one_sentence(
    hostile: Sshd, tmp_path: Path, transport: str, kind: str
) -> None:
    python = liar(tmp_path, kind)
    root = str(tmp_path / "root")
    async with host(hostile, python=str(python), root=root, transport=transport) as made:
        agent = await made.agent()
        question = agent.stream("follow", {"run_id": new_id()})
        async with little_memory(120 * MIB), question as answers:
            await until(lambda: agent.failed)
            with pytest.raises(Unreachable) as caught:
                async for _ in answers:
                    pass
        assert "agent" in str(caught.value)
        assert len(str(caught.value)) < 300 and "\x1b" not in str(caught.value)
        assert made.link.state is Reach.STALE


async def test_what_arrived_before_a_connection_broke_has_no_holes(tmp_path: Path) -> None:
    """Whoever takes it tells the other side that there is room again, which fails; what was taken
    by then is lost, and nothing may come after it as if it stood in its place."""
    count = 800_000
    with Sshd(tmp_path, Box()) as sshd:
        async with host(sshd, transport="paramiko") as made:
            await made.agent()
            link = made._link
            assert isinstance(link, ParamikoLink)
            script = f"import os\nfor n in range({count // 1000}):\n os.write(1, b''.join("
            script += "b'%07d ' % (1000 * n + i) for i in range(1000)))"
            pipe = await link.open(shlex.join([sys.executable, "-c", script]))
            assert pipe.writer is not None
            held = pipe.writer.transport._channel.in_buffer  # type: ignore[attr-defined]
            await until(lambda: len(held) > 5 * MIB)
            sshd[0].freeze()  # or it would close it at once
            link._transport.sock.shutdown(socket.SHUT_WR)
            got = b""
            with suppress(OSError):
                while piece := await asyncio.wait_for(pipe.reader.read(MIB), 2):
                    got += piece
            sshd[0].thaw()
        assert len(got) > MIB
        assert got == b"".join(b"%07d " % n for n in range(count))[: len(got)]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_name_that_is_not_known_now_may_be_later(tmp_path: Path, transport: str) -> None:
    """The network that knows it, a VPN's, may be down: it is tried again by itself."""
    with Sshd(tmp_path, Box()) as sshd:
        sshd.config.write_text(sshd.config.read_text().replace("127.0.0.1", "no-such.invalid"))
        async with host(sshd, transport=transport) as made:
            with pytest.raises(Unreachable, match=r"no-such\.invalid"):
                await made.agent()
            assert not made.link.person and made.link.next_try is not None
            sshd.write_configuration()
            made.try_now()
            await made.agent()
