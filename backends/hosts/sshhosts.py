"""The hosts that the user's OpenSSH configuration names, for a list to choose from."""

from __future__ import annotations

import glob
import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from itertools import islice

from traindeck.backends.errors import UsageError
from traindeck.backends.hosts import sshconfig
from traindeck.backends.hosts.sshwords import expand_home

_MAX_NAMES = 2000
_MAX_FILES = 200
_MAX_DEPTH = 16
_MAX_FILE = 1 << 20


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
        self.files = 0

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
        self.files += 1
        if self.files > _MAX_FILES:
            return
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError):
            return
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return
            text = file.read(_MAX_FILE).decode("utf-8", "replace")
        for line in text.splitlines():
            keyword, _, rest = re.sub(r"[\s=]+", " ", line.strip(), count=1).partition(" ")
            if keyword.lower() in ("host", "include"):
                try:
                    yield keyword.lower(), shlex.split(rest, comments=True)
                except ValueError:  # a quote that does not end
                    continue


def _is_name(word: str) -> bool:
    if word.startswith("!") or "*" in word or "?" in word:
        return False
    try:
        sshconfig.checked(word)
    except UsageError:
        return False
    return True
