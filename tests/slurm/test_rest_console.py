"""A cluster with slurmrestd as a user of the command line sees it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.services.slurm import Cluster, cluster, until

from traindeck.backends.slurm.rest_token import claims

Traindeck = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster(rest=True) as made:
        yield made


@pytest.fixture
def traindeck(slurm: Cluster, tmp_path: Path) -> Iterator[Traindeck]:
    """The command in a home of its own, with a token and without anything of Slurm's."""
    folders = {f"XDG_{name}_HOME": str(tmp_path / name) for name in ("CONFIG", "STATE", "CACHE")}
    env = {**slurm.env, "HOME": str(tmp_path), **folders, "SLURM_JWT": slurm.token()}
    del env["SLURM_CONF"]

    def run(*words: str, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "traindeck.console.cli.main", *words]
        done = subprocess.run(
            *(argv,),
            env={**env, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert env["SLURM_JWT"] not in done.stdout + done.stderr
        return done

    yield run
    slurm.run("scancel", "--user=root", check=False)


def test_a_run_is_launched_followed_and_stopped_through_slurmrestd(
    slurm: Cluster, traindeck: Traindeck, tmp_path: Path
) -> None:
    root = tmp_path / "shared"
    traindeck("backends", "add", "slurm", "lab", "--rest", slurm.rest_url, "--root", str(root))
    said = traindeck("backends", "check", "lab").stdout
    assert f"slurmrestd of Slurm 22.05.8 at {slurm.rest_url}, v0.0.38" in said
    assert "the token in SLURM_JWT holds for 10 min more, for root" in said
    planned = traindeck("run", "--on", "lab", "--dry-run", "--time", "5m", "--", "true").stdout
    assert "v0.0.38" in planned or "slurmrestd" in planned
    assert "cannot have a job warned" in planned
    done = traindeck(
        "run", "--on", "lab", "--follow", "--", "sh", "-c", "echo hello; exit 3", code=3
    )
    assert "hello" in done.stdout
    run = traindeck("run", "-q", "--on", "lab", "--", "sleep", "100").stdout.strip()
    until(lambda: json.loads(traindeck("show", run, "--json").stdout)["state"] == "running", "it")
    traindeck("stop", "-q", run)
    traindeck("wait", run, code=130)


def test_with_nothing_but_slurmrestd_it_is_said_what_works_and_what_does_not(
    slurm: Cluster, traindeck: Traindeck
) -> None:
    traindeck("backends", "add", "slurm", "lab", "--rest", slurm.rest_url)
    said = traindeck("backends", "check", "lab", code=1).stdout
    assert "!!  lab: Of `lab` there is slurmrestd alone, which takes no files" in said
    assert "backends.lab.via" in said
    refused = traindeck("run", "--on", "lab", "--", "true", code=2)
    assert "no run can be started" in refused.stderr and len(refused.stderr.splitlines()) == 1
    number = slurm.sbatch("sleep 100", "--job-name=mine")
    slurm.reaches(number, "RUNNING")
    listed = json.loads(traindeck("ls", "--json").stdout)
    assert [(one["id"], one["state"]) for one in listed] == [(f"lab:{number}", "running")]
    log = traindeck("logs", f"lab:{number}", code=1)
    assert "which has no logs" in log.stderr
    traindeck("stop", "--yes", f"lab:{number}")
    slurm.reaches(number, "CANCELLED")


def test_an_expired_token_is_one_line_that_says_so(
    slurm: Cluster, traindeck: Traindeck, tmp_path: Path
) -> None:
    root = str(tmp_path / "shared")
    traindeck("backends", "add", "slurm", "lab", "--rest", slurm.rest_url, "--root", root)
    token = slurm.token(seconds=1)
    said = traindeck("run", "--on", "lab", "--", "true", code=1, SLURM_JWT="")
    assert "SLURM_JWT is not set" in said.stderr

    end = claims(token).end
    assert end is not None
    until(lambda: time.time() > end, "the token to end")
    assert "expired" in traindeck("backends", "check", "lab", code=1, SLURM_JWT=token).stdout
    said = traindeck("run", "--on", "lab", "--", "true", code=1, SLURM_JWT=token)
    assert "The token in SLURM_JWT for `lab` expired" in said.stderr
    assert "scontrol token" in said.stderr and "Traceback" not in said.stderr


def test_what_cannot_be_is_refused_when_the_cluster_is_added(traindeck: Traindeck) -> None:
    add = ("backends", "add", "slurm", "lab")
    for words, said in (
        (("--rest", "http://slurm.example.org:6820"), "unencrypted"),
        (("--rest", "slurm.example.org"), "expected an address"),
        (("--rest", "https://x.example.org", "--local"), "exclude each other"),
        (("--rest", "https://x.example.org", "--option", "bin=/opt/slurm/bin"), "Leave one out"),
        (("--via", "login1", "--option", "token=scontrol token"), "only for a cluster with `rest`"),
        (("--rest", "https://x.example.org", "--option", "token=eyJhbGciOiJI.eyJzdW4.x"), "itself"),
    ):
        assert said in traindeck(*add, *words, code=2).stderr
