"""What stands in the Fleet's list: which rows a place has, in which order, and how many of its
devices are busy. Pure, and a place at a time: one that says something new costs itself alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, NamedTuple

from traindeck.backends.data import dataclass
from traindeck.backends.devices.readings import Device, DeviceProcess

from .ages import spoken
from .cells import clean
from .device_words import STALE, idle_for, is_busy, main_process, short_name

if TYPE_CHECKING:
    from traindeck.console.runs.fleet import PlaceDevices

FOLDS_FROM = 5
"""Devices from which on those of a place that does not answer are folded."""
HOST, USER = "host", "user"
"""What the rows may stand below."""
FREE, SILENT = "free", "not answering"
"""The groups of devices that nobody is on, and of those that nothing is known of now."""


SOMEBODY = "@"
"""Before the name of another user, whose group could not be told from these two otherwise."""


class RowId(NamedTuple):
    """What a row is of: a "device" or a "slice" (`what` is its UUID), a "note" about a place
    (`what` is its number among them), or "more": the devices that are folded."""

    kind: str
    place: str
    what: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Which rows are shown, and how they are grouped.

    Attributes:
        group: `HOST` or `USER`.
        idle: Only what is free, or held and idle.
        text: Words, all of which have to be found in what is said of a device.
        opened: Places that do not answer whose devices are shown all the same.
        sample: How many devices of one that is folded are shown.
        alone: There is no other place.
    """

    group: str = HOST
    idle: bool = False
    text: str = ""
    opened: frozenset[str] = frozenset()
    sample: int = 3
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many devices there are; slices are not counted. `warned`: busy or free, but look at it;
    or lost, which is neither. `unknown`: what nothing is known of now."""

    total: int = 0
    busy: int = 0
    free: int = 0
    warned: int = 0
    unknown: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            total=self.total + other.total,
            busy=self.busy + other.busy,
            free=self.free + other.free,
            warned=self.warned + other.warned,
            unknown=self.unknown + other.unknown,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one place has in the list: its rows by the group they stand in, and its tally."""

    rows: Mapping[str, tuple[RowId, ...]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)


def part_of(
    place: PlaceDevices, now: float, every: float, shown: Shown, names: Mapping[str, str]
) -> Part:
    """The rows of a place, and what they come to."""
    old = is_stale(place, now, every)
    rows: dict[str, list[RowId]] = {}
    words = shown.text.casefold().split()
    for device in place.devices:
        if shown.idle or words:
            kept = _kept(place, device, old, shown, words, names)
            if not kept:
                continue
        group = place.name if shown.group == HOST else _owner(place, device, old)
        found = rows.setdefault(group, [])
        found.append(RowId("device", place.name, device.uuid))
        found += [RowId("slice", place.name, one.uuid) for one in device.mig]
    if old and shown.group == HOST and not words and place.name in rows:
        rows[place.name] = _folded(place, rows[place.name], shown)
    if not words and not shown.idle:
        notes = notes_of(place, now, alone=shown.alone)
        group = place.name if shown.group == HOST else SILENT
        said = [RowId("note", place.name, str(number)) for number in range(len(notes))]
        if said:
            rows.setdefault(group, []).extend(said)
    return Part(rows={key: tuple(ids) for key, ids in rows.items()}, tally=tally_of(place, old))


def _folded(place: PlaceDevices, ids: list[RowId], shown: Shown) -> list[RowId]:
    if len(place.devices) < FOLDS_FROM or place.name in shown.opened:
        return ids
    first = {one.uuid for device in place.devices[: shown.sample] for one in (device, *device.mig)}
    return [*(row for row in ids if row.what in first), RowId("more", place.name)]


def _kept(
    place: PlaceDevices, device: Device, old: bool, shown: Shown, words: list[str],
    names: Mapping[str, str],
) -> bool:  # fmt: skip
    parts = (device, *device.mig)
    if shown.idle and (old or not any(_available(place, one) for one in parts)):
        return False
    if not words:
        return True
    said = " ".join(_said(place, device, old, names)).casefold()
    return all(word in said for word in words)


def _available(place: PlaceDevices, device: Device) -> bool:
    if device.state not in ("ok", "asleep"):
        return False
    return not is_busy(device) or seen_idle(place, device) is not None


def _said(place: PlaceDevices, device: Device, old: bool, names: Mapping[str, str]) -> list[str]:
    """The words by which a device can be found."""
    known = not old and device.state in ("ok", "asleep")
    state = (SILENT if old else device.state) if not known else "busy" if is_busy(device) else FREE
    found = [place.name, state]
    for one in (device, *device.mig):
        found += [one.name or "", one.uuid, one.pci or "", "slowed" if one.slowed else ""]
        if known and seen_idle(place, one) is not None:
            found.append("idle")
        for process in one.processes:
            yours = place.report is not None and process.user == place.report.user
            run = process.run or ""
            found += [process.user or "", "you" if yours else "", process.command or ""]
            found += [run, names.get(run, ""), str(process.pid)]
    return found


def _owner(place: PlaceDevices, device: Device, old: bool) -> str:
    """The group of a device where they stand below those who are on them."""
    if old or device.state not in ("ok", "asleep"):
        return SILENT
    busiest = max(
        (one for one in map(main_process, (device, *device.mig)) if one is not None),
        key=lambda one: (one.kind != "graphics", one.memory_bytes or 0),
        default=None,
    )
    if busiest is None or busiest.kind == "graphics":
        return FREE
    if place.report is not None and busiest.user == place.report.user and busiest.user:
        return "you"
    return f"{SOMEBODY}{busiest.user}" if busiest.user else SOMEBODY


def group_order(group: str) -> tuple[int, str]:
    """Where a group of `USER` stands: yours first, what nobody can use last."""
    return {"you": 0, FREE: 2, SILENT: 3}.get(group, 1), group


# --------------------------------------------------------------------------------- what is known


def is_stale(place: PlaceDevices, now: float, every: float) -> bool:
    """Whether what a place said last is no longer how it is."""
    old = place.age(now)
    if place.problem:
        return True
    return old is not None and min(old, now - place.asked) > STALE * every


def seen_idle(place: PlaceDevices, device: Device) -> float | None:
    """Seconds for which a device that is held was not seen to compute when its place said so last,
    if that is long enough to be said."""
    return idle_for(device, place.report.observed_at) if place.report is not None else None


def warned(place: PlaceDevices, device: Device) -> bool:
    """Whether a device that answers needs to be looked at."""
    if device.state in ("lost", "error") or device.health or device.ecc_uncorrected:
        return True
    return bool(device.slowed) or seen_idle(place, device) is not None


def tally_of(place: PlaceDevices, old: bool) -> Tally:
    """How many of a place's devices are busy, free, to be looked at, or unknown."""
    total = len(place.devices)
    if old:
        return Tally(total=total, unknown=total)
    busy = free = bad = unknown = 0
    for device in place.devices:
        if device.state in ("silent", "error"):
            unknown += 1
        elif device.state != "lost":
            busy += is_busy(device)
            free += not is_busy(device)
        bad += any(warned(place, one) for one in (device, *device.mig))
    return Tally(total=total, busy=busy, free=free, warned=bad, unknown=unknown)


def notes_of(place: PlaceDevices, now: float, *, alone: bool = False) -> list[str]:
    """What is to be said of a place beside its devices, or instead. `alone`: no other is asked."""
    report, name = place.report, clean(place.name)
    if report is None:
        return [clean(place.problem) if place.problem else f"asking {name}…"]
    said = [clean(words) for words in report.problems.values()]
    if report.asking:
        said.append(f"The driver on {name} is being asked since {spoken(report.asking)}.")
    if not report.devices and not said:
        said.append(f"No GPU here: no NVIDIA, AMD or Intel driver was found on {name}.")
        if alone:
            said.append("To see those of another machine: traindeck backends add ssh HOST")
    return said


def kinds(devices: tuple[Device, ...]) -> str:
    """Devices by kind: `4 × H100`, `6 × A100, 2 × T4`."""
    counted: dict[str, int] = {}
    for device in devices:
        name = short_name(device)
        counted[name] = counted.get(name, 0) + 1
    if len(counted) > 2:
        return f"{len(devices)} GPUs of {len(counted)} kinds"
    return ", ".join(
        f"{number} × {name}" if name else f"{number} unnamed" for name, number in counted.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A device of a row, with what stands above it: `above` is the main process of the device
    before it at its place."""

    place: PlaceDevices
    device: Device
    above: DeviceProcess | None = None
    parent: Device | None = None


def find(place: PlaceDevices, uuid: str) -> Found | None:
    """A device or slice of a place; None if it is gone."""
    above = None
    for device in place.devices:
        for one in (device, *device.mig):
            if one.uuid == uuid:
                parent = None if one is device else device
                return Found(place=place, device=one, above=above, parent=parent)
            above = main_process(one)
    return None
