"""The servers that other tests rely on are what they say: real, apart from each other, and gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services import below, missing
from tests.services.sshd import Box, Sshd

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    boxes = (Box(), Box(shell="tcsh"), Box(shell="fish", lines=["MaxSessions 1"]))
    with Sshd(tmp_path_factory.mktemp("sshd"), *boxes) as sshd:
        yield sshd


def say(sshd: Sshd, host: str, *words: str, options: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        sshd.ssh(host, *words, options=options), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_box_has_a_home_and_a_shell_of_its_own(three: Sshd) -> None:
    for number, shell in enumerate(("bash", "tcsh", "fish")):
        told = say(three, f"box{number}", "echo $HOME; pwd; echo ~; echo $SHELL").split("\n")
        assert told[:3] == [str(three[number].home)] * 3
        assert Path(told[3]).name == shell


def test_a_hop_goes_through_the_first_box(three: Sshd) -> None:
    assert say(three, "hop2", "echo $HOME") == str(three[2].home)
    through = three[0].log.read_text().count("Accepted publickey")
    assert say(three, "hop1", "echo $HOME") == str(three[1].home)
    assert three[0].log.read_text().count("Accepted publickey") == through + 1


def test_a_greeting_comes_before_what_was_asked(three: Sshd) -> None:
    for number in range(3):
        three[number].greet("Welcome!\n")
        assert say(three, f"box{number}", "echo there") == "Welcome!\nthere"


def test_an_unknown_host_key_is_refused_by_the_real_client(tmp_path: Path) -> None:
    with Sshd(tmp_path, Box(known=False)) as sshd:
        done = subprocess.run(sshd.ssh("box0", "true"), capture_output=True, text=True, timeout=60)
        assert done.returncode == 255 and "Host key verification failed" in done.stderr


def test_a_password_is_taken_where_the_box_has_one(tmp_path: Path) -> None:
    asks = tmp_path / "asks"
    asks.write_text("#!/bin/sh\necho 'correct horse'\n")
    asks.chmod(0o700)
    with Sshd(tmp_path / "sshd", Box(password="correct horse")) as sshd:
        command = ["ssh", "-F", str(sshd.config), "-o", "PreferredAuthentications=password"]
        environ = {**os.environ, "SSH_ASKPASS": str(asks), "SSH_ASKPASS_REQUIRE": "force"}
        done = subprocess.run(
            [*command, "box0", "echo in"], capture_output=True, text=True, env=environ, timeout=60
        )
        assert done.stdout.strip() == "in", done.stderr


def test_a_dropped_connection_leaves_what_runs_and_a_stop_leaves_nothing(tmp_path: Path) -> None:
    with Sshd(tmp_path) as sshd:
        box, port = sshd[0], sshd[0].port
        say(sshd, "box0", "setsid -f sleep 1000 </dev/null >/dev/null 2>&1")
        session = subprocess.Popen(
            sshd.ssh("box0", "echo up; cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert session.stdout and session.stdout.readline() == b"up\n"
        box.drop()
        assert session.wait(60) == 255
        assert any(is_running(pid, "sleep") for pid in box.jobs())
        listener = box.pid
        box.stop()
        assert box.processes() == set() and not Path(f"/proc/{listener}").exists()
        done = subprocess.run(sshd.ssh("box0", "true"), capture_output=True, text=True, timeout=60)
        assert "Connection refused" in done.stderr
        box.start()
        assert box.port == port and say(sshd, "box0", "echo again") == "again"
        session.communicate()
    assert below(os.getpid()) & box.processes() == set()


def test_a_box_does_not_outlive_tests_that_are_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tests.services.sshd import Sshd\n"
        "with Sshd(Path(sys.argv[1])) as sshd: print(sshd[0].pid, flush=True); time.sleep(1000)"
    )
    tests = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert tests.stdout
    listener = int(tests.stdout.readline())
    tests.kill()
    tests.communicate()
    while is_running(listener, "sshd"):
        time.sleep(0.01)


def test_a_frozen_box_says_nothing_until_it_is_thawed(tmp_path: Path) -> None:
    with Sshd(tmp_path) as sshd:
        sshd[0].freeze()
        done = subprocess.run(
            sshd.ssh("box0", "true", options=["-o", "ConnectTimeout=1"]),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "timed out" in done.stderr
        sshd[0].thaw()
        assert say(sshd, "box0", "echo well") == "well"


def test_what_is_missing_skips_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install it"):
        missing("there is no thing: apt-get install it")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install it"):
        missing("there is no thing: apt-get install it")


def is_running(pid: int, name: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == name
    except OSError:
        return False
