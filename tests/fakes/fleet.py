"""Worlds of accelerators that exist only in memory, for the Fleet's tests and pictures."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from tests.fakes.runs import NOW, FakeServices, small_world

from traindeck.backends.devices.readings import Device, DeviceProcess, DeviceReport
from traindeck.console.runs.device_history import History
from traindeck.console.runs.fleet import PlaceDevices

GIB = 1 << 30
EVERY = 2.0
H100 = "NVIDIA H100 80GB HBM3"


def gpu(number: int, name: str = "NVIDIA H100 80GB HBM3", size: float = 80, **more: Any) -> Device:
    """A device that is idle and free, but for what is said otherwise."""
    values: dict[str, Any] = {
        "uuid": f"GPU-{number:02d}4c1e77-0000-4000-8000-0000{number:04d}9a07", "index": number,
        "name": name, "vendor": "nvidia", "pci": f"00000000:{0x4F + number:02X}:00.0",
        "memory_total_bytes": int(size * GIB), "memory_used_bytes": 0, "memory_kind": "device",
        "utilization_pct": 0, "power_w": 71.4, "power_limit_w": 700.0, "temperature_c": 31,
        "sm_clock_mhz": 1980, "sm_clock_max_mhz": 1980, "ecc_uncorrected": 0, "ecc_corrected": 0,
        "throttle_reasons": (), "pcie_gen": 5, "pcie_width": 16,
    }  # fmt: skip
    return Device(**{**values, **more})


def on(
    pid: int, user: str = "user1", command: str = "/usr/bin/python train.py", gib: float = 40,
    **more: Any,
) -> DeviceProcess:  # fmt: skip
    """A process that computes."""
    return DeviceProcess(
        pid=pid, user=user, command=command, memory_bytes=int(gib * GIB), **more
    )  # fmt: skip


def busy(index: int, percent: float, gib: float, *on_it: DeviceProcess, **more: Any) -> Device:
    """A device at work."""
    return gpu(
        index, utilization_pct=percent, memory_used_bytes=int(gib * GIB), processes=on_it,
        **{"power_w": 100 + 5.6 * percent, "temperature_c": 35 + percent // 3, **more},
    )  # fmt: skip


def history(device: Device, *, ago: float = 0.0, seconds: float = 118) -> History:
    """Two minutes around what a device says now."""
    found = History()
    mean = device.utilization_pct
    used, total = device.memory_used_bytes or 0, device.memory_total_bytes or 1
    for n in range(int(seconds / EVERY) + 1):
        moment = NOW - ago - seconds + EVERY * n
        share = mean
        if mean is not None and mean > 1:
            share = max(0.0, min(100.0, mean + 8 * math.sin(n / 4.0 + (device.index or 0)) - 4))
        found = found.after(moment, share, 100 * used / total, EVERY)
    return found


def host(
    name: str, *devices: Device, ago: float = 0.0, driver: str = "570.86.15",
    **more: Any,
) -> PlaceDevices:  # fmt: skip
    """A place that has said this of its devices, so many seconds ago."""
    report = DeviceReport(
        observed_at=NOW - ago, devices=devices, user="user1",
        drivers={"nvidia": driver} if devices else {},
    )  # fmt: skip
    parts = [part for device in devices for part in (device, *device.mig)]
    return PlaceDevices(
        name=name, report=report, asked=NOW - 600,
        history={
            part.uuid: history(part, ago=ago)
            for part in parts
        },
        **more,
    )  # fmt: skip


def run_id(name: str) -> str:
    """The id of a run of the small world."""
    return next(run.id for run in small_world() if run.name == name)


def ours(pid: int, name: str, gib: float, rank: int | None = None) -> DeviceProcess:
    """A process of a run of the small world."""
    return on(pid, gib=gib, run=run_id(name), attempt=0, rank=rank)


def four_hosts() -> list[PlaceDevices]:
    """What the screen is designed for: something of everything."""
    card = "NVIDIA GeForce RTX 4090"
    local = host(
        "local",
        busy(0, 97, 21.3, ours(4708, "vit-b16-aug-s0", 21.1), name=card, size=24, power_w=412.0,
             temperature_c=71, memory_total_bytes=24 * GIB, power_limit_w=450.0,
             ecc_uncorrected=None, sm_clock_mhz=2520, sm_clock_max_mhz=3105),
        busy(1, 4, 1.9, ours(4709, "vit-b16-aug-s1", 1.7), memory_total_bytes=24 * GIB, name=card,
             power_w=61.0, temperature_c=44, power_limit_w=450.0, ecc_uncorrected=None),
    )  # fmt: skip
    gpu1 = host(
        "gpu1",
        busy(0, 1, 68.0, on(41277, "user2", "python train.py --cfg big.yaml", 67.2),
             power_w=118.0, temperature_c=41, idle_since=NOW - 47 * 60),
        busy(1, 66, 41.7, ours(5100, "qwen3b-dpo-beta01", 41.2), power_w=402.0, temperature_c=87,
             throttle_reasons=("hw_thermal",), sm_clock_mhz=1215),
        busy(2, 98, 71.9, ours(5101, "llama1b-lora-lr3e4", 71.2, 0), power_w=655.0,
             temperature_c=68),
        busy(3, 97, 71.8, ours(5102, "llama1b-lora-lr3e4", 71.1, 1), power_w=648.0,
             temperature_c=66),
    )  # fmt: skip
    a100 = "NVIDIA A100-SXM4-80GB"
    sweep = [ours(9000 + n, "sweep-07", 60.8, n) for n in range(4)]
    gpu2 = host(
        "gpu2",
        *(busy(n, 94 - n, 61.2 - 0.1 * n, sweep[n], name=a100, power_w=371.0, temperature_c=61)
          for n in range(4)),
        *(gpu(n, a100) for n in range(4, 8)),
        ago=6 * 60, problem="gpu2 does not answer: connection timed out.", next_try=NOW + 12,
    )  # fmt: skip
    gpu3 = host(
        "gpu3",
        gpu(0, "NVIDIA L40S", 45),
        gpu(1, "NVIDIA L40S", 45, state="lost", problem="It fell off the bus. Restart the machine "
            "or reset it as root.", utilization_pct=None, power_w=None, temperature_c=None,
            memory_used_bytes=None, sm_clock_mhz=None),
        gpu(2, "NVIDIA L40S", 45, processes=(on(88, "user3", gib=12),), utilization_pct=55,
            memory_used_bytes=13 * GIB),
    )  # fmt: skip
    return [local, gpu1, gpu2, gpu3]


def sliced() -> PlaceDevices:
    """A device in slices, beside one that is not."""

    def part(number: int, size: float, *on_it: DeviceProcess) -> Device:
        return gpu(
            0, f"NVIDIA A100-SXM4-80GB MIG {number}g.{10 * number}gb", size,
            uuid=f"MIG-{number}", pci=None, utilization_pct=None, power_w=None, index=None,
            temperature_c=None, processes=on_it, sm_clock_mhz=None, ecc_uncorrected=None,
            memory_used_bytes=sum(one.memory_bytes or 0 for one in on_it),
        )  # fmt: skip

    return host(
        "gpu4",
        gpu(0, "NVIDIA A100-SXM4-80GB", 80, mig_mode=True, utilization_pct=None, power_w=210.0,
            memory_used_bytes=int(31.2 * GIB), temperature_c=52,
            mig=(part(3, 39.5, ours(700, "llama1b-lora-lr1e4", 22.0)),
                 part(2, 19.5, on(701, "user2", gib=9)), part(1, 9.5))),
        gpu(1, "NVIDIA A100-SXM4-80GB", 80),
    )  # fmt: skip


def eight() -> PlaceDevices:
    """A full box: a run on four devices, two on one each, two devices free."""
    job = [ours(600 + n, "llama1b-lora-lr1e3", 71, n) for n in range(4)]
    return host(
        "gpu1",
        *(busy(n, 97 - n, 71.5, job[n]) for n in range(4)),
        busy(4, 71, 33.0, on(650, "user2", gib=20), on(651, "user2", "python eval.py", 12)),
        busy(5, 88, 61.0, ours(660, "qwen3b-dpo-beta01", 60.2)),
        gpu(6), gpu(7),
    )  # fmt: skip


def crowd_of_hosts(count: int, devices: int = 8) -> list[PlaceDevices]:
    """Very many hosts, all as the first one but for their names and users."""
    first = host("node", *(busy(n, 90, 60) for n in range(devices)))
    histories = list(first.history.values())
    places = []
    for number in range(count):
        user = f"user{number % 7}"
        own = [
            replace(device, uuid=f"GPU-{number}-{n}", processes=(on(n + 1, user),))
            for n, device in enumerate(first.devices)
        ]
        report = DeviceReport(observed_at=NOW, devices=tuple(own), user="user1")
        known = {one.uuid: past for one, past in zip(own, histories, strict=True)}
        places.append(
            PlaceDevices(name=f"node{number:04d}", report=report, asked=NOW, history=known)
        )
    return places


def fleet_services(*places: PlaceDevices) -> FakeServices:
    """The small world with these places."""
    services = FakeServices(small_world())
    services.fleet = list(places)
    return services
