"""What a backend is: the protocols and the plain data that pass through them.

This module is all that a third-party backend imports; it hands on what errors.py, states.py and
encoding.py hold of the contract, and imports nothing else of Traindeck. It holds no behaviour
beyond encoding and does no I/O but `Blob.read`. Times are seconds since the
epoch (UTC, float), durations are seconds, sizes are bytes, unless a name says otherwise. `None`
means "not known" or "does not apply", never 0.

Data classes are frozen, keyword-only and have a default for every field. `decode` ignores fields it
does not know, so that a record written by a newer version can be read by an older one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field, replace
from enum import Flag, StrEnum, auto
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from traindeck.backends.data import dataclass
from traindeck.backends.encoding import FEW
from traindeck.backends.encoding import decode as decode
from traindeck.backends.encoding import encode as encode
from traindeck.backends.errors import AgentRefused as AgentRefused
from traindeck.backends.errors import BackendError as BackendError
from traindeck.backends.errors import TraindeckError as TraindeckError
from traindeck.backends.errors import Unreachable as Unreachable
from traindeck.backends.errors import UsageError as UsageError
from traindeck.backends.states import ACTIVE as ACTIVE
from traindeck.backends.states import TERMINAL as TERMINAL
from traindeck.backends.states import Rank as Rank
from traindeck.backends.states import Reach as Reach
from traindeck.backends.states import State as State
from traindeck.backends.states import Status as Status

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

PROTOCOL = 1
"""Version of this contract. A backend states the one it was written for as `protocol`."""


class Capability(Flag):
    """What a backend can do beyond the required methods. A flag of one of the optional protocols
    below says what `isinstance` says, which is what the console asks; the others are for later."""

    NONE = 0
    SEEKABLE_LOGS = auto()
    SHELL = auto()
    FORWARD = auto()
    FILES = auto()
    DEVICES = auto()
    REQUEUE = auto()
    ARRAYS = auto()
    ADOPT = auto()
    DURABLE_RECORD = auto()
    """The run directory outlives the job."""
    HERE = auto()
    """Jobs see the files of this machine under the same names: the caller's folder, interpreter and
    code are theirs. Without it only what a plan carries is there."""
    FOREIGN = auto()
    """It lists jobs of this user that were submitted without Traindeck."""
    INHERITS = auto()
    """A job inherits the caller's whole environment, in memory. Without it only what the spec holds
    of it (`env`, and `secrets` by their values) reaches the job."""


# ------------------------------------------------------------------------------------------- data


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """How many GPUs a node, and how many nodes."""

    gpus: int = 0
    nodes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds a job is held to, in seconds."""

    time: float | None = None
    """Wall time of an attempt; beyond it the state becomes `timeout`."""
    grace: float = 10.0
    """From TERM to KILL, at a stop and for what is left of the tree after the leader's end."""
    retries: int = 0
    """How often a `failed` attempt is repeated by the executing side."""


class Content(Protocol):
    """Where the bytes of a tree are until they are sent, and what is remembered of its sending.
    Whoever captured the code hands it over with it; nothing of it is part of a plan."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """All that the tree is made of, the objects of its folders included: digest -> bytes."""
        ...

    def blob(self, digest: str) -> Blob:
        """One of them. Its `read` gives what is there now: the sender compares the digest."""
        ...

    def known(self, place: str) -> Collection[str]:
        """Digests that a place had when something was last sent there: a hint, no more."""
        ...

    def sent(self, place: str) -> None:
        """Remember that a place has all of it now."""
        ...

    def progress(self, done: int, total: int) -> None:
        """Told while bytes are sent, in bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A folder with all below it, named by its content (payload/FORMAT.md, "Blobs and trees").

    Attributes:
        digest: SHA-256 (hex) of the object of its top folder.
        files: How many files there are in it; `size` is how many bytes they have.
        content: Where the bytes are; None for a tree that was sent already.
    """

    digest: str = ""
    files: int = 0
    size: int = 0
    content: Content | None = field(default=None, compare=False, metadata={"wire": False})


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Which code runs, as captured at launch.

    Attributes:
        mode: `here` (in place) or `snapshot` (a copy that later edits do not touch).
        root: The directory captured; the top of the git work tree, or the cwd.
        commit: Full git commit id, if `root` is a work tree.
        branch: Git branch, if any.
        dirty: Whether tracked files differ from `commit`.
        untracked: Paths below `root` that git neither tracks nor ignores (capped, sorted).
        omitted: Paths left out of a snapshot, or of the diff that was captured, with the reason.
        tree: The snapshot: what a place must lay out as `code/` of the run directory, copied, so
            that a job may change its own; None in place, and for runs of versions that had none.
    """

    mode: str = "here"
    root: str = ""
    commit: str | None = None
    branch: str | None = None
    dirty: bool = False
    untracked: tuple[str, ...] = ()
    omitted: Mapping[str, str] = field(default_factory=dict)
    tree: Tree | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A file of a plan: its content's SHA-256 and size, and where the bytes are until they are
    sent. `data` holds small files in memory; `path` names a local file to stream from."""

    digest: str = ""
    size: int = 0
    mode: int = 0o600
    data: bytes | None = field(default=None, metadata={"wire": False})
    path: str | None = field(default=None, metadata={"wire": False})

    def read(self) -> bytes:
        """The content. Does I/O if it lies in a file."""
        if self.data is not None:
            return self.data
        if self.path is None:
            raise ValueError("a blob without content")
        with open(self.path, "rb") as file:
            return file.read()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What the user wants to run, before any place was asked about it.

    Attributes:
        run_id: Minted by us, 12 characters of Crockford base32 in lower case. With `attempt` it is
            the key everywhere: run directory, lock, scheduler job name.
        argv: The command, exactly as given. Never passed through a shell.
        run_dir_words: Positions in `argv` of paths that are relative to the run directory; the plan
            makes them absolute.
        cwd: Directory to run in, absolute; before it is planned it may begin with `~`, or be
            relative: a place in the snapshot of its code.
        environment: What it executes in there, as asked for (backends/environments.py); "" for what
            the place has by itself.
        needs: Packages that it imports; one with a `?` behind is only looked at, if it is there.
        reads: Paths that must be there.
        env: Variables whose *values* are part of the plan (`--env` and a fixed list).
        env_names: Names of the variables inherited from the caller without being recorded.
        secrets: Names of variables whose values are passed by stdin only and written nowhere.
        after: Ids of the runs to wait for; `after_any` starts even if one of them failed. In JSON
            null for none and a text for one, as it was when there could be no more.
        pty: Give the job's output a terminal; its input stays empty, for nobody could answer what
            reads it. Gives up surviving the agent's death.
        keep_background: Leave the rest of the tree running at the leader's end.
        adopted: The command was found running: `argv` and `cwd` are what the kernel said of it.
        on_exit: Command (argv) run by the executing side at the end, `TRAINDECK_*` in its
            environment.
        on_stall: Command run after `stall_after` seconds without a byte of log.
        python: The interpreter the run executes in, for the record; `packages` is the number of
            those that are installed there, None if that was not looked at.
        host, driver, python_version: For the record, put in by `plan` as far as `survey` found
            them out: the host's name, the version of the accelerators' driver there, and that of
            `python` as far as it can be told without starting it ("3.12.1" or "3.12").
        files: What travels with the run beside the tree of its code: path relative to the run
            directory -> content (the captured diff, a recipe's trainer). A path that ends with `/`
            is a folder, made though it is empty.
        recipe: The resolved recipe a run was made from, if any; opaque to backends.
        labels: Free key/value pairs a backend may show.
        options: The backend's own options, checked against its `options_schema`. Only what was
            given: a backend puts in its defaults by itself.
    """

    run_id: str = ""
    attempt: int = 0
    name: str = ""
    argv: tuple[str, ...] = ()
    run_dir_words: tuple[int, ...] = ()
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    env_names: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)
    code: Code = field(default_factory=Code)
    after: tuple[str, ...] = field(default=(), metadata={"wire": FEW})
    after_any: bool = False
    pty: bool = False
    keep_background: bool = False
    adopted: bool = False
    on_exit: tuple[str, ...] = ()
    on_stall: tuple[str, ...] = ()
    stall_after: float | None = None
    environment: str = ""
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    python: str | None = None
    python_version: str | None = None
    packages: int | None = None
    host: str = ""
    driver: str | None = None
    files: Mapping[str, Blob] = field(default_factory=dict)
    recipe: Mapping[str, Any] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    created: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What was found of an environment, where the run is to execute.

    Attributes:
        asked: As it was asked for; "" for what the place has by itself.
        kind: `venv`, `conda`, `interpreter`, `modules`, `prelude`, or "" for what is on its PATH.
        prefix: The folder that holds its bin/.
        python: Its interpreter, absolute, and its version.
        imports: What was imported there, with its version ("" if it says none).
        failed: What could not be, with the reason in its own words.
        packages: `name==version` of what is installed.
        others: How other environments there are named.
        problem: Why nothing can run in it: a part of a sentence.
    """

    asked: str = ""
    kind: str = ""
    prefix: str = ""
    python: str = ""
    python_version: str | None = None
    imports: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that planning has to ask the place for, dated. Cacheable.

    Attributes:
        observed_at: When, by the asker's clock.
        home: Where run directories lie there (absolute).
        host: Host name; `boot_id` tells reboots apart.
        python: Interpreter that runs the agent there, and its version.
        run_python_version: That of the interpreter which the spec names, as far as it can be told.
        agent: Content version of the agent that will supervise.
        devices: UUIDs of the accelerators that are free, in the order they would be taken.
        devices_busy: Those that a compute process is on.
        devices_total: How many there are; None if it could not be found out (`devices_note`).
        cwd_ok: Whether the spec's cwd exists and can be entered there.
        program: Absolute path the spec's argv[0] resolves to there, if it does.
        program_note: What keeps it from being executed though it is there, as `is not executable`,
            or what else may have been meant.
        environment: What the run would execute in; None if that was not asked.
        path: PATH there, of a job that brings none of its own.
        cwd: The spec's cwd as it is written there.
        missing: Those of the spec's `reads` that are not there.
        place: What was found there, in a few words: an environment, free devices.
        starts_in: Seconds until such a run would begin: 0 for now, None if that is not known.
        notes: Sentences the plan repeats as warnings.
        detail: What only this backend's own `plan` reads, as JSON values.
    """

    observed_at: float = 0.0
    home: str = ""
    host: str = ""
    boot_id: str = ""
    python: str = ""
    python_version: str = ""
    run_python_version: str | None = None
    agent: str = ""
    devices: tuple[str, ...] = ()
    devices_busy: tuple[str, ...] = ()
    devices_total: int | None = None
    devices_note: str = ""
    driver: str | None = None
    cwd_ok: bool = True
    program: str | None = None
    program_note: str = ""
    free_bytes: int | None = None
    environment: Environment | None = None
    path: str = ""
    cwd: str = ""
    missing: tuple[str, ...] = ()
    place: str = ""
    starts_in: float | None = 0.0
    notes: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCount:
    """The accelerators of a host: UUIDs in bus order, those of them that a compute process is on;
    `total` None and a `note` if they cannot be counted (no driver, no permission)."""

    uuids: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    total: int | None = None
    driver: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Exactly what `submit` will send. Made by a pure function and printed by `--dry-run`.

    Attributes:
        files: Path relative to the run directory -> content.
        argv: The argv that starts the job there.
        body: The request body, for a backend that is spoken to in JSON.
        env: Variables set for the job, with their values (never those of `secrets`).
        bound_late: What can be known only at submission (leased devices, a port), with the reason.
        place: What was found at the place, in a few words, and why it was chosen if nobody did.
        warnings: Sentences to read before pressing enter.
        digest: SHA-256 over everything above; `submit` refuses a plan whose digest does not match.
    """

    backend: str = ""
    spec: RunSpec = field(default_factory=RunSpec)
    files: Mapping[str, Blob] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    body: Mapping[str, Any] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    bound_late: Mapping[str, str] = field(default_factory=dict)
    place: str = ""
    warnings: tuple[str, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRef:
    """Names one attempt of a run at a backend. Cheap to make, safe to keep.

    `native_id` is the scheduler's own name for it, "" where (run id, attempt) is the only one. For
    one job it is the same from `submit` and from `find`: references are dictionary keys.

    `seen` is what the place said of the job when it took it or listed it, if it did: as from
    `poll`, a round trip earlier. It is no part of the name; nor are `title`, what a foreign job is
    called there, and `made`, when it was submitted.
    """

    backend: str = ""
    run_id: str = ""
    attempt: int = 0
    native_id: str = ""
    seen: Status | None = field(default=None, compare=False)
    title: str = field(default="", compare=False)
    made: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChunk:
    """Bytes of a log and the cursor *after* them. `eof`: the log is complete, this is its end.
    `cut`: the log was replaced or cut short; these bytes are from its new beginning, and what was
    read before is in it no more. `identity` is that of the file (`LogStat`), "" if there is none.
    """

    data: bytes = b""
    cursor: str = ""
    eof: bool = False
    cut: bool = False
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """A file of a run's directory (`path` relative to it) of which the first `offset` bytes are
    known, and the `identity` of the file that they are from, "" if nothing is."""

    ref: JobRef = field(default_factory=JobRef)
    path: str = ""
    offset: int = 0
    identity: str = ""


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
class LogStat:
    """A log as it is now. `identity` changes when the file was replaced ("" while there is none);
    one that was cut keeps it and has a smaller `size` than was seen before."""

    size: int = 0
    identity: str = ""
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The answer of `probe`. `checks` are lines a person can act on: (passed, sentence). `root` is
    the folder that run directories lie in there, "" if the backend keeps none."""

    reach: Reach = Reach.OK
    observed_at: float = 0.0
    version: str = ""
    root: str = ""
    clock_skew: float | None = None
    checks: tuple[tuple[bool, str], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """How it stands with the way to a place, without asking it.

    Attributes:
        state: `stale` while one that was lost is being made again, `down` once that has failed.
        since: When it became so; 0 if that is not known.
        next_try: When the place itself tries again. Whoever asks before that is refused at once.
            None if nothing is tried until somebody asks.
        why: What went wrong, in a sentence; "" if nothing did.
        person: Only a person can mend it (a password, a key that is not known), and nothing is
            tried before `try_now`.
    """

    state: Reach = Reach.OK
    since: float = 0.0
    next_try: float | None = None
    why: str = ""
    person: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One of a backend's own options, for the launch form and for validation: `plan` is only given
    values of this type, and among `choices` if there are any."""

    type: str = "str"
    """`str`, `int`, `float` or `bool`."""
    help: str = ""
    default: Any = None
    choices: tuple[str, ...] = ()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalSize:
    """How large a terminal is, in cells."""

    columns: int = 80
    rows: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A TCP port that a process of a run listens on, at which address of its machine, and the
    program that does ("" if unknown)."""

    port: int = 0
    address: str = "localhost"
    program: str = ""


# ---------------------------------------------------------------------------------------- backend


@runtime_checkable
class Backend(Protocol):
    """A place that executes jobs.

    Construction must be cheap and do no I/O. Methods are coroutines of one event loop and must not
    block it: what blocks belongs on a thread of the backend's own, what needs more than 50 ms of
    CPU in another process. Unless stated otherwise they raise `Unreachable` when the place does
    not answer and `BackendError` when it refuses.

    A job finds `TRAINDECK_RUN=<run id>/<attempt>` in its environment and nothing on its stdin; what
    it writes to stdout and stderr is one log, rank 0, in order. It is over when nothing of it is
    left, also of what has gone to another session (`RunSpec.keep_background` apart).

    tests/conformance holds any backend against this; its README.md gives the command.
    """

    protocol: int
    name: str
    """The name the user gave this place, e.g. `local` or `gpu1`."""
    kind: str
    """The kind of backend, e.g. `process`."""
    capabilities: Capability
    settle: float
    """Seconds for which "not found" by `find` means "not yet" (0 if it is always final)."""
    options_schema: Mapping[str, Option]
    """By name, which is made of letters, digits and `_`."""

    async def probe(self) -> Health:
        """Whether the place answers, and what a person should know. Never raises."""
        ...

    async def survey(self, spec: RunSpec) -> Facts:
        """All the I/O that planning needs. Must not change anything that a user would notice
        (installing the agent is allowed)."""
        ...

    def plan(self, spec: RunSpec, facts: Facts) -> Plan:
        """What would be sent. Pure: same arguments, same plan; no I/O, no clock, no randomness.

        Raises:
            UsageError: The place cannot do what the spec asks for, ever: an option that it has not,
                no `argv`, more GPUs than there are. A program that is missing is only a warning,
                which names it.
        """
        ...

    async def submit(self, plan: Plan, secrets: Mapping[str, str] | None = None) -> JobRef:
        """Send a plan. Idempotent on (run id, attempt): any number of calls, concurrent or after
        a crash, start the job at most once, and all return equal references, with what the place
        saw of the job (`JobRef.seen`) if it says so in the same answer. An attempt above 0
        runs what attempt 0 was sent: its plan has that spec with another `attempt`, and no files.

        Args:
            plan: As made by `plan`, unchanged.
            secrets: Values for `plan.spec.secrets`; passed on, never written.

        Raises:
            UsageError: A secret has no value (named).
            BackendError: The plan's digest is not `plan_digest(plan)`, or a file has not its digest
                (named) any more; the run id is none, or is there with another plan; `after` names
                no run there; the attempt is neither there nor the next, or the one before it is
                not over.
        """
        ...

    async def find(self, keys: Collection[tuple[str, int]] | None = None) -> list[JobRef]:
        """Jobs that exist there: their attempt is claimed. With `keys` those of these (run id,
        attempt) pairs; without, the highest attempt of everything of this user, foreign jobs
        included (their `run_id` is empty)."""
        ...

    async def poll(self, refs: Collection[JobRef]) -> dict[JobRef, Status]:
        """The status of many jobs in ONE round trip; every reference asked for is a key of the
        answer, one that does not exist there included (`lost`, or `new` while it may be on its
        way). A higher attempt is reported under the reference asked for, with its own `attempt`."""
        ...

    def logs(
        self, ref: JobRef, *, rank: int = 0, cursor: str = "", follow: bool = True
    ) -> AbstractAsyncContextManager[AsyncIterator[LogChunk]]:
        """Stream a log from after `cursor` ("" is the beginning). Cursors are opaque; resuming
        from any of them continues at the exact byte. Leaving the context closes everything.

        Raises:
            UsageError: The cursor is not one of this backend's.
            BackendError: There is no such run or attempt. So for every other method that takes a
                reference, `poll` and `remove` apart.
        """
        ...

    async def cancel(self, ref: JobRef, *, grace: float | None = None) -> None:
        """Ask for an end: TERM, `grace` seconds, KILL. Idempotent; returns when the request is
        recorded there. A job that is over is left alone; one that was not started yet never will
        be. Ends the run: also a higher attempt that the place has made by itself. Asking again
        with a smaller `grace` shortens it."""
        ...

    async def aclose(self) -> None:
        """Release everything. Idempotent. Never touches a job."""
        ...


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


@runtime_checkable
class Tails(Protocol):
    """Copies of what grows, kept elsewhere for little: for places whose files are not here."""

    async def tails(self, wanted: Sequence[Tail], *, budget: int) -> list[Piece]:
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


# ------------------------------------------------------------------------------------------- host

Connection: TypeAlias = "tuple[StreamReader, StreamWriter]"
"""Both directions of a byte stream. Closing the writer ends it."""


class Terminal(Protocol):
    """A program on a host, and a person or a pipe in front of it. Used from one event loop."""

    async def read(self) -> tuple[int, bytes]:
        """What the program wrote next: (1, bytes) of its stdout, which is all there is of a
        terminal, (2, bytes) of its stderr; (0, b"") at the end of both, and once the connection
        broke. One reader at a time. Output that nobody reads holds the program up."""
        ...

    async def write(self, data: bytes) -> None:
        """Give it input; returns when there is room for more. To a program that is gone it is
        nothing."""
        ...

    async def write_eof(self) -> None:
        """End its stdin. Of a terminal, nothing: there ctrl+d is input."""
        ...

    async def resize(self, size: TerminalSize) -> None:
        """Say that the person's terminal has this size now. Never raises."""
        ...

    async def wait(self) -> Done:
        """How it ended: `EXITED`, `SIGNALLED`, or `CUT` if the connection broke. Comes after the
        end of `read`."""
        ...

    async def aclose(self) -> None:
        """Hang up, as closing the window would. Idempotent."""
        ...


class Outcome(StrEnum):
    """How a command on a host ended."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    CUT = "cut"
    """The connection broke; the command's fate is not known."""
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished command. `code` is the exit code or signal number, by `outcome`."""

    outcome: Outcome = Outcome.EXITED
    code: int = 0
    out: bytes = b""
    err: bytes = b""


class AgentChannel(Protocol):
    """A connection to the agent on a host: many requests at once over one pipe."""

    async def call(
        self,
        verb: str,
        params: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        """One request, one reply: (JSON object, bytes). `timeout` in seconds; None is the
        channel's own.

        Raises:
            Unreachable: The agent went away before it answered.
            AgentRefused: It said no; the message says why.
        """
        ...

    def stream(
        self, verb: str, params: Mapping[str, Any] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[dict[str, Any], bytes]]]:
        """One request, many replies. Leaving the context ends it on the other side too."""
        ...


class Host(Protocol):
    """Where argv can be run and bytes moved. Backends are written on this and never ask whether
    the other side is near or far."""

    name: str
    here: bool
    """Whether it is this machine: its files are those of this program, and what it starts inherits
    this program's environment."""

    @property
    def link(self) -> LinkState:
        """How it stands with the way there. Asks nobody. What is asked of a host that is out of
        reach fails at once while it waits for its next try: callers come back, it backs off."""
        ...

    def try_now(self) -> None:
        """See `Linked.try_now`."""
        ...

    @property
    def remarks(self) -> tuple[tuple[bool, str], ...]:
        """How it was reached, and what was odd about it: lines for `Health.checks`. Asks nobody."""
        ...

    async def terminal(self, argv: Sequence[str], *, size: TerminalSize | None = None) -> Terminal:
        """Start an argv with a terminal of this size, of the kind that this program's is (`TERM`);
        without a size with three pipes. Over a network it has a channel of its own.

        Raises:
            Unreachable: The host does not answer.
            BackendError: The host gives no terminal (no free channel, no pty), or the program
                cannot be started.
        """
        ...

    async def connect(self, port: int | str, *, address: str = "localhost") -> Connection:
        """Connect, from the host, to a TCP port of an address, or to a Unix socket if `port` is a
        path.

        Raises:
            Unreachable: The host does not answer.
            BackendError: Nobody listens there, or the host does not forward.
        """
        ...

    async def agent(self) -> AgentChannel:
        """The channel to the agent, installed and started if need be. Cheap when it is there."""
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class HostDevices(Protocol):
    """A host that can list its accelerators itself."""

    async def devices(self) -> DeviceCount: ...


# --------------------------------------------------------------------------------------- encoding


def plan_digest(plan: Plan) -> str:
    """SHA-256 (hex) over all of a plan but its digest. The one way to compute it."""
    import hashlib
    import json

    text = json.dumps(encode(replace(plan, digest="")), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
