"""A plan as lines of text: what will run, where, with what, and what to know before it does. The
whole of it is everything that is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from traindeck.backends.base import Plan
from traindeck.console.present.asked import (
    asked,
    installed,
    limits_asked,
    runs_in,
    runs_inside,
    runs_on,
)
from traindeck.console.present.numbers import plural
from traindeck.console.present.numbers import size as bytes_text
from traindeck.console.present.words import command_line, plain_or_quoted
from traindeck.console.store.records import iso

SHOWN = 12
"""Lines of a list, where the whole is not asked for."""

Line = tuple[str, str]
"""A label and its text. Labels repeat as "" for continued lines."""


def plan_lines(plan: Plan, *, whole: bool = False) -> list[Line]:
    """The plan, line by line, for both front ends.

    Args:
        whole: Lists to their end, and what is sent along that nobody has to decide about.
    """
    return list(_lines(plan, whole))


def of_array(count: int) -> str:
    """What is said below the plan of an array's first task, with so many in all."""
    return f"of {plural(count, 'plan')} this is the first"


def _lines(plan: Plan, whole: bool) -> Iterator[Line]:
    spec = plan.spec
    attempt = f" · attempt {spec.attempt}" if spec.attempt else ""
    yield "run", f"{spec.name} · {spec.run_id} · on {plan.backend}{attempt}"
    if plan.place:
        yield "place", plain_or_quoted(plan.place)
    if host := runs_on(spec):
        yield "host", host
    yield "command", command_line(plan.argv)
    yield "in", plain_or_quoted(spec.cwd)
    yield "code", _code(plan)
    if whole:
        yield from _listed("untracked", map(plain_or_quoted, spec.code.untracked))
    if inside := runs_inside(spec):
        yield "inside", inside
    if whole:
        yield from _listed("imports", map(plain_or_quoted, spec.needs))
        yield from _listed("reads", map(plain_or_quoted, spec.reads))
    if python := runs_in(spec):
        yield "python", python
    if packages := installed(spec):
        yield "packages", packages
    yield "limits", limits_asked(spec.limits)
    yield from asked(spec)
    if spec.tags:
        words = (f"{name}={value}" if value else name for name, value in spec.tags.items())
        yield "tags", command_line(words)
    yield from _recipe(spec.recipe, whole)
    yield from _listed(
        "env", (f"{name}={plain_or_quoted(value)}" for name, value in sorted(plan.env.items()))
    )
    if spec.env_names:
        yield "inherits", " ".join(map(plain_or_quoted, spec.env_names))
    if spec.secrets:
        yield "secrets", " ".join(spec.secrets)
    yield from _files(plan, whole)
    yield from _listed("late", (f"{name}: {why}" for name, why in plan.bound_late.items()))
    for path, why in spec.code.omitted.items():
        yield "left out", f"{plain_or_quoted(path)}: {why}"
    for warning in plan.warnings:
        yield "warning", warning
    if whole:
        yield from _listed("sends", _leaves(plan.body or {}))
        if spec.created:
            yield "made", iso(spec.created) or "at no time of a calendar"
    yield "digest", plan.digest


def _listed(label: str, texts: Iterator[str]) -> Iterator[Line]:
    for index, text in enumerate(texts):
        yield "" if index else label, text


def _code(plan: Plan) -> str:
    code = plan.spec.code
    root = plain_or_quoted(code.root) if code.root else "nothing"
    # What was captured was so at the first launch; code in place is as it is when it is executed.
    later = plan.spec.attempt > 0 and code.mode != "snapshot"
    place = f"in place, as it is now, {root}" if later else f"in place, {root}"
    parts = [f"a snapshot of {root}" if code.mode == "snapshot" else place]
    if code.tree is not None:
        files = "1 file" if code.tree.files == 1 else f"{code.tree.files:,} files"
        parts.append(f"{files}, {bytes_text(code.tree.size)}")
    if code.commit:
        branch = f" on {code.branch}" if code.branch else ""
        changes = " + uncommitted changes" if code.dirty else ""
        parts.append(f"{'at first ' if later else ''}git {code.commit[:10]}{branch}{changes}")
    if code.untracked:
        parts.append(f"{len(code.untracked)} untracked")
    return " · ".join(parts)


def _recipe(recipe: Mapping[str, Any] | None, whole: bool) -> Iterator[Line]:
    if recipe is None:
        return
    if whole:
        yield from _listed("recipe", _leaves(recipe))
    elif name := recipe.get("recipe"):
        yield "recipe", plain_or_quoted(str(name))


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """What stands in nested mappings, a line each: `values.lr 0.0003`."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            text = value if isinstance(value, str) and value else json.dumps(value)
            yield f"{plain_or_quoted(above + key)} {plain_or_quoted(text)}"


def _files(plan: Plan, whole: bool) -> Iterator[Line]:
    """What goes along; of a tree only its line under `code`, where the whole is not asked for."""
    items = list(plan.files.items())
    if whole and (tree := plan.spec.code.tree) is not None and plan.spec.attempt == 0:
        from traindeck.backends.trees import files_of

        items += ((f"code/{path}", blob) for path, blob in files_of(tree))
    shown = items if whole else items[:SHOWN]
    for index, (path, blob) in enumerate(shown):
        if path.endswith("/"):
            yield "" if index else "files", f"{plain_or_quoted(path)} · empty folder"
            continue
        text = f"{plain_or_quoted(path)} · {bytes_text(blob.size)} · sha256 {blob.digest[:16]}"
        yield "" if index else "files", text + (" · executable" if blob.mode & 0o100 else "")
    if len(items) > len(shown):
        rest = sum(blob.size for _, blob in items[len(shown) :])
        yield "", f"and {len(items) - len(shown)} more, {bytes_text(rest)}"
