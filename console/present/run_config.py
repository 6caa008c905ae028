"""The Config tab: everything a run was started from, as lines that can be scrolled and searched.
Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from traindeck.backends.base import RunSpec
from traindeck.console.durations import write_duration
from traindeck.console.runs.captured import PACKAGES, PATCH
from traindeck.console.store.records import RunRecord

from .asked import asked, runs_in, runs_inside, runs_on
from .cells import Line, Span, clean, fit, plain, take, width
from .glyphs import BEST, Glyphs
from .numbers import parameter, plural
from .run_overview import title
from .words import command_line

LABEL = 24
PATCH_LINES = 2000


def config_lines(
    run: RunRecord,
    spec: RunSpec | None,
    files: Mapping[str, bytes],
    cells: int,
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """All lines.

    Args:
        spec: None if the run directory cannot be read.
        files: What was captured, by path in the run directory, as far as it was read.
    """
    label = LABEL if cells >= 70 else 16
    made: list[Line] = []
    for line in _lines(run, spec, files, cells, glyphs):
        if len(line) == 2 and line[0].style == "label":
            made += _pair(line[0].text, line[1], label, cells)
        else:
            made.append(line)
    return made


def found_in(lines: Sequence[Line], text: str) -> list[int]:
    """Numbers of the lines that hold a text, whatever its case."""
    wanted = clean(text).casefold()
    return [n for n, line in enumerate(lines) if wanted and wanted in plain(line).casefold()]


def marked(line: Line, text: str, *, current: bool) -> Line:
    """A line with every occurrence of a text marked."""
    wanted = clean(text).casefold()
    look = "on_accent bold @accent" if current else "on_match @match"
    spans: list[Span] = []
    for span in line:
        at = 0
        low = span.text.casefold()
        # A letter that folds into two would shift what follows: then nothing is marked.
        while wanted and len(low) == len(span.text) and (found := low.find(wanted, at)) >= 0:
            spans.append(Span(span.text[at:found], span.style))
            spans.append(Span(span.text[found : found + len(wanted)], look))
            at = found + len(wanted)
        spans.append(Span(span.text[at:], span.style))
    return tuple(span for span in spans if span.text)


def _lines(
    run: RunRecord, spec: RunSpec | None, files: Mapping[str, bytes], cells: int, glyphs: Glyphs
) -> Iterator[Line]:
    if run.params:
        yield title("PARAMETERS", cells, glyphs, note=f"{len(run.params)}")
        for key, value in run.params.items():
            yield _item(str(key), parameter(value))
        yield ()
    if spec is None:
        none = "it was submitted without Traindeck: it has no run directory"
        what = none if run.foreign else "the run directory cannot be read now"
        yield (Span(f"   {what}", "muted"),)
        return
    yield title("COMMAND", cells, glyphs)
    yield _item("argv", command_line(spec.argv) if spec.argv else "not known")
    if spec.adopted or not spec.argv:
        yield _item("adopted", "it ran already: its environment and exit code are not known")
    yield _item("in", spec.cwd)
    inside = ("environment", runs_inside(spec))
    for name, text in (("host", runs_on(spec)), inside, ("python", runs_in(spec))):
        if text:
            yield _item(name, text)
    limits = spec.limits
    yield _item("time limit", write_duration(limits.time) if limits.time is not None else "none")
    yield _item("grace", write_duration(limits.grace))
    yield _item("retries", str(limits.retries))
    for label, text in asked(spec):
        yield _item(label, text)
    yield ()
    yield title("ENVIRONMENT", cells, glyphs, note=f"{len(spec.env)} recorded")
    for key, value in sorted(spec.env.items()):
        yield _item(key, value)
    for name in spec.secrets:
        yield _item(name, "a secret: handed over, written nowhere")
    if spec.env_names:
        words = f"{plural(len(spec.env_names), 'variable')} without their values: "
        yield _item("inherited", words + " ".join(spec.env_names))
    yield ()
    yield from _code(spec, files, cells, glyphs)
    packages = _text(files, PACKAGES).split()
    if packages:
        yield ()
        yield title("PACKAGES", cells, glyphs, note=f"{len(packages)}")
        for package in packages:
            name, _, version = package.partition("==")
            yield _item(name, version)


def _code(spec: RunSpec, files: Mapping[str, bytes], cells: int, glyphs: Glyphs) -> Iterator[Line]:
    code = spec.code
    yield title("CODE", cells, glyphs)
    yield _item("how", "a snapshot" if code.mode == "snapshot" else "in place")
    if code.root:
        yield _item("root", code.root)
    if code.commit:
        yield _item("commit", f"{code.commit}{' on ' + code.branch if code.branch else ''}")
    else:
        yield _item("commit", "none yet" if code.branch else "none: not under git")
    for path in code.untracked:
        yield _item("untracked", path)
    for path, why in code.omitted.items():
        yield _item("left out", f"{path}: {why}")
    patch = _text(files, PATCH)
    if not patch:
        return
    lines = patch.splitlines()
    yield ()
    note = f"{sum(1 for line in lines if line.startswith('diff '))}"
    yield title("UNCOMMITTED CHANGES", cells, glyphs, note=note)
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
        yield (Span("   "), Span(clean(line.expandtabs(4)), style))
    if len(lines) > PATCH_LINES:
        words = f"   {len(lines) - PATCH_LINES:,} lines more in {PATCH}"
        yield (Span(words, "muted"),)


def _text(files: Mapping[str, bytes], path: str) -> str:
    return files.get(path, b"").decode("utf-8", "replace")


def _item(label: str, text: str) -> Line:
    """A pair that `_pair` lays out."""
    return (Span(clean(label), "label"), Span(clean(text), "text"))


def _pair(label: str, value: Span, room: int, cells: int) -> list[Line]:
    """A value beside its name; one that is too long goes on below itself, whole, and between two
    words if it has any."""
    wide = max(10, cells - room - 5)
    made: list[Line] = []
    text = value.text
    while text or not made:
        part = text
        if width(text) > wide:
            part = take(text, wide)
            space = part.rfind(" ", wide // 2) if text[len(part)] != " " else -1
            part = part[: space + 1] if space > 0 else part
        text = text[len(part) :]
        shown = "" if made else label
        lead = Span(f"   {fit(shown, room, keep='both')} ", "muted")
        made.append((lead, Span(part, value.style)))
        if not part:
            break
    return made
