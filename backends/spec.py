"""What is to run and what came of asking: specs, facts, plans and references to jobs.

Part of the contract; base.py hands all of it on. Plain data that does no I/O but `Blob.read`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field, replace
from typing import Any, Protocol

from traindeck.backends.arrays import ArrayTask
from traindeck.backends.data import dataclass
from traindeck.backends.encoding import FEW, encode
from traindeck.backends.states import Status


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
            the place has by itself. `environment_found` is then what that was, put in by `plan`: a
            prefix, an interpreter, or what the place's settings name.
        needs: Packages that it imports; one with a `?` behind is only looked at, if it is there.
        reads: Paths that must be there.
        env: Variables whose *values* are part of the plan (`--env` and a fixed list).
        env_names: Names of the variables inherited from the caller without being recorded.
        secrets: Names of variables whose values are passed by stdin only and written nowhere.
        array: Which task of an array it is; None for a run by itself.
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
    array: ArrayTask | None = None
    after: tuple[str, ...] = field(default=(), metadata={"wire": FEW})
    after_any: bool = False
    pty: bool = False
    keep_background: bool = False
    adopted: bool = False
    on_exit: tuple[str, ...] = ()
    on_stall: tuple[str, ...] = ()
    stall_after: float | None = None
    environment: str = ""
    environment_found: str = ""
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
        devices_busy: Those that a compute process is on which is of no run that leased it.
        devices_leased: Those that a run has, by UUID, and in a few words which one.
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
        offers: Values that the backend's own options can have there, as far as they can be listed,
            by option: for whoever types one. They refuse nothing.
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
    devices_leased: Mapping[str, str] = field(default_factory=dict)
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
    offers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
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


def plan_digest(plan: Plan) -> str:
    """SHA-256 (hex) over all of a plan but its digest. The one way to compute it."""
    import hashlib
    import json

    text = json.dumps(encode(replace(plan, digest="")), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
