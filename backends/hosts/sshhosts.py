"""The hosts that the user's OpenSSH configuration names, for a list to choose from."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from traindeck.backends import files
from traindeck.backends.errors import UsageError
from traindeck.backends.hosts import sshconfig
from traindeck.backends.hosts.sshwords import expand_home

_MAX_NAMES = 2000
_MAX_FILES = 200
_MAX_DEPTH = 16
_MAX_BYTES = 4 << 20
"""Of all files together."""
_WORD = re.compile(r'"([^"]*)"|(\S+)')


def hosts_in_config(
    *, config_file: str | None = None, environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """The names that stand after `Host` and are no patterns, in order, Include followed. What
    cannot be read is passed over; the work is bounded.

    Raises:
        UsageError: `config_file` was given and cannot be read.
    """
    environ = os.environ if environ is None else environ
    path = sshconfig.configuration(config_file, environ)
    reader = _Reader()
    names = reader.names(path or os.path.join(reader.folder, "config"), 0)
    return tuple(islice(dict.fromkeys(names), _MAX_NAMES))


class _Reader:
    def __init__(self) -> None:
        self.folder = expand_home("~/.ssh")
        self.read: set[str] = set()
        self.left = _MAX_BYTES

    def names(self, path: str, depth: int) -> Iterator[str]:
        for keyword, words in self.lines(path):
            if keyword == "host":
                yield from filter(_is_name, words)
            elif keyword == "include" and depth < _MAX_DEPTH:
                for pattern in words:
                    # A file named without its folder lies beside the account's own configuration.
                    place = os.path.join(self.folder, expand_home(pattern))
                    for found in sorted(islice(glob.iglob(place), _MAX_FILES)):
                        yield from self.names(found, depth + 1)

    def lines(self, path: str) -> Iterator[tuple[str, list[str]]]:
        path = os.path.realpath(path)
        if path in self.read or len(self.read) >= _MAX_FILES:
            return  # a name counts once, however often its file is included
        self.read.add(path)
        try:
            opened = files.open_regular(Path(path), follow=True)
        except (OSError, ValueError):
            return
        with opened as file:
            data = file.read(self.left)
        self.left -= len(data)
        for line in data.decode("utf-8", "replace").splitlines():
            keyword, _, rest = re.sub(r"[\s=]+", " ", line.strip(), count=1).partition(" ")
            if keyword.lower() in ("host", "include"):
                yield keyword.lower(), list(_words(rest))


def _words(text: str) -> Iterator[str]:
    """Words, quoted or not, up to a comment. None where a quote has no end: ssh refuses it."""
    if text.count('"') % 2:
        return
    for found in _WORD.finditer(text):
        quoted, bare = found.groups()
        if quoted is None and bare.startswith("#"):
            return
        yield bare if quoted is None else quoted


def _is_name(word: str) -> bool:
    if word.startswith("!") or "*" in word or "?" in word:
        return False
    try:
        sshconfig.checked(word)
    except UsageError:
        return False
    return True
