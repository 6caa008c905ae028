"""Files of a run on the way into a folder of ours: whole or not there, and never outside of it.

The names come from another machine, and what is in the folder may be anybody's: each path is walked
from the folder's own descriptor, through no link. What has arrived of a file lies beside it under a
name that tells which file of which run it is, so that whoever goes on later goes on there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from traindeck.backends.base import BackendError, FileEntry, FilePiece
from traindeck.backends.errors import UsageError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
SAME = 0.002
"""Seconds by which the time of a file may differ here: a file system may keep fewer digits."""


class Refused(Exception):
    """A file that is not written; the message says why. The others are."""


class Landing:
    """A folder that files of one run arrive in. Blocking: used from a thread, one call at a time.

    Args:
        folder: Made if it is not there.
        run_id: Whose files these are.

    Raises:
        UsageError: The folder cannot be made or written.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self.folder = folder
        self._run = run_id
        self._fd: int | None = None
        self._part = ""
        self._at = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._base = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be written to: {_reason(error)}.", "Choose another with --to."
            ) from None
        self._parent = (b"", self._base)
        if not os.access(folder, os.W_OK | os.X_OK):
            self.close()
            raise UsageError(
                f"{folder} cannot be written to: permission denied.", "Choose another with --to."
            )

    def close(self) -> None:
        """Let go of what is open. What is not whole yet stays as it is."""
        self._let_go()
        self._leave_parent()
        os.close(self._base)

    def hide(self) -> None:
        """Have git leave the folder out, and so every copy of the code around it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with suppress(OSError):
            fd = os.open(".gitignore", flags, 0o600, dir_fd=self._base)
            with open(fd, "wb") as file:
                file.write(b"*\n")

    def free_bytes(self) -> int:
        """Bytes that fit."""
        space = os.fstatvfs(self._base)
        return space.f_bavail * space.f_frsize

    def has(self, entry: FileEntry) -> bool:
        """Whether this very file is there: as long, and changed at the same moment."""
        try:
            *_, name = parts = parts_of(entry.path)
            info = os.stat(name, dir_fd=self._enter(parts), follow_symlinks=False)
        except (OSError, Refused):
            return False
        if not stat.S_ISREG(info.st_mode) or info.st_size != entry.size:
            return False
        return abs(info.st_mtime - entry.modified) <= SAME

    def arrived(self, entry: FileEntry) -> int:
        """Bytes of this file that are here from an earlier time."""
        try:
            parts = parts_of(entry.path)
            part = self._part_of(entry.path, entry.size, entry.modified)
            info = os.stat(part, dir_fd=self._enter(parts), follow_symlinks=False)
        except (OSError, Refused):
            return 0
        return info.st_size if stat.S_ISREG(info.st_mode) and info.st_size <= entry.size else 0

    def make_folder(self, path: str) -> None:
        """Make a folder. Raises Refused."""
        try:
            self._enter([*parts_of(path), b""], make=True)
        except OSError as error:
            raise Refused(f"{_reason(error)}.") from None

    def take(self, piece: FilePiece, mode: int) -> bool:
        """Write what came of a file; True once it is whole and has its name.

        Raises:
            Refused: This file cannot be written here.
            BackendError: Nothing can: the disk is full.
        """
        try:
            return self._take(piece, mode)
        except OSError as error:
            self._let_go()
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise BackendError(
                    f"{self.folder} has no space left.",
                    "Free some and pull again: it goes on where it was.",
                ) from None
            raise Refused(f"It cannot be written here: {_reason(error)}.") from None

    def give_up(self) -> None:
        """The file on its way does not come any more now."""
        self._let_go()

    # ------------------------------------------------------------------------------- inside

    def _take(self, piece: FilePiece, mode: int) -> bool:
        parts = parts_of(piece.path)
        part = self._part_of(piece.path, piece.size, piece.modified)
        fd = self._fd
        if fd is None or part != self._part:
            self._let_go()
            fd = self._open(parts, part, piece.offset)
        if piece.offset != self._at or self._at + len(piece.data) > piece.size:
            self._let_go()
            raise Refused("Its bytes came in no order.")
        view = memoryview(piece.data)
        while view:
            written = os.pwrite(fd, view, self._at)
            view, self._at = view[written:], self._at + written
        if not piece.end:
            return False
        os.ftruncate(fd, self._at)
        os.fchmod(fd, 0o700 if mode & 0o100 else 0o600)
        os.utime(fd, (piece.modified, piece.modified))
        parent = self._enter(parts)
        with suppress(FileNotFoundError):
            there = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
            if not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
                raise Refused("Something that is no file has its name here.")
        os.rename(part, parts[-1], src_dir_fd=parent, dst_dir_fd=parent)
        self._let_go()
        return True

    def _open(self, parts: list[bytes], part: str, offset: int) -> int:
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        flags |= 0 if offset else os.O_CREAT
        parent = self._enter(parts, make=True)
        try:
            fd = self._fd = os.open(part, flags, 0o600, dir_fd=parent)
        except FileNotFoundError:
            raise Refused("What had arrived of it was taken away; pull again.") from None
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size < offset:
            self._let_go()
            raise Refused("What had arrived of it was taken away; pull again.")
        self._part = part
        self._at = offset
        return fd

    def _part_of(self, path: str, size: int, modified: float) -> str:
        """The name under which a file arrives: another one for each that it could be."""
        words = f"{self._run}\0{path}\0{size}\0{modified!r}"
        digest = hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()
        return f".traindeck-{digest[:20]}.part"

    def _enter(self, parts: list[bytes], *, make: bool = False) -> int:
        """A descriptor of the folder that the last part lies in. The last one used is kept: files
        of one folder come together."""
        folder = b"/".join(parts[:-1])
        if folder == self._parent[0]:
            return self._parent[1]
        fd = os.dup(self._base)
        try:
            for part in parts[:-1]:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=fd)
                try:
                    following = os.open(part, DIRECTORY, dir_fd=fd)
                except OSError as error:
                    if error.errno in (errno.ELOOP, errno.ENOTDIR):
                        raise Refused(
                            f"{os.fsdecode(part)} is no folder here, and a link is not followed."
                        ) from None
                    raise
                os.close(fd)
                fd = following
        except BaseException:
            os.close(fd)
            raise
        self._leave_parent()
        self._parent = (folder, fd)
        return fd

    def _leave_parent(self) -> None:
        if self._parent[1] != self._base:
            os.close(self._parent[1])
        self._parent = (b"", self._base)

    def _let_go(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def parts_of(path: str) -> list[bytes]:
    """The parts of a path as a host gave it, if it stays where it is.

    Raises:
        Refused: It leads out, or is none.
    """
    try:
        parts = os.fsencode(path).split(b"/")
    except UnicodeEncodeError:
        raise Refused("Its name is no text.") from None
    if any(part in (b"", b".", b"..") or b"\0" in part for part in parts):
        raise Refused("Its name leads out of the folder.")
    if any(len(part) > 255 for part in parts):
        raise Refused("Its name is too long.")
    return parts


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
