"""What looks leave is read on: to the end, by one process, whoever asks and whoever does not."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.payload.harness import until

from traindeck.backends.base import State
from traindeck.console.runs import controlling, launching, reading_on
from traindeck.console.runs.measuring import complete
from traindeck.console.runs.rebuild import rebuild_index
from traindeck.console.runs.refreshing import refresh
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.workspace import Workspace, open_workspace
from traindeck.console.store.records import RunRecord

STEPS = 60_000
TALKS = f"""
for n in range({STEPS}):
    print(f"step {{n}}/{STEPS} loss {{3 - n / {STEPS}:.6f}} " + "x" * 90)
"""
WRITES = f"""
import json, os
with open(os.environ["TRAINDECK_METRICS"], "w") as file:
    for n in range({STEPS}):
        print(json.dumps({{"step": n, "loss": 3 - n / {STEPS}, "text": "x" * 60}}), file=file)
"""


@pytest.fixture
async def ws(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Workspace]:
    monkeypatch.chdir(home)
    async with open_workspace() as made:
        made.patience = 0.0
        yield made


async def ended(ws: Workspace, script: str) -> RunRecord:
    """A run that is over, of which the look that saw its end has read a part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_on, "read_on", lambda ws: None)
        request = LaunchRequest(argv=(sys.executable, "-c", script), cwd=os.getcwd())
        run = await launching.launch(ws, await launching.plan(ws, request))
        (run,) = await controlling.wait(ws, [run.id])
    assert run.state is State.SUCCEEDED
    assert {path for _, path, _ in ws.index.unread()}, "the test's files are too small"
    return run


def count(ws: Workspace, run: RunRecord) -> int:
    return len(ws.index.points(run.id, "loss").steps)


@pytest.mark.parametrize("script", [TALKS, WRITES])
async def test_a_run_that_ended_is_measured_to_its_end_though_nobody_asks(
    ws: Workspace, script: str
) -> None:
    run = await ended(ws, script)
    assert count(ws, run) < STEPS
    await refresh(ws)  # as the next command does
    end = time.monotonic() + 60
    while ws.index.unread():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    found = ws.index.get(run.id)
    assert found is not None and count(ws, run) == STEPS
    assert found.metrics["loss"].last == pytest.approx(2, abs=1e-3)
    assert not found.progress.partial
    if script is TALKS:
        assert (found.progress.step, found.progress.total) == (STEPS - 1, STEPS)


async def test_one_reads_at_a_time_and_what_cannot_be_read_is_tried_once(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ended(ws, TALKS)
    ran = Path("ran")
    code = f"open({str(ran.absolute())!r}, 'a').write('x')"
    monkeypatch.setattr(reading_on, "COMMAND", (sys.executable, "-c", code))
    with reading_on._reading(ws.places.index) as mine:
        assert mine
        reading_on.read_on(ws)
        assert not reading_on._started, "somebody reads already"
    for _ in range(5):
        reading_on.read_on(ws)
        until(lambda: all(reader.poll() is not None for reader in reading_on._started))
    assert ran.read_text() == "x"
    async with open_workspace() as other:  # another command may try again
        reading_on.read_on(other)
        until(lambda: ran.read_text() == "xx")


async def test_of_several_who_read_one_run_each_has_all_of_it(ws: Workspace) -> None:
    run = await ended(ws, WRITES)

    def one() -> int:
        async def work() -> int:
            async with open_workspace() as mine:
                await complete(mine, run)
                return count(mine, run)

        return asyncio.run(work())

    with ThreadPoolExecutor(max_workers=4) as pool:
        found = list(await asyncio.gather(*(asyncio.wrap_future(pool.submit(one)) for _ in "abcd")))
    assert found == [STEPS] * 4


async def test_an_index_that_is_made_anew_has_all_there_was(ws: Workspace) -> None:
    run = await ended(ws, TALKS)
    await complete(ws, run)
    before = ws.index.get(run.id)
    rebuild_index(ws)
    await reading_on.read_all(ws)
    after = ws.index.get(run.id)
    assert before is not None and after is not None
    assert after.metrics["loss"] == before.metrics["loss"]
    assert after.progress.step == before.progress.step == STEPS - 1


async def test_an_index_that_is_made_anew_leaves_nothing_open(ws: Workspace) -> None:
    run = await ended(ws, TALKS)
    for _ in range(3):
        rebuild_index(ws)
    until(lambda: not _open_in(run))


def _open_in(run: RunRecord) -> list[str]:
    """Files of a run that this process has open."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [link for link in links if run.id in link]


async def test_a_run_that_somebody_has_opened_is_read_by_a_process(ws: Workspace) -> None:
    run = await ended(ws, TALKS)
    await reading_on.read_run(ws, run.id)
    assert count(ws, run) == STEPS
    await reading_on.read_run(ws, run.id)  # nothing is left: no process
