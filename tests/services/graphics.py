"""Graphics cards for tests, as Linux shows AMD's and Intel's: trees of files like those below /sys
and /proc. Names and formats are those of the kernel's documentation (amdgpu, drm-usage-stats, the
ABI of i915's and xe's sensors); the values are made up."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

GIB = 1 << 30


def write(folder: Path, files: Mapping[str, object]) -> None:
    """Files of a folder, by their paths in it."""
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")


class Graphics:
    """A machine with cards: `sysfs` and `proc` are where its kernel tells of them."""

    def __init__(self, root: Path) -> None:
        self.sysfs = root / "sys"
        self.proc = root / "proc"
        self.ids = root / "pci.ids"
        (self.sysfs / "class/drm").mkdir(parents=True)
        self.proc.mkdir()
        write(self.proc, {"meminfo": "MemTotal: 65536 kB\nMemFree: 1 kB\nMemAvailable: 16384 kB"})
        write(self.proc, {"self/mountinfo": "22 26 0:21 / /proc rw - proc proc rw"})
        write(self.sysfs / "class/drm", {"version": "drm 1.1.0 20060810"})
        self.ids.write_text(
            "# comment\n"
            "1002  Advanced Micro Devices, Inc. [AMD/ATI]\n"
            "\t15bf  Phoenix1\n"
            "\t744c  Navi 31 [Radeon RX 7900 XTX]\n"
            "\t\t1043 1234  A subsystem [of it]\n"
            "8086  Intel Corporation\n"
            "\t56a0  DG2 [Arc A770]\n"
        )

    # -- cards

    def card(
        self,
        number: int,
        pci: str,
        driver: str,
        files: Mapping[str, object],
        *,
        bridges: Iterable[tuple[str, Mapping[str, object]]] = (),
    ) -> Path:
        """A card: the folder of its PCI device, with these files. Those of the card itself begin
        with `card/`."""
        folder = self.sysfs / f"devices/pci{pci[:7]}"
        for name, said in bridges:
            folder /= name
            write(folder, said)
        folder /= pci
        place = folder / f"drm/card{number}"
        place.mkdir(parents=True)
        (folder / f"drm/renderD{128 + number}").mkdir()
        (place / "device").symlink_to(f"../../../{pci}")
        for name, value in files.items():
            at = place if name.startswith("card/") else folder
            write(at, {name.removeprefix("card/"): value})
        drivers = self.sysfs / "bus/pci/drivers" / driver
        drivers.mkdir(parents=True, exist_ok=True)
        (folder / "driver").symlink_to(drivers)
        drm = self.sysfs / "class/drm"
        for name in (f"card{number}", f"renderD{128 + number}"):
            (drm / name).symlink_to(folder / "drm" / name)
        (drm / f"card{number}-DP-1").mkdir()
        return folder

    def unplug(self, folder: Path, number: int) -> None:
        """A card is not there any more."""
        drm = self.sysfs / "class/drm"
        for name in (f"card{number}", f"renderD{128 + number}"):
            (drm / name).unlink()
        shutil.rmtree(drm / f"card{number}-DP-1")
        shutil.rmtree(folder)

    def instinct(self, number: int, pci: str, **changed: object) -> Path:
        """An MI300X."""
        files: dict[str, object] = {
            "vendor": "0x1002",
            "device": "0x74a1",
            "product_name": "AMD Instinct MI300X OAM",
            "unique_id": f"{0xA1B2C3D4E5F60000 + number:016x}",
            "gpu_busy_percent": 97,
            "mem_busy_percent": 41,
            "mem_info_vram_total": 192 * GIB,
            "mem_info_vram_used": 70 * GIB,
            "mem_info_gtt_total": 64 * GIB,
            "mem_info_gtt_used": 1 << 20,
            "current_link_speed": "32.0 GT/s PCIe",
            "current_link_width": 16,
            "pp_dpm_sclk": "0: 500Mhz\n1: 1200Mhz *\n2: 2100Mhz",
            "power/runtime_status": "active",
            "ras/umc_err_count": "ue: 0\nce: 3",
            "hwmon/hwmon5/name": "amdgpu",
            "hwmon/hwmon5/temp2_input": 61000,
            "hwmon/hwmon5/temp2_label": "junction",
            "hwmon/hwmon5/temp3_input": 54500,
            "hwmon/hwmon5/temp3_label": "mem",
            "hwmon/hwmon5/power1_input": 612000000,
            "hwmon/hwmon5/power1_cap": 750000000,
            "hwmon/hwmon5/freq1_input": 1200000000,
            "hwmon/hwmon5/freq1_label": "sclk",
            "hwmon/hwmon5/freq2_input": 1300000000,
            "hwmon/hwmon5/freq2_label": "mclk",
        }
        return self.card(number, pci, "amdgpu", {**files, **changed})

    def laptop(self, number: int = 0, pci: str = "0000:c1:00.0") -> Path:
        """A processor with graphics of AMD's: a little memory of its own, the rest the host's."""
        return self.card(
            number,
            pci,
            "amdgpu",
            {
                "vendor": "0x1002",
                "device": "0x15bf",
                "gpu_busy_percent": 4,
                "mem_info_vram_total": 512 << 20,
                "mem_info_vram_used": 300 << 20,
                "mem_info_gtt_total": 16 * GIB,
                "mem_info_gtt_used": 2 * GIB,
                "current_link_speed": "16.0 GT/s PCIe",
                "current_link_width": 16,
                "power/runtime_status": "active",
                "hwmon/hwmon3/name": "amdgpu",
                "hwmon/hwmon3/in1_input": 712,
                "hwmon/hwmon3/in1_label": "vddnb",
                "hwmon/hwmon3/temp1_input": 44000,
                "hwmon/hwmon3/temp1_label": "edge",
                "hwmon/hwmon3/power1_average": 6150000,
                "hwmon/hwmon3/freq1_input": 800000000,
                "hwmon/hwmon3/freq1_label": "sclk",
            },
        )

    def arc_xe(self, number: int, pci: str, **changed: object) -> Path:
        """An Arc A770 with the driver xe."""
        files: dict[str, object] = {
            "vendor": "0x8086",
            "device": "0x56a0",
            "power/runtime_status": "active",
            "tile0/gt0/freq0/act_freq": 2350,
            "tile0/gt0/freq0/cur_freq": 2400,
            "tile0/gt0/freq0/rp0_freq": 2400,
            "tile0/gt0/freq0/throttle/status": 0,
            "tile0/gt0/gtidle/idle_residency_ms": 5000,
            "hwmon/hwmon2/name": "xe",
            "hwmon/hwmon2/energy2_input": 1000000000,
            "hwmon/hwmon2/energy2_label": "pkg",
            "hwmon/hwmon2/power2_max": 190000000,
            "hwmon/hwmon2/temp2_input": 58000,
            "hwmon/hwmon2/temp2_label": "pkg",
            "hwmon/hwmon2/temp3_input": 62000,
            "hwmon/hwmon2/temp3_label": "vram",
            "hwmon/hwmon2/fan1_input": 1100,
        }
        return self.card(number, pci, "xe", {**files, **changed})

    def arc_i915(self, number: int, pci: str, **changed: object) -> Path:
        """An Arc A770 with the driver i915."""
        files: dict[str, object] = {
            "vendor": "0x8086",
            "device": "0x56a0",
            "power/runtime_status": "active",
            "card/gt_act_freq_mhz": 2300,
            "card/gt_cur_freq_mhz": 2400,
            "card/gt_RP0_freq_mhz": 2400,
            "card/gt/gt0/rc6_residency_ms": 5000,
            "card/gt/gt0/throttle_reason_status": 0,
            "hwmon/hwmon2/name": "i915",
            "hwmon/hwmon2/energy1_input": 2000000000,
            "hwmon/hwmon2/power1_max": 190000000,
            "hwmon/hwmon2/temp1_input": 51000,
            "hwmon/hwmon2/fan1_input": 900,
            "hwmon/hwmon3/name": "i915_gt0",
            "hwmon/hwmon3/energy1_input": 7,
        }
        return self.card(number, pci, "i915", {**files, **changed})

    # -- processes

    def opens(
        self, pid: int, number: int, fdinfo: Mapping[str, object] | None, *, fd: int = 5
    ) -> None:
        """A process opens a card, or is accounted something else since. None: its kernel accounts
        nothing."""
        folder = self.proc / str(pid)
        for name in ("fd", "fdinfo"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        link = folder / "fd" / str(fd)
        if not link.is_symlink():
            link.symlink_to(f"/dev/dri/renderD{128 + number}")
        lines = "".join(f"{key}:\t{value}\n" for key, value in (fdinfo or {}).items())
        (folder / "fdinfo" / str(fd)).write_text(f"pos:\t0\nflags:\t02100002\nmnt_id:\t26\n{lines}")

    def stranger(self, pid: int) -> None:
        """A process that we may not look into."""
        (self.proc / str(pid) / "fd").mkdir(parents=True)
        (self.proc / str(pid) / "fd").chmod(0)

    def ends(self, pid: int) -> None:
        """A process is gone."""
        shutil.rmtree(self.proc / str(pid))

    # -- KFD

    def kfd_device(self, node: int, pci: str, ident: int, *, part: int = 0) -> None:
        """A device, or a part of one, as KFD knows it."""
        domain, bus, rest = pci.split(":")
        slot, function = rest.split(".")
        location = int(bus, 16) << 8 | int(slot, 16) << 3 | int(function) | part << 28
        folder = self.sysfs / f"class/kfd/kfd/topology/nodes/{node}"
        said = (
            f"cpu_cores_count 0\nsimd_count 1216\nlocation_id {location}\ndomain {int(domain, 16)}"
        )
        write(folder, {"gpu_id": ident, "properties": said})
        (self.sysfs / "class/kfd/kfd/proc").mkdir(parents=True, exist_ok=True)

    def computes(self, pid: int, held: Mapping[int, int], queues: Iterable[int] = ()) -> None:
        """A process that computes: what KFD calls a device -> bytes it holds there."""
        folder = self.sysfs / f"class/kfd/kfd/proc/{pid}"
        write(folder, {"pasid": 32770, **{f"vram_{ident}": size for ident, size in held.items()}})
        (folder / "queues").mkdir(exist_ok=True)
        for number, ident in enumerate(queues):
            write(folder / "queues", {f"{number}/gpuid": ident})

    def stops_computing(self, pid: int) -> None:
        """KFD does not know a process any more."""
        shutil.rmtree(self.sysfs / f"class/kfd/kfd/proc/{pid}")
