"""A spec as it is executed at a place: where its words, its folder and its copy of the code are."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from traindeck.backends import environments
from traindeck.backends.base import Blob, Facts, RunSpec, UsageError


def placed(
    name: str, spec: RunSpec, facts: Facts, prelude: str | None
) -> tuple[RunSpec, dict[str, Blob], list[str]]:
    """The spec as it is executed at a place, where its words and folders are, in the environment
    that was found there: with the files that needs, and warnings.

    Raises:
        UsageError: There is no command, the folder cannot be entered, or the environment is not one
            to run it in.
    """
    if not spec.argv:
        raise UsageError("There is no command to run.", "Give one after `--`.")
    if not facts.cwd_ok:
        raise UsageError(f"{spec.cwd} cannot be entered on {facts.host}.", "Check --cwd.")
    found = facts.environment
    if found and (refused := environments.refusal(found, spec.needs, name)):
        raise refused
    warnings = list(facts.notes)
    if found:
        warnings += environments.doubts(found, spec.needs)
    run_dir = f"{facts.home}/runs/{spec.run_id}"
    spec = replace(spec, cwd=facts.cwd or spec.cwd)
    if spec.code.mode == "snapshot":
        spec = in_snapshot(spec, f"{run_dir}/code")
    words = tuple(
        posixpath.join(run_dir, word) if index in spec.run_dir_words else word
        for index, word in enumerate(spec.argv)
    )
    spec = replace(spec, argv=words, run_dir_words=())
    spec, files = environments.put_on(spec, facts, run_dir, prelude)
    return spec, files, warnings


def in_snapshot(spec: RunSpec, code: str) -> RunSpec:
    """The same run, started in its copy of the code, which comes first on PYTHONPATH."""
    inherited = spec.env.get("PYTHONPATH")
    path = code if not inherited else f"{code}:{inherited}"
    cwd = spec.cwd
    if not posixpath.isabs(cwd) or _is_below(cwd, spec.code.root):
        below = posixpath.relpath(cwd, spec.code.root) if posixpath.isabs(cwd) else cwd
        cwd = posixpath.normpath(posixpath.join(code, below))
    return replace(spec, cwd=cwd, env={**spec.env, "PYTHONPATH": path})


def _is_below(path: str, root: str) -> bool:
    return bool(root) and posixpath.relpath(path, root).split("/")[0] != ".."


def sent_program(spec: RunSpec) -> str | None:
    """The program of a run that starts in its snapshot, if that is a path in it: "" if it is not
    sent. None if it is to be looked for there."""
    word = spec.argv[0] if spec.argv else ""
    if "/" not in word or posixpath.isabs(word):
        return None
    from traindeck.backends.trees import files_of

    path = posixpath.normpath(posixpath.join(spec.cwd, word))
    found = files_of(spec.code.tree) if spec.code.tree is not None else ()
    return next((path for name, blob in found if name == path and blob.mode & 0o100), "")
