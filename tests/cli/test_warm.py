"""What the tests here fork is what a shell would have started."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .conftest import Cli
from .warm import Warm

COMMANDS = (
    ("--version",), ("ls",), ("ls", "--json"), ("show", "nobody"), ("backends",),
    ("run", "--help"), ("ls", "\udcff"), ("finetune", "--parameters"), ("frobnicate",),
)  # fmt: skip


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_a_command_says_the_same_forked_as_started(cli: Cli, args: tuple[str, ...]) -> None:
    warm = Warm()
    assert warm.run(args, cli.cwd, cli.environ, 60) is None, "for real at first"
    forked = warm.run(args, cli.cwd, cli.environ, 60)
    started = subprocess.run(
        [sys.executable, "-m", "traindeck.console.cli.main", *args], cwd=cli.cwd, env=cli.environ,
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    warm.close()
    assert forked is not None
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        started.returncode, started.stdout, started.stderr,
    )  # fmt: skip


def test_what_speaks_to_python_itself_is_started(cli: Cli) -> None:
    warm = Warm()
    for _ in range(2):
        warm.run(("ls",), cli.cwd, cli.environ, 60)
    environ = {**cli.environ, "PYTHONIOENCODING": "ascii"}
    assert warm.run(("ls",), cli.cwd, environ, 60) is None
    warm.close()


def test_a_forked_command_that_takes_too_long_is_ended(cli: Cli) -> None:
    run = cli.run("sleep", "60")
    warm = Warm()
    warm.run(("wait", run), cli.cwd, cli.environ, 60)
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(("wait", run), cli.cwd, cli.environ, 0.5)
    warm.run(("ls",), cli.cwd, cli.environ, 60)
    done = warm.run(("ls",), cli.cwd, cli.environ, 60)
    warm.close()
    assert done is not None and done.returncode == 0 and run[:4] in done.stdout
