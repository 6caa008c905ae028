"""Traindeck is upgraded and the disk of the runs is full: the new agent cannot be put there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.disks import fill_disk

from traindeck.backends.base import BackendError, JobRef, Plan, RunSpec, State
from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.payload import build
from traindeck.backends.process import ProcessBackend


async def plan(backend: ProcessBackend, run_id: str, *argv: str) -> Plan:
    spec = RunSpec(run_id=run_id, name="x", argv=argv, cwd="/", created=1.0)
    return backend.plan(spec, await backend.survey(spec))


async def until(backend: ProcessBackend, ref: JobRef, state: State) -> None:
    async with asyncio.timeout(30):
        while (await backend.poll([ref]))[ref].state is not state:
            await asyncio.sleep(0.05)


@pytest.mark.fault
async def test_what_runs_can_be_seen_and_stopped_by_the_agent_that_is_there(
    disk: Path, upgrade: Callable[[], None]
) -> None:
    root = str(disk / "root")
    before = ProcessBackend("local", LocalHost(root))
    ref = await before.submit(await plan(before, "0" * 12, "sh", "-c", "echo up; sleep 300"))
    await until(before, ref, State.RUNNING)
    old = build.agent_name()
    await before.aclose()

    upgrade()
    filler = fill_disk(disk / "root")
    # What was never ours is not run, be it the newest.
    (disk / "root/bin" / f"agent-{'0' * 16}.py").symlink_to("/dev/stdin")
    after = ProcessBackend("local", LocalHost(root))
    try:
        assert old[6:22] in (await after.probe()).version
        async with after.logs(ref, follow=False) as chunks:
            assert b"".join([chunk.data async for chunk in chunks]) == b"up\n"
        made = await plan(after, "1" * 12, "true")
        with pytest.raises(BackendError, match="No space left"):
            await after.submit(made)
        assert [ref.run_id for ref in await after.find()] == [ref.run_id]
        await after.cancel(ref)
        await until(after, ref, State.CANCELLED)

        # There is room again: the same connection starts runs, by the new agent.
        filler.unlink()
        fresh = await after.submit(await plan(after, "1" * 12, "true"))
        await until(after, fresh, State.SUCCEEDED)
        assert build.agent_version() in (await after.probe()).version
    finally:
        await after.aclose()


@pytest.mark.fault
async def test_where_no_agent_is_the_full_disk_is_said(disk: Path) -> None:
    (disk / "root/bin").mkdir(parents=True)
    (disk / "root/bin" / f"agent-{'0' * 16}.py").write_text("print('not ours')\n")
    fill_disk(disk)
    backend = ProcessBackend("local", LocalHost(str(disk / "root")))
    with pytest.raises(BackendError, match="No space left"):
        await backend.find()
    await backend.aclose()
