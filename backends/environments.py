"""What a run executes in: the environment of a spec, as it is asked for, found and put to use.

Pure, for every backend whose host has our agent: `question` makes the part of its survey's request,
`answered` reads the answer, `refusal` says in words why a run cannot be planned there, and `put_on`
makes variables, argv and files of it. Nothing is pasted into a shell: names of modules and the
command are words of an argv, and the user's prelude is a file that a constant script reads.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from traindeck.backends.base import Blob, Environment, Facts, RunSpec
from traindeck.backends.data import dataclass
from traindeck.backends.errors import UsageError, excerpt

NONE = "none"
"""What to ask for where a place has an environment of its own and this run is not to have it."""

WITHIN = 90.0
"""Seconds that importing may take there, the first time."""

LOADER, PRELUDE = "plan/environment.sh", "plan/prelude.sh"

SCRIPT = """\
# Enters an environment, then becomes the command:
#   environment.sh PRELUDE MODULE... -- COMMAND...
# PRELUDE is a file, or "" for none. Written by Traindeck, the same for every run.
traindeck_prelude=$1
shift
if [ "$1" != -- ] && ! command -v module >/dev/null 2>&1; then
  for traindeck_file in "${MODULESHOME:-/none}/init/sh" "${LMOD_PKG:-/none}/init/sh" \\
    /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh \\
    /usr/share/lmod/lmod/init/sh /usr/share/modules/init/sh; do
    if [ -r "$traindeck_file" ]; then . "$traindeck_file"; break; fi
  done
  if ! command -v module >/dev/null 2>&1; then
    echo "traindeck: there is no module command on $(uname -n)" >&2
    exit 1
  fi
fi
while [ "$1" != -- ]; do
  if ! module load "$1"; then
    echo "traindeck: the module $1 cannot be loaded" >&2
    exit 1
  fi
  shift
done
shift
if [ -n "$traindeck_prelude" ]; then . "$traindeck_prelude"; fi
exec "$@"
"""

_CONDA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/=@:-]{0,199}")
_PYTHON = re.compile(r"python(?:3(?:\.\d+)?)?")
_STARTERS = ("torchrun", "accelerate", "deepspeed")
_FORMS = (
    "Give a folder of a virtual environment or conda prefix, an interpreter, conda:NAME, "
    "modules:A,B or none."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A text that names an environment, read."""

    kind: str = ""
    name: str = ""
    modules: tuple[str, ...] = ()


def read(text: str) -> Asked:
    """What a text asks for: `""`, `none`, `conda:NAME`, `modules:A,B` or a path from / or ~ on.

    Raises:
        UsageError: It asks for nothing that there is.
    """
    if text in ("", NONE):
        return Asked(kind=text)
    kind, colon, rest = text.partition(":")
    if colon and kind == "conda":
        if not _CONDA.fullmatch(rest):
            raise UsageError(f"{excerpt(text)!r} names no conda environment.", _FORMS)
        return Asked(kind="conda", name=rest)
    if colon and kind == "modules":
        modules = tuple(one.strip() for one in rest.split(","))
        if wrong := [one for one in modules if not _MODULE.fullmatch(one)]:
            raise UsageError(f"{excerpt(wrong[0])!r} is no name of a module.", _FORMS)
        return Asked(kind="modules", modules=modules)
    if colon and kind in ("container", "docker", "apptainer", "singularity"):
        raise UsageError(
            f"{excerpt(text)}: a run cannot be put into a container yet.",
            "Start the container in the command, or give an environment without one.",
        )
    if "\0" in text or not text.isprintable() or not text.startswith(("/", "~")):
        raise UsageError(f"{excerpt(text)!r} names no environment.", _FORMS)
    return Asked(kind="path", name=text)


def question(
    spec: RunSpec, default: str = "", prelude: str | None = None, *, always: bool = False
) -> dict[str, Any] | None:
    """The `environment` of a survey's request; None where nothing has to be looked at.

    Args:
        default: That of the place, for a spec that asks for none.
        prelude: Lines of sh that the place wants run before.
        always: The place does not give the caller's own environment to its jobs.
    """
    text = spec.environment or default
    asked = read(text)
    if asked.kind == NONE:
        prelude = None
    if not text and prelude is None and not (always and (spec.needs or _is_python(spec))):
        return None
    return {
        "kind": asked.kind,
        "name": asked.name,
        "modules": list(asked.modules),
        "prelude": prelude,
        "needs": list(spec.needs),
        "env": dict(spec.env),
        "seconds": WITHIN,
        "wrapper": SCRIPT,
    }


def answered(said: Any, asked: str = "") -> Environment | None:
    """An environment as the agent says that it is; None if it was not asked. What it says is a
    stranger's: only texts are taken, on one line each."""
    if not isinstance(said, Mapping):
        return None

    def text(value: Any, most: int = 4096) -> str:
        return "".join(c if c.isprintable() else " " for c in str(value or "")[:most])

    def pairs(name: str) -> dict[str, str]:
        value = said.get(name)
        items = list(value.items())[:50] if isinstance(value, Mapping) else ()
        return {text(key, 100): text(what, 300) for key, what in items}

    def texts(name: str, most: int) -> tuple[str, ...]:
        value = said.get(name)
        return tuple(text(one, 300) for one in value[:most]) if isinstance(value, list) else ()

    return Environment(
        asked=asked,
        kind=text(said.get("kind"), 20),
        prefix=text(said.get("prefix")),
        python=text(said.get("python")),
        python_version=text(said.get("python_version"), 40) or None,
        imports=pairs("imports"),
        failed=pairs("failed"),
        packages=texts("packages", 5000),
        others=texts("others", 20),
        problem=text(said.get("problem"), 600),
    )


def named(found: Environment, home: str = "") -> str:
    """An environment in a few words: `venv ~/envs/train`."""
    if found.kind in ("modules", "prelude"):
        return found.asked.replace(",", ", ") if found.kind == "modules" else "its prelude"
    where = found.prefix if found.kind in ("venv", "conda") else found.python
    if home and where.startswith(home.rstrip("/") + "/"):
        where = f"~{where[len(home.rstrip('/')) :]}"
    kind = found.kind if found.kind in ("venv", "conda") else "python"
    return f"{kind} {where}" if where else "no python"


def words(found: Environment, home: str = "") -> str:
    """The same with what was imported: `venv ~/envs/train, torch 2.9 imports`."""
    parts = [named(found, home)]
    if "torch" in found.imports:
        version = ".".join(found.imports["torch"].partition("+")[0].split(".")[:2])
        parts.append(f"torch {version} imports".replace("  ", " "))
    rest = [name for name in found.imports if name != "torch"]
    if rest:
        several = len(rest) > 1
        parts.append(f"{', '.join(rest)} {'import' if several else 'imports'}")
    return ", ".join(parts)


def refusal(found: Environment, needs: tuple[str, ...], place: str) -> UsageError | None:
    """Why a run cannot execute in what was found, with what the place has instead; None if it can.

    A package that is only looked at (`torch?`) is no reason: the run may do without."""
    there = f"There are: {', '.join(found.others)}." if found.others else ""
    if found.problem:
        return UsageError(
            f"{place}: {found.problem}.",
            there or "Make a virtual environment there, and name it with --environment.",
        )
    for need in needs:
        if need in found.failed:
            why = found.failed[need]
            fix = f"pip install {need} there, or name another with --environment."
            return UsageError(
                f"{place}: {need} cannot be imported in {named(found)} ({why}).",
                f"{fix} {there}".strip(),
            )
    return None


def doubts(found: Environment, needs: tuple[str, ...]) -> list[str]:
    """What a plan warns of: packages that are there and cannot be imported."""
    looked_at = {need.rstrip("?") for need in needs if need.endswith("?")}
    return [
        f"{name} is installed in {named(found)} but cannot be imported: {why}"
        for name, why in found.failed.items()
        if name in looked_at
    ]


def variables(found: Environment, path: str) -> dict[str, str]:
    """The variables that make an environment the one that holds."""
    if not found.prefix:
        return {}
    made = {"PATH": f"{found.prefix}/bin:{path}" if path else f"{found.prefix}/bin"}
    if found.kind == "venv":
        made["VIRTUAL_ENV"] = found.prefix
    elif found.kind == "conda":
        made["CONDA_PREFIX"] = found.prefix
    return made


def put_on(
    spec: RunSpec, facts: Facts, run_dir: str, prelude: str | None = None
) -> tuple[RunSpec, dict[str, Blob]]:
    """The spec as it is executed in what was found, and the files that needs. `argv` must have its
    absolute paths by then.

    Args:
        prelude: As for `question`.
    """
    found = facts.environment
    if found is None:
        return spec, {}
    asked = read(found.asked)
    prelude = None if asked.kind == NONE else prelude
    loads = bool(asked.modules) or prelude is not None
    argv = spec.argv
    other = stands_in(spec, facts)
    if other or (_is_python(spec) and found.prefix):
        argv = (found.python, *argv[1:])
    files: dict[str, Blob] = {}

    def send(path: str, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        files[path] = Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data), data=data)

    if loads:
        send(LOADER, SCRIPT)
        own = ""
        if prelude is not None:
            send(PRELUDE, prelude if prelude.endswith("\n") else prelude + "\n")
            own = posixpath.join(run_dir, PRELUDE)
        argv = ("/bin/sh", posixpath.join(run_dir, LOADER), own, *asked.modules, "--", *argv)
    packages = spec.packages
    if found.packages and spec.packages is None:
        send("code/.traindeck/packages.txt", "\n".join(found.packages) + "\n")
        packages = len(found.packages)
    return (
        replace(
            spec,
            argv=argv,
            env={**spec.env, **variables(found, facts.path)},
            environment_found=("" if spec.environment else found.asked or found.prefix or other),
            python=found.python or spec.python,
            python_version=found.python_version,
            packages=packages,
        ),
        files,
    )


def stands_in(spec: RunSpec, facts: Facts) -> str:
    """The interpreter that was found where a command says `python` and the PATH has only a
    `python3`, as on many distributions, or the other way round. "" if the command runs as it is,
    or not at all."""
    found = facts.environment
    if found is None or facts.program is not None or found.prefix or found.problem:
        return ""
    return found.python if spec.argv[:1] in (("python",), ("python3",)) else ""


def taken_off(spec: RunSpec) -> RunSpec:
    """A run's spec as it was before `put_on`: so it can be asked for again, there or elsewhere.
    What was found is found again."""
    argv, env = spec.argv, dict(spec.env)
    inside = spec.environment or spec.environment_found
    if len(argv) > 3 and argv[0] == "/bin/sh" and argv[1].endswith(f"/{spec.run_id}/{LOADER}"):
        argv = argv[argv.index("--", 2) + 1 :]
    if inside and argv and argv[0] == spec.python:
        argv = ("python", *argv[1:])
    if inside:
        for name in ("PATH", "VIRTUAL_ENV", "CONDA_PREFIX"):
            env.pop(name, None)
    return replace(spec, argv=argv, env=env, environment_found="")


def runs_python(argv: Sequence[str]) -> bool:
    """Whether a command is one of an environment's own: its Python, or what starts many of it."""
    return bool(argv) and (_PYTHON.fullmatch(argv[0]) is not None or argv[0] in _STARTERS)


def _is_python(spec: RunSpec) -> bool:
    """Whether the command is a Python of whatever environment holds."""
    return bool(spec.argv) and _PYTHON.fullmatch(spec.argv[0]) is not None
