"""The index: everything that lists, headers and charts show, in one SQLite file.

It is a copy. The truth lies in run directories, the journal and the annotations; this file may be
deleted at any time and is rebuilt. It is shared by any number of processes and, within one, by any
number of threads. It must stay cheap to import: `ls --json` pays for this module every time.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traindeck.backends.base import Reach, State, Status
    from traindeck.console.store.filtering import Filter
    from traindeck.console.store.records import Progress, RunRecord
    from traindeck.console.store.series import Batch, Points, SourceMark

Ids = array  # array("q") of row numbers


class Index:
    """An open index. Every method may be called from any thread and raises StoreError, in words,
    if the file cannot be used. A damaged file is moved aside and rebuilt on the way: `tell` gets
    one line about it."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        rebuild: Callable[[Index], None] | None = None,
        tell: Callable[[str], None] = lambda line: None,
        wait: float = 10.0,
    ) -> Index:
        """Open or create the file.

        Args:
            rebuild: Fills a new, empty index; called when there was none, or a damaged one.
            tell: Takes one line about what was healed.
            wait: Seconds to wait for another process's transaction.

        Raises:
            StoreError: Written by a newer Traindeck; cannot be written; the disk is full.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Idempotent."""
        raise NotImplementedError

    def catch_up(self, annotations: Path) -> int:
        """Apply what was appended to the annotations since this index last read them. Returns the
        number of lines. Call it after appending, and at the start: another console may have."""
        raise NotImplementedError

    # -- runs: write

    def put(self, run: RunRecord) -> None:
        """See `put_many`."""
        raise NotImplementedError

    def put_many(self, runs: Iterable[RunRecord]) -> None:
        """Insert runs, or update what describes them (name, argv, tags, params, …).

        What others own is not overwritten on an existing row: its status is merged as by
        `update_status`, its metrics, progress and main metric belong to `ingest`, and what was
        annotated (name, tags, note, archived, looked_at) wins over the record.
        """
        raise NotImplementedError

    def update_status(self, run_id: str, status: Status) -> bool:
        """Merge one observation by the rule of backends.status. Whether the run changed."""
        raise NotImplementedError

    def update_statuses(self, statuses: Mapping[str, Status]) -> list[str]:
        """The same for many, in one transaction. Returns the ids of runs whose state, attempt,
        exit code, signal, reason or reach changed. Unknown ids are left out."""
        raise NotImplementedError

    def set_reach(self, backend: str, reach: Reach) -> None:
        """A place did not answer: its active runs keep their state and their age."""
        raise NotImplementedError

    def set_native_id(self, run_id: str, native_id: str) -> None:
        raise NotImplementedError

    def delete(self, run_ids: Collection[str]) -> int:
        """Forget runs and their series. Returns how many there were."""
        raise NotImplementedError

    # -- runs: read

    def get(self, run_id: str) -> RunRecord | None:
        """The run with this full id."""
        raise NotImplementedError

    def resolve(self, text: str, *, strict: bool = False) -> str:
        """The full id that `text` means: an exact id, an exact name (the newest), or a unique
        prefix of at least 4 characters. `strict` refuses prefixes (for `rm`).

        Raises:
            NoSuchRun, AmbiguousRun: With the candidates in words.
        """
        raise NotImplementedError

    def has_name(self, name: str) -> bool:
        raise NotImplementedError

    def short_ids(self, run_ids: Collection[str]) -> dict[str, str]:
        """Each id's shortest prefix that names one run only, at least 4 characters."""
        raise NotImplementedError

    def active(self, backend: str | None = None) -> list[RunRecord]:
        """Runs that are not over, oldest first, with their main metric only."""
        raise NotImplementedError

    def ids(
        self,
        filter: Filter | None = None,
        *,
        sort: Sequence[str] = ("-created",),
        now: float | None = None,
    ) -> Ids:
        """Row numbers of the runs that match, in order. Keep this vector; fetch `rows` for what is
        visible. Sort keys: those of the filter language, and `group` (needs you, running, queued,
        finished); the filter's own `sort:` comes first."""
        raise NotImplementedError

    def rows(self, ids: Sequence[int], *, metrics: str = "main") -> list[RunRecord]:
        """Records of row numbers, in that order; runs deleted meanwhile are left out.

        Args:
            metrics: `main` (only the metric shown in tables), `all`, or `none`.
        """
        raise NotImplementedError

    def groups(self, ids: Sequence[int] | None = None, *, now: float | None = None) -> array[int]:
        """For each row number its group (0 needs you, 1 running, 2 queued, 3 finished)."""
        raise NotImplementedError

    def json_lines(
        self, filter: Filter | None = None, *, sort: Sequence[str] = ("-created",)
    ) -> Iterator[str]:
        """The JSON object of each run that matches, ready to print."""
        raise NotImplementedError

    def counts(self) -> dict[State, int]:
        """How many runs are in each state."""
        raise NotImplementedError

    def version(self) -> int:
        """A number that changes when any process has written: poll this to know when to look."""
        raise NotImplementedError

    # -- series

    def source(self, run_id: str, path: str) -> SourceMark:
        """How far a file of a run has been read; zeros if never."""
        raise NotImplementedError

    def ingest(
        self,
        run_id: str,
        before: SourceMark,
        after: SourceMark,
        batches: Sequence[Batch],
        *,
        progress: Progress | None = None,
        main: str | None = None,
    ) -> bool:
        """Enter what was read from a file between two marks, in one transaction.

        A series is a function of the step: of two values for one step the higher attempt wins, then
        the more precise source, then the later. A higher attempt also takes away everything that
        earlier ones have from its first step on.

        Returns:
            False, with nothing entered, if another process has read on meanwhile (or the run is
            gone): look at `source` again.
        """
        raise NotImplementedError

    def points(self, run_id: str, key: str, *, start: int | None = None) -> Points:
        """A series, by step. `start`: only steps from there on (whole chunks: may begin earlier).
        `points.steps` etc. are arrays that numpy can view without a copy."""
        raise NotImplementedError

    def keys(self, run_id: str) -> list[str]:
        """Names of the series of a run, sorted."""
        raise NotImplementedError

    # -- leases

    def try_lease(self, name: str, ttl: float) -> bool:
        """Whether the caller may do `name` now; nobody else may for `ttl` seconds. So ten `wait`s
        poll once."""
        raise NotImplementedError

    def release(self, name: str) -> None:
        """Give a lease back early."""
        raise NotImplementedError
