"""Which Python a command is going to run in, and what is installed there. Nothing is started to
find out: names, links and folders say enough, and a launch must not wait for an interpreter."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

_PYTHON = re.compile(r"python[\d.]*|pypy[\d.]*")
_INSTALLED = re.compile(r"(.+?)-([^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info")


def interpreter(argv: tuple[str, ...], cwd: str, environ: Mapping[str, str]) -> str | None:
    """The interpreter a command runs in: the command itself, the one that its script names, else
    the one that the shell finds. None if there is none."""
    path = environ.get("PATH", os.defpath)  # the caller's, never this process's own
    program = _found(argv[0], path, cwd) if argv else None
    named = _found(_named_by(program), path, cwd) if program else None
    usual = (_found(name, path, cwd) for name in ("python3", "python"))
    python = next((one for one in (program, named) if one and _is_python(one)), None)
    python = python or next(filter(None, usual), None)
    return python and _behind(python, cwd, environ)


def _is_python(program: str) -> bool:
    return _PYTHON.fullmatch(os.path.basename(program)) is not None


def _behind(python: str, cwd: str, environ: Mapping[str, str]) -> str:
    """The interpreter that a shim of pyenv's stands for, as pyenv would choose it; itself if it is
    none, or if that cannot be told."""
    shims, name = os.path.split(python)
    versions = Path(shims).parent / "versions"
    if os.path.basename(shims) != "shims" or not versions.is_dir():
        return python
    chosen = environ.get("PYENV_VERSION", "")
    here = Path(cwd)
    files = [folder / ".python-version" for folder in (here, *here.parents)]
    for file in [*files, versions.parent / "version"]:
        if chosen or not file.is_file():
            continue
        try:
            chosen = " ".join(file.read_text("utf-8", "replace")[:4096].split()[:1])
        except OSError:
            return python
    real = versions / chosen.partition(":")[0] / "bin" / name
    return str(real) if chosen and os.access(real, os.X_OK) else python


def _found(program: str, path: str, cwd: str) -> str | None:
    if "/" in program:
        program = os.path.normpath(os.path.join(cwd, program))
    return shutil.which(program, path=path) if program else None


def _named_by(script: str) -> str:
    """What a script's first line says that it is run by, "" if it does not."""
    try:
        with open(script, "rb") as file:
            first = file.read(256)
    except OSError:
        return ""
    if not first.startswith(b"#!"):
        return ""
    words = os.fsdecode(first[2:].partition(b"\n")[0]).split()
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words else ""


def site_packages(python: str) -> list[Path]:
    """The folders that an interpreter's packages are installed in."""
    link = Path(python)
    version = re.fullmatch(r"python(3\.\d+)", os.path.basename(os.path.realpath(python)))
    lib = f"lib/python{version[1] if version else '3.*'}"
    prefix = link.parent.parent
    # Debian has a name and a second place of its own for those of the system's Python.
    places = [(prefix, f"{lib}/site-packages"), (prefix, f"{lib}/dist-packages")]
    if prefix == Path("/usr"):
        places += [(prefix, "lib/python3/dist-packages"), (prefix / "local", f"{lib}/*-packages")]
    return sorted({folder for base, below in places for folder in base.glob(below)})


def packages(folders: list[Path]) -> list[str]:
    """`name==version` of what is installed, read from folder names: importlib.metadata would open
    every one of some hundred files."""
    found = set()
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if named := _INSTALLED.fullmatch(entry.name):
                        found.add(f"{named[1]}=={named[2]}")
        except OSError:
            continue
    return sorted(found, key=str.lower)


def editable_inside(folders: list[Path], root: str) -> str | None:
    """Name of a distribution that is installed as editable from below `root`."""
    for folder in folders:
        for info in folder.glob("*.dist-info/direct_url.json"):
            try:
                text = info.read_text()
            except OSError:
                continue
            if '"editable": true' in text and f"file://{root}" in text:
                return info.parent.name.split("-")[0]
    return None
