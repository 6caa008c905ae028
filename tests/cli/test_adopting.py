"""Processes that ran before Traindeck knew of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import Cli


def test_a_process_that_already_runs_can_be_adopted(cli: Cli, tmp_path: Path) -> None:
    log = tmp_path / "out.txt"
    with log.open("wb") as out:
        words = ["sh", "-c", "echo from before; sleep 30; :"]
        process = subprocess.Popen(words, stdout=out, cwd=tmp_path)
    try:
        run = cli.ok("adopt", "-q", "--name", "tmux", str(process.pid)).strip()
        shown = cli.json("show", "--json", run)
        assert shown["state"] == "running"
        assert (shown["argv"], shown["cwd"]) == (words, str(tmp_path))
        assert "from before" in cli.ok("logs", run)
    finally:
        process.kill()
        process.wait()
    assert cli("wait", run).returncode == 1
    shown = cli.json("show", "--json", run)
    assert shown["state"] == "lost"
    assert "not knowable" in shown["reason"]
    assert shown["adopted"] is True
    assert cli.json("ls", "--json")[0]["adopted"] is True
    assert "next: traindeck logs" in cli.ok("show", "--cached", run)
    again = cli("retry", run)
    assert again.returncode == 2
    assert "adopted" in again.stderr


def test_a_process_that_writes_to_a_pipe_is_adopted_without_a_log(cli: Cli) -> None:
    process = subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE)
    said = "its output goes to a pipe: no log"
    try:
        done = cli("adopt", "-q", str(process.pid))
        run = done.stdout.strip()
        assert done.returncode == 0 and said in done.stderr
        shown = cli.ok("show", run)
        assert said in shown and "next: traindeck metrics" in shown and "logs -f" not in shown
        logs = cli("logs", run)
        assert (logs.returncode, logs.stdout, logs.stderr) == (0, "", f"traindeck: {said}.\n")
    finally:
        process.kill()
        process.wait()


def test_removing_an_adopted_run_ends_the_watching_and_not_the_process(cli: Cli) -> None:
    process = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
    try:
        run = cli.ok("adopt", "-q", "--name", "mine", str(process.pid)).strip()
        done = cli("rm", "-y", "mine")
        assert done.returncode == 0, done.stderr
        assert "running" in done.stderr and "the process goes on, unwatched" in done.stderr
        assert process.poll() is None
        assert cli.json("ls", "--json") == []
        assert not (cli.home / ".traindeck" / "runs" / run).exists()
        again = cli.ok("adopt", "-q", str(process.pid)).strip()
        assert cli.json("show", "--json", again)["state"] == "running"
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_adopting_what_is_not_there_is_refused(cli: Cli) -> None:
    for pid in ("1", "4194000"):
        done = cli("adopt", pid)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev,
    reason="needs a second file system at /dev/shm",
)
def test_an_adopted_process_is_measured_though_its_log_is_on_another_file_system(
    cli: Cli,
) -> None:
    log = Path("/dev/shm") / f"traindeck-{os.getpid()}.log"
    says = "for n in range(30): print(f'step {n}: loss {3 - n / 30:.3f}', flush=True)"
    program = f"{says}\nimport time\ntime.sleep(60)"
    try:
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, "-c", program], stdout=out)
        run = cli.ok("adopt", "-q", str(process.pid)).strip()
        deadline = time.monotonic() + 30
        while len((done := cli("metrics", "--csv", run, "loss")).stdout.splitlines()) < 31:
            assert time.monotonic() < deadline, done
        assert done.stderr == ""
    finally:
        process.kill()
        process.wait()
        log.unlink()
