"""The user's own ssh program is used where only it can do it, and the reason is told."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest
from tests.services import need
from tests.services.sshd import Box, Sshd, make_key

from traindeck.backends.hosts.sshconfig import resolve
from traindeck.backends.hosts.sshneeds import why_openssh

REASONS = {
    "": "",
    "GSSAPIAuthentication yes": "",
    "GSSAPIAuthentication yes\nPreferredAuthentications gssapi-with-mic,publickey": "",
    "GSSAPIAuthentication yes\nPreferredAuthentications gssapi-with-mic": "Kerberos",
    "GSSAPIAuthentication yes\nPubkeyAuthentication no\nPasswordAuthentication no\n"
    "KbdInteractiveAuthentication no": "Kerberos",
    "HostbasedAuthentication yes\nPreferredAuthentications hostbased": "Hostbased",
    "PKCS11Provider /usr/lib/card.so": "smart card",
    "KnownHostsCommand /usr/bin/lookup %H": "KnownHostsCommand",
    "RevokedHostKeys /etc/revoked": "RevokedHostKeys",
    "VerifyHostKeyDNS yes": "DNS",
    "ProxyCommand pass %h\nProxyUseFdpass yes": "ProxyUseFdpass",
    "BindInterface lo": "BindInterface",
    "ControlPath /nowhere/%C": "",
    "ProxyJump gate": "",
    "ProxyJump gate\nHost gate\nPKCS11Provider /usr/lib/card.so": "on the way, at gate, its keys",
}


@pytest.mark.parametrize("text", REASONS)
def test_the_reason_is_found_in_the_configuration(tmp_path: Path, text: str) -> None:
    need("ssh", "openssh-client")
    file = tmp_path / "config"
    known = tmp_path / "known_hosts"
    file.write_text(f"Host x\nUserKnownHostsFile {known}\n{text}\n")
    told = why_openssh(resolve("x", config_file=str(file)))
    assert REASONS[text] in told and bool(told) is bool(REASONS[text])


def test_a_host_that_is_trusted_by_certificate_needs_openssh(tmp_path: Path) -> None:
    make_key(tmp_path / "ca", "ed25519")
    known, file = tmp_path / "known_hosts", tmp_path / "config"
    known.write_text(f"@cert-authority * {(tmp_path / 'ca.pub').read_text()}")
    file.write_text(f"UserKnownHostsFile {known}\n")
    told = why_openssh(resolve("x", config_file=str(file)))
    assert told == f"its host certificate has to be verified ({known}, line 1)"


def test_a_security_key_needs_openssh_unless_there_is_another(tmp_path: Path) -> None:
    file, key = tmp_path / "config", tmp_path / "id"
    file.write_text(f"IdentityFile {key}\nIdentityFile {tmp_path}/second\n")

    def told() -> str:
        return why_openssh(resolve("x", config_file=str(file)))

    assert told() == ""
    Path(f"{key}.pub").write_text("sk-ssh-ed25519@openssh.com AAAA me\n")
    assert "FIDO" in told()
    Path(f"{key}.pub").unlink()
    # What the file of such a key begins with; nobody can make one without the device.
    kind = b"sk-ssh-ed25519@openssh.com"
    public = text(kind) + text(bytes(32)) + text(b"ssh:")
    head = text(b"none") + text(b"none") + text(b"") + b"\0\0\0\x01" + text(public)
    body = base64.encodebytes(b"openssh-key-v1\0" + head + text(bytes(64))).decode()
    begin, end = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"
    key.write_text(f"{begin}\n{body}{end}\n")
    assert "FIDO" in told()
    make_key(tmp_path / "second", "ed25519")
    (tmp_path / "second.pub").unlink()
    assert told() == ""
    for broken in (b"", b"-----BEGIN OPENSSH PRIVATE KEY-----", b"\xff" * 100, b"\0", b"----- x"):
        key.write_bytes(broken)
        assert told() == ""


def test_a_connection_that_is_shared_already_is_used(tmp_path: Path) -> None:
    control = f"/tmp/{os.getpid()}-%C"  # the name of a socket has to be short
    with Sshd(tmp_path, Box(config=[f"ControlPath {control}"])) as sshd:
        assert why_openssh(resolve("box0", config_file=str(sshd.config))) == ""
        master = subprocess.Popen(
            sshd.ssh("box0", "echo up; cat", options=["-M"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert master.stdout and master.stdout.readline() == b"up\n"
        told = why_openssh(resolve("box0", config_file=str(sshd.config)))
        assert told == "a connection that can be shared is open already (ControlPath)"
        master.communicate()


def text(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
