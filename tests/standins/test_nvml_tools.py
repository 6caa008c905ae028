"""nvitop and gpustat, which others wrote for the real library, read from the stand-in what its
state says, device by device and process by process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.services.nvml import (
    DRIVERS,
    GB,
    MB,
    Card,
    Nvml,
    Proc,
    Slice,
    State,
    a100_mig,
    gb10,
    h100,
    rtx4090,
)  # fmt: skip
from tests.standins.clients import BUSY, ME, PARENT, SOME, THREE, busy, has, ran, script, tool

CLOCKS = ("graphics", "sm", "memory", "video")


def as_nvitop(card: Card | Slice, nvml: Nvml) -> dict[str, Any]:
    """What nvitop's API should say of a card that is not in slices, or of a slice."""
    said: dict[str, Any] = {name: getattr(card, field, None) for name, field in {
        "uuid": "uuid", "name": "name", "bus_id": "pci", "serial": "serial",
        "gpu_utilization": "utilization_gpu", "memory_utilization": "utilization_memory",
        "encoder_utilization": "encoder", "decoder_utilization": "decoder", "fan_speed": "fan",
        "power_usage": "power", "power_limit": "power_limit", "temperature": "temperature",
        "bar1_memory_total": "bar1_total", "memory_total": "memory_total",
        "total_volatile_uncorrected_ecc_errors": "ecc_uncorrected_volatile",
        "cuda_compute_capability": "capability",
    }.items()}  # fmt: skip
    if isinstance(card.memory_total, int):
        assert isinstance(card.memory_used, int) and isinstance(card.memory_reserved, int)
        free = card.memory_total - card.memory_used - card.memory_reserved
        second = has(nvml, "nvmlDeviceGetMemoryInfo_v2")
        used = card.memory_used if second else card.memory_total - free
        said |= {"memory_used": used, "memory_free": free}
    if isinstance(card, Card):
        said |= {
            "performance_state": f"P{card.pstate}",
            "persistence_mode": ("Disabled", "Enabled")[int(str(card.persistence))],
            "compute_mode": {0: "Default", 3: "Exclusive Process"}[int(str(card.compute))],
            "display_active": ("Disabled", "Enabled")[int(str(card.display_active))],
            "mig_mode": {None: None, 0: "Disabled", 1: "Enabled"}[card.mig],  # type: ignore[index]
        }
    capability = getattr(card, "capability", None)
    said["cuda_compute_capability"] = [*capability] if isinstance(capability, tuple) else None
    for most in ("", "_max"):
        said[f"clocks{most}"] = [getattr(card, f"clock_{name}{most}", None) for name in CLOCKS]
    said["processes"] = sorted(
        (
            {
                "pid": p.pid, "type": p.type, "memory": p.memory,
                "sm": share(p, p.sm), "mem": share(p, p.mem),
                "gi": card.gi if isinstance(card, Slice) else None,
                "ci": card.ci if isinstance(card, Slice) else None,
            }
            for p in card.processes
            if "M" not in p.type
        ),
        key=lambda p: p["pid"],
    )  # fmt: skip
    return said


def share(process: Proc, percent: int | None) -> int | None:
    """nvitop takes a process without a sample for an idle one, if its memory is known."""
    return 0 if percent is None and process.memory is not None else percent


def compared(said: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert {name: said[name] for name in wanted} == wanted
    assert said["snapshot"]["uuid"] == wanted["uuid"]


@pytest.mark.parametrize("driver", SOME)
def test_nvitop_reads_cards_and_processes_with_every_driver(tmp_path: Path, driver: str) -> None:
    """With the wide records of the first 535 too, which it knows."""
    nvml = Nvml(tmp_path, busy(*THREE), driver)
    said = script(nvml, "read_nvitop")
    assert said["driver"] == DRIVERS[driver][1]
    cuda = DRIVERS[driver][2]
    assert said["cuda"] == f"{cuda // 1000}.{cuda % 1000 // 10}"
    for one, card in zip(said["devices"], nvml.state.cards, strict=True):
        compared(one, as_nvitop(card, nvml))


@pytest.mark.parametrize("state", [rtx4090(2), h100(8)], ids=["rtx4090", "h100"])
def test_nvitop_reads_a_whole_machine(tmp_path: Path, state: State) -> None:
    nvml = Nvml(tmp_path, state, "570")
    for one, card in zip(script(nvml, "read_nvitop")["devices"], state.cards, strict=True):
        compared(one, as_nvitop(card, nvml))


@pytest.mark.parametrize("driver", ["470", "570"])
def test_nvitop_reads_slices_as_devices_of_their_own(tmp_path: Path, driver: str) -> None:
    state = a100_mig()
    (card,) = state.cards
    slices = (
        replace(card.slices[0], processes=(Proc(pid=ME, memory=9 * GB),)),
        replace(card.slices[1], processes=(Proc(pid=PARENT, memory=None),)),
        card.slices[2],
    )
    nvml = Nvml(tmp_path, state.card(0, slices=slices), driver)
    (said,) = script(nvml, "read_nvitop")["devices"]
    assert len(said["slices"]) == 3
    for one, slice_ in zip(said["slices"], slices, strict=True):
        compared(one, as_nvitop(slice_, nvml))
    # The card itself says nothing of its utilisation, and of the processes in which slice they are.
    assert (said["gpu_utilization"], said["encoder_utilization"]) == (None, None)
    assert {(p["pid"], p["gi"], p["ci"]) for p in said["processes"]} == {(ME, 2, 0), (PARENT, 3, 0)}


def test_nvitop_finds_no_size_of_memory_that_is_the_hosts(tmp_path: Path) -> None:
    """It takes the host's, and the memory of a process as the driver says it."""
    state = gb10().card(0, processes=(Proc(pid=ME, memory=3 * GB, sm=20, mem=1),))
    nvml = Nvml(tmp_path, state)
    (said,) = script(nvml, "read_nvitop")["devices"]
    host = {line.split(":")[0]: line for line in Path("/proc/meminfo").read_text().splitlines()}
    assert said["memory_total"] == int(host["MemTotal"].split()[1]) * 1024
    assert (said["power_limit"], said["fan_speed"], said["bar1_memory_total"]) == (None,) * 3
    assert [(p["pid"], p["memory"], p["sm"]) for p in said["processes"]] == [(ME, 3 * GB, 20)]


def test_nvitop_prints_a_lost_card_and_the_others(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, h100(3).card(1, lost=1), "570")
    done = ran(nvml, tool("nvitop"), "--once", "--ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("00000000:18:00.0") == done.stdout.count("00000000:38:00.0") == 1
    assert "00000000:28:00.0" not in done.stdout


def gpustat(nvml: Nvml) -> Any:
    return ran(nvml, tool("gpustat"), "--json", "--show-all")


def as_gpustat(card: Card, place: int, nvml: Nvml) -> dict[str, Any]:
    assert isinstance(card.memory_used, int) and isinstance(card.memory_total, int)
    reserved = 0 if has(nvml, "nvmlDeviceGetMemoryInfo_v2") else int(str(card.memory_reserved))
    return {
        "index": place, "uuid": card.uuid, "name": card.name, "temperature.gpu": card.temperature,
        "fan.speed": card.fan, "utilization.gpu": card.utilization_gpu,
        "utilization.enc": card.encoder, "utilization.dec": card.decoder,
        "power.draw": round(int(str(card.power)) / 1000),
        "enforced.power.limit": round(int(str(card.power_enforced)) / 1000),
        "memory.used": (card.memory_used + reserved) // MB,
        "memory.total": card.memory_total // MB,
    }  # fmt: skip


@pytest.mark.parametrize("driver", [d for d in SOME if d not in ("450", "535.54")])
def test_gpustat_reads_cards_and_processes(tmp_path: Path, driver: str) -> None:
    nvml = Nvml(tmp_path, busy(*THREE), driver)
    done = gpustat(nvml)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["driver_version"] == DRIVERS[driver][1]
    for place, card in enumerate(nvml.state.cards):
        wanted = as_gpustat(card, place, nvml)
        assert {name: said["gpus"][place][name] for name in wanted} == wanted
    used = [(p["pid"], p["gpu_memory_usage"]) for p in said["gpus"][0]["processes"]]
    assert sorted(used) == sorted([(ME, 30 * 1024), (PARENT, None)])
    assert said["gpus"][1]["processes"] == []


@pytest.mark.parametrize("state", [gb10(), a100_mig()], ids=["gb10", "mig"])
def test_gpustat_finds_nothing_where_the_card_does_not_say(tmp_path: Path, state: State) -> None:
    said = json.loads(gpustat(Nvml(tmp_path, state)).stdout)["gpus"][0]
    (card,) = state.cards
    assert said["utilization.gpu"] == card.utilization_gpu
    assert (said["memory.total"] is None) == (card.memory_total is None)
    assert said["temperature.gpu"] == card.temperature


def test_gpustat_dies_of_a_driver_without_the_lists_it_asks_for(tmp_path: Path) -> None:
    done = gpustat(Nvml(tmp_path, busy(*THREE), "450"))
    assert done.returncode == 1
    assert "Unversioned function called and the pyNVML version does not match" in (
        done.stdout + done.stderr
    )


def test_gpustat_loses_processes_in_records_that_are_wider_than_it_knows(tmp_path: Path) -> None:
    both = (Proc(pid=ME, memory=GB), Proc(pid=PARENT, memory=GB))
    said = json.loads(gpustat(Nvml(tmp_path, busy(*both), "535.54")).stdout)
    pids = [p["pid"] for p in said["gpus"][0]["processes"]]
    assert ME in pids and PARENT not in pids


def test_gpustat_says_that_a_card_is_lost(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, replace(busy(), cards=(BUSY, replace(h100(2).cards[1], lost=1))), "570")
    said = json.loads(gpustat(nvml).stdout)
    assert said["gpus"][0]["name"] == BUSY.name
    assert "lost" in json.dumps(said["gpus"][1]).lower()
