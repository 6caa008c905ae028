"""What a backend is: the protocols and the plain data that pass through them.

This module is all that a third-party backend imports; it hands on the contract's other parts
(spec.py, arrays.py, optional.py, reaching.py, states.py, encoding.py, errors.py), and imports
nothing else of Traindeck. It holds no behaviour beyond encoding and does no I/O but `Blob.read`.
Times are seconds since the epoch (UTC, float), durations are seconds, sizes are bytes, unless a
name says otherwise. `None` means "not known" or "does not apply", never 0.

Data classes are frozen, keyword-only and have a default for every field. `decode` ignores fields it
does not know, so that a record written by a newer version can be read by an older one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from enum import Flag, auto
from typing import Any, Protocol, runtime_checkable

from traindeck.backends.arrays import ArrayTask as ArrayTask
from traindeck.backends.arrays import read_indices as read_indices
from traindeck.backends.arrays import task_id as task_id
from traindeck.backends.data import dataclass
from traindeck.backends.encoding import decode as decode
from traindeck.backends.encoding import encode as encode
from traindeck.backends.errors import AgentRefused as AgentRefused
from traindeck.backends.errors import BackendError as BackendError
from traindeck.backends.errors import TraindeckError as TraindeckError
from traindeck.backends.errors import Unreachable as Unreachable
from traindeck.backends.errors import UsageError as UsageError
from traindeck.backends.optional import Adopt as Adopt
from traindeck.backends.optional import Arrays as Arrays
from traindeck.backends.optional import Devices as Devices
from traindeck.backends.optional import Fetch as Fetch
from traindeck.backends.optional import FileEntry as FileEntry
from traindeck.backends.optional import FilePiece as FilePiece
from traindeck.backends.optional import Files as Files
from traindeck.backends.optional import Foreign as Foreign
from traindeck.backends.optional import Forward as Forward
from traindeck.backends.optional import FoundFile as FoundFile
from traindeck.backends.optional import Grown as Grown
from traindeck.backends.optional import Linked as Linked
from traindeck.backends.optional import Listener as Listener
from traindeck.backends.optional import LogStat as LogStat
from traindeck.backends.optional import Look as Look
from traindeck.backends.optional import Piece as Piece
from traindeck.backends.optional import SeekableLogs as SeekableLogs
from traindeck.backends.optional import Shell as Shell
from traindeck.backends.optional import Tail as Tail
from traindeck.backends.optional import Tails as Tails
from traindeck.backends.optional import Wanted as Wanted
from traindeck.backends.optional import checksum as checksum
from traindeck.backends.reaching import AgentChannel as AgentChannel
from traindeck.backends.reaching import Connection as Connection
from traindeck.backends.reaching import Done as Done
from traindeck.backends.reaching import Host as Host
from traindeck.backends.reaching import HostDevices as HostDevices
from traindeck.backends.reaching import LinkState as LinkState
from traindeck.backends.reaching import Outcome as Outcome
from traindeck.backends.reaching import Terminal as Terminal
from traindeck.backends.reaching import TerminalSize as TerminalSize
from traindeck.backends.spec import Blob as Blob
from traindeck.backends.spec import Code as Code
from traindeck.backends.spec import Content as Content
from traindeck.backends.spec import DeviceCount as DeviceCount
from traindeck.backends.spec import Environment as Environment
from traindeck.backends.spec import Facts as Facts
from traindeck.backends.spec import JobRef as JobRef
from traindeck.backends.spec import Limits as Limits
from traindeck.backends.spec import Plan as Plan
from traindeck.backends.spec import Resources as Resources
from traindeck.backends.spec import RunSpec as RunSpec
from traindeck.backends.spec import Tree as Tree
from traindeck.backends.spec import plan_digest as plan_digest
from traindeck.backends.states import ACTIVE as ACTIVE
from traindeck.backends.states import TERMINAL as TERMINAL
from traindeck.backends.states import Rank as Rank
from traindeck.backends.states import Reach as Reach
from traindeck.backends.states import State as State
from traindeck.backends.states import Status as Status

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
class Health:
    """The answer of `probe`. `checks` are lines a person can act on: (passed, sentence). `root` is
    the folder that run directories lie in there, "" if the backend keeps none. `offers` as those of
    `Facts`."""

    reach: Reach = Reach.OK
    observed_at: float = 0.0
    version: str = ""
    root: str = ""
    clock_skew: float | None = None
    checks: tuple[tuple[bool, str], ...] = ()
    note: str = ""
    offers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One of a backend's own options, for the launch form and for validation: `plan` is only given
    values of this type, and among `choices` if there are any."""

    type: str = "str"
    """`str`, `int`, `float` or `bool`."""
    help: str = ""
    default: Any = None
    choices: tuple[str, ...] = ()


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
