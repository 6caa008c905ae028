"""What the screens need from the rest of Traindeck, as protocols: no word of how it is done.

Every method is a coroutine that must not block the loop: what waits for a disk or a place does so
on a thread. A screen never waits for one of them before it answers a key. Failures are
TraindeckErrors, which the screen shows in words.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol

from traindeck.backends.data import dataclass
from traindeck.backends.states import Reach, Status
from traindeck.console.store.records import RunRecord

if TYPE_CHECKING:
    from pathlib import Path

    from traindeck.backends.base import (
        FileEntry,
        Health,
        Listener,
        Plan,
        RunSpec,
        Terminal,
        TerminalSize,
    )
    from traindeck.console.runs.drafting import Draft, Drafted, Ground
    from traindeck.console.runs.fleet import PlaceDevices
    from traindeck.console.runs.log_session import LogSession
    from traindeck.console.runs.log_shown import Spot
    from traindeck.console.runs.placing import Found
    from traindeck.console.runs.pulling import Progress, Pulled

# ------------------------------------------------------------------------------------------- data


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Which runs a list shows, and how.

    Attributes:
        filter: In the language of `ls` and `/`.
        order: Sort keys of that language, first most important (`-latest`: of
            runs that are over by their end, which their ages count from).
        group: `state`, `backend`, or `` for no groups.
        window: Seconds for which a finished run stays in the list; None shows all.
    """

    filter: str = ""
    order: tuple[str, ...] = ("-latest",)
    group: str = "state"
    window: float | None = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of a listing: its `count` keys stand together, in the listing's order."""

    key: str = ""
    title: str = ""
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many runs there are, over all of them, not only those listed: `running`, `queued` and
    `needs_you` as in the groups of these names. `archived` ones are among the `total`, and in no
    list of a window."""

    running: int = 0
    queued: int = 0
    needs_you: int = 0
    total: int = 0
    archived: int = 0


def no_keys() -> array[int]:
    """An empty vector of keys."""
    return array("q")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The keys of the runs that a view shows, in order, and how they are grouped. A key is a small
    number that names a run as long as the program runs; records are fetched for what is visible.
    `window` is the view's, or None where its filter names a time itself; `order` is what the filter
    says of the order, which goes before the view's. Where no run fits the filter within the window,
    `beyond` is how many older ones do, and how many archived ones."""

    keys: array[int] = field(default_factory=no_keys)
    groups: tuple[Group, ...] = ()
    counts: Counts = field(default_factory=Counts)
    window: float | None = None
    order: tuple[str, ...] = ()
    beyond: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A backend as the header shows it. `seen_at` is when it last answered, `next_try` when it is
    asked again if it does not, `person` that only a person can connect to it."""

    name: str = ""
    reach: Reach = Reach.OK
    seen_at: float = 0.0
    note: str = ""
    next_try: float | None = None
    person: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an action on one run; `text` says why not, or what to know."""

    run_id: str = ""
    done: bool = True
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What removing runs would do.

    Attributes:
        size: Bytes that would be freed; None if it is not known.
        artifacts: Bytes of those that are artifacts.
        refused: Run id -> why it cannot be removed.
    """

    size: int | None = None
    artifacts: int | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A metric's points, thinned to what a chart can show: steps and values of equal length."""

    key: str = ""
    steps: Sequence[float] = ()
    values: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """A port of where a run is, at this machine for as long as the program runs or until it is
    ended. `problem` is why the last connection did not come about."""

    run_id: str = ""
    name: str = ""
    port: int = 0
    local: int = 0
    url: str = ""
    moved: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetNews:
    """What is new of the accelerators: the places that have said something, those that are no more,
    and the runs that are on any of them, by id, if they were looked up once more."""

    places: Sequence[PlaceDevices] = ()
    gone: Sequence[str] = ()
    runs: Mapping[str, RunRecord] | None = None


# -------------------------------------------------------------------------------------- protocols


class RunsSource(Protocol):
    """The runs there are, and how they change."""

    async def version(self) -> int:
        """A number that is another one as soon as any process has written. Cheap: polled."""
        ...

    async def listing(self, view: View) -> Listing:
        """The runs of a view.

        Raises:
            UsageError: The filter is wrong; the message says where.
        """
        ...

    async def rows(self, keys: Sequence[int]) -> dict[int, RunRecord]:
        """Records by key, with their main metric; keys that are gone are left out."""
        ...

    async def detail(self, key: int) -> RunRecord | None:
        """One record with all its metrics."""
        ...

    async def key_of(self, run_id: str) -> int | None:
        """The key of a run, for a cursor that was saved by id."""
        ...

    async def short_ids(self, run_ids: Collection[str]) -> dict[str, str]:
        """Run id -> its shortest unique prefix."""
        ...

    async def names(self) -> Sequence[str]:
        """The tags and the parameters that runs have, by name."""
        ...

    async def places(self) -> Sequence[Place]:
        """The backends, in the order of the settings."""
        ...

    async def log_tail(self, run_id: str, size: int) -> bytes:
        """The last `size` bytes of the current attempt's log; b"" if there is none."""
        ...

    async def why_no_log(self, run_id: str) -> str:
        """Why there is no log, where its tail is empty; "" if it has one or may get one."""
        ...

    async def curves(self, run_id: str, keys: Sequence[str]) -> Sequence[Curve]:
        """The points of some metrics of a run; those it does not have are left out."""
        ...


class RunActions(Protocol):
    """What can be done to runs. Each returns when the request is recorded."""

    async def stop(self, run_ids: Sequence[str], grace: float | None) -> Sequence[Outcome]: ...

    async def retry(self, run_ids: Sequence[str]) -> Sequence[Outcome]: ...

    async def again(self, run_id: str, env: Mapping[str, str]) -> Outcome:
        """Start a new run like this one, with some variables more. The outcome names it.

        Raises:
            UsageError: What it was made from cannot be sent again from here.
        """
        ...

    async def removal(self, run_ids: Sequence[str]) -> Removal:
        """What `remove` would free, and what it would refuse."""
        ...

    async def remove(
        self, run_ids: Sequence[str], *, keep_artifacts: bool
    ) -> Sequence[Outcome]: ...

    async def describe(
        self,
        run_id: str,
        *,
        name: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        note: str | None = None,
    ) -> str:
        """Set what is given: the name, these tags (None takes one away, the others stay), the note.
        Returns what is worth knowing, or "".

        Raises:
            UsageError: A name or tag that cannot be.
        """
        ...

    async def tag(self, run_ids: Sequence[str], tags: Mapping[str, str | None]) -> None:
        """Set tags of these runs; None takes one away from those that have it.

        Raises:
            TraindeckError: None of them has such a tag to take away.
        """
        ...

    async def looked(self, run_ids: Sequence[str]) -> None:
        """A person has seen these runs: they need nobody until something new happens."""
        ...


class RunReader(Protocol):
    """What the Run screen reads of one run."""

    async def run(self, run_id: str) -> RunRecord | None:
        """Its record with all its metrics, as it is now."""
        ...

    async def measure(self, run_id: str) -> None:
        """Read what is left of the metrics of a run that is over: at once when all was read, not at
        all when so much is left that it would keep a core busy for long."""
        ...

    async def log_share(self, run_id: str) -> float:
        """How much of its log has been read for metrics, 0…1."""
        ...

    async def series(self, run_id: str, names: Sequence[str]) -> Mapping[str, Any]:
        """Metric -> its `store.series.Points`; those the run does not have are left out."""
        ...

    async def open_log(
        self, run_id: str, attempt: int | None = None, *, rank: int = 0, spot: Spot | None = None
    ) -> LogSession:
        """The log of a rank, of the current attempt if none is named, at its end or where it was
        left. Close it when done."""
        ...

    async def ranks(self, run_id: str, attempt: int) -> Sequence[int]:
        """The ranks of an attempt whose logs can be opened, in order."""
        ...

    async def open_file(self, run_id: str, path: str) -> LogSession:
        """A file of the run's directory, read as a log is. Close it when done."""
        ...

    async def attempts(self, run_id: str) -> Sequence[Status]:
        """How its attempts ended, the first one first; the last one may be going on."""
        ...

    async def files(self, run_id: str) -> Sequence[FileEntry]:
        """Files and folders of the run's directory, folders before what they hold."""
        ...

    async def read_file(self, run_id: str, path: str, size: int) -> bytes:
        """The beginning of a file of the run."""
        ...

    async def spec(self, run_id: str) -> RunSpec | None:
        """What it was made from; None if that cannot be read now."""
        ...

    async def folder(self, run_id: str) -> str:
        """Where its directory lies, "" if that is not known."""
        ...


class Reaching(Protocol):
    """Getting at a run where it is."""

    async def open_shell(self, run_id: str, size: TerminalSize) -> Terminal:
        """The user's shell in the run's directory. Used from the caller's loop."""
        ...

    async def ports(self, run_id: str) -> Sequence[Listener]:
        """The ports one may want of a run, the likeliest first."""
        ...

    async def forward(self, run_id: str, port: int) -> Forwarded:
        """Make a port of a run's machine one of this machine. Again, it is the one there is."""
        ...

    async def forwards(self) -> Sequence[Forwarded]:
        """Those that there are, the oldest first."""
        ...

    async def end_forward(self, local: int) -> None:
        """End one. Nothing, if it is gone already."""
        ...

    async def pull(
        self, run_id: str, paths: Sequence[str], to: Path, tell: Callable[[Progress], None]
    ) -> Sequence[Pulled]:
        """Bring files of a run here; `tell` is called on the caller's loop with how far it is.
        Cancelled, it stops, and the next one goes on there."""
        ...


class Watching(Protocol):
    """The accelerators of all places."""

    async def watch_fleet(self, every: float, tell: Callable[[FleetNews], None]) -> None:
        """Ask every place for its devices each `every` seconds, until this is cancelled; nobody is
        asked after that. `tell` is called on the caller's loop: first with all places and what is
        known of them from an earlier time, then with what is new, a few times a second at most.
        """
        ...


class Launching(Protocol):
    """What the Launch screen needs."""

    async def ground(self) -> Ground:
        """What there is to launch with: recipes, backends."""
        ...

    async def like(self, run_id: str) -> Draft:
        """A draft that asks for what a run was made from.

        Raises:
            UsageError: The run was adopted.
            BackendError: Its directory is gone.
        """
        ...

    async def check(self, draft: Draft) -> Drafted:
        """The plan of a draft, or what is wrong with it. Starts nothing."""
        ...

    async def path_rest(self, draft: Draft, key: str, text: str) -> str:
        """What completes a path that is typed into a field of a draft; "" if nothing does, or if
        that is not known soon."""
        ...

    async def launch(self, plan: Plan) -> RunRecord:
        """Send a plan that `check` made, as it is."""
        ...

    async def launch_array(self, plans: Sequence[Plan]) -> Sequence[RunRecord]:
        """Send the plans of a job array that `check` made: all of them, or none."""
        ...

    async def save_recipe(self, draft: Draft, name: str) -> Path:
        """Keep a draft as a recipe of the user's. Never overwrites one."""
        ...

    async def probe(self, backend: str, *, asked: bool = False) -> Health:
        """Ask a backend how it is. A backend that cannot be made is down, with the reason.

        Args:
            asked: A person has just asked for it: it is tried at once, and may ask them.
        """
        ...

    async def found(self) -> Sequence[Found]:
        """Machines that this user's files name and that are no backend yet. Asks none of them."""
        ...

    async def probe_found(self, found: Found) -> Health:
        """Ask one of them how it would be as a backend, for a person who has just asked for it."""
        ...

    async def add_found(self, found: Found) -> str:
        """Write one of them into the settings; returns the name it has there.

        Raises:
            UsageError: It cannot be written.
        """
        ...

    async def settings_changed(self) -> None:
        """The settings file was written: what it says holds from now on."""
        ...


class Services(RunsSource, RunActions, RunReader, Reaching, Watching, Launching, Protocol):
    """All of it. `able` names what this installation can do beyond showing runs (`demo`): keys for
    anything else are not offered."""

    able: frozenset[str]

    async def refresh(self) -> None:
        """Ask the places about active runs, unless somebody just did. May take seconds."""
        ...

    async def demo(self) -> None:
        """Launch the demo's runs. Called only if `able` has `demo`; may take a while."""
        ...

    async def aclose(self) -> None: ...
