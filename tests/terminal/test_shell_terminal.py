"""`traindeck shell` in a real terminal: the program's own, and given back as it was."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminal_probe import Terminal

pytestmark = pytest.mark.terminal

StartShell = Callable[..., Terminal]
MAIN = [sys.executable, "-m", "traindeck.console.cli.main"]


def environ() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, "TERM": "xterm-256color", "SHELL": "/bin/sh", "ENV": ""}


@pytest.fixture
def run(home: Path) -> Iterator[str]:
    """A run that goes on."""
    done = subprocess.run(
        [*MAIN, "run", "-q", "--env", "PS1=inner$ ", "--", "sleep", "600"],
        env=environ(), cwd=home, capture_output=True, text=True, check=True,
    )  # fmt: skip
    yield done.stdout.strip()
    subprocess.run([*MAIN, "stop", "--grace", "1s", done.stdout.strip()], env=environ(), check=True)


@pytest.fixture
def start_shell(run: str) -> Iterator[StartShell]:
    """Types `traindeck shell RUN …` into a shell of a terminal of its own."""
    started: list[Terminal] = []

    def start(*command: str) -> Terminal:
        terminal = Terminal(["/bin/sh"], {**environ(), "PS1": "outer$ "}, cells=100, rows=30)
        started.append(terminal)
        terminal.wait(asks("outer$"))
        words = shlex.join([*MAIN, "shell", run, *(("--", *command) if command else ())])
        terminal.press(f"{words}\r")
        return terminal

    yield start
    for terminal in started:
        terminal.close()


def asks(prompt: str) -> Callable[[Terminal], bool]:
    """Whether a shell waits with this prompt."""
    return lambda terminal: prompt in [line.strip() for line in terminal.text.split("\n")]


def answered(terminal: Terminal) -> bool:
    """Whether 40 and 2 were added: other words with these digits may be on the screen."""
    return any(line.strip() in ("42", "inner$ 42") for line in terminal.text.split("\n"))


def modes(terminal: Terminal) -> list[object]:
    return termios.tcgetattr(terminal.fd)[:4]


def pid_of(folder: str) -> int:
    """The `traindeck shell` of a run."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"shell" in words and folder.encode() in words:
            return int(path.parent.name)
    raise AssertionError("no such process")


def test_the_users_shell_has_the_keys_and_the_size_and_its_code_comes_back(
    start_shell: StartShell, run: str
) -> None:
    terminal = start_shell()
    terminal.wait(asks("inner$"))
    terminal.press("stty size; basename $PWD\r")
    terminal.wait("30 100")
    terminal.wait(lambda t: f"\n{run}" in t.text)
    terminal.resize(70, 20)
    terminal.press("stty size\r")
    terminal.wait("20 70")
    terminal.press("echo $((40 + 2)); sleep 600\r")
    terminal.wait(answered)
    terminal.press("ctrl+c")  # for the program there, not for us
    terminal.wait("^C")
    terminal.wait(asks("inner$"))
    terminal.press("exit 5\r")
    terminal.wait(asks("outer$"))
    terminal.press("echo code $?\r")
    terminal.wait("code 5")


def test_the_terminal_is_given_back_as_it_was(start_shell: StartShell) -> None:
    terminal = start_shell("sh", "-c", "stty raw -echo; echo $((40 + 2)); read x")
    terminal.wait(answered)
    raw = modes(terminal)
    terminal.press("\r", "\n")
    terminal.wait(asks("outer$"))
    terminal.press("stty -a | grep -o -e ' icanon' -e ' echo ' -e ' isig'\r")
    terminal.wait(lambda t: all(word in t.text for word in (" icanon", " echo", " isig")))
    assert modes(terminal) != raw


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["TERM", "HUP"])
def test_a_signal_gives_the_terminal_back_first(
    start_shell: StartShell, run: str, number: signal.Signals
) -> None:
    terminal = start_shell()
    terminal.wait(asks("inner$"))
    os.kill(pid_of(run), number)
    terminal.wait(asks("outer$"))
    terminal.press("echo code $?\r")
    terminal.wait(f"code {128 + number}")
    terminal.press("stty -a | grep -o ' icanon'\r")
    terminal.wait(" icanon")


def test_a_tilde_and_a_dot_at_the_beginning_of_a_line_hang_up(start_shell: StartShell) -> None:
    terminal = start_shell("sh", "-c", "trap '' HUP; echo $((40 + 2)); exec sleep 600")
    terminal.wait(answered)
    terminal.press("~.")
    terminal.wait(asks("outer$"))
    terminal.press("echo code $?\r")
    terminal.wait("code 255")


def test_what_hung_up_on_a_full_screen_leaves_a_usable_one(start_shell: StartShell) -> None:
    program = r"printf '\033[?1049h\033[?25l\033[?1000h'; echo $((40 + 2)); exec sleep 600"
    terminal = start_shell("sh", "-c", program)
    terminal.wait(answered)
    terminal.press("\r", "~.")
    terminal.wait(lambda t: b"\x1b[?1049l" in t.raw)
    terminal.wait(asks("outer$"))
    terminal.press("echo done\r")
    terminal.wait(lambda t: "\ndone" in t.text)
    for mode in (b"1049", b"1000"):
        assert terminal.raw.rfind(b"\x1b[?%sl" % mode) > terminal.raw.rfind(b"\x1b[?%sh" % mode)
    assert terminal.raw.rfind(b"\x1b[?25h") > terminal.raw.rfind(b"\x1b[?25l")
