"""`shell` without a terminal: a command where a run is, with our input and output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .conftest import Cli


def piped(cli: Cli, *args: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "traindeck.console.cli.main", "shell", *args],
        cwd=cli.cwd,
        env=cli.environ,
        input=data,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_a_command_runs_in_the_directory_of_a_run_that_goes_on_or_is_over(cli: Cli) -> None:
    going = cli.run("sleep", "60")
    over = cli.run("true")
    cli("wait", over)
    for run in (going, over):
        done = piped(cli, run, "--", "pwd")
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.decode().strip()).name == run


def test_it_finds_what_the_run_was_started_with_and_is_no_part_of_it(cli: Cli) -> None:
    run = cli.run("true", options=("--env", "FLAVOUR=plum cake", "--name", "sweet"))
    cli("wait", run)
    found = dict(
        line.split("=", 1)
        for line in piped(cli, run, "--", "env").stdout.decode().splitlines()
        if "=" in line
    )
    folder = found["TRAINDECK_RUN_DIR"]
    assert found["FLAVOUR"] == "plum cake"
    assert found["PWD"] == folder and Path(folder).name == run
    assert found["TRAINDECK_ARTIFACTS"] == f"{folder}/artifacts"
    assert (found["TRAINDECK_RUN_ID"], found["TRAINDECK_NAME"]) == (run, "sweet")
    assert "TRAINDECK_RUN" not in found, "it would keep the run from ending"


def test_input_goes_in_and_output_comes_out_byte_for_byte(cli: Cli) -> None:
    run = cli.run("true")
    data = os.urandom(3_000_000)
    done = piped(cli, run, "--", "cat", data=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")


def test_the_code_and_the_signal_are_those_of_the_command(cli: Cli) -> None:
    run = cli.run("true")
    assert piped(cli, run, "--", "sh", "-c", "echo a; echo b >&2; exit 7").returncode == 7
    assert piped(cli, run, "--", "sh", "-c", "kill -9 $$").returncode == 128 + 9
    both = piped(cli, run, "--", "sh", "-c", "echo a; echo b >&2")
    assert (both.stdout, both.stderr) == (b"a\n", b"b\n")


def test_without_a_command_the_users_shell_reads_what_comes_in(cli: Cli) -> None:
    run = cli.run("true")
    done = piped(cli, run, data=b"echo $((6 * 7))\nexit 3\n")
    assert (done.returncode, done.stdout) == (3, b"42\n")


def test_words_reach_the_command_as_they_are(cli: Cli) -> None:
    run = cli.run("true")
    words = ["a b", "$HOME", "'\"", "ä\udcff", "", "-x", "*"]
    done = piped(cli, run, "--", sys.executable, "-c", "import sys; print(sys.argv[1:])", *words)
    assert done.stdout.decode().strip() == repr(words)


def test_what_cannot_be_is_said_in_one_sentence(cli: Cli) -> None:
    run = cli.run("true")
    cli("wait", run)
    missing = piped(cli, run, "--", "no-such-program")
    assert missing.returncode == 127
    assert missing.stderr == b"traindeck: no-such-program cannot be started: no such program.\n"
    unknown = piped(cli, "no-such-run", "--", "true")
    assert unknown.returncode == 2 and b"no-such-run" in unknown.stderr
    cli.ok("rm", "--yes", run)
    gone = piped(cli, run, "--", "true")
    assert gone.returncode in (1, 2) and gone.stderr.count(b"\n") <= 2
    assert b"Traceback" not in gone.stderr
