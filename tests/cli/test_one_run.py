"""One run from the command line, end to end, with real processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.payload.harness import until

from .conftest import Cli


def test_a_command_runs_detached_and_its_end_is_recorded(cli: Cli) -> None:
    run = cli.run("sh", "-c", "echo hello; exit 3")
    done = cli("wait", run)
    assert done.returncode == 3
    shown = cli.json("show", "--json", run)
    assert (shown["state"], shown["exit_code"], shown["signal"]) == ("failed", 3, None)
    assert cli.ok("logs", run) == "hello\n"


@pytest.mark.parametrize(
    ("command", "code", "state"),
    [
        (("true",), 0, "succeeded"),
        (("sh", "-c", "exit 9"), 9, "failed"),
        (("sh", "-c", "kill -SEGV $$"), 139, "failed"),
    ],
)
def test_wait_returns_the_runs_own_code(
    cli: Cli, command: tuple[str, ...], code: int, state: str
) -> None:
    run = cli.run(*command)
    assert cli("wait", run).returncode == code
    assert cli.json("show", "--json", run)["state"] == state


def test_a_time_limit_ends_it_with_124(cli: Cli) -> None:
    run = cli.run("sleep", "60", options=("--time", "1s", "--grace", "1s"))
    assert cli("wait", run).returncode == 124
    assert cli.json("show", "--json", run)["state"] == "timeout"


def test_stop_ends_it_with_130_and_a_handler_may_save(cli: Cli) -> None:
    script = "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    run = cli.run("sh", "-c", script)
    follow = cli("logs", "-n", "0", run)
    assert follow.returncode == 0
    while "ready" not in cli.ok("logs", run):
        pass
    cli.ok("stop", run)
    shown = cli.json("show", "--json", run)
    assert shown["state"] == "cancelled"
    assert cli("wait", run).returncode == 130
    assert "saved" in cli.ok("logs", run)


def test_a_killed_console_leaves_the_run_running(cli: Cli) -> None:
    argv = [sys.executable, "-m", "traindeck.console.cli.main", "run", "--follow", "--"]
    argv += ["sh", "-c", "echo started; until [ -e go ]; do sleep 0.1; done; echo finished"]
    follower = subprocess.Popen(
        argv, cwd=cli.cwd, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert follower.stdout is not None
    run = follower.stdout.readline().split()[0]
    assert follower.stdout.readline() == "started\n"
    follower.kill()
    follower.communicate(timeout=20)
    (cli.cwd / "go").touch()
    assert cli("wait", run).returncode == 0
    assert cli.ok("logs", run).endswith("finished\n")


def test_a_missing_program_is_a_failed_run_with_127_and_one_line(cli: Cli) -> None:
    done = cli("run", "--", "no-such-program-here")
    assert done.returncode == 1
    run = done.stdout.split()[0]
    [line] = done.stderr.splitlines()
    assert line.startswith("traindeck: ") and "no-such-program-here" in line
    assert line.endswith("The run is recorded as failed.")
    shown = cli.json("show", "--json", run)
    assert (shown["state"], shown["exit_code"]) == ("failed", 127)


def test_plan_and_run_say_where_and_in_what_it_runs(cli: Cli) -> None:
    """The same in words, as data, in the run's own files and in `show` afterwards."""
    version = ".".join(map(str, sys.version_info[:3]))
    command = (sys.executable, "-c", "")
    said = {line[:10].strip(): line[10:] for line in plan_text(cli, *command)}
    assert said["host"].split(" · ")[0] == os.uname().nodename
    assert said["python"] == f"{sys.executable} · {version}"
    assert re.fullmatch(r"\d\d+, listed in code/\.traindeck/packages\.txt", said["packages"])
    assert said["tags"] == "sft lr=3"
    planned = cli.json("run", "--dry-run", "--json", "--", *command)["spec"]
    run = cli.run(*command)
    folder = Path(cli.ok("show", "--path", run).strip())
    recorded = json.loads((folder / "run.json").read_text())["spec"]
    kept = json.loads((folder / "plan/plan.json").read_text())["spec"]
    for name in ("host", "driver", "python", "python_version", "packages"):
        assert planned[name] == recorded[name] == kept[name]
    assert recorded["python_version"] == version
    packages = (folder / "code/.traindeck/packages.txt").read_text().splitlines()
    assert len(packages) == recorded["packages"]
    shown = cli.ok("show", run)
    assert said["python"] in shown and said["packages"] in shown and said["host"] in shown


def plan_text(cli: Cli, *command: str) -> list[str]:
    options = ("--dry-run", "--tag", "sft", "--tag", "lr=3")
    return cli.ok("run", *options, "--", *command).splitlines()


def test_a_program_that_is_not_executable_is_one_line_too(cli: Cli) -> None:
    (cli.cwd / "train.py").write_text("print(1)\n")
    subprocess.run(["git", "init", "-q"], cwd=cli.cwd, check=True)
    done = cli("run", "--pty", "--", "./train.py")  # with warnings of its own
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "train.py" in done.stderr
    planned = cli("run", "--dry-run", "--", "./train.py")
    assert "./train.py is not executable; the run will fail" in planned.stdout
    warned = cli("run", "--pty", "--", "true")
    assert "does not survive" in warned.stderr and warned.returncode == 0


def test_retry_makes_attempt_1_and_attempt_0_stays_readable(cli: Cli) -> None:
    counter = cli.cwd / "count"
    run = cli.run("sh", "-c", f"echo x >> {counter}; wc -l < {counter}; exit 1")
    cli("wait", run)
    cli.ok("retry", "-q", run)
    cli("wait", run)
    assert cli.json("show", "--json", run)["attempt"] == 1
    assert cli.ok("logs", run).strip() == "2"
    assert cli.ok("logs", "--attempt", "0", run).strip() == "1"


def test_a_retry_of_what_its_time_limit_ended_says_how_to_give_it_more(cli: Cli) -> None:
    run = cli.run("sh", "-c", "sleep 60", options=("--time", "1s", "--grace", "1s"))
    assert cli("wait", run).returncode == 124
    said = (
        "would end it again unless it goes on from a checkpoint; with more time: "
        f"traindeck run --like {run} --time T"
    )
    assert said in cli.ok("retry", "--dry-run", run)
    again = cli("retry", "-q", run)
    assert again.returncode == 0 and said in again.stderr
    assert len(again.stderr.splitlines()) == 1
    more = cli("run", "--dry-run", "--json", "--like", run, "--time", "5s")
    assert json.loads(more.stdout)["spec"]["limits"]["time"] == 5.0


def test_a_retry_that_was_started_is_said_to_run_as_a_launch_is(cli: Cli) -> None:
    run = cli.run("sh", "-c", f"[ -e {cli.cwd}/once ] && sleep 60; touch {cli.cwd}/once; exit 1")
    cli("wait", run)
    assert json.loads(cli.ok("retry", "--json", run))["state"] == "running"
    assert cli.json("ls", "--json", "--cached")[0]["state"] == "running"


def test_a_run_waits_for_another_and_is_cancelled_if_that_failed(cli: Cli) -> None:
    first = cli.run("sh", "-c", "sleep 0.5; exit 1", options=("--name", "first"))
    second = cli.run("echo", "never", options=("--after", first))
    third = cli.run("echo", "anyway", options=("--after-any", first))
    waited = cli("wait", second)
    assert waited.returncode == 130
    assert "cancelled  first, which it waited for, failed with exit code 1" in waited.stdout
    assert cli("wait", third).returncode == 0
    shown = cli.json("show", "--json", second)
    assert shown["state"] == "cancelled"
    assert shown["reason"] == f"run {first}, which it waited for, failed with exit code 1"
    assert f"run first ({first}), if it succeeds" in cli.ok("show", second)
    assert cli.ok("logs", third) == "anyway\n"
    again = cli("retry", second)
    assert again.returncode == 0 and f"{second}  " in again.stdout
    assert "first, which it waited for, failed with exit code 1" in again.stderr


def test_a_run_waits_for_several(cli: Cli) -> None:
    sweep = [cli.run("sleep", "300", options=("--name", name)) for name in ("a", "b", "c")]
    options = ("--name", "eval", "--after", "a,b", "--after", sweep[2], "--after", sweep[0])
    last = cli.run("echo", "ran", options=options)
    third = cli.run("true", options=("--after-any", f"{sweep[2]},b"))
    ids = ", ".join(f"run {run}" for run in sweep)
    assert cli.json("show", "--json", last)["reason"] == f"waits for {ids} to succeed"
    assert "waits for a, b, c to succeed" in cli.ok("show", last)
    said = " ".join(cli.ok("show", last).split())
    assert f"3 runs, if all succeed: a ({sweep[0]}), b ({sweep[1]}), c ({sweep[2]})" in said
    reason = cli.json("show", "--json", third)["reason"]
    assert reason == f"waits for run {sweep[2]}, run {sweep[1]} to end"
    cli.ok("stop", "b")
    assert cli("wait", last).returncode == 130
    assert cli.json("show", "--json", last)["reason"].endswith("it waited for, was cancelled")
    cli.ok("stop", "--yes", "a", "c")
    assert cli("wait", third).returncode == 0
    refused = cli("run", "--after", "a, nobody", "--", "true")
    assert refused.returncode == 2 and "nobody" in refused.stderr


def test_the_grace_of_the_settings_is_that_of_a_run_that_asks_for_none(cli: Cli) -> None:
    folder = cli.home / ".config" / "traindeck"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.yaml").write_text("grace: 3s\n")
    for options, grace in (((), 3.0), (("--grace", "5s"), 5.0)):
        plan = cli.json("run", "--dry-run", "--json", *options, "--", "true")
        assert plan["spec"]["limits"]["grace"] == grace


def test_a_dry_run_starts_nothing_and_leaves_nothing(cli: Cli) -> None:
    plan = cli.json("run", "--dry-run", "--json", "--", "touch", "made")
    assert plan["argv"] == ["touch", "made"]
    assert not (cli.cwd / "made").exists()
    assert cli.json("ls", "--json") == []
    assert not list((cli.home / ".traindeck" / "runs").glob("*"))


def test_a_secret_is_found_nowhere_afterwards(cli: Cli) -> None:
    secret = "hunter2-" + os.urandom(8).hex()
    out = cli(
        "run", "--secret", "MY_TOKEN", "--follow", "--",
        "sh", "-c", 'test -n "$MY_TOKEN" && echo had it',
        env={"MY_TOKEN": secret},
    )  # fmt: skip
    assert "had it" in out.stdout
    cli.ok("run", "--dry-run", "--secret", "MY_TOKEN", "--", "true", env={"MY_TOKEN": secret})
    found = [
        path
        for path in cli.home.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]
    assert found == []


def test_a_retry_that_would_wait_for_a_run_that_was_removed_is_refused(cli: Cli) -> None:
    first = cli.run("true")
    second = cli.run("true", options=("--after", first))
    third = cli.run("true", options=("--after-any", first))
    cli.ok("wait", second, third)
    cli.ok("rm", "-y", first)
    again = cli("retry", second)
    assert again.returncode == 2
    assert f"waits for the success of run {first}, which was removed" in again.stderr
    assert f"traindeck run --like {second}" in again.stderr
    cli.ok("retry", "-q", third)  # which goes on whatever became of it
    cli.ok("stop", "-q", third)


def test_a_retry_waits_for_a_run_that_is_ending(cli: Cli) -> None:
    lingers = "(trap '' TERM; exec sleep 60) & exit 3"
    run = cli.run("sh", "-c", lingers, options=("--grace", "3s"))
    until(lambda: cli.json("show", "--json", run)["state"] in ("stopping", "failed"))
    cli.ok("retry", "-q", run)
    assert cli.json("show", "--json", run)["attempt"] == 1
    assert cli("wait", run).returncode == 3


def test_what_a_command_left_behind_and_was_ended_is_said(cli: Cli) -> None:
    run = cli.run("sh", "-c", "sleep 60 & sleep 60 & exit 0", options=("--grace", "2s"))
    assert cli("wait", run).returncode == 0
    assert "2 background processes were ended after it" in cli.ok("show", run)
    kept = cli.run("sh", "-c", "sleep 3 & exit 0", options=("--keep-background",))
    stopped = cli.run("sh", "-c", "sleep 60 & sleep 60")
    cli("stop", stopped)
    cli("wait", kept, stopped)
    for other in (kept, stopped):
        assert "background" not in cli.ok("show", other), "nobody ended it, or somebody asked"


def test_the_plan_of_a_retry_says_that_code_in_place_is_as_it_is_now(cli: Cli) -> None:
    here = cli.ok("run", "-q", "--", "true").strip()
    copied = cli.ok("run", "-q", "--code", "snapshot", "--", "true").strip()
    cli("wait", here, copied)
    assert "in place, as it is now" in cli.ok("retry", "--dry-run", here)
    assert "as it is now" not in cli.ok("retry", "--dry-run", copied)
    assert "as it is now" not in cli.ok("run", "--dry-run", "--", "true")


def test_retry_without_the_secret_is_refused_by_name(cli: Cli) -> None:
    run = cli("run", "-q", "--secret", "MY_TOKEN", "--", "false", env={"MY_TOKEN": "x"}).stdout
    cli("wait", run.strip())
    done = cli("retry", run.strip())
    assert done.returncode == 2
    assert "MY_TOKEN" in done.stderr


def test_a_plan_shows_the_command_exactly(cli: Cli) -> None:
    words = ("python", "-c", "print('a')\nprint('b')\x1b[2J")
    shown = cli.ok("run", "--dry-run", "--env", "TEXT=a\nb", "--", *words)
    line = next(line for line in shown.splitlines() if line.startswith("command"))
    assert line == r"command   python -c $'print(\'a\')\nprint(\'b\')\x1b[2J'"
    assert r"TEXT=$'a\nb'" in shown
    assert "\x1b" not in shown


def test_head_ends_it_quietly(cli: Cli) -> None:
    run = cli.run("sh", "-c", "seq 200000")
    cli("wait", run)
    command = f"{sys.executable} -m traindeck.console.cli.main logs {run} | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "1\n"
    assert done.stderr == ""


def test_json_does_not_depend_on_the_terminal(cli: Cli) -> None:
    run = cli.run("true")
    cli("wait", run)
    narrow = cli("ls", "--json", env={"COLUMNS": "20", "TERM": "dumb"})
    assert json.loads(narrow.stdout)[0]["id"] == run


def test_runs_launched_from_inside_a_run_are_their_own(cli: Cli) -> None:
    command = f"{sys.executable} -m traindeck.console.cli.main"
    inner = "sh -c 'sleep 1; echo inner done'"
    outer = cli.run("sh", "-c", f"{command} run -q --name inner -- {inner}")
    assert cli("wait", outer).returncode == 0
    assert cli("wait", "inner", timeout=30).returncode == 0
    assert cli.ok("logs", "inner") == "inner done\n"


def test_ten_commands_at_once_share_the_index(cli: Cli) -> None:
    argv = [sys.executable, "-m", "traindeck.console.cli.main", "run", "-q", "--", "true"]
    started = [
        subprocess.Popen(argv, cwd=cli.cwd, stdout=subprocess.PIPE, text=True) for _ in range(10)
    ]
    ids = {process.communicate(timeout=60)[0].strip() for process in started}
    assert all(process.returncode == 0 for process in started)
    assert len(ids) == 10
    assert cli("wait", *ids).returncode == 0
    assert {item["id"] for item in cli.json("ls", "--json")} == ids
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and list((cli.home / ".local/state").rglob("journal/*.json")):
        pass
    assert not list((cli.home / ".local/state").rglob("journal/*.json"))


def test_a_backend_that_was_taken_out_of_the_settings_stops_no_command(cli: Cli) -> None:
    cli.ok("backends", "add", "process", "extra", "--option", f"root={cli.home}/extra")
    run = cli.run("sleep", "60", options=("--on", "extra"))
    settings = cli.home / ".config" / "traindeck" / "settings.yaml"
    before = settings.read_text()
    settings.write_text("")
    try:
        time.sleep(2.1)  # what was seen a moment ago is not asked for again
        assert cli("ls").returncode == 0
        (listed,) = cli.json("ls", "--json")
        assert (listed["state"], listed["reach"]) == ("running", "down")
        shown = cli("show", run)
        assert shown.returncode == 0 and "sleep 60" in shown.stdout
        assert "rm" not in shown.stdout.splitlines()[-1], "its directory is still there"
        assert cli("run", "-q", "--", "true").returncode == 0
        done = cli("stop", run)
        assert done.returncode == 2
        assert "no backend 'extra'" in done.stderr
    finally:
        settings.write_text(before)
    cli.ok("stop", "-y", "--grace", "1s", run)
    settings.write_text("")
    cli.ok("rm", "-y", run)
    assert run not in cli.ok("ls", "-q", "--all")


TWICE = """
import os, sys
attempt = int(os.environ["TRAINDECK_RUN"].partition("/")[2])
for step in range(attempt * 10, attempt * 10 + 10):
    print(f"step {step}: loss {3 - step / 20:.3f}")
sys.exit(1 - attempt)
"""


def test_what_an_attempt_measured_before_its_retry_is_kept_though_nobody_looked(cli: Cli) -> None:
    (cli.cwd / "twice.py").write_text(TWICE)
    run = cli.run(sys.executable, "twice.py", options=("--retries", "1"))
    ends = cli.home / ".traindeck" / "runs" / run / "attempts" / "1" / "agent.json"
    deadline = time.monotonic() + 60
    while not ends.is_file() or json.loads(ends.read_text())["phase"] != "ended":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    rows = cli.ok("metrics", "--csv", run, "loss").splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == [str(step) for step in range(20)]


def test_a_pipe_in_place_of_a_file_of_metrics_keeps_nobody_waiting(cli: Cli) -> None:
    os.mkfifo(cli.cwd / "metrics.csv")
    run = cli.run("sh", "-c", "touch metrics.csv; mkfifo $TRAINDECK_ARTIFACTS/metrics.jsonl; false")
    cli("wait", run, timeout=30)
    cli.ok("metrics", run, timeout=30)
    directory = cli.home / ".traindeck" / "runs" / run / "attempts" / "0"
    (directory / "logs" / "0.log").unlink()
    os.mkfifo(directory / "logs" / "0.log")
    cli.ok("reindex", timeout=30)
    assert cli.json("ls", "--json")[0]["state"] == "failed"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-program x", "could not be run: no-such-program: program not found"),
        ("sh -c 'exit 4'", "on exit failed with exit code 4: attempts/0/logs/on_exit.log"),
        ("sh -c 'kill -9 $$'", "was ended by signal 9"),
    ],
)
def test_show_says_what_became_of_a_command_for_the_end(cli: Cli, command: str, said: str) -> None:
    run = cli.run("true", options=("--on-exit", command))
    assert cli("wait", run).returncode == 0
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and said not in (shown := cli.ok("show", run)):
        time.sleep(0.1)
    assert said in shown
    good = cli.run("true", options=("--on-exit", "true"))
    assert cli("wait", good).returncode == 0
    assert "on exit failed" not in cli.ok("show", good)


def test_a_plan_of_a_snapshot_counts_its_files_and_lists_them_on_request(cli: Cli) -> None:
    """Plan and record name the code by one digest, however many files it has."""
    folder = cli.home / "code"
    for number in range(300):
        (folder / f"pkg{number % 3}").mkdir(parents=True, exist_ok=True)
        (folder / f"pkg{number % 3}/m{number}.py").write_text(f"x = {number}\n")
    (folder / "go.sh").write_text("#!/bin/sh\necho it goes\n")
    (folder / "go.sh").chmod(0o755)
    (folder / "out").mkdir()
    command = ("run", "--code", "snapshot", "--cwd", str(folder))
    words = cli.ok(*command, "--dry-run", "--", "true")
    assert "301 files, " in words and "code/pkg1/m1.py · 6 B · sha256 " in words
    assert "code/go.sh · 23 B" in words and "code/out/ · empty folder" in words
    plan = json.loads(cli.ok(*command, "--dry-run", "--json", "--", "true"))
    listed = plan.pop("tree")
    assert len(listed) == 302 and listed["code/go.sh"]["mode"] == 0o700
    assert plan["spec"]["code"]["tree"]["files"] == 301
    assert len(json.dumps(plan)) < 10_000
    run = json.loads(cli.ok(*command, "--json", "--", "./go.sh"))
    top = cli.home / ".traindeck/runs" / run["id"]
    assert (top / "code/pkg2/m299.py").read_text() == "x = 299\n" and (top / "code/out").is_dir()
    assert (top / "run.json").stat().st_size < 10_000
    assert (top / "plan/plan.json").stat().st_size < 20_000
