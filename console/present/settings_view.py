"""The Settings screen as lines: every setting with its value and where it comes from, the backends
with their health, the keys. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from traindeck.backends.base import Health, Reach
from traindeck.console.settings import SETTINGS, Settings, Source

from .cells import Line, Span, clean, clip, fit, fit_line, line_width, pad, width
from .glyphs import BEST, Glyphs
from .launch_fields import Entry, Section
from .launch_view import Caret, typing_spans

BACKEND, KEY = "backends.", "keys."
"""Prefixes of the entries' keys, as in `set_value`."""

LABEL, BOX = 21, 22


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
) -> tuple[Section, ...]:
    """All that can be set, as sections of entries.

    Args:
        themes: Names of the themes there are.
        actions: Action -> (its keys by default, what it does).
        problems: Entry -> why what was typed for it was refused.
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
            meaning="A place to run at. Add one with: traindeck backends add NAME --kind KIND",
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
    return (
        Section(key="settings", title="SETTINGS", entries=tuple(values)),
        Section(key="backends", title="BACKENDS", entries=tuple(places), note="c checks them"),
        Section(key="keys", title="KEYS", entries=tuple(bound)),
    )


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
    glyphs: Glyphs = BEST,
) -> tuple[list[Line], int]:
    """All lines, and which of them is the focused one.

    Args:
        health: Backend -> its answer, None while it is being asked.
    """
    lines: list[Line] = []
    at = 0
    for section in form:
        if lines and airy:
            lines.append(())
        here = any(entry.key == focus for entry in section.entries)
        lines.append(_title(section, here, cells, glyphs))
        for entry in section.entries:
            focused = entry.key == focus
            if focused:
                at = len(lines)
            lines.append(_row(entry, focused, caret if focused else None, cells, glyphs))
            name = entry.key.removeprefix(BACKEND)
            if entry.key.startswith(BACKEND) and name in health:
                lines += _health(health[name], cells, glyphs)
    return lines, at


def _title(section: Section, here: bool, cells: int, glyphs: Glyphs) -> Line:
    note = f" {section.note} " if section.note else " "
    room = max(0, cells - 2 - width(section.title) - width(note))
    return (
        Span(glyphs.cursor if here else " ", "accent"),
        Span(section.title, "accent bold" if here else "muted bold"),
        Span(" " + glyphs.rule * room, "accent" if here else "rule"),
        Span(note, "muted"),
    )


def _row(entry: Entry, focused: bool, caret: Caret | None, cells: int, glyphs: Glyphs) -> Line:
    ground = " @select" if focused else ""
    sign = glyphs.failed if entry.problem else "•" if entry.changed else " "
    spans: list[Span] = [
        Span(glyphs.cursor if focused else " ", f"accent{ground}"),
        Span(f"{sign} ", f"{'failed' if entry.problem else 'accent'}{ground}"),
        Span(fit(clean(entry.label), LABEL), f"{'text' if focused else 'muted'}{ground}"),
        Span(" ", f"text{ground}"),
    ]
    ink = "strong" if entry.changed or focused else "text"
    if entry.idle:
        text = clean(entry.text)
        room = cells - line_width(spans) - width(entry.hint) - 4
        spans.append(Span(f" {fit(text, max(BOX - 1, min(width(text), room)))}", f"{ink}{ground}"))
    elif caret is not None:
        spans += typing_spans(caret, entry, BOX)
    else:
        fold = f" {glyphs.unfolded}" if entry.choices else ""
        text = clip(clean(entry.text), BOX - 2 - width(fold))
        box = f" @{'bg' if focused else 'raised'}"
        spans.append(Span(f" {text}", f"{ink}{box}"))
        spans.append(Span(pad(fold, BOX - 1 - width(text)), f"muted{box}"))
    room = cells - line_width(spans) - 3
    words = entry.problem or entry.hint
    style = "failed" if entry.problem else "faint"
    spans.append(Span(f"  {clip(clean(words), room)}", f"{style}{ground}"))
    return fit_line(spans, cells, f"text{ground}")


def _health(health: Health | None, cells: int, glyphs: Glyphs) -> list[Line]:
    lead = Span(" " * (LABEL + 5))
    if health is None:
        return [(lead, Span(f"{glyphs.starting} asking", "muted"))]
    lines: list[Line] = []
    for passed, text in health.checks:
        sign = (glyphs.done, "good") if passed else (glyphs.failed, "failed")
        words = clip(clean(text), max(8, cells - LABEL - 8))
        lines.append((lead, Span(f"{sign[0]} ", sign[1]), Span(words, "text")))
    if not lines:
        up = health.reach is Reach.OK
        lines.append(
            (lead, Span("answers" if up else "does not answer", "text" if up else "stale"))
        )
    return lines
