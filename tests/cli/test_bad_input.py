"""Bad input gets one clear line, exit 2 or 1, no traceback, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Cli

GIVEN = ("--set", "model=m", "--set", "data=d")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("frobnicate",), "No such command"),
        (("show", "nobody"), "nobody"),
        (("logs", "nobody"), "nobody"),
        (("run",), "no command"),
        (("run", "--"), "no command"),
        (("run", "--gpus", "1", "--", "true"), "no GPU"),
        (("run", "--gpus", "-3", "--", "true"), "--gpus -3"),
        (("run", "--gpus", "99999999", "--", "true"), "--gpus"),
        (("run", "--gpus", "one", "--", "true"), "--gpus"),
        (("run", "--nodes", "2", "--", "true"), "--nodes 2"),
        (("run", "--time", "banana", "--", "true"), "--time banana"),
        (("run", "--time", "5", "--", "true"), "5s or 5m"),
        (("run", "--retries", "1000", "--", "true"), "--retries 1000"),
        (("run", "--on", "mars", "--", "true"), "mars"),
        (("run", "--option", "partition=gpu", "--", "true"), "partition"),
        (("run", "--follow", "--json", "--", "true"), "exclude each other"),
        (("retry", "--follow", "--json", "nobody"), "exclude each other"),
        (("run", "--cwd", "/nowhere", "--", "true"), "/nowhere"),
        (("run", "--after", "nobody", "--", "true"), "nobody"),
        (("run", "--code", "sideways", "--", "true"), "sideways"),
        (("run", "--secret", "NOT_SET_HERE", "--", "true"), "NOT_SET_HERE"),
        (("run", "--env", "NOVALUE", "--", "true"), "NOVALUE"),
        (("run", "--on-stall", "10m", "--", "true"), "--on-stall"),
        (("run", "--name", "a\x1b]0;b", "--", "true"), "control"),
        (("run", "--name", "no-utf8-\udcff", "--", "true"), "UTF-8"),
        (("ls", "stat:running"), "state"),
        (("ls", "since:banana"), "banana"),
        (("finetune",), "There are: sft."),
        (("finetune", "--parameters"), "There are: sft."),
        (("finetune", "nosuch"), "There is no recipe nosuch. There are: sft."),
        (("finetune", "sft", *GIVEN, "--set", "learning=1"), "learning"),
        (("finetune", "sft", *GIVEN, "--set", "lr=fast"), "lr"),
        (
            ("run", "--gpus", "0", "python3", "slow.py", "--lr", "3"),
            "No such option: --lr. The command and its options go after `--`: "
            "traindeck run --gpus 0 -- python3 slow.py --lr 3\n",
        ),
        (("run", "python3", "-c", "x y"), "traindeck run -- python3 -c 'x y'"),
        (("run", "--gpu", "1", "--", "x", "-y"), "No such option: --gpu"),
        (("run", "--name", "a", "--name", "b", "--", "true"), "--name is given more than once"),
        (("run", "--name", "a", "--name=a", "--", "true"), "--name is given more than once"),
        (("finetune", "sft", "--on", "a", "--on", "b"), "--on is given more than once"),
        (("stop", "--grace", "1s", "--grace", "2s", "x"), "--grace is given more than once"),
        (("logs", "-n", "1", "--lines=2", "x"), "--lines is given more than once"),
        (
            ("backends", "add", "ssh", "x", "--root", "~/a", "--root", "~/b"),
            "--root is given more than once",
        ),
        (("run", "--bogus"), "No such option: --bogus"),
        (("rm",), "--older-than"),
        (("metrics", "nobody"), "nobody"),
        (("logs", "nobody", "--grep", "["), "["),
        (("adopt", "1"), "1"),
        (("backends", "add", "process", "x y"), "x y"),
        (("backends", "add", "quantum", "x"), "quantum"),
        (("backends", "add", "x"), "NAME"),
        (("backends", "add", "process", "x"), "runs of backend local lie in"),
        (
            ("backends", "add", "process", "x", "--root", "~/.traindeck/../.traindeck/"),
            "backend local",
        ),
        (("backends", "add", "process", "x", "--option", "colour=red"), "colour"),
        (("backends", "add", "ssh", "x", "--option", "colour=red"), "colour"),
        (("backends", "add", "ssh", "x", "--option", "transport=rsh"), "transport"),
        (("backends", "add", "ssh", "x", "--host", "-oProxyCommand=sh"), "host"),
        (("backends", "add", "ssh", "x", "--root", "~/it's"), "root"),
        (
            ("backends", "add", "process", "x", "--option", "root=relative"),
            "a folder from / or ~ on",
        ),
        (
            ("backends", "add", "process", "x", "--option", "root=~nobody-here/x"),
            "a folder from / or ~ on",
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_a_wrong_request_is_refused_in_one_line(cli: Cli, args: tuple[str, ...], said: str) -> None:
    done = cli(*args)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stdout == ""
    assert cli.json("ls", "--json") == []


@pytest.mark.parametrize(
    "args",
    [
        *(("--tag", text) for text in ("x" * 5000, "-" + "x" * 5000, "a b=" + "c" * 5000)),
        *(("--env", text) for text in ("X" * 5000, "a b=" + "c" * 5000)),
        *((option, "9" * 5000) for option in ("--time", "--grace", "--on-stall", "--code")),
        *((option, "x" * 5000) for option in ("--on", "--after", "--secret", "--time")),
    ],
    ids=lambda args: f"{args[0]} {args[1][:6]}",
)
def test_what_was_given_is_not_repeated_at_length(cli: Cli, args: tuple[str, str]) -> None:
    done = cli("run", *args, "--", "true")
    assert done.returncode == 2
    assert 20 < len(done.stderr) < 400 and len(done.stderr.splitlines()) == 1


def test_a_refusal_is_not_preceded_by_a_notice_about_the_code(cli: Cli) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    (cli.cwd / "a.py").write_text("1\n")
    for words in (["init", "-q"], ["add", "a.py"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=cli.cwd, check=True)
    (cli.cwd / "a.py").write_text("2\n")
    assert "not committed" in cli("run", "-q", "--", "true").stderr
    for options in ((), ("--dry-run",)):
        done = cli("run", *options, "--secret", "NOPE", "--", "true")
        assert done.returncode == 2 and done.stdout == ""
        assert len(done.stderr.splitlines()) == 1 and "NOPE" in done.stderr


def test_untracked_code_is_said_not_to_be_kept_and_a_snapshot_keeps_it(cli: Cli) -> None:
    subprocess.run(["git", "init", "-q"], cwd=cli.cwd, check=True)
    (cli.cwd / "weights.bin").write_text("x")
    assert "untracked" not in cli("run", "--", "true").stderr  # what runs write is no code
    (cli.cwd / "train.py").write_text("1\n")
    one = cli("run", "--", "true").stderr
    assert "1 untracked file of code is listed, not kept (--code snapshot keeps it)" in one
    (cli.cwd / "sft.yaml").write_text("a: 1\n")
    assert "2 untracked files of code are listed" in cli("run", "--", "true").stderr
    assert "untracked" not in cli("run", "-q", "--", "true").stderr  # of many, nobody reads it
    assert "untracked" not in cli("run", "--code", "snapshot", "--", "true").stderr


def test_what_a_snapshot_leaves_out_is_said_at_the_launch_and_by_show(cli: Cli) -> None:
    (cli.cwd / "train.py").write_text("1\n")
    (cli.cwd / ".env").write_text("KEY=1\n")
    for name in "abc":
        (cli.cwd / f"{name}.pem").write_text("x\n")
    for folder in ("__pycache__", ".hydra", "venv"):
        (cli.cwd / folder).mkdir()
    with (cli.cwd / "model.pt").open("wb") as file:
        file.truncate(11 << 20)
    done = cli("run", "-q", "--code", "snapshot", "--", "true")
    (said,) = done.stderr.splitlines()
    run = done.stdout.strip()
    start = (
        "traindeck: not in the snapshot: model.pt (larger than 10 MiB), .env (may hold secrets), "
    )
    assert said.startswith(start) and said.endswith(f", 4 more; all: traindeck show {run}")
    assert "__pycache__" not in said
    card = cli.ok("show", run)
    assert "left out        model.pt (larger than 10 MiB)" in card and "c.pem" in card
    assert ".hydra/ (a hidden folder, outside of git)" in card
    assert "venv/ (is called as what holds no code)" in card and "__pycache__" not in card
    assert cli("run", "-q", "--", "true").stderr == "", "in place nothing is left out"


def test_every_wrong_setting_of_a_recipe_is_explained_on_a_line_of_its_own(cli: Cli) -> None:
    done = cli("finetune", "sft", "--set", "lr=fast", "--set", "epoch=2")
    assert done.returncode == 2
    lr, epoch, model, data = done.stderr.splitlines()
    assert lr.startswith("traindeck: lr: expected a number") and "'fast'" in lr
    assert epoch.startswith("traindeck: The recipe sft has no parameter epoch. Did you mean epochs")
    assert model.startswith("traindeck: model is not set.") and model.endswith("--set model=….")
    assert data.startswith("traindeck: data is not set.")
    many = cli("finetune", "sft", *(f"--set=no{n}=1" for n in range(9)))
    assert len(many.stderr.splitlines()) == 9
    assert many.stderr.endswith("Wrong or missing as well: no8, model, data.\n")


def test_an_order_or_a_metric_that_is_not_there_is_refused(cli: Cli) -> None:
    assert cli.json("ls", "--json", "nosuch>3", "sort:nosuch") == []
    run = cli.run(sys.executable, "-c", "print('step 1 loss 2.0')")
    cli("wait", run)
    assert cli.ok("ls", "-q", "loss>1", "sort:loss").split() == [run]
    for word in ("los>3", "sort:los"):
        done = cli("ls", word)
        assert done.returncode == 2
        assert "Did you mean loss?" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_tag_that_is_not_there_cannot_be_removed(cli: Cli) -> None:
    run = cli.run("true", options=("--name", "calm", "--tag", "a", "--tag", "a"))
    cli.ok("tag", run, "b=1", "b=1")
    refused = cli("tag", run, "--", "-baz")
    assert refused.returncode == 2
    assert "cannot begin with -. To take one away: traindeck tag RUN --remove baz" in refused.stderr
    assert cli.ok("tag", run).split() == ["a", "b=1"]
    done = cli("tag", run, "c", "--remove", "a", "--remove", "nosuch")
    assert done.returncode == 1
    assert done.stderr == "traindeck: calm has no tag nosuch. It has a, b.\n"
    assert cli.ok("tag", run).split() == ["a", "b=1"]
    cli.ok("tag", run, "--remove", "a", "--remove", "a")
    assert cli.ok("tag", run).split() == ["b=1"]


def test_an_ambiguous_prefix_names_the_candidates(cli: Cli) -> None:
    first, second = cli.run("true"), cli.run("true")
    if first[:4] != second[:4]:  # now and then the clock's part of an id ends just there
        first, second = second, cli.run("true")
    assert first[:4] == second[:4]
    done = cli("show", first[:4])
    assert done.returncode == 2
    assert first[:6] in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# mine\ntheme: nosuch\n", "settings.yaml, line 2: There is no theme `nosuch`."),
        ("keys: {runs.stop: q}\n", "settings.yaml, line 1: `q` is already app.quit."),
    ],
)
def test_doctor_names_the_settings_with_which_the_screen_does_not_start(
    cli: Cli, text: str, said: str
) -> None:
    config = cli.home / ".config" / "traindeck"
    config.mkdir(parents=True)
    (config / "settings.yaml").write_text(text)
    refused = cli()
    assert refused.returncode == 2 and said in refused.stderr
    told = json.loads(cli("doctor", "--json").stdout)
    wrong = [check for check in told if check["topic"] == "settings"]
    assert [check["ok"] for check in wrong] == [False]
    assert refused.stderr == f"traindeck: {wrong[0]['text']} {wrong[0]['fix']}".strip() + "\n"
    assert cli.json("ls", "--json") == []  # what shows no screen goes on


def test_doctor_names_what_is_wrong_in_the_file_of_a_theme(cli: Cli) -> None:
    config = cli.home / ".config" / "traindeck"
    (config / "themes").mkdir(parents=True)
    (config / "themes" / "mine.yaml").write_text("bse: dark\n")
    (config / "settings.yaml").write_text("theme: mine\n")
    told = json.loads(cli("doctor", "--json").stdout)
    (wrong,) = (check for check in told if check["topic"] == "settings")
    said = "mine.yaml, line 1: `bse` is not part of a theme."
    assert not wrong["ok"] and said in wrong["text"]
    assert "Did you mean `base`?" in f"{wrong['text']} {wrong['fix']}"


def test_a_broken_settings_file_stops_every_command_with_its_line(cli: Cli) -> None:
    settings = cli.home / ".config" / "traindeck" / "settings.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("theme: dark\nrefresh: soon\n")
    for args in (
        ("run", "--", "true"), ("backends",), ("ls",), ("ls", "--json"), ("show", "x"),
        ("wait", "x"), ("logs", "x"), ("metrics", "x"), ("stop", "-y", "x"), ("retry", "x"),
        ("rm", "-y", "x"), ("tag", "x", "a"), ("note", "x", "a"), ("rename", "x", "a"),
        ("reindex",), ("adopt", "1"),
        ("finetune", "sft"), (),
    ):  # fmt: skip
        done = cli(*args)
        assert done.returncode == 2, args
        assert "settings.yaml, line 2" in done.stderr, args
        assert "Traceback" not in done.stderr
    told = cli("doctor")
    assert told.returncode == 1 and "settings.yaml, line 2" in told.stdout


def test_a_broken_recipe_names_file_and_line(cli: Cli) -> None:
    recipe = cli.cwd / "mine.yaml"
    recipe.write_text("base: sft\nset:\n  lr: fast\n")
    done = cli("finetune", str(recipe))
    assert done.returncode == 2
    assert "mine.yaml, line " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_folder_that_is_a_file_is_said(cli: Cli) -> None:
    (cli.home / ".local").write_text("")
    done = cli("run", "--", "true")
    assert done.returncode == 1
    assert ".local" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_corrupt_index_is_moved_aside_and_said_in_one_line(cli: Cli) -> None:
    run = cli.run("true")
    cli("wait", run)
    index = cli.home / ".local/state/traindeck/index.db"
    for path in index.parent.glob("index.db-*"):
        path.unlink()
    index.write_bytes(b"this is no database" * 1000)
    done = cli("ls", "--json")
    assert done.returncode == 0
    assert run in done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(index.parent.glob("index.db.corrupt-*"))


def test_an_index_of_a_newer_version_is_refused_with_words(cli: Cli) -> None:
    cli("wait", cli.run("true"))
    index = cli.home / ".local/state/traindeck/index.db"
    with sqlite3.connect(index) as db:
        db.execute("PRAGMA user_version = 9999")
        db.execute("UPDATE meta SET value = 9999 WHERE key = 'schema'")
    db.close()
    done = cli("ls", "--json")
    assert done.returncode == 1
    assert "newer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_directory_deleted_by_hand_is_lost_in_words(cli: Cli) -> None:
    run = cli.run("sleep", "60")
    while (pid := cli.json("show", "--json", run)["pid"]) is None:
        pass  # it is only just starting
    shutil.rmtree(cli.home / ".traindeck" / "runs" / run)
    os.kill(pid, 9)
    done = cli("wait", run, timeout=90)
    assert done.returncode == 1
    shown = cli.json("show", "--json", run)
    assert shown["state"] == "lost"
    assert shown["reason"]


def test_a_dumb_or_tiny_terminal_changes_no_data(cli: Cli, tmp_path: Path) -> None:
    run = cli.run("true")
    cli("wait", run)
    for env in ({"TERM": "dumb"}, {"COLUMNS": "20"}, {"NO_COLOR": "1"}):
        assert run[:4] in cli.ok("ls", env=env)


def test_files_of_a_recipe_that_are_not_there_are_said_before_anything_starts(cli: Cli) -> None:
    done = cli("finetune", "sft", "--set", "model=/nonexistent", "--set", "data=rows.jsonl")
    assert done.returncode == 2
    assert "model /nonexistent: no such file or folder" in done.stderr
    assert "data" in done.stderr
    assert cli.json("ls", "--json") == []


def test_a_program_without_its_bit_is_not_called_missing(cli: Cli) -> None:
    (cli.cwd / "train.py").write_text("#!/bin/sh\n")
    done = cli("run", "--dry-run", "--", "./train.py")
    assert "warning   ./train.py is not executable; the run will fail\n" in done.stdout
    assert "not found" not in done.stdout + done.stderr


def test_a_working_directory_that_is_gone_is_named(cli: Cli) -> None:
    gone = cli.cwd / "gone"
    gone.mkdir()
    command = f'rmdir "$PWD"; exec {sys.executable} -m traindeck.console.cli.main'
    for words, code in (("run -- true", 2), ("ls", 0), (f"run --cwd {cli.cwd} -- true", 0)):
        gone.mkdir(exist_ok=True)
        done = subprocess.run(
            ["sh", "-c", f"{command} {words}"],
            cwd=gone,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (words, done.stderr)
        if code:
            assert done.stderr == (
                "traindeck: The working directory is gone: it was deleted. "
                "Go to another one, or give --cwd.\n"
            )


def test_a_place_for_runs_that_takes_none_is_named(cli: Cli) -> None:
    root = cli.home / ".traindeck"
    root.mkdir(mode=0o700)
    (root / "runs").write_text("")
    done = cli("run", "--", "true")
    assert done.returncode == 1
    assert f"No run can be put into {root}/runs: File exists." in done.stderr
    assert "Error" not in done.stderr and len(done.stderr.splitlines()) == 1
    (root / "runs").unlink()


def test_a_broken_third_party_backend_is_one_line_and_costs_nobody_else(cli: Cli) -> None:
    site = cli.home / "site"
    info = site / "their_pkg-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-pkg\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[traindeck.backends]\nquantum = broken:make\n")
    (site / "broken.py").write_text("import a_package_that_is_not_there")
    config = cli.home / ".config/traindeck"
    config.mkdir(parents=True)
    (config / "settings.yaml").write_text("backends: {lab: {kind: quantum}, old: {kind: nope}}\n")
    cli.environ["PYTHONPATH"] = str(site)
    said = "The backend kind `quantum` of their-pkg cannot be imported: ModuleNotFoundError"
    run = cli.run("true")
    assert cli("wait", run).stderr == ""
    assert cli.ok("ls", "-q").split() == [run]
    for args in (("run", "--on", "lab", "--", "true"), ("backends", "add", "quantum", "q")):
        done = cli(*args)
        assert (done.returncode, done.stdout) == (1, ""), (args, done.stderr)
        assert said in done.stderr and len(done.stderr.splitlines()) == 1
    checked = cli("backends", "check").stdout.splitlines()
    assert len([line for line in checked if line.startswith("!! ")]) == 2
    assert any(line.startswith("!!  lab: ") and said in line for line in checked)
    assert any(line.startswith("!!  old: There is no kind") for line in checked)
    assert cli("backends", "check", "nowhere").returncode == 2
    assert "runs lie in" in cli("doctor").stdout
    assert cli.ok("ls", "-q", "-a").split() == [run]


@pytest.mark.parametrize("odd", ["root: 5", "root: [a]", "root: here", "python: [1]"])
def test_a_place_whose_settings_cannot_be_is_refused_in_words(cli: Cli, odd: str) -> None:
    run = cli.run("true")
    cli("wait", run)
    config = cli.home / ".config/traindeck"
    config.mkdir(parents=True)
    (config / "settings.yaml").write_text(f"backends: {{lab: {{kind: process, {odd}}}}}\n")
    done = cli("run", "--on", "lab", "--", "true")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"backends.lab.{odd.split(':')[0]} is " in done.stderr and "expected" in done.stderr
    (cli.home / ".local/state/traindeck/index.db").unlink()
    listed = cli("ls", "-q")
    assert (listed.stdout.split(), listed.stderr) == ([run], "")


def test_what_a_fine_tune_waits_for_may_still_make_its_data(cli: Cli) -> None:
    first = cli.run("sleep", "60")
    given = ("--python=/bin/true", "--set=model=./later", "--set=data=./later.jsonl", "--dry-run")
    cli.ok("finetune", "sft", "--after", first, *given)
    done = cli("finetune", "sft", *given)
    assert done.returncode == 2 and "./later: no such file or folder." in done.stderr
