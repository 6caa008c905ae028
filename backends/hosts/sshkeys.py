"""The files of the user's keys, without their secrets: the public part of each, which certificate
is for which, and whether that is good now.

Certificates that are made anew every day are common, so that "it has expired" is what most often
keeps somebody out who was let in yesterday. The server says nothing of that; the file does.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from traindeck.backends import files
from traindeck.backends.data import dataclass
from traindeck.backends.hosts.knownhosts import PARTS

if TYPE_CHECKING:
    from traindeck.backends.hosts.sshconfig import Target

_MAX_FILE = 64 << 10
_ENDING = "-cert-v01@openssh.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate of a user's key.

    Attributes:
        key: The public key that it is for, as it is sent.
        after, before: When it is good, in seconds since 1970; `before` may be far beyond any date.
    """

    path: str = ""
    key: bytes = b""
    after: int = 0
    before: int = 0


def public_part(path: str) -> bytes:
    """The public key that a private one of this name has, as it is sent: from the file beside it,
    or from it (as OpenSSH, which takes the name of either). b"" if neither says."""
    for name in (f"{path}.pub", path):
        data = content(name)
        if found := in_private(data) or _line(data)[1]:
            return found
    return b""


def content(path: str) -> bytes:
    """What a file of a key holds; b"" for one that cannot be read."""
    try:
        with files.open_regular(Path(path), follow=True) as file:
            return file.read(_MAX_FILE)
    except (OSError, ValueError):
        return b""


def in_private(data: bytes) -> bytes:
    """The public key that stands, not encrypted, at the head of a private one of OpenSSH's."""
    if not data.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----"):
        return b""
    try:
        body = base64.b64decode(b"".join(data.split(b"-----")[2].split()))
        rest = body.removeprefix(b"openssh-key-v1\0")
        for _ in range(3):  # cipher, key derivation, its options
            _, rest = _part(rest)
        return _part(rest[4:])[0]  # after their count
    except (IndexError, ValueError, binascii.Error):
        return b""


def _line(data: bytes) -> tuple[str, bytes]:
    """Type and key of a file with a public key or a certificate."""
    try:
        words = data.split(None, 2)
        return words[0].decode("ascii"), base64.b64decode(words[1], validate=True)
    except (ValueError, IndexError, binascii.Error):
        return "", b""


def read(path: str) -> Certificate | None:
    """What a file of OpenSSH's says; None if it holds no certificate that is understood."""
    kind, rest = _line(content(path))
    if not kind.endswith(_ENDING):
        return None
    plain = kind.removesuffix(_ENDING)
    plain += "@openssh.com" if plain.startswith("sk-") else ""
    parts: list[bytes] = []
    wanted = 2 + PARTS.get(plain, -2)  # its type and a nonce, then the key
    try:
        while len(parts) < wanted:
            part, rest = _part(rest)
            parts.append(part)
        rest = rest[12:]  # a serial number, and whether it is of a user or a host
        for _ in range(2):  # a name, and the accounts it is good for
            _, rest = _part(rest)
        after, before = (int.from_bytes(rest[at : at + 8], "big") for at in (0, 8))
    except ValueError:
        return None
    if not wanted or len(rest) < 16 or parts[0] != kind.encode():
        return None
    key = b"".join(len(p).to_bytes(4, "big") + p for p in (plain.encode(), *parts[2:]))
    return Certificate(path=path, key=key, after=after, before=before)


def given(target: Target) -> Iterator[Certificate]:
    """The certificates that OpenSSH would offer a machine: those of CertificateFile, then what lies
    beside the keys."""
    beside = (f"{path}-cert.pub" for path in target.identity_files)
    seen: set[str] = set()
    for path in (*target.certificate_files, *beside):
        if path not in seen and (found := read(path)):
            seen.add(path)
            yield found


def why_not(target: Target) -> str:
    """What is wrong with the certificates for a machine, as a sentence; empty if one is good now,
    or there is none. Of their accounts and their signer only the server knows."""
    now = time.time()
    told = ""
    for certificate in given(target):
        if now < certificate.after:
            when = f"is good only from {_date(certificate.after)} on"
        elif now >= certificate.before:
            when = f"has expired ({_date(certificate.before)})"
        else:
            return ""
        told = told or f"Your certificate {certificate.path} {when}: get a new one."
    return told


def _part(data: bytes) -> tuple[bytes, bytes]:
    size = 4 + int.from_bytes(data[:4], "big")
    if len(data) < max(size, 4):
        raise ValueError
    return data[4:size], data[size:]


def _date(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "a day that no calendar has"
