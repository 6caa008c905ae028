"""A cluster as a user of the command line sees it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.services import need
from tests.services.slurm import PACKAGES, Cluster, cluster, until
from tests.services.sshd import Box, Sshd

from traindeck.console.store.index import Index

COMMAND = (sys.executable, "-m", "traindeck.console.cli.main")


class Traindeck:
    """The command, in a home of its own in whose settings the cluster is called `lab`."""

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.env = env
        self._folder = folder

    def __call__(
        self, *words: str, code: int = 0, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        argv = [*COMMAND, *words]
        done = subprocess.run(
            argv,
            env={**self.env, **(more or {})},
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin a command."""
        return subprocess.Popen(
            [*COMMAND, *words], env=self.env, cwd=self._folder, stdout=subprocess.DEVNULL
        )


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture
def traindeck(slurm: Cluster, tmp_path: Path) -> Iterator[Traindeck]:
    folders = {f"XDG_{name}_HOME": str(tmp_path / name) for name in ("CONFIG", "STATE", "CACHE")}
    run = Traindeck({**slurm.env, "HOME": str(tmp_path), **folders}, tmp_path)
    run("backends", "add", "slurm", "lab", "--local")
    yield run
    slurm.run("scancel", "--user=root", check=False)


def test_a_run_goes_to_the_cluster_and_comes_back(traindeck: Traindeck) -> None:
    script = "import os; print('on', os.environ['CUDA_VISIBLE_DEVICES'])"
    words = ("run", "--on", "lab", "--gpus", "2", "-q", "--", sys.executable, "-c", script)
    run = traindeck(*words).stdout.strip()
    assert traindeck("logs", "-f", run).stdout == "on 0,1\n"
    traindeck("wait", run)
    shown = json.loads(traindeck("show", run, "--json").stdout)
    assert (shown["state"], shown["backend"], shown["gpus"]) == ("succeeded", "lab", 2)
    assert shown["native_id"].isdigit()


def test_the_rank_that_failed_is_named_with_what_its_log_says(traindeck: Traindeck) -> None:
    script = (
        "import os, sys, time; print('on', os.environ['NODE_RANK'], flush=True); "
        "sys.exit('no rows') if os.environ['NODE_RANK'] == '1' else time.sleep(300)"
    )
    words = ("run", "--on", "lab", "--nodes", "2", "-q", "--", sys.executable, "-c", script)
    run = traindeck(*words).stdout.strip()
    traindeck("wait", run, code=1)
    shown = json.loads(traindeck("show", run, "--json").stdout)
    assert shown["reason"].startswith("rank 1 on ")
    assert shown["reason"].endswith(": exit code 1 · last line: no rows")
    assert "no rows" in traindeck("show", run).stdout.partition("\nlog ")[2]


def test_a_run_that_was_requeued_is_read_and_stopped_while_it_waits(
    slurm: Cluster, traindeck: Traindeck
) -> None:
    words = ("run", "--on", "lab", "-q", "--", "sh", "-c", "echo before; exec sleep 300")
    run = traindeck(*words).stdout.strip()

    def shown() -> dict[str, Any]:
        return dict(json.loads(traindeck("show", run, "--json").stdout))

    until(lambda: traindeck("logs", run).stdout == "before\n", "its first line")
    slurm.run("scontrol", "requeue", str(shown()["native_id"]))
    until(lambda: shown()["state"] == "queued", "it to be requeued")
    read = traindeck("logs", run)
    assert read.stdout == "before\n"
    assert "waits to start again. requeued: waits" in read.stderr
    traindeck("stop", run)
    assert shown()["state"] == "cancelled"
    job = shown()["native_id"]
    traindeck("retry", run)
    until(lambda: shown()["state"] == "running", "its next attempt")
    first, second = list(shown()["attempts"])
    assert (first["reason"], second["state"]) == (f"Slurm requeued job {job}", "running")
    traindeck("stop", run)


def test_code_goes_along_as_it_was_at_the_launch(traindeck: Traindeck, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    subprocess.run(["git", "init", "-q", str(code)], check=True)
    (code / "model.py").write_text("WORD = 'then'\n")
    (code / "train.py").write_text("import model; print(model.WORD)\n")
    words = ("run", "--on", "lab", "--code", "snapshot", "--cwd", str(code), "-q")
    run = traindeck(*words, "--", sys.executable, "train.py").stdout.strip()
    (code / "model.py").write_text("WORD = 'now'\n")
    assert traindeck("logs", "-f", run).stdout == "then\n"


def test_a_cluster_is_reached_through_its_login_node_whatever_that_says(
    slurm: Cluster, traindeck: Traindeck, tmp_path: Path
) -> None:
    """Which stands behind a jump host, has fish for a login shell, and greets."""
    login = Box(shell="fish", env={"SLURM_CONF": str(slurm.conf)})
    with Sshd(tmp_path / "sshd", Box(), login) as sshd:
        sshd[1].greet("Welcome to the {cluster}, $USER!\n\x1b[31m(base) %\x1b[0m\n")
        config = ("--ssh-config", str(sshd.config))
        traindeck("backends", "add", "slurm", "far", "--via", "hop1", *config)
        checked = traindeck("backends", "check", "far").stdout
        assert "partition gpu, the default: 8 of 8 h100 free, 2 of 2 nodes up" in checked
        assert "it says before the agent answers: Welcome to the {cluster}, $USER!" in checked
        words = ("run", "--on", "far", "--gpus", "1", "--follow", "-q", "--", "sh", "-c")
        done = traindeck(*words, "echo on $SLURMD_NODENAME; exit 3", code=3)
        assert done.stdout.splitlines()[-1] in ("on n0", "on n1")
        (run,) = json.loads(traindeck("ls", "--json").stdout)
        assert (run["backend"], run["state"], run["exit_code"]) == ("far", "failed", 3)
        assert (sshd[1].home / ".traindeck/slurm/far/runs" / run["id"]).is_dir()


def test_what_the_cluster_has_not_is_said_with_what_it_has(traindeck: Traindeck) -> None:
    for options, code, said in (
        (("--option", "partition=x"), 2, "`lab` has no partition 'x'. There are: gpu, short."),
        (
            ("--gpus", "5"),
            2,
            "--gpus 5: the nodes of partition gpu have 4 GPUs at most. Use several nodes, as "
            "--nodes 2 --gpus 4.",
        ),
        (
            ("--option", "partition=short", "--time", "1h"),
            2,
            "--time 1.0 h: partition short allows 10 min at most. Ask for less, or choose another "
            "partition with --option partition=NAME.",
        ),
        (
            ("--option", "constraint=x"),
            1,
            "sbatch refused: Batch job submission failed: Invalid feature specification.",
        ),
    ):
        refused = traindeck("run", "--on", "lab", *options, "--", "true", code=code)
        assert refused.stderr == f"traindeck: {said}\n"
    refused = traindeck("adopt", "--on", "lab", "4711", code=2)
    assert refused.stderr == "traindeck: lab cannot adopt processes.\n"
    assert json.loads(traindeck("ls", "--json").stdout) == []


def test_a_slurm_that_was_never_tried_is_used_and_said_to_be(
    traindeck: Traindeck, tmp_path: Path
) -> None:
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    more = {"PATH": f"{scontrol.parent}:{os.environ['PATH']}"}
    real = need("scontrol", PACKAGES)
    for version, age in (("19.05.8", "older"), ("27.11.0", "newer")):
        scontrol.write_text(f'#!/bin/sh\n{real} "$@" | sed "s/22[.]05[.][0-9]*/{version}/"\n')
        scontrol.chmod(0o755)
        said = (
            f"Slurm {version} is {age} than what Traindeck was tried on (22.05 to 26.05): what it "
            "prints in another way is left out"
        )
        checked = traindeck("backends", "check", "lab", code=1, more=more).stdout
        assert f"!!  lab: {said}\n" in checked
        assert "ok  lab: partition gpu, the default: 8 of 8 h100 free" in checked
    words = ("run", "--on", "lab", "--follow", "-q", "--", "echo", "here")
    assert traindeck(*words, more=more).stdout.endswith("here\n")


def test_jobs_that_were_submitted_by_hand_are_listed_read_and_stopped(
    traindeck: Traindeck, slurm: Cluster
) -> None:
    number = slurm.sbatch("echo hello; exec sleep 100", "--job-name=by hand")
    slurm.reaches(number, "RUNNING")
    (job,) = json.loads(traindeck("ls", "--json").stdout)
    assert (job["id"], job["name"], job["foreign"]) == (f"lab:{number}", "by hand", True)
    until(lambda: traindeck("logs", job["id"]).stdout == "hello\n", "its log")
    shown = traindeck("show", job["id"])
    assert "submitted without Traindeck" in shown.stdout and shown.stderr == ""
    for verb in ("rm", "retry"):
        assert "was not started by Traindeck" in traindeck(verb, job["id"], code=2).stderr
    assert "--yes" in traindeck("stop", job["id"], code=2).stderr
    traindeck("stop", "--yes", job["id"])
    slurm.reaches(number, "CANCELLED")
    (job,) = json.loads(traindeck("ls", "--json").stdout)
    assert (job["state"], job["reason"]) == ("cancelled", "cancelled in Slurm")


def test_a_job_is_known_by_its_number_as_soon_as_it_was_submitted(
    traindeck: Traindeck, slurm: Cluster
) -> None:
    """However lately somebody has looked for such jobs."""
    traindeck("ls")
    number = slurm.sbatch("exec sleep 100", "--job-name=by hand")
    words = ("run", "--on", "lab", "--time", "5m", "-q", "--after", f"lab:{number}", "--", "true")
    run = traindeck(*words).stdout.strip()
    until(
        lambda: (
            json.loads(traindeck("show", run, "--json").stdout)["reason"]
            == f"waits for job {number}"
        ),
        "what it waits for",
    )
    other = slurm.sbatch("exec sleep 100", "--job-name=another")
    traindeck("stop", "--yes", f"lab:{other}")
    slurm.reaches(other, "CANCELLED")
    said = traindeck("show", "lab:99999", code=2).stderr
    assert "lab has no job 99999 of yours that waits or runs." in said
    job = json.loads(traindeck("show", run, "--json").stdout)["native_id"]
    assert "is the run" in traindeck("logs", f"lab:{job}", code=2).stderr


def test_a_job_that_was_submitted_by_hand_is_read_through_a_login_node(
    traindeck: Traindeck, slurm: Cluster, tmp_path: Path
) -> None:
    """Nothing of it is mirrored: it has no run. Without its place there is only what is listed."""
    with Sshd(tmp_path / "sshd", Box(env={"SLURM_CONF": slurm.env["SLURM_CONF"]})) as sshd:
        words = ("--via", "box0", "--option", f"ssh_config={sshd.config}")
        traindeck("backends", "add", "slurm", "far", *words)
        number = slurm.sbatch("echo hello; exec sleep 100", "--job-name=by hand")
        slurm.reaches(number, "RUNNING")
        job = f"far:{number}"
        until(lambda: job in traindeck("ls", "-q").stdout.split(), "it to be listed")
        until(lambda: traindeck("logs", job).stdout == "hello\n", "its log")
        shown = traindeck("show", job)
        assert "submitted without Traindeck" in shown.stdout and "hello" in shown.stdout
        assert "it has no run directory" in traindeck("pull", job, code=1).stderr
        sshd[0].stop()
        assert "refuses the connection" in traindeck("logs", job, code=1).stderr
        assert "by hand" in traindeck("show", job).stdout
    slurm.run("scancel", number)


def test_many_who_wait_ask_the_cluster_once_between_them(
    slurm: Cluster, traindeck: Traindeck, tmp_path: Path
) -> None:
    """By the cluster's own count of who asked it for jobs."""
    jobs = [slurm.sbatch("exec sleep 1000", "--hold") for _ in range(5)]
    traindeck("ls")
    index = Index.open(tmp_path / "STATE" / "traindeck" / "index.db")
    runs = [f"lab:{job}" for job in jobs]

    def looked() -> float:
        return min(at for at, _ in index.observed("lab").values())

    def asked() -> int:
        counts = re.findall(r"REQUEST_JOB\w*INFO\w*\s+\(\s*\d+\)\s+count:(\d+)", said())
        return sum(map(int, counts))

    def said() -> str:
        return slurm.run("sdiag").stdout

    waits = [traindeck.start("wait", run) for run in runs]
    until(lambda: set(index.wanted()) == set(runs), "all to wait")
    looks = []
    before = 0
    for _ in range(2):  # the first may still be of those who began
        at = looked()
        until(lambda at=at: looked() > at, "the next look that tells of all")
        before = before or asked()
        looks.append(looked())
    assert asked() - before <= len(looks), "one look is enough for all"
    for job in jobs:
        slurm.run("scancel", job)
    assert {wait.wait(60) for wait in waits} == {130}
    index.close()
