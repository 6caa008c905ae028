"""Which interpreter a command runs in, and what is installed there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from traindeck.console.runs.captured import PACKAGES
from traindeck.console.runs.interpreter import interpreter, packages, site_packages
from traindeck.console.runs.request import LaunchRequest, build_spec


def program(path: Path, text: str = "#!/bin/sh\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def shell(home: Path) -> Path:
    """A folder whose `bin` is the PATH: a Python, and a venv of another one below `project`."""
    program(home / "bin/python3")
    program(home / "bin/python")
    program(home / "bin/bash")
    program(home / "project/.venv/bin/python")
    program(home / "project/.venv/bin/torchrun", f"#!{home}/project/.venv/bin/python\nimport x\n")
    program(home / "project/train.py", "#!/usr/bin/env -S python -u\n")
    program(home / "project/run.sh", "#!/bin/bash\n")
    program(home / "project/odd", "#!")
    return home


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("python train.py", "bin/python"),
        ("python3 train.py", "bin/python3"),
        (".venv/bin/python train.py", "project/.venv/bin/python"),
        (".venv/bin/torchrun train.py", "project/.venv/bin/python"),
        ("./train.py", "bin/python"),
        ("./run.sh", "bin/python3"),
        ("./odd", "bin/python3"),
        ("bash -c 'python train.py'", "bin/python3"),
        ("no-such-program", "bin/python3"),
    ],
)
def test_the_interpreter_is_that_of_the_command(shell: Path, command: str, found: str) -> None:
    environ = {"PATH": f"{shell}/bin", "VIRTUAL_ENV": "/elsewhere"}
    argv = tuple(command.split(" "))
    assert interpreter(argv, f"{shell}/project", environ) == f"{shell}/{found}"


def test_without_any_there_is_none(home: Path) -> None:
    assert interpreter(("x",), str(home), {"PATH": str(home)}) is None
    assert interpreter((), str(home), {"PATH": str(home)}) is None


def test_a_shim_of_pyenv_is_seen_through(home: Path) -> None:
    root = home / ".pyenv"
    shim = program(root / "shims/python3")
    for version in ("3.9.7", "3.12.1", "mine"):
        program(root / f"versions/{version}/bin/python3")
    (home / "work/below").mkdir(parents=True)

    def chosen(cwd: str, **environ: str) -> str | None:
        found = interpreter(("python3",), str(home / cwd), {"PATH": f"{root}/shims", **environ})
        return found and os.path.relpath(found, root)

    assert chosen("work") == "shims/python3"  # the system's, whichever that is
    (root / "version").write_text("3.9.7\n")
    assert chosen("work/below") == "versions/3.9.7/bin/python3"
    (home / "work/.python-version").write_text("3.12.1\n3.9.7\n")
    assert chosen("work/below") == "versions/3.12.1/bin/python3"
    assert chosen("work", PYENV_VERSION="mine:3.9.7") == "versions/mine/bin/python3"
    assert chosen("work", PYENV_VERSION="3.13") == "shims/python3"
    assert interpreter((shim,), "/", {}) == f"{root}/versions/3.9.7/bin/python3"


def test_its_packages_are_those_beside_it(home: Path) -> None:
    folder = home / "v/lib/python3.12/site-packages"
    for name in ("numpy-2.1.0.dist-info", "Old_One-1.0-py3.12.egg-info", "numpy", "x.dist-info"):
        (folder / name).mkdir(parents=True)
    (home / "v/lib/python3.9/site-packages/gone-1.dist-info").mkdir(parents=True)
    real = program(home / "base/python3.12")
    (home / "v/bin").mkdir()
    (home / "v/bin/python").symlink_to(real)
    assert site_packages(f"{home}/v/bin/python") == [folder]
    assert packages([folder, home / "none"]) == ["numpy==2.1.0", "Old_One==1.0"]


def test_the_spec_names_interpreter_and_packages_of_what_will_run(home: Path) -> None:
    """A real environment, chosen by the command; the shell's own is another one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", f"{home}/v"], check=True)
    [folder] = site_packages(f"{home}/v/bin/python")
    (folder / "mine-1.2.dist-info").mkdir()
    for options in (
        {"argv": (f"{home}/v/bin/python", "-c", "")},
        {"argv": ("python", "-c", ""), "env": {"PATH": f"{home}/v/bin"}},
    ):
        request = LaunchRequest(cwd=str(home), **options)  # type: ignore[arg-type]
        spec, _ = build_spec(
            request, run_id="0" * 12, name="fox", now=1.0, environ=dict(os.environ)
        )
        assert spec.python == f"{home}/v/bin/python"
        assert spec.packages == 1
        assert spec.files[PACKAGES].read() == b"mine==1.2\n"
