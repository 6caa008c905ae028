"""What is said of a device and of who is on it, in a few words: `top` and the Fleet screen say the
same. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from traindeck.backends.data import dataclass
from traindeck.backends.devices.readings import Device, DeviceLease, DeviceProcess

from .ages import spoken
from .cells import Line, Span, clean
from .glyphs import Glyphs
from .numbers import UNKNOWN, plural

GIB = 1 << 30
STALE = 3.0
"""Times the time between two reports after which what was said last is shown as old."""
IDLE_SHOWN = 600.0
"""Seconds for which a held device was not seen to compute, from which on that is said."""

_BUILD = re.compile(r"[ -](?:\d+GB\b|HBM\d|SXM\d?|PCI-?e|NVL\d*\b)", re.IGNORECASE)

THROTTLED = {
    "hw_slowdown": "hardware slowdown",
    "sw_thermal": "too warm",
    "hw_thermal": "too hot",
    "hw_power_brake": "power brake",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """How processes are named.

    Attributes:
        you: The user whose processes are "you".
        names: Run id -> its name.
        whole: Say command lines with the folder of the program.
    """

    you: str = ""
    names: Mapping[str, str] | None = None
    whole: bool = False


def main_process(device: Device) -> DeviceProcess | None:
    """The process that stands for a device: of those that compute, the one that holds most."""
    return max(
        device.processes,
        key=lambda one: (one.kind != "graphics", one.memory_bytes or 0),
        default=None,
    )


def is_busy(device: Device) -> bool:
    """Whether it is somebody's: a run has it, a process computes on it or on a slice of it, or its
    memory is held by whom we cannot see. What a desktop draws is no reason."""
    several = (device, *device.mig)
    if any(part.lease is not None for part in several) or is_held_unseen(device):
        return True
    return any(one.kind != "graphics" for part in several for one in part.processes)


def is_held_unseen(device: Device) -> bool:
    """Whether more memory is held than a driver takes, and by no process that can be seen: one of a
    container, or one that left it behind."""
    if device.processes or device.mig or device.memory_kind != "device":
        return False
    least = max(GIB, 0.02 * (device.memory_total_bytes or 0))
    return (device.memory_used_bytes or 0) >= least


def lessee(lease: DeviceLease, whose: Whose) -> Line:
    """Who has a device leased: whose run, and which."""
    mine = lease.user is not None and lease.user == whose.you
    user = "you" if mine else clean(lease.user or "somebody")
    name = (whose.names or {}).get(lease.run or "", lease.name or lease.run or "a run")
    return (Span(user, "text"), Span(f" {clean(name)}", "text"))


def percent(value: float | None) -> str:
    """A share of 100 as a whole number."""
    return UNKNOWN if value is None else f"{value:.0f}"


def gigabytes(value: int | None) -> str:
    """Bytes in GiB, to a tenth."""
    return UNKNOWN if value is None else f"{value / GIB:.1f}"


def short_name(device: Device) -> str:
    """What a device is called where there is little room: without its maker, a slice without what
    it is one of."""
    name = clean(device.name or "")
    if device.uuid.startswith("MIG-") and " MIG " in name:
        return "MIG " + name.rpartition(" MIG ")[2]
    for maker in ("NVIDIA ", "AMD ", "Intel ", "GeForce ", "Tesla ", "Instinct "):
        name = name.removeprefix(maker)
    # What it is plugged into and how much memory it has stand elsewhere.
    return _BUILD.split(name, maxsplit=1)[0] or name


def who(
    device: Device, above: DeviceProcess | None, whose: Whose, now: float, glyphs: Glyphs
) -> Line:
    """Whose a device is, after what is wrong with it. `above`: the main process of the device above
    it, if that is the same place's."""
    warning = trouble(device, now, glyphs)
    if device.state != "ok":
        return warning
    main = main_process(device)
    if main is None:
        gap = (Span(" "),) if warning else ()
        if device.lease is not None:
            return (*warning, *gap, *lessee(device.lease, whose), Span(" · leased", "muted"))
        if is_held_unseen(device):
            return (*warning, *gap, Span("held by no visible process", "muted"))
        return warning or (Span("free" if not device.mig else "", "muted"),)
    more = len({one.pid for one in device.processes}) - 1
    rest = (Span(f" +{more}", "muted"),) if more else ()
    gap = (Span(" "),) if warning else ()
    if above is not None and above.run is not None and above.run == main.run and main.rank:
        return (*warning, *gap, Span(f"└ rank {main.rank}", "muted"), *rest)
    return (*warning, *gap, *owner(main, whose), *rest)


def owner(process: DeviceProcess, whose: Whose) -> Line:
    """A process in a few words: whose, and which run, else its command."""
    if process.hidden:
        why = {
            "container": "of the host",
            "hidepid": "hidden by the system (hidepid)",
            "gone": "is gone, its memory is not",
        }
        return (Span(f"pid {process.pid} {why.get(process.hidden, '')}".rstrip(), "muted"),)
    mine = process.user is not None and process.user == whose.you
    user = Span("you" if mine else clean(process.user or f"pid {process.pid}"), "text")
    if process.run is not None:
        name = (whose.names or {}).get(process.run, process.run)
        rank = f" rank {process.rank}" if process.rank else ""
        return (user, Span(f" {clean(name)}{rank}", "text"))
    where = f" · {process.container}" if process.container else ""
    return (user, Span(f" {command(process, whole=whose.whole)}{clean(where)}", "muted"))


def command(process: DeviceProcess, *, whole: bool = False) -> str:
    """Its command line; the program without its folder, unless `whole`."""
    text = clean(process.command or f"pid {process.pid}")
    program, space, rest = text.partition(" ")
    return text if whole else program.rpartition("/")[2] + space + rest


def idle_for(device: Device, now: float) -> float | None:
    """Seconds for which a device that is held was watched and not seen to compute, if that is long
    enough to be said."""
    if device.idle_since is None or now - device.idle_since < IDLE_SHOWN:
        return None
    return now - device.idle_since


def trouble(device: Device, now: float, glyphs: Glyphs) -> Line:
    """What is wrong with a device, in a few words; nothing if nothing is."""
    if device.state == "asleep":
        return (Span("asleep, to save power", "muted"),)
    if device.state == "silent":
        return (Span(f"{glyphs.unknown} the driver does not come back", "stale"),)
    if device.state == "lost":
        return (Span(f"{glyphs.warning} lost: it fell off the bus", "warn"),)
    if device.state != "ok":
        words = clean(device.problem or "its driver does not answer")
        return (Span(f"{glyphs.warning} {words}", "warn"),)
    if device.health:
        return (Span(f"{glyphs.warning} {clean(device.health[0])}", "warn"),)
    if device.ecc_uncorrected:
        errors = plural(device.ecc_uncorrected, "uncorrected ECC error")
        return (Span(f"{glyphs.warning} {errors}", "warn"),)
    if (idle := idle_for(device, now)) is not None:
        return (Span(f"{glyphs.warning} held {spoken(idle)}, idle", "warn"),)
    if device.slowed:
        why = THROTTLED.get(device.slowed[0], device.slowed[0])
        return (Span(f"{glyphs.warning} slowed, {why}", "warn"),)
    return ()
