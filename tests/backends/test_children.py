"""Ending children that somebody waits for."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys

from traindeck.backends import children


def test_a_child_that_has_just_ended_keeps_its_exit_code_for_who_waits_for_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and nobody has asked yet
    children.end(child)
    child.returncode = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    assert child.returncode == 7


def test_a_child_that_runs_is_ended() -> None:
    child = subprocess.Popen(["sleep", "60"])
    children.end(child)
    assert child.wait(10) == -15


def test_no_signal_goes_to_a_child_that_is_known_to_have_ended() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    child.pid = os.getpid()  # whoever has its number now
    children.end(child, 9)


def test_a_child_that_nobody_reads_is_waited_for_and_needs_no_loop_any_more() -> None:
    async def left() -> None:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec("yes", stdout=pipe, limit=1024)
        assert child.stdout is not None
        await child.stdout.read(1)
        children.end(child)
        children.hear_no_more(child)
        async with asyncio.timeout(30):
            assert await child.wait() == -signal.SIGTERM
        assert children.is_closed(child)

    asyncio.run(left())
    gc.collect()  # what is closed only now says so on stderr, which fails the test
