"""A plan as lines of text: what will run, where, with what, and what to know before it does."""

from __future__ import annotations

from collections.abc import Iterator

from traindeck.backends.base import Plan
from traindeck.console.present.asked import asked, limits_asked
from traindeck.console.present.numbers import size as bytes_text
from traindeck.console.present.words import command_line, plain_or_quoted

FILES_SHOWN = 12

Line = tuple[str, str]
"""A label and its text. Labels repeat as "" for continued lines."""


def plan_lines(plan: Plan, *, every_file: bool = False) -> list[Line]:
    """The plan, line by line, for both front ends.

    Args:
        every_file: List all files, not only the first dozen.
    """
    return list(_lines(plan, every_file))


def _lines(plan: Plan, every_file: bool) -> Iterator[Line]:
    spec = plan.spec
    attempt = f" · attempt {spec.attempt}" if spec.attempt else ""
    yield "run", f"{spec.name} · {spec.run_id} · on {plan.backend}{attempt}"
    yield "command", command_line(plan.argv)
    yield "in", plain_or_quoted(spec.cwd)
    yield "code", _code(plan)
    if spec.python:
        yield "python", spec.python
    yield "limits", limits_asked(spec.limits)
    if spec.after:
        how = "whatever its end" if spec.after_any else "if it succeeds"
        yield "after", f"run {spec.after}, {how}"
    yield from asked(spec)
    for index, (name, value) in enumerate(sorted(plan.env.items())):
        yield "" if index else "env", f"{name}={plain_or_quoted(value)}"
    if spec.env_names:
        yield "inherits", " ".join(spec.env_names)
    if spec.secrets:
        yield "secrets", " ".join(spec.secrets)
    yield from _files(plan, every_file)
    for index, (name, why) in enumerate(plan.bound_late.items()):
        yield "" if index else "late", f"{name}: {why}"
    for path, why in spec.code.omitted.items():
        yield "left out", f"{path}: {why}"
    for warning in plan.warnings:
        yield "warning", warning
    yield "digest", plan.digest


def _code(plan: Plan) -> str:
    code = plan.spec.code
    parts = ["a snapshot of" if code.mode == "snapshot" else "in place,", code.root or "nothing"]
    text = " ".join(parts)
    if code.commit:
        text += f" · git {code.commit[:10]}"
        text += f" on {code.branch}" if code.branch else ""
        text += " + uncommitted changes" if code.dirty else ""
    if code.untracked:
        text += f" · {len(code.untracked)} untracked"
    return text


def _files(plan: Plan, every_file: bool) -> Iterator[Line]:
    items = list(plan.files.items())
    shown = items if every_file else items[:FILES_SHOWN]
    for index, (path, blob) in enumerate(shown):
        yield (
            "" if index else "files",
            f"{path} · {bytes_text(blob.size)} · sha256 {blob.digest[:16]}",
        )
    if len(items) > len(shown):
        rest = sum(blob.size for _, blob in items[len(shown) :])
        yield "", f"and {len(items) - len(shown)} more, {bytes_text(rest)}"
