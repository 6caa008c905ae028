# ruff: noqa: S608  (SQL is put together from constants; what a person typed is always bound)
"""The index: everything that lists, headers and charts show, in one SQLite file.

It is a copy. The truth lies in run directories, the journal and the annotations; this file may be
deleted at any time and is rebuilt. It is shared by any number of processes and, within one, by any
number of threads. It must stay cheap to import: `ls --json` pays for this module every time.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traindeck.console.store import leases
from traindeck.console.store.database import INODE, Connection, Damaged, Database

if TYPE_CHECKING:
    from traindeck.backends.states import Reach, State, Status
    from traindeck.console.store.annotations import Annotation
    from traindeck.console.store.filtering import Filter
    from traindeck.console.store.records import Progress, RunRecord
    from traindeck.console.store.series import Batch, Points, SourceMark

NEWEST = ("-created",)

_NAMED = {"metric": "series", "param": "params", "tag": "tags"}

_Query = tuple[str, str, str, tuple[Any, ...]]
"""Joins, condition, order and values: a query.Query."""


class Index:
    """An open index. Every method may be called from any thread and raises StoreError, in words,
    if the file cannot be used. A damaged file is moved aside and rebuilt on the way: `tell` gets
    one line about it. Use `Index.open`."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._known: set[tuple[str, str]] = set()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        rebuild: Callable[[Index], None] | None = None,
        tell: Callable[[str], None] = lambda line: None,
        wait: float = 10.0,
        copy: bool = False,
    ) -> Index:
        """Open or create the file.

        Args:
            rebuild: Fills a new, empty index; called when there was none, or a damaged one. Others
                wait for it and see the new index only when it is complete.
            tell: Takes one line about what was healed.
            wait: Seconds to wait for another process's transaction.
            copy: If it cannot be written, go on with a copy in memory: `tell` gets one line.

        Raises:
            StoreError: Written by a newer Traindeck; cannot be written; the disk is full.
        """

        def build(fresh: Database) -> None:
            if rebuild is not None:
                rebuild(cls(fresh))

        return cls(Database(path, build=build, tell=tell, wait=wait, copy=copy))

    @property
    def path(self) -> Path:
        return self._db.path

    def rebuild(self) -> None:
        """Fill a new file as given to `open`, and put it in this one's place at once."""
        self._db.replace()

    def close(self) -> None:
        """Idempotent."""
        self._db.close()

    def carry_over_apart(self) -> None:
        """For a program that stays: it calls `carry_over` now and then, in a thread of its own, and
        no look has to wait for that."""
        self._db.carry_over_apart()

    def carry_over(self) -> None:
        """Bring what was written into the file itself. Never raises."""
        self._db.carry_over()

    def catch_up(self, annotations: Path) -> int:
        """Apply what was appended to the annotations since this index last read them. Returns the
        number of lines. Call it after appending, and at the start: another console may have."""
        try:
            found = annotations.stat()
        except FileNotFoundError:
            return 0
        inode = found.st_ino & INODE

        def known(db: Connection) -> int:
            at = dict(db.execute("SELECT key, value FROM meta WHERE key LIKE 'annotations%'"))
            if at.get("annotations_inode") != inode:
                return 0
            offset = at.get("annotations_offset", 0)
            return offset if isinstance(offset, int) and offset <= found.st_size else 0

        if self._db.read(known) == found.st_size:
            return 0
        from traindeck.console.store import annotating
        from traindeck.console.store.annotations import read

        def work(db: Connection) -> int:
            # Read inside the transaction: nobody else applies the same lines meanwhile.
            lines, end = read(annotations, known(db))
            annotating.apply(db, lines)
            db.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("annotations_inode", inode), ("annotations_offset", end)],
            )
            return len(lines)

        return self._db.write(work)

    # ------------------------------------------------------------------------------- runs: write

    def keep_in_memory_if_full(self) -> None:
        """From now on, if the file cannot be written, go on with a copy in memory."""
        self._db.may_copy()

    def put(self, run: RunRecord) -> None:
        """See `put_many`."""
        self.put_many([run])

    def put_many(self, runs: Iterable[RunRecord]) -> None:
        """Insert runs, or update what describes them (name, argv, tags, params, …).

        What others own is not overwritten on an existing row: its status is merged as by
        `update_status`, its metrics, progress and main metric belong to `ingest`, and what was
        annotated (name, tags, note, archived, looked_at) wins over the record. A run that was
        removed on purpose is not taken back.
        """
        from traindeck.console.store import writing

        records = list(runs)
        now = time.time()
        self._db.write(lambda db: writing.put(db, records, now))

    def update_status(
        self, run_id: str, status: Status, *, now: float | None = None, settle: float | None = None
    ) -> bool:
        """Merge one observation; see `update_statuses`. Whether the run changed."""
        return bool(self.update_statuses({run_id: status}, now=now, settle=settle))

    def update_statuses(
        self,
        statuses: Mapping[str, Status],
        *,
        now: float | None = None,
        settle: float | None = None,
    ) -> list[str]:
        """Lay observations over what is known, by `backends.status.merge`, in one transaction: of
        several processes that saw different things, the strongest evidence stands.

        Args:
            now, settle: See `merge`.

        Returns:
            Ids of runs whose state, attempt, exit code, signal, reason or reach changed. Unknown
            ids are left out.
        """
        from traindeck.console.store import writing

        moment = time.time() if now is None else now
        return self._db.write(lambda db: writing.merge_statuses(db, statuses, moment, settle))

    def set_reach(self, backend: str, reach: Reach) -> None:
        """A place did not answer (`reach` is not OK): its active runs keep their state and their
        age."""
        from traindeck.console.store import writing

        self._db.write(lambda db: writing.set_reach(db, backend, reach))

    def delete(self, run_ids: Collection[str]) -> int:
        """Forget runs and their series. Returns how many there were. `reindex` brings back what
        has a run directory, unless the annotations say that it was removed."""
        from traindeck.console.store import writing

        return self._db.write(lambda db: writing.delete(db, run_ids))

    # -------------------------------------------------------------------------------- runs: read

    def get(self, run_id: str) -> RunRecord | None:
        """The run with this full id, with all its metrics."""
        from traindeck.console.store import reading

        def work(db: Connection) -> RunRecord | None:
            found = reading.records(db, "r.id = ?", (run_id,), metrics="all")
            return found[0] if found else None

        return self._db.read(work)

    def resolve(self, text: str, *, strict: bool = False, active: bool = False) -> str:
        """The full id that `text` means: an exact id, an exact name (of several the newest, whether
        it is over or not; `active`: of those that are not over, if any; `strict` refuses), or a
        unique prefix of at least 4 characters. `strict` (for `rm`) refuses prefixes, and a name
        that is spelt with other capitals.

        Raises:
            NoSuchRun, AmbiguousRun: With the candidates in words.
        """
        from traindeck.console.store import naming

        return self._db.read(lambda db: naming.resolve(db, text, strict=strict, active=active))

    def called(self, name: str) -> int:
        """How many runs have this name, in any spelling of upper and lower case."""
        from traindeck.console.store.rows import clean, fold

        folded = fold(clean(name))
        sql = "SELECT count(*) FROM runs WHERE folded = ?"
        return self._db.read(lambda db: int(db.execute(sql, (folded,)).fetchone()[0]))

    def has_name(self, name: str) -> bool:
        """Whether a run has this name, in any spelling of upper and lower case."""
        return self.called(name) > 0

    def begins_id(self, text: str) -> tuple[str, str] | None:
        """Id and name of a run whose id `text` names, or the beginning of it; None if none."""
        from traindeck.console.store import naming

        return self._db.read(lambda db: naming.begins_id(db, text))

    def short_ids(self, run_ids: Collection[str]) -> dict[str, str]:
        """Each id's shortest prefix that names one run only, at least 4 characters."""
        from traindeck.console.store import naming

        return self._db.read(lambda db: naming.short_ids(db, run_ids))

    def has_active(self) -> bool:
        """Whether any run is not over. Cheap: a command that finds none need ask nobody."""
        from traindeck.console.store.schema import ACTIVE

        return self._db.read(
            lambda db: (
                db.execute(f"SELECT 1 FROM runs WHERE state IN ({ACTIVE}) LIMIT 1").fetchone()
                is not None
            )
        )

    def missing(self, before: float) -> list[RunRecord]:
        """Runs whose directory was not there when it was last looked for, before this moment."""
        from traindeck.console.store import reading

        return self._db.read(lambda db: reading.missing(db, before))

    def active(self, backend: str | None = None) -> list[RunRecord]:
        """Runs that are not over, oldest first, with their main metric only."""
        from traindeck.console.store import reading

        return self._db.read(lambda db: reading.active(db, backend))

    def active_numbers(self) -> list[int]:
        """Row numbers of the runs that are not over, oldest first."""
        from traindeck.console.store import reading

        return self._db.read(reading.active_numbers)

    def observed(self, backend: str) -> dict[str, tuple[float, bool]]:
        """When the runs of a place that are not over were seen last, and whether it has answered
        since: of ten thousand in a moment."""
        from traindeck.console.store import reading

        return self._db.read(lambda db: reading.observed(db, backend))

    def latest_look(self, backend: str) -> float:
        """When any of the runs of a place that are not over was seen last; 0 if none was."""
        from traindeck.console.store import reading

        return self._db.read(lambda db: reading.latest_look(db, backend))

    def ids(
        self,
        filter: Filter | None = None,
        *,
        sort: Sequence[str] = NEWEST,
        now: float | None = None,
        window: float | None = None,
    ) -> array[int]:
        """Row numbers of the runs that match, in order. Keep this vector; fetch `rows` for what is
        visible. Row numbers are never used twice, but void after a rebuild (`version()[0]`).

        Args:
            sort: Keys of the filter language (`group` is needs you, running, queued, finished); the
                filter's own `sort:` comes before them.
            window: Only active runs and those that ended in the last `window` seconds, and of these
                none that is archived. None: all there are.
        """
        joins, where, order, args = self._query(filter, sort, now, window)

        def work(db: Connection) -> array[int]:
            self._prepare(db, joins + where)
            rows = db.execute(
                f"SELECT r.n FROM runs r {joins} WHERE {where} ORDER BY {order}",
                args,
            ).fetchall()
            try:
                return array("q", [n for (n,) in rows])
            except (TypeError, OverflowError) as error:
                raise Damaged(str(error)) from None

        return self._db.read(work)

    def rows(self, ids: Sequence[int], *, metrics: str = "main") -> list[RunRecord]:
        """Records of row numbers, in that order; runs deleted meanwhile are left out.

        Args:
            metrics: `main` (only the metric shown in tables), `all`, or `none`.
        """
        found = self.rows_by_number(ids, metrics=metrics)
        return [found[n] for n in ids if n in found]

    def rows_by_number(self, ids: Sequence[int], *, metrics: str = "main") -> dict[int, RunRecord]:
        """The same, each under its row number."""
        from traindeck.console.store import reading

        return self._db.read(lambda db: reading.rows(db, ids, metrics))

    def number_of(self, run_id: str) -> int | None:
        """The row number of a run."""

        def work(db: Connection) -> int | None:
            row = db.execute("SELECT n FROM runs WHERE id = ?", (run_id,)).fetchone()
            return None if row is None else row[0]

        return self._db.read(work)

    def groups(self, ids: Sequence[int], *, now: float | None = None) -> bytes:
        """For each row number its group, an index into records.GROUPS: one byte each."""
        from traindeck.console.store import reading

        moment = time.time() if now is None else now
        return self._db.read(lambda db: reading.groups(db, ids, moment))

    def changes(self, since: int) -> tuple[array[int], int, bool]:
        """What was written after a stamp: (row numbers, the next stamp, whether runs were removed).
        Begin with the stamp that `changes(-1)` gives: it lists nothing."""
        from traindeck.console.store import reading

        return self._db.read(lambda db: reading.changes(db, since))

    def json_array(
        self,
        filter: Filter | None = None,
        *,
        sort: Sequence[str] = NEWEST,
        now: float | None = None,
    ) -> Iterator[bytes]:
        """One JSON array of them, in pieces to write one after the other. Nothing is printed
        before all was read: damage is healed without a trace in the output."""
        rows = self._json(filter, sort, now)
        yield b"["
        for low in range(0, len(rows), 50):
            yield (b",\n" if low else b"") + b",\n".join(rows[low : low + 50])
        yield b"]\n"

    def _json(self, filter: Filter | None, sort: Sequence[str], now: float | None) -> list[bytes]:
        joins, where, order, args = self._query(filter, sort, now)

        def work(db: Connection) -> list[bytes]:
            self._prepare(db, joins + where)
            # As bytes: the module's own decoding of 11 MB of text takes twice as long.
            rows = db.execute(
                f"SELECT CAST(y.head || y.metrics AS BLOB) FROM runs r {joins} "
                f"JOIN ready y ON y.n = r.n WHERE {where} ORDER BY {order}",
                args,
            ).fetchall()
            lines = [line for (line,) in rows]
            if not all(isinstance(line, bytes) and line.isascii() for line in lines):
                raise Damaged("the ready JSON of a run is not what was written")
            return lines

        return self._db.read(work)

    def counts(self) -> dict[State, int]:
        """How many runs are in each state that any is in."""
        from traindeck.console.store import reading

        return self._db.read(reading.counts)

    def archived(self) -> int:
        """How many runs are archived."""
        asked = "SELECT count(*) FROM runs WHERE archived"
        return int(self._db.read(lambda db: db.execute(asked).fetchone()[0]))

    def version(self) -> tuple[int, int]:
        """Changes when anybody has written: compare it to know when to look. The first number
        changes when the file was replaced and all row numbers are void."""

        def work(db: Connection) -> tuple[int, int]:
            row = db.execute("SELECT value FROM meta WHERE key = 'clock'").fetchone()
            if row is None or not isinstance(row[0], int):
                raise Damaged("the clock is gone")
            return self._db.generation, row[0]

        return self._db.read(work)

    # ------------------------------------------------------------------------------------ series

    def source(self, run_id: str, path: str) -> SourceMark:
        """How far a file of a run has been read; zeros if never."""
        from traindeck.console.store import ingesting

        return self._db.read(lambda db: ingesting.mark(db, run_id, path))

    def unread(self) -> frozenset[tuple[str, str, int]]:
        """What has been read up to now of files of which a look has left something that is to be
        read on unasked: (run, path, bytes)."""
        from traindeck.console.store import schema

        asked = (
            "SELECT (SELECT id FROM runs WHERE n = run), path, offset FROM sources "
            f"""WHERE {schema.LEFT} AND size - offset <= ? AND carry NOT LIKE '%"ended":true%'"""
        )
        return self._db.read(
            lambda db: frozenset(map(tuple, db.execute(asked, (schema.MOST_LEFT,))))
        )

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
        from traindeck.console.store import ingesting, series

        prepared = series.prepare(batches)
        return self._db.write(
            lambda db: ingesting.ingest(db, run_id, before, after, prepared, progress, main)
        )

    def points(self, run_id: str, key: str, *, start: int | None = None) -> Points:
        """A series, by step. `start`: only steps from there on (whole chunks: may begin earlier).
        `points.steps` etc. are arrays that numpy can view without a copy."""
        from traindeck.console.store import series

        return self._db.read(lambda db: series.read(db, run_id, key, start))

    def knows(self, kind: str, name: str) -> bool:
        """Whether any run has a metric (`kind` metric), parameter (param) or tag of this name. What
        was known once stays known."""
        if (kind, name) not in self._known:
            asked = f"SELECT 1 FROM {_NAMED[kind]} WHERE key = ? LIMIT 1"
            if self._db.read(lambda db: db.execute(asked, (name,)).fetchone()) is None:
                return False
            self._known.add((kind, name))
        return True

    def names(self, kind: str) -> list[str]:
        """Names of all metrics, parameters or tags that any run has. Reads all of them."""
        asked = f"SELECT DISTINCT key FROM {_NAMED[kind]} ORDER BY key"
        return self._db.read(lambda db: [str(key) for (key,) in db.execute(asked)])

    def keys(self, run_id: str) -> list[str]:
        """Names of the series of a run, sorted."""
        return self._db.read(
            lambda db: [
                str(key)
                for (key,) in db.execute(
                    "SELECT key FROM series WHERE run = (SELECT n FROM runs WHERE id = ?) "
                    "ORDER BY key",
                    (run_id,),
                )
            ]
        )

    # ------------------------------------------------------------------------------------ leases

    def try_lease(self, name: str, ttl: float) -> bool:
        """Whether the caller may do `name` now; nobody else may for `ttl` seconds. So ten `wait`s
        poll once."""
        # Most who ask are refused: they need not wait for a writer.
        return not self._db.read(lambda db: leases.is_held(db, name, ttl)) and self._db.write(
            lambda db: leases.take(db, name, ttl)
        )

    def release(self, name: str) -> None:
        """Give a lease back early."""
        self._db.write(lambda db: leases.release(db, name))

    def want(self, run_id: str, ttl: float) -> None:
        """Say that the caller waits for this run, for `ttl` seconds from now on: who asks its place
        asks for it too. Writes nothing while that was said a moment ago."""
        if not self._db.read(lambda db: leases.is_wanted(db, run_id, ttl)):
            self._db.write(lambda db: leases.want(db, run_id, ttl))

    def wanted(self) -> list[str]:
        """Ids of the runs that somebody waits for, be they over or not."""
        return self._db.read(leases.wanted)

    def clock_goes_on(self) -> bool:
        """Whether the clock was not set since somebody noted it: else how old a look is cannot be
        told from its date."""
        return self._db.read(leases.clock_goes_on) is not False

    def note_clock(self) -> None:
        """The looks that are entered from now on are dated by the clock as it is now."""
        if not self._db.read(leases.clock_goes_on):
            self._db.write(leases.note_clock)

    # ------------------------------------------------------------------------------- annotations

    def annotation(self, run_id: str) -> Annotation | None:
        """All that was annotated of a run, in one."""
        from traindeck.console.store import annotating

        return self._db.read(lambda db: annotating.mark(db, run_id))

    def jobs_without_run(self) -> list[Annotation]:
        """Annotated jobs that no row stands for: their index was lost and their host is down."""
        from traindeck.console.store import annotating

        return self._db.read(annotating.jobs_without_run)

    # -------------------------------------------------------------------------------------------

    def _query(
        self,
        filter: Filter | None,
        sort: Sequence[str],
        now: float | None,
        window: float | None = None,
    ) -> _Query:
        if filter is None and window is None and tuple(sort) == NEWEST:
            return "", "1", "r.created DESC, r.n DESC", ()
        from traindeck.console.store.query import compile_query

        return compile_query(filter, sort, time.time() if now is None else now, window)

    @staticmethod
    def _prepare(db: Connection, sql: str) -> None:
        if "fold(" in sql:
            from traindeck.console.store.rows import fold

            db.create_function("fold", 1, fold, deterministic=True)
        if "number(" in sql:
            from traindeck.console.store.rows import param_number

            db.create_function("number", 1, param_number, deterministic=True)
