"""The run directory as its owner may see it, and secrets, which are nowhere in it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conformance.conftest import Suite

from traindeck.backends.base import BackendError, Blob, Files, JobRef, Plan, encode

SECRET = "hunter2-5e8f3c41-never-write-me-down"


def files_of(suite: Suite) -> Files:
    if not isinstance(suite.backend, Files):
        pytest.skip("no Files")
    return suite.backend


async def walk(files: Files, ref: JobRef, path: str = "") -> AsyncIterator[tuple[str, bytes]]:
    for entry in await files.list_files(ref, path):
        if entry.is_dir:
            async for found in walk(files, ref, entry.path):
                yield found
        else:
            data = b""
            while piece := await files.read_file(ref, entry.path, len(data), 1 << 20):
                data += piece
            yield entry.path, data


async def test_what_was_sent_lies_in_the_run_directory(suite: Suite) -> None:
    files = files_of(suite)
    data = os.urandom(100_000)
    blob = Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data), data=data)
    spec = suite.spec("out:x", files={"plan/deep/data.bin": blob})
    plan = await suite.plan(spec)
    ref = await suite.submit(plan)
    await suite.until(ref)
    found = {path: content async for path, content in walk(files, ref)}
    assert found["plan/deep/data.bin"] == data
    assert found["attempts/0/logs/0.log"] == b"x\n"
    assert json.loads(found["run.json"])["spec"] == encode(plan.spec)
    assert await files.read_file(ref, "plan/deep/data.bin", 10, 20) == data[10:30]
    assert await files.read_file(ref, "plan/deep/data.bin", len(data) + 5, 20) == b""


async def test_a_folder_that_was_sent_is_there_though_it_is_empty(suite: Suite) -> None:
    files = files_of(suite)
    empty = Blob(digest=hashlib.sha256(b"").hexdigest(), data=b"")
    ref = await suite.submit(await suite.plan(suite.spec("out:x", files={"code/a/out/": empty})))
    await suite.until(ref)
    (inner,) = await files.list_files(ref, "code/a")
    assert (inner.path, inner.is_dir) == ("code/a/out", True)
    assert await files.list_files(ref, "code/a/out") == []


async def test_a_file_that_changed_after_planning_is_not_sent(suite: Suite) -> None:
    path = suite.folder / "train.py"
    path.write_bytes(b"old")
    digest = hashlib.sha256(b"old").hexdigest()
    spec = suite.spec("out:x", files={"code/train.py": Blob(digest=digest, size=3, path=str(path))})
    plan = await suite.plan(spec)
    path.write_bytes(b"new")
    with pytest.raises(BackendError, match=r"train\.py"):
        await suite.backend.submit(plan)
    assert await suite.backend.find([(spec.run_id, 0)]) == []


@pytest.mark.parametrize(
    "path",
    ["../run.json", "/etc/passwd", "a/../../x", "no-such-file", "attempts/../../..", "x\x00y", "."],
)
async def test_no_path_leads_out_of_the_run_directory(suite: Suite, path: str) -> None:
    files = files_of(suite)
    ref = await suite.launch("out:x")
    await suite.until(ref)
    with pytest.raises(BackendError, match=r"\w+ \w+"):
        await files.read_file(ref, path, 0, 10)
    if path != ".":
        with pytest.raises(BackendError, match=r"\w+ \w+"):
            await files.list_files(ref, path)


async def test_files_of_no_run_are_refused_in_words(suite: Suite) -> None:
    files = files_of(suite)
    ref = await suite.launch("out:x")
    unknown = replace(ref, run_id="0" * 12)
    for call in (files.list_files(unknown), files.read_file(unknown, "run.json", 0, 1)):
        with pytest.raises(BackendError, match=r"\w+ \w+"):
            await call
    assert await files.remove(unknown) == 0  # what is not there is removed


async def test_a_run_is_removed_only_when_it_is_over(suite: Suite) -> None:
    files = files_of(suite)
    ref = await suite.launch("out:up", "hold")
    await suite.said(ref, "up")
    with pytest.raises(BackendError, match=r"\w+ \w+"):
        await files.remove(ref)
    assert await suite.log(ref, follow=False) == b"up\n"
    await suite.backend.cancel(ref, grace=0.1)
    await suite.until(ref)
    assert await files.remove(ref) > 0
    assert await suite.backend.find([(ref.run_id, 0)]) == []
    with pytest.raises(BackendError):
        await files.list_files(ref)


async def test_removing_can_spare_a_folder(suite: Suite) -> None:
    files = files_of(suite)
    data = b"weights"
    blob = Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data), data=data)
    spec = suite.spec("out:x", files={"artifacts/model.bin": blob})
    ref = await suite.submit(await suite.plan(spec))
    await suite.until(ref)
    assert await files.remove(ref, keep=("artifacts",)) > 0
    found = {path: content async for path, content in walk(files, ref)}
    assert found["artifacts/model.bin"] == data
    assert not any("/logs/" in path or path.startswith("plan/") for path in found)
    assert await suite.backend.find([(ref.run_id, 0)]) == []


async def test_a_secret_reaches_the_job_and_is_written_nowhere(suite: Suite) -> None:
    spec = suite.spec("sha:API_TOKEN", "out:up", "hold", secrets=("API_TOKEN",))
    plan = await suite.plan(spec)
    ref = await suite.submit(plan, {"API_TOKEN": SECRET})
    await suite.said(ref, "up")
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert (await suite.log(ref, follow=False)).startswith(digest.encode())
    await nowhere(suite, plan, ref, keeps=suite.subject.keeps)  # while it runs
    if suite.subject.here:
        mine = Path(f"/proc/{os.getpid()}/cmdline")
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert command == mine or SECRET.encode() not in command.read_bytes(), command
            except OSError:
                continue
    await suite.backend.cancel(ref, grace=0.1)
    await suite.until(ref)
    await nowhere(suite, plan, ref)  # and after


async def nowhere(suite: Suite, plan: Plan, ref: JobRef, *, keeps: str = "") -> None:
    """The secret's value is in nothing that can be read of a run, but for the file in which the
    place `keeps` it for starting the run again: the plan says so, and no backend hands it out."""
    if keeps:
        assert "file" in plan.bound_late["secrets"]
    status = await suite.status(ref)
    assert SECRET not in json.dumps([encode(plan), encode(ref), encode(status)])
    assert SECRET not in repr((plan, ref, status, suite.backend))
    if isinstance(suite.backend, Files):
        async for path, data in walk(suite.backend, ref):
            assert SECRET.encode() not in data, path
    for folder in suite.subject.folders:
        for path in folder.rglob("*"):
            if path.is_file() and path.name == keeps and path.parent.name == ref.run_id:
                assert path.stat().st_mode & 0o777 == 0o600
            elif path.is_file():
                assert SECRET.encode() not in path.read_bytes(), path
