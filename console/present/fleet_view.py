"""A device of the Fleet as a line. Pure, and one line at a time: only those on screen are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from traindeck.backends.data import dataclass
from traindeck.backends.devices.readings import Device

from .ages import age
from .cells import Line, Span, clean, clip, clip_line, fit, fit_line, line_width, width
from .device_words import (
    Whose,
    gigabytes,
    is_busy,
    main_process,
    owner,
    percent,
    short_name,
    trouble,
)
from .fleet_columns import LEAD, Column, Layout
from .fleet_rows import (
    FREE,
    Found,
    is_stale,
    seen_idle,
    warned,
)
from .glyphs import BEST, Glyphs
from .numbers import UNKNOWN, count
from .runs_table import meter
from .sentences import choose

if TYPE_CHECKING:
    from traindeck.console.runs.fleet import PlaceDevices

HOT = 85.0
"""°C from which on a temperature stands out, if the device is slowed too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How lines are to be drawn.

    Attributes:
        now: Seconds since the epoch.
        every: Seconds between two reports of a place.
        names: Run id -> its name.
        selected: The cursor is here.
        connect: The key by which a person connects to the place that is drawn, if only one can.
    """

    now: float = 0.0
    every: float = 2.0
    names: Mapping[str, str] = field(default_factory=dict)
    glyphs: Glyphs = BEST
    selected: bool = False
    connect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A device about to be drawn."""

    found: Found
    look: Look
    old: bool = False
    idle: float | None = None
    warm: bool = False

    @property
    def device(self) -> Device:
        return self.found.device

    def ink(self, style: str = "text") -> str:
        return "stale" if self.old or self.device.state == "silent" else style


def whose(place: PlaceDevices, look: Look) -> Whose:
    """How the processes of a place are named."""
    user = place.report.user if place.report else ""
    return Whose(you=user, names=look.names)


# ----------------------------------------------------------------------------------------- a device


def device_line(found: Found, table: Layout, look: Look) -> Line:
    """One device, from column `LEAD` on, filled to the table's width."""
    place, device = found.place, found.device
    old = is_stale(place, look.now, look.every)
    idle = None if old else seen_idle(place, device)
    warm = not old and warned(place, device)
    row = _Row(found=found, look=look, old=old, idle=idle, warm=warm)
    spans: list[Span] = []
    x = LEAD
    for column in table.columns:
        spans.append(Span(" " * (column.x - x)))
        spans.extend(fit_line(_CELLS[column.key](row, column), column.cells))
        x = column.x + column.cells
    return fit_line(spans, table.width - LEAD)


def _shape(row: _Row, column: Column) -> Line:
    glyphs, device = row.look.glyphs, row.device
    if row.old or device.state == "silent":
        return (Span(glyphs.queued, "stale"),)
    if row.warm:
        return (Span(glyphs.warning, "warn"),)
    if main_process(device) is None:
        return (Span(glyphs.starting if is_busy(device) else glyphs.dot, "muted"),)
    return (Span(glyphs.running, "running"),)


def _host(row: _Row, column: Column) -> Line:
    return (Span(clip(clean(row.found.place.name), column.cells, "both"), row.ink("muted")),)


def _gpu(row: _Row, column: Column) -> Line:
    device = row.device
    if row.found.parent is not None:
        name = short_name(device).removeprefix("MIG ") or "slice"
        return (Span(f"└  {clip(name, column.cells - 3)}", row.ink("muted")),)
    number = UNKNOWN if device.index is None else str(device.index)
    lead = f"{number:<2} "
    room = column.cells - width(lead)
    name = short_name(device)
    if width(name) > room:
        name = _shorter(name)
    return (
        Span(lead, row.ink("strong" if row.look.selected else "text")),
        Span(clip(name, room), row.ink("muted")),
    )


def _shorter(name: str) -> str:
    """What tells a device from others of its maker: `RTX 4090` is a `4090`."""
    numbered = [word for word in name.split() if any(char.isdigit() for char in word)]
    return numbered[0] if numbered else name


def _util(row: _Row, column: Column) -> Line:
    share = row.device.utilization_pct
    if share is None:
        return (Span(" " * column.cells),)
    style = "warn" if row.warm else "running"
    return meter(share / 100, column.cells, style, row.look.glyphs, stale=row.ink() == "stale")


def _percent(row: _Row, column: Column) -> Line:
    ink = row.ink("warn" if row.idle is not None else "text")
    return (Span(fit(percent(row.device.utilization_pct), column.cells, "right"), ink),)


def trend(
    found: Found, kind: str, cells: int, glyphs: Glyphs, now: float | None = None
) -> tuple[str, int]:
    """A device's last two minutes as a sparkline of 0 to 100 %, and how many cells before it were
    not watched. `now`: when they end, if that is not with the newest sample."""
    history = found.place.history.get(found.device.uuid)
    if history is None:
        return "", cells
    shares = history.shares(kind, cells, now)
    levels = glyphs.spark
    signs = [
        glyphs.spark_gap
        if share is None
        else levels[min(len(levels) - 1, round(share * (len(levels) - 1) / 100))]
        for share in shares
    ]
    return "".join(signs), cells - len(signs)


def _trend(row: _Row, column: Column) -> Line:
    end = row.look.now if row.old else None
    signs, before = trend(row.found, "utilization", column.cells, row.look.glyphs, end)
    if row.device.utilization_pct is None and not signs.strip(row.look.glyphs.spark_gap):
        return (Span(" " * column.cells),)  # it never says
    style = "warn" if row.warm else "faint"
    return (Span(" " * before), Span(signs, row.ink(style)))


def _memory(row: _Row, column: Column) -> Line:
    used, total = row.device.memory_used_bytes, row.device.memory_total_bytes
    if used is None or not total:
        return (Span(" " * column.cells),)
    style = "warn" if row.idle is not None else "s1"
    return meter(used / total, column.cells, style, row.look.glyphs, stale=row.ink() == "stale")


def _gib(row: _Row, column: Column) -> Line:
    device = row.device
    mark = {"reserved": "*", "shared": "+"}.get(device.memory_kind or "", "")
    used = gigabytes(device.memory_used_bytes)
    total = f"{_whole(device.memory_total_bytes)}{mark}"
    # Two digits and three line up on the point of what is used, where there is room for that.
    roomy, close = f"{used} / {total:<3}", f"{used}/{total:<3}"
    versions = (close, f"{used}/{total}", used)
    text = choose(column.cells, *((roomy, *versions) if column.cells > 10 else versions))
    gap = " " * (column.cells - width(text))
    return (Span(gap + used, row.ink()), Span(text[len(used) :], row.ink("muted")))


def _whole(value: int | None) -> str:
    """Bytes in GiB, without a fraction where that says little."""
    if value is None:
        return UNKNOWN
    size = value / (1 << 30)
    return f"{size:.0f}" if size >= 9.95 else f"{size:.1f}"


def _right(text: str, row: _Row, column: Column, style: str = "text") -> Line:
    shown = text if width(text) <= column.cells else UNKNOWN
    return (Span(fit(shown, column.cells, "right"), row.ink(style)),)


def _watts(row: _Row, column: Column) -> Line:
    value = row.device.power_w
    return _right(UNKNOWN if value is None else f"{value:.0f}", row, column)


def _degrees(row: _Row, column: Column) -> Line:
    value = row.device.temperature_c
    hot = value is not None and value >= HOT and bool(row.device.slowed)
    return _right(percent(value), row, column, "warn bold" if hot and not row.old else "text")


def _clock(row: _Row, column: Column) -> Line:
    value = row.device.sm_clock_mhz
    return _right(UNKNOWN if value is None else f"{value:,}", row, column)


def _ecc(row: _Row, column: Column) -> Line:
    value = row.device.ecc_uncorrected
    return _right(count(value), row, column, "warn" if value and not row.old else "text")


def _pcie(row: _Row, column: Column) -> Line:
    device = row.device
    if device.pcie_gen is None or device.pcie_width is None:
        return _right(UNKNOWN, row, column)
    return _right(f"{device.pcie_gen}×{device.pcie_width}", row, column)


def _who(row: _Row, column: Column) -> Line:
    line = clip_line(_said_of(row, column.cells, row.look), column.cells)
    return tuple(Span(text, row.ink(style)) for text, style in line)


def _said_of(row: _Row, cells: int, look: Look) -> Line:
    """What is wrong with a device, then whose it is, as far as there is room."""
    device, above = row.device, row.found.above
    warnings = _warning(row, look.glyphs)
    if device.state != "ok" and warnings:
        return first_fitting(warnings, cells)
    main = main_process(device)
    if main is None:
        if warnings:
            return first_fitting(warnings, cells)
        if row.old:
            return (Span(choose(cells, "no process when last seen", "no process then")),)
        return () if device.mig else (Span(FREE, "muted"),)
    more = len({one.pid for one in device.processes}) - 1
    rest = (Span(f" +{more}", "muted"),) if more else ()
    if cells >= 60:
        rest = (*rest, Span(f" · {main.pid}", "muted"))
    if above is not None and above.run is not None and above.run == main.run and main.rank:
        on: Line = (Span(f"└ rank {main.rank}", "muted"),)
    else:
        on = owner(main, whose(row.found.place, look))
    room = max(1, cells - line_width(rest))
    if not warnings:
        return (*clip_line(on, room), *rest)
    # Of a run its name says more than "you"; of another's process, the user more than its command.
    if main.run is not None and len(on) > 1:
        short: Line = tuple(Span(span.text.lstrip(), span.style) for span in on[1:])
    else:
        short = on[:1]
    said = [(*one, Span(" "), *words) for words in (on, short) for one in warnings]
    return (*clip_line(first_fitting(said, room), room), *rest)


def _warning(row: _Row, glyphs: Glyphs) -> Sequence[Line]:
    """What is wrong with a device in more and in fewer words; nothing if nothing is."""
    report = row.found.place.report
    said = trouble(row.device, report.observed_at if report is not None else 0.0, glyphs)
    if not said:
        return ()
    text, style = said[0]
    short = text.partition(",")[0].partition(":")[0]
    if row.idle is not None and text.endswith(", idle"):
        short = f"{glyphs.warning} held {age(row.idle)} idle"
    return (said, (Span(short, style),)) if short != text else (said,)


def first_fitting(versions: Sequence[Line], cells: int) -> Line:
    """The first of several ways to say it that fits, else the last."""
    return next((one for one in versions if line_width(one) <= cells), versions[-1])


_CELLS: dict[str, Callable[[_Row, Column], Line]] = {
    "shape": _shape,
    "host": _host,
    "gpu": _gpu,
    "util": _util,
    "percent": _percent,
    "trend": _trend,
    "memory": _memory,
    "gib": _gib,
    "watts": _watts,
    "degrees": _degrees,
    "clock": _clock,
    "ecc": _ecc,
    "pcie": _pcie,
    "who": _who,
}
