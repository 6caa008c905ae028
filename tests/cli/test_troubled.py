"""What is wrong with a run that goes on is said wherever the run is shown."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Cli


def kill(folder: Path, supervisor: int) -> None:
    os.kill(supervisor, signal.SIGKILL)


def halt(folder: Path, supervisor: int) -> None:
    os.kill(supervisor, signal.SIGSTOP)


def delete(folder: Path, supervisor: int) -> None:
    shutil.rmtree(folder)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("do", "said"),
    [
        (kill, "its supervisor was killed; it runs on, exit code will not be known"),
        (halt, "its supervisor is stopped (signal STOP)"),
        (delete, "its run directory was deleted; it runs on, log and exit code are lost"),
    ],
)
def test_a_running_run_that_something_is_wrong_with_says_so(
    cli: Cli, do: Callable[[Path, int], None], said: str
) -> None:
    run = cli.run("sh", "-c", "echo step 7 loss 1.5; exec sleep 60")
    while cli.json("show", "--json", run)["progress"]["step"] is None:
        time.sleep(0.2)
    job = cli.json("show", "--json", run)["pid"]
    folder = cli.home / ".traindeck/runs" / run
    supervisor = json.loads((folder / "attempts/0/agent.json").read_text())["pid"]
    try:
        do(folder, supervisor)
        deadline = time.monotonic() + 20
        while cli.json("show", "--json", run)["reason"] is None and time.monotonic() < deadline:
            time.sleep(0.2)
        shown = cli("show", run).stdout
        assert "● running" in shown and f"▲ {said}" in shown
        assert f"▲ {said} · step 7" in cli.ok("ls")
    finally:
        if do is halt:
            os.kill(supervisor, signal.SIGCONT)
        os.kill(job, signal.SIGKILL)


@pytest.fixture
def elsewhere(cli: Cli) -> tuple[str, Path]:
    """A run at a backend of the settings, and the folder of its runs."""
    root = cli.home / "elsewhere"
    cli.ok("backends", "add", "process", "lab", "--option", f"root={root}")
    return cli.run("sh", "-c", "sleep 3; exit 4", options=("--on", "lab")), root / "runs"


def test_who_waits_for_a_place_that_cannot_be_asked_is_told_and_sees_the_end(
    cli: Cli, elsewhere: tuple[str, Path]
) -> None:
    run, runs = elsewhere
    away = runs.with_name("away")
    runs.rename(away)
    words = [sys.executable, "-m", "traindeck.console.cli.main", "wait", run]
    pipe = subprocess.PIPE
    waiting = subprocess.Popen(words, cwd=cli.cwd, env=cli.environ, stdout=pipe, stderr=pipe)
    assert waiting.stderr is not None
    said = waiting.stderr.readline().decode()
    assert "lab cannot be asked, the waiting goes on" in said and f"{runs} is not there" in said
    away.rename(runs)
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, err) == (4, b"traindeck: lab answers again.\n"), out


def test_a_backend_that_was_taken_out_of_the_settings_is_not_waited_for(
    cli: Cli, elsewhere: tuple[str, Path]
) -> None:
    run, _ = elsewhere
    settings = cli.home / ".config/traindeck/settings.yaml"
    kept = settings.read_text()
    settings.unlink()
    done = cli("wait", run, timeout=20)
    assert done.returncode == 2 and "There is no backend 'lab'" in done.stderr
    settings.write_text(kept)
    assert cli("wait", run).returncode == 4


def test_rm_says_that_a_directory_stays_whose_backend_was_taken_out_of_the_settings(
    cli: Cli, elsewhere: tuple[str, Path]
) -> None:
    run, runs = elsewhere
    cli("wait", run)
    (cli.home / ".config/traindeck/settings.yaml").unlink()
    done = cli("rm", "-y", run)
    assert done.returncode == 0 and (runs / run).is_dir()
    assert "its directory stays: there is no backend lab any more" in done.stderr


def test_reindex_says_of_which_place_nothing_could_be_learnt(
    cli: Cli, elsewhere: tuple[str, Path]
) -> None:
    run, runs = elsewhere
    runs.rename(runs.with_name("away"))
    done = cli("reindex")
    assert done.returncode == 0 and done.stdout == "1 runs\n"
    assert f"what the runs of lab do is not known: {runs} is not there" in done.stderr
    runs.with_name("away").rename(runs)
    assert cli("wait", run).returncode == 4
    assert "not known" not in cli("reindex").stderr
