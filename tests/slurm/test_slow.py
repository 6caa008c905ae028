"""Slurm that takes its time: what the run directories show does not wait for it, and it is not
asked again and again. The commands are the real ones, held back."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.services.slurm import Cluster
from tests.slurm.test_backend import PATIENCE, Lab

from traindeck.backends.base import JobRef, Reach, Resources, State, Status
from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.slurm import lists
from traindeck.backends.slurm.backend import SlurmBackend

HELD = """#!/bin/sh
echo x >> {folder}/asked.{name}
while [ -e {folder}/hold.{name} ]; do sleep 0.05; done
[ ! -e {folder}/fail.{name} ] || {{ echo '{name}: error: it is too busy' >&2; exit 1; }}
exec /usr/bin/{name} "$@"
"""


class Slow(Lab):
    """A backend whose squeue can be held back, and be made to fail."""

    def __init__(self, slurm: Cluster, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in ("squeue", "scontrol"):
            program = self.bin / name
            program.write_text(HELD.format(folder=folder, name=name))
            program.chmod(0o755)
        super().__init__(slurm, folder / "root")

    def another(self, **more: object) -> SlurmBackend:
        environ = {**self.slurm.env, "PATH": f"{self.bin}:{os.environ['PATH']}"}
        return SlurmBackend("lab", LocalHost(str(self.root), environ=environ))

    def hold(self, name: str = "squeue") -> None:
        (self.folder / f"hold.{name}").touch()

    def go_on(self, name: str = "squeue") -> None:
        (self.folder / f"hold.{name}").unlink(missing_ok=True)

    def asked(self, name: str = "squeue") -> int:
        path = self.folder / f"asked.{name}"
        return path.read_text().count("x") if path.exists() else 0

    async def all_of(self, *refs: JobRef) -> list[Status]:
        """One look at some."""
        found = await self.backend.poll(refs)
        return [found[ref] for ref in refs]


@pytest.fixture
async def slow(slurm: Cluster, tmp_path: Path) -> AsyncIterator[Slow]:
    made = Slow(slurm, tmp_path)
    yield made
    made.go_on()
    made.go_on("scontrol")
    slurm.run("scancel", "--user=root", check=False)
    await made.backend.aclose()


async def test_what_runs_is_seen_to_run_and_to_end_while_slurm_takes_its_time(slow: Slow) -> None:
    running = await slow.launch("out:up", "hold", resources=Resources(gpus=4))
    await slow.said(running, "up")
    until = 'until [ -e "$0" ]; do sleep 0.05; done; exit 3'
    ends = await slow.launch(argv=("sh", "-c", until, str(slow.folder / "end")))
    await slow.until(ends, State.RUNNING)
    waits = await slow.launch("out:x", resources=Resources(gpus=4, nodes=2))
    await slow.until(waits, State.QUEUED)
    slow.hold()
    (slow.folder / "end").touch()
    async with asyncio.timeout(PATIENCE):
        while (seen := await slow.all_of(running, ends, waits))[1].state is State.RUNNING:
            await asyncio.sleep(0.05)
    assert [status.state for status in seen] == [State.RUNNING, State.FAILED, State.QUEUED]
    assert [status.reach for status in seen] == [Reach.OK] * 3 and seen[1].exit_code == 3
    slow.backend._states._lists._clock = lambda: time.monotonic() + lists.KEPT
    seen = await slow.all_of(running, waits)
    assert [status.reach for status in seen] == [Reach.OK, Reach.STALE]
    assert "Slurm does not answer" in seen[1].reason
    # However often one looks, one question waits for its answer.
    before = slow.asked()
    for _ in range(5):
        await slow.all_of(running, waits)
    assert slow.asked() <= before + 1  # it may only just have begun
    slow.backend._states._lists._clock = time.monotonic
    slow.go_on()
    async with asyncio.timeout(PATIENCE):
        while (await slow.all_of(waits))[0].reach is not Reach.OK:
            await asyncio.sleep(0.05)
    assert "Slurm does not answer" not in (await slow.status(waits)).reason


async def test_a_job_that_is_younger_than_the_list_is_not_missing_from_it(slow: Slow) -> None:
    first = await slow.launch("out:up", "hold", resources=Resources(gpus=4, nodes=2))
    await slow.said(first, "up")
    slow.hold()
    await slow.status(first)
    slow.go_on()
    states = slow.backend._states._lists
    async with asyncio.timeout(PATIENCE):
        while states._last[1].jobs is None:
            await slow.status(first)
            await asyncio.sleep(0.05)
    states._beside, states._next = True, time.monotonic() + 1000  # it stays slow
    second = await slow.launch("out:x", resources=Resources(gpus=4, nodes=2))
    status = await slow.status(second)
    assert (status.state, status.reach) == (State.QUEUED, Reach.OK)


async def test_slurm_that_answers_with_errors_is_asked_less_and_less(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await slow.launch("out:up", "hold", resources=Resources(gpus=4))
    await slow.said(running, "up")
    waits = await slow.launch("out:x", resources=Resources(gpus=4, nodes=2))
    now = [time.monotonic()]
    slow.backend._states._lists._clock = lambda: now[0]
    (slow.folder / "fail.squeue").touch()
    asked = []
    for _ in range(60):  # a minute of looks, one a second
        before = slow.asked()
        status = await slow.status(waits)
        if (task := slow.backend._states._lists._task) is not None:
            await asyncio.wait({task})
        if slow.asked() > before:
            asked.append(now[0])
        now[0] += 1.0
    assert "it is too busy" in status.reason
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert len(asked) <= 10 and max(pauses) >= 0.75 * lists.LONGEST
    (slow.folder / "fail.squeue").unlink()
    now[0] += 2 * lists.LONGEST
    async with asyncio.timeout(PATIENCE):
        while (await slow.status(waits)).reach is not Reach.OK:
            await asyncio.sleep(0.05)
    before = slow.asked()
    await slow.status(waits)
    assert slow.asked() == before + 1  # as usual again: with each look


async def test_how_a_run_ended_is_waited_for_while_slurm_takes_its_time(slow: Slow) -> None:
    killed = await slow.launch("out:up", "hold")
    await slow.said(killed, "up")
    slow.hold("scontrol")
    slow.slurm.run("scancel", "--signal=KILL", "--full", killed.native_id)
    seen = await slow.until(killed, State.STOPPING)
    async with asyncio.timeout(PATIENCE):
        while "is being asked how" not in seen.reason:
            assert not seen.state.terminal
            seen = await slow.status(killed)
            await asyncio.sleep(0.05)
    slow.go_on("scontrol")
    assert (await slow.until(killed)).signal is not None  # as scontrol tells
