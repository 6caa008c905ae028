"""Standard streams that are closed, full, read by nobody, or of an encoding of old."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .conftest import Cli

OURS = f"{sys.executable} -m traindeck.console.cli.main"
OLD_LOCALES = (
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)


def shell(cli: Cli, line: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `$T` is our command."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; T='{OURS}'; {line}"],
        cwd=cli.cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$T ls >&-", 1),
        ("$T --help >&-", 1),
        ("$T --version >&-", 1),
        ("$T show nosuch >&-", 2),
        ("$T show nosuch 2>&-", 2),
        ("$T show nosuch 2>/dev/full", 2),
        ("$T ls 2>&-", 0),
        ("$T ls <&- >/dev/null", 0),
        ("$T run -- true >&-", 0),
        ("$T run -- true <&- >&- 2>&-", 0),
        ("$T >&-", 2),
    ],
)
def test_a_closed_stream_changes_no_exit_code_and_shows_no_traceback(
    cli: Cli, line: str, code: int
) -> None:
    done = shell(cli, line)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "unexpected" not in done.stderr
    if "nosuch 2>" in line:
        assert (done.stdout, done.stderr) == ("", "")
    elif code == 1:
        assert done.stderr == ""


def test_a_run_started_with_everything_closed_runs_once_and_keeps_its_log(cli: Cli) -> None:
    assert (
        shell(cli, "$T run --name n -- sh -c 'echo out; echo err >&2' <&- >&- 2>&-").returncode == 0
    )
    assert cli("wait", "n").returncode == 0
    assert len(cli.json("ls", "--json")) == 1
    assert sorted(cli.ok("logs", "n").split()) == ["err", "out"]


@pytest.mark.parametrize("command", ["ls", "ls --json", "--help", "doctor"])
def test_a_full_disk_is_said_to_be_standard_outputs(cli: Cli, command: str) -> None:
    cli("wait", cli.run("true"))
    done = shell(cli, f"$T {command} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == (
        "traindeck: standard output could not be written: No space left on device.\n"
    )


def test_a_run_whose_id_cannot_be_printed_is_said_to_be_started(cli: Cli) -> None:
    done = shell(cli, "$T run -q -- true > /dev/full")
    (run,) = cli.json("ls", "--json")
    assert done.returncode == 1
    assert f"run {run['id']} was started" in done.stderr
    assert "standard output could not be written" in done.stderr


@pytest.mark.parametrize("command", ["ls", "ls --json", "logs {run}", "--help", "show {run}"])
def test_a_reader_that_has_seen_enough_is_no_failure(cli: Cli, command: str) -> None:
    run = cli.run("seq", "200000")
    cli("wait", run)
    done = shell(cli, f"$T {command.format(run=run)} | true")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_runs_own_code_is_returned_whoever_reads(cli: Cli) -> None:
    run = cli.run("sh", "-c", "exit 7")
    assert shell(cli, f"$T wait {run} | true").returncode == 7
    assert shell(cli, f"$T wait {run} >&-").returncode == 7


@pytest.mark.parametrize("env", OLD_LOCALES, ids=str)
def test_an_encoding_without_our_signs_gets_others(cli: Cli, env: dict[str, str]) -> None:
    run = cli.run(
        "python3",
        "-c",
        "for i in range(1, 6): print(f'step {i}/5: loss {1e-4 / i}')",
        options=("--name", "狐-fox"),
    )
    cli("wait", run)

    def printed(*args: str) -> str:
        environ = {**cli.environ, **env}
        command = [*OURS.split(), *args]
        done = subprocess.run(command, env=environ, cwd=cli.cwd, capture_output=True, check=True)
        assert done.stderr == b""
        return done.stdout.decode("latin-1")

    listed = printed("ls")
    assert "+ done" in listed and "==" in listed and "?" in listed
    assert listed.endswith("1 run\n")
    for command in (("show", run), ("metrics", run), ("metrics", run, "--chart")):
        assert printed(*command)
    assert json.loads(printed("ls", "--json"))[0]["name"] == "狐-fox"
    refused = cli("show", "狐", env=env)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr


def test_numbers_in_a_pipe_have_the_minus_that_programs_know(cli: Cli) -> None:
    script = "for i in range(1, 6): print(f'step {i}/5: loss {-2e-5 * i}')"
    run = cli.run("python3", "-c", script)
    cli("wait", run)
    for command in (("metrics", run), ("show", run), ("ls",)):
        printed = cli.ok(*command)
        assert "\N{MINUS SIGN}" not in printed
        assert "-1e-4" in printed or command == ("ls",)


def test_a_path_that_is_no_text_is_printed_byte_for_byte(cli: Cli) -> None:
    odd = cli.home / "h\udcff"
    odd.mkdir(mode=0o700)
    env = {**cli.environ, "HOME": str(odd)}

    def printed(*args: str) -> bytes:
        command = [*OURS.split(), *args]
        return subprocess.run(command, env=env, cwd=odd, capture_output=True, check=True).stdout

    run = printed("run", "-q", "--", "true").decode().strip()
    assert printed("wait", "-q", run).decode().strip() == run
    assert printed("show", "--path", run).startswith(bytes(odd))
