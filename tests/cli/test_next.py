"""What `show` names as the next command, typed as it stands: it works, whatever became of a run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from tests.payload.harness import until

from .conftest import Cli


def ended(cli: Cli, *command: str, options: tuple[str, ...] = ()) -> str:
    run = cli.run(*command, options=options)
    cli("wait", run)
    return run


def cancelled_while_it_waited(cli: Cli) -> str:
    first = cli.run("sleep", "600")
    run = cli.run("true", options=("--after", first))
    cli.ok("stop", run)
    cli.ok("stop", first)
    return run


def archived(cli: Cli) -> str:
    run = ended(cli, "false")
    cli.ok("rm", "--yes", "--keep-artifacts", run)
    return run


def without_log(cli: Cli) -> str:
    run = ended(cli, "true")
    (cli.home / ".traindeck/runs" / run / "attempts/0/logs/0.log").unlink()
    return run


def without_directory(cli: Cli) -> str:
    run = ended(cli, "false")
    shutil.rmtree(cli.home / ".traindeck/runs" / run)
    return run


def without_attempts(cli: Cli) -> str:
    run = ended(cli, "false")
    shutil.rmtree(cli.home / ".traindeck/runs" / run / "attempts")
    return run


def lost_without_attempts(cli: Cli) -> str:
    run = cli.run("sleep", "600")
    record = cli.home / ".traindeck/runs" / run / "attempts/0/agent.json"
    agent = until(lambda: (a := json.loads(record.read_text()))["phase"] == "running" and a)
    for pid in (agent["pid"], agent["leader"]["pid"]):
        os.kill(pid, signal.SIGKILL)
    cli("wait", run)
    shutil.rmtree(cli.home / ".traindeck/runs" / run / "attempts")
    return run


def not_mounted(cli: Cli) -> str:
    run = ended(cli, "false")
    (cli.home / ".traindeck/runs").rename(cli.home / ".traindeck/elsewhere")
    return run


def of_a_place_that_was_taken_out(cli: Cli) -> str:
    cli.ok("backends", "add", "process", "scratch", "--option", f"root={cli.home}/scratch")
    run = ended(cli, "false", options=("--on", "scratch"))
    (cli.home / ".config/traindeck/settings.yaml").unlink()
    return run


def adopted(cli: Cli) -> str:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = cli.ok("adopt", "-q", str(process.pid)).strip()
    process.kill()
    process.wait()
    cli("wait", run)
    return run


STATES = {
    "succeeded": lambda cli: ended(cli, "true"),
    "failed": lambda cli: ended(cli, "false"),
    "not there": lambda cli: cli("run", "-q", "--", "no-such-program").stdout.strip(),
    "timeout": lambda cli: ended(cli, "sleep", "60", options=("--time", "1s", "--grace", "1s")),
    "cancelled while it waited": cancelled_while_it_waited,
    "archived": archived,
    "without log": without_log,
    "without directory": without_directory,
    "without attempts": without_attempts,
    "lost without attempts": lost_without_attempts,
    "not mounted": not_mounted,
    "of a place that was taken out": of_a_place_that_was_taken_out,
    "adopted": adopted,
}


@pytest.mark.parametrize("state", STATES)
def test_the_next_command_works(cli: Cli, state: str) -> None:
    run = STATES[state](cli)
    lead, _, words = cli.ok("show", run).splitlines()[-1].partition("next: traindeck ")
    assert words and not lead
    command = shlex.split(words)
    yes = ["--yes"] if command[0] == "rm" else []
    done = cli(*command, *yes)
    assert done.returncode == 0, (words, done.stderr)
