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
from tests.services import need
from tests.services.sshd import Box, Sshd, make_key

from traindeck.backends.asking import set_asker
from traindeck.backends.hosts.link import NeedsPerson

LONG_AGO = "20200101:20200102"


def sign(authority: Path, key: Path, *options: str) -> Path:
    """Make a certificate of a key, beside it."""
    argv = [need("ssh-keygen", "openssh-client"), "-q", "-s", str(authority), "-I", "me"]
    subprocess.run([*argv, *options, f"{key}.pub"], check=True, stdin=subprocess.DEVNULL)
    return key.with_name(f"{key.name}-cert.pub")


def public(key: Path) -> str:
    return Path(f"{key}.pub").read_text()


async def is_reached(sshd: Sshd, **options: str) -> str:
    """How a machine was reached on which a job has run to its end, and why so."""
    async with host(sshd, **options) as made:
        await runs_a_job(made)
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
        await is_reached(sshd)
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
        assert await is_reached(sshd, transport="openssh") == "openssh"
        # Others than its own change nothing, and one that lies beside its key is found.
        make_key(tmp_path / "other", "ed25519")
        other = sign(authority, tmp_path / "other", "-n", "deck")
        (tmp_path / "mine-cert.pub").rename(f"{sshd.key}-cert.pub")
        other.rename(tmp_path / "mine-cert.pub")
        assert await is_reached(sshd) == "paramiko"


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
        assert await is_reached(sshd, transport=transport) == expected
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
        assert await is_reached(sshd) == "paramiko"


async def test_a_key_that_the_agent_does_not_use_for_us_is_left_to_ssh(
    tmp_path: Path, agent: Path
) -> None:
    """One that it gives away for one machine only: it has to be told which that is."""
    with Sshd(tmp_path / "sshd", Box(config=[f"IdentityAgent {agent}"])) as sshd:
        with sshd.known_hosts.open("a") as file:
            file.write(f"127.0.0.1 {sshd[0].public_keys[0]}\n")
        hand_over(agent, sshd.key, "-h", "127.0.0.1", "-H", str(sshd.known_hosts))
        told = await is_reached(sshd)
        assert told.startswith("openssh: box0")
        print("TOLD", told)
