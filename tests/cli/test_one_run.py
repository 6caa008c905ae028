"""One run from the command line, end to end, with real processes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


def test_follow_prints_the_log_and_returns_the_runs_code(cli: Cli) -> None:
    done = cli("run", "--follow", "--", "sh", "-c", "echo one; sleep 0.2; echo two; exit 5")
    assert done.returncode == 5
    assert done.stdout.splitlines()[-2:] == ["one", "two"]
    assert "exit code 5" in done.stderr


@pytest.mark.parametrize("log", ["no newline", "one\\ntwo\\n", "5 %%\\r10 %%\\r"])
def test_on_a_terminal_our_words_begin_below_the_log(cli: Cli, log: str) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "traindeck.console.cli.main", "run", "--follow", "--name", "n"]
    with subprocess.Popen(
        [*argv, "--", "printf", log], cwd=cli.cwd, stdout=theirs, stderr=theirs
    ) as follower:
        assert follower.wait(timeout=30) == 0
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody is at its other end
        while data := os.read(ours, 4096):
            shown += data
    os.close(ours)
    assert shown.endswith(b"\r\ntraindeck: n succeeded\r\n")
    assert b"\n\r\n" not in shown


def test_interrupting_the_follower_does_not_touch_the_run(cli: Cli) -> None:
    argv = [sys.executable, "-m", "traindeck.console.cli.main", "run", "--follow", "--"]
    argv += ["sh", "-c", "echo started; until [ -e go ]; do sleep 0.1; done; echo finished"]
    follower = subprocess.Popen(
        argv,
        cwd=cli.cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # The tests may have been started in the background, where a shell ignores it for them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert follower.stdout is not None
    run = follower.stdout.readline().split()[0]
    assert follower.stdout.readline() == "started\n"
    os.killpg(follower.pid, signal.SIGINT)  # as ctrl+c does: the whole foreground group
    _, errors = follower.communicate(timeout=20)
    assert follower.returncode == 130
    assert "Traceback" not in errors
    assert "goes on" in errors and f"traindeck stop {run[:3]}" in errors
    (cli.cwd / "go").touch()
    assert cli("wait", run).returncode == 0
    assert cli.ok("logs", run) == "started\nfinished\n"


def test_following_a_log_goes_through_the_attempts(cli: Cli) -> None:
    wait = "until [ -e go ]; do sleep 0.1; done"
    script = f"echo try; [ -e again ] || {{ {wait}; touch again; exit 3; }}; echo good"
    run = cli.run("sh", "-c", script, options=("--retries", "1"))
    argv = [sys.executable, "-m", "traindeck.console.cli.main", "logs", "-f", run]
    pipe = subprocess.PIPE
    follower = subprocess.Popen(argv, cwd=cli.cwd, stdout=pipe, stderr=pipe, text=True)
    assert follower.stdout is not None
    assert follower.stdout.readline() == "try\n"
    (cli.cwd / "go").touch()
    printed, notes = follower.communicate(timeout=30)
    assert (follower.returncode, printed) == (0, "try\ngood\n")
    assert "attempt 1" in notes
    assert cli.ok("logs", "-f", "--attempt", "0", run) == "try\n"


def test_a_rank_that_there_is_not_is_named(cli: Cli) -> None:
    run = cli.run("echo", "hi")
    cli("wait", run)
    for options in ((), ("-f",)):
        done = cli("logs", "--rank", "3", *options, run)
        assert (done.returncode, done.stdout) == (2, "")
        assert "no log of such a rank" in done.stderr


def test_all_ranks_are_those_that_there_are(cli: Cli) -> None:
    run = cli.run("echo", "hi")
    cli("wait", run)
    for options in ((), ("-f",), ("-n", "1")):
        done = cli("logs", "--rank", "all", *options, run)
        assert (done.returncode, done.stdout, done.stderr) == (0, "hi\n", "")
    # As a place with several would have left them.
    logs = Path(cli.ok("show", "--path", run).strip()) / "attempts/0/logs"
    for rank in (10, 2):
        (logs / f"{rank}.log").write_text(f"from {rank}\n")
    done = cli("logs", "--rank", "all", run)
    assert done.stdout == "hi\nfrom 2\nfrom 10\n"
    assert [line.split()[2] for line in done.stderr.splitlines()] == ["0", "2", "10"]
    assert cli.ok("logs", "--rank", "all", "--grep", "from", run) == "from 2\nfrom 10\n"
    for words, said in (
        (("all", "-f"), "several ranks"),
        (("some",), "or all"),
        (("-1",), "from 0"),
    ):
        done = cli("logs", "--rank", *words, run)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


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
    lines = [line for line in done.stderr.splitlines() if "no-such-program-here" in line]
    assert lines
    assert "Traceback" not in done.stderr
    shown = cli.json("show", "--json", run)
    assert (shown["state"], shown["exit_code"]) == ("failed", 127)


def test_retry_makes_attempt_1_and_attempt_0_stays_readable(cli: Cli) -> None:
    counter = cli.cwd / "count"
    run = cli.run("sh", "-c", f"echo x >> {counter}; wc -l < {counter}; exit 1")
    cli("wait", run)
    cli.ok("retry", "-q", run)
    cli("wait", run)
    assert cli.json("show", "--json", run)["attempt"] == 1
    assert cli.ok("logs", run).strip() == "2"
    assert cli.ok("logs", "--attempt", "0", run).strip() == "1"


def test_a_run_waits_for_another_and_is_cancelled_if_that_failed(cli: Cli) -> None:
    first = cli.run("sh", "-c", "sleep 0.5; exit 1")
    second = cli.run("echo", "never", options=("--after", first))
    third = cli.run("echo", "anyway", options=("--after-any", first))
    assert cli("wait", second).returncode == 130
    assert cli("wait", third).returncode == 0
    shown = cli.json("show", "--json", second)
    assert shown["state"] == "cancelled"
    assert first[:4] in shown["reason"] or "failed" in shown["reason"]
    assert cli.ok("logs", third) == "anyway\n"


def test_a_dry_run_starts_nothing_and_leaves_nothing(cli: Cli) -> None:
    plan = cli.json("run", "--dry-run", "--json", "--", "touch", "made")
    assert plan["argv"] == ["touch", "made"]
    assert not (cli.cwd / "made").exists()
    assert cli.json("ls", "--json") == []
    assert not list((cli.home / ".traindeck" / "runs").glob("*"))


def test_logs_to_a_pipe_are_byte_identical(cli: Cli) -> None:
    program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 40)"
    run = cli.run(sys.executable, "-c", program)
    cli("wait", run)
    argv = [sys.executable, "-m", "traindeck.console.cli.main", "logs", run]
    printed = subprocess.run(argv, capture_output=True, check=True).stdout
    assert printed == bytes(range(256)) * 40


def test_logs_print_the_last_lines_and_those_that_match(cli: Cli) -> None:
    run = cli.run("sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done")
    cli("wait", run)
    assert cli.ok("logs", "-n", "2", run) == "line 4\nline 5\n"
    assert cli.ok("logs", "--grep", "[13]$", run) == "line 1\nline 3\n"
    assert cli.ok("logs", "--since", "1h", run).count("\n") == 5


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


def test_retry_without_the_secret_is_refused_by_name(cli: Cli) -> None:
    run = cli("run", "-q", "--secret", "MY_TOKEN", "--", "false", env={"MY_TOKEN": "x"}).stdout
    cli("wait", run.strip())
    done = cli("retry", run.strip())
    assert done.returncode == 2
    assert "MY_TOKEN" in done.stderr


def test_the_index_can_be_deleted_and_nothing_is_lost(cli: Cli) -> None:
    run = cli.run("sh", "-c", "exit 4", options=("--name", "kept", "--tag", "a=b"))
    cli("wait", run)
    cli.ok("rename", "kept", "renamed")
    cli.ok("note", "renamed", "a note")
    before = cli.json("ls", "--json")
    state = cli.home / ".local" / "state" / "traindeck"
    for path in state.glob("index.db*"):
        path.unlink()
    after = cli.json("ls", "--json")
    for listing in (before, after):
        for item in listing:
            item.pop("observed_at")
    assert after == before
    assert after[0]["name"] == "renamed"
    assert after[0]["note"] == "a note"


def test_rm_says_what_it_frees_asks_and_refuses_prefixes(cli: Cli) -> None:
    run = cli.run("true")
    cli("wait", run)
    assert cli("rm", run).returncode == 2  # no terminal to ask on
    assert "--yes" in cli("rm", run).stderr
    assert cli("rm", "--yes", run[:8]).returncode == 2
    out = cli.ok("rm", "--yes", run)
    assert "freed" in out
    assert cli.json("ls", "--json") == []
    assert not (cli.home / ".traindeck" / "runs" / run).exists()


def test_a_run_whose_artifacts_are_kept_is_known_for_ever(cli: Cli) -> None:
    run = cli.run("sh", "-c", "echo weights > $TRAINDECK_RUN_DIR/artifacts/model; exit 3")
    cli("wait", run)
    cli.ok("rm", "--yes", "--keep-artifacts", run)
    before = cli.json("ls", "--all", "--json")
    assert (before[0]["state"], before[0]["exit_code"]) == ("failed", 3)
    cli.ok("reindex")
    after = cli.json("ls", "--all", "--json")
    keys = ("id", "name", "state", "exit_code", "reason", "started", "ended", "archived")
    assert [after[0].get(key) for key in keys] == [before[0].get(key) for key in keys]
    kept = cli.home / ".traindeck" / "runs" / run / "artifacts" / "model"
    assert kept.read_text() == "weights\n"


def test_rm_frees_what_it_said_also_when_artifacts_are_kept(cli: Cli) -> None:
    script = 'head -c 5000 /dev/zero > "$TRAINDECK_ARTIFACTS/a"; seq 500; exit 1'
    run = cli.run("sh", "-c", script, options=("--retries", "1"))
    cli("wait", run)
    for options in (("--keep-artifacts",), ()):
        done = cli("rm", "--yes", *options, run)
        assert done.returncode == 0, done.stderr
        said = done.stderr.splitlines()[0].split("  ")[-1]
        assert done.stdout == f"removed 1, freed {said}\n"


@pytest.mark.parametrize("goes_on", [True, False])
def test_rm_of_an_adopted_run_says_what_it_frees(cli: Cli, tmp_path: Path, goes_on: bool) -> None:
    log = tmp_path / "its.log"
    with log.open("wb") as stream:
        script = "head -c 300000 /dev/zero; exec sleep 600"
        process = subprocess.Popen(["sh", "-c", script], stdout=stream)
    try:
        while log.stat().st_size < 300_000:
            time.sleep(0.01)
        run = cli.ok("adopt", "-q", str(process.pid)).strip()
        if not goes_on:
            process.kill()
            process.wait()
            cli("wait", run)
        done = cli("rm", "--yes", run)
        assert done.returncode == 0, done.stderr
        assert log.stat().st_size == 300_000
    finally:
        process.kill()
        process.wait()
    said = float(done.stderr.splitlines()[0].split("  ")[4].removesuffix(" kB"))
    freed = float(done.stdout.removeprefix("removed 1, freed ").removesuffix(" kB\n"))
    # The supervisor's last words about a run that goes on are a line or two more.
    assert said == pytest.approx(freed, abs=1.0 if goes_on else 0.0)


def test_rm_refuses_a_run_that_is_not_over(cli: Cli) -> None:
    run = cli.run("sleep", "60")
    done = cli("rm", "--yes", run)
    assert done.returncode == 2
    assert "not over" in done.stderr
    assert cli.json("ls", "--json")[0]["state"] in ("starting", "running")


def test_a_plan_shows_the_command_exactly(cli: Cli) -> None:
    words = ("python", "-c", "print('a')\nprint('b')\x1b[2J")
    shown = cli.ok("run", "--dry-run", "--env", "TEXT=a\nb", "--", *words)
    line = next(line for line in shown.splitlines() if line.startswith("command"))
    assert line == r"command   python -c $'print(\'a\')\nprint(\'b\')\x1b[2J'"
    assert r"TEXT=$'a\nb'" in shown
    assert "\x1b" not in shown


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
    cli.ok("backends", "add", "extra", "--kind", "process", "--option", f"root={cli.home}/extra")
    run = cli.run("sleep", "60", options=("--on", "extra"))
    settings = cli.home / ".config" / "traindeck" / "settings.yaml"
    before = settings.read_text()
    settings.write_text("")
    try:
        time.sleep(2.1)  # what was seen a moment ago is not asked for again
        assert cli("ls").returncode == 0
        (listed,) = cli.json("ls", "--json")
        assert (listed["state"], listed["reach"]) == ("running", "down")
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


def completed(cli: Cli, *words: str) -> list[str]:
    """What the shell is offered for the last of these words."""
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    return cli.ok(env={**asked, "_TRAINDECK_COMPLETE": "complete_bash"}).split()


def test_the_shell_completes_commands_runs_backends_and_recipes(cli: Cli) -> None:
    run = cli.run("true", options=("--name", "calm-fox"))
    evil = cli.run("true", options=("--name", "$(touch pwned)"))
    assert completed(cli, "traindeck", "st") == ["stop"]
    assert {"run", "ls", "demo"} <= set(completed(cli, "traindeck", ""))
    assert completed(cli, "traindeck", "show", "calm") == ["calm-fox"]
    assert "calm-fox" in completed(cli, "traindeck", "logs", "")
    assert completed(cli, "traindeck", "logs", run[:10]) != []
    assert not any("pwned" in word for word in completed(cli, "traindeck", "logs", ""))
    assert completed(cli, "traindeck", "show", "$") == []
    assert completed(cli, "traindeck", "show", evil[:11]) != []
    assert "--on-exit" in completed(cli, "traindeck", "run", "--on")
    assert completed(cli, "traindeck", "run", "--on", "lo") == ["local"]
    assert completed(cli, "traindeck", "finetune", "s") == ["sft"]


def test_the_shell_completes_what_a_run_and_a_recipe_have(cli: Cli) -> None:
    program = "for i in range(3): print(f'step {i}: loss {i} lr 0.1')"
    run = cli.run("python3", "-c", program, options=("--name", "fox", "--tag", "draft"))
    twins = [cli.run("true", options=("--name", "twin")) for _ in range(2)]
    on = cli.run("sleep", "60", options=("--name", "on"))
    cli("wait", run, *twins)
    cli.ok("metrics", run)
    assert completed(cli, "traindeck", "metrics", "fox", "l") == ["loss", "lr"]
    assert completed(cli, "traindeck", "metrics", "fox", "loss", "lr", "los") == ["loss"]
    assert completed(cli, "traindeck", "metrics", "nosuch", "l") == []
    assert completed(cli, "traindeck", "tag", "fox", "--remove", "") == ["draft"]
    removable = completed(cli, "traindeck", "rm", "")
    assert {"fox", *twins} == set(removable) and "on" not in removable
    assert completed(cli, "traindeck", "rm", on) == []
    assert completed(cli, "traindeck", "rm", twins[0][:11]) != []
    assert set(completed(cli, "traindeck", "finetune", "sft", "--set", "lora_r")) == {"lora_rank="}
    assert "schedule=" in completed(cli, "traindeck", "finetune", "sft", "--set", "")
    assert completed(cli, "traindeck", "finetune", "nosuch", "--set", "l") == []


def test_help_behind_a_recipe_lists_its_parameters(cli: Cli) -> None:
    parameters = cli.ok("finetune", "sft", "--parameters")
    for words in (("sft", "--help"), ("-h", "sft"), ("--set", "lr=1", "sft", "-h")):
        shown = cli.ok("finetune", *words)
        assert shown.startswith("Usage: traindeck finetune") and shown.endswith(parameters)
    assert "traindeck finetune RECIPE --help" in cli.ok("finetune", "--help")
    assert "no recipe nosuch" in cli.ok("finetune", "nosuch", "--help")


def test_a_run_whose_directory_was_deleted_by_hand_can_be_taken_off_the_list(cli: Cli) -> None:
    run = cli.run("true")
    cli("wait", run)
    shutil.rmtree(cli.home / ".traindeck" / "runs" / run)
    cli.ok("rm", "-y", run)
    assert cli.json("ls", "--all", "--json") == []


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


def test_a_run_whose_directory_was_deleted_by_hand_says_so(cli: Cli) -> None:
    run = cli.run("echo", "hi")
    cli("wait", run)
    shutil.rmtree(cli.ok("show", "--path", run).strip())
    shown = cli("show", run)
    assert shown.returncode == 0 and "echo hi" in shown.stdout
    assert "is gone: it was deleted" in shown.stderr
    for command in ("logs", "retry"):
        done = cli(command, run)
        assert done.returncode == 1 and "is gone: it was deleted" in done.stderr, command
    cli.ok("rm", "-y", run)
    assert cli.json("ls", "--json") == []


def test_a_run_whose_record_is_destroyed_keeps_what_else_is_known_of_it(
    cli: Cli, tmp_path: Path
) -> None:
    run = cli.run("sh", "-c", "exit 3", options=("--name", "calm"))
    cli("wait", run)
    before = cli.json("show", "--cached", "--json", run)
    root = cli.home / ".traindeck" / "runs"
    (root / run / "run.json").write_text('{"spec": ')
    warning = f"traindeck: {root}/{run}/run.json is no JSON; the run is listed with what else"

    done = cli("reindex")
    assert done.returncode == 0 and done.stdout == "1 runs\n"
    assert done.stderr.startswith(warning) and len(done.stderr.splitlines()) == 1
    after = cli.json("show", "--cached", "--json", run)
    for field in ("name", "argv", "cwd", "state", "exit_code", "adopted"):
        assert after[field] == before[field], field
    refused = cli("retry", run)
    assert refused.returncode != 0 and "run.json" in refused.stderr
    assert "adopted" not in refused.stderr

    for path in (cli.home / ".local" / "state" / "traindeck").glob("index.db*"):
        path.unlink()
    listed = cli("ls", "--json", "--cached")
    assert listed.stderr.startswith(warning)
    (found,) = json.loads(listed.stdout)
    assert (found["name"], found["argv"], found["adopted"]) == ("calm", [], False)
    assert "adopted" not in cli.ok("show", run)
    refused = cli("retry", run)
    assert refused.returncode == 2
    assert "How calm was started is not known" in refused.stderr
    assert "removed 1" in cli.ok("rm", "-y", run)
    assert not (root / run).exists()


def test_of_several_runs_of_one_name_the_newest_is_shown_and_none_is_guessed_to_be_stopped(
    cli: Cli,
) -> None:
    old, new = (cli.run("sleep", "60", options=("--name", "a b")) for _ in range(2))
    said = "2 runs are called a b; this is the newest that is not over. All of them: "
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


def test_what_means_a_run_by_its_id_is_no_name_for_another(cli: Cli) -> None:
    run, other = cli.run("true", options=("--name", "calm")), cli.run("true")
    for name in (run, run[:8], run[:9].upper()):
        for command in (("rename", other, name), ("run", "--name", name, "--", "true")):
            refused = cli(*command)
            assert refused.returncode == 2 and "cannot be a name: the id of" in refused.stderr
    assert len(cli.json("ls", "--json")) == 2
    cli.ok("rename", other, "1st")
