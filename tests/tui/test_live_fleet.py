"""What the Fleet is told over the real services: by the real agent, on a library that stands in for
a driver's, on the loop that answers keys."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.services import free_port
from tests.services.nvml import GB, Nvml, Proc, h100

from traindeck.console.runs.fleet import PlaceDevices
from traindeck.console.runs.placing import add_backend
from traindeck.console.runs.workspace import open_workspace
from traindeck.console.tui.live import LiveServices
from traindeck.console.tui.services import FleetNews

EVERY = 0.1
PATIENCE = 60.0


@pytest.fixture
def nvml(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nvml:
    """Two devices, the second one busy with this test."""
    folder = tmp_path / "nvml"
    folder.mkdir()
    mine = Proc(pid=os.getpid(), memory=12 * GB, sm=50)
    found = Nvml(
        folder, h100(2).card(1, utilization_gpu=50, memory_used=13 * GB, processes=(mine,))
    )
    for name, value in found.environ().items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def services(nvml: Nvml) -> Iterator[LiveServices]:
    made = LiveServices(open_workspace)
    yield made
    made.close()


class Told:
    """What was told, and on which threads."""

    def __init__(self) -> None:
        self.places: dict[str, PlaceDevices] = {}
        self.threads: set[int] = set()
        self.news = asyncio.Event()

    def hear(self, news: FleetNews) -> None:
        self.threads.add(threading.get_ident())
        self.places |= {place.name: place for place in news.places}
        for name in news.gone:
            self.places.pop(name, None)
        self.news.set()

    async def until(self, wanted: Callable[[PlaceDevices], bool]) -> PlaceDevices:
        """Wait for a state of this machine."""
        async with asyncio.timeout(PATIENCE):
            while not (here := self.places.get("local")) or not wanted(here):
                self.news.clear()
                await self.news.wait()
            return here


async def test_the_screen_is_told_on_its_own_loop_until_it_asks_no_more(
    services: LiveServices, nvml: Nvml
) -> None:
    told = Told()
    watch = asyncio.create_task(services.watch_fleet(EVERY, told.hear))
    here = await told.until(lambda place: len(place.devices) == 2)
    assert [len(device.processes) for device in here.devices] == [0, 1]
    nvml.show(nvml.state.card(0, utilization_gpu=77))
    here = await told.until(lambda place: place.devices[0].utilization_pct == 77)
    past = here.history[here.devices[0].uuid]
    assert past.utilization[-1] == 77
    assert told.threads == {threading.get_ident()}

    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    fleet = services._fleet
    assert fleet is not None
    async with asyncio.timeout(PATIENCE):
        while fleet._tasks:
            await asyncio.sleep(0.01)

    # Another time goes on with what is known, at once.
    again = Told()
    watch = asyncio.create_task(services.watch_fleet(EVERY, again.hear))
    here = await again.until(lambda place: True)
    assert here.devices[0].utilization_pct == 77
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def test_a_place_that_does_not_answer_says_why_and_holds_up_no_other(
    nvml: Nvml, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host far\n  HostName 127.0.0.1\n  Port {free_port()}\n")
    ws = open_workspace()
    add_backend(ws, "ssh", "far", {"ssh_config": str(config)})
    await ws.aclose()
    services = LiveServices(open_workspace)
    told = Told()
    watch = asyncio.create_task(services.watch_fleet(EVERY, told.hear))
    await told.until(lambda place: len(place.devices) == 2)
    async with asyncio.timeout(PATIENCE):
        while not told.places["far"].problem:
            told.news.clear()
            await told.news.wait()
    far = told.places["far"]
    assert far.report is None and "refuses the connection" in far.problem
    assert far.next_try is not None and not far.person
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    await services.aclose()
