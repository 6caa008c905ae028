"""Every way to be let in, seen: certificates of hosts and users, keys that only an agent holds,
second factors, connections that others have opened. Smart cards and Kerberos, whose services take
packages of their own, with `make soak`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.hosts.test_ssh import Person, host, nobody_is_asked, runs_a_job  # noqa: F401 (a fixture)
from tests.services import missing, need
from tests.services.security_key import SecurityKey
from tests.services.sshd import Box, Sshd, make_key

from traindeck.backends.asking import Nobody, set_asker, unattended
from traindeck.backends.base import Unreachable
from traindeck.backends.hosts.link import NeedsPerson

LONG_AGO = "20200101:20200102"


def sign(authority: Path, key: Path, *options: str) -> Path:
    """Make a certificate of a key, beside it."""
    argv = [need("ssh-keygen", "openssh-client"), "-q", "-s", str(authority), "-I", "me"]
    subprocess.run([*argv, *options, f"{key}.pub"], check=True, stdin=subprocess.DEVNULL)
    return key.with_name(f"{key.name}-cert.pub")


def public(key: Path) -> str:
    return Path(f"{key}.pub").read_text()


async def is_reached(sshd: Sshd, alias: str = "box0", **options: str) -> str:
    """How a machine was reached on which a job has run to its end, and why so."""
    async with host(sshd, alias, **options) as made:
        await runs_a_job(made)
        return made.transport


async def lets_in(sshd: Sshd, alias: str = "box0", **options: str) -> str:
    """The same where the agent has answered, which is most of it and costs half."""
    async with host(sshd, alias, **options) as made:
        await made.agent()
        return made.transport


async def is_refused(sshd: Sshd, **options: str) -> NeedsPerson:
    """What is said of a machine that nobody gets to, and of which nothing is noted."""
    before = sshd.known_hosts.read_bytes(), list(sshd[0].home.iterdir())
    async with host(sshd, **options) as made:
        with pytest.raises(NeedsPerson) as refused:
            await made.agent()
    assert (sshd.known_hosts.read_bytes(), list(sshd[0].home.iterdir())) == before
    assert refused.value.what.count(". ") == 0 and refused.value.what.endswith(".")
    return refused.value


# ------------------------------------------------------------------------- certificates of hosts


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    make_key(tmp_path / "ca", "ed25519")
    return tmp_path / "ca"


def certified(tmp_path: Path, authority: Path, *options: str, config: Sequence[str] = ()) -> Sshd:
    """A machine that shows a certificate, and is known by its authority alone."""
    shown = tmp_path / "sshd/box0/host_ed25519-cert.pub"
    box = Box(known=False, lines=[f"HostCertificate {shown}"], config=config)
    sshd = Sshd(tmp_path / "sshd", box)
    sign(authority, sshd[0].keys[0], "-h", *options)
    return sshd


async def test_a_host_with_a_certificate_is_reached_by_ssh(tmp_path: Path, authority: Path) -> None:
    with certified(tmp_path, authority, "-n", "127.0.0.1") as sshd:
        sshd.known_hosts.write_text(f"@cert-authority * {public(authority)}")
        told = await is_reached(sshd)
        where = f"{sshd.known_hosts}, line 1"
        assert told == f"openssh: its host certificate has to be verified ({where})"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-n", "elsewhere"], "it is not for the name 127.0.0.1"),
        (["-V", LONG_AGO], "it has expired"),
    ],
)
async def test_a_host_whose_certificate_is_no_good_is_refused_whoever_is_asked(
    tmp_path: Path, authority: Path, options: list[str], words: str
) -> None:
    """`ssh` itself would go on with the bare key, ask for it or note it."""
    person = Person(trusts=True)
    set_asker(person)
    with certified(
        tmp_path, authority, *options, config=["StrictHostKeyChecking accept-new"]
    ) as sshd:
        sshd.known_hosts.write_text(f"@cert-authority * {public(authority)}")
        refused = await is_refused(sshd)
        assert refused.what == f"box0 shows a host certificate that is no good: {words}."
        assert "Ask who runs the host" in refused.fix
    assert not person.strangers


async def test_a_host_under_an_authority_that_shows_no_certificate_is_asked_for(
    tmp_path: Path, authority: Path
) -> None:
    person = Person(trusts=True)
    with Sshd(tmp_path / "sshd", Box(known=False, config=["StrictHostKeyChecking no"])) as sshd:
        sshd.known_hosts.write_text(f"@cert-authority * {public(authority)}")
        assert "its host key is not in your known_hosts" in (await is_refused(sshd)).what
        set_asker(person)
        await lets_in(sshd)
        assert public(sshd[0].keys[0]).split()[1] in sshd.known_hosts.read_text()


@pytest.mark.parametrize("revoked", ["authority", "key"])
async def test_a_host_whose_key_or_authority_is_revoked_is_refused(
    tmp_path: Path, authority: Path, revoked: str
) -> None:
    with certified(tmp_path, authority) as sshd:
        line = public(authority if revoked == "authority" else sshd[0].keys[0])
        sshd.known_hosts.write_text(f"@cert-authority * {public(authority)}@revoked * {line}")
        refused = await is_refused(sshd)
        assert refused.what == (
            "box0 shows a host certificate whose key or signer is marked as revoked "
            f"({sshd.known_hosts}, line 2)."
        )


# ------------------------------------------------------------------------- certificates of users


@contextmanager
def takes_certificates(tmp_path: Path, authority: Path, *options: str) -> Iterator[Sshd]:
    """A machine that knows no key, only who signs them."""
    lines = [f"TrustedUserCAKeys {authority}.pub", "AuthorizedKeysFile none"]
    shown = tmp_path / "mine-cert.pub"
    box = Box(lines=lines, config=[f"CertificateFile {shown}"])
    with Sshd(tmp_path / "sshd", box) as sshd:
        sign(authority, sshd.key, *(options or ("-n", "deck"))).rename(shown)
        yield sshd


async def test_a_certificate_of_ones_own_opens_the_door(tmp_path: Path, authority: Path) -> None:
    with takes_certificates(tmp_path, authority) as sshd:
        assert await is_reached(sshd) == "paramiko"
        assert await lets_in(sshd, transport="openssh") == "openssh"
        # Others than its own change nothing, and one that lies beside its key is found.
        make_key(tmp_path / "other", "ed25519")
        other = sign(authority, tmp_path / "other", "-n", "deck")
        (tmp_path / "mine-cert.pub").rename(f"{sshd.key}-cert.pub")
        other.rename(tmp_path / "mine-cert.pub")
        assert await lets_in(sshd) == "paramiko"


@pytest.mark.parametrize("transport", ["auto", "paramiko"])
async def test_a_certificate_that_has_expired_is_said_to_have(
    tmp_path: Path, authority: Path, transport: str
) -> None:
    with takes_certificates(tmp_path, authority, "-n", "deck", "-V", LONG_AGO) as sshd:
        refused = await is_refused(sshd, transport=transport)
        assert "box0 does not let deck in: " in refused.what
        assert "it takes publickey" in refused.what
        assert f"Your certificate {tmp_path}/mine-cert.pub has expired (2020-01-0" in refused.fix


# ----------------------------------------------------------------------- keys that an agent holds


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The socket of an ssh-agent that nobody is told of."""
    for name in ("SSH_AUTH_SOCK", "SSH_ASKPASS", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    socket = tmp_path / "agent"
    argv = [need("ssh-agent", "openssh-client"), "-D", "-a", str(socket)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it listens
    yield socket
    process.terminate()
    process.communicate()


def hand_over(agent: Path, key: Path, *options: str) -> None:
    """Have the agent hold a key, and nobody else."""
    argv = [need("ssh-add", "openssh-client"), "-q", *options, str(key)]
    environ = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
    subprocess.run(argv, check=True, env=environ, stdin=subprocess.DEVNULL, capture_output=True)
    key.unlink()


@pytest.mark.parametrize("transport", ["auto", "openssh"])
async def test_a_key_that_only_the_agent_holds_opens_the_door(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    expected = transport.replace("auto", "paramiko")
    with Sshd(tmp_path / "sshd", Box(config=[f"IdentityAgent {agent}"])) as sshd:
        hand_over(agent, sshd.key)
        # IdentitiesOnly is set: the public part beside it says that this one is meant.
        assert await is_reached(sshd, transport=transport) == expected
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        text = sshd.config.read_text()
        text = text.replace(f"IdentityAgent {agent}", "").replace("IdentitiesOnly yes", "")
        sshd.config.write_text(text.replace(f"IdentityFile {sshd.key}", "IdentityFile none"))
        assert await lets_in(sshd, transport=transport) == expected
        sshd.config.write_text(sshd.config.read_text() + "\n  IdentitiesOnly yes\n")
        refused = await is_refused(sshd, transport=transport)
        assert "box0 does not let deck in" in refused.what


@pytest.mark.parametrize("held", ["key", "certificate"])
async def test_a_certificate_whose_key_the_agent_holds_opens_the_door(
    tmp_path: Path, authority: Path, agent: Path, held: str
) -> None:
    with takes_certificates(tmp_path, authority) as sshd:
        text = sshd.config.read_text() + f"\n  IdentityAgent {agent}\n"
        if held == "certificate":
            (tmp_path / "mine-cert.pub").rename(f"{sshd.key}-cert.pub")
            text = text.replace("IdentitiesOnly yes", "")
        hand_over(agent, sshd.key)
        Path(f"{sshd.key}-cert.pub").unlink(missing_ok=True)
        sshd.config.write_text(text)
        assert await lets_in(sshd) == "paramiko"


async def test_a_key_that_the_agent_does_not_use_for_us_is_left_to_ssh(
    tmp_path: Path, agent: Path
) -> None:
    """One that it gives away for one machine only: it has to be told which that is."""
    with Sshd(tmp_path / "sshd", Box(config=[f"IdentityAgent {agent}"])) as sshd:
        with sshd.known_hosts.open("a") as file:
            file.write(f"127.0.0.1 {sshd[0].public_keys[0]}\n")
        hand_over(agent, sshd.key, "-h", "127.0.0.1", "-H", str(sshd.known_hosts))
        told = await lets_in(sshd)
        assert told.startswith("openssh: box0 does not let deck in: ")
        assert "the agent does not use its key for us (ssh-ed25519 of the agent)" in told


# -------------------------------------------------------------------------------- second factors

TRANSPORTS = ["paramiko", "openssh"]


@contextmanager
def asks_by_pam(tmp_path: Path, methods: str, *rules: str) -> Iterator[Sshd]:
    """A machine whose PAM has rules of ours; `CODE` in one checks that `right` was typed."""
    if os.getuid() != 0:
        missing("only root can give an sshd another /etc/pam.d")
    box = Box(
        lines=[
            "UsePAM yes",
            "KbdInteractiveAuthentication yes",
            f"AuthenticationMethods {methods}",
        ],
        mounts=[["--bind", "{box}/pam.d", "/etc/pam.d"]],
        password="right",
    )
    sshd = Sshd(tmp_path / "sshd", box)
    checks = sshd[0].folder / "checks"
    checks.write_text("#!/bin/sh\ntest \"$(tr -d '\\0')\" = right\n")
    checks.chmod(0o755)
    (sshd[0].folder / "pam.d").mkdir()
    code = f"auth required pam_exec.so quiet expose_authtok {checks}"
    always = [f"{kind} required pam_permit.so" for kind in ("account", "session")]
    lines = [
        *(rule.replace("CODE", code) for rule in rules),
        "auth required pam_permit.so",
        *always,
    ]
    (sshd[0].folder / "pam.d/sshd").write_text("".join(f"{line}\n" for line in lines))
    with sshd:
        yield sshd


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_code_is_asked_for_once_and_never_tried_again(
    tmp_path: Path, transport: str
) -> None:
    """A key first, then what PAM asks."""
    person = Person(secret="right")
    set_asker(person)
    with asks_by_pam(tmp_path, "publickey,keyboard-interactive", "CODE") as sshd:
        assert await is_reached(sshd, transport=transport) == transport
        assert len(person.prompts) == 1 and "assword" in person.prompts[0]
        person.word = "wrong"
        refused = await is_refused(sshd, transport=transport)
        assert "not tried again" in refused.what
        assert len(person.prompts) == 2
        set_asker(Nobody())
        refused = await is_refused(sshd, transport=transport)
        assert "it takes keyboard-interactive" in refused.what
        assert refused.fix == Nobody.again


async def test_several_steps_are_gone_through_in_the_order_of_the_machine(tmp_path: Path) -> None:
    person = Person(secret="right")
    set_asker(person)
    with asks_by_pam(tmp_path, "password,keyboard-interactive,publickey", "CODE") as sshd:
        assert await lets_in(sshd) == "paramiko"
        assert len(person.prompts) == 2
        Path(sshd.key).unlink()
        refused = await is_refused(sshd)
        assert len(person.prompts) == 4
        assert "password and keyboard-interactive is not enough; it takes publickey" in refused.what


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_who_has_nothing_to_type_is_let_in_all_the_same(
    tmp_path: Path, transport: str
) -> None:
    """As when a telephone is asked."""
    with asks_by_pam(tmp_path, "keyboard-interactive") as sshd:
        person = Person(secret="right")
        set_asker(person)
        assert await lets_in(sshd, transport=transport) == transport
        assert not person.prompts


async def test_who_says_nothing_is_not_asked_again_by_another_program(tmp_path: Path) -> None:
    person = Person()
    set_asker(person)
    with asks_by_pam(tmp_path, "keyboard-interactive password", "CODE") as sshd:
        refused = await is_refused(sshd)
        assert len(person.prompts) == 1
        assert refused.what == "box0 wants to know something that it was not told."


# ----------------------------------------------------------------------------- ways that lead there


async def test_a_connection_that_is_open_already_is_used(tmp_path: Path) -> None:
    """Also where it could not be made again: whoever opened it has typed what was asked."""
    control = f"/tmp/{os.getpid()}-%C"  # the name of a socket has to be short
    with Sshd(tmp_path / "sshd", Box(config=[f"ControlPath {control}"])) as sshd:
        master = subprocess.Popen(
            sshd.ssh("box0", "echo up; cat", options=["-M"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert master.stdout and master.stdout.readline() == b"up\n"
        Path(sshd.key).unlink()
        told = await is_reached(sshd)
        assert told == "openssh: a connection that can be shared is open already (ControlPath)"
        assert master.poll() is None  # it is not ours to close
        master.communicate()


async def test_the_way_is_a_command_and_the_configuration_asks_another(tmp_path: Path) -> None:
    """ProxyCommand with its tokens, in a Match exec."""
    with Sshd(tmp_path / "sshd", Box()) as sshd:
        seen = tmp_path / f"127.0.0.1-{sshd[0].port}-deck"
        way = f"ssh -F {sshd.config} -W %h:%p box0 2> {tmp_path}/%h-%p-%r"
        plain = sshd.config.read_text().replace("Host box0", "Host box0 there")
        sshd.config.write_text(
            f'Match host there exec "test %n = there"\n'
            f"  HostName 127.0.0.1\n  ProxyCommand {way}\n{plain}"
        )
        for transport in ("auto", "openssh"):
            told = await (is_reached if transport == "auto" else lets_in)(
                sshd, "there", transport=transport
            )
            assert told == transport.replace("auto", "paramiko")
            seen.unlink()
        sshd.config.write_text(sshd.config.read_text().replace(way, "echo no way there >&2; false"))
        async with host(sshd, "there") as made:
            with pytest.raises(Unreachable, match=r"ProxyCommand of there .*: no way there"):
                await made.agent()


async def test_a_security_key_opens_the_door_and_is_missed_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = SecurityKey(tmp_path / "device")
    config = [f"SecurityKeyProvider {device.library}"]
    with Sshd(tmp_path / "sshd", Box(config=config, password="right")) as sshd:
        for path in (sshd.key, Path(f"{sshd.key}.pub")):
            path.unlink()
        device.make_key(sshd.key)

        class Toucher(Person):
            def notice(self, host: str, text: str) -> None:
                super().notice(host, text)
                device.touch()

        person = Toucher()
        set_asker(person)
        assert await is_reached(sshd) == "openssh: its key is on a security key (FIDO)"
        assert not person.prompts  # to touch it is nothing to type
        (said,) = person.notices
        assert said.startswith("Confirm user presence for key ED25519-SK SHA256:")
        assert said.endswith(": touch it")
        with monkeypatch.context() as patched, unattended():
            patched.setattr("traindeck.backends.hosts.ssh.GREETING", 0.5)
            assert "was not touched" in (await is_refused(sshd)).what
        # There may be another key that is not taken: before a password is asked for, this is tried.
        make_key(tmp_path / "other", "ed25519")
        text = sshd.config.read_text()
        sshd.config.write_text(f"IdentityFile {tmp_path}/other\n{text}")
        assert "a security key (FIDO) is left to try" in await lets_in(sshd)
        sshd.config.write_text(f"{text}\n  PasswordAuthentication no\n")
        device.unplug()
        refused = await is_refused(sshd)
        assert f"its key '{sshd.key}' was not used (device not found)" in refused.what
        assert "plugged in" in refused.fix
