"""Clients of the stand-in for NVIDIA's library, each in a process of its own, and what it is to say
to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.services.nvml import DRIVERS, GB, Nvml, Proc, State, functions, h100

HERE = Path(__file__).parent
SOME = ("450", "470", "510", "535.54", "535", "550", "570", "580")
NONE = 0xFFFFFFFF
ME, PARENT = os.getpid(), os.getppid()
"""Two processes that run: nvitop and gpustat look at them."""

BUSY = replace(
    h100().cards[0],
    memory_used=40 * GB, utilization_gpu=97, utilization_memory=41, encoder=3, decoder=4,
    power=612_345, power_enforced=650_000, power_limit=680_000, power_default=700_000,
    power_min=200_000, power_max=710_000, energy=2**40 + 7, temperature=66, temperature_memory=78,
    fan=55, fans=1, clock_graphics=1755, clock_sm=1750, clock_memory=2619, clock_video=1400,
    clock_graphics_max=1980, clock_sm_max=1975, clock_memory_max=2620, clock_video_max=1545,
    pstate=1, persistence=1, compute=3, display_mode=0, display_active=1, reasons=0x24, ecc=1,
    ecc_pending=0, ecc_corrected_volatile=12, ecc_uncorrected_volatile=13,
    ecc_corrected_aggregate=14, ecc_uncorrected_aggregate=2**33, remapped=(1, 2, 1, 0), recovery=2,
    retired_pending=1, pcie_generation=4, pcie_width=8, pcie_tx=11, pcie_rx=22, numa=1,
    power_average=600_001, power_instant=612_346,
    samples_gpu=(10, 20, 30), minor=5,
    more={
        "ecc.corrected.volatile.2": 7, "ecc.default": 1, "part": "900-21010", "vbios": "96.00.74",
        "memory.bus": 5120, "policy.0": 123456789, "policy.4": 5, "retired.0": (2, 0x10, 0x20),
        "retired.1": (0,), "remapper": (640, 1, 2, 3, 4), "pcie.replays": 6, "pcie.speed": 16000,
        "pcie.generation.gpu": 5, "nvlink.3": 1, "nvlink.3.version": 7, "nvlink.3.type": 1,
        "nvlink.3.remote": "00000000:0A:00.0", "nvlink.3.capability.1": 1, "nvlink.3.error.2": 9,
        "fabric": (0, 77, 3, 5), "temperature.margin": -4, "fan.rpm": 4100, "repair": (1, 0),
        "protected.memory": (100, 200), "encoder.stats": (2, 60, 900), "power.managed": 1,
        "accounting": 0, "virtualization": 0, "affinity": 0xF0F0, "clock.sm.set": 1700, "jpeg": 5,
        "ofa": 6, "field.138:3": "u64 9876543210", "field.139:3": "NO_PERMISSION",
        "field.90": "f64 26.5", "field.300": "i32 -5", "field.301": "u16 65535",
        "field.302": "i64 -6", "model": 0, "gpm.2": 91.5, "gpm.5": 47.25, "gpm.10": "NO_PERMISSION",
        "attributes": (132, 3, 7, 0, 7, 1, 7, 7, 81559),
    },
)  # fmt: skip

THREE = (
    Proc(pid=ME, memory=30 * GB, sm=88, mem=40, enc=1, dec=2),
    Proc(pid=PARENT, type="C+G", memory=None),
    Proc(pid=1, type="M", memory=2 * GB, sm=5, mem=1),
)


def ran(nvml: Nvml, *argv: str, stdin: str = "", counted: bool = False) -> Any:
    """A client, and what it wrote."""
    return subprocess.run(
        argv, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **nvml.environ(counted=counted), "COLUMNS": "100"},
    )  # fmt: skip


def script(nvml: Nvml, name: str, asked: Any = None, *, counted: bool = False) -> Any:
    """What a client of this folder says."""
    path = str(HERE / f"{name}.py")
    done = ran(nvml, sys.executable, path, stdin=json.dumps(asked), counted=counted)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tool(name: str) -> str:
    """A program that was installed beside the interpreter."""
    return str(Path(sys.executable).parent / name)


def has(nvml: Nvml, function: str) -> bool:
    return functions()[function] <= DRIVERS[nvml.driver][0]


def busy(*processes: Proc) -> State:
    """One busy card and an idle one."""
    state = h100(2).card(1, processes=())
    return replace(state, cards=(replace(BUSY, processes=processes), state.cards[1]))
