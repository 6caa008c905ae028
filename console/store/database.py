"""The index's SQLite file: opening, transactions, healing. It knows no table but `meta`.

Any number of processes share the file, so it may be replaced under an open connection: a process
that finds damage moves the file aside and puts a rebuilt one in its place. Every transaction
therefore begins with a look at the path's inode. Whoever opens holds a shared lock on `….lock`,
whoever replaces an exclusive one, so that nobody joins an old file with a new write-ahead log.

Where the file cannot be written (a full disk, a folder mounted read-only) a process may go on with
a copy of its own in memory. What it writes there is lost, and may be: the file is an index.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, TypeVar

from traindeck.console.store import schema
from traindeck.console.store.places import make_folder

if TYPE_CHECKING:
    from traindeck.backends.errors import TraindeckError
    from traindeck.console.store.errors import Unwritable

T = TypeVar("T")
Connection = sqlite3.Connection

LOG_BYTES = 4 << 20
"""Of the write-ahead log, from which on it is brought into the file."""
MOST_LOG_PAGES = 16_384
"""Of 4 KiB: where a transaction does so all the same, should nobody else."""
INODE = (1 << 63) - 1
"""What is kept of a file's inode number: SQLite's integers have a sign, some file systems hash."""

REBUILD_WAIT = 300.0
"""Seconds to wait for another process that rebuilds the index."""

RETURN = 5.0
"""Seconds after which a process with a copy looks whether the file can be written again."""

# Primary result codes (sqlite.org/rescode.html). OVERFLOWS: text or blob of an impossible length.
_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL = 5, 6, 8, 10, 11, 13
_CANTOPEN, _PROTOCOL, _OVERFLOWS, _NOTADB = 14, 15, 18, 26
_OUTSIDE = {_BUSY, _LOCKED, _READONLY, _IOERR, _FULL, _CANTOPEN, _PROTOCOL}
"""What the file is not to blame for."""


class Damaged(Exception):
    """What the file holds cannot be what was written."""


class Newer(Exception):
    """The file was written by a newer Traindeck."""


class Database:
    """An open file.

    Args:
        path: The file. It is created, and filled by `build`, if it is not there.
        build: Fills a new, empty database before anybody else sees it.
        tell: Takes one line about what was healed or is waited for.
        wait: Seconds to wait for another process's transaction.
        copy: If the file cannot be written, go on with a copy in memory, and say so.
        memory: Instead of the file, which is left alone: a database in memory.

    Raises:
        StoreError: See `Index.open`.
    """

    def __init__(
        self,
        path: Path,
        *,
        build: Callable[[Database], None] | None,
        tell: Callable[[str], None],
        wait: float,
        copy: bool = False,
        memory: Connection | None = None,
    ) -> None:
        self.path = path
        self.generation = 0
        """Grows when the file was replaced: row numbers from before mean no run then."""
        self._build = build
        self._tell = tell
        self._wait = wait
        self._may_copy = copy
        self._copied = memory is not None
        self._told = False
        self._return_at = math.inf
        self._guard = threading.RLock()
        self._log_pages = 0
        self._connection = memory
        self._inode = (0, 0)
        self._closed = False
        self._attempt(lambda db: None)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent state of the file.

        `work` may be run twice: again on the rebuilt file after damage. Nothing lazy may leave it.
        """
        return self._attempt(work, "BEGIN")

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own that nobody else writes beside. May be run twice,
        as in `read`; whatever it raises rolls everything back."""
        return self._attempt(work, "BEGIN IMMEDIATE")

    def replace(self, reason: str = "") -> None:
        """Build the file anew and put it in the place of the present one."""
        with self._guard, self._exclusive():
            self._put_in_place(reason)
            self._connect()

    def carry_over_apart(self) -> None:
        """From now on what is written goes into the file itself when `carry_over` is called, and
        not with whichever transaction fills the log: that would take a tenth of a second."""
        with self._guard:
            self._log_pages = MOST_LOG_PAGES
            if self._connection is not None:
                _let_grow(self._connection, self._log_pages)

    def carry_over(self) -> None:
        """Bring what the log holds into the file, beside whoever reads and writes. Of any thread;
        what cannot be done is left to the next time."""
        with contextlib.suppress(OSError, sqlite3.Error):
            if self._copied or _beside(self.path, "-wal").stat().st_size < LOG_BYTES:
                return
            with contextlib.closing(_connect(self.path, 0)) as db:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        with self._guard:
            self._closed = True
            self._disconnect()

    # ------------------------------------------------------------------------------ transactions

    def _attempt(self, work: Callable[[Connection], T], begin: str = "") -> T:
        with self._guard:
            if self._closed:
                raise RuntimeError("the index is closed")
            try:
                return self._healing(work, begin)
            except Exception as error:
                if not self._may_copy or self._copied or not _is_unwritable(error):
                    raise
                self._leave(error)
            return self._healing(work, begin)

    def _healing(self, work: Callable[[Connection], T], begin: str) -> T:
        for again in (True, False):
            try:
                db = self._ready()
                if not begin:
                    return work(db)
                return _transaction(db, begin, work)
            except (Damaged, sqlite3.Error, UnicodeDecodeError) as error:
                if again and self._is_damage(error):
                    self._heal(str(error))
                    continue
                raise self._in_words(error) from error
            except Newer as error:
                raise self._in_words(error) from None
        raise AssertionError("unreachable")

    def _ready(self) -> Connection:
        if self._copied and time.monotonic() >= self._return_at:
            self._come_back()
        if self._connection is not None:
            if self._copied or _identity(self.path) == self._inode:
                return self._connection
            self._disconnect()
        if self._copied:
            self._take_copy(_identity(self.path) == (0, 0))
        else:
            self._open()
        assert self._connection is not None
        return self._connection

    # ----------------------------------------------------------------------------------- opening

    def _open(self) -> None:
        make_folder(self.path.parent)
        with self._shared():
            if _identity(self.path) != (0, 0):
                self._connect()
                return
        with self._exclusive():
            if _identity(self.path) == (0, 0):
                self._put_in_place("")
            self._connect()

    def _connect(self) -> None:
        self._disconnect()
        self._copied = False
        self._inode = _identity(self.path)
        self._connection = db = _connect(self.path, self._wait)
        if self._log_pages:
            _let_grow(db, self._log_pages)
        self.generation += 1
        if _check_version(db) < schema.version():
            _transaction(db, "BEGIN IMMEDIATE", _upgrade)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    # -------------------------------------------------------------------------------------- copy

    def may_copy(self) -> None:
        """From now on a copy in memory does, as with `copy`."""
        self._may_copy = True

    def _leave(self, why: Unwritable) -> None:
        """Go on with a copy in memory: the file cannot be written."""
        self._disconnect()
        self._copied = True
        self._return_at = time.monotonic() + RETURN
        if not self._told:
            self._told = True
            self._tell(f"{why.what} What runs say now is shown and not kept there.")

    def _take_copy(self, anew: bool) -> None:
        """Have all of the file in memory, or, `anew`, what it would be rebuilt to."""
        from traindeck.console.store.errors import os_error

        db = _empty() if anew else _copy_of(self.path, self._wait)
        try:
            if anew or _check_version(db) < schema.version():
                _transaction(db, "BEGIN IMMEDIATE", _upgrade)
            _number_anew(db)
            if anew and self._build is not None:
                # An object of its own: whatever threads a rebuild has, none waits for our guard.
                self._build(
                    Database(self.path, build=None, tell=self._tell, wait=self._wait, memory=db)
                )
        except BaseException as error:
            db.close()
            if isinstance(error, OSError):
                raise os_error("build an index for", self.path.parent, error) from None
            raise
        self._connection = db
        self.generation += 1

    def _come_back(self) -> None:
        """Return to the file if it can be written again."""
        copy, self._connection = self._connection, None
        self._copied, generation = False, self.generation
        try:
            _transaction(self._ready(), "BEGIN IMMEDIATE", _touch)
        except Exception:
            self._disconnect()
            self._connection, self._copied, self.generation = copy, True, generation
            self._return_at = time.monotonic() + RETURN
        else:
            if copy is not None:
                copy.close()

    # ----------------------------------------------------------------------------------- healing

    def _is_damage(self, error: Exception) -> bool:
        # SQLite quotes the damaged schema in its message, which the module then cannot decode.
        if isinstance(error, (Damaged, UnicodeDecodeError)):
            return True
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            # Raised by the sqlite3 module itself, for text that is not UTF-8.
            return "decode" in str(error).lower()
        if code & 0xFF in (_CORRUPT, _NOTADB, _OVERFLOWS):
            return True
        if code & 0xFF in _OUTSIDE or self._connection is None:
            return False
        # Anything else (no such table, a constraint) should not happen: is it the file or we?
        try:
            found = self._connection.execute("SELECT sql FROM sqlite_master").fetchall()
            checked = self._connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        except sqlite3.Error:
            return True
        return bool(checked != "ok" or sorted(found, key=repr) != _expected())

    def _heal(self, why: str) -> None:
        """Replace the file this connection has open, unless somebody did already."""
        if self._copied:
            self._disconnect()
            self._take_copy(anew=True)
            return
        with self._exclusive():
            if _identity(self.path) == self._inode:
                self._put_in_place(why)
            self._connect()

    def _put_in_place(self, why: str) -> None:
        """Build a file beside the present one and rename it into place; the lock is held. A
        damaged one is kept under another name."""
        from traindeck.console.store.errors import os_error

        fresh = _beside(self.path, ".new")
        try:
            aside = ""
            if why and _identity(self.path) != (0, 0):
                aside = self._move_aside()
            _discard(fresh)
            os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            with contextlib.closing(_connect(fresh, self._wait)) as db:
                db.execute(f"PRAGMA page_size = {schema.PAGE}")
                db.execute("PRAGMA journal_mode = WAL").fetchall()
                _transaction(db, "BEGIN IMMEDIATE", _upgrade)
            if self._build is not None:
                filled = Database(fresh, build=None, tell=self._tell, wait=self._wait)
                try:
                    self._build(filled)
                finally:
                    filled.close()
            # The last connection leaves one file behind: its log is written back and removed.
            with contextlib.closing(_connect(fresh, self._wait)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            with open(fresh, "rb+") as file:
                os.fsync(file.fileno())
            # A log without its file is left when index.db alone was deleted by hand.
            self._disconnect()
            _beside(self.path, "-wal").unlink(missing_ok=True)
            _beside(self.path, "-shm").unlink(missing_ok=True)
            fresh.replace(self.path)
            if why:
                self._tell(f"the index was damaged ({why}); rebuilt, the old one is {aside}")
        except OSError as error:
            raise os_error("write the index", self.path, error) from None
        finally:
            with contextlib.suppress(OSError):  # on a full disk it would be in its own way
                _discard(fresh)

    def _move_aside(self) -> str:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        target = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        number = 2
        while target.exists():
            target = self.path.with_name(f"{self.path.name}.corrupt-{stamp}-{number}")
            number += 1
        for end in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                _beside(self.path, end).rename(_beside(target, end))
        self.path.rename(target)
        return target.name

    # ------------------------------------------------------------------------------------- locks

    @contextlib.contextmanager
    def _shared(self) -> Iterator[None]:
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        path = _beside(self.path, ".lock")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            from traindeck.console.store.errors import os_error

            raise os_error("write the index", self.path, error) from None
        try:
            began = time.monotonic()
            told = False
            while True:
                try:
                    fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    waited = time.monotonic() - began
                if waited > 1 and not told:
                    told = True
                    self._tell("waiting for another Traindeck that rebuilds the index")
                if waited > REBUILD_WAIT:
                    from traindeck.console.store.errors import StoreError

                    raise StoreError(
                        f"Another Traindeck has held {path} for {waited:.0f} s.",
                        "If none is running, delete that file.",
                    )
                time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)

    # ------------------------------------------------------------------------------------- words

    def _in_words(self, error: Exception) -> TraindeckError:
        from traindeck.console.store.errors import StoreError, Unwritable

        path = self.path
        if isinstance(error, Newer):
            return StoreError(
                f"The index {path} was written by a newer Traindeck ({error}).",
                "Upgrade this one, or give it a folder of its own with TRAINDECK_STATE_DIR.",
            )
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (_BUSY, _LOCKED):
            return StoreError(
                f"The index {path} has been locked by another process for {self._wait:g} s.",
                "Try again; if it stays so, look for a Traindeck that hangs.",
            )
        if code == _FULL or (code in (_IOERR, _CANTOPEN) and _is_full(path)):
            return Unwritable(
                f"The disk that holds the index {path} is full.",
                "Free some space there, or point TRAINDECK_STATE_DIR elsewhere.",
            )
        if code in (_READONLY, _CANTOPEN):
            return Unwritable(
                f"The index {path} cannot be written ({error}).",
                "Check who owns it and its folder, or point TRAINDECK_STATE_DIR elsewhere.",
            )
        return StoreError(
            f"The index {path} cannot be used ({error}).",
            "It may be deleted: it is rebuilt from the run directories.",
        )


def _connect(path: Path | str, wait: float) -> Connection:
    db = sqlite3.connect(
        path, timeout=wait, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        db.execute("PRAGMA mmap_size = 0")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute("PRAGMA trusted_schema = OFF")
    except BaseException:
        db.close()
        raise
    return db


def _let_grow(db: Connection, pages: int) -> None:
    db.execute(f"PRAGMA wal_autocheckpoint = {pages:d}").fetchall()


def _copy_of(path: Path, wait: float) -> Connection:
    """All that a file holds, in memory, read in the first way that works.

    The write-ahead log is read through a file of shared memory, which a full disk cannot hold and a
    folder mounted read-only does not get; alone with the database SQLite can do without it. Where
    not even a lock can be taken nobody writes either, and the file is taken as it lies there.
    """
    ways = (("mode=ro", "NORMAL"), ("mode=rw", "EXCLUSIVE"), ("immutable=1", "NORMAL"))
    for way, locking in ways:
        copy = _empty()
        try:
            uri = f"{path.absolute().as_uri()}?{way}"
            with contextlib.closing(
                sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None)
            ) as db:
                db.execute(f"PRAGMA locking_mode = {locking}")
                db.execute("SELECT count(*) FROM sqlite_master").fetchall()
                db.backup(copy, progress=_not_busy)  # by itself it would wait for ever
            return copy
        except sqlite3.Error as error:
            copy.close()
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if way == ways[-1][0] or code not in _OUTSIDE:
                raise
        except BaseException:
            copy.close()
            raise
    raise AssertionError("unreachable")


def _not_busy(status: int, remaining: int, total: int) -> None:
    if status in (_BUSY, _LOCKED):
        raise sqlite3.OperationalError("database is locked")


def _empty() -> Connection:
    return _connect(":memory:", 0)


def _touch(db: Connection) -> None:
    db.execute("UPDATE meta SET value = value + 1 WHERE key = 'clock'")


def _transaction(db: Connection, begin: str, work: Callable[[Connection], T]) -> T:
    db.execute(begin)
    try:
        if work is not _upgrade and _check_version(db) != schema.version():
            raise Damaged("its version went back")
        result = work(db)
        db.execute("COMMIT")
    except BaseException:
        # A full disk rolls back by itself; then there is nothing left to roll back.
        if db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        raise
    return result


def _check_version(db: Connection) -> int:
    """The file's version. The header and `meta` must agree: a header byte that was hit by damage
    must not pass for a newer version, which would be refused instead of healed."""
    header = int(db.execute("PRAGMA user_version").fetchone()[0])
    if header == schema.version():
        return header
    row = db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    if row is None or row[0] != header:
        raise Damaged(f"version {header} in the header, {row and row[0]} inside")
    if header > schema.version():
        raise Newer(f"version {header}, this one knows {schema.version()}")
    return header


def _upgrade(db: Connection) -> None:
    """Take the steps that are missing. Another process may have taken them meanwhile."""
    at = int(db.execute("PRAGMA user_version").fetchone()[0])
    for number in range(at, schema.version()):
        for statement in schema.STEPS[number].split(";\n"):
            if statement.strip():
                db.execute(statement)
    if at == 0:
        _number_anew(db)
    db.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (schema.version(),))
    db.execute(f"PRAGMA user_version = {schema.version()}")


def _number_anew(db: Connection) -> None:
    """Number the runs that are entered from now on as none was in any index before: a console that
    is open keeps numbers, of rows in sight and of marked runs, and an index that takes the place of
    another must not give them to other runs. They begin at the milliseconds since 2025, 65,536 for
    each: more than can be entered in one. (A clock set back meanwhile could repeat some.)"""
    begin = max(0, int((time.time() - 1_735_689_600) * 1000)) << 16
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'runs'")
    db.execute("INSERT INTO sqlite_sequence VALUES ('runs', ?)", (begin,))


def _expected() -> list[tuple[str | None]]:
    """The statements that a file of this version holds."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        _upgrade(db)
        return sorted(db.execute("SELECT sql FROM sqlite_master").fetchall(), key=repr)


def _discard(path: Path) -> None:
    """Remove a file of the database's with all that belongs to it."""
    for end in ("", "-wal", "-shm", ".lock"):
        _beside(path, end).unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int]:
    """Device and inode of a file that is there and not empty, else (0, 0)."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return (0, 0)
    except OSError as error:
        from traindeck.console.store.errors import os_error

        raise os_error("look at the index", path, error) from None
    return (found.st_dev, found.st_ino) if found.st_size else (0, 0)


def _is_unwritable(error: Exception) -> TypeGuard[Unwritable]:
    from traindeck.console.store.errors import Unwritable

    return isinstance(error, Unwritable)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _is_full(path: Path) -> bool:
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return False
    return found.f_bavail == 0 or (found.f_files > 0 and found.f_favail == 0)
