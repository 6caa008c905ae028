"""A state folder that is full or read-only: who only looks goes on, a stop works, and what has to
be noted is refused in one line or done whole. The mounts are real, in a namespace of their own."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Cli

pytestmark = pytest.mark.fault


class Place:
    """Runs commands where the state folder is a small file system of its own."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self.state = cli.home / ".local/state"
        self.state.mkdir(parents=True)
        # A user's own namespace, unless root needs none; the shell in it lives as long as the test.
        self.shell = subprocess.Popen(
            ["unshare", "-r", "-m", "bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=cli.cwd, env=cli.environ,
        )  # fmt: skip

    def sh(self, command: str) -> tuple[int, str]:
        """Exit code and output of a command in there."""
        assert self.shell.stdin is not None and self.shell.stdout is not None
        try:
            self.shell.stdin.write(f"{{ {command}\n}} </dev/null\ncode=$?; echo; echo end $code\n")
            self.shell.stdin.flush()
        except BrokenPipeError:
            return 1, "no namespace"
        lines = []
        for line in self.shell.stdout:
            if line.startswith("end "):
                return int(line.split()[1]), "".join(lines).rstrip("\n")
            lines.append(line)
        return 1, "".join(lines)

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        out, err = self.cli.home / "out", self.cli.home / "err"
        words = shlex.join([sys.executable, "-m", "traindeck.console.cli.main", *args])
        code, _ = self.sh(f"timeout 60 {words} >{shlex.quote(str(out))} 2>{shlex.quote(str(err))}")
        return subprocess.CompletedProcess(args, code, out.read_text(), err.read_text())

    def ok(self, *args: str, told: bool) -> str:
        """Stdout of a command that must succeed, with one line of diagnostics if `told`."""
        done = self(*args)
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        lines = done.stderr.splitlines()
        assert len(lines) == told, (args, lines)
        assert all("not kept there" in line for line in lines)
        return done.stdout

    def json(self, *args: str, told: bool) -> Any:
        return json.loads(self.ok(*args, told=told))

    def read_only(self, on: bool) -> None:
        self.done(f"mount -o remount,bind,{'ro' if on else 'rw'} {shlex.quote(str(self.state))}")

    def fill(self) -> None:
        self.sh(f"head -c 9m /dev/zero >{shlex.quote(str(self.state / 'fill'))} 2>/dev/null")

    def free(self) -> None:
        self.done(f"rm {shlex.quote(str(self.state / 'fill'))}")

    def done(self, command: str) -> None:
        code, said = self.sh(command)
        assert code == 0, said


@pytest.fixture
def place(cli: Cli) -> Iterator[Place]:
    place = Place(cli)
    state = shlex.quote(str(place.state))
    code, said = place.sh(f"mount -t tmpfs -o size=3m tmpfs {state}")
    if code:
        place.shell.communicate()
        pytest.skip(f"no mounts of one's own here: {said}")
    yield place
    place.sh(f"rm -f {state}/fill; mount -o remount,rw {state}")
    for run in json.loads(place("ls", "--json", "state:active").stdout or "[]"):
        place("stop", "-q", "--grace", "1s", run["id"])
    place.shell.communicate("exit\n", timeout=10)


def launched(place: Place) -> tuple[str, str]:
    """A run that fails in longer than what was seen of it counts as new, and one that goes on."""
    job = ("sh", "-c", "sleep 2.5; echo bye; exit 9")
    over = place.ok("run", "-q", "--", *job, told=False).strip()
    running = place.ok("run", "-q", "--", "sleep", "60", told=False).strip()
    return over, running


def look(place: Place, over: str, running: str) -> None:
    waited = place("wait", over)
    assert waited.returncode == 9, waited.stderr
    states = {run["id"]: run["state"] for run in place.json("ls", "--json", told=True)}
    assert states == {over: "failed", running: "running"}
    assert "exit code 9" in place.ok("ls", told=True)
    assert place.json("show", "--json", over, told=True)["exit_code"] == 9
    assert place.ok("logs", over, told=True) == "bye\n"
    place.ok("metrics", over, told=True)


def refused(place: Place, *args: str, said: str) -> None:
    done = place(*args)
    assert (done.returncode, done.stdout) == (1, ""), (args, done.stdout, done.stderr)
    assert said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_read_only_state_folder_shows_all_stops_and_notes_nothing(place: Place) -> None:
    over, running = launched(place)
    place.read_only(True)
    look(place, over, running)
    for args in (
        ("run", "--", "true"), ("retry", over), ("tag", over, "x"), ("note", over, "hi"),
        ("rename", over, "other"), ("seen", over), ("rm", "-y", over), ("reindex",),
    ):  # fmt: skip
        refused(place, *args, said="read-only file system")
    place.ok("tag", over, told=True)
    assert "cancelled" in place.ok("stop", running, told=True)
    runs = place.cli.home / ".traindeck/runs"
    assert {folder.name for folder in runs.glob("[0-9a-z]*")} == {over, running}
    place.read_only(False)
    states = {run["id"]: run["state"] for run in place.json("ls", "--json", told=False)}
    assert states == {over: "failed", running: "cancelled"}


def test_a_full_state_folder_shows_all_and_stops_the_run_that_fills_it(place: Place) -> None:
    over, running = launched(place)
    place.fill()
    look(place, over, running)
    for args in (("run", "--", "true"), ("retry", over), ("reindex",)):
        refused(place, *args, said="full" if args[0] == "reindex" else "")
    tagged = place("tag", running, "x=1")  # its line may still fit into the last page
    assert tagged.returncode in (0, 1)
    assert "cancelled" in place.ok("stop", running, told=True)
    place.free()
    states = {run["id"]: run["state"] for run in place.json("ls", "--json", told=False)}
    assert states == {over: "failed", running: "cancelled"}
    assert place.ok("tag", running, told=False) == ("x=1\n" if tagged.returncode == 0 else "")


def test_a_first_start_without_a_place_for_state_shows_what_runs(place: Place) -> None:
    over, running = launched(place)
    place.done(f"rm -r {shlex.quote(str(place.state))}/traindeck")
    place.read_only(True)
    listed = {run["id"] for run in place.json("ls", "--json", told=True)}
    assert listed == {over, running}
    refused(place, "run", "--", "true", said=str(place.state))


BEGIN = """
import json, sys
from pathlib import Path
from traindeck.console.store.journal import Journal
given = {"run_id": "0" * 12, "attempt": 0, "backend": "local", "plan_digest": "", "spec": {}}
Journal(Path(sys.argv[1])).begin(**given)
(entry,) = Path(sys.argv[1]).glob("*.json")
entry.write_text(json.dumps({**json.loads(entry.read_text()), "begun": 1.7e9}))
"""
"""Leaves a submission behind that was never sent, long ago."""


def test_a_submission_that_cannot_be_settled_here_is_said_and_stops_nobody(place: Place) -> None:
    over, running = launched(place)
    journal = shlex.quote(str(place.state / "traindeck/journal"))
    place.done(f"{shlex.quote(sys.executable)} -c {shlex.quote(BEGIN)} {journal}")
    place.read_only(True)
    done = place("ls", "-q")
    assert (done.returncode, set(done.stdout.split())) == (0, {over, running})
    copied, left = done.stderr.splitlines()
    assert "not kept there" in copied
    assert "Run 000000000000 cannot be settled yet: Cannot open" in left
    assert "cancelled" in place("stop", running).stdout
    place.read_only(False)
    settled = place("show", "--json", "0" * 12)
    assert place("ls").returncode == 0 and settled.stderr
    assert place.json("show", "--json", "0" * 12, told=False)["state"] == "failed"
