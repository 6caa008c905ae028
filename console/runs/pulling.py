"""Bringing files of a run here, on request: what there is, what is here already, and the rest.

Two round trips for any number of files: one lists, one streams. A cut costs a third: it goes on at
the byte, also when it is another process that goes on.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from traindeck.backends.base import BackendError, Fetch, FileEntry, JobRef, Wanted
from traindeck.backends.data import dataclass
from traindeck.backends.errors import Unreachable, UsageError
from traindeck.console.runs.landing import Landing, Refused
from traindeck.console.runs.workspace import Workspace, ref_of
from traindeck.console.store.records import RunRecord

ARTIFACTS = "artifacts"
PATIENCE = 120.0
"""Seconds without a byte after which a link that is cut is given up."""
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between tries to reach the place again; the last one from then on."""
SPARE = 16 << 20
"""Bytes of a disk that are left free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What became of a file: `written`, `same` (it was here already), `skipped` (a link or a pipe)
    or `failed`; `error` says why."""

    path: str = ""
    size: int = 0
    state: str = "written"
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a pull is. `size` and `files` are what is to come in all; `done` counts the bytes of
    it that are here, those of earlier times (`before`) included; `waiting` is why nothing comes."""

    path: str = ""
    files: int = 0
    files_done: int = 0
    size: int = 0
    done: int = 0
    before: int = 0
    waiting: str = ""


Tell = Callable[[Progress], None]


async def pull(
    ws: Workspace,
    run: RunRecord,
    paths: Sequence[str],
    to: Path,
    *,
    tell: Tell = lambda progress: None,
) -> list[Pulled]:
    """Bring files and folders of a run into a folder, where they have the paths that they have in
    the run's directory. What is here already does not come again.

    Args:
        paths: Relative to the run's directory; what the run has made (`artifacts`) if there are
            none, everything for `.`.
        to: Made if need be. Nothing is written outside of it.
        tell: Called with how far it is, as often as bytes come.

    Raises:
        UsageError: No such file; the folder cannot be written, or has no room for it.
        BackendError: The place keeps no files or refuses, or the disk is full.
        Unreachable: The place was not there again in time; the next pull goes on from here.
    """
    backend = ws.backend(run.backend)
    if not isinstance(backend, Fetch):
        raise BackendError(f"{backend.name} keeps no files of its runs.")
    ref = ref_of(run)
    entries = await _listed(backend, ref, run, paths)
    ours = to == folder_for(run, to.parent) and not await asyncio.to_thread(to.exists)
    landing = await asyncio.to_thread(Landing, to, run.id)
    try:
        if ours:
            # It lies where the next run's code is taken from: weights are not to go along with it.
            await asyncio.to_thread(landing.hide)
        return await _Pull(backend, ref, landing, entries, tell).run()
    finally:
        await asyncio.to_thread(landing.close)


def folder_for(run: RunRecord, beside: Path) -> Path:
    """Where the files of a run go if nobody says: a folder with its name and the beginning of its
    id, which two runs of one name differ in."""
    name = re.sub(r"[^\w.-]+", "-", run.name).strip("-.")[:60]
    return beside / "-".join(filter(None, (name, run.id[:8])))


async def _listed(
    backend: Fetch, ref: JobRef, run: RunRecord, paths: Sequence[str]
) -> list[FileEntry]:
    """Everything below some paths, each once."""
    wanted = [_plain(path) for path in paths] or [ARTIFACTS]
    try:
        listings = await asyncio.gather(*(backend.list_below(ref, path) for path in wanted))
    except Unreachable:
        raise
    except BackendError:
        if paths or any(entry.path == ARTIFACTS for entry in await backend.list_files(ref)):
            raise
        listings = []
    found = {entry.path: entry for listing in listings for entry in listing}
    if not paths and all(entry.is_dir for entry in found.values()):
        raise UsageError(
            f"{run.name} has made nothing in its artifacts folder.",
            f"`traindeck pull {run.id} .` brings all that lies in its directory.",
        )
    return list(found.values())


def _plain(path: str) -> str:
    """A path that was typed, as the place takes it; `.` for the whole directory."""
    plain = posixpath.normpath(path) if path else "."
    if plain.startswith(("/", "../")) or plain == "..":
        raise UsageError(
            f"{path[:200]} does not lie in the run's directory.",
            "Paths are relative to it, as artifacts/model.bin.",
        )
    return plain


class _Pull:
    """One pull, from the listing to the last file."""

    def __init__(
        self,
        backend: Fetch,
        ref: JobRef,
        landing: Landing,
        entries: Sequence[FileEntry],
        tell: Tell,
    ) -> None:
        self._backend = backend
        self._ref = ref
        self._landing = landing
        self._tell = tell
        self._entries = {entry.path: entry for entry in entries}
        self._done: dict[str, Pulled] = {}
        self._bytes: dict[str, int] = {}
        self._sum = 0
        self._size = 0
        self._files = 0
        self._files_done = 0
        self._before = 0
        self._path = ""
        self._heard = time.monotonic()

    async def run(self) -> list[Pulled]:
        left = await asyncio.to_thread(self._begin)
        self._say()
        tries = 0
        self._heard = time.monotonic()
        while left:
            before = self._sum, len(self._done)
            try:
                await self._stream(left)
            except Unreachable as error:
                await asyncio.to_thread(self._landing.give_up)
                tries = 0 if (self._sum, len(self._done)) != before else tries + 1
                if time.monotonic() - self._heard > PATIENCE:
                    raise Unreachable(
                        f"{error.what} {len(left):,} files have not come.",
                        "Pull again when it is there: it goes on where it was.",
                    ) from None
                self._say(error.what)
                await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            left = [path for path in left if path not in self._done]
        return [self._done[path] for path in sorted(self._done)]

    def _begin(self) -> list[str]:
        """Make the folders, see what is here already and that the rest fits. What is to come."""
        left = []
        for path, entry in self._entries.items():
            if entry.is_dir:
                try:
                    self._landing.make_folder(path)
                except Refused as refused:
                    self._end(path, "failed", str(refused))
            elif entry.special:
                self._end(path, "skipped", "It is a link or no regular file.")
            elif self._landing.has(entry):
                self._end(path, "same")
            else:
                left.append(path)
                self._count(path, self._landing.arrived(entry))
        self._before = self._sum
        self._files = len(left)
        self._size = sum(self._entries[path].size for path in left)
        needed, free = self._size - self._before, self._landing.free_bytes()
        if needed > free - SPARE:
            raise UsageError(
                f"{needed / 1e9:.2f} GB do not fit in {self._landing.folder}, "
                f"which has {free / 1e9:.2f} GB free.",
                "Name fewer files, or choose another folder with --to.",
            )
        return left

    async def _stream(self, left: Sequence[str]) -> None:
        wanted = [
            Wanted(
                path=path, offset=self._bytes.get(path, 0), modified=self._entries[path].modified
            )
            for path in left
        ]
        async with self._backend.fetch(self._ref, wanted) as pieces:
            async for piece in pieces:
                path = self._path = piece.path
                self._heard = time.monotonic()
                if path in self._done or path not in self._entries:
                    continue  # refused here: the rest of it is not wanted any more
                if piece.error:
                    self._end(path, "failed", piece.error)
                    continue
                try:
                    whole = await asyncio.to_thread(
                        self._landing.take, piece, self._entries[path].mode
                    )
                except Refused as refused:
                    self._end(path, "failed", str(refused))
                    continue
                self._count(path, piece.offset + len(piece.data))
                if whole:
                    self._end(path, "written")
                self._say()
        missing = [path for path in left if path not in self._done]
        for path in missing:
            self._end(path, "failed", "It did not come.")

    def _count(self, path: str, arrived: int) -> None:
        self._sum += arrived - self._bytes.get(path, 0)
        self._bytes[path] = arrived

    def _end(self, path: str, state: str, error: str = "") -> None:
        size = self._bytes.get(path, self._entries[path].size)
        self._files_done += path in self._bytes
        self._done[path] = Pulled(path=path, size=size, state=state, error=error)

    def _say(self, waiting: str = "") -> None:
        self._tell(
            Progress(
                path=self._path,
                files=self._files,
                files_done=self._files_done,
                size=self._size,
                done=self._sum,
                before=self._before,
                waiting=waiting,
            )
        )
