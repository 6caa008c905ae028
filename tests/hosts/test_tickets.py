"""Keys on a smart card and Kerberos tickets: only the user's ssh can use either. A card in software
and a ticket office of our own, whose packages only `make soak` installs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hosts.test_logins import is_reached, is_refused
from tests.hosts.test_ssh import Person, nobody_is_asked  # noqa: F401 (a fixture)
from tests.services import free_port, need
from tests.services.sshd import Box, Sshd

from traindeck.backends.asking import Nobody, set_asker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("SOAK" not in os.environ, reason="needs packages of its own: make soak"),
]

PIN = "271828"


def run(*argv: str) -> str:
    return subprocess.run(
        argv, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True
    ).stdout


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The library of a card in software, and the public key of what is on it."""
    library = need("/usr/lib/softhsm/libsofthsm2.so", "softhsm2")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm").write_text(f"directories.tokendir = {tmp_path}/tokens\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm"))
    util, tool = need("softhsm2-util", "softhsm2"), need("pkcs11-tool", "opensc")
    pins = ("--pin", PIN, "--so-pin", PIN)
    run(util, "--init-token", "--free", "--label", "card", *pins)
    key = ("--keypairgen", "--key-type", "rsa:2048", "--id", "01", "--label", "mine")
    run(tool, "--module", library, "--login", "--pin", PIN, *key)
    return library, run(need("ssh-keygen", "openssh-client"), "-D", library)


async def test_a_smart_card_opens_the_door_with_a_pin_that_is_asked_for_once(
    tmp_path: Path, card: tuple[str, str]
) -> None:
    library, public = card
    box = Box(config=[f"PKCS11Provider {library}"])
    with Sshd(tmp_path / "sshd", box) as sshd:
        Path(f"{sshd.key}.pub").write_text(public)
        text = sshd.config.read_text().replace("IdentitiesOnly yes", "")
        sshd.config.write_text(text.replace(f"IdentityFile {sshd.key}", ""))
        person = Person(secret=PIN)
        set_asker(person)
        told = await is_reached(sshd)
        assert told == f"openssh: its keys are on a smart card ({library})"
        assert len(person.prompts) == 1 and "PIN" in person.prompts[0]
        for path in tmp_path.rglob("*"):
            if path.is_file() and "tokens" not in path.parts:
                assert PIN.encode() not in path.read_bytes()

        person.word = "314159"
        where = f"The smart card for box0 ({library})"
        refused = await is_refused(sshd)
        assert refused.what == f"{where} does not take that: PIN incorrect; not tried again."
        assert len(person.prompts) == 2
        set_asker(Nobody())
        refused = await is_refused(sshd)
        assert refused.what == f"{where} wants its PIN, and nobody can be asked for it."
        sshd.config.write_text(sshd.config.read_text().replace(library, "/usr/lib/nothing.so"))
        refused = await is_refused(sshd)
        assert refused.what.endswith(
            "(/usr/lib/nothing.so) cannot be used: is not a PKCS11 library."
        )


class Tickets:
    """A ticket office (KDC) for the realm TEST, and this user's purse."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        self.port = free_port()
        (folder / "krb5.conf").write_text(
            "[libdefaults]\n default_realm = TEST\n clockskew = 1\n dns_lookup_kdc = false\n"
            " dns_lookup_realm = false\n dns_canonicalize_hostname = false\n rdns = false\n"
            f"[realms]\n TEST = {{\n  kdc = 127.0.0.1:{self.port}\n }}\n"
        )
        (folder / "kdc.conf").write_text(
            f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{self.port}\n"
            f" kdc_tcp_listen = 127.0.0.1:{self.port}\n"
            f"[realms]\n TEST = {{\n  database_name = {folder}/db\n"
            f"  key_stash_file = {folder}/stash\n  acl_file = {folder}/acl\n }}\n"
            f"[logging]\n kdc = FILE:{folder}/log\n"
        )
        for name, value in (
            ("KRB5_CONFIG", f"{folder}/krb5.conf"),
            ("KRB5_KDC_PROFILE", f"{folder}/kdc.conf"),
            ("KRB5_KTNAME", f"FILE:{folder}/host.keytab"),
            ("KRB5CCNAME", f"FILE:{folder}/purse"),
            ("KRB5RCACHENAME", f"dfl:{folder}"),
        ):
            monkeypatch.setenv(name, value)
        run(need("kdb5_util", "krb5-kdc"), "create", "-s", "-r", "TEST", "-P", "master")
        admin = need("kadmin.local", "krb5-admin-server")
        for principal, keytab in (("host/127.0.0.1", "host"), ("deck", "mine")):
            run(admin, "-q", f"addprinc -randkey {principal}")
            run(admin, "-q", f"ktadd -k {folder}/{keytab}.keytab {principal}")
        self.process = subprocess.Popen(
            [need("krb5kdc", "krb5-kdc"), "-n"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while "commencing operation" not in self.log():
            assert self.process.poll() is None, self.log()
            time.sleep(0.01)

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def get(self, *options: str) -> None:
        """Put a ticket into the purse."""
        run(need("kinit", "krb5-user"), *options, "-k", "-t", f"{self.folder}/mine.keytab", "deck")


@pytest.fixture
def tickets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tickets]:
    made = Tickets(tmp_path / "kdc", monkeypatch)
    yield made
    made.process.terminate()
    made.process.wait()


KERBEROS = ("GSSAPIAuthentication yes", "GSSAPIStrictAcceptorCheck no", "PubkeyAuthentication no")


async def test_a_kerberos_ticket_opens_the_door_and_is_missed_by_name(
    tmp_path: Path, tickets: Tickets
) -> None:
    only = ["GSSAPIAuthentication yes", "PreferredAuthentications gssapi-with-mic"]
    with Sshd(tmp_path / "sshd", Box(lines=KERBEROS, config=only)) as sshd:
        refused = await is_refused(sshd)
        assert "box0 does not let deck in: it takes gssapi-keyex, gssapi-with-mic" in refused.what
        assert "`kinit` gets one" in refused.fix
        tickets.get()
        assert await is_reached(sshd) == "openssh: it takes Kerberos tickets only (GSSAPI)"
        tickets.get("-l", "1s")
        while subprocess.run(sshd.ssh("box0", "true"), capture_output=True).returncode == 0:
            time.sleep(0.1)
        assert "`kinit` gets one" in (await is_refused(sshd)).fix


async def test_a_password_is_asked_for_only_if_there_is_no_ticket(
    tmp_path: Path, tickets: Tickets
) -> None:
    person = Person(secret="right")
    set_asker(person)
    box = Box(lines=KERBEROS, config=["GSSAPIAuthentication yes"], password="right")
    with Sshd(tmp_path / "sshd", box) as sshd:
        assert await is_reached(sshd) == "paramiko"
        assert len(person.prompts) == 1
        tickets.get()
        told = await is_reached(sshd)
        assert told.startswith("openssh: ") and "a Kerberos ticket is left to try" in told
        assert len(person.prompts) == 1
