"""What `top` prints: one line a device, all places in one table, and the processes below it.

On a terminal it is fitted to the width, and to the height while it is live: columns are dropped as
a whole, numbers are never cut. Piped, names are in full and there are no bars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from traindeck.backends.data import dataclass
from traindeck.backends.devices.readings import Device, DeviceProcess

from .ages import age, spoken
from .cells import Line, Span, clean, clip_line, fit, pad, width
from .device_words import (
    STALE,
    Whose,
    command,
    gigabytes,
    is_busy,
    main_process,
    owner,
    percent,
    short_name,
    who,
)
from .glyphs import BEST, Glyphs
from .numbers import UNKNOWN, plural
from .runs_table import meter

if TYPE_CHECKING:
    from traindeck.console.runs.fleet import PlaceDevices

GAP = 2
BAR = 10
NAME = (8, 26)
"""Cells of a device's name, at least where it must be cut, and at most."""
WHO = 24
"""Cells that WHO · RUN has at least: the bar gives way to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a table is made with.

    Attributes:
        now: Seconds since the epoch.
        names: Run id -> its name.
        every: Seconds between two reports, None if there is one alone.
        width, height: Of the terminal; None when piped, height None unless it is live.
    """

    now: float = 0.0
    names: Mapping[str, str] | None = None
    every: float | None = None
    width: int | None = None
    height: int | None = None
    glyphs: Glyphs = BEST


@dataclass(frozen=True, slots=True)
class _Row:
    place: str
    device: Device
    user: str
    """Whose processes are "you"."""
    stale: bool
    above: DeviceProcess | None
    """The main process of the device above it, if that is the same place's."""


def top_lines(places: Sequence[PlaceDevices], seen: Seen) -> list[Line]:
    """The table, the processes, and a line that sums up."""
    rows = _rows(places, seen)
    lines = _table(rows, seen) if rows else []
    lines += _silent(places)
    if rows:
        lines += _processes(rows, seen, len(lines))
    lines.append(_sum(places, rows, seen))
    if seen.height is not None and len(lines) > seen.height:
        cut = len(lines) - seen.height + 1
        lines[seen.height - 2 : -1] = [(Span(f"{cut} more lines: a larger terminal", "muted"),)]
    return [clip_line(line, seen.width) for line in lines] if seen.width else lines


def problems(places: Sequence[PlaceDevices]) -> list[str]:
    """A sentence for each place, and each driver there, that does not tell."""
    said = [place.problem for place in places if place.problem]
    for place in places:
        if place.report is not None:
            said += [f"{place.name}: {words}" for words in place.report.problems.values()]
            if place.report.asking:
                waited = spoken(place.report.asking)
                said.append(f"{place.name}: the driver is being asked since {waited}.")
    return [clean(words) for words in said]


def _rows(places: Sequence[PlaceDevices], seen: Seen) -> list[_Row]:
    rows: list[_Row] = []
    for place in places:
        old = place.age(seen.now)
        stale = bool(place.problem) or (
            old is not None and seen.every is not None and old > STALE * seen.every
        )
        above = None
        for device in place.devices:
            for one in (device, *device.mig):
                user = place.report.user if place.report else ""
                rows.append(_Row(place.name, one, user, stale, above))
                above = main_process(one)
    return rows


# ------------------------------------------------------------------------------------- cells


def _memory(device: Device) -> str:
    mark = {"reserved": "*", "shared": "+"}.get(device.memory_kind or "", "")
    return f"{gigabytes(device.memory_used_bytes)}/{gigabytes(device.memory_total_bytes)}{mark}"


def _watts(device: Device) -> str:
    return UNKNOWN if device.power_w is None else f"{device.power_w:.0f}"


def _degrees(device: Device) -> str:
    return UNKNOWN if device.temperature_c is None else f"{device.temperature_c:.0f}"


def _number(row: _Row) -> str:
    device = row.device
    if device.uuid.startswith("MIG-"):
        return "·"
    return UNKNOWN if device.index is None else str(device.index)


# ------------------------------------------------------------------------------------- table


def _table(rows: Sequence[_Row], seen: Seen) -> list[Line]:
    columns: list[tuple[str, str, Callable[[_Row], str], str]] = [
        ("percent", "%", lambda row: percent(row.device.utilization_pct), "right"),
        ("memory", "MEM GiB", lambda row: _memory(row.device), "right"),
        ("watts", "W", lambda row: _watts(row.device), "right"),
        ("degrees", "°C", lambda row: _degrees(row.device), "right"),
    ]
    places = max(width("HOST"), *(width(clean(row.place)) for row in rows))
    called = [
        short_name(row.device) if seen.width else clean(row.device.name or "") for row in rows
    ]
    names = max(width("GPU"), *(2 + width(name) for name in called))
    bar = BAR if seen.width else 0
    if seen.width:
        names = min(names, NAME[1] + 2)
        taken = sum(
            GAP + max(width(head), *(width(cell(row)) for row in rows))
            for _, head, cell, _ in columns
        )
        left = seen.width - places - GAP - names - GAP - taken - GAP
        if left - bar - GAP < WHO:
            short = min(names - NAME[0] - 2, WHO - (left - bar - GAP))
            names -= max(0, short)
            left += max(0, short)
        if left - bar - GAP < WHO:
            bar = 0
    head = [Span(fit("HOST", places) + " " * GAP, "muted"), Span(fit("GPU", names), "muted")]
    if bar:
        head.append(Span(" " * GAP + fit("UTIL", bar), "muted"))
    sizes = []
    for _, title, cell, _ in columns:
        cells = max(width(title), *(width(cell(row)) for row in rows))
        sizes.append(cells)
        head.append(Span(" " * GAP + fit(title, cells, "right"), "muted"))
    head.append(Span(" " * GAP + "WHO · RUN", "muted"))
    lines: list[Line] = [tuple(head)]
    before = ""
    for row, name in zip(rows, called, strict=True):
        ink = "stale" if row.stale or row.device.state == "silent" else "text"
        shown = clean(row.place) if row.place != before else ""
        before = row.place
        line: list[Span] = [
            Span(pad(shown, places) + " " * GAP, "stale" if row.stale else "strong"),
            Span(fit(f"{_number(row)} {name}", names), ink if ink == "stale" else "muted"),
        ]
        if bar:
            share = (row.device.utilization_pct or 0) / 100
            style = "stale" if ink == "stale" else ("warn" if row.device.slowed else "running")
            line.append(Span(" " * GAP))
            if row.device.utilization_pct is None:
                line.append(Span(" " * bar))
            else:
                line += meter(share, bar, style, seen.glyphs, stale=ink == "stale")
        for (_, _, cell, align), cells in zip(columns, sizes, strict=True):
            line.append(Span(" " * GAP + fit(cell(row), cells, align), ink))
        line += [
            Span(" " * GAP),
            *_in(ink, who(row.device, row.above, _whose(row, seen), seen.now, seen.glyphs)),
        ]
        lines.append(tuple(line))
    return lines


def _whose(row: _Row, seen: Seen) -> Whose:
    return Whose(you=row.user, names=seen.names, whole=not seen.width)


def _in(ink: str, spans: Line) -> Line:
    return tuple(Span(s.text, "stale") for s in spans) if ink == "stale" else spans


def _silent(places: Sequence[PlaceDevices]) -> list[Line]:
    return [(Span(words, "warn"),) for words in problems(places)]


def _processes(rows: Sequence[_Row], seen: Seen, taken: int) -> list[Line]:
    """The processes, those that hold most first where not all have room."""
    found = [(row, one) for row in rows for one in row.device.processes]
    if not found:
        return []
    # A blank line, the heads, and the sum; and where not all have room, a line that says so.
    room = len(found) if seen.height is None else seen.height - taken - 3
    if room < len(found):
        room -= 1
    if room <= 0:
        return []
    most = sorted(found, key=lambda pair: -(pair[1].memory_bytes or 0))[:room]
    kept = [pair for pair in found if pair in most]
    left = len(found) - len(kept)
    heads = ("HOST", "GPU", "PID", "USER", "MEM GiB", "%")
    cells = [
        (
            clean(row.place),
            _number(row),
            str(one.pid),
            clean(one.user or UNKNOWN),
            gigabytes(one.memory_bytes),
            percent(one.utilization_pct),
        )
        for row, one in kept
    ]
    sizes = [max(map(width, column)) for column in zip(heads, *cells, strict=True)]
    aligned = ("left", "right", "right", "left", "right", "right")
    lines: list[Line] = [()]
    head = "  ".join(fit(h, n, a) for h, n, a in zip(heads, sizes, aligned, strict=True))
    lines.append((Span(f"{head}  COMMAND · RUN", "muted"),))
    for (row, one), texts in zip(kept, cells, strict=True):
        line = "  ".join(fit(t, n, a) for t, n, a in zip(texts, sizes, aligned, strict=True))
        lines.append((Span(f"{line}  "), *_command(one, _whose(row, seen))))
    if left:
        lines.append((Span(f"{plural(left, 'more process', 'more processes')}", "muted"),))
    return lines


def _command(process: DeviceProcess, whose: Whose) -> Line:
    if process.hidden:
        return owner(process, whose)
    spans: list[Span] = []
    if process.run is not None:
        spans = [*owner(process, whose)[1:], Span(" · ", "muted")]
        spans[0] = Span(spans[0].text.lstrip(), "text")
    kind = "" if process.kind == "compute" else f"{process.kind} · "
    where = f" · {clean(process.container)}" if process.container else ""
    return (*spans, Span(f"{kind}{command(process, whole=whose.whole)}{where}", "muted"))


def _sum(places: Sequence[PlaceDevices], rows: Sequence[_Row], seen: Seen) -> Line:
    """How many are busy and free, and how old that is."""
    whole = [row for row in rows if not row.device.uuid.startswith("MIG-")]
    if not whole:
        asked = ", ".join(clean(place.name) for place in places)
        return (Span(f"no GPU is known on {asked or 'any place'}", "muted"),)
    unknown = [row for row in whole if row.stale or row.device.state in ("silent", "error")]
    known = [row for row in whole if row not in unknown]
    bad = [row for row in known if row.device.state == "lost"]
    busy = [row for row in known if is_busy(row.device)]
    free = len(known) - len(busy) - len(bad)
    words = [f"{len(busy)} of {plural(len(whole), 'GPU')} busy", f"{free} free"]
    words += [f"{len(bad)} lost"] if bad else []
    words += [f"{len(unknown)} unknown"] if unknown else []
    counted = ", ".join(words)
    kinds = {row.device.memory_kind for row in whole}
    notes = []
    if "reserved" in kinds:
        notes.append("* with what the driver keeps for itself")
    if "shared" in kinds:
        notes.append("+ shared with the host")
    ages = [
        f"{clean(place.name)} {age(place.age(seen.now))} old"
        for place in places
        if place.report is not None
    ]
    return (Span(" · ".join([counted, ", ".join(ages), *notes]), "muted"),)
