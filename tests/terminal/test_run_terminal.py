"""The real program on a real run: it prints, is followed, fails, is searched and jumped in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal_probe import Terminal

pytestmark = pytest.mark.terminal

PROGRAM = """
import os, sys, time
for step in range(1, 301):
    print(f"step {step}/300 loss {3 - step * 0.005:.4f}", flush=True)
    if step % 100 == 0:
        print(f"needle in step {step}", flush=True)
print("\\x1b]0;stolen title\\x07\\x1b[2Jescapes \\x1b[31mred\\x1b[0m", flush=True)
while not os.path.exists("go"):
    time.sleep(0.05)
raise RuntimeError("the data ended before the steps did")
"""


@pytest.fixture
def deck(tmp_path: Path) -> Iterator[Terminal]:
    """Traindeck in a home of its own with one run that waits for the file `go`."""
    command = Path(sys.executable).with_name("traindeck")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm-256color",
           "COLORTERM": "truecolor", "LANG": "C.UTF-8"}  # fmt: skip
    (tmp_path / "train.py").write_text(PROGRAM)
    subprocess.run(
        [command, "run", "-q", "--name", "prints", "--", sys.executable, "train.py"],
        cwd=tmp_path, env=env, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    terminal = Terminal([str(command)], env)
    yield terminal
    (tmp_path / "go").touch()  # the run ends in any case
    terminal.close()


def test_a_run_is_followed_to_its_end_searched_and_jumped_in(
    deck: Terminal, tmp_path: Path
) -> None:
    deck.wait("prints", timeout=60)
    deck.wait("selected 1/1")
    deck.press("l")
    deck.wait("step 300/300", timeout=60)
    deck.wait("escapes red")
    # Search: the count, the hit before it, and the one before that.
    deck.press("/")
    deck.quiet()
    deck.press(*"needle")
    deck.press("enter")
    deck.wait("3 of 3")
    deck.press("N")
    deck.wait("2 of 3")
    deck.wait("needle in step 200")
    # Only some lines.
    deck.press("&")
    deck.quiet()
    deck.press(*"needle")
    deck.press("enter")
    deck.wait(lambda t: "needle in step 100" in t.text and "step 299/300" not in t.text)
    deck.press("&")
    deck.quiet()
    deck.press("ctrl+u")
    deck.press("enter")
    deck.wait("& filter none")
    deck.press("f")
    deck.wait("follow on")
    deck.wait("step 300/300")
    # It fails while somebody looks: the end, the cause, and a way to the first error.
    (tmp_path / "go").touch()
    deck.wait("RuntimeError: the data ended before the steps did", timeout=60)
    deck.wait("end of log", timeout=60)
    deck.wait("failed", timeout=60)
    deck.press("g", "g")
    deck.wait("step 1/300")
    deck.press("E")
    deck.wait("Traceback (most recent call last)")
    # The other tabs, and out.
    deck.press("2")
    deck.wait("METRICS", timeout=60)
    deck.wait("300 of 300 points")
    deck.press("6")
    deck.wait("run.json")
    deck.press("7")
    deck.wait("COMMAND")
    deck.press("1")
    deck.wait("exit 1")
    assert b"\x1b]0;stolen" not in bytes(deck.raw)
    assert b"Traceback" not in bytes(deck.raw).replace(b"Traceback (most recent call last)", b"")
    deck.press("q")
    deck.wait("selected 1/1")
    deck.press("q")
    assert deck.ended() == 0
