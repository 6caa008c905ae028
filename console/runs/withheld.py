"""What never travels with a run: files that usually hold secrets, and whatever holds a private key.

A private key is told by what stands in it, anywhere in the file: the line that begins it *and*
key material after it. So a program that only looks for such lines is no key, and a key in a JSON
file, in a string or in a comment is one. A key that was encoded once more as a whole is not seen.
"""

from __future__ import annotations

import fnmatch
import re
from zlib import crc32

SECRET_FILES = (
    ".env*",
    "*.env",
    "*.pem",
    "*.key",
    "*.ppk",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.kdbx",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    "credentials",
    "credentials.json",
    "*secret*.json",
    "*secret*.yaml",
    "*secret*.yml",
)
"""Names (shell patterns, case-insensitive) that never travel."""

BY_NAME = "may hold secrets"
BY_CONTENT = "holds a private key"

_WORDS = rb"PRIVATE KEY"
_BEGIN = rb"-{4,5} ?BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
# Between the parts of a key: space, line ends (also as they are escaped in a string, even twice),
# and what a string or a comment goes on with on the next line. No two of these begin alike, so that
# no file can make the search slow.
_END_OF_LINE = rb"(?:\r?\n|\\+(?:[nr]|u000[aAdD]))"
_GAP = rb"(?:\s|\\+(?:[nrt]|u000[aAdD]|\r?\n)|[\"'`+>|#,;*/])"
_HEADER = rb"[A-Z][A-Za-z0-9-]{1,30}: [^\r\n\\]{0,200}" + _END_OF_LINE + _GAP + rb"{0,64}"
_MATERIAL = rb"[A-Za-z0-9][A-Za-z0-9+/]{39}"
_KEY = re.compile(
    # At the start of a file nothing else can be meant, however short it is.
    rb"\A(?:\xef\xbb\xbf)?\s{0,64}" + _BEGIN
    + rb"|" + _BEGIN + _GAP + rb"{0,64}(?:" + _HEADER + rb"){0,8}" + _MATERIAL
)  # fmt: skip
_PUTTY_WORDS = b"PuTTY-User-Key-File-"
_PUTTY = re.compile(rb"PuTTY-User-Key-File-\d: [\w@.-]+\r?\n(?s:.{0,16384}?)\nPrivate-Lines: \d")


_NAMES = re.compile("|".join(map(fnmatch.translate, SECRET_FILES)))

RULES = crc32(b"\n".join((_NAMES.pattern.encode(), _KEY.pattern, _PUTTY.pattern)))
"""Changes with what is withheld: a file that once was looked at is not looked at again."""


def is_secret_file(path: str) -> bool:
    """Whether a file's name says that it holds secrets."""
    return _NAMES.match(path.rpartition("/")[2].lower()) is not None


def holds_private_key(data: bytes) -> bool:
    """Whether a private key stands in some bytes: PEM of any kind, OpenSSH, SSH2, PGP, PuTTY."""
    # The words alone are looked for at the speed of memory; most files end here.
    if _WORDS in data and _KEY.search(data):
        return True
    return _PUTTY_WORDS in data and _PUTTY.search(data) is not None
