"""A run as a shell script that works without Traindeck: what `show --script` prints."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from traindeck.backends.base import Code, RunSpec
from traindeck.console.runs.captured import PACKAGES, PATCH
from traindeck.console.store.records import iso


def script(spec: RunSpec, run_dir: str) -> str:
    """The script. Every word of the user's is quoted; secrets are asked for, never written.

    Args:
        run_dir: Where the run's directory lies, for what was captured there.
    """
    lines = ["#!/bin/sh", f"# Run {_comment(spec.name)} ({spec.run_id}), {iso(spec.created)}"]
    code = spec.code
    if code.commit:
        state = "with uncommitted changes" if code.dirty else "clean"
        lines.append(f"# Code: git {code.commit} in {_comment(code.root)}, {state}")
        if code.dirty:
            patch = shlex.quote(f"{run_dir}/{PATCH}")
            lines.append(f"#   git -C {shlex.quote(code.root)} checkout {code.commit}")
            lines.append(f"#   git -C {shlex.quote(code.root)} apply {patch}")
    lines += [f"# Packages: {_comment(run_dir)}/{PACKAGES}", "set -eu"]
    if spec.limits.time is not None:
        lines.append(f"# It had a time limit of {spec.limits.time:g} s")
    lines += [f': "${{{name}:?set {name} first}}"' for name in spec.secrets]
    if code.commit and code.mode == "here":
        lines += _warnings(code, f"{run_dir}/{PATCH}")
    lines.append(f"cd -- {shlex.quote(spec.cwd)}")
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(spec.env.items())]
    lines.append("export TRAINDECK_ARTIFACTS=${TRAINDECK_ARTIFACTS:-$PWD/artifacts}")
    lines.append("exec " + " ".join(shlex.quote(word) for word in spec.argv))
    return "\n".join(lines) + "\n"


def _warnings(code: Code, patch: str) -> Iterator[str]:
    """Lines that say on stderr where the code in place is not, or may not be, what ran."""

    def warn(*words: str) -> str:
        return f"printf 'warning: %s\\n' {''.join(words)} >&2"

    quote = shlex.quote
    git = f"git -C {quote(code.root)}"
    yield f"head=$({git} rev-parse HEAD 2>/dev/null) || head=unknown"
    at = quote(f"{code.root} is at git "), '"$head"', quote(f", the run was of {code.commit}")
    yield f'[ "$head" = {code.commit} ] || {warn(*at)}'
    if code.dirty:
        then = "the run had uncommitted changes, which the code may not have now"
        yield f"if [ -e {quote(patch)} ]; then {warn(quote(f'{then}: {patch}'))}"
        yield f"else {warn(quote(f'{then}; they were not kept'))}; fi"
    else:
        now = f"{code.root} has uncommitted changes, the run had none"
        differs = f"{git} diff --quiet HEAD 2>/dev/null"
        yield f'[ "$head" = unknown ] || {differs} || {warn(quote(now))}'


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
