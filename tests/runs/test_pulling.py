"""Files of a run come here once, whole, and nowhere but into the folder that was named."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.subject import Subject, process

from traindeck.backends.base import FileEntry, FilePiece, JobRef, RunSpec, Wanted
from traindeck.backends.errors import TraindeckError, Unreachable, UsageError
from traindeck.console.runs import pulling
from traindeck.console.runs.capture import capture
from traindeck.console.runs.landing import Landing, Refused, parts_of
from traindeck.console.runs.pulling import Progress, Pulled, folder_for, pull
from traindeck.console.runs.workspace import Workspace, open_workspace
from traindeck.console.store.records import RunRecord

LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"


def minted() -> str:
    """Another id for each test: the locks of runs are this machine's."""
    return "".join(secrets.choice(LETTERS) for _ in range(12))


class World:
    """A place with one run that is over, and the console's workspace."""

    def __init__(self, subject: Subject, ws: Workspace, folder: Path, run_id: str) -> None:
        self.subject = subject
        self.ws = ws
        self.to = folder / "here"
        self.there = folder / "root" / "runs" / run_id
        self.run = RunRecord(id=run_id, name="calm-fox", backend="local", state="succeeded")

    def make(self, path: str, data: bytes, mode: int = 0o600) -> Path:
        """A file of the run."""
        file = self.there / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        file.chmod(mode)
        return file

    async def pull(self, *paths: str, **more: Any) -> dict[str, Pulled]:
        found = await pull(self.ws, self.run, paths, self.to, **more)
        return {one.path: one for one in found}

    def states(self, found: dict[str, Pulled]) -> dict[str, str]:
        return {path: one.state for path, one in found.items()}


@pytest.fixture
async def world(home: Path, tmp_path: Path) -> AsyncIterator[World]:
    subject = process(tmp_path)
    ws = open_workspace()
    backend = subject.make()
    ws.use_backend(backend)
    run_id = minted()
    spec = RunSpec(run_id=run_id, argv=("true",), cwd="/", created=1.0)
    ref = await backend.submit(backend.plan(spec, await backend.survey(spec)))
    while not (await backend.poll([ref]))[ref].state.terminal:
        await asyncio.sleep(0.02)
    yield World(subject, ws, tmp_path, run_id)
    await ws.aclose()
    assert subject.close is not None
    await subject.close()


async def test_what_a_run_made_comes_with_its_paths_and_safe_modes(world: World) -> None:
    world.make("artifacts/a/deep/model.bin", b"weights" * 100_000, 0o644)
    world.make("artifacts/run.sh", b"#!/bin/sh\n", 0o4777)
    world.make("artifacts/empty", b"")
    (world.there / "artifacts" / "nothing").mkdir()
    found = await world.pull()
    assert world.states(found) == {
        "artifacts/a/deep/model.bin": "written",
        "artifacts/empty": "written",
        "artifacts/run.sh": "written",
    }
    here = world.to / "artifacts"
    assert (here / "a/deep/model.bin").read_bytes() == b"weights" * 100_000
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in world.to.rglob("*")}
    assert modes.pop(here / "run.sh") == 0o700
    assert {mode for p, mode in modes.items() if p.is_dir()} == {0o700}
    assert {mode for p, mode in modes.items() if p.is_file()} == {0o600}
    assert (here / "nothing").is_dir()


async def test_what_is_here_already_does_not_come_again(world: World) -> None:
    file = world.make("artifacts/x", b"one")
    world.make("artifacts/y", b"two")
    await world.pull()
    file.write_bytes(b"three")
    assert world.states(await world.pull()) == {"artifacts/x": "written", "artifacts/y": "same"}
    assert (world.to / "artifacts/x").read_bytes() == b"three"


async def test_files_and_folders_are_named_by_their_paths(world: World) -> None:
    world.make("artifacts/a/1", b"1")
    world.make("artifacts/b/2", b"2")
    assert list(await world.pull("artifacts/a/", "./run.json")) == ["artifacts/a/1", "run.json"]
    assert "artifacts/b/2" in await world.pull(".")
    for path in ("../x", "/etc/passwd", "a/../../x"):
        with pytest.raises(UsageError, match="does not lie in the run's directory"):
            await world.pull(path)
    with pytest.raises(TraindeckError, match="no-such-file"):
        await world.pull("no-such-file")


async def test_a_run_that_made_nothing_says_so_and_how_to_have_the_rest(world: World) -> None:
    with pytest.raises(UsageError, match=f"artifacts.*traindeck pull {world.run.id} "):
        await world.pull()


async def test_links_and_pipes_are_left_out_by_name(world: World) -> None:
    world.make("artifacts/x", b"1")
    (world.there / "artifacts/link").symlink_to("/etc/passwd")
    os.mkfifo(world.there / "artifacts/pipe")
    found = await world.pull()
    assert world.states(found) == {
        "artifacts/link": "skipped", "artifacts/pipe": "skipped", "artifacts/x": "written"
    }  # fmt: skip
    assert not os.path.lexists(world.to / "artifacts/link")


async def test_nothing_is_written_through_a_link_that_lies_here(world: World) -> None:
    world.make("artifacts/sub/x", b"1")
    world.make("artifacts/y", b"2")
    elsewhere = world.to.parent / "elsewhere"
    elsewhere.mkdir()
    (world.to / "artifacts").mkdir(parents=True)
    (world.to / "artifacts/sub").symlink_to(elsewhere)
    (world.to / "artifacts/y").symlink_to(elsewhere / "y")
    found = await world.pull()
    assert "link is not followed" in found["artifacts/sub/x"].error
    assert list(elsewhere.iterdir()) == []
    # The link itself is replaced, as by any program that writes a file as a whole.
    assert found["artifacts/y"].state == "written"
    assert not (world.to / "artifacts/y").is_symlink()


async def test_a_folder_that_cannot_be_written_or_is_too_small_is_refused_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.make("artifacts/x", b"1" * 1000)
    world.to.write_bytes(b"a file")
    with pytest.raises(UsageError, match=r"cannot be written to.*--to"):
        await world.pull()
    world.to.unlink()
    monkeypatch.setattr(Landing, "free_bytes", lambda self: pulling.SPARE + 10)
    with pytest.raises(UsageError, match=r"do not fit in .*here.*free"):
        await world.pull()
    assert list(world.to.rglob("*x")) == []


async def test_a_cut_goes_on_at_the_byte_and_says_why_it_waits(world: World) -> None:
    data = os.urandom(30_000_000)
    world.make("artifacts/big", data)
    for number in range(20):
        world.make(f"artifacts/small-{number}", b"%d" % number)
    cuts, waits = [], []
    came = 0

    def tell(at: Progress) -> None:
        nonlocal came
        assert at.done >= came, "nothing is counted twice"
        came = at.done
        if at.waiting:
            waits.append(at.waiting)
            assert world.subject.restore is not None
            world.subject.restore()
        elif at.done > (len(cuts) + 1) * 8_000_000:
            cuts.append(at.done)
            assert world.subject.cut is not None
            world.subject.cut()

    found = await world.pull(tell=tell)
    assert len(cuts) == 3 and len(waits) >= 3
    assert set(world.states(found).values()) == {"written"}
    assert (world.to / "artifacts/big").read_bytes() == data
    assert not list(world.to.rglob("*.part"))


async def test_who_interrupts_it_goes_on_there_the_next_time(world: World) -> None:
    data = os.urandom(20_000_000)
    world.make("artifacts/big", data)
    loop = asyncio.get_running_loop()
    task: asyncio.Task[Any]

    def interrupt(at: Progress) -> None:
        if at.done > 5_000_000:
            loop.call_soon(task.cancel)

    task = asyncio.create_task(world.pull(tell=interrupt))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (world.to / "artifacts/big").exists()
    first: list[Progress] = []
    await world.pull(tell=first.append)
    assert first[0].before > 5_000_000
    assert (world.to / "artifacts/big").read_bytes() == data


async def test_a_file_that_changed_between_comes_whole_and_new(world: World) -> None:
    file = world.make("artifacts/big", b"a" * 20_000_000)
    changed = False

    def tell(at: Progress) -> None:
        nonlocal changed
        assert world.subject.cut is not None and world.subject.restore is not None
        if at.waiting:
            file.write_bytes(b"b" * 10_000_000)
            world.subject.restore()
        elif at.done > 5_000_000 and not changed:
            changed = True
            world.subject.cut()

    found = await world.pull(tell=tell)
    assert changed and found["artifacts/big"].size == 10_000_000
    assert (world.to / "artifacts/big").read_bytes() == b"b" * 10_000_000


async def test_a_place_that_stays_away_is_given_up_in_words(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.make("artifacts/big", b"a" * 20_000_000)
    monkeypatch.setattr(pulling, "PATIENCE", 0.0)

    def tell(at: Progress) -> None:
        if at.done > 5_000_000 and world.subject.cut is not None:
            world.subject.cut()

    with pytest.raises(Unreachable, match="goes on where it was"):
        await world.pull(tell=tell)


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a//b", "a/./b", "", "a/..", "x\0y", "a/" + "n" * 300]
)
def test_a_name_that_leads_out_is_none(path: str) -> None:
    with pytest.raises(Refused):
        parts_of(path)


class Hostile:
    """A place that names what it likes."""

    name = "evil"

    def __init__(self, *paths: str) -> None:
        self._paths = paths

    async def list_below(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        return [FileEntry(path=path, size=4, modified=1.0) for path in self._paths]

    async def list_files(self, ref: JobRef, path: str = "") -> list[FileEntry]:
        return []

    async def read_file(self, ref: JobRef, path: str, offset: int, size: int) -> bytes:
        return b""

    async def remove(self, ref: JobRef, *, keep: Sequence[str] = ()) -> int:
        return 0

    async def aclose(self) -> None:
        pass

    @asynccontextmanager
    async def fetch(
        self, ref: JobRef, wanted: Sequence[Wanted]
    ) -> AsyncIterator[AsyncIterator[FilePiece]]:
        async def pieces() -> AsyncIterator[FilePiece]:
            for file in wanted:
                if file.path != "far":
                    yield FilePiece(path=file.path, data=b"evil", size=4, modified=1.0, end=True)
            yield FilePiece(path="/etc/never", data=b"evil", size=4, end=True)
            yield FilePiece(path="far", offset=1 << 50, data=b"evil", size=1 << 60, end=True)

        yield pieces()


async def test_no_name_that_a_place_gives_leads_out_of_the_folder(world: World) -> None:
    before = {path for path in world.to.parent.rglob("*") if "root" not in path.parts}
    place = Hostile("../up", "/etc/x", "a/../../y", "good", "a\x1b[2Jb", "good/below", "far")
    world.ws.use_backend(place)  # type: ignore[arg-type]
    run = RunRecord(id=minted(), name="x", backend="evil", state="succeeded")
    found = {one.path: one for one in await pull(world.ws, run, ["."], world.to)}
    assert {path for path, one in found.items() if one.state == "written"} == {"good", "a\x1b[2Jb"}
    after = {path for path in world.to.parent.rglob("*") if "root" not in path.parts}
    assert {path.name for path in after - before} == {"here", "good", "a\x1b[2Jb"}


async def test_what_was_pulled_into_a_folder_of_its_own_is_no_code_of_the_next_run(
    world: World,
) -> None:
    project = world.to.parent / "project"
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    (project / "train.py").write_text("print()\n")
    world.make("artifacts/model.bin", b"weights")
    world.to = folder_for(world.run, project)
    await world.pull()
    code = (await asyncio.to_thread(capture, str(project), "snapshot", None)).code
    assert code.untracked == ("train.py",)
    world.to = project / "wanted"  # a folder that somebody named is theirs
    await world.pull()
    assert not (world.to / ".gitignore").exists()


def test_a_folder_of_its_own_is_named_after_the_run() -> None:
    run = RunRecord(id="0123456789ab", name="../big run", backend="x", state="succeeded")
    assert folder_for(run, Path("/w")) == Path("/w/big-run-01234567")
