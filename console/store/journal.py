"""Submissions that are under way: one small file each, written before anything is sent.

A file says what is being sent and which process sends it. It is there from before the sending
until the job's native id stands in the annotations, so that a crash at any instant leaves either
nothing sent, or a file that leads to what was. Files are whole or absent, and on the disk (fsync)
when a method returns.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from traindeck.backends.data import dataclass
from traindeck.backends.encoding import encode
from traindeck.console.store.errors import StoreError, os_error
from traindeck.console.store.owner import Life, Owner, owner_from, this_process
from traindeck.console.store.places import make_folder

ABANDONED = 3600.0
"""Seconds after which a submission by a process that cannot be looked at (another machine) counts
as dead: sending takes seconds, at worst minutes."""

UNSENT = "unsent"

_TEMPORARY = re.compile(r"\.[0-9a-z]{12}\.\d{1,6}\.json\.\d+\.[0-9a-f]{8}")
_NAME = re.compile(r"([0-9a-hjkmnp-tv-z]{12})\.(\d{1,6})\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A submission that is under way.

    Attributes:
        phase: `submitting` (it may have been sent, or not), `submitted` (`native_id` is known),
            `unsent` (its process died before it was sent: the run ended here).
        spec: The encoding of the plan's RunSpec: enough to show the run before it exists.
        begun: When, in seconds since the epoch.
    """

    run_id: str = ""
    attempt: int = 0
    backend: str = ""
    plan_digest: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    phase: str = "submitting"
    native_id: str = ""
    begun: float = 0.0
    owner: Owner = field(default_factory=Owner)

    @property
    def orphaned(self) -> bool:
        """Whether the process that sends it is gone: somebody has to settle it."""
        if self.phase == UNSENT:
            return False
        life = self.owner.life()
        if life is Life.ELSEWHERE:
            return time.time() - self.begun > ABANDONED
        return life is Life.DEAD


class Journal:
    """The folder of submissions. It is made at the first `begin`.

    Settling is the caller's: ask the backend with `find`, note the answer in index and annotations,
    then `remove`. `claim` sees to it that only one process settles a submission at a time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(
        self,
        *,
        run_id: str,
        attempt: int,
        backend: str,
        plan_digest: str,
        spec: Mapping[str, Any],
    ) -> Submission:
        """Note that something is about to be sent. Call before sending.

        Raises:
            StoreError: This attempt is under way already; the file cannot be written.
        """
        submission = Submission(
            run_id=run_id,
            attempt=attempt,
            backend=backend,
            plan_digest=plan_digest,
            spec=spec,
            begun=time.time(),
            owner=this_process(),
        )
        make_folder(self.folder)
        path = self._path(submission)
        temporary = self._write(submission)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise StoreError(
                f"Attempt {attempt} of run {run_id} is being submitted already.",
                "Wait for it; if its process died, the next command settles it.",
            ) from None
        except OSError as error:
            raise os_error("write", path, error) from None
        finally:
            temporary.unlink(missing_ok=True)
        self._sync()
        return submission

    def submitted(self, submission: Submission, native_id: str) -> Submission:
        """Note what the place calls the job. Call as soon as it is known."""
        done = replace(submission, phase="submitted", native_id=native_id)
        self._replace(done)
        return done

    def unsent(self, submission: Submission) -> None:
        """Note that it was never sent. The entry stays: nothing else knows of the run."""
        self._replace(replace(submission, phase=UNSENT))

    def remove(self, submission: Submission) -> None:
        """It is settled: index and annotations know. Idempotent."""
        path = self._path(submission)
        try:
            path.unlink(missing_ok=True)
            if self.folder.is_dir():
                self._sync()
        except OSError as error:
            raise os_error("remove", path, error) from None

    def entries(self) -> list[Submission]:
        """All submissions, oldest first. Files that are not ours are left alone. One that cannot be
        read may still stand for a job: run id and attempt are its name, its backend is
        then ""."""
        try:
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise os_error("read", self.folder, error) from None
        found = (self._read(self.folder / name) for name in names if _NAME.fullmatch(name))
        return sorted((s for s in found if s is not None), key=lambda s: s.begun)

    def orphans(self) -> list[Submission]:
        """Those whose process is gone. Also removes what killed processes were still writing."""
        self._sweep()
        return [entry for entry in self.entries() if entry.orphaned]

    def claim(self, submission: Submission) -> Submission | None:
        """Become the owner of an orphan, to settle it. None if another process was faster, or if
        it is settled."""
        with self._locked():
            current = self._read(self._path(submission))
            if current is None or not current.orphaned:
                return None
            mine = replace(current, owner=this_process())
            self._replace(mine)
            return mine

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = make_folder(self.folder) / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise os_error("open", path, error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, submission: Submission) -> Path:
        return self.folder / f"{submission.run_id}.{submission.attempt}.json"

    def _write(self, submission: Submission) -> Path:
        path = self._path(submission)
        if not _NAME.fullmatch(path.name):
            raise ValueError(f"not a run id and attempt: {path.name}")
        temporary = self.folder / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}"
        data = json.dumps(encode(submission)).encode()
        try:
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
            try:
                with open(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise os_error("write", path, error) from None
        return temporary

    def _replace(self, submission: Submission) -> None:
        temporary = self._write(submission)
        try:
            temporary.rename(self._path(submission))
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise os_error("write", self._path(submission), error) from None
        self._sync()

    def _read(self, path: Path) -> Submission | None:
        named = _NAME.fullmatch(path.name)
        assert named is not None
        try:
            changed = path.stat().st_mtime
            data = json.loads(path.read_bytes())
            spec = data["spec"]
            return Submission(
                run_id=named[1],
                attempt=int(named[2]),
                backend=str(data["backend"]),
                plan_digest=str(data["plan_digest"]),
                spec=spec if isinstance(spec, dict) else {},
                phase=str(data["phase"]),
                native_id=str(data["native_id"]),
                begun=float(data["begun"]),
                owner=owner_from(data["owner"]),
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise os_error("read", path, error) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            return Submission(run_id=named[1], attempt=int(named[2]), begun=changed)

    def _sweep(self) -> None:
        with contextlib.suppress(OSError):  # what cannot be removed stays
            for name in os.listdir(self.folder):
                path = self.folder / name
                if _TEMPORARY.fullmatch(name) and time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink(missing_ok=True)

    def _sync(self) -> None:
        try:
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise os_error("write", self.folder, error) from None
