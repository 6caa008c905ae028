"""The Fleet around its devices: the line above a host or a user, what is folded, what is said in
words, the counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .ages import next_try, spoken
from .cells import Line, Span, clean, clip, fit_line, line_width
from .fleet_columns import LEAD
from .fleet_rows import SILENT, SOMEBODY, Tally, is_stale, kinds, notes_of, tally_of
from .fleet_view import Look, first_fitting
from .glyphs import Glyphs
from .numbers import plural
from .sentences import fitted

if TYPE_CHECKING:
    from traindeck.console.runs.fleet import PlaceDevices


def more_line(place: PlaceDevices, sample: int, cells: int, glyphs: Glyphs) -> Line:
    """The devices of a silent place that are folded: `▸ 5 more · 1 busy, 4 without a process …`."""
    hidden = place.devices[sample:]
    on = sum(any(one.processes for one in (device, *device.mig)) for device in hidden)
    fold = (Span(f"{glyphs.folded} ", "accent"), Span(f"{len(hidden)} more", "stale"))
    was = Span(f"{on} busy, {len(hidden) - on} without a process when last seen", "muted")
    return fit_line(fitted([fold, (was,)], cells - LEAD), cells - LEAD)


def note_line(place: PlaceDevices, number: int, look: Look, cells: int, *, alone: bool) -> Line:
    """A sentence about a place."""
    said = notes_of(place, look.now, alone=alone)
    text = said[number] if number < len(said) else ""
    style = "stale" if place.problem or (place.report and place.report.problems) else "muted"
    return fit_line((Span(clip(text, cells - LEAD - 1), style),), cells - LEAD)


def place_head(place: PlaceDevices, look: Look, cells: int, *, folded: bool) -> Line:
    """The line above a place's devices: `─ ● gpu1 4 × H100 · driver 570.86 ───── 1 free`."""
    glyphs = look.glyphs
    old = is_stale(place, look.now, look.every)
    asked = place.report is None and not place.problem
    sign = glyphs.queued if old else glyphs.starting if asked else glyphs.running
    style = "stale" if old else "muted" if asked else "running"
    name = clip(clean(place.name), max(8, cells // 3), "both")
    left: list[Line] = [
        (Span(f"{sign} ", style), Span(name, "stale bold" if old else "strong bold"))
    ]
    about: list[Line] = []
    if place.devices:
        about.append((Span(kinds(place.devices), "muted"),))
        drivers = place.report.drivers if place.report else {}
        about += [(Span(f"driver {clean(version)}", "muted"),) for version in drivers.values()]
    right = first_fitting(_silence(place, look) if old else _state(place, look), max(1, cells // 2))
    return _ruled(left, about, right, cells, glyphs, folded=folded)


def _state(place: PlaceDevices, look: Look) -> Sequence[Line]:
    """How a place that answers stands: how much is free, and how old that is if it is not new."""
    found = tally_of(place, False)
    if not found.total:
        return ((),)
    clauses: list[Line] = []
    if found.total == 1 and (found.free or found.busy):
        clauses.append((Span("free" if found.free else "busy", "muted"),))
    elif found.free:
        free = (Span(str(found.free), "strong"), Span(f" of {found.total} free", "muted"))
        clauses.append(free)
    elif found.busy == found.total:
        clauses.append((Span("all busy", "muted"),))
    else:
        clauses.append((Span(f"{found.busy} of {found.total} busy", "muted"),))
    old = place.age(look.now)
    if old is not None and old > 2 * look.every:
        clauses.append((Span(f"{spoken(old)} old", "muted"),))
    return (fitted(clauses, 1 << 10),)


def _silence(place: PlaceDevices, look: Look) -> Sequence[Line]:
    """That a place does not answer, since when, and when it is tried again."""
    old, glyphs = place.age(look.now), look.glyphs
    due = f"{look.connect} connects" if place.person else next_try(place.next_try, look.now)
    retry = due.replace("next try in", "retry in")
    clauses = [f"{glyphs.queued} not answering"]
    if old is not None:
        clauses[0] += f" for {spoken(old)}"
        clauses.append("last values below")
    short = f"{glyphs.queued} silent" + (f" {spoken(old)}" if old is not None else "")
    versions = [
        [*clauses, retry],
        [clauses[0], retry],
        [short, retry.replace("retry in", "retry")],
        [short],
    ]
    texts = [" · ".join(part for part in parts if part) for parts in versions]
    return tuple((Span(text, "stale"),) for text in texts)


def user_head(group: str, tally: int, hosts: int, look: Look, cells: int, *, folded: bool) -> Line:
    """The line above what one user is on, or nobody. `tally`: how many devices that is."""
    name = clean(group.removeprefix(SOMEBODY)) or "unknown users"
    style = {"you": "strong bold", SILENT: "stale bold"}.get(group, "text bold")
    about = (Span(f"{plural(tally, 'GPU')} on {plural(hosts, 'host')}", "muted"),)
    left: list[Line] = [(Span(clip(name, max(8, cells // 3), "both"), style),)]
    return _ruled(left, [about], (), cells, look.glyphs, folded=folded)


def _ruled(
    left: Sequence[Line],
    about: Sequence[Line],
    right: Line,
    cells: int,
    glyphs: Glyphs,
    *,
    folded: bool,
) -> Line:
    """A head: what matters at both ends, a rule between, and what is told of it while it fits."""
    lead = Span(f" {glyphs.folded if folded else glyphs.rule} ", "accent" if folded else "rule")
    first = (lead, *left[0])
    end = (Span(" "), *right, Span(" ")) if right else (Span(" "),)
    room = cells - line_width(first) - line_width(end) - 5
    told = fitted(about, room) if about and line_width(about[0]) <= room else ()
    middle = (Span("  "), *told) if told else ()
    rest = cells - line_width(first) - line_width(middle) - line_width(end) - 1
    rule = (Span(" "), Span(glyphs.rule * rest, "rule")) if rest > 0 else ()
    return fit_line((*first, *middle, *rule, *end), cells)


# ------------------------------------------------------------------------------------- the counts


def header_counts(tally: Tally, glyphs: Glyphs) -> list[Line]:
    """`35/46 busy · 3 free · ▲ 3 · ◌ 8 unknown`."""
    if not tally.total:
        return []
    clauses: list[Line] = [
        (Span(f"{tally.busy:,}", "strong bold"), Span(f"/{tally.total:,} busy", "muted")),
        (Span(f"{tally.free:,}", "strong"), Span(" free", "muted")),
    ]
    if tally.warned:
        clauses.append((Span(f"{glyphs.warning} {tally.warned:,}", "warn bold"),))
    if tally.unknown:
        clauses.append(
            (Span(f"{glyphs.queued} ", "stale"), Span(f"{tally.unknown:,} unknown", "stale"))
        )
    return clauses


def context_words(group: str, idle: bool, text: str, rows: int, every: float) -> list[Line]:
    """The line below the header: how the list is grouped, what is left out, how often is asked."""
    clauses: list[Line] = [(Span("by ", "muted"), Span(group, "text"))]
    if idle:
        clauses.append((Span("idle and free only", "accent"),))
    if text:
        clauses.append((Span("filter ", "muted"), Span(clean(text), "accent")))
    if idle or text:
        clauses.append((Span(plural(rows, "row"), "text"),))
    clauses.append((Span("asked every ", "muted"), Span(f"{every:g} s", "text")))
    return clauses


def reading_notes(glyphs: Glyphs) -> list[Line]:
    """For the help: how to read a row."""
    said = [
        (glyphs.warning, "warn", "slowed, lost, errors; or held by a process and seen idle"),
        (glyphs.queued, "stale", "no answer: old values with their age, neither busy nor free"),
        (glyphs.spark_gap, "stale", "in LAST 2 MIN: time that nobody watched; 0 to 100 %"),
        ("*", "text", "with what the driver keeps for itself; + shared with the host"),
    ]
    head: Line = (Span("HOW TO READ A ROW", "muted"),)
    return [
        head,
        (),
        *((Span(f"{sign}  ", style), Span(words, "text")) for sign, style, words in said),
    ]
