"""What `rm` frees, what it refuses, and what is known of a run whose files are gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.payload.harness import until

from traindeck.console.cli import app, output
from traindeck.console.runs import refreshing

from .conftest import Cli


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


def started(cli: Cli, run: str) -> Any:
    """The agent.json of a run that is on."""
    record = cli.home / ".traindeck/runs" / run / "attempts/0/agent.json"
    return until(lambda: (a := json.loads(record.read_text()))["phase"] == "running" and a)


def kill_both(agent: Any) -> None:
    """Kill a supervisor and its leader: nobody is left to record an end."""
    for pid in (agent["pid"], agent["leader"]["pid"]):
        os.kill(pid, signal.SIGKILL)


def test_a_rebuilt_index_does_not_say_of_a_dead_run_that_it_runs(cli: Cli) -> None:
    run = cli.run("sleep", "600")
    kill_both(started(cli, run))
    for path in (cli.home / ".local" / "state" / "traindeck").glob("index.db*"):
        path.unlink()
    listed = cli.ok("ls", "--cached")
    assert "unknown" in listed and "not asked yet" in listed and "running" not in listed
    assert "unknown" in cli.ok("show", "--cached", run)
    (found,) = cli.json("ls", "--json", "--cached")
    assert (found["reach"], found["observed_at"]) == ("stale", None)
    cli.ok("reindex")
    (found,) = cli.json("ls", "--json", "--cached")
    assert (found["state"], found["reach"]) == ("lost", "ok")


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


def test_what_was_known_of_a_run_stays_known_when_only_its_artifacts_are_kept(cli: Cli) -> None:
    script = "echo w > $TRAINDECK_ARTIFACTS/m; echo error: no such model; exit 3"
    run = cli.run("sh", "-c", script, options=("--retries", "2"))
    cli("wait", run)
    before = cli.json("show", "--json", run)
    assert [one["reason"] for one in before["attempts"]] == ["no such model"] * 3
    cli.ok("rm", "--yes", "--keep-artifacts", run)
    for _ in range(2):  # and after a rebuild of the index
        known = cli.json("show", "--json", run)
        for key in ("state", "exit_code", "reason", "started", "ended", "attempts"):
            assert known[key] == before[key], key
        assert (known["archived"], known["log_bytes"]) == (True, None)
        shown = cli.ok("show", run)
        assert "archived: its files were removed, all but artifacts 2 B" in shown
        assert "no such model · exit 3 · 3 attempts" in shown
        assert "lost" not in shown and "its log was removed" in shown
        assert "retry" not in shown
        logs = cli("logs", run)
        assert (logs.returncode, logs.stdout, len(logs.stderr.splitlines())) == (1, "", 1)
        assert "its log was removed" in logs.stderr
        assert f"Launch one like it: traindeck run --like {run}" in cli("retry", run).stderr
        assert script in cli.ok("run", "--like", run, "--dry-run")
        assert cli.json("ls", "--all", "--json", "is:needs-you") == []
        cli.ok("reindex")


def test_a_filter_that_only_archived_runs_fit_says_how_to_list_them(cli: Cli) -> None:
    for name in ("old-one", "old-two"):
        cli("wait", cli.run("true", options=("--name", name)))
    cli.ok("rm", "--yes", "--keep-artifacts", "old-one")
    said = cli("ls", "old-one")
    assert "old-one" not in said.stdout
    assert "only 1 archived run fits: traindeck ls --all" in said.stderr
    assert "--all" not in said.stdout
    assert "fit" not in cli("ls", "--all", "old-one").stderr
    assert "fit" not in cli("ls", "old").stderr
    assert "fit" not in cli("ls", "nothing-like-it").stderr
    assert cli("ls", "-q", "old-one").stderr == ""


def test_what_a_run_had_measured_stays_known_when_only_its_artifacts_are_kept(cli: Cli) -> None:
    program = (
        "import json, os, time, sys\n"
        "again = '/1' in os.environ['TRAINDECK_RUN']\n"
        "out = open(os.environ['TRAINDECK_METRICS'], 'a')\n"
        "for i in range(5, 9) if again else range(1, 7):\n"
        "    print(json.dumps({'step': i, 'time': time.time(), 'lr': 1 / i}), file=out)\n"
        "    print(f'step {i}/10 loss {\"nan\" if i == 8 else i / 3}', flush=True)\n"
        "row = {'step': i, 'time': time.time(), '__event__': 'checkpoint', 'path': 'c'}\n"
        "print(json.dumps(row), file=out)\n"
        "sys.exit(1)\n"
    )
    run = cli.run(sys.executable, "-c", program, options=("--retries", "1"))
    cli("wait", run)
    cli.ok("rm", "--yes", "--keep-artifacts", run)

    def known() -> Any:
        shown = [cli.json("show", "--json", run), *cli.json("ls", "--all", "--json")]
        for one in shown:
            one.pop("observed_at")
        return shown, cli.json("metrics", "--json", run), cli.ok("metrics", run)

    before = known()
    assert before[1]["loss"]["steps"] == [*range(1, 9)]
    assert before[0][0]["metrics"]["loss"]["last"] == "NaN" and before[0][0]["main"] == "loss"
    cli.ok("reindex")
    assert known() == before
    state = cli.home / ".local" / "state" / "traindeck"
    for path in state.glob("index.db*"):
        path.unlink()
    assert known() == before
    (saved,) = (state / "archived").iterdir()
    saved.write_bytes(saved.read_bytes()[:-9])
    done = cli("reindex")
    assert done.returncode == 0 and "had measured cannot be read from" in done.stderr
    cli.ok("rm", "--yes", run)
    assert not list((state / "archived").iterdir())


def test_what_was_never_noted_of_an_archived_run_is_said_to_be_not_known(cli: Cli) -> None:
    run = cli.run("sh", "-c", "exit 3", options=("--retries", "1"))
    cli("wait", run)
    cli.ok("rm", "--yes", "--keep-artifacts", run)
    notes = cli.home / ".local" / "state" / "traindeck" / "annotations.jsonl"
    lines = [json.loads(line) for line in notes.read_text().splitlines()]
    notes.write_text(
        "".join(
            json.dumps({k: v for k, v in line.items() if k != "attempts"}) + "\n" for line in lines
        )
    )
    cli.ok("reindex")
    shown = cli.ok("show", run)
    assert "how the earlier attempts ended is not known" in shown
    assert "lost" not in shown and "exit code 3" in shown
    assert [one["attempt"] for one in cli.json("show", "--json", run)["attempts"]] == [1]


def test_a_log_that_was_deleted_by_hand_is_missed_in_one_line(cli: Cli) -> None:
    run = cli.run("echo", "hi")
    cli("wait", run)
    (cli.home / ".traindeck/runs" / run / "attempts/0/logs/0.log").unlink()
    for options in ((), ("-n", "3"), ("-f",), ("--attempt", "0")):
        done = cli("logs", run, *options)
        assert (done.returncode, done.stdout) == (1, ""), options
        (line,) = done.stderr.splitlines()
        assert "its log is gone: it was deleted" in line
    assert "its log is gone" in cli.ok("show", run)


def test_a_lost_attempt_is_lost_for_the_same_reason_once_another_followed(cli: Cli) -> None:
    run = cli.run("sleep", "600")
    kill_both(started(cli, run))
    cli("wait", run)
    (before,) = cli.json("show", "--json", run)["attempts"]
    assert before["state"] == "lost" and "supervisor was killed" in before["reason"]
    cli.ok("retry", "-q", run)
    after = cli.json("show", "--json", run)["attempts"][0]
    assert (after["state"], after["reason"]) == (before["state"], before["reason"])


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
        until(lambda: log.stat().st_size >= 300_000)
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


def ended_unseen(cli: Cli, *options: str) -> str:
    """A run that is over, which the index does not know: nobody was asked since."""
    run = cli.run("sleep", "0.3", options=options)
    record = cli.home / ".traindeck" / "runs" / run / "attempts" / "0" / "exit.slot"
    until(lambda: record.read_bytes().strip(b"\0"))
    return run


def test_rm_refuses_none_for_what_it_was_a_moment_ago(cli: Cli) -> None:
    cli.ok("rm", "--yes", ended_unseen(cli))


@pytest.mark.parametrize("when", ["asked about", "confirmed"])
def test_rm_removes_the_others_of_a_run_that_somebody_else_removes_meanwhile(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], when: str
) -> None:
    twice, other = ended_unseen(cli), cli.run("true")
    cli("wait", other)

    async def refresh(*_: object, max_age: float = 1.0, **__: object) -> list[str]:
        if when == "asked about" and max_age == 0.0:
            cli.ok("rm", "--yes", twice)
        return []

    def confirm(*_: object, **__: object) -> bool:
        if when == "confirmed":
            cli.ok("rm", "--yes", twice)
        return True

    if when == "asked about":
        monkeypatch.setattr(refreshing, "refresh", refresh)
    monkeypatch.setattr(output, "confirm", confirm)
    assert app.run(["rm", "--json", twice, other]) == 1
    said = capsys.readouterr()
    gone, removed = json.loads(said.out)
    assert (gone["id"], gone["freed_bytes"]) == (twice, None)
    assert "is gone: it was removed meanwhile" in gone["error"] and gone["error"] in said.err
    assert (removed["id"], removed["error"]) == (other, None)
    assert cli.json("ls", "--json") == []


def test_a_run_that_ended_a_moment_ago_is_no_second_of_its_name_to_stop(cli: Cli) -> None:
    runs = cli.run("sleep", "60", options=("--name", "twin"))
    ended_unseen(cli, "--name", "twin")
    assert cli.ok("stop", "-q", "twin").split() == [runs]


def test_a_run_whose_directory_was_deleted_by_hand_can_be_taken_off_the_list(cli: Cli) -> None:
    run = cli.run("true")
    cli("wait", run)
    shutil.rmtree(cli.home / ".traindeck" / "runs" / run)
    cli.ok("rm", "-y", run)
    assert cli.json("ls", "--all", "--json") == []


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


def test_one_attempt_of_an_archived_run_is_refused_with_what_is_left(cli: Cli) -> None:
    run = cli.run("bash", "-c", "echo step 1 loss 0.5; exit 1", options=("--retries", "1"))
    cli("wait", run)
    cli.ok("rm", "-y", "--keep-artifacts", run)
    done = cli("metrics", run, "--attempt", "0")
    assert done.returncode == 1
    assert "is archived: what each attempt measured by itself went with its files" in done.stderr
    assert cli.json("metrics", "--json", run)["loss"]["values"] == [0.5]
