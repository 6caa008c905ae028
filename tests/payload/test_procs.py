"""What /proc says of processes in the midst of an exec."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from traindeck.backends.payload.agent import procs

TAG = b"abcdefghijkl/0"
CHURN = "while true; do sh -c 'exec true'; done"


def test_a_process_that_execs_is_never_taken_for_one_without_an_environment() -> None:
    job = subprocess.Popen(
        ["sh", "-c", CHURN], env={"TRAINDECK_RUN": TAG.decode(), "PATH": os.environ["PATH"]}
    )
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children")
    looks, end = 0, time.monotonic() + 60
    try:
        while looks < 2000:
            assert time.monotonic() < end, looks
            # Of it alone: a look at everybody's takes longer than any of them lives.
            for pid in map(int, children.read_text().split()):
                stat = procs.stat_of(pid)
                if stat is None or stat.ppid != job.pid or stat.dead:
                    continue
                tag = procs.variable(procs.environ_of(pid), b"TRAINDECK_RUN")
                try:
                    os.readlink(f"/proc/{pid}/exe")
                except OSError:
                    continue  # on its way out
                looks += 1
                assert tag == TAG
    finally:
        job.kill()
        job.wait()


def test_a_process_without_an_environment_has_none() -> None:
    with subprocess.Popen(["sleep", "60"], env={}) as job:
        try:
            assert procs.environ_of(job.pid) == b""
        finally:
            job.kill()
    assert procs.environ_of(job.pid) == b""


def test_a_file_that_is_closed_meanwhile_hides_no_other(tmp_path: Path) -> None:
    with open(tmp_path / "low", "w") as low, open(tmp_path / "high", "w"):
        # Free for what lists the files, which is closed when they are looked at.
        low.close()
        assert str(tmp_path / "high") in procs.open_files(os.getpid())
