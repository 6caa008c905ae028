"""The Log tab over logs that would harm a lesser reader: through a pty, of a run that really wrote
them. Sizes are real to the reader; most of the ten gigabytes is a hole in the file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminal_probe import Terminal

pytestmark = pytest.mark.terminal

PROGRAM = r"""
import os, sys
out = 1
for step in range(1000):
    os.write(out, b"step %d/1000 loss 2.5\n" % step)
line = b"y" * (1 << 20)
for _ in range(200):
    os.write(out, line)
os.write(out, b"\nafter the long line\n")
os.truncate("/proc/self/fd/1", int(sys.argv[1]))
os.write(out, b"\nafter the hole\n" + bytes(range(256)) * 64 + b"\n")
os.write(out, b"\x1b]0;stolen title\x07\x1b]52;c;c3RvbGVu\x07\x1b[31mred\x1b[0m \x1b[5;5Hmoved\n")
os.write(out, "日本語 \u202eolleh\u202c e\u0301\u0301 👩‍👩‍👧\n".encode())
os.write(out, b"bar 0%" + b"".join(b"\rbar %d%%" % n for n in range(1, 101)) + b"\n")
raise ValueError("the last words")
"""


Start = Callable[[], Terminal]


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts Traindeck in a home with one run, which has ended and left a monstrous log: of ten
    gigabytes, if a test does not say another size."""
    size = str(getattr(request, "param", 10 << 30))
    command = str(Path(sys.executable).with_name("traindeck"))
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm-256color",
           "COLORTERM": "truecolor", "LANG": "C.UTF-8"}  # fmt: skip
    (tmp_path / "monster.py").write_text(PROGRAM)
    run = [command, "run", "-q", "--name", "monster", "--", sys.executable, "monster.py"]
    run.append(size)
    subprocess.run(run, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=60)
    wait = [command, "wait", "monster"]
    done = subprocess.run(wait, env=env, check=False, capture_output=True, timeout=60)
    assert done.returncode == 1
    started: list[Terminal] = []

    def begin() -> Terminal:
        started.append(Terminal([command], env))
        return started[-1]

    yield begin
    for terminal in started:
        terminal.close()


def memory(pid: int) -> int:
    """Bytes that a process has in memory."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found is not None
    return int(found.group(1)) << 10


def test_ten_gigabytes_a_line_of_200_megabytes_binary_and_escapes_do_no_harm(
    start: Start,
) -> None:
    deck = start()
    deck.wait("monster", timeout=60)
    deck.wait("selected 1/1")
    deck.press("l")
    deck.wait("ValueError: the last words", timeout=60)
    deck.wait("end of log · exit 1")
    deck.wait("What happened")
    assert "10.7 GB" in deck.text and "100 %" in deck.text
    assert "101 updates, last: bar 100%" in deck.text
    assert "red ␛[5;5Hmoved" in deck.text or "red moved" in deck.text
    # Both ends and the middle, at once and whatever is still being read in the background.
    deck.press("g", "g")
    deck.wait("step 0/1000")
    deck.press("%", *"50", "enter")
    deck.wait(lambda t: re.search(r"\b50 %", t.text) is not None)
    deck.press("%", "1", "enter")
    deck.wait("yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy")
    deck.press("w")
    deck.wait("wrap on")
    deck.press("pagedown", "pagedown", "pageup", "k", "j")
    deck.press("w", "G")
    deck.wait("the last words")
    # A search that finds nothing in all that can be stopped; the log stays there to be read.
    deck.press("/", *"nowhere", "enter")
    deck.wait("esc stops")
    deck.press("escape")
    deck.wait(lambda t: "esc stops" not in t.text)
    assert "monster" in deck.text and "3 Log" in deck.text
    deck.press("g", "g")
    deck.wait("step 0/1000")
    deck.press("/", *"after the long", "enter")
    deck.wait("after the long line", timeout=60)
    written = bytes(deck.raw)
    assert b"\x1b]0;stolen" not in written and b"\x1b]52;" not in written
    assert memory(deck.pid) < 300 << 20
    deck.press("q", "q")
    assert deck.ended() == 0


def test_coming_back_after_a_restart_goes_on_where_one_was(start: Start) -> None:
    deck = start()
    deck.wait("selected 1/1", timeout=60)
    deck.press("l")
    deck.wait("the last words", timeout=60)
    deck.press("g", "g")
    deck.wait("step 0/1000")
    deck.press("pagedown")
    deck.wait("step 40/1000")
    deck.press("ctrl+c", "ctrl+c")
    assert deck.ended() == 0
    again = start()
    again.wait("selected 1/1", timeout=60)
    again.press("enter")
    again.wait("step 40/1000", timeout=60)
    assert "the last words" not in again.text


@pytest.mark.parametrize("start", [1 << 30], ids=["once it is read"], indirect=True)
def test_a_log_that_is_over_costs_the_line_nothing(start: Start) -> None:
    deck = start()
    deck.wait("selected 1/1", timeout=60)
    deck.press("l")
    deck.wait("end of log", timeout=60)
    # Reading all of it begins a moment after its end is on the screen.
    read = end = time.monotonic()
    while time.monotonic() < read + 2.0:
        deck.read(0.05)
        if "reading" in deck.text.splitlines()[-1]:
            read = time.monotonic()
        assert read < end + 120
    # Ages grow in the header, and on the screen below, which nobody sees: one row, not the screen.
    at = len(deck.raw)
    assert deck.listen(4.0) < 8 << 10, bytes(deck.raw[at:])
