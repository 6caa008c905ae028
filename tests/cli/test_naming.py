"""Which runs a name, a filter or a prefix means."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys

from .conftest import Cli


def test_a_name_from_a_file_does_nothing_to_the_terminal(cli: Cli) -> None:
    run = cli.run("sh", "-c", "exit 3", options=("--name", "calm-fox", "--tag", "t=\x9b31m"))
    cli("wait", run)
    path = cli.home / ".traindeck" / "runs" / run / "run.json"
    record = json.loads(path.read_text())
    record["name"] = record["spec"]["name"] = "ev\x1b]0;pwned\x07il"
    path.write_text(json.dumps(record))
    cli.ok("reindex")
    for words in (("stop", run), ("show", run), ("show", "--params", run), ("wait", run),
                  ("show", "--json", run), ("ls",), ("rename", run, "calm")):  # fmt: skip
        done = cli(*words)
        for stream in (done.stdout, done.stderr):
            assert not {"\x1b", "\x07", "\x9b"} & set(stream), words


def test_a_word_that_is_no_text_comes_back_as_it_was(cli: Cli) -> None:
    words = [sys.executable, "-m", "traindeck.console.cli.main"]
    environ = {**cli.environ, "PYTHONIOENCODING": "utf-8:strict"}
    argv = [*words, "run", "-q", "--", "echo", b"caf\xe9"]
    done = subprocess.run(argv, cwd=cli.cwd, env=environ, capture_output=True, check=True)
    run = done.stdout.decode().strip()
    show = [*words, "show", "--script", run]
    script = subprocess.run(show, env=environ, capture_output=True, check=True).stdout
    assert b"caf\xe9" in script
    plan = [*words, "run", "--dry-run", "--json", "--", "echo", b"caf\xe9"]
    done = subprocess.run(plan, cwd=cli.cwd, env=environ, capture_output=True, check=True)
    assert json.loads(done.stdout)["argv"][1] == "caf\udce9"


def test_a_filter_that_names_a_time_is_not_cut_to_the_last_day(cli: Cli) -> None:
    run = cli.run("true")
    cli("wait", run)
    state = cli.home / ".local" / "state" / "traindeck" / "index.db"
    with sqlite3.connect(state) as db:
        db.execute("UPDATE runs SET created = created - 200000, started = started - 200000")
        db.execute("UPDATE runs SET ended = ended - 200000, latest = latest - 200000")
    assert run[:4] not in cli.ok("ls", "--cached")
    listed = cli.ok("ls", "--cached", "since:7d")
    assert run[:4] in listed and "24 h" not in listed


def test_of_two_active_runs_of_one_name_none_is_stopped_by_it(cli: Cli) -> None:
    runs = [cli.run("sleep", "60", options=("--name", "twin")) for _ in range(2)]
    done = cli("stop", "-y", "twin")
    assert done.returncode == 2
    assert all(run in done.stderr for run in runs)
    cli.ok("stop", "--grace", "1s", runs[0])
    cli.ok("stop", "--grace", "1s", "twin")
    assert {run["state"] for run in cli.json("ls", "--json")} == {"cancelled"}
    assert (
        "another run"
        in cli("rename", runs[0], "calm-fox").stderr + cli("rename", runs[1], "calm-fox").stderr
    )


def test_a_filter_may_leave_out_what_a_word_finds(cli: Cli) -> None:
    for name in ("base-demo", "base-lora"):
        cli.run("true", options=("--name", name))
    assert "base-lora" in cli.ok("ls", "base", "-demo") and "demo" not in cli.ok("ls", "-demo")
    assert len(cli.ok("ls", "-aq", "-lora").split()) == 1
    assert [run["name"] for run in cli.json("ls", "--json", "--", "-demo")] == ["base-lora"]
    assert cli("ls", "--frobnicate").returncode == 2


def test_of_several_runs_of_one_name_the_newest_is_shown_and_none_is_guessed_to_be_stopped(
    cli: Cli,
) -> None:
    old, new = (cli.run("sleep", "60", options=("--name", "a b")) for _ in range(2))
    said = "2 runs are called a b; this is the newest. All of them: "
    shown = cli("show", "-q", "A b")
    assert (shown.stdout, shown.stderr) == (
        f"{new}\n", f"traindeck: {said}traindeck ls -a 'name:a b'\n"
    )  # fmt: skip
    assert cli("show", "-q", new).stderr == cli("show", "-q", new[:11]).stderr == ""
    for command in ("stop", "rm"):
        refused = cli(command, "-y", "a b")
        assert refused.returncode == 2 and old in refused.stderr and new in refused.stderr
    assert len(cli.ok("ls", "-q", "state:running", "name:a b").split()) == 2
    cli.ok("stop", "-y", "--grace", "1s", old, new)
    assert "this is the newest. All" in cli("show", "-q", "a b").stderr


def test_runs_are_tagged_in_one_go(cli: Cli) -> None:
    one, two = (cli.run("true", options=("--tag", tag)) for tag in ("draft", "lr=1"))
    done = cli.ok(
        "tag", "-q", one, two, one, "--add", "paper", "--add", "seed=1", "--remove", "draft"
    )
    assert done.split() == [one, two]
    tags = [cli.json("show", "--json", run)["tags"] for run in (one, two)]
    assert tags == [{"paper": "", "seed": "1"}, {"lr": "1", "paper": "", "seed": "1"}]
    refused = cli("tag", one, two, "--add", "x", "--remove", "draft")
    assert refused.returncode != 0
    assert "None of these 2 runs has a tag draft. They have lr, paper, seed." in refused.stderr
    assert "x" not in cli.json("show", "--json", one)["tags"], "nothing is changed"
    assert [run["id"] for run in cli.json("tag", one, "--add", "y", "--json")] == [one]


def test_which_run_of_a_name_is_meant_does_not_hang_on_when_it_was_last_looked_at(cli: Cli) -> None:
    job, go = (sys.executable, "-c", "import time; time.sleep(60)"), cli.cwd / "go"
    old = cli.run(*job, options=("--name", "twin"))
    wait = f"while [ ! -e {go} ]; do sleep 0.05; done"
    new = cli.run("sh", "-c", wait, options=("--name", "twin"))
    go.touch()  # the newest ends, and nobody has seen it yet
    for _ in range(2):
        assert cli.ok("show", "-q", "twin").split() == [new]
    assert cli.json("wait", "--json", "twin")[0]["id"] == new
    for _ in range(2):
        assert cli.json("show", "--json", "twin")["state"] == "succeeded"
    stopped = cli("stop", "--json", "--grace", "1s", "twin")
    assert [run["id"] for run in json.loads(stopped.stdout)] == [old]
    assert "this is the newest that is not over" in stopped.stderr
    assert cli.ok("stop", "-q", "twin") == ""


def test_what_means_a_run_by_its_id_is_no_name_for_another(cli: Cli) -> None:
    run, other = cli.run("true", options=("--name", "calm")), cli.run("true")
    for name in (run, run[:8], run[:9].upper()):
        for command in (("rename", other, name), ("run", "--name", name, "--", "true")):
            refused = cli(*command)
            assert refused.returncode == 2 and "cannot be a name: the id of" in refused.stderr
    assert len(cli.json("ls", "--json")) == 2
    cli.ok("rename", other, "1st")


def test_who_stops_runs_of_one_name_is_asked_about_each_by_its_id(cli: Cli) -> None:
    ids = [cli.run("sleep", "60", options=("--name", "twin")) for _ in "ab"]
    other = cli.run("sleep", "60", options=("--name", "single"))
    said = cli("stop", *ids, other)
    assert said.returncode != 0
    assert all(f"twin ({run})" in said.stderr for run in ids)
    assert "single?" in said.stderr or "single," in said.stderr
    cli.ok("stop", "--yes", *ids, other)
