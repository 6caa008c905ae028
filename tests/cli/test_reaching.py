"""`pull` and `forward`: files and ports of a run, for people and for scripts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from .conftest import Cli

MAKES = "import os; open(os.environ['TRAINDECK_ARTIFACTS'] + '/model.bin', 'w').write('weights')"
SERVES = (
    "import http.server as h\n"
    "s = h.HTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)\n"
    "print('serving', flush=True)\n"
    "s.serve_forever()\n"
)


def test_what_a_run_made_is_brought_here_once(cli: Cli) -> None:
    run = cli.run("python3", "-c", MAKES, options=("--name", "calm-fox"))
    cli("wait", run)
    done = cli("pull", run)
    folder = cli.cwd / f"calm-fox-{run[:8]}"
    assert (done.returncode, done.stdout) == (0, f"{folder}\n")
    assert "1 file, 7 B" in done.stderr
    assert (folder / "artifacts/model.bin").read_text() == "weights"
    assert "1 file here already" in cli("pull", run).stderr
    assert cli.ok("pull", "-q", run, "run.json", "--to", "x") == "x/run.json\n"


def test_what_was_written_is_said_in_json(cli: Cli) -> None:
    run = cli.run("python3", "-c", MAKES)
    cli("wait", run)
    said = cli.json("pull", "--json", run, "--to", "out")
    (file,) = said.pop("files")
    assert said == {"run": run, "to": "out"}
    assert file == {
        "path": "artifacts/model.bin", "size_bytes": 7, "state": "written", "error": None
    }  # fmt: skip


def test_what_cannot_be_brought_is_said_in_words(cli: Cli) -> None:
    run = cli.run("python3", "-c", MAKES)
    cli("wait", run)
    (cli.cwd / "taken").write_text("a file")
    for args, code, words in (
        ((run, "--to", "taken"), 2, "cannot be written to"),
        ((run, "no/such"), 1, "no/such cannot be opened"),
        ((run, "../../etc"), 2, "does not lie in the run's directory"),
        (("nobody",), 2, "nobody"),
    ):
        done = cli("pull", *args)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done
        assert words in done.stderr


@contextmanager
def forward(cli: Cli, *args: str) -> Iterator[subprocess.Popen[str]]:
    made = subprocess.Popen(
        [sys.executable, "-m", "traindeck.console.cli.main", "forward", *args],
        cwd=cli.cwd,
        env=cli.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield made
    finally:
        made.kill()
        made.wait()


def test_a_port_of_a_run_is_found_and_a_page_of_it_read_here(cli: Cli) -> None:
    run = cli.run("python3", "-c", SERVES)
    while "serving" not in cli("logs", run).stdout:
        pass
    with forward(cli, run) as made:
        assert made.stdout is not None
        url = made.stdout.readline().strip()
        with urllib.request.urlopen(url, timeout=20) as page:
            assert page.status == 200
        made.send_signal(signal.SIGINT)
        assert made.wait(20) == 130
    assert cli.json("show", "--json", run)["state"] == "running"


def test_that_nobody_listens_is_a_word_in_the_json(cli: Cli) -> None:
    run = cli.run("sleep", "60")
    with forward(cli, "--json", run, "1") as made:
        assert made.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            text += made.stdout.readline()
    said = json.loads(text)
    assert (said["run"], said["port"]) == (run, 1)
    assert "port 1 of" in said["problem"]


def test_an_absurd_port_and_none_at_all_are_refused(cli: Cli) -> None:
    run = cli.run("sleep", "60")
    for args in ((run, "x"), (run, "70000"), (run,)):
        done = cli("forward", *args)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
