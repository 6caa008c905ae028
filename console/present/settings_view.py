"""The Settings screen as lines: every setting with its value and where it comes from, the backends
with their health, the keys. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from types import MappingProxyType

from traindeck.backends.base import Health
from traindeck.backends.states import Reach
from traindeck.console.runs.placing import Found
from traindeck.console.settings import SETTINGS, Settings, Source

from .ages import next_try
from .caret import Caret
from .cells import Line, Span, clean, clip, fit, fit_line, line_width, width
from .chrome import PlaceMark
from .form import OPEN_LOW, box_spans, form_lines, row_head, typing_rows
from .glyphs import BEST, Glyphs
from .launch_fields import Entry, Section

BACKEND, KEY = "backends.", "keys."
"""Prefixes of the entries' keys, as in `set_value`."""

FOUND = "found."
"""Prefix of the keys of machines that are no backend yet; then come kind and name."""

LABEL, BOX = 21, 22
INDENT = 6
"""Cells before the lines about a place: they are sentences, and want the width."""

MOST_ROWS = 4
"""Rows that one of them takes at most."""


def source_words(source: Source) -> str:
    """Where a value comes from, in a few words: `settings.yaml, line 4`."""
    if source.kind != "file":
        return source.where
    path, comma, line = source.where.rpartition(", line ")
    return f"{PurePath(path).name}{comma}{line}" if comma else source.where


def settings_form(
    settings: Settings,
    themes: Sequence[str],
    actions: Mapping[str, tuple[str, str]],
    problems: Mapping[str, str],
    found: Sequence[Found] = (),
) -> tuple[Section, ...]:
    """All that can be set, as sections of entries.

    Args:
        themes: Names of the themes there are.
        actions: Action -> (its keys by default, what it does).
        problems: Entry -> why what was typed for it was refused.
        found: Machines that could be added.
    """
    values = []
    for setting in SETTINGS:
        source = settings.source(setting.name)
        choices = tuple(themes) if setting.name == "theme" else setting.choices
        if isinstance(setting.default, bool):
            choices = ("true", "false")
        values.append(
            Entry(
                key=setting.name,
                label=setting.name,
                text=_text(setting.show(getattr(settings, setting.name))),
                meaning=setting.help,
                hint=source_words(source),
                takes=setting.expected,
                default=_text(setting.show(setting.default)),
                choices=choices,
                changed=source.kind != "default",
                problem=problems.get(setting.name, ""),
            )
        )
    places = [
        Entry(
            key=f"{BACKEND}{name}",
            label=name,
            text=" ".join([entry.kind, *(f"{k}={v}" for k, v in entry.options.items())]),
            meaning="A place to run at. Add one with: traindeck backends add KIND NAME",
            hint=source_words(settings.source(f"{BACKEND}{name}")),
            changed=settings.source(f"{BACKEND}{name}").kind != "default",
            idle=True,
        )
        for name, entry in settings.backends.items()
    ]
    bound = [
        Entry(
            key=f"{KEY}{action}",
            label=action,
            text=settings.keys.get(action, default),
            meaning=f"{words}. {source_words(settings.source(f'{KEY}{action}'))}.",
            hint=words,
            takes="keys, separated by commas: x, space, ctrl+d",
            default=default,
            changed=action in settings.keys,
            problem=problems.get(f"{KEY}{action}", ""),
        )
        for action, (default, words) in actions.items()
    ]
    others = [
        Entry(
            key=found_key(each),
            label=clean(each.host),
            text=each.kind,
            meaning=f"Your files name this machine for {each.kind}; it is no place to run at yet. "
            "a adds it, c checks it without adding it.",
            problem=problems.get(found_key(each), ""),
            idle=True,
        )
        for each in found
    ]
    sections = [
        Section(key="settings", title="SETTINGS", entries=tuple(values)),
        Section(key="backends", title="BACKENDS", entries=tuple(places), note="c checks them"),
        Section(key="found", title="FOUND HERE", entries=tuple(others), note="a adds, c checks"),
        Section(key="keys", title="KEYS", entries=tuple(bound)),
    ]
    return tuple(section for section in sections if section.entries)


def narrowed(form: Sequence[Section], text: str, keep: str = "") -> tuple[Section, ...]:
    """The rows that have every word of a text in their name, their value, what they do or where
    they come from, and the one to keep whatever it has."""
    words = text.casefold().split()

    def fits(entry: Entry) -> bool:
        said = f"{entry.key} {entry.text} {entry.meaning} {entry.hint}".casefold()
        return entry.key == keep or all(word in said for word in words)

    left = (replace(part, entries=tuple(filter(fits, part.entries))) for part in form)
    return tuple(section for section in left if section.entries)


def nothing_found(text: str) -> list[Line]:
    """What stands in place of the rows if there is none."""
    fits = (Span("  No setting fits ", "muted"), Span(clean(text), "text"))
    return [(), fits, (Span("  esc", "accent bold"), Span(" takes the filter away", "muted"))]


def found_key(found: Found) -> str:
    """The key of the entry of a machine that could be added."""
    return f"{FOUND}{found.kind}.{found.host}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def settings_lines(
    form: Sequence[Section],
    focus: str,
    caret: Caret | None,
    health: Mapping[str, Health | None],
    cells: int,
    *,
    airy: bool,
    marks: Mapping[str, PlaceMark] = MappingProxyType({}),
    now: float = 0.0,
    glyphs: Glyphs = BEST,
) -> tuple[list[Line], range]:
    """All lines, and which of them are the focused one's.

    Args:
        health: Entry of a backend or of a machine that was found -> its answer, None while it is
            being asked.
        marks: Backend -> how it is in the header, for when it is tried again.
    """

    def rows(entry: Entry, focused: bool) -> Sequence[Line]:
        if focused and caret is not None:
            head, widest = row_head(entry, focused, LABEL, glyphs), cells - LABEL - 5
            first, *more = typing_rows(head, caret, entry, BOX, widest, OPEN_LOW, glyphs)
            first.append(_words(entry, focused, cells - line_width(first)))
            return [fit_line(spans, cells, "text @select") for spans in (first, *more)]
        row = _row(entry, focused, cells, glyphs)
        if entry.key in health:
            mark = marks.get(entry.key.removeprefix(BACKEND))
            return [row, *_health(health[entry.key], mark, now, cells, glyphs)]
        return [row]

    return form_lines(form, focus, rows, cells, airy=airy, glyphs=glyphs)


def _row(entry: Entry, focused: bool, cells: int, glyphs: Glyphs) -> Line:
    ground = " @select" if focused else ""
    spans = row_head(entry, focused, LABEL, glyphs)
    if entry.idle:
        text = clean(entry.text)
        ink = "strong" if entry.changed or focused else "text"
        room = cells - line_width(spans) - width(entry.hint) - 4
        spans.append(Span(f" {fit(text, max(BOX - 1, min(width(text), room)))}", f"{ink}{ground}"))
    else:
        spans += box_spans(entry, focused, BOX, glyphs)
    spans.append(_words(entry, focused, cells - line_width(spans)))
    return fit_line(spans, cells, f"text{ground}")


def _words(entry: Entry, focused: bool, room: int) -> Span:
    """What stands beside the value: what is wrong with it, or where it comes from."""
    words = clip(clean(entry.problem or entry.hint), room - 3) if room > 3 else ""
    style = "failed" if entry.problem else "faint"
    return Span(f"  {words}", f"{style}{' @select' if focused else ''}")


def _health(
    health: Health | None, mark: PlaceMark | None, now: float, cells: int, glyphs: Glyphs
) -> list[Line]:
    lead = Span(" " * INDENT)
    if health is None:
        return [(lead, Span(f"{glyphs.starting} asking", "muted"))]
    lines: list[Line] = []
    room = max(20, cells - INDENT - 3)
    for passed, text in health.checks:
        sign = (glyphs.done, "good") if passed else (glyphs.failed, "failed")
        parts = textwrap.wrap(clean(text), room)
        if len(parts) > MOST_ROWS:
            parts = [*parts[: MOST_ROWS - 1], clip(" ".join(parts[MOST_ROWS - 1 :]), room)]
        for number, part in enumerate(parts):
            head = Span("  ") if number else Span(f"{sign[0]} ", sign[1])
            lines.append((lead, head, Span(part, "text")))
    if not lines:
        up = health.reach is Reach.OK
        lines.append(
            (lead, Span("answers" if up else "does not answer", "text" if up else "stale"))
        )
    if mark is not None and mark.reach is not Reach.OK:
        if mark.connect:
            words = "it waits for you: c tries again, and asks what it must know"
            lines.append((lead, Span(f"{glyphs.warning} ", "warn"), Span(words, "text")))
        elif due := next_try(mark.next_try, now):
            words = f"{due}, c tries at once" if mark.next_try and mark.next_try > now else due
            lines.append((lead, Span(f"{glyphs.queued} ", "stale"), Span(words, "muted")))
    return lines
