"""Prints what nvitop's API says of all devices and their processes: a client in a process of its
own. nvitop says its own "N/A" where a thing is not known; that is null here."""

from __future__ import annotations

import json
import sys
from typing import Any

from nvitop import NA, Device, GpuProcess

READ = (
    "name", "uuid", "bus_id", "memory_total", "memory_used", "memory_free", "bar1_memory_total",
    "gpu_utilization", "memory_utilization", "encoder_utilization", "decoder_utilization",
    "power_usage", "power_limit", "temperature", "fan_speed", "performance_state",
    "persistence_mode", "compute_mode", "display_active", "mig_mode", "serial",
    "total_volatile_uncorrected_ecc_errors", "cuda_compute_capability",
)  # fmt: skip
CLOCKS = ("graphics", "sm", "memory", "video")


def known(value: Any) -> Any:
    return None if value is NA or value == NA else value


def process(one: GpuProcess) -> dict[str, Any]:
    return {
        "pid": one.pid,
        "type": one.type,
        "memory": known(one.gpu_memory()),
        "sm": known(one.gpu_sm_utilization()),
        "mem": known(one.gpu_memory_utilization()),
        "gi": known(one.gpu_instance_id()),
        "ci": known(one.compute_instance_id()),
    }


def device(one: Device) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name in READ:
        said[name] = known(getattr(one, name)())
    clocks, most = one.clock_infos(), one.max_clock_infos()
    said["clocks"] = [known(getattr(clocks, name)) for name in CLOCKS]
    said["clocks_max"] = [known(getattr(most, name)) for name in CLOCKS]
    processes = one.processes().values()
    GpuProcess.take_snapshots(processes)
    said["processes"] = sorted((process(p) for p in processes), key=lambda p: p["pid"])
    snapshot = one.as_snapshot()
    said["snapshot"] = {name: known(getattr(snapshot, name)) for name in ("uuid", "memory_used")}
    said["slices"] = [device(slice_) for slice_ in one.mig_devices()]
    return said


json.dump(
    {
        "driver": known(Device.driver_version()),
        "cuda": known(Device.cuda_driver_version()),
        "devices": [device(one) for one in Device.all()],
    },
    sys.stdout,
)
