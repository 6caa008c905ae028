"""`logs` and `--follow`, as a person and as a pipe sees them."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from .conftest import Cli

SGR = re.compile(rb"\x1b\[[0-9;]*m")


def on_terminal(cli: Cli, *args: str, env: dict[str, str] | None = None) -> bytes:
    """What a command that succeeds writes to a terminal."""
    ours, theirs = pty.openpty()
    mode = termios.tcgetattr(theirs)
    mode[1] &= ~termios.ONLCR
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    argv = [sys.executable, "-m", "traindeck.console.cli.main", *args]
    environ = {**cli.environ, **(env or {})}
    with subprocess.Popen(
        argv, cwd=cli.cwd, env=environ, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as command:
        assert command.wait(timeout=30) == 0
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody is at its other end
        while data := os.read(ours, 4096):
            shown += data
    os.close(ours)
    return shown


def test_follow_prints_the_log_and_returns_the_runs_code(cli: Cli) -> None:
    done = cli("run", "--follow", "--", "sh", "-c", "echo one; sleep 0.2; echo two; exit 5")
    assert done.returncode == 5
    assert done.stdout.splitlines()[-2:] == ["one", "two"]
    assert "exit code 5" in done.stderr


@pytest.mark.parametrize("log", ["no newline", "one\\ntwo\\n", "5 %%\\r10 %%\\r"])
def test_on_a_terminal_our_words_begin_below_the_log(cli: Cli, log: str) -> None:
    shown = on_terminal(cli, "run", "--follow", "--name", "n", "--", "printf", log)
    assert shown.endswith(b"\ntraindeck: n succeeded\n")
    assert b"\n\n" not in shown


COLORED = (
    b"\x1b[1;31mloss\x1b[0m 0.5 \x1b[38;2;0;200;0mgood\n"  # its end is missing
    b"plain\x1b[2J \x1b]52;c;aGk=\x07\x1b]0;title\x07\x1b[5;5Hend  \n"
    b"\x1b[32m9 %\x1b[0m   \r\x1b[1m10 %\x1b[m\n"
)
PLAIN = b"loss 0.5 good\nplain end  \n9 %   \r10 %\n"


def test_a_terminal_gets_the_colours_of_a_log_and_nothing_else_it_would_act_on(cli: Cli) -> None:
    (cli.cwd / "log").write_bytes(COLORED)
    environ = {"COLORTERM": "truecolor"}
    shown = on_terminal(cli, "run", "--follow", "--name", "n", "--", "cat", "log", env=environ)
    logged = on_terminal(cli, "logs", "n", env=environ)
    assert logged in shown
    assert SGR.sub(b"", logged) == PLAIN
    lines = logged.splitlines(keepends=True)
    assert re.search(
        rb"\x1b\[1;38;2;[\d;]+mloss\x1b\[0m 0.5 \x1b\[38;2;[\d;]+mgood\x1b\[0m\n", lines[0]
    )
    assert lines[1] == b"plain end  \n"
    assert re.fullmatch(rb"\x1b\[38;2;[\d;]+m9 %\x1b\[0m   \r", lines[2])
    assert lines[3] == b"\x1b[1m10 %\x1b[0m\n"
    few = on_terminal(cli, "logs", "n", env={"TERM": "xterm"})
    assert SGR.sub(b"", few) == PLAIN
    assert len(SGR.findall(few)) == 8 and b"38;" not in few


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_without_colours_gets_none_of_a_log(cli: Cli, environ: dict[str, str]) -> None:
    (cli.cwd / "log").write_bytes(COLORED)
    run = cli.run("cat", "log")
    cli("wait", run)
    assert on_terminal(cli, "logs", run, env=environ) == PLAIN
    argv = [sys.executable, "-m", "traindeck.console.cli.main", "logs", run]
    assert subprocess.run(argv, capture_output=True, check=True).stdout == COLORED


def test_interrupting_the_follower_does_not_touch_the_run(cli: Cli) -> None:
    argv = [sys.executable, "-m", "traindeck.console.cli.main", "run", "--follow", "--"]
    argv += ["sh", "-c", "echo started; until [ -e go ]; do sleep 0.1; done; echo finished"]
    follower = subprocess.Popen(
        argv,
        cwd=cli.cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # The tests may have been started in the background, where a shell ignores it for them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert follower.stdout is not None
    run = follower.stdout.readline().split()[0]
    assert follower.stdout.readline() == "started\n"
    os.killpg(follower.pid, signal.SIGINT)  # as ctrl+c does: the whole foreground group
    _, errors = follower.communicate(timeout=20)
    assert follower.returncode == 130
    assert "Traceback" not in errors
    assert "goes on" in errors and f"traindeck stop {run[:3]}" in errors
    (cli.cwd / "go").touch()
    assert cli("wait", run).returncode == 0
    assert cli.ok("logs", run) == "started\nfinished\n"


def test_following_a_log_goes_through_the_attempts(cli: Cli) -> None:
    wait = "until [ -e go ]; do sleep 0.1; done"
    script = f"echo try; [ -e again ] || {{ {wait}; touch again; exit 3; }}; echo good"
    run = cli.run("sh", "-c", script, options=("--retries", "1"))
    argv = [sys.executable, "-m", "traindeck.console.cli.main", "logs", "-f", run]
    pipe = subprocess.PIPE
    follower = subprocess.Popen(argv, cwd=cli.cwd, stdout=pipe, stderr=pipe, text=True)
    assert follower.stdout is not None
    assert follower.stdout.readline() == "try\n"
    (cli.cwd / "go").touch()
    printed, notes = follower.communicate(timeout=30)
    assert (follower.returncode, printed) == (0, "try\ngood\n")
    assert "attempt 1" in notes
    assert cli.ok("logs", "-f", "--attempt", "0", run) == "try\n"


def test_a_log_that_is_deleted_while_it_is_followed_ends_in_words(cli: Cli) -> None:
    run = cli.run("sh", "-c", "echo started; sleep 60")
    argv = [sys.executable, "-m", "traindeck.console.cli.main", "logs", "-f", run]
    pipe = subprocess.PIPE
    follower = subprocess.Popen(argv, cwd=cli.cwd, stdout=pipe, stderr=pipe, text=True)
    assert follower.stdout is not None
    assert follower.stdout.readline() == "started\n"
    folder = cli.ok("show", "--path", run).strip()
    shutil.rmtree(folder)
    _, errors = follower.communicate(timeout=30)
    assert (follower.returncode, errors) == (1, f"traindeck: {folder} is gone: it was deleted.\n")


def test_a_rank_that_there_is_not_is_named(cli: Cli) -> None:
    run = cli.run("echo", "hi")
    cli("wait", run)
    for options in ((), ("-f",)):
        done = cli("logs", "--rank", "3", *options, run)
        assert (done.returncode, done.stdout) == (2, "")
        assert "no log of such a rank" in done.stderr


def test_all_ranks_are_those_that_there_are(cli: Cli) -> None:
    run = cli.run("echo", "hi")
    cli("wait", run)
    for options in ((), ("-f",), ("-n", "1")):
        done = cli("logs", "--rank", "all", *options, run)
        assert (done.returncode, done.stdout, done.stderr) == (0, "hi\n", "")
    # As a place with several would have left them.
    logs = Path(cli.ok("show", "--path", run).strip()) / "attempts/0/logs"
    for rank in (10, 2):
        (logs / f"{rank}.log").write_text(f"from {rank}\n")
    done = cli("logs", "--rank", "all", run)
    assert done.stdout == "hi\nfrom 2\nfrom 10\n"
    assert [line.split()[2] for line in done.stderr.splitlines()] == ["0", "2", "10"]
    assert cli.ok("logs", "--rank", "all", "--grep", "from", run) == "from 2\nfrom 10\n"
    for words, said in (
        (("all", "-f"), "several ranks"),
        (("some",), "or all"),
        (("-1",), "from 0"),
    ):
        done = cli("logs", "--rank", *words, run)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


def test_logs_to_a_pipe_are_byte_identical(cli: Cli) -> None:
    program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 40)"
    run = cli.run(sys.executable, "-c", program)
    cli("wait", run)
    argv = [sys.executable, "-m", "traindeck.console.cli.main", "logs", run]
    printed = subprocess.run(argv, capture_output=True, check=True).stdout
    assert printed == bytes(range(256)) * 40


def test_logs_print_the_last_lines_and_those_that_match(cli: Cli) -> None:
    run = cli.run("sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done")
    cli("wait", run)
    assert cli.ok("logs", "-n", "2", run) == "line 4\nline 5\n"
    assert cli.ok("logs", "--grep", "[13]$", run) == "line 1\nline 3\n"
    assert cli.ok("logs", "--since", "1h", run).count("\n") == 5


def test_of_a_line_too_long_to_hold_it_is_said_that_it_is_printed_in_part(cli: Cli) -> None:
    program = "print('a' * (17 << 20), end='needle\\n'); print('end')"
    run = cli.run(sys.executable, "-c", program)
    cli("wait", run)
    done = cli("logs", "--grep", "aneedle$", run)
    assert done.stdout.endswith("aneedle\n") and done.stdout.count("\n") == 1
    assert len(done.stderr.splitlines()) == 1
    assert "a line is longer than 16 MiB" in done.stderr
    assert cli("logs", "--grep", "end", run).stdout == "end\n"
