"""Accelerators as a screen or a command sees them: what a machine's agent said of them, with types.

What a device does not say is None, never 0. What the readings mean stands with those who take them
(payload/agent/devices). It may come from another machine: a value of the wrong kind counts as not
said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import field, fields, replace
from typing import Any

from traindeck.backends.data import dataclass

MOST_DEVICES = 1024
MOST_PROCESSES = 4096

BAD_THROTTLING = frozenset({"hw_slowdown", "sw_thermal", "hw_thermal", "hw_power_brake"})
"""The reasons for a lower clock that are not as it should be; a card at its power limit is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProcess:
    """A process on a device.

    Attributes:
        pid: As the driver names it: that of the machine, also in a container.
        kind: "compute", "graphics" or "mps".
        memory_bytes: What it holds; None where the driver does not say.
        utilization_pct: Its share of the device since the last look at that; None if not said.
        started: When it began, seconds since the epoch.
        container: What it runs in, in a few words.
        run, attempt, rank: Which run it belongs to, if it is one of this user's.
        idle_since: From when on it held memory and was not seen to compute, by this machine's
            clock; it was watched all the time. None if it computes, holds little, or that is not
            known.
        hidden: Why nothing is known but its pid: "container", "hidepid" or "gone".
        gi: The GPU instance (slice) it runs in.
    """

    pid: int = 0
    kind: str = "compute"
    memory_bytes: int | None = None
    utilization_pct: float | None = None
    user: str | None = None
    uid: int | None = None
    command: str | None = None
    start: int | None = None
    started: float | None = None
    container: str | None = None
    run: str | None = None
    attempt: int | None = None
    rank: int | None = None
    idle_since: float | None = None
    hidden: str | None = None
    gi: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLease:
    """Who has a device for themselves. What is not known of that is None.

    Attributes:
        user: Whose run it is.
        run, attempt, name: Which.
        since: From when on, seconds since the epoch, by the clock there.
    """

    user: str | None = None
    run: str | None = None
    attempt: int | None = None
    name: str | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """An accelerator, or a slice of one, as it was last.

    Attributes:
        uuid: What names it, for good. `index` is its place on the bus, for people.
        state: "ok", "lost", "asleep", "silent" or "error"; `problem` is a sentence about it.
        memory_kind: "device"; "reserved", if what the driver keeps for itself counts as used; or
            "shared" with the host.
        utilization_pct: Share of the time in which at least one kernel ran. It says nothing of how
            much of the device that used: `tensor_pct` and `sm_occupancy_pct` do, where there are.
        energy_j: A counter, since the driver was loaded.
        throttle_reasons: Why its clock is lower than it could be; None if it is not said.
        ecc_uncorrected, ecc_corrected: Errors since the driver was loaded.
        health: What is wrong with it for good, in words.
        idle_since: As of a process, of whoever is on it.
        lease: The run that has it for itself, whether it computes yet or not.
        mig_mode: Whether it is cut into slices; None if it cannot be.
        mig: Those slices.
        missing: Field -> why it is not said.
    """

    uuid: str = ""
    index: int | None = None
    name: str | None = None
    vendor: str | None = None
    pci: str | None = None
    state: str = "ok"
    problem: str | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_kind: str | None = None
    utilization_pct: float | None = None
    memory_activity_pct: float | None = None
    tensor_pct: float | None = None
    sm_activity_pct: float | None = None
    sm_occupancy_pct: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    energy_j: float | None = None
    temperature_c: float | None = None
    memory_temperature_c: float | None = None
    fan_pct: float | None = None
    pstate: int | None = None
    sm_clock_mhz: int | None = None
    sm_clock_max_mhz: int | None = None
    memory_clock_mhz: int | None = None
    throttle_reasons: tuple[str, ...] | None = None
    ecc_uncorrected: int | None = None
    ecc_corrected: int | None = None
    health: tuple[str, ...] = ()
    nvlink_links: int | None = None
    pcie_gen: int | None = None
    pcie_width: int | None = None
    idle_since: float | None = None
    lease: DeviceLease | None = None
    mig_mode: bool | None = None
    mig: tuple[Device, ...] = ()
    processes: tuple[DeviceProcess, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def slowed(self) -> tuple[str, ...]:
        """The reasons among `throttle_reasons` that are worth a warning."""
        return tuple(one for one in self.throttle_reasons or () if one in BAD_THROTTLING)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """What a machine said of its accelerators.

    Attributes:
        observed_at: When, by this machine's clock.
        devices: In the order of the bus.
        user: As whom the machine was asked.
        problems: Vendor -> a sentence, for a driver that cannot be asked.
        drivers: Vendor -> version.
        asking: Seconds for which a driver has not come back from being begun, else 0.
    """

    observed_at: float = 0.0
    devices: tuple[Device, ...] = ()
    user: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)
    drivers: Mapping[str, str] = field(default_factory=dict)
    asking: float = 0.0


class Told:
    """What was said so far: each line says only what is new. Used for one stream."""

    def __init__(self) -> None:
        self._raw: dict[str, dict[str, Any]] = {}
        self._devices: dict[str, Device] = {}
        self._problems: Mapping[str, str] = {}
        self._drivers: Mapping[str, str] = {}
        self._asking = 0.0
        self._user = ""

    def hear(self, line: Mapping[str, Any], now: float) -> DeviceReport:
        """Take in a line; what all of them come to."""
        for uuid in _list(line.get("gone")):
            self._raw.pop(str(uuid), None)
            self._devices.pop(str(uuid), None)
        at = _number(line.get("time"))
        ahead = 0.0 if at is None else now - at
        news = line.get("devices")
        for uuid, changed in news.items() if isinstance(news, dict) else ():
            if isinstance(changed, dict) and (uuid in self._raw or len(self._raw) < MOST_DEVICES):
                raw = self._raw.setdefault(uuid, {})
                raw.update(changed)
                self._devices[uuid] = device({**raw, "uuid": uuid}, ahead)
        if "user" in line:
            self._user = _text(line["user"]) or ""
        if "problems" in line:
            self._problems = _words(line["problems"])
        if "drivers" in line:
            self._drivers = _words(line["drivers"])
        if "asking" in line:
            self._asking = _number(line["asking"]) or 0.0
        ordered = sorted(self._devices.values(), key=lambda one: (one.index is None, one.index))
        return DeviceReport(
            observed_at=now,
            devices=tuple(ordered),
            user=self._user,
            problems=self._problems,
            drivers=self._drivers,
            asking=self._asking,
        )


def device(raw: Mapping[str, Any], ahead: float = 0.0) -> Device:
    """A device from what was said of it.

    Args:
        ahead: Seconds that this machine's clock is before the one of the device's.
    """
    made = Device(**_typed(_DEVICE, raw))
    return _at_our_time(made, ahead) if ahead else made


def _at_our_time(of: Device, ahead: float) -> Device:
    processes = tuple(
        one if one.idle_since is None else replace(one, idle_since=one.idle_since + ahead)
        for one in of.processes
    )
    since = None if of.idle_since is None else of.idle_since + ahead
    parts = tuple(_at_our_time(one, ahead) for one in of.mig)
    return replace(of, idle_since=since, processes=processes, mig=parts)


def _typed(readers: Mapping[str, Callable[[Any], Any]], raw: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in raw.items():
        reader = readers.get(name)
        if reader is not None and (good := reader(value)) is not None:
            found[name] = good
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _count(value)


def _count(value: Any) -> int | None:
    good = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    return value if good else None


def _text(value: Any) -> str | None:
    return value[:1000] if isinstance(value, str) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> tuple[str, ...] | None:
    return tuple(map(str, value[:100])) if isinstance(value, list) else None


def _words(value: Any) -> dict[str, str]:
    pairs = list(value.items())[:100] if isinstance(value, dict) else ()
    return {str(name): str(words)[:1000] for name, words in pairs}


def _processes(value: Any) -> tuple[DeviceProcess, ...]:
    found = (one for one in _list(value)[:MOST_PROCESSES] if isinstance(one, dict))
    return tuple(DeviceProcess(**_typed(_PROCESS, one)) for one in found)


def _slices(value: Any) -> tuple[Device, ...]:
    # A slice has none itself, whatever is said.
    return tuple(
        device({**one, "mig": None}) for one in _list(value)[:100] if isinstance(one, dict)
    )


def _lease(value: Any) -> DeviceLease | None:
    return DeviceLease(**_typed(_LEASE, value)) if isinstance(value, dict) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


_READERS: dict[str, Callable[[Any], Any]] = {
    "int": _count,
    "int | None": _count,
    "float | None": _number,
    "str": _text,
    "str | None": _text,
    "tuple[str, ...]": _texts,
    "tuple[str, ...] | None": _texts,
    "tuple[Device, ...]": _slices,
    "bool | None": _flag,
    "DeviceLease | None": _lease,
    "tuple[DeviceProcess, ...]": _processes,
    "Mapping[str, str]": _words,
}
_LEASE = {one.name: _READERS[str(one.type)] for one in fields(DeviceLease)}
_PROCESS = {one.name: _READERS[str(one.type)] for one in fields(DeviceProcess)}
_DEVICE = {one.name: _READERS[str(one.type)] for one in fields(Device)}
