"""Copies of what runs elsewhere write, kept here: to be read without a round trip, and while their
place is out of reach.

A mirror of a run is laid out as its run directory is (FORMAT.md §2), with what was looked at. A
file that grows is copied by appending: its copy's size is where to go on, so a kill at any instant
leaves true bytes and nothing to repair. Beside it stands a note of which file they are from. Of a
log that is too large to be kept, the copy holds the end: it is sparse, and offsets are those of the
log. One process at a time writes a copy; any number read it. Nothing here is truth: all of it may
be deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from traindeck.backends import files
from traindeck.backends.base import FoundFile
from traindeck.backends.data import dataclass
from traindeck.backends.encoding import encode
from traindeck.console.store.owner import boot_id

LIMIT = 256 << 20
"""Bytes that are held of one file. What is beyond drops the older half."""

WHOLE = 64 << 20
"""A file that is further ahead of its copy than that is not copied whole, but its end is."""

END = 4 << 20
"""Bytes of it that are."""

MOST = 4 << 30
"""Bytes on the disk that all mirrors together may take."""

UNSYNCED = 1 << 20
"""Bytes that may have to be fetched again after a crash of the machine."""

SMALL = 16 << 20
"""Bytes of a file that is kept as a whole."""

_PUNCH = 3
"""FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a copy holds: the bytes [begin, size) of the file `identity`. `turn` grows with each new
    beginning, so that of two states with the same one, the longer continues the shorter."""

    identity: str = ""
    begin: int = 0
    size: int = 0
    turn: int = 0

    @property
    def content(self) -> str:
        """Names what offsets mean: it changes when the file was cut or replaced."""
        return f"{self.identity}/{self.turn}" if self.identity else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    """What stands beside a copy. `synced` bytes were on the disk, when the machine was booted as
    `boot`: more may be none after a crash."""

    identity: str = ""
    begin: int = 0
    turn: int = 0
    synced: int = 0
    boot: str = ""


class Copy:
    """The copy of one file that grows. Cheap to make; touches the disk only when it is used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(f".{path.name}.of")

    def held(self) -> Held:
        """What is there now."""
        note = self._read_note()
        if note is None:
            return Held()
        try:
            size = os.stat(self.path).st_size
        except OSError:
            size = 0
        return _held(note, size)

    def read(self, offset: int, size: int, content: str) -> bytes | None:
        """At most `size` bytes from `offset`, fewer at the end. None if they are not held, or the
        copy is not of this `content` any more."""
        try:
            with files.open_regular(self.path) as file:
                for _ in range(3):
                    before = self._read_note()
                    if before is None:
                        return None
                    held = _held(before, os.fstat(file.fileno()).st_size)
                    if held.content != content or not held.begin <= offset <= held.size:
                        return None
                    data = os.pread(file.fileno(), min(size, held.size - offset), offset)
                    if self._read_note() == before:
                        return data
        except OSError:
            pass
        return None

    @contextmanager
    def writing(self) -> Iterator[Writer | None]:
        """Be the one who writes the copy. None while somebody else does, or where nothing can be
        written."""
        try:
            fd = self._open()
        except OSError:
            yield None
            return
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield None
                return
            writer = Writer(fd, self._read_note() or _Note(), self._write_note)
            try:
                yield writer
            finally:
                writer.close()
        finally:
            os.close(fd)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            make_folders(self.path.parent)
            return os.open(self.path, flags, 0o600)

    def _read_note(self) -> _Note | None:
        try:
            with files.open_regular(self._note) as file:
                words = json.loads(file.read(4096))
            note = _Note(
                identity=str(words["identity"]),
                begin=int(words["begin"]),
                turn=int(words["turn"]),
                synced=int(words["synced"]),
                boot=str(words["boot"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return note if note.begin >= 0 and note.identity else None

    def _write_note(self, note: _Note) -> None:
        files.replace(self._note, json.dumps(encode(note)).encode(), sync=False)


class Writer:
    """Appends to a copy. Made by `Copy.writing`; every method may raise OSError (a full disk), and
    what is there then is still true."""

    def __init__(self, fd: int, note: _Note, write_note: Callable[[_Note], None]) -> None:
        self._fd = fd
        self._write_note = write_note
        size = os.fstat(fd).st_size
        held = _held(note, size)
        if held.size != size:
            os.ftruncate(fd, held.size)
        self._note, self._size = note, held.size
        if note.identity and note.boot != boot_id():
            self._tell()

    @property
    def held(self) -> Held:
        """What is there now."""
        return _held(self._note, self._size)

    @property
    def cursor(self) -> str:
        """Where `Backend.logs` is to go on."""
        return f"{self._size}@{self._note.identity}" if self._note.identity else ""

    def begin(self, identity: str, at: int = 0) -> None:
        """Drop what is held and go on at `at`, with the bytes of that file."""
        os.ftruncate(self._fd, 0)
        self._size = 0
        self._tell(identity=identity, begin=at, turn=self._note.turn + 1, synced=0)
        os.ftruncate(self._fd, at)
        self._size = at

    def append(self, offset: int, data: bytes, identity: str, *, cut: bool = False) -> None:
        """Add bytes that begin at `offset`. The beginning of another file, or of a `cut` one, takes
        the place of what is held; what would leave a gap is not taken."""
        if not identity:
            return
        if cut or identity != self._note.identity:
            if offset:
                return
            self.begin(identity)
        if offset > self._size:
            return
        view = memoryview(data)[self._size - offset :]
        while len(view):
            done = os.write(self._fd, view)
            self._size += done
            view = view[done:]
        if self._size - self._note.begin > LIMIT:
            self._drop(self._size - LIMIT // 2)

    def skip_to(self, size: int, identity: str) -> None:
        """Of a file with so many bytes, go on near its end if that is far ahead."""
        held = self.held
        known = held.size if held.identity == identity else 0
        if identity and size - known > WHOLE:
            self.begin(identity, size - END)

    def close(self) -> None:
        """Have it on the disk, if that is worth the time."""
        if self._size - self._note.synced > UNSYNCED:
            with contextlib.suppress(OSError):
                os.fdatasync(self._fd)
                self._tell(synced=self._size)

    def _drop(self, begin: int) -> None:
        """Free the disk of what lies before `begin`."""
        before = self._note.begin
        self._tell(begin=begin)
        with contextlib.suppress(OSError, AttributeError):
            import ctypes

            size = ctypes.c_longlong
            punch = ctypes.CDLL(None, use_errno=True).fallocate
            punch.argtypes = (ctypes.c_int, ctypes.c_int, size, size)
            if punch(self._fd, _PUNCH, before, begin - before) == 0:
                return
        self.begin(self._note.identity, self._size)  # no holes there: then without the older half

    def _tell(self, **changes: Any) -> None:
        note = replace(self._note, boot=boot_id(), **changes)
        self._write_note(note)
        self._note = note


def _held(note: _Note, size: int) -> Held:
    if note.boot != boot_id():
        size = min(size, note.synced)
    # Killed between noting where it begins and making it so long: nothing is held yet.
    size = max(size, note.begin)
    return Held(identity=note.identity, begin=note.begin, size=size, turn=note.turn)


class Mirror:
    """All copies, in a folder of their own.

    Args:
        folder: Where; made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def copy(self, run_id: str, path: str) -> Copy:
        """The copy of a file that grows."""
        return Copy(self._path(run_id, path))

    def beside(self, run_id: str, path: str) -> Copy:
        """The copy of a file that lies anywhere at the run's place, by its path there."""
        return Copy(self._beside(run_id) / _named(path))

    def listing(self, run_id: str) -> tuple[float, list[FoundFile]]:
        """When it was looked for such files last, in seconds since the epoch (0 if never), and
        what was found."""
        try:
            with files.open_regular(self._listing(run_id)) as file:
                when = os.fstat(file.fileno()).st_mtime
                found = json.loads(file.read(SMALL))
            return when, [
                FoundFile(
                    path=str(path),
                    size=int(size),
                    modified=float(modified),
                    changed=float(changed),
                    inode=int(inode),
                )
                for path, size, modified, changed, inode in found
            ]
        except (OSError, ValueError, TypeError):
            return 0.0, []

    def keep_listing(self, run_id: str, found: Sequence[FoundFile]) -> None:
        """Note what was found now. What cannot be written is not noted."""
        words = [[f.path, f.size, f.modified, f.changed, f.inode] for f in found]
        with contextlib.suppress(OSError):
            if self.listing(run_id)[1] == list(found):
                os.utime(self._listing(run_id))
                return
        with contextlib.suppress(OSError):
            make_folders(self.folder / run_id)
            files.replace(self._listing(run_id), json.dumps(words).encode(), sync=False)

    def keep_beside(self, run_id: str, paths: Iterable[str]) -> None:
        """Delete all copies of such files but those of these paths."""
        kept = {_named(path) for path in paths}
        with contextlib.suppress(OSError), os.scandir(self._beside(run_id)) as entries:
            for entry in entries:
                if entry.name.removeprefix(".").partition(".")[0] not in kept:
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)

    def keep(self, run_id: str, path: str, data: bytes) -> None:
        """Keep a small file as a whole. What cannot be written is not kept."""
        target = self._path(run_id, path)
        if len(data) > SMALL or self.kept(run_id, path) == data:
            return
        with contextlib.suppress(OSError):
            make_folders(target.parent)
            files.replace(target, data, sync=False)

    def kept(self, run_id: str, path: str) -> bytes | None:
        """A file as it was kept, whole or grown from its beginning; None if it was not."""
        target = self._path(run_id, path)
        copy = Copy(target)
        held = copy.held()
        if held.identity:
            return copy.read(0, min(held.size, SMALL), held.content)
        try:
            with files.open_regular(target) as file:
                return file.read(SMALL)
        except OSError:
            return None

    def entries(self, run_id: str, path: str = "") -> list[tuple[str, int, float, bool]]:
        """(path, size, time of change, whether it is a folder) of what is held in a folder."""
        found = []
        folder = self._path(run_id, path) if path else self.folder / run_id
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    info = entry.stat(follow_symlinks=False)
                    name = f"{path}/{entry.name}" if path else entry.name
                    found.append((name, info.st_size, info.st_mtime, entry.is_dir()))
        return sorted(found)

    def has(self, run_id: str) -> bool:
        """Whether anything of a run is held."""
        return (self.folder / run_id).is_dir()

    def forget(self, run_id: str) -> None:
        """Delete what is held of a run."""
        shutil.rmtree(self.folder / run_id, ignore_errors=True)

    def prune(self, most: int = MOST) -> None:
        """Delete what was not written to for longest, until all takes no more than `most` bytes."""
        found = []
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                newest, taken = 0.0, 0
                for base, _, names in os.walk(entry.path):
                    for name in names:
                        with contextlib.suppress(OSError):
                            info = os.lstat(os.path.join(base, name))
                            newest = max(newest, info.st_mtime)
                            taken += info.st_blocks * 512
                found.append((newest, taken, entry.name))
        total = sum(taken for _, taken, _ in found)
        for _, taken, name in sorted(found):
            if total <= most:
                return
            self.forget(name)
            total -= taken

    def _listing(self, run_id: str) -> Path:
        return self.folder / run_id / ".beside.json"

    def _beside(self, run_id: str) -> Path:
        return self.folder / run_id / ".beside"

    def _path(self, run_id: str, path: str) -> Path:
        parts = [run_id, *path.split("/")]
        if any(part in ("", ".", "..") or part.startswith(".") or "\0" in part for part in parts):
            raise ValueError(f"{path!r} is no path in the mirror of a run")
        return self.folder.joinpath(*parts)


def _named(path: str) -> str:
    """The name of the copy of what lies anywhere."""
    from hashlib import sha256

    return sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def make_folders(path: Path) -> None:
    """Make a folder and those above it that are missing, 0700."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        make_folders(path.parent)
        make_folders(path)
