"""What a start may import: each command only what it needs, the screen nothing before its paint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("textual", "torch", "paramiko", "httpx", "numpy", "yaml", "rich", "pynvml", "transformers")
HEAVY += ("pydantic",)  # typer's, for values that have to be validated

PROGRAM = """
import os, sys
os._exit = sys.exit  # so that we are asked afterwards
sys.argv = ["traindeck", *{args!r}]
from traindeck.console.cli.main import main
try:
    main()
except SystemExit as end:
    code = end.code
print("MODULES", *sorted(m for m in sys.modules if "." not in m or m.startswith("traindeck.")))
print("CODE", code)
"""


def modules_of(args: list[str], home: Path) -> set[str]:
    """Modules in a process that has just run a command."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(args=args)],
        cwd=home,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    line = next((x for x in done.stdout.splitlines() if x.startswith("MODULES ")), None)
    assert line is not None, done.stdout + done.stderr
    assert "CODE 0" in done.stdout, done.stdout + done.stderr
    return set(line.split()[1:])


@pytest.mark.parametrize(
    "args",
    [
        ["--version"],
        ["ls"],
        ["ls", "--json"],
        ["ls", "state:failed", "-q"],
        ["run", "-q", "--", "true"],
        ["run", "--dry-run", "--", "true"],
        ["doctor"],
        ["top", "--json"],
        ["backends"],
        ["reindex"],
    ],
    ids=" ".join,
)
def test_a_command_imports_nothing_heavy(args: list[str], home: Path) -> None:
    loaded = modules_of(args, home)
    allowed = {"pynvml"} if args[0] == "doctor" else set()
    assert not loaded & (set(HEAVY) - allowed)


def test_listing_needs_no_event_loop_and_no_backend(home: Path) -> None:
    modules_of(["ls", "--json"], home)  # makes the index, from run directories if there are any
    loaded = modules_of(["ls", "--json"], home)
    assert "asyncio" not in loaded
    assert not {m for m in loaded if m.startswith("traindeck.backends.") and m.count(".") > 1} - {
        "traindeck.backends.data",
        "traindeck.backends.encoding",
        "traindeck.backends.errors",
        "traindeck.backends.states",
    }


def test_a_command_does_not_import_the_others(home: Path) -> None:
    loaded = modules_of(["ls"], home)
    assert "traindeck.console.cli.launch" not in loaded
    assert "traindeck.console.recipes" not in loaded


def test_a_launch_that_is_like_no_other_reads_no_form_and_no_recipe(home: Path) -> None:
    loaded = modules_of(["run", "-q", "--", "true"], home)
    assert not loaded & {"traindeck.console.runs.drafting", "traindeck.console.runs.relaunching"}
    assert not any(m.startswith("traindeck.console.recipes") for m in loaded)


def test_the_screen_imports_no_parser_and_nothing_numeric_before_its_first_paint(
    home: Path,
) -> None:
    program = (
        "import sys\n"
        "import traindeck.console.tui.app, traindeck.console.tui.live\n"
        "import traindeck.console.tui.screens.runs\n"
        "print('MODULES', *sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"typer", "numpy", "torch", "paramiko", "httpx", "yaml", "pynvml"}
    assert "traindeck.backends.base" not in loaded  # its classes take a tenth of all we import
    launching = {"present.form", "runs.drafting", "runs.request", "runs.capture"}
    assert not loaded & {f"traindeck.console.{name}" for name in launching}
