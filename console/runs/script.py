"""A run as a shell script that works without Traindeck: what `show --script` prints."""

from __future__ import annotations

import shlex

from traindeck.backends.base import RunSpec
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
    lines.append(f"cd -- {shlex.quote(spec.cwd)}")
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(spec.env.items())]
    lines.append("export TRAINDECK_ARTIFACTS=${TRAINDECK_ARTIFACTS:-$PWD/artifacts}")
    lines.append("exec " + " ".join(shlex.quote(word) for word in spec.argv))
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
