"""What a backend may offer beyond `Backend`: a protocol for each, asked for with `isinstance`.

Part of the contract; base.py hands all of it on. A `Capability` of the same name says it too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from traindeck.backends.data import dataclass
from traindeck.backends.reaching import Connection, LinkState, Terminal, TerminalSize
from traindeck.backends.spec import JobRef, Plan, RunSpec

if TYPE_CHECKING:
    from traindeck.backends.devices.readings import DeviceReport


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStat:
    """A log as it is now. `identity` changes when the file was replaced ("" while there is none);
    one that was cut keeps it and has a smaller `size` than was seen before."""

    size: int = 0
    identity: str = ""
    ended: bool = False


@runtime_checkable
class SeekableLogs(Protocol):
    """Random access to logs: what the Log screen needs to open 10 GB at once.

    Where logs are seekable, a byte offset in decimal is a cursor of `Backend.logs` too, and so is
    `OFFSET@IDENTITY`: if the log is not that file any more, it begins anew and says `cut`, however
    long the new one is. Chunks carry the identity then.
    """

    async def log_stat(self, ref: JobRef, rank: int = 0) -> LogStat: ...

    async def read_at(self, ref: JobRef, rank: int, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`; fewer at the end, b"" beyond it."""
        ...

    async def find_in_log(
        self, ref: JobRef, rank: int, needle: bytes, *, offset: int, backward: bool = False
    ) -> int | None:
        """Offset of the next occurrence of `needle`, which begins at `offset` or later, or
        (`backward`) of the previous, which begins before it. None if none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One entry of a directory listing, relative to the run directory. `special` is what is neither
    a regular file nor a folder (a link, a pipe): it is named and never opened."""

    path: str = ""
    size: int = 0
    modified: float = 0.0
    is_dir: bool = False
    special: bool = False
    mode: int = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file to be fetched from `offset` on, if it is still the one that was `modified` then (None:
    whichever it is) and as long; else from its beginning."""

    path: str = ""
    offset: int = 0
    modified: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePiece:
    """Bytes of a file on its way here.

    Attributes:
        path: As it was asked for.
        offset: Where in the file `data` begins.
        size, modified: Of the file when it was opened, which tells whether it is still the one that
            an earlier piece was of.
        end: Nothing more comes of this file.
        error: Why not, in a sentence, if it could not be read; `end` is set too.
    """

    path: str = ""
    offset: int = 0
    data: bytes = b""
    size: int = 0
    modified: float = 0.0
    end: bool = False
    error: str = ""


@runtime_checkable
class Files(Protocol):
    """The run directory: the plan's files, `attempts/N/logs/RANK.log` and `run.json`, whose `spec`
    is the `RunSpec` (a retry reads it). Paths are relative to it and may not leave it."""

    async def list_files(self, ref: JobRef, path: str = "") -> list[FileEntry]: ...

    async def read_file(self, ref: JobRef, path: str, offset: int, size: int) -> bytes: ...

    async def remove(self, ref: JobRef, *, keep: Sequence[str] = ()) -> int:
        """Delete a finished run's directory except the top-level names in `keep`, and how it ended
        if anything is kept. Returns the bytes freed: 0 if it is gone already.

        Raises:
            BackendError: The run is not over.
        """
        ...


@runtime_checkable
class Fetch(Files, Protocol):
    """Files, and much of a run directory at once."""

    async def list_below(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        """All that lies below a folder, at any depth, folders before what they hold; of a file, the
        file. One round trip.

        Raises:
            BackendError: There is more than a list can hold (100,000 entries); it says so.
        """
        ...

    def fetch(
        self, ref: JobRef, wanted: Sequence[Wanted]
    ) -> AbstractAsyncContextManager[AsyncIterator[FilePiece]]:
        """The bytes of files, one after the other in this order, each to the end that it had when
        it was opened. One round trip for all of them. A file that cannot be read
        is a piece with an `error`; the others come all the same. Leaving the context ends it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """A file of which the first `offset` bytes are known.

    Attributes:
        path: Relative to the run's directory, or absolute below `folder`.
        folder: Absolute, where it is not in the run's directory: what a `Look` found there.
        identity: Of the file that they are from, "" if nothing is.
        check: What `checksum` makes of the bytes that are known, None if it is not compared: a file
            that was written anew in its place may be longer than it was.
    """

    ref: JobRef = field(default_factory=JobRef)
    path: str = ""
    offset: int = 0
    identity: str = ""
    folder: str = ""
    check: int | None = None


CHECKED = 4096
"""Bytes at the beginning of what is known of a file, and as many at its end, that are compared."""


def checksum(head: bytes, end: bytes) -> int:
    """CRC-32 of the first CHECKED bytes of what is known of a file, and of the last."""
    from binascii import crc32

    return crc32(end, crc32(head))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What follows a `Tail`: `data` from `offset` on, of a file that has `size` bytes by now. `cut`
    as in `LogChunk`: it begins at 0, and what was known of the file is in it no more."""

    ref: JobRef = field(default_factory=JobRef)
    path: str = ""
    offset: int = 0
    data: bytes = b""
    size: int = 0
    identity: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A folder in which files are looked for, to a few levels' depth and through no link.

    Attributes:
        folder: Relative to the run's directory, or absolute.
        names: An expression that matches the whole name of a file that is meant.
        skip: Names of folders that are not looked into; nor are those that begin with a dot.
        since: Only files that were written then or later, in seconds since the epoch.
    """

    ref: JobRef = field(default_factory=JobRef)
    folder: str = ""
    names: str = ""
    skip: tuple[str, ...] = ()
    since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A regular file: `path` as of a `Tail`, and what its place says of it (`modified` and
    `changed` in seconds since the epoch)."""

    path: str = ""
    size: int = 0
    modified: float = 0.0
    changed: float = 0.0
    inode: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """What was found: the pieces, and what each look saw. One for which there was no time is not in
    it."""

    pieces: tuple[Piece, ...] = ()
    seen: Mapping[Look, Sequence[FoundFile]] = field(default_factory=dict)


@runtime_checkable
class Tails(Protocol):
    """Copies of what grows, kept elsewhere for little: for places whose files are not here."""

    async def tails(
        self, wanted: Sequence[Tail], *, budget: int, looks: Sequence[Look] = ()
    ) -> Grown:
        """What files of many runs have grown by, in ONE round trip: at most `budget` bytes, without
        those that have not grown or are not there. What is more comes when it is asked again."""
        ...


@runtime_checkable
class Linked(Protocol):
    """A backend whose place may be out of reach, and that knows when it will try again."""

    @property
    def link(self) -> LinkState:
        """Asks nobody."""
        ...

    def try_now(self) -> None:
        """What is asked next is tried at once, also where only a person can connect: one has just
        asked for it. Does no I/O, and nothing where the place answers."""
        ...


@runtime_checkable
class Foreign(Protocol):
    """Jobs that this user submitted without Traindeck. They can be polled, stopped and, where logs
    are seekable, read as any other; they have no run directory."""

    async def list_foreign(self) -> list[JobRef]:
        """Those that are not over, with what the place says of them (`seen`), what they are called
        and when they were submitted. Their `run_id` is empty."""
        ...


@runtime_checkable
class Arrays(Protocol):
    """Many runs that are handed over at once, as one job array of the place's scheduler. Each is a
    run like any other in all that follows: polled, stopped, read, tried again by itself."""

    async def submit_array(
        self, plans: Sequence[Plan], secrets: Mapping[str, str] | None = None
    ) -> list[JobRef]:
        """Send the plans of all tasks of an array. Their ids are those of `arrays.task_id`; they
        may differ in what is run and in what files hold, not in what the place gives them
        (resources, limits, options) nor in their code. Idempotent as `Backend.submit`,
        for all of them together: however often it is asked for, and whoever is killed meanwhile,
        there is one job array at most. References as the plans.

        Raises:
            UsageError, BackendError: As for `submit`; none of them is there then.
        """
        ...


@runtime_checkable
class Adopt(Protocol):
    """Take a process that already runs under watch."""

    async def adopt(self, spec: RunSpec, pid: int) -> JobRef:
        """Make `pid` the leader of a new run; its end will be seen, its exit code not.

        Raises:
            UsageError: No such process, not the user's own, or a run's already.
        """
        ...

    async def unwatch(self, ref: JobRef) -> None:
        """End only the watching of an adopted process: the run is over, the process goes on.

        Raises:
            BackendError: The run was not adopted, or whoever watches it does not answer.
        """
        ...


@runtime_checkable
class Devices(Protocol):
    """Accelerators of one machine, as they are now: those of a place that is one."""

    def devices(
        self, every: float | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[DeviceReport]]:
        """A report each `every` seconds, one alone for None. Each has all that is known.

        Raises:
            Unreachable, BackendError: On entering, or while iterated.
        """
        ...


@runtime_checkable
class Shell(Protocol):
    """A terminal where a run is, or was."""

    async def shell(
        self, ref: JobRef, argv: Sequence[str] = (), *, size: TerminalSize | None = None
    ) -> Terminal:
        """Start a program in the run's directory (in its allocation, where there is one), the
        user's own shell if `argv` is empty. It finds what the spec's `env` holds and the run's
        `TRAINDECK_*` in its environment, but not `TRAINDECK_RUN`: it is no member of the run, and
        neither waits for the end of the other.

        Args:
            size: Of the terminal that the program gets; None gives it pipes.

        Raises:
            BackendError: The run has no directory any more, or the place gives no terminal.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A TCP port that a process of a run listens on, at which address of its machine, and the
    program that does ("" if unknown)."""

    port: int = 0
    address: str = "localhost"
    program: str = ""


@runtime_checkable
class Forward(Protocol):
    """TCP connections to where a run is."""

    async def listeners(self, ref: JobRef) -> list[Listener]:
        """What processes of the run listen on, lowest port first."""
        ...

    async def connect(self, ref: JobRef, port: int) -> Connection:
        """A connection to a port of the machine that the run is on.

        Raises:
            BackendError: Nobody listens there, or the place does not allow it.
        """
        ...
