"""What a machine says of its NVIDIA devices, through the real agent and NVIDIA's own bindings, on a
library that stands in for the driver's (tests/standins/nvml)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.payload.harness import interpreters
from tests.services.nvml import GB, Nvml, Proc, State, a100_mig, gb10, h100, rtx4090

from traindeck.backends.base import Devices
from traindeck.backends.devices.readings import Device, DeviceReport
from traindeck.backends.hosts.local import LocalHost
from traindeck.backends.process import ProcessBackend

PATIENCE = 60.0
OLD, WIDE, NEW = "450", "535.54", "580"


class Machine:
    """This machine with the devices of a state file."""

    def __init__(
        self, folder: Path, state: State, driver: str = NEW, python: str | None = None
    ) -> None:
        self.nvml = Nvml(folder, state, driver)
        environ = {**os.environ, **self.nvml.environ(counted=True)}
        self.root = folder / "deck"
        host = LocalHost(str(self.root), environ=environ, python=python)
        self.backend = ProcessBackend("local", host, kind="local")

    @asynccontextmanager
    async def reports(
        self, every: float | None = 0.1
    ) -> AsyncIterator[AsyncIterator[DeviceReport]]:
        try:
            async with self.backend.devices(every) as reports:
                yield reports
        finally:
            await self.backend.aclose()

    async def once(self) -> DeviceReport:
        async with self.reports(None) as reports:
            return await anext(reports)

    def change(self, place: int, **changes: object) -> None:
        self.nvml.show(self.nvml.state.card(place, **changes))


async def until(
    reports: AsyncIterator[DeviceReport], wanted: Callable[[DeviceReport], bool]
) -> DeviceReport:
    """The first report that is as wanted."""
    async with asyncio.timeout(PATIENCE):
        async for report in reports:
            if wanted(report):
                return report
    raise AssertionError("the reports ended")


def pids(device: Device) -> dict[int, int | None]:
    return {process.pid: process.memory_bytes for process in device.processes}


@pytest.mark.parametrize("driver", ["450", "470", "510", "525", WIDE, "535", "550", "570", NEW])
async def test_what_a_driver_says_is_what_is_shown(tmp_path: Path, driver: str) -> None:
    state = h100(2)
    processes = (
        Proc(pid=os.getpid(), memory=20 * GB),
        Proc(pid=os.getppid(), memory=3 * GB),
        Proc(pid=1, memory=None),
    )
    state = state.card(
        1, processes=processes, memory_used=25 * GB, utilization_gpu=83, power=512_345,
        temperature=71, clock_sm=1755, reasons=0x4 | 0x20,
    )  # fmt: skip
    report = await Machine(tmp_path, state, driver).once()
    assert [one.uuid for one in report.devices] == [card.uuid for card in state.cards]
    assert [one.index for one in report.devices] == [0, 1]
    assert report.problems == {}
    device = report.devices[1]
    assert device.name == "NVIDIA H100 80GB HBM3"
    assert device.state == "ok"
    card = state.cards[1]
    assert device.memory_total_bytes == card.memory_total
    if int(driver[:3]) >= 510:
        assert (device.memory_kind, device.memory_used_bytes) == ("device", 25 * GB)
    else:  # what the driver keeps for itself counts as used there, and is said to
        assert device.memory_kind == "reserved"
        assert device.memory_used_bytes == 25 * GB + int(card.memory_reserved or 0)
    assert device.utilization_pct == 83
    assert device.power_w == 512.345
    assert device.power_limit_w == 700
    assert device.temperature_c == 71
    assert device.sm_clock_mhz == 1755
    assert device.throttle_reasons == ("power_cap", "sw_thermal")
    assert device.slowed == ("sw_thermal",)
    assert device.fan_pct is None
    assert device.missing["fan_pct"] == "not supported"
    assert pids(device) == {os.getpid(): 20 * GB, os.getppid(): 3 * GB, 1: None}
    assert report.devices[0].processes == ()


@pytest.mark.parametrize("version", interpreters())
async def test_any_python_there_can_read_them(tmp_path: Path, version: str) -> None:
    mine = Proc(pid=os.getpid(), memory=GB)
    state = h100(1).card(0, utilization_gpu=12, processes=(mine,))
    report = await Machine(tmp_path, state, python=interpreters()[version]).once()
    (device,) = report.devices
    assert (device.state, device.utilization_pct) == ("ok", 12)
    assert pids(device) == {os.getpid(): GB}


async def test_a_process_is_told_with_its_user_command_and_run(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", "--seed", "7"],
        env={**os.environ, "TRAINDECK_RUN": "01jabcdefgh2/1", "RANK": "3"},
    )
    try:
        await asyncio.sleep(0)
        gone = subprocess.Popen(["true"])
        gone.wait()
        processes = (Proc(pid=run.pid, memory=GB), Proc(pid=gone.pid, memory=GB))
        report = await Machine(tmp_path, h100(1).card(0, processes=processes)).once()
    finally:
        run.kill()
        run.wait()
    found = {one.pid: one for one in report.devices[0].processes}
    assert found[gone.pid].hidden == "gone"
    assert found[gone.pid].user is None
    mine = found[run.pid]
    assert mine.user == report.user != ""
    assert (mine.command or "").endswith("--seed 7")
    assert (mine.run, mine.attempt, mine.rank) == ("01jabcdefgh2", 1, 3)
    assert abs((mine.started or 0.0) - time.time()) < PATIENCE


async def test_slices_are_children_and_their_device_has_no_utilisation(tmp_path: Path) -> None:
    state = a100_mig()
    slices = state.cards[0].slices
    report = await Machine(tmp_path, state, "550").once()
    (device,) = report.devices
    assert device.mig_mode is True
    assert device.utilization_pct is None
    assert [one.uuid for one in device.mig] == [one.uuid for one in slices]
    assert [one.memory_total_bytes for one in device.mig] == [s.memory_total for s in slices]
    assert all(one.utilization_pct is None and one.power_w is None for one in device.mig)


async def test_memory_that_is_the_hosts_is_said_to_be_shared(tmp_path: Path) -> None:
    (device,) = (await Machine(tmp_path, gb10()).once()).devices
    total = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal:")
    )
    assert (device.memory_kind, device.memory_total_bytes) == ("shared", total)
    assert 0 < (device.memory_used_bytes or 0) < total
    assert device.power_limit_w is None


@pytest.mark.parametrize("error", ["NO_PERMISSION", "NOT_SUPPORTED", "TIMEOUT"])
async def test_one_thing_that_is_not_said_leaves_all_else(tmp_path: Path, error: str) -> None:
    state = h100(1).card(0, utilization_gpu=error, power=error, utilization_memory=error)
    (device,) = (await Machine(tmp_path, state).once()).devices
    assert device.state == "ok"
    assert device.utilization_pct is None and device.power_w is None
    assert device.missing["utilization_pct"] and device.missing["power_w"]
    assert device.temperature_c is not None


async def test_only_a_device_that_is_lost_is_lost_and_it_may_come_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path, h100(2))
    async with machine.reports() as reports:
        await until(reports, lambda r: len(r.devices) == 2)
        machine.change(0, lost=1)
        report = await until(reports, lambda r: r.devices[0].state == "lost")
        lost, other = report.devices
        assert other.state == "ok" and other.utilization_pct is not None
        # What it is stays known; what it does is not.
        assert lost.name == "NVIDIA H100 80GB HBM3" and lost.memory_total_bytes
        assert lost.utilization_pct is None and lost.memory_used_bytes is None
        assert "lost" in (lost.problem or "")
        machine.change(0, lost=None)
        back = await until(reports, lambda r: r.devices[0].state == "ok")
        assert back.devices[0].problem is None


async def test_a_device_whose_driver_hangs_holds_up_no_other(tmp_path: Path) -> None:
    machine = Machine(tmp_path, h100(3))
    async with machine.reports() as reports:
        await until(reports, lambda r: len(r.devices) == 3)
        machine.change(1, hang=1)
        report = await until(reports, lambda r: r.devices[1].state == "silent")
        assert "come back" in (report.devices[1].problem or "")
        machine.change(2, utilization_gpu=77)
        machine.change(0, utilization_gpu=66)
        await until(
            reports,
            lambda r: (r.devices[0].utilization_pct, r.devices[2].utilization_pct) == (66, 77),
        )
        machine.change(1, hang=None, utilization_gpu=55)
        await until(
            reports,
            lambda r: (r.devices[1].state, r.devices[1].utilization_pct) == ("ok", 55),
        )


async def test_what_begins_and_ends_on_a_device_is_seen(tmp_path: Path) -> None:
    machine = Machine(tmp_path, rtx4090(1))
    async with machine.reports() as reports:
        await until(reports, lambda r: bool(r.devices))
        machine.change(0, processes=(Proc(pid=os.getpid(), memory=GB),))
        await until(reports, lambda r: pids(r.devices[0]) == {os.getpid(): GB})
        machine.change(0, processes=())
        await until(reports, lambda r: not r.devices[0].processes)


async def test_a_refresh_asks_little(tmp_path: Path) -> None:
    """Eight devices with four processes each: at most 60 calls a second (nvitop makes 114)."""
    state = h100(8)
    mine = tuple(Proc(pid=pid, memory=GB) for pid in (1, 2, os.getpid(), os.getppid()))
    for place in range(8):
        state = state.card(place, processes=mine)
    machine = Machine(tmp_path, state)
    async with machine.reports(0.5) as reports:
        await until(reports, lambda r: len(r.devices) == 8)
        before = sum(machine.nvml.calls().values())
        for _ in range(20):  # ten seconds: what is asked each five among it
            await anext(reports)
        asked = sum(machine.nvml.calls().values()) - before
    fast = 4 * 8  # memory, utilisation, power, who computes
    slowly = (asked - 20 * fast) / 10  # a second
    assert fast + slowly <= 60
    assert "nvmlDeviceGetPcieThroughput" not in machine.nvml.calls()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("LIB_RM_VERSION_MISMATCH", "was updated"),
        ("NO_PERMISSION", "may not be opened"),
        ("DRIVER_NOT_LOADED", "not loaded"),
        ("UNKNOWN", "does not answer"),
    ],
)
async def test_a_driver_that_cannot_be_begun_is_a_sentence(
    tmp_path: Path, code: str, words: str
) -> None:
    machine = Machine(tmp_path, h100(1))
    machine.nvml.write(f"init = {code}\n" + machine.nvml.state.text())
    report = await machine.once()
    assert report.devices == ()
    assert words in report.problems["nvidia"]
    assert report.problems["nvidia"].endswith(".")


async def test_a_machine_without_a_driver_has_no_devices_and_no_problem(tmp_path: Path) -> None:
    host = LocalHost(str(tmp_path / "deck"))
    backend = ProcessBackend("local", host, kind="local")
    assert isinstance(backend, Devices)
    try:
        async with backend.devices() as reports:
            report = await anext(reports)
    finally:
        await backend.aclose()
    assert (report.devices, report.problems) == ((), {})
    assert not list((tmp_path / "deck/bin").glob("pynvml-*")), "nothing is sent for nothing"


async def test_the_bindings_are_sent_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path, h100(1))
    await machine.once()
    (folder,) = (machine.root / "bin").glob("pynvml-*")
    sent = (folder / "pynvml.py").stat()
    again = Machine(tmp_path, h100(1))
    assert (await again.once()).devices
    assert (folder / "pynvml.py").stat().st_mtime_ns == sent.st_mtime_ns


async def test_nothing_is_left_running_when_nobody_looks(tmp_path: Path) -> None:
    machine = Machine(tmp_path, h100(1))
    async with machine.reports() as reports:
        await anext(reports)
        assert len(readers(machine.root)) == 1
    async with asyncio.timeout(PATIENCE):
        while readers(machine.root):
            await asyncio.sleep(0.02)


async def test_a_reader_that_was_killed_is_said_to_have_ended(tmp_path: Path) -> None:
    machine = Machine(tmp_path, h100(1))
    async with machine.reports() as reports:
        await anext(reports)
        (reader,) = readers(machine.root)
        os.kill(reader, signal.SIGKILL)
        with pytest.raises(StopAsyncIteration):
            async with asyncio.timeout(PATIENCE):
                while True:
                    await anext(reports)


def readers(root: Path) -> list[int]:
    """The processes that read devices for an agent below this root."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[-2:] == [b"devices", b""] and str(root).encode() in b" ".join(words):
            found.append(int(folder.name))
    return found
