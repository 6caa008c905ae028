"""NVIDIA devices without one: a stand-in for the driver's library (tests/standins/nvml, in C) and
what it is to say, as data.

    nvml = Nvml(tmp_path, h100(8), driver="535")
    subprocess.run([...], env={**os.environ, **nvml.environ()})
    nvml.show(nvml.state.card(3, lost=1))     # while programs read it
    nvml.calls()["nvmlDeviceGetMemoryInfo_v2"]

Units are NVML's: bytes, mW, mJ, °C, MHz, percent. A field that is None has no line, and is not
supported; one that is the name of an error (`"NO_PERMISSION"`) fails with it; `counter` makes one
that grows. What the state's file may say stands in tests/standins/nvml/state.h.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.services import need

SOURCES = Path(__file__).parent.parent / "standins" / "nvml"

GB = 1 << 30
MB = 1 << 20

DRIVERS = {
    "450": (450_036, "450.36.06", 11000),
    "470": (470_000, "470.256.02", 11040),
    "510": (510_000, "510.108.03", 11060),
    "515": (515_000, "515.105.01", 11070),
    "520": (520_000, "520.61.05", 11080),
    "525": (525_000, "525.147.05", 12000),
    "535.54": (535_054, "535.54.03", 12020),
    "535": (535_183, "535.183.06", 12020),
    "550": (550_144, "550.144.03", 12040),
    "555": (555_058, "555.58.02", 12050),
    "570": (570_172, "570.172.08", 12080),
    "575": (575_057, "575.57.08", 12090),
    "580": (580_095, "580.95.05", 13000),
}
"""Drivers that can be stood in for: branch × 1000 + minor, as tests/standins/nvml/functions.h has
them; the version; the CUDA version. 450.36 is older than every second version of the process
lists (450.66); 535.54 is the first of its branch, with the wide records."""

Value = int | float | str | tuple[int, ...] | None


def counter(start: float, per_second: float, since: float | None = None) -> str:
    """A value that grows from the epoch second `since`, now if that is None."""
    return f"{start!r}+{per_second!r}@{time.time() if since is None else since!r}"


@dataclass(frozen=True, kw_only=True)
class Proc:
    """A process on a device. With a utilisation it has a sample of it, taken when the state was
    written (or at `at`, in µs of the epoch)."""

    pid: int = 1
    type: str = "C"
    """C computes, G draws, C+G both, M is a client of MPS."""
    memory: int | None = 0
    """None is "not available", which NVML says as 2^64-1."""
    gi: int | None = None
    ci: int | None = None
    sm: int | None = None
    mem: int | None = None
    enc: int | None = None
    dec: int | None = None
    at: int | None = None

    def line(self) -> str:
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        words = [f"{key}={value}" for key, value in said.items() if value is not None]
        return " ".join([*words, *(["memory=n/a"] if self.memory is None else [])])


@dataclass(frozen=True, kw_only=True)
class _Section:
    uuid: str = ""
    name: Value = None
    memory_total: Value = None
    memory_used: Value = None
    """Without what the driver keeps for itself, as version 2 of the call has it."""
    memory_reserved: Value = None
    bar1_total: Value = None
    bar1_used: Value = None
    processes: tuple[Proc, ...] = ()
    processes_refused: Value = None
    more: Mapping[str, Value] = field(default_factory=dict)
    """Lines by their key in the file: `field.138:0`, `gpm.2`, `nvlink.0`, `delay.FUNCTION`, …"""

    def lines(self) -> list[str]:
        lines = []
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and one.name not in _APART:
                lines.append(_line(one.name.replace("_", "."), value))
        if self.processes_refused is not None:
            lines.append(_line("processes", self.processes_refused))
        lines += [_line(key, value) for key, value in self.more.items() if value is not None]
        return lines + [_line("process", process.line()) for process in self.processes]


_APART = {"processes", "processes_refused", "more", "slices", "events"}
"""Fields that are more or less than the one line of their name."""


def _line(key: str, value: Value) -> str:
    return f"{key} = {' '.join(map(str, value)) if isinstance(value, tuple) else value}"


@dataclass(frozen=True, kw_only=True)
class Slice(_Section):
    """A MIG device."""

    gi: Value = None
    ci: Value = 0
    index: Value = None
    attributes: Value = None
    """SMs, copy engines, decoders, encoders, JPEG, OFA, slices of the GPU instance, of the compute
    instance, MB."""


@dataclass(frozen=True, kw_only=True)
class Card(_Section):
    """A device. The name of a field with `_` as `.` is its key in the file."""

    serial: Value = None
    minor: Value = None
    pci: Value = None
    pci_device: Value = None
    pci_subsystem: Value = None
    brand: Value = None
    architecture: Value = None
    capability: Value = None
    cores: Value = None
    numa: Value = None
    addressing: Value = None
    utilization_gpu: Value = None
    utilization_memory: Value = None
    encoder: Value = None
    decoder: Value = None
    power: Value = None
    power_average: Value = None
    power_instant: Value = None
    power_enforced: Value = None
    power_limit: Value = None
    power_default: Value = None
    power_min: Value = None
    power_max: Value = None
    energy: Value = None
    temperature: Value = None
    temperature_memory: Value = None
    temperature_shutdown: Value = None
    temperature_slowdown: Value = None
    fan: Value = None
    fans: Value = None
    clock_graphics: Value = None
    clock_sm: Value = None
    clock_memory: Value = None
    clock_video: Value = None
    clock_graphics_max: Value = None
    clock_sm_max: Value = None
    clock_memory_max: Value = None
    clock_video_max: Value = None
    pstate: Value = None
    persistence: Value = None
    compute: Value = None
    display_mode: Value = None
    display_active: Value = None
    reasons: Value = None
    reasons_supported: Value = None
    ecc: Value = None
    ecc_pending: Value = None
    ecc_corrected_volatile: Value = None
    ecc_uncorrected_volatile: Value = None
    ecc_corrected_aggregate: Value = None
    ecc_uncorrected_aggregate: Value = None
    remapped: Value = None
    retired_pending: Value = None
    recovery: Value = None
    pcie_generation: Value = None
    pcie_generation_max: Value = None
    pcie_width: Value = None
    pcie_width_max: Value = None
    pcie_tx: Value = None
    pcie_rx: Value = None
    pcie_tx_bytes: Value = None
    pcie_rx_bytes: Value = None
    nvlinks: Value = None
    samples_gpu: Value = None
    samples_memory: Value = None
    events_supported: Value = None
    mig: Value = None
    gpm: Value = None
    lost: Value = None
    hang: Value = None
    live: Value = None
    slices: tuple[Slice, ...] = ()
    events: tuple[tuple[int, ...], ...] = ()
    """(sequence, type, data[, gi, ci]); the sequence of a new one is larger than all before."""

    def lines(self) -> list[str]:
        lines = ["[device]", *super().lines()]
        lines += [_line("event", event) for event in self.events]
        for slice_ in self.slices:
            lines += ["[mig]", *slice_.lines()]
        return lines


@dataclass(frozen=True, kw_only=True)
class State:
    """All that the library says."""

    cards: tuple[Card, ...] = ()
    init: str | None = None
    """The name of the error that nvmlInit answers."""
    generation: int = 0
    """Another one is a driver that was reloaded under its clients."""
    stale: str | None = None
    """What clients of an older generation are answered; None is UNKNOWN."""
    driver: str | None = None
    cuda: int | None = None
    nvml: str | None = None
    """Versions; None is what belongs to the driver that is stood in for."""
    more: Mapping[str, Value] = field(default_factory=dict)

    def card(self, place: int, **changes: Any) -> State:
        """With these fields of one card changed."""
        cards = list(self.cards)
        cards[place] = replace(cards[place], **changes)
        return replace(self, cards=tuple(cards))

    def text(self) -> str:
        lines = [
            _line(name, getattr(self, name))
            for name in ("driver", "cuda", "nvml", "init", "generation", "stale")
            if getattr(self, name) is not None
        ]
        lines += [_line(key, value) for key, value in self.more.items() if value is not None]
        for card in self.cards:
            lines += card.lines()
        return "\n".join([*lines, ""])


class Nvml:
    """A library that stands in for a driver's, and the file that it answers from."""

    def __init__(self, folder: Path, state: State, driver: str = "580") -> None:
        self.library = library(driver)
        self.driver = driver
        self.state = state
        self.file = folder / "nvml.state"
        self.counts = folder / "nvml.calls"
        self._written = 0
        self.show(state)

    def show(self, state: State) -> None:
        """From now on the library says this, to programs that run as well."""
        _, version, cuda = DRIVERS[self.driver]
        self.state = state
        self.write(
            replace(
                state,
                driver=state.driver or version,
                cuda=state.cuda or cuda,
                nvml=state.nvml or f"{cuda // 1000}.{version}",
            ).text()
        )

    def write(self, text: str) -> None:
        """A state as its text, wrong ones too."""
        beside = self.file.with_suffix(".new")
        beside.write_text(text)
        # The kernel's clock moves in steps of some ms, and an inode can come back.
        self._written = max(self._written + 1000, time.time_ns())
        os.utime(beside, ns=(self._written, self._written))
        beside.rename(self.file)

    def environ(self, *, counted: bool = False) -> dict[str, str]:
        """What a program needs in its environment to find the library and its state."""
        found = {"LD_LIBRARY_PATH": str(self.library), "NVML_STANDIN": str(self.file)}
        return found | ({"NVML_STANDIN_CALLS": str(self.counts)} if counted else {})

    def calls(self) -> dict[str, int]:
        """How often each function was called by programs that were started `counted`."""
        said = self.counts.read_bytes() if self.counts.exists() else b""
        slots = (struct.unpack("=56sQ", said[at : at + 64]) for at in range(0, len(said), 64))
        return {name.rstrip(b"\0").decode(): count for name, count in slots if count}


def functions() -> dict[str, int]:
    """Every function that the stand-in has, with the first driver (as in DRIVERS) that had it."""
    found = re.findall(r"F\((\d+), (nvml\w+)\)", (SOURCES / "functions.h").read_text())
    return {name: int(since) for since, name in found}


@cache
def library(driver: str) -> Path:
    """The folder with `libnvidia-ml.so.1` of this driver, built unless its sources were built
    before; by any number of processes at once."""
    gcc = need("gcc", "gcc libc6-dev")
    number = DRIVERS[driver][0]
    sources = sorted(SOURCES.glob("*.[ch]"))
    mark = hashlib.sha256(b"".join([*(s.read_bytes() for s in sources), _FLAGS_MARK])).hexdigest()
    folder = _cache() / f"{mark[:16]}-{driver}"
    if folder.exists():
        return folder
    exported = "; ".join(name for name, since in functions().items() if since <= number)
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder.parent) as beside:
        script, made = Path(beside) / "exported", Path(beside) / "made"
        script.write_text(f"{{ global: {exported}; local: *; }};\n")
        made.mkdir(mode=0o755)
        done = subprocess.run(
            [
                gcc, *_FLAGS, f"-DDRIVER={number}", f"-Wl,--version-script={script}",
                "-o", str(made / "libnvidia-ml.so.1"),
                *(str(one) for one in sources if one.suffix == ".c"), "-lm",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        with suppress(OSError):  # another process was faster
            made.rename(folder)
    return folder


_FLAGS = (
    "-std=gnu11", "-Wall", "-Wextra", "-O1", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden",
    "-Wl,-soname,libnvidia-ml.so.1",
)  # fmt: skip
_FLAGS_MARK = " ".join(_FLAGS).encode()


def _cache() -> Path:
    """Where libraries are kept from one run of the tests to the next. Not in the checkout or in a
    home: tests run programs as other users too."""
    folder = Path(tempfile.gettempdir()) / f"traindeck-nvml-{os.getuid()}"
    folder.mkdir(mode=0o755, exist_ok=True)
    owner = folder.lstat()
    assert owner.st_uid == os.getuid() and not owner.st_mode & 0o022, f"{folder} is not only ours"
    return folder


def _uuid(kind: str, *what: object) -> str:
    return f"{kind}-{uuid.uuid5(uuid.NAMESPACE_OID, ' '.join(map(str, what)))}"


ALL_REASONS = 0x1FF
EVENTS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x100


def h100(count: int = 1) -> State:
    """A node of H100 SXM, idle."""
    return State(cards=tuple(_h100(place) for place in range(count)))


def _h100(place: int) -> Card:
    links: dict[str, Value] = {}
    for link in range(18):
        # Each link goes to one of the four switches of the node.
        links |= {f"nvlink.{link}": 1, f"nvlink.{link}.version": 7}
        links |= {f"nvlink.{link}.remote": f"00000000:{7 + link % 4:02X}:00.0"}
        links |= {f"nvlink.{link}.type": 1}
        links |= {f"field.138:{link}": f"u64 {1000 + link}", f"field.139:{link}": "u64 2000"}
    gpm: dict[str, Value] = {"gpm.2": 0.0, "gpm.3": 0.0, "gpm.5": 0.0, "gpm.7": 0.0, "gpm.10": 0.0}
    return Card(
        uuid=_uuid("GPU", "h100", place), name="NVIDIA H100 80GB HBM3",
        serial=f"165232300{place:04}", minor=place,
        pci=f"00000000:{0x18 + 0x10 * place:02X}:00.0", pci_device=0x233010DE,
        pci_subsystem=0x16C110DE, brand=14, architecture=9, capability=(9, 0), cores=16896,
        numa=place // 4, addressing=0,
        memory_total=81559 * MB, memory_used=4 * MB, memory_reserved=551 * MB,
        bar1_total=131072 * MB, bar1_used=1 * MB,
        utilization_gpu=0, utilization_memory=0, encoder=0, decoder=0,
        power=71_000, power_average=71_000, power_instant=70_500, power_enforced=700_000,
        power_limit=700_000, power_default=700_000, power_min=200_000, power_max=700_000,
        energy=123_456_789, temperature=31, temperature_memory=40, temperature_shutdown=92,
        temperature_slowdown=89,
        clock_graphics=345, clock_sm=345, clock_memory=2619, clock_video=765,
        clock_graphics_max=1980, clock_sm_max=1980, clock_memory_max=2619, clock_video_max=1545,
        pstate=0, persistence=1, compute=0, display_mode=1, display_active=0,
        reasons=1, reasons_supported=ALL_REASONS,
        ecc=1, ecc_pending=1, ecc_corrected_volatile=0, ecc_uncorrected_volatile=0,
        ecc_corrected_aggregate=0, ecc_uncorrected_aggregate=0, remapped=(0, 0, 0, 0), recovery=0,
        pcie_generation=5, pcie_generation_max=5, pcie_width=16, pcie_width_max=16,
        pcie_tx=1200, pcie_rx=3400, pcie_tx_bytes=10**9, pcie_rx_bytes=2 * 10**9, nvlinks=18,
        samples_gpu=(0,) * 12, samples_memory=(0,) * 12, events_supported=EVENTS, mig=0, gpm=1,
        more={**{f"policy.{n}": 0 for n in range(6)}, **links, **gpm, "fabric": (0, 0, 3, 0)},
    )  # fmt: skip


def a100_mig() -> State:
    """One A100 of 40 GB in three slices: 3g.20gb, 2g.10gb and 1g.5gb."""
    name = "NVIDIA A100-SXM4-40GB"
    shapes = (("3g.20gb", 2, 42, 3, 20096), ("2g.10gb", 3, 28, 2, 9984), ("1g.5gb", 9, 14, 1, 4864))
    slices = tuple(
        Slice(
            uuid=_uuid("MIG", "a100", gi), name=f"{name} MIG {shape}", gi=gi,
            memory_total=size * MB, memory_used=6 * MB, memory_reserved=0,
            bar1_total=32767 * MB, bar1_used=0,
            attributes=(sms, slots, slots // 2, 0, 0, 0, slots, slots, size),
        )
        for shape, gi, sms, slots, size in shapes
    )  # fmt: skip
    card = Card(
        uuid=_uuid("GPU", "a100"), name=name, serial="1563221012345", minor=0,
        pci="00000000:07:00.0", pci_device=0x20B010DE, pci_subsystem=0x134F10DE, brand=14,
        architecture=7, capability=(8, 0), cores=6912,
        memory_total=40960 * MB, memory_used=18 * MB, memory_reserved=571 * MB,
        bar1_total=65536 * MB, bar1_used=1 * MB,
        power=46_000, power_enforced=400_000, power_limit=400_000, power_default=400_000,
        power_min=100_000, power_max=400_000, energy=987_654_321,
        temperature=29, temperature_memory=30, temperature_shutdown=92, temperature_slowdown=89,
        clock_graphics=210, clock_sm=210, clock_memory=1215, clock_video=585,
        clock_graphics_max=1410, clock_sm_max=1410, clock_memory_max=1215, clock_video_max=1290,
        pstate=0, persistence=1, compute=0, display_mode=1, display_active=0,
        reasons=1, reasons_supported=ALL_REASONS, ecc=1, ecc_pending=1,
        ecc_corrected_volatile=0, ecc_uncorrected_volatile=0,
        ecc_corrected_aggregate=0, ecc_uncorrected_aggregate=0, remapped=(0, 0, 0, 0), recovery=0,
        pcie_generation=4, pcie_generation_max=4, pcie_width=16, pcie_width_max=16,
        pcie_tx=0, pcie_rx=0, nvlinks=12, events_supported=EVENTS, mig=1, slices=slices,
        more={"mig.max": 7},
    )  # fmt: skip
    return State(cards=(card,))


def rtx4090(count: int = 1) -> State:
    """A box of RTX 4090, idle; an X server draws on the first."""
    cards = tuple(
        Card(
            uuid=_uuid("GPU", "rtx4090", place), name="NVIDIA GeForce RTX 4090", minor=place,
            pci=f"00000000:{1 + place:02X}:00.0", pci_device=0x268410DE, pci_subsystem=0x88E21043,
            brand=5, architecture=8, capability=(8, 9), cores=16384,
            memory_total=24564 * MB, memory_used=(180 if place == 0 else 1) * MB,
            memory_reserved=437 * MB, bar1_total=32768 * MB, bar1_used=4 * MB,
            utilization_gpu=0, utilization_memory=0, encoder=0, decoder=0,
            power=21_500, power_average=21_500, power_instant=21_800, power_enforced=450_000,
            power_limit=450_000, power_default=450_000, power_min=150_000, power_max=600_000,
            energy=5_000_000, temperature=34, temperature_shutdown=95, temperature_slowdown=92,
            fan=30, fans=2,
            clock_graphics=210, clock_sm=210, clock_memory=405, clock_video=1185,
            clock_graphics_max=3105, clock_sm_max=3105, clock_memory_max=10501,
            clock_video_max=2415, pstate=8, persistence=0, compute=0, display_mode=1,
            display_active=int(place == 0),
            reasons=1, reasons_supported=ALL_REASONS,
            pcie_generation=1, pcie_generation_max=4, pcie_width=16, pcie_width_max=16,
            pcie_tx=0, pcie_rx=0, samples_gpu=(0,) * 12, samples_memory=(0,) * 12,
            events_supported=EVENTS & ~0x3,
            processes=(Proc(pid=1, type="G", memory=170 * MB),) if place == 0 else (),
            more={f"policy.{n}": 0 for n in range(6)},
        )
        for place in range(count)
    )  # fmt: skip
    return State(cards=cards)


def gb10() -> State:
    """A DGX Spark: its memory is the host's, so the driver names no size; no fan, no limit."""
    return State(
        cards=(
            Card(
                uuid=_uuid("GPU", "gb10"), name="NVIDIA GB10", minor=0, pci="0000000F:01:00.0",
                pci_device=0x2E1210DE, pci_subsystem=0x000010DE, brand=14, architecture=10,
                capability=(12, 1), cores=6144, numa=0, addressing=2,
                utilization_gpu=0, utilization_memory=0, encoder=0, decoder=0,
                power=4_500, power_average=4_500, power_instant=4_600, energy=42_000_000,
                temperature=38, clock_graphics=208, clock_sm=208, clock_video=598,
                clock_graphics_max=3003, clock_sm_max=3003, clock_video_max=3003,
                pstate=8, persistence=1, compute=0, display_mode=1, display_active=0,
                reasons=1, reasons_supported=ALL_REASONS,
                pcie_generation=1, pcie_generation_max=1, pcie_width=1, pcie_width_max=1,
                samples_gpu=(0,) * 12, events_supported=EVENTS & ~0x3,
            ),
        )
    )  # fmt: skip
