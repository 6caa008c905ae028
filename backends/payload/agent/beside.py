"""Folders in which a job writes more than its run directory names: found by the names of files, and
read on in. Where the job works, folders are large, and may be on a slow disk: a look is bounded in
entries and in time, and begins with what was changed last.
"""

import binascii
import os
import re
import stat
import time

from . import Refused, files, layout, start, wire

SECONDS = 1.0
"""That all looks of one request take at most."""
MOST_ENTRIES = 10000
MOST_IN_FOLDER = 2000
DEEPEST = 5
MOST_FOUND = 1000
"""Files of one folder that are named, those that were written last."""
CHECKED = 4096
"""Bytes at the beginning of what is known of a file, and as many at its end, that tell whether it
was written anew in its place."""
BETWEEN = 500
"""Entries that are looked at before others get a turn."""


def checksum(fd, offset):
    """CRC-32 of the first bytes of a file, and of those before `offset`, as it is known."""
    head = os.pread(fd, min(CHECKED, offset), 0)
    begin = max(0, offset - CHECKED)
    return binascii.crc32(os.pread(fd, offset - begin, begin), binascii.crc32(head)) & 0xFFFFFFFF


def known(words):
    """(name, offset, identity, check) of what is known of a file, checked."""
    if not isinstance(words, list) or len(words) not in (3, 4):
        raise Refused("Each file is a name, an offset, an identity and a checksum.")
    names = ("name", "offset", "identity", "check")[: len(words)]
    file = {name: words[at] for at, name in enumerate(names)}
    offset = wire.field(file, "offset", int, 0)
    if offset < 0:
        raise Refused("offset must not be negative.")
    name = start.relative_path(wire.field(file, "name", str, required=True))
    return name, offset, wire.field(file, "identity", str), wire.field(file, "check", int)


def folders(request):
    """The folders of a request, checked."""
    entries = wire.field(request, "beside", list, [])
    if not all(isinstance(entry, dict) for entry in entries):
        raise Refused("Each of `beside` is an object.")
    return [Folder(entry) for entry in entries]


class Folder:
    """One folder: below a run's directory, or an absolute one."""

    def __init__(self, entry):
        run = layout.check_id(entry.get("run"))
        folder = wire.field(entry, "folder", str, required=True)
        if folder.startswith("/"):
            # The folder itself may be a link: the job has entered it, too.
            self._base, self._parts = wire.to_bytes(folder, "a folder") + b"/.", []
        else:
            self._base, self._parts = layout.run_dir(run), start.relative_path(folder)
        self.files = [known(words) for words in wire.field(entry, "files", list, [])]
        look = wire.field(entry, "look", dict)
        self.looks = look is not None
        if look is not None:
            try:
                self._names = re.compile(wire.field(look, "names", str, required=True))
            except re.error as error:
                raise Refused("names is no expression: %s." % error) from None
            skipped = wire.field(look, "skip", list, [])
            self._skipped = {name for name in skipped if isinstance(name, str)}
            self._since = wire.field(look, "since", float, 0.0)

    def open(self, parts):
        """Open a file below it, through no link."""
        return files.open_below(self._base, self._parts + parts, os.O_RDONLY | os.O_NONBLOCK)

    def look(self, until):
        """[[path, size, modified, changed, inode]] of regular files below it whose names match,
        those that were written last. A generator that pauses between pieces."""
        found = []
        left = MOST_ENTRIES
        level = [[]]
        for _ in range(DEEPEST):
            below = []
            for parts in level:
                if left <= 0 or time.monotonic() > until:
                    break
                count = 0
                for name, entry in self._entries(parts):
                    if count == MOST_IN_FOLDER or left <= 0:
                        break
                    count, left = count + 1, left - 1
                    if left % BETWEEN == 0:
                        yield None, 0.0
                    try:
                        self._sort(parts + [name], entry, found, below)
                    except OSError:
                        pass  # gone since it was listed
            level = [parts for _, parts in sorted(below)]
        found.sort(key=lambda words: -words[2])
        return found[:MOST_FOUND]

    def _sort(self, path, entry, found, below):
        """Note a file that matches, or a folder to look into."""
        name = wire.to_text(path[-1])
        if entry.is_dir(follow_symlinks=False):
            if name not in self._skipped and not name.startswith("."):
                below.append((-entry.stat(follow_symlinks=False).st_mtime, path))
        elif self._names.fullmatch(name) is not None:
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(info.st_mode) and info.st_mtime >= self._since:
                shown = wire.to_text(b"/".join(path))
                found.append([shown, info.st_size, info.st_mtime, info.st_ctime, info.st_ino])

    def _entries(self, parts):
        """(name, entry) of one folder."""
        try:
            fd = files.open_below(self._base, self._parts + parts, files.DIRECTORY)
        except (OSError, Refused):
            return
        try:
            # By a path: 3.6 takes no descriptor.
            for entry in os.scandir("/proc/self/fd/%d" % fd):
                yield os.fsencode(entry.name), entry
        except OSError:
            return
        finally:
            os.close(fd)
