"""`S` on a run of a cluster: the terminal is a shell's on its node for a while."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal_probe import Terminal
from tests.services.slurm import cluster

pytestmark = [
    pytest.mark.terminal,
    pytest.mark.skipif(not os.environ.get("SOAK"), reason="as that of a process, longer: SOAK=1"),
]

MAIN = [sys.executable, "-m", "traindeck.console.cli.main"]


@pytest.fixture
def deck(home: Path) -> Iterator[Terminal]:
    """The real program with one real run on a cluster, which goes on."""
    with cluster(nodes=1, apart=True) as slurm:
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR")}
        env = {**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8", "SHELL": "/bin/sh"}
        env["SLURM_CONF"] = str(slurm.conf)
        for words in (
            ("backends", "add", "slurm", "lab", "--local"),
            ("run", "-q", "--on", "lab", "--env", "PS1=inner$ ", "--", "sleep", "600"),
        ):
            subprocess.run([*MAIN, *words], env=env, cwd=home, capture_output=True, check=True)
        terminal = Terminal(MAIN, env, cells=100, rows=30)
        yield terminal
        terminal.close()


def test_the_shell_of_a_run_on_a_cluster_is_one_on_its_node(deck: Terminal) -> None:
    deck.wait("1 running")
    deck.press("S")
    deck.wait("inner$")
    deck.press("stty size; echo on $SLURMD_NODENAME, $(basename $PWD | wc -c)\r")
    deck.wait("30 100")
    deck.wait("on n0, 13")
    deck.resize(90, 25)
    deck.press("stty size\r")
    deck.wait("25 90")
    deck.press("sh -c 'echo $((40 + 2)); exec sleep 600'\r")
    deck.wait("42")
    deck.press("\x1a")  # keys are for the program there, and jobs are the shell's
    deck.wait("Stopped")
    deck.press("kill -9 %1\r")
    deck.wait("kill -9 %1\ninner$")
    deck.press("\r")
    deck.wait("Killed")
    deck.press("exit 3\r")
    deck.wait("the shell ended with 3")
    deck.wait("1 running")
    assert "srun" not in deck.raw.decode("utf-8", "replace")
    deck.press("q")
    assert deck.ended() == 0
