"""A machine over SSH: reached by either transport, through a jump, whatever its login shell says,
and refused in words when it should be."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.services.proxy import Proxy
from tests.services.sshd import Box, Sshd, make_key

from traindeck.backends.asking import Nobody, Stranger, set_asker
from traindeck.backends.base import BackendError, Reach, RunSpec, State, Unreachable
from traindeck.backends.hosts.link import NeedsPerson
from traindeck.backends.hosts.ssh import SSHHost
from traindeck.backends.process import ProcessBackend

TRANSPORTS = ("paramiko", "openssh")


class Person:
    """Answers what is asked, and remembers what that was."""

    again = "Ask the person again."

    def __init__(self, *, trusts: bool = False, secret: str | None = None) -> None:
        self.trust = trusts
        self.word = secret
        self.strangers: list[Stranger] = []
        self.prompts: list[str] = []
        self.notices: list[str] = []

    def trusts(self, stranger: Stranger) -> bool:
        self.strangers.append(stranger)
        return self.trust

    def secret(self, host: str, prompt: str) -> str | None:
        self.prompts.append(prompt)
        return self.word

    def notice(self, host: str, text: str) -> None:
        self.notices.append(text)


@pytest.fixture(autouse=True)
def nobody_is_asked() -> Iterator[None]:
    yield
    set_asker(Nobody())


@asynccontextmanager
async def host(sshd: Sshd, alias: str = "box0", **options: str) -> AsyncIterator[SSHHost]:
    made = SSHHost(alias, alias, config_file=str(sshd.config), **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.aclose()


async def runs_a_job(made: SSHHost) -> None:
    backend = ProcessBackend(made.name, made, kind="ssh")
    run_id = "".join(secrets.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(12))
    spec = RunSpec(run_id=run_id, argv=("/bin/sh", "-c", "echo here; exit 3"), cwd="/")
    ref = await backend.submit(backend.plan(spec, await backend.survey(spec)))
    said = b""
    async with backend.logs(ref) as chunks:
        async for chunk in chunks:
            said += chunk.data
    status = (await backend.poll([ref]))[ref]
    assert (said, status.state, status.exit_code) == (b"here\n", State.FAILED, 3)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("alias", ["box0", "hop1"])
async def test_a_job_runs_on_a_machine_also_behind_a_jump_host(
    tmp_path: Path, transport: str, alias: str
) -> None:
    with Sshd(tmp_path, Box(), Box()) as sshd:
        async with host(sshd, alias, transport=transport) as made:
            await runs_a_job(made)
            number = int(alias[-1])
            assert (sshd[number].home / ".traindeck/runs").is_dir()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("shell", ["bash", "tcsh", "fish", "dash"])
async def test_any_login_shell_will_do_and_what_it_says_is_kept_as_a_warning(
    tmp_path: Path, shell: str, transport: str
) -> None:
    noise = "Welcome!\nLast login: never\n\x1b[31mred\x1b[0m { \" ' `\n"
    with Sshd(tmp_path, Box(shell=shell)) as sshd:
        sshd[0].greet(noise)
        async with host(sshd, transport=transport) as made:
            await runs_a_job(made)
            talks = shell not in ("dash",)  # without a terminal it reads no start-up file
            assert ("Welcome!" in made.banner) is talks


async def test_the_agent_is_sent_once_and_later_versions_lie_beside_it(tmp_path: Path) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        bins = sshd[0].home / ".traindeck/bin"
        old = bins / "agent-0123456789abcdef.py"
        bins.mkdir(parents=True)
        old.write_text("# an old one, for its runs\n")
        async with host(sshd) as made:
            await made.agent()
        (mine,) = {path for path in bins.glob("agent-*.py") if path != old}
        before = mine.stat().st_ino
        async with host(sshd) as made:
            await made.agent()
        assert mine.stat().st_ino == before
        assert mine.stat().st_mode & 0o777 == 0o600
        assert old.exists()
        assert not list(bins.glob("*.tmp"))


async def test_an_agent_that_was_cut_short_is_sent_again(tmp_path: Path) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        async with host(sshd) as made:
            await made.agent()
        (mine,) = (sshd[0].home / ".traindeck/bin").glob("agent-*.py")
        whole = mine.read_bytes()
        mine.write_bytes(whole[:1000])
        async with host(sshd) as made:
            await made.agent()
        assert mine.read_bytes() == whole


@pytest.mark.skipif(os.getuid() != 0, reason="makes a folder that root cannot write either")
async def test_a_folder_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        async with host(sshd, root="/proc/traindeck") as made:
            with pytest.raises(BackendError) as caught:
                await made.agent()
    assert "/proc/traindeck cannot be written" in str(caught.value)
    assert "No such file" in str(caught.value)
    assert "`root`" in str(caught.value)


async def test_a_machine_without_python_is_said_to_have_none(tmp_path: Path) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        async with host(sshd, python="/usr/bin/no-such-python") as made:
            with pytest.raises(BackendError, match=r"box0: no Python of 3\.6 or newer"):
                await made.agent()


@pytest.mark.skipif(os.getuid() != 0, reason="else the tests themselves are not root")
async def test_nobody_has_to_be_root_there_or_to_reach_a_network(tmp_path: Path) -> None:
    """As somebody who may do nothing, in a network in which there is nothing."""
    with TemporaryDirectory() as folder:
        shell, root = Path(folder, "shell"), Path(folder, "root")
        shell.write_text(
            "#!/bin/sh\nexec unshare --net setpriv --reuid=65534 --regid=65534 --clear-groups "
            '/bin/bash "$@"\n'
        )
        root.mkdir()
        os.chown(root, 65534, 65534)
        for path in (shell, Path(folder)):
            path.chmod(0o755)
        with Sshd(tmp_path, Box(shell=str(shell))) as sshd:
            async with host(sshd, root=str(root)) as made:
                await runs_a_job(made)
        assert {path.stat().st_uid for path in root.rglob("*")} == {65534}
        assert list(root.glob("runs/*/attempts/0/exit.slot"))


# --------------------------------------------------------------------------------- whose it is


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_unknown_key_is_refused_where_nobody_can_be_asked(
    tmp_path: Path, transport: str
) -> None:
    with Sshd(tmp_path, Box(known=False)) as sshd:
        async with host(sshd, transport=transport) as made:
            with pytest.raises(NeedsPerson, match=r"(?i)key"):
                await made.agent()
            assert sshd.known_hosts.read_text() == ""
            # And it is not dialled again by itself.
            sshd.stop()
            with pytest.raises(NeedsPerson, match=r"(?i)key"):
                await made.agent()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_unknown_key_is_shown_once_and_noted_if_it_is_trusted(
    tmp_path: Path, transport: str
) -> None:
    person = Person(trusts=True)
    set_asker(person)
    with Sshd(tmp_path, Box(known=False)) as sshd:
        async with host(sshd, transport=transport) as made:
            await made.agent()
        async with host(sshd, transport=transport) as made:
            await made.agent()
        (stranger,) = person.strangers
        kind, key = sshd[0].public_keys[0].split()
        assert stranger.fingerprint.startswith("SHA256:")
        assert stranger.key_type.lower().replace("ssh-", "") == kind.replace("ssh-", "")
        assert key in sshd.known_hosts.read_text()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_key_that_changed_is_refused_whoever_is_asked(
    tmp_path: Path, transport: str
) -> None:
    person = Person(trusts=True, secret="x")
    set_asker(person)
    make_key(tmp_path / "other", "ed25519")
    with Sshd(tmp_path / "sshd", Box(config=["StrictHostKeyChecking no"])) as sshd:
        other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
        sshd.known_hosts.write_text(f"[127.0.0.1]:{sshd[0].port} {other}\n")
        async with host(sshd, transport=transport) as made:
            with pytest.raises(NeedsPerson, match="box0 shows another host key than before"):
                await made.agent()
        assert not person.strangers
        assert sshd.known_hosts.read_text().count("\n") == 1
        assert not (sshd[0].home / ".traindeck").exists()


# ---------------------------------------------------------------------------------- who we are


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_password_is_asked_for_once_and_never_tried_again(
    tmp_path: Path, transport: str
) -> None:
    person = Person(secret="wrong")
    set_asker(person)
    box = Box(password="right", lines=["PubkeyAuthentication no"])
    with Sshd(tmp_path, box) as sshd:
        async with host(sshd, transport=transport) as made:
            for _ in range(3):
                with pytest.raises(NeedsPerson):
                    await made.agent()
        assert len(person.prompts) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_host_that_asked_for_a_password_is_not_redialled_by_itself(
    tmp_path: Path, transport: str
) -> None:
    person = Person(secret="right")
    set_asker(person)
    box = Box(password="right", lines=["PubkeyAuthentication no"])
    with Sshd(tmp_path, box) as sshd:
        async with host(sshd, transport=transport) as made:
            await runs_a_job(made)
            assert len(person.prompts) == 1
            sshd[0].drop()
            channel = made._channel
            assert channel is not None
            while not channel.failed:
                await asyncio.sleep(0.01)
            with pytest.raises(NeedsPerson, match="password"):
                await made.agent()
            assert len(person.prompts) == 1
            made.try_now()
            await made.agent()
            assert len(person.prompts) == 2
        for path in tmp_path.rglob("*"):
            if path.is_file() and not path.is_relative_to(sshd[0].folder):
                assert b"right" not in path.read_bytes()


async def test_a_key_with_a_passphrase_is_opened_with_what_is_typed(tmp_path: Path) -> None:
    person = Person(secret="open sesame")
    set_asker(person)
    with Sshd(tmp_path, Box()) as sshd:
        locked = tmp_path / "locked"
        make_key(locked, "ed25519", passphrase="open sesame")
        public = Path(f"{sshd.key}.pub")
        public.write_text(Path(f"{locked}.pub").read_text())
        locked.replace(sshd.key)
        async with host(sshd, transport="paramiko") as made:
            await made.agent()
        assert len(person.prompts) == 1
        assert str(sshd.key) in person.prompts[0]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_machine_that_does_not_let_us_in_is_named_with_what_it_takes(
    tmp_path: Path, transport: str
) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        make_key(tmp_path / "stranger", "ed25519")
        config = sshd.config.read_text().replace(str(sshd.key), str(tmp_path / "stranger"))
        sshd.config.write_text(config)
        async with host(sshd, transport=transport) as made:
            with pytest.raises(NeedsPerson, match="publickey") as caught:
                await made.agent()
        assert "ssh box0" in caught.value.fix


async def test_what_the_built_in_client_cannot_do_is_done_by_ssh_and_the_reason_is_said(
    tmp_path: Path,
) -> None:
    box = Box(lines=["Ciphers chacha20-poly1305@openssh.com"])
    with Sshd(tmp_path, box) as sshd:
        async with host(sshd) as made:
            await runs_a_job(made)
            assert made.transport.startswith("openssh: box0")
            assert "no algorithm in common" in made.transport
        async with host(sshd, transport="paramiko") as made:
            with pytest.raises(NeedsPerson, match="no algorithm in common"):
                await made.agent()


# ------------------------------------------------------------------------------------ bad days


async def test_a_name_that_is_no_host_is_answered_with_those_that_there_are(
    tmp_path: Path,
) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        async with host(sshd, "bxo0.invalid") as made:
            with pytest.raises(Unreachable) as caught:
                await made.agent()
    assert "bxo0.invalid" in str(caught.value)
    assert "box0" in caught.value.fix


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_machine_that_is_down_is_tried_again_after_a_pause_that_is_named(
    tmp_path: Path, transport: str
) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        sshd.stop()
        async with host(sshd, transport=transport) as made:
            with pytest.raises(Unreachable, match=r"(?i)refuse"):
                await made.agent()
            with pytest.raises(Unreachable, match=r"Next try in \d+ s"):
                await made.agent()
            sshd[0].start()
            made.try_now()
            await runs_a_job(made)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_connection_that_broke_is_made_again_at_the_next_question(
    tmp_path: Path, transport: str
) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        async with host(sshd, transport=transport) as made:
            await runs_a_job(made)
            channel = made._channel
            assert channel is not None
            sshd[0].drop()
            while not channel.failed:
                await asyncio.sleep(0.01)
            await runs_a_job(made)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_agent_there_ends_with_the_connection(tmp_path: Path, transport: str) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        async with host(sshd, transport=transport) as made:
            await made.agent()
            assert sshd[0].jobs()
        for _ in range(500):
            if not sshd[0].jobs():
                break
            await asyncio.sleep(0.01)
        assert not sshd[0].jobs()


@pytest.mark.parametrize(
    "first",
    [b"", b"SSH-2.0-Garbage\r\n", b"hello\n" * 5_000],
    ids=["noise", "a version and noise", "many lines"],
)
async def test_a_server_that_answers_garbage_costs_a_little_memory_and_one_sentence(
    tmp_path: Path, first: bytes
) -> None:
    import tracemalloc

    with Sshd(tmp_path, Box()) as sshd, Proxy(sshd[0].port) as proxy:
        proxy.garbage(None, first=first)
        sshd.write_configuration(ports={"box0": proxy.port})
        async with host(sshd, transport="paramiko") as made:
            tracemalloc.start()
            with pytest.raises(Unreachable) as caught:
                await made.agent()
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert "not understood as an SSH server" in str(caught.value)
        assert "\x1b" not in str(caught.value)
        assert most < 32 << 20


async def test_a_login_that_prints_without_end_is_given_up(tmp_path: Path) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        (sshd[0].home / ".bashrc").write_text("yes x | tr -d '\\n'\n")
        async with host(sshd) as made:
            with pytest.raises(Unreachable, match="1 MiB"):
                await made.agent()


async def test_no_more_sessions_is_said_as_what_it_is(tmp_path: Path) -> None:
    with Sshd(tmp_path, Box(lines=["MaxSessions 2"])) as sshd:
        async with host(sshd, transport="paramiko") as made:
            await made.agent()
            link = made._link
            assert link is not None
            await link.open("sleep 60")
            with pytest.raises(BackendError, match="MaxSessions"):
                await link.open("sleep 60")
            await runs_a_job(made)


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
async def test_a_program_that_ends_while_it_is_sent_something_is_heard_to_its_end(
    tmp_path: Path, transport: str
) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        async with host(sshd, transport=transport) as made:
            await made.agent()
            link = made._link
            assert link is not None
            pipe = await link.open("head -c 10 > /dev/null; seq 100000; echo why; exit 3")
            assert pipe.writer is not None
            pipe.writer.write(bytes(8 << 20))
            with suppress(OSError):
                await asyncio.wait_for(pipe.writer.drain(), 20)
            pipe.writer.write(b"more")
            said = await asyncio.wait_for(pipe.reader.read(-1), 20)
            assert said.endswith(b"\n100000\nwhy\n")


async def test_the_time_between_two_tries_grows_and_jitters(tmp_path: Path) -> None:
    made = SSHHost("far", "127.0.0.1")
    pauses = []
    shares = set()
    for _ in range(10):
        before = time.monotonic()
        made._failed(Unreachable("It does not answer."))
        pauses.append(made._pause)
        shares.add(round((made._next_try - before) / made._pause, 3))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert len(shares) > 5, "consoles that lost a machine together do not come back together"


async def test_after_a_sleep_it_is_dialled_at_once(tmp_path: Path) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        sshd.stop()
        async with host(sshd) as made:
            with pytest.raises(Unreachable):
                await made.agent()
            with pytest.raises(Unreachable, match="Next try"):
                await made.agent()
            sshd[0].start()
            made._offset -= 3600.0  # the wall clock has gone on while the other one stood
            await runs_a_job(made)


async def test_a_caller_that_gives_up_does_not_stop_the_connection(tmp_path: Path) -> None:
    with Sshd(tmp_path, Box()) as sshd, Proxy(sshd[0].port, delay=0.04) as proxy:
        sshd.write_configuration(ports={"box0": proxy.port})
        async with host(sshd) as made:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await made.agent()
            task = made._connecting
            assert task is not None
            await task
            assert (await made.agent()) is task.result()


async def test_nothing_of_paramiko_is_left_when_it_is_closed(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with Sshd(tmp_path, Box()) as sshd:
        async with host(sshd, transport="paramiko") as made:
            await runs_a_job(made)
        for _ in range(500):
            left = [t for t in threading.enumerate() if t not in before and "asyncio" not in t.name]
            if not left:
                break
            await asyncio.sleep(0.01)
    assert not left


async def test_a_probe_says_how_it_is_reached_and_never_raises(tmp_path: Path) -> None:
    with Sshd(tmp_path, Box()) as sshd:
        sshd[0].greet("Mind the gap\n")
        async with host(sshd) as made:
            health = await ProcessBackend("box0", made, kind="ssh").probe()
            assert health.reach is Reach.OK
            text = "\n".join(sentence for _, sentence in health.checks)
            assert "paramiko" in text
            assert "Mind the gap" in text
        async with host(sshd, "-oProxyCommand=x") as made:
            health = await ProcessBackend("bad", made, kind="ssh").probe()
            assert health.reach is Reach.DOWN
