"""Environments for the tests: real virtual environments, with packages that stand in for large
ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def make_venv(folder: Path, **packages: str) -> Path:
    """A virtual environment of this Python with packages of these names, each a file of this text.
    One that begins with a digit is the package's version."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    for name, text in packages.items():
        install(folder, name, text)
    return folder


def install(venv: Path, name: str, text: str) -> None:
    """Put a package into a virtual environment."""
    (site,) = venv.glob("lib/python3*/site-packages")
    (site / name).mkdir()
    version = text if text[:1].isdigit() else "1.0"
    code = f"__version__ = {text!r}\n" if text[:1].isdigit() else text
    (site / name / "__init__.py").write_text(code)
    (site / f"{name}-{version}.dist-info").mkdir()


def make_conda(folder: Path, **packages: str) -> Path:
    """A conda prefix, as far as it can be told from others: its interpreter is this one's."""
    make_venv(folder, **packages)
    (folder / "pyvenv.cfg").rename(folder / "pyvenv.off")
    python = folder / "bin/python3"
    python.unlink()
    # Without its pyvenv.cfg a link would be the interpreter it leads to.
    (site,) = folder.glob("lib/python3*/site-packages")
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH="{site}${{PYTHONPATH:+:$PYTHONPATH}}" exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    (folder / "conda-meta").mkdir()
    return folder


MODULES = """\
module() {
  [ "$1" = load ] || return 1
  [ -d "$MODULE_STORE/$2" ] || { echo "Lmod has detected: the module $2 is unknown" >&2; return 1; }
  PATH="$MODULE_STORE/$2/bin:$PATH"
  export PATH
}
"""


def make_modules(folder: Path) -> dict[str, str]:
    """The variables under which /bin/sh finds a `module` command, as modules' own set-up leaves
    them: `folder/store/NAME/bin` is what a module puts on PATH."""
    (folder / "init").mkdir(parents=True)
    (folder / "init/sh").write_text(MODULES)
    (folder / "store").mkdir()
    return {"MODULESHOME": str(folder), "MODULE_STORE": str(folder / "store")}
