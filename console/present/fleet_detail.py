"""The pane below the Fleet: the device under the cursor, what is wrong with it in words, who is on
it, and what one may do. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from traindeck.backends.devices.readings import BAD_THROTTLING, Device, DeviceProcess

from .ages import spoken
from .cells import Line, Span, clean, clip, clip_line, fit, fit_line, line_width, width
from .device_words import (
    THROTTLED,
    Whose,
    command,
    gigabytes,
    is_busy,
    is_held_unseen,
    lessee,
    main_process,
    percent,
    short_name,
)
from .fleet_rows import Found, is_stale, notes_of, seen_idle
from .fleet_view import Look, trend
from .numbers import UNKNOWN, figure, plural
from .sentences import choose, fitted

if TYPE_CHECKING:
    from traindeck.console.runs.fleet import PlaceDevices
    from traindeck.console.store.records import RunRecord

TALL = 12
"""Rows from which on the pane has heads for its processes, and figures."""
INDENT = "    "
TREND = 30


def device_detail(
    found: Found, runs: Mapping[str, RunRecord], look: Look, cells: int, rows: int
) -> list[Line]:
    """The pane for a device."""
    device, place = found.device, found.place
    lines = [_title(found, look, cells)]
    room = rows - 1 - (1 if rows >= TALL else 0)
    alone = not any(one.processes for one in (device, *device.mig))
    most = room if alone else max(1, room - 2)
    wrong = _wrong(found, look, cells, most if alone else 1 if room < 5 else 3)[:most]
    may = _may(found, runs, look, cells)
    figures = _figures(found, look, cells) if rows >= TALL else []
    on = _processes(found, runs, look, cells, room - len(wrong) - len(may) - len(figures), rows)
    if not on and not wrong and device.lease is not None:
        whose = Whose(you=place.report.user if place.report else "")
        since = device.lease.since
        ago = "" if since is None else f" for {spoken(max(0.0, look.now - since))}"
        has = (Span(f"{INDENT}Leased by "), *lessee(device.lease, whose), Span(f"{ago}; "))
        wrong = [(*has, Span("nothing of it computes here now.", "text"))]
    elif not on and not wrong and is_held_unseen(device):
        held = f"{gigabytes(device.memory_used_bytes)} GiB are held by no process that can be seen"
        wrong = [(Span(f"{INDENT}{held}: of a container, or left behind.", "text"),)]
    elif not on and not wrong and not device.mig and not is_busy(device):
        wrong = [(Span(f"{INDENT}Free: nothing computes on it.", "text"),)]
        if is_stale(place, look.now, look.every):
            wrong = [(Span(f"{INDENT}Nothing computed on it when last seen.", "stale"),)]
    shown = [*lines, *wrong, *on, *may, *figures][: rows if rows < TALL else rows - 1]
    return [clip_line(line, cells) for line in shown]


def place_detail(
    place: PlaceDevices, look: Look, cells: int, rows: int, *, alone: bool
) -> list[Line]:
    """The pane for a place of which no device is under the cursor: what it says, whole."""
    lines = [_rule(clean(place.name), [], cells, look)]
    for words in notes_of(place, look.now, alone=alone) or [clean(place.problem)]:
        lines += _wrapped(words, cells, "text")
    if place.report is not None and not place.devices and not place.report.problems:
        words = "To see those of another machine: traindeck backends add ssh HOST"
        lines += [] if alone else _wrapped(words, cells, "muted")
    if place.person:
        lines.append((Span(INDENT), Span(look.connect, "accent bold"), Span(" connects", "muted")))
    return [clip_line(line, cells) for line in lines[:rows]]


def _rule(title: str, right: Sequence[Line], cells: int, look: Look) -> Line:
    """`gpu1 · H100 0 ─────────── UUID … · PCI 4f:00`."""
    head = Span(f" {clip(title, max(10, cells - 6))} ", "muted bold")
    told = fitted(right, cells - width(head.text) - 4) if right else ()
    if told and line_width(told) > cells - width(head.text) - 4:
        told = ()
    end = (Span(" "), *told, Span(" ")) if told else (Span(" "),)
    rest = cells - width(head.text) - line_width(end)
    return fit_line((head, Span(look.glyphs.rule * max(0, rest), "rule"), *end), cells)


def _title(found: Found, look: Look, cells: int) -> Line:
    device, place = found.device, found.place
    whole = found.parent or device
    title = f"{clean(place.name)} · {short_name(whole) or 'GPU'}"
    title += "" if whole.index is None else f" {whole.index}"
    title += f" · {short_name(device)}" if found.parent is not None else ""
    uuid = clean(device.uuid)
    shown = uuid if cells >= 150 else clip(uuid, 14, "both")
    right: list[Line] = [(Span("UUID ", "muted"), Span(shown, "text"))]
    if device.pci:
        right.append((Span("PCI ", "muted"), Span(_bus(clean(device.pci)), "text")))
    errors = device.ecc_uncorrected
    if errors is not None:
        words = plural(errors, "uncorrected ECC error") if errors else "no ECC errors"
        right.append((Span(words, "warn" if errors else "muted"),))
    return _rule(title, right, cells, look)


def _bus(pci: str) -> str:
    """`00000000:4F:00.0` as people read it: `4f:00`."""
    domain, colon, rest = pci.partition(":")
    short = rest if colon and not domain.strip("0") and rest.count(":") == 1 else pci
    return short.removesuffix(".0").lower()


# -------------------------------------------------------------------------------- what is wrong


def _wrong(found: Found, look: Look, cells: int, most: int) -> list[Line]:
    """What is wrong, a sentence each; of those that are long `most` lines."""
    lines: list[Line] = []
    for sign, words, style in _sentences(found, look):
        cut = textwrap.wrap(words, max(20, cells - 7))
        if len(cut) > most:
            cut[most - 1 :] = [f"{cut[most - 1]}{look.glyphs.ellipsis}"]
        for number, line in enumerate(cut):
            lead = Span(f"  {sign} " if number == 0 else INDENT, style)
            lines.append((lead, Span(line, "stale" if style == "stale" else "text")))
    return lines


def _sentences(found: Found, look: Look) -> list[tuple[str, str, str]]:
    device, place, glyphs = found.device, found.place, look.glyphs
    said: list[tuple[str, str, str]] = []
    if is_stale(place, look.now, look.every):
        old = place.age(look.now)
        words = f"These values are {spoken(old)} old. {clean(place.problem)}"
        return [(glyphs.queued, words.strip(), "stale")]
    if device.state == "silent":
        words = clean(device.problem or "The driver does not come back from being asked.")
        return [(glyphs.unknown, words, "stale")]
    if device.state not in ("ok", "asleep"):
        words = device.problem or "It fell off the bus."
        said.append((glyphs.warning, clean(words), "warn"))
    if device.slowed:
        why = ", ".join(THROTTLED.get(one, clean(one)) for one in device.slowed)
        at = "" if device.temperature_c is None else f" At {device.temperature_c:.0f} °C."
        said.append((glyphs.warning, f"Slowed: {why}.{_clocks(device)}{at}", "warn"))
    said += [(glyphs.warning, clean(words), "warn") for words in device.health]
    if device.ecc_uncorrected:
        words = plural(device.ecc_uncorrected, "uncorrected ECC error") + " since the driver began."
        said.append((glyphs.warning, words, "warn"))
    idle = seen_idle(place, device)
    main = main_process(device)
    if idle is not None and main is not None:
        held = gigabytes(device.memory_used_bytes)
        words = f"Seen idle for {spoken(idle)}; {clean(main.user or 'somebody')} holds {held} GiB."
        said.append((glyphs.warning, words, "warn"))
    return said


def _clocks(device: Device) -> str:
    if device.sm_clock_mhz is None or device.sm_clock_max_mhz is None:
        return ""
    return f" It runs at {device.sm_clock_mhz:,} of {device.sm_clock_max_mhz:,} MHz."


# ------------------------------------------------------------------------------------- who is on it


def _processes(
    found: Found, runs: Mapping[str, RunRecord], look: Look, cells: int, room: int, rows: int
) -> list[Line]:
    """The processes, those that hold most first; how many more there are, if not all have room."""
    device = found.device
    parts = (device, *device.mig) if found.parent is None else (device,)
    every = sorted(
        (one for part in parts for one in part.processes), key=lambda one: -(one.memory_bytes or 0)
    )
    if not every or room <= 0:
        return []
    head = rows >= TALL and room >= 3
    room -= head
    shown = every if len(every) <= room else every[: max(1, room - 1)]
    ink = "stale" if is_stale(found.place, look.now, look.every) else ""
    texts = [
        (
            str(one.pid),
            clean(one.user or UNKNOWN),
            gigabytes(one.memory_bytes),
            percent(one.utilization_pct),
        )
        for one in shown
    ]
    heads = ("PID", "USER", "GiB", "%")
    aligned = ("right", "left", "right", "right")
    sizes = [
        min(16, max(width(title) if head else 0, *(width(row[n]) for row in texts)))
        for n, title in enumerate(heads)
    ]
    lines: list[Line] = []
    if head:
        cut = "  ".join(fit(h, n, a) for h, n, a in zip(heads, sizes, aligned, strict=True))
        lines.append((Span(f"{INDENT}{cut}  COMMAND · RUN", "muted"),))
    units = (f"{INDENT}pid ", "  ", "  ", "  ") if not head else (INDENT, "  ", "  ", "  ")
    after = ("", "", " GiB", " %") if not head else ("", "", "", "")
    for one, row in zip(shown, texts, strict=True):
        spans: list[Span] = []
        for n, text in enumerate(row):
            cell = fit(text, sizes[n], aligned[n])
            spans += [Span(units[n], ink or "muted"), Span(cell, ink or "text")]
            spans.append(Span(after[n], ink or "muted"))
        room_left = cells - line_width(spans) - 3
        spans += [Span("  "), *_doing(one, runs, room_left, ink)]
        lines.append(tuple(spans))
    left = len(every) - len(shown)
    if left:
        lines.append((Span(f"{INDENT}{plural(left, 'more process', 'more processes')}", "muted"),))
    return lines[: room + head]


def _doing(process: DeviceProcess, runs: Mapping[str, RunRecord], cells: int, ink: str) -> Line:
    """What a process is: its run, rank and step, else its command."""
    if process.hidden:
        why = {
            "container": "of the host: this container does not see it",
            "hidepid": "hidden by the system (hidepid)",
            "gone": "is gone, its memory is not",
        }.get(process.hidden, "")
        return (Span(clip(why, cells), ink or "muted"),)
    clauses: list[Line] = []
    if process.run is not None:
        run = runs.get(process.run)
        clauses.append((Span(clean(run.name if run else process.run), ink or "text"),))
        if process.rank is not None:
            clauses.append((Span(f"rank {process.rank}", ink or "text"),))
        if run is not None and run.progress.step is not None:
            total = run.progress.total
            of = f" of {figure(total)}" if total else ""
            clauses.append((Span(f"step {figure(run.progress.step)}{of}", ink or "text"),))
    if process.kind != "compute":
        clauses.append((Span(process.kind, ink or "muted"),))
    if process.container:
        clauses.append((Span(clean(process.container), ink or "muted"),))
    words = clip(command(process), max(8, cells - sum(map(line_width, clauses)) - 3 * len(clauses)))
    clauses.append((Span(words, ink or "muted"),))
    return fitted(clauses, cells)


def _may(found: Found, runs: Mapping[str, RunRecord], look: Look, cells: int) -> list[Line]:
    """What one may do about it."""
    device, place = found.device, found.place
    main = main_process(device)
    if main is None or main.hidden:
        return []
    pid = (Span("y", "accent bold"), Span(" copies the pid", "muted"))
    run = runs.get(main.run or "")
    lead = Span(INDENT)
    if run is not None:
        name = clip(clean(run.name or run.id), 40, "both")
        enter = (Span("enter", "accent bold"), Span(f" opens {name}", "muted"))
        return [(lead, *fitted([enter, pid], cells - 4))]
    if is_stale(place, look.now, look.every):
        return [(lead, *pid)]
    yours = place.report is not None and main.user == place.report.user
    if main.kind == "graphics":
        words = "It only draws: the device counts as free."
    elif yours:
        words = choose(
            cells - 6,
            "Yours, but no run of Traindeck: it counts as busy, and only you can end it.",
            "Yours, but no run of Traindeck: it counts as busy.",
        )
    else:
        words = choose(
            cells - 6,
            "Not a run of Traindeck: it counts as busy, and is not ours to stop.",
            "Not a run of Traindeck, and not ours to stop.",
        )
    return [(lead, *fitted([(Span(words, "muted"),), pid], cells - 4))]


# ------------------------------------------------------------------------------------------ figures


def _figures(found: Found, look: Look, cells: int) -> list[Line]:
    """The last two minutes, and what the columns have no room for."""
    device = found.device
    lines: list[Line] = []
    end = look.now if is_stale(found.place, look.now, look.every) else None
    clauses: list[Line] = []
    for title, kind, value in (
        ("UTIL", "utilization", device.utilization_pct),
        ("MEMORY", "memory", _share(device)),
    ):
        signs, before = trend(found, kind, TREND, look.glyphs, end)
        if value is not None and signs:
            ink = "faint" if end is None else "stale"
            drawn = (Span(" " * before), Span(signs, ink))
            clauses.append((Span(f"{title} ", "muted"), *drawn, Span(f" {value:.0f} %", "text")))
    if clauses:
        lines.append((Span(INDENT), *fitted(clauses, cells - 18), Span("  last 2 min", "muted")))
    told = fitted(_readings(device), cells - 4)
    if told:
        lines.append((Span(INDENT), *told))
    if end is not None:
        lines = [tuple(Span(text, "stale") for text, _ in line) for line in lines]
    return [(), *lines] if lines else []


def _share(device: Device) -> float | None:
    used, total = device.memory_used_bytes, device.memory_total_bytes
    return None if used is None or not total else 100 * used / total


def _readings(device: Device) -> list[Line]:
    """Figures with their units, those that matter most first; what is not said is left out."""

    def of(value: float | None, limit: float | None, unit: str, name: str = "") -> Line:
        if value is None:
            return ()
        most = "" if limit is None else f" of {limit:,.0f}"
        return (Span(name, "muted"), Span(f"{value:,.0f}", "text"), Span(f"{most} {unit}", "muted"))

    normal = [one for one in device.throttle_reasons or () if one not in BAD_THROTTLING]
    found = [
        of(device.power_w, device.power_limit_w, "W"),
        of(device.sm_clock_mhz, device.sm_clock_max_mhz, "MHz"),
        of(device.tensor_pct, None, "%", "tensor cores "),
        of(device.sm_occupancy_pct, None, "%", "occupancy "),
        of(device.memory_activity_pct, None, "%", "memory bus "),
        of(device.memory_temperature_c, None, "°C", "memory "),
        of(device.fan_pct, None, "%", "fan "),
    ]
    if device.pcie_gen is not None and device.pcie_width is not None:
        found.append(
            (
                Span("PCIe ", "muted"),
                Span(f"{device.pcie_gen}×{device.pcie_width}"),
            )
        )
    if device.nvlink_links:
        found.append(
            (
                Span("NVLink ", "muted"),
                Span(str(device.nvlink_links)),
            )
        )
    if "power_cap" in normal:
        found.append((Span("at its power limit, as it may be", "muted"),))
    return [line for line in found if line]


def _wrapped(words: str, cells: int, style: str) -> list[Line]:
    return [(Span(INDENT), Span(line, style)) for line in textwrap.wrap(words, max(20, cells - 6))]
