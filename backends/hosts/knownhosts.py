"""Host keys: what the known_hosts files say of one, and adding a line to them.

Read as OpenSSH reads them: line by line, so that a line nobody understands costs that line and not
the file. Never rewritten, only appended to. The files are read anew for every question: they are
small, and other programs write them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from traindeck.backends import files
from traindeck.backends.data import dataclass
from traindeck.backends.errors import BackendError

if TYPE_CHECKING:
    from traindeck.backends.hosts.sshconfig import Target

_MAX_FILE = 64 << 20
_MAX_LINE = 64 << 10
_MAX_PATTERN = 1024
"""Bytes of one name in a line; OpenSSH takes no longer one either."""

PARTS = {
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
    "ssh-rsa": 2,
    "ssh-dss": 4,
}
"""Of how many parts a key of each type consists, in the order in which OpenSSH prefers them."""


class Known(StrEnum):
    """What known_hosts says of a key."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    """The host has other keys there, and not this one."""
    REVOKED = "revoked"
    AUTHORITY = "authority"
    """Nothing of the key itself, but an authority that may sign the host's keys. Only OpenSSH
    can verify that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the files say of a host key, and the line that says it (none for an unknown one)."""

    known: Known = Known.UNKNOWN
    key_type: str = ""
    fingerprint: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of a known_hosts file.

    Attributes:
        marker: `cert-authority`, `revoked`, or nothing.
        hosts: The names, as they stand there.
        blob: The public key as it is sent.
    """

    file: str = ""
    line: int = 0
    marker: str = ""
    hosts: str = ""
    key_type: str = ""
    blob: bytes = b""


def verify(target: Target, key_type: str, blob: bytes) -> Verdict:
    """What the user's and the system's known_hosts say of a key that a host has shown.

    Args:
        blob: The public key as it is sent (what base64 encodes in the files).
    """
    verdict = Verdict(key_type=key_type, fingerprint=fingerprint(blob))
    first, *others = _names(target)
    known, entry = _judge(_entries(target, first), key_type, blob)
    if known in (Known.UNKNOWN, Known.AUTHORITY):
        # As OpenSSH does: a key known under the name alone is known on every port. That another
        # one is says nothing.
        for name in others:
            plain, found = _judge(_entries(target, name), key_type, blob)
            if plain in (Known.KNOWN, Known.REVOKED) or (plain is Known.AUTHORITY and not entry):
                known, entry = plain, found
    if entry is None:
        return verdict
    return Verdict(
        known=known,
        key_type=key_type,
        fingerprint=verdict.fingerprint,
        file=entry.file,
        line=entry.line,
    )


def preferred_key_types(target: Target) -> tuple[str, ...]:
    """The types of the keys that are known for a host, best first. To be asked for before others: a
    host has keys of several types, and one that is not in the files would look like a changed one.
    (With an `ssh-rsa` key a host signs as `rsa-sha2-512` or `rsa-sha2-256`.)"""
    for name in _names(target):
        found = list(_entries(target, name))
        revoked = {entry.blob for entry in found if entry.marker == "revoked"}
        types = {e.key_type for e in found if not e.marker and e.blob not in revoked}
        if types:
            return tuple(kind for kind in PARTS if kind in types)
    return ()


def authority(target: Target) -> Entry | None:
    """The line with an authority that may sign the keys of this host, if no key of the host itself
    is known."""
    if preferred_key_types(target):
        return None
    return marked(target, "cert-authority")


def marked(target: Target, marker: str) -> Entry | None:
    """The first line for this host with a marker (`cert-authority`, `revoked`)."""
    entries = (entry for name in _names(target) for entry in _entries(target, name))
    return next((entry for entry in entries if entry.marker == marker), None)


def refusal(target: Target, verdict: Verdict) -> BackendError:
    """Why a host whose key is not known is not spoken to, and what to do."""
    key = f"{_short(verdict.key_type)} {verdict.fingerprint}"
    where = f"{verdict.file}, line {verdict.line}"
    match verdict.known:
        case Known.CHANGED:
            return BackendError(
                f"{target.alias} shows another host key than before ({key}; {where} has another): "
                "it was set up anew, or somebody is in between.",
                "If you know why it changed, remove that line; else ask who runs the host.",
            )
        case Known.REVOKED:
            return BackendError(
                f"{target.alias} shows a host key that is marked as revoked ({key}; {where}).",
                "Ask who runs the host.",
            )
        case Known.AUTHORITY:
            return BackendError(
                f"{target.alias} is trusted by its certificate ({where}), and only OpenSSH can "
                "verify that.",
                "Use `transport: openssh` for it.",
            )
        case _:
            return BackendError(
                f"{target.alias} is not known yet: its host key is {key}.",
                "Compare that with what who runs the host says, then accept it: "
                "`traindeck backends check PLACE --accept-new`.",
            )


def remember(target: Target, key_type: str, blob: bytes) -> str:
    """Add a host key to the first of the user's known_hosts files, and say which that is.

    Raises:
        BackendError: There is no such file (`UserKnownHostsFile none`), or it cannot be written.
    """
    name = _names(target)[0]
    if not target.user_known_hosts:
        raise BackendError(
            f"The key of {target.alias} cannot be remembered: its UserKnownHostsFile is none."
        )
    if not name or any(c.isspace() or not c.isprintable() or c in ",#|@!*?" for c in name):
        raise BackendError(f"The key of {target.alias} cannot be remembered under {name!r}.")
    path = target.user_known_hosts[0]
    shown = _hashed(name, os.urandom(20)) if target.hash_known_hosts else name
    line = f"{shown} {key_type} {base64.b64encode(blob).decode()}\n".encode()
    if _parse(line, path, 0) is None:
        raise BackendError(f"{target.alias} shows a host key that cannot be remembered.")
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = os.fstat(descriptor).st_size
            unended = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
            os.write(descriptor, b"\n" * unended + line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BackendError(
            f"The key of {target.alias} cannot be written to {path}: {error.strerror}."
        ) from None
    return path


def fingerprint(blob: bytes) -> str:
    """As ssh-keygen prints it: `SHA256:…`."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


# ------------------------------------------------------------------------------------ the files


def read(path: str) -> Iterator[Entry]:
    """The lines of a file that can be understood. Nothing for a file that cannot be read."""
    try:
        opened = files.open_regular(Path(path), follow=True)
    except (OSError, ValueError):  # the latter for a name that can be none
        return
    with opened as file:
        number, taken, inside = 0, 0, False
        while taken < _MAX_FILE and (line := file.readline(_MAX_LINE)):
            taken += len(line)
            number += not inside
            whole = not inside and len(line) < _MAX_LINE
            inside = not line.endswith(b"\n")
            if whole and (entry := _parse(line, path, number)):
                yield entry


def _parse(line: bytes, path: str, number: int) -> Entry | None:
    words = line.partition(b"\0")[0].rstrip(b"\n").replace(b"\t", b" ").lstrip(b" ")
    marker = b""
    if words.startswith(b"@"):
        marker, _, words = words[1:].partition(b" ")
        if marker not in (b"cert-authority", b"revoked"):
            return None
    fields = [field for field in words.split(b" ", 32) if field]
    if len(fields) < 3 or fields[0].startswith((b"#", b"@")):
        return None
    try:
        key_type = fields[1].decode("ascii")
        # OpenSSH passes over other white space, such as the \r of a file that came from Windows.
        blob = base64.b64decode(b"".join(fields[2].split()), validate=True)
    except (UnicodeDecodeError, binascii.Error, ValueError):
        return None
    if not _is_key(key_type, blob):
        return None
    return Entry(
        file=path,
        line=number,
        marker=marker.decode(),
        hosts=fields[0].decode("utf-8", "surrogateescape"),
        key_type=key_type,
        blob=blob,
    )


def _is_key(key_type: str, blob: bytes) -> bool:
    """Whether these bytes have the form of a key of this type."""
    parts = []
    while len(blob) >= 4:
        size = int.from_bytes(blob[:4], "big")
        part, blob = blob[4 : 4 + size], blob[4 + size :]
        if len(part) != size:
            return False
        parts.append(part)
    if blob or len(parts) != 1 + PARTS.get(key_type, -1) or parts[0] != key_type.encode():
        return False
    return key_type != "ssh-ed25519" or len(parts[1]) == 32


def _entries(target: Target, name: str) -> Iterator[Entry]:
    """The lines of all files that speak of a name."""
    for path in (*target.user_known_hosts, *target.global_known_hosts):
        for entry in read(path):
            if matches(entry.hosts, name):
                yield entry


def _names(target: Target) -> list[str]:
    """What a host is looked up as, best first."""
    if target.host_key_alias:
        return [target.host_key_alias.lower()]
    name = target.hostname.lower()
    return [name] if target.port == 22 else [f"[{name}]:{target.port}", name]


def _judge(entries: Iterable[Entry], key_type: str, blob: bytes) -> tuple[Known, Entry | None]:
    best: dict[Known, Entry] = {}
    for entry in entries:
        same = entry.blob == blob
        if entry.marker == "revoked":
            if same:
                return Known.REVOKED, entry
        elif entry.marker == "cert-authority":
            best.setdefault(Known.AUTHORITY, entry)
        elif same:
            best.setdefault(Known.KNOWN, entry)
        elif entry.key_type == key_type and _other_type(best.get(Known.CHANGED), key_type):
            best[Known.CHANGED] = entry  # the line to look at is the one of the same type
        else:
            best.setdefault(Known.CHANGED, entry)
    for known in (Known.KNOWN, Known.CHANGED, Known.AUTHORITY):
        if known in best:
            return known, best[known]
    return Known.UNKNOWN, None


def _other_type(entry: Entry | None, key_type: str) -> bool:
    return entry is None or entry.key_type != key_type


def matches(hosts: str, name: str) -> bool:
    """Whether the names of a line mean this one: hashed, or patterns with `*`, `?` and `!`."""
    if hosts.startswith("|"):
        try:
            _, kind, salt, _ = hosts.split("|")
            return kind == "1" and hmac.compare_digest(
                _hashed(name, base64.b64decode(salt, validate=True)).encode(),
                hosts.encode("utf-8", "surrogateescape"),
            )
        except (ValueError, binascii.Error):
            return False
    found = False
    for pattern in hosts.lower().split(","):
        if len(pattern) >= _MAX_PATTERN:
            return False
        if _like(name, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _hashed(name: str, salt: bytes) -> str:
    digest = hmac.digest(salt, name.encode("utf-8", "surrogateescape"), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _like(name: str, pattern: str) -> bool:
    """Patterns as OpenSSH has them, without `[…]`; never slower than both lengths multiplied."""
    at = here = 0
    star, resume = -1, 0
    while here < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, resume, at = at, here, at + 1
        elif at < len(pattern) and pattern[at] in ("?", name[here]):
            at, here = at + 1, here + 1
        elif star >= 0:
            at, resume = star + 1, resume + 1
            here = resume
        else:
            return False
    return not pattern[at:].strip("*")


def _short(key_type: str) -> str:
    """A type as people know it: ED25519, RSA, ECDSA."""
    for name in ("ed25519", "ecdsa", "rsa", "dss"):
        if name in key_type:
            return name.upper()
    return key_type
