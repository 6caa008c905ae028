"""AMD's devices, as the agent reads them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.payload.conftest import PYTHONS
from tests.payload.harness import Agent
from tests.services import need
from tests.services.graphics import GIB, Graphics, write

from traindeck.backends.devices import readings
from traindeck.backends.devices.readings import DeviceReport
from traindeck.backends.payload import build
from traindeck.backends.payload.agent.devices import amd, drm, fdinfo, owners

MINUTE = 60.0


@pytest.fixture
def machine(tmp_path: Path) -> Graphics:
    return Graphics(tmp_path)


def opened(machine: Graphics) -> amd.Amd:
    """A provider that has begun."""
    clients = fdinfo.Clients(str(machine.proc), namespace=owners.INITIAL)
    provider = amd.Amd(str(machine.sysfs), str(machine.proc), clients, (str(machine.ids),))
    provider.open()
    return provider


def read(provider: amd.Amd, now: float = MINUTE) -> list[dict[str, Any]]:
    """All that it says, after a look at each of its cards."""
    provider.check(now)
    for card in provider.cards:
        provider.refresh(card, now)
        card.publish()
    return [card.shown for card in provider.cards]


def eight(machine: Graphics) -> list[Path]:
    """A box with eight MI300X, which the kernel counts from 1 and in an order of its own."""
    folders = []
    for place, bus in enumerate((0x05, 0x26, 0x46, 0x65, 0x85, 0xA6, 0xC6, 0xE5)):
        pci = f"0000:{bus:02x}:00.0"
        folders.append(machine.instinct(8 - place, pci))
        machine.kfd_device(2 + place, pci, 10000 + place)
    machine.kfd_device(0, "0000:00:00.0", 0)
    return folders


def test_a_box_of_eight_is_read_in_the_order_of_its_bus(machine: Graphics) -> None:
    eight(machine)
    write(machine.sysfs / "module/amdgpu", {"version": "6.12.12"})
    provider = opened(machine)
    found = read(provider)
    assert provider.driver == "6.12.12"
    assert [one["index"] for one in found] == list(range(8))
    assert [one["pci"] for one in found] == sorted(one["pci"] for one in found)
    assert len({one["uuid"] for one in found}) == 8
    first = found[0]
    assert first["uuid"] == "GPU-a1b2c3d4e5f60008"
    assert first["name"] == "AMD Instinct MI300X OAM"
    assert (first["vendor"], first["state"], first["problem"]) == ("amd", "ok", None)
    assert (first["utilization_pct"], first["memory_activity_pct"]) == (97, 41)
    assert first["memory_kind"] == "device"
    assert first["memory_total_bytes"] == 192 * GIB
    assert first["memory_used_bytes"] == 70 * GIB
    assert (first["power_w"], first["power_limit_w"]) == (612.0, 750.0)
    assert (first["temperature_c"], first["memory_temperature_c"]) == (61.0, 54.5)
    assert (first["sm_clock_mhz"], first["sm_clock_max_mhz"]) == (1200, 2100)
    assert first["memory_clock_mhz"] == 1300
    assert (first["pcie_gen"], first["pcie_width"]) == (5, 16)
    assert (first["ecc_uncorrected"], first["ecc_corrected"]) == (0, 3)
    assert first["fan_pct"] is None and first["missing"]["fan_pct"] == "not supported"
    assert first["throttle_reasons"] is None and "throttle_reasons" in first["missing"]
    assert "processes" not in first["missing"]


def test_the_console_takes_all_of_it(machine: Graphics) -> None:
    eight(machine)
    machine.computes(4711, {10000: 60 * GIB})
    (said, *_) = read(opened(machine))
    device = readings.device(json.loads(json.dumps(said)))
    for name, value in said.items():
        if value is not None and name not in ("processes", "health", "mig"):
            assert getattr(device, name) == value, name
    assert device.processes[0].memory_bytes == 60 * GIB


def test_who_computes_where_is_known_of_everybody(machine: Graphics) -> None:
    eight(machine)
    machine.computes(4711, {10000: 60 * GIB, 10001: 0, 10002: 0}, [10000])
    machine.computes(4712, {10000: 0, 10001: 0}, [10001])
    provider = opened(machine)
    found = read(provider)
    held = {"kind": "compute", "utilization_pct": None}
    assert found[0]["processes"] == [{"pid": 4711, "memory_bytes": 60 * GIB, **held}]
    assert found[1]["processes"] == [{"pid": 4712, "memory_bytes": 0, **held}]
    assert found[2]["processes"] == []
    # One that comes is seen at once; one that moves within a few seconds; one that ends at once.
    machine.computes(4713, {10002: GIB})
    machine.computes(4711, {10002: 5})
    machine.stops_computing(4712)
    found = read(provider, MINUTE + 1)
    assert [p["pid"] for p in found[2]["processes"]] == [4713]
    assert found[1]["processes"] == []
    found = read(provider, MINUTE + 1 + 2 * drm.SLOW)
    assert [p["pid"] for p in found[2]["processes"]] == [4711, 4713]


def test_a_device_in_parts_is_shown_whole(machine: Graphics) -> None:
    machine.instinct(1, "0001:05:00.0")
    for part in range(4):
        machine.kfd_device(1 + part, "0001:05:00.0", 500 + part, part=part)
    machine.computes(9, {500: GIB, 501: 0, 502: 2 * GIB, 503: 0})
    (said,) = read(opened(machine))
    assert [(p["pid"], p["memory_bytes"]) for p in said["processes"]] == [(9, 3 * GIB)]


def client(number: int, ident: int, **more: object) -> dict[str, object]:
    return {
        "drm-driver": "amdgpu",
        "drm-client-id": ident,
        "drm-pdev": f"0000:{number:02x}:00.0",
        **{key.replace("_", "-"): value for key, value in more.items()},
    }


def test_what_draws_is_told_by_what_it_has_open(machine: Graphics) -> None:
    machine.instinct(3, "0000:03:00.0")
    busy = {"drm_engine_gfx": "1000000000 ns", "drm_memory_vram": "2048 KiB"}
    said = client(3, 7, **busy, drm_memory_gtt="100 KiB")
    machine.opens(20, 3, said)
    machine.opens(20, 3, said, fd=6)  # the same twice
    machine.opens(21, 3, said)  # and handed on
    machine.opens(22, 3, client(3, 8, drm_engine_gfx="0 ns", drm_memory_vram="0 KiB"))
    machine.opens(23, 3, client(4, 9, **busy))  # which is another card's
    machine.opens(24, 3, None)  # of an old kernel
    provider = opened(machine)
    (first,) = read(provider)
    drawing = {"kind": "graphics", "utilization_pct": None}
    assert first["processes"] == [
        {"pid": 20, "memory_bytes": 2 << 20, **drawing},
        {"pid": 24, "memory_bytes": None, **drawing},
    ]
    busy["drm_engine_gfx"] = "1500000000 ns"
    for fd in (5, 6):
        machine.opens(20, 3, client(3, 7, **busy, drm_engine_compute="250000000 ns"), fd=fd)
    (second,) = read(provider, MINUTE + 2)
    process = second["processes"][0]
    assert (process["pid"], process["kind"], process["utilization_pct"]) == (20, "compute", 25.0)
    # Counters that began anew say nothing, and not that it was idle.
    for fd in (5, 6):
        machine.opens(20, 3, client(3, 7, drm_engine_gfx="5 ns", drm_memory_vram="1 KiB"), fd=fd)
    (third,) = read(provider, MINUTE + 3)
    assert third["processes"][0]["utilization_pct"] is None


def test_who_comes_is_found_within_seconds_and_who_ends_is_gone_at_once(machine: Graphics) -> None:
    machine.instinct(3, "0000:03:00.0")
    provider = opened(machine)
    assert read(provider)[0]["processes"] == []
    machine.opens(30, 3, client(3, 7, drm_memory_vram="10 KiB"))
    (said,) = read(provider, MINUTE + fdinfo.RESCAN)
    assert [process["pid"] for process in said["processes"]] == [30]
    machine.ends(30)
    assert read(provider, MINUTE + fdinfo.RESCAN + 1)[0]["processes"] == []


def test_a_laptops_memory_is_shared_with_the_host(machine: Graphics) -> None:
    machine.laptop()
    machine.kfd_device(1, "0000:c1:00.0", 77)
    machine.computes(5, {77: 0}, [77])
    provider = opened(machine)
    (said,) = read(provider)
    assert said["uuid"] == "0000:c1:00.0"
    assert said["name"] == "AMD Phoenix1"
    assert said["memory_kind"] == "shared"
    assert said["memory_total_bytes"] == 16 * GIB + (512 << 20)
    assert said["memory_used_bytes"] == 2 * GIB + (300 << 20)
    assert (said["power_w"], said["temperature_c"], said["utilization_pct"]) == (6.15, 44.0, 4)
    assert said["power_limit_w"] is None and said["pcie_width"] is None
    # It holds what the host has, which KFD does not count.
    assert said["processes"][0]["memory_bytes"] is None


def test_a_link_is_that_of_the_slot_and_a_fan_turns_in_percent(machine: Graphics) -> None:
    slow = {"vendor": "0x1002", "current_link_speed": "8.0 GT/s PCIe", "current_link_width": 8}
    machine.card(
        0,
        "0000:03:00.0",
        "amdgpu",
        {
            "vendor": "0x1002",
            "device": "0x744c",
            "unique_id": "0000000000000000",
            "current_link_speed": "16.0 GT/s PCIe",
            "current_link_width": 16,
            "mem_info_vram_total": 24 * GIB,
            "mem_info_gtt_total": 32 * GIB,
            "hwmon/hwmon1/name": "amdgpu",
            "hwmon/hwmon1/pwm1": 51,
            "hwmon/hwmon1/pwm1_max": 255,
            "hwmon/hwmon1/fan1_input": 1500,
            "hwmon/hwmon1/temp1_input": 40000,
            "hwmon/hwmon1/temp1_label": "edge",
            "hwmon/hwmon1/temp2_input": 52000,
            "hwmon/hwmon1/temp2_label": "junction",
            "hwmon/hwmon1/power1_average": 30000000,
            "hwmon/hwmon1/power1_input": 99000000,
        },
        bridges=[
            ("0000:00:01.0", {"vendor": "0x1022", "current_link_width": 4}),
            ("0000:01:00.0", slow),
            ("0000:02:00.0", {"vendor": "0x1002", "current_link_width": 16}),
        ],
    )
    (said,) = read(opened(machine))
    assert said["uuid"] == "0000:03:00.0"
    assert said["name"] == "AMD Radeon RX 7900 XTX"
    assert (said["pcie_gen"], said["pcie_width"]) == (3, 8)
    assert (said["fan_pct"], said["temperature_c"], said["power_w"]) == (20.0, 40.0, 30.0)
    assert said["memory_kind"] == "device"
    assert said["utilization_pct"] is None and said["memory_used_bytes"] is None
    assert said["missing"]["utilization_pct"] == "not supported"


ODD = ("", "N/A", "-5", "1e3", "99999999999999999999999", "18446744073709551615", "٣", "1_0", "\0")


@pytest.mark.parametrize("odd", ODD)
def test_what_is_odd_is_not_said(machine: Graphics, odd: str) -> None:
    folder = machine.instinct(1, "0000:05:00.0")
    names = [
        *("gpu_busy_percent", "mem_busy_percent", "mem_info_vram_total", "mem_info_vram_used"),
        *("current_link_speed", "current_link_width", "pp_dpm_sclk", "ras/umc_err_count"),
        *("unique_id", "product_name", "device"),
        *(f"hwmon/hwmon5/{name}" for name in ("temp2_input", "temp3_input", "power1_input")),
        *(f"hwmon/hwmon5/{name}" for name in ("power1_cap", "freq1_input", "freq2_input")),
    ]
    write(folder, dict.fromkeys(names, odd))
    machine.kfd_device(1, "0000:05:00.0", 7)
    write(machine.sysfs / "class/kfd/kfd/topology/nodes/2", {"gpu_id": odd, "properties": odd})
    write(machine.sysfs / "class/kfd/kfd/proc/12", {"vram_7": odd, "queues/0/gpuid": odd})
    write(machine.sysfs / "class/kfd/kfd/proc/13", {"vram_7": odd, "queues/0/gpuid": 7})
    said = client(5, 1, drm_memory_vram=odd, drm_engine_gfx=odd, drm_total_cycles_gfx=odd)
    machine.opens(40, 1, said)
    machine.opens(41, 1, {odd: odd, "drm-driver": odd})
    (reading,) = read(opened(machine))
    assert reading["state"] == "ok"
    assert reading["uuid"] == "0000:05:00.0"
    for field in (
        *("utilization_pct", "memory_activity_pct", "memory_total_bytes", "memory_used_bytes"),
        *("temperature_c", "memory_temperature_c", "power_w", "power_limit_w", "sm_clock_mhz"),
        *("memory_clock_mhz", "sm_clock_max_mhz", "pcie_gen", "pcie_width"),
        *("ecc_uncorrected", "ecc_corrected"),
    ):
        assert reading[field] is None, field
        assert reading["missing"][field], field
    assert all(process["memory_bytes"] is None for process in reading["processes"])
    json.dumps(reading)


def test_a_card_without_any_file_is_a_card_of_which_nothing_is_known(machine: Graphics) -> None:
    machine.card(0, "0000:03:00.0", "amdgpu", {})
    shutil.rmtree(machine.proc)
    (said,) = read(opened(machine))
    assert said["state"] == "ok" and said["name"] == "AMD GPU"
    known = {"uuid", "index", "vendor", "state", "pci", "name", "missing", "processes"}
    assert {key for key, value in said.items() if value is not None} == known | {"memory_kind"}
    assert said["missing"]["processes"] == drm.HIDDEN


def test_a_card_that_sleeps_is_asked_for_nothing(machine: Graphics) -> None:
    folder = machine.instinct(1, "0000:05:00.0")
    provider = opened(machine)
    read(provider)
    write(folder, {"power/runtime_status": "suspended"})
    (said,) = read(provider, MINUTE + 1)
    assert said == {
        "uuid": "GPU-a1b2c3d4e5f60001",
        "index": 0,
        "vendor": "amd",
        "pci": "0000:05:00.0",
        "name": "AMD Instinct MI300X OAM",
        "state": "asleep",
        "problem": "It is off to save power.",
        "processes": [],
    }
    write(folder, {"power/runtime_status": "active"})
    (said,) = read(provider, MINUTE + 2)
    assert (said["state"], said["power_limit_w"]) == ("ok", 750.0)


def test_a_card_that_vanishes_is_lost_until_it_is_back(machine: Graphics) -> None:
    machine.instinct(1, "0000:05:00.0")
    folder = machine.instinct(2, "0000:26:00.0")
    provider = opened(machine)
    read(provider)
    machine.unplug(folder, 2)
    for now in (MINUTE + 1, MINUTE + 100):
        kept, lost = read(provider, now)
        assert (kept["state"], lost["state"]) == ("ok", "lost")
        assert "fell off the bus" in lost["problem"]
        assert lost["memory_total_bytes"] == 192 * GIB and "power_w" not in lost
    machine.instinct(0, "0000:03:00.0", unique_id="00000000000000ff")
    machine.instinct(7, "0000:26:00.0", unique_id="a1b2c3d4e5f60002")
    found = read(provider, MINUTE + 200)
    assert [one["state"] for one in found] == ["ok"] * 3
    assert [one["index"] for one in found] == [0, 1, 2]
    assert [one["uuid"][-2:] for one in found] == ["ff", "01", "02"]


def test_a_driver_that_answers_nothing_is_an_error_and_no_zeros(machine: Graphics) -> None:
    folder = machine.instinct(1, "0000:05:00.0")
    provider = opened(machine)
    read(provider)
    kept = {}
    for name in (
        *("gpu_busy_percent", "mem_busy_percent", "mem_info_vram_total", "mem_info_vram_used"),
        "hwmon/hwmon5/power1_input",
    ):
        kept[name] = (folder / name).read_text()
        (folder / name).unlink()
        (folder / name).symlink_to("/proc/self/mem")  # which gives EIO
    (said,) = read(provider, MINUTE + 1)
    assert said["state"] == "error"
    assert said["problem"] == "The driver does not answer for it: Input/output error."
    assert "power_w" not in said and said["memory_total_bytes"] == 192 * GIB
    for name, text in kept.items():
        (folder / name).unlink()
        (folder / name).write_text(text)
    assert read(provider, MINUTE + 2)[0]["state"] == "ok"


def test_a_driver_that_was_loaded_anew_may_call_its_files_otherwise(machine: Graphics) -> None:
    folder = machine.instinct(3, "0000:03:00.0")
    machine.opens(20, 3, client(3, 7, drm_memory_vram="8 KiB"))
    provider = opened(machine)
    assert len(read(provider)[0]["processes"]) == 1
    machine.unplug(folder, 3)
    assert read(provider, MINUTE + 1)[0]["state"] == "lost"
    folder = machine.instinct(3, "0000:03:00.0")
    (folder / "drm/renderD131").rename(folder / "drm/renderD140")
    (folder / "hwmon/hwmon5").rename(folder / "hwmon/hwmon9")
    machine.opens(21, 12, client(3, 8, drm_memory_vram="8 KiB"))
    (said,) = read(provider, MINUTE + 10)
    assert (said["state"], said["power_w"]) == ("ok", 612.0)
    assert [process["pid"] for process in said["processes"]] == [21]


def test_two_that_claim_one_name_are_told_apart_by_their_places(machine: Graphics) -> None:
    for number, pci in ((1, "0000:05:00.0"), (2, "0000:26:00.0")):
        machine.instinct(number, pci, unique_id="00000000000000ff")
    found = read(opened(machine))
    assert [one["uuid"] for one in found] == ["GPU-00000000000000ff", "0000:26:00.0"]


def test_cards_of_others_are_none_of_ours(machine: Graphics) -> None:
    machine.card(0, "0000:01:00.0", "nvidia", {"vendor": "0x10de"})
    machine.card(1, "0000:02:00.0", "radeon", {"vendor": "0x1002"})
    assert read(opened(machine)) == []


def test_hidden_processes_are_not_taken_for_none(
    machine: Graphics, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.instinct(1, "0000:05:00.0")
    (said,) = read(opened(machine))
    assert "processes" not in said["missing"]
    # A system that shows a user nobody else's processes.
    mounts = "22 26 0:21 / /proc rw,nosuid - proc proc rw,hidepid=2"
    write(machine.proc, {"self/mountinfo": mounts})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (said,) = read(opened(machine))
    assert said["missing"]["processes"] == "processes of others cannot be seen"
    # A container.
    provider = opened(machine)
    provider.clients = fdinfo.Clients(str(machine.proc), namespace=owners.INITIAL + 1)
    (said,) = read(provider)
    assert said["missing"]["processes"] == "processes of others cannot be seen"
    # Those that compute are known all the same.
    machine.kfd_device(1, "0000:05:00.0", 7)
    (said,) = read(opened(machine))
    assert said["missing"]["processes"] == "graphics of others cannot be seen"


SCRIPT = """
import json, sys
opened = []
if hasattr(sys, "addaudithook"):
    sys.addaudithook(lambda event, args: opened.append((event, str(args[0])))
        if event in ("open", "os.listdir") and str(args[0]).startswith(sys.argv[2]) else None)
sys.path.insert(0, sys.argv[1])
from agent.devices import amd, fdinfo, intel, owners
root = sys.argv[2]
said = {}
clients = fdinfo.Clients(root + "/proc", namespace=owners.INITIAL)
for kind in (amd.Amd, intel.Intel):
    provider = kind(root + "/sys", root + "/proc", clients, (root + "/pci.ids",))
    provider.open()
    for now in (60.0, 61.0):
        provider.check(now)
        for card in provider.cards:
            provider.refresh(card, now)
    said[provider.NAME] = [card.reading for card in provider.cards]
print(json.dumps([said, opened]))
"""


def elsewhere(
    machine: Graphics, python: str = sys.executable, prefix: tuple[str, ...] = ()
) -> tuple[dict[str, Any], list[list[str]]]:
    """(what another process reads, what it opened)."""
    words = [*prefix, python, "-I", "-S", "-B", "-c", SCRIPT]
    words += [str(build.SOURCES.parent), str(machine.proc.parent)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, files = json.loads(done.stdout)
    return said, files


def test_processes_that_may_not_be_looked_into_are_said_to_be_hidden(machine: Graphics) -> None:
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        prefix = (need("setpriv", "util-linux"), "--bounding-set=-dac_override,-dac_read_search")
    machine.instinct(5, "0000:05:00.0")
    machine.arc_xe(6, "0000:06:00.0")
    machine.opens(50, 5, client(5, 1, drm_memory_vram="10 KiB"))
    machine.stranger(51)
    said, _ = elsewhere(machine, prefix=prefix)
    for vendor in ("amd", "intel"):
        assert said[vendor][0]["missing"]["processes"] == "processes of others cannot be seen"
    assert [process["pid"] for process in said["amd"][0]["processes"]] == [50]
    # How busy it is may be more than what we see of it.
    assert said["intel"][0]["utilization_pct"] is None
    assert said["intel"][0]["missing"]["utilization_pct"] == "processes of others cannot be seen"


def test_a_machine_without_cards_costs_a_look_into_a_folder(machine: Graphics) -> None:
    shutil.rmtree(machine.sysfs / "class/drm")
    said, opened = elsewhere(machine)
    assert said == {"amd": [], "intel": []}
    folder = f"{machine.sysfs}/class/drm"
    assert opened == [["os.listdir", folder], ["os.listdir", folder]]


def test_a_first_card_is_found_when_it_comes(machine: Graphics) -> None:
    provider = opened(machine)
    assert read(provider) == []
    machine.instinct(1, "0000:05:00.0")
    assert [one["state"] for one in read(provider, MINUTE + drm.AGAIN)] == ["ok"]


@pytest.mark.parametrize("version", PYTHONS)
def test_every_python_reads_the_same(machine: Graphics, version: str) -> None:
    eight(machine)
    machine.computes(4711, {10000: 60 * GIB})
    machine.arc_xe(9, "0000:f1:00.0")
    machine.arc_i915(10, "0000:f2:00.0")
    machine.laptop(11)
    machine.opens(60, 9, client(0xF1, 1, drm_cycles_ccs="5", drm_total_cycles_ccs="10"))
    assert elsewhere(machine, PYTHONS[version])[0] == elsewhere(machine)[0]


@contextmanager
def program(
    machine: Graphics, agent: Agent, request: bytes
) -> Iterator[Callable[[], DeviceReport]]:
    """The agent's program on that machine: what to call for what it says next."""
    mounted = ["unshare", "-m", "sh", "-c", 'mount --bind "$1" /sys && shift && exec "$@"', "sh"]
    mounted.append(str(machine.sysfs))
    try:
        subprocess.run([*mounted, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted over /sys here, not even for a process of its own")
    # Links in the tree name its place; there, that is /sys.
    for link in [*machine.sysfs.rglob("driver"), *(machine.sysfs / "class/drm").glob("*[0-9]")]:
        if link.is_symlink():
            target = os.readlink(link).replace(str(machine.sysfs), "/sys")
            link.unlink()
            link.symlink_to(target)
    told = readings.Told()
    with subprocess.Popen(
        [*mounted, *agent.argv, "devices"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdin is not None and running.stdout is not None
        lines = running.stdout
        running.stdin.write(request + b"\n")
        running.stdin.flush()

        def following() -> DeviceReport:
            line = json.loads(lines.readline())
            if "needs" in line:
                pytest.skip("this machine has NVIDIA's driver, which is asked first")
            return told.hear(line, 0.0)

        yield following
        running.stdin.close()
        assert running.wait() == 0


def test_the_agents_program_tells_of_them_and_of_one_that_goes_to_sleep(
    machine: Graphics, agent: Agent
) -> None:
    folder = machine.instinct(1, "0000:05:00.0")
    machine.arc_xe(2, "0000:06:00.0")
    machine.kfd_device(1, "0000:05:00.0", 7)
    machine.computes(os.getpid(), {7: GIB})
    with program(machine, agent, b'{"every": 0.1}') as following:
        report = following()
        assert report.problems == {}
        assert [device.vendor for device in report.devices] == ["amd", "intel"]
        (process,) = report.devices[0].processes
        assert (process.pid, process.memory_bytes) == (os.getpid(), GIB)
        assert process.user is not None and process.command is not None
        write(folder, {"power/runtime_status": "suspended"})
        while report.devices[0].state != "asleep":
            report = following()
        assert report.devices[0].power_w is None and report.devices[1].state == "ok"


def test_asked_once_it_looks_as_often_as_it_takes(machine: Graphics, agent: Agent) -> None:
    machine.arc_xe(2, "0000:06:00.0")
    with program(machine, agent, b'{"every": null}') as following:
        (device,) = following().devices
    assert "known from the second reading on" not in device.missing.values()
    # A place on the bus is a name like another, also for its history.
    assert (agent.root / "devices/0000:06:00.0.ring").is_file()
