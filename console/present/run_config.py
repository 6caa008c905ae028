"""The Config tab: everything a run was started from, as lines. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from traindeck.backends.base import RunSpec
from traindeck.console.store.records import RunRecord

from .cells import Line, Span, clean, fit, take, width
from .glyphs import BEST, Glyphs

LABEL = 24
PATCH_LINES = 2000


def config_lines(
    run: RunRecord,
    spec: RunSpec | None,
    files: Mapping[str, bytes],
    cells: int,
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """The lines, to be scrolled.

    Args:
        spec: None if the run directory cannot be read.
        files: What was captured, by path in the run directory, as far as it was read.
    """
    made: list[Line] = []
    for line in _lines(run, spec, files, cells, glyphs):
        made += _wrapped(line, cells)
    return made


def _lines(
    run: RunRecord, spec: RunSpec | None, files: Mapping[str, bytes], cells: int, glyphs: Glyphs
) -> Iterator[Line]:
    if run.params:
        yield _head("PARAMETERS", len(run.params), cells, glyphs)
        for key, value in run.params.items():
            yield _pair(key, f"{value:g}" if isinstance(value, float) else str(value))
        yield ()
    if spec is None:
        yield (Span("  the run directory cannot be read now", "muted"),)
        return
    yield _head("COMMAND", None, cells, glyphs)
    yield _pair("argv", shlex.join(spec.argv) if spec.argv else "adopted")
    yield _pair("in", spec.cwd)
    if spec.python:
        yield _pair("python", spec.python)
    limits = spec.limits
    yield _pair("time limit", f"{limits.time:g} s" if limits.time is not None else "none")
    yield _pair("grace", f"{limits.grace:g} s")
    yield _pair("retries", str(limits.retries))
    if spec.after:
        yield _pair("after", spec.after + (", whatever its end" if spec.after_any else ""))
    yield ()
    yield _head("ENVIRONMENT", len(spec.env), cells, glyphs)
    for key, value in sorted(spec.env.items()):
        yield _pair(key, value)
    if spec.env_names:
        yield _pair("inherited, not recorded", " ".join(spec.env_names))
    for name in spec.secrets:
        yield _pair(name, "a secret: passed by pipe, written nowhere")
    yield ()
    yield from _code(spec, files, cells, glyphs)
    packages = files.get("code/.traindeck/packages.txt", b"").decode("utf-8", "replace").split()
    if packages:
        yield ()
        yield _head("PACKAGES", len(packages), cells, glyphs)
        for package in packages:
            name, _, version = package.partition("==")
            yield _pair(name, version)


def _code(spec: RunSpec, files: Mapping[str, bytes], cells: int, glyphs: Glyphs) -> Iterator[Line]:
    code = spec.code
    yield _head("CODE", None, cells, glyphs)
    yield _pair("how", "a snapshot" if code.mode == "snapshot" else "in place")
    yield _pair("root", code.root)
    if code.commit:
        yield _pair("commit", f"{code.commit}{' on ' + code.branch if code.branch else ''}")
    for path in code.untracked:
        yield _pair("untracked", path)
    for path, why in code.omitted.items():
        yield _pair("left out", f"{path}: {why}")
    patch = files.get("code/.traindeck/diff.patch", b"").decode("utf-8", "replace")
    if patch:
        yield ()
        lines = patch.splitlines()
        yield _head("UNCOMMITTED CHANGES", None, cells, glyphs)
        for line in lines[:PATCH_LINES]:
            style = "muted"
            if line.startswith(("+++", "---", "diff ", "index ")):
                style = "strong"
            elif line.startswith("@@"):
                style = "accent"
            elif line.startswith("+"):
                style = "good"
            elif line.startswith("-"):
                style = "bad"
            yield (Span("  " + clean(line), style),)
        if len(lines) > PATCH_LINES:
            yield (Span(f"  and {len(lines) - PATCH_LINES:,} lines more, in its files", "muted"),)


def _head(title: str, count: int | None, cells: int, glyphs: Glyphs) -> Line:
    number = f"{count} " if count is not None else ""
    rest = max(0, cells - len(title) - len(number) - 3)
    return (
        Span(f" {title} ", "muted bold"),
        Span(number, "muted"),
        Span(glyphs.rule * rest, "rule"),
    )


def _wrapped(line: Line, cells: int) -> list[Line]:
    """A value that is too long goes on below itself: all of it can be read."""
    room = cells - LABEL - 4
    if len(line) != 3 or width(line[2].text) <= room or room < 10:
        return [line]
    made: list[Line] = []
    text = line[2].text
    while text:
        part = take(text, room)
        text = text[len(part) :]
        lead = line[:2] if not made else (Span(" " * (LABEL + 3)),)
        made.append((*lead, Span(part, line[2].style)))
    return made


def _pair(label: str, text: str) -> Line:
    return (Span("  " + fit(label, LABEL), "muted"), Span(" "), Span(clean(text), "text"))
