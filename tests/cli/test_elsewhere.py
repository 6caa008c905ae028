"""The command line's words for the environment of a run, and for a place that is chosen."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Cli
from tests.environments import make_venv
from tests.services.sshd import Box, Sshd


@pytest.fixture
def far(cli: Cli, tmp_path: Path) -> Iterator[Path]:
    """The home of a second machine, `gpu1` in the settings."""
    with Sshd(tmp_path / "sshd", Box()) as sshd:
        cli.ok("backends", "add", "ssh", "gpu1", "--option", "host=box0",
               "--option", f"ssh_config={sshd.config}")  # fmt: skip
        yield sshd[0].home


def test_a_run_here_executes_in_the_environment_that_was_named(cli: Cli) -> None:
    venv = make_venv(cli.cwd / ".venv", torch="2.9.1")
    code = "import sys; print(sys.prefix, sys.executable)"
    plan = cli.ok("run", "--environment", ".venv", "--dry-run", "--", "python", "-c", code)
    assert "place     local: venv ~/work/.venv, torch 2.9 imports\n" in plan
    assert f"inside    {venv}\n" in plan
    cli.ok("run", "--environment", ".venv", "--follow", "--", "python", "-c", code)
    run = json.loads(cli.ok("ls", "--json"))[0]["id"]
    assert cli.ok("logs", run) == f"{venv} {venv}/bin/python3\n"
    assert cli.json("show", "--json", run)["state"] == "succeeded"


def test_an_environment_that_is_not_there_is_refused_with_what_is(cli: Cli) -> None:
    make_venv(cli.home / "envs/train")
    done = cli("run", "--environment", "~/envs/tarin", "--", "python", "x.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not there. There are: ~/envs/train." in done.stderr
    for text, words in (
        ("container:pytorch", "cannot be put into a container yet"),
        ("conda:a b", "names no conda environment"),
        ("modules:a;b", "no name of a module"),
        ("train", "names no environment"),
    ):
        done = cli("run", "--environment", text, "--", "true")
        assert done.returncode == 2 and words in done.stderr, done.stderr


def test_a_run_elsewhere_says_what_it_will_run_in(cli: Cli, far: Path) -> None:
    make_venv(far / "envs/train", torch="2.9.1")
    (cli.cwd / "train.py").write_text("import torch; print('torch', torch.__version__)")
    plan = cli.ok("run", "--on", "gpu1", "--environment", "~/envs/train", "--dry-run",
                  "--", "python", "train.py")  # fmt: skip
    assert "place     gpu1: venv ~/envs/train, torch 2.9 imports\n" in plan
    log = cli.ok("run", "--on", "gpu1", "--environment", "~/envs/train", "--follow", "-q",
                 "--", "python", "train.py")  # fmt: skip
    assert log.endswith("torch 2.9.1\n")


def test_a_place_that_is_down_keeps_no_other_run_from_being_stopped(
    cli: Cli, tmp_path: Path
) -> None:
    with Sshd(tmp_path / "sshd", Box()) as sshd:
        cli.ok("backends", "add", "ssh", "gpu1", "--host", "box0",
               "--option", f"ssh_config={sshd.config}")  # fmt: skip
        far = cli.run("sleep", "100", options=("--on", "gpu1", "--name", "far"))
        near = cli.run("sleep", "100", options=("--name", "near"))
        sshd[0].stop()
        done = cli("stop", "--yes", far, near)
        assert (done.returncode, done.stdout) == (1, f"{near}  near  cancelled\n")
        said = done.stderr.splitlines()[-1]
        assert said.startswith("traindeck: far was not asked to end. box0 (127.0.0.1, port ")
        assert "Next try" not in said  # by whom?
        done = cli("forward", far)
        assert done.returncode == 1 and "refuses the connection" in done.stderr


def test_a_place_is_chosen_with_its_reason(cli: Cli, far: Path) -> None:
    make_venv(far / "envs/train")
    done = cli("run", "--on", "auto", "--environment", f"{far}/envs/gone", "--", "true")
    assert done.returncode == 2 and "No place can take this run." in done.stderr
    assert "local: " in done.stderr and "gpu1: " in done.stderr
    done = cli("run", "--on", "auto", "-q", "--", "true")
    assert done.returncode == 0 and "local: it can start now" in done.stderr
    assert cli.json("show", "--json", done.stdout.strip())["backend"] == "local"


def test_a_check_that_fails_names_its_place_once(cli: Cli, tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd", Box()) as sshd:
        other = tmp_path / "other"
        text = sshd.config.read_text().replace("box0", "nokey").replace(str(sshd.key), str(other))
        (tmp_path / "config").write_text(text)
        cli.ok("backends", "add", "ssh", "nokey", "--option", f"ssh_config={tmp_path}/config")
        checked = cli("backends", "check", "nokey")
        (line,) = checked.stdout.splitlines()
        assert checked.returncode == 1 and line.startswith("!!  nokey: ")
        assert line.count("nokey: ") == 1, line
        (line,) = [one for one in cli("doctor").stdout.splitlines() if "nokey" in one]
        assert "nokey: " not in line and line.startswith("!!  nokey "), line


def test_the_refusal_of_a_key_that_is_not_known_names_the_command_that_accepts_it(
    cli: Cli, tmp_path: Path
) -> None:
    with Sshd(tmp_path / "sshd", Box(known=False)) as sshd:
        cli.ok("backends", "add", "ssh", "gpu1", "--host", "box0",
               "--option", f"ssh_config={sshd.config}")  # fmt: skip
        refused = cli("run", "--on", "gpu1", "--", "true")
        assert (refused.returncode, refused.stdout) == (1, "")
        (said,) = refused.stderr.splitlines()
        assert "not known yet: its host key is " in said and " SHA256:" in said
        words = said.partition("`")[2].rstrip("`.").replace("PLACE", "gpu1").split()
        assert words[:3] == ["traindeck", "backends", "check"]
        accepted = cli(*words[1:])
        assert accepted.returncode == 0 and "is noted in" in accepted.stderr
        assert cli("run", "--on", "gpu1", "--", "true").returncode == 0


def test_a_slow_environment_is_said_to_be_looked_for_and_a_check_names_it(
    cli: Cli, tmp_path: Path
) -> None:
    with Sshd(tmp_path / "sshd", Box()) as sshd:
        venv = sshd[0].home / "envs/slow"
        make_venv(venv, torch="import time; time.sleep(2.5)")
        cli.ok("backends", "add", "ssh", "gpu1", "--option", "host=box0",
               "--option", f"ssh_config={sshd.config}",
               "--option", "environment=~/envs/slow")  # fmt: skip
        done = cli("run", "--on", "gpu1", "--dry-run", "--", "python", "train.py")
        line = "traindeck: gpu1: looking for an environment (torch imports take a while"
        assert done.returncode == 0 and done.stderr.count(line) == 1
        lines = cli.ok("backends", "check", "gpu1").splitlines()
        assert lines[-1] == f"ok  gpu1: runs execute in venv {venv}, torch imports"


def test_a_process_of_another_machine_is_adopted_there(cli: Cli, far: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        words = ["sh", "-c", "echo step 1 loss 0.5; exec sleep 60"]
        process = subprocess.Popen(words, stdout=out, start_new_session=True)
    try:
        run = cli.ok("adopt", "--on", "gpu1", "-q", "--name", "theirs", str(process.pid)).strip()
        assert (far / ".traindeck/runs" / run).is_dir()
        assert cli.ok("logs", run) == "step 1 loss 0.5\n"
        cli.ok("stop", "-q", "--grace", "5s", run)
        assert process.wait(20) == -signal.SIGTERM
        shown = cli.json("show", "--json", run)
        assert (shown["state"], shown["backend"], shown["pid"]) == (
            "cancelled",
            "gpu1",
            process.pid,
        )
    finally:
        process.kill()
        process.wait()
