"""Places on the command line: found, added, and taken out of the settings again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Cli
from .test_completion import completed

CONFIG = """\
Host gpu1 gpu2
    HostName 192.0.2.1
Host *.example.org !bad
    User me
"""


@pytest.fixture(autouse=True)
def config(home: Path) -> Path:
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    # ssh takes a name without a folder from the account's own home, whatever $HOME says.
    (folder / "config").write_text(f"{CONFIG}Include {folder}/more\n")
    (folder / "more").write_text("Host login1\n")
    return folder / "config"


def settings(cli: Cli) -> Path:
    """The file of this home, which is there once something was written."""
    (found,) = cli.home.rglob("settings.yaml")
    return found


def test_what_ssh_knows_is_listed_until_it_is_a_backend(cli: Cli) -> None:
    assert cli.ok("backends", "list", "--found", "-q").split() == ["gpu1", "gpu2", "login1"]
    assert cli.ok("backends", "list", "--found").splitlines()[0].split() == ["gpu1", "ssh"]
    cli.ok("backends", "add", "ssh", "gpu1")
    cli.ok("backends", "add", "ssh", "big", "--host", "gpu2")
    assert cli.json("backends", "list", "--found", "--json") == [{"kind": "ssh", "host": "login1"}]
    cli.ok("backends", "add", "ssh", "login1")
    done = cli("backends", "list", "--found")
    assert (done.returncode, done.stdout) == (0, "") and "nothing is found" in done.stderr


def test_the_shell_completes_kinds_and_machines_of_a_backend_to_be_added(
    cli: Cli, home: Path
) -> None:
    assert "ssh" in completed(cli, "traindeck", "backends", "add", "s")
    assert completed(cli, "traindeck", "backends", "add", "ssh", "g") == ["gpu1", "gpu2"]
    assert completed(cli, "traindeck", "backends", "add", "ssh", "x", "--host", "l") == ["login1"]
    assert completed(cli, "traindeck", "backends", "add", "slurm", "x", "--via", "l") == ["login1"]
    assert completed(cli, "traindeck", "backends", "add", "process", "") == []
    other = home / "other"
    other.write_text("Host elsewhere\n")
    words = ("backends", "add", "--ssh-config", str(other), "ssh", "")
    assert completed(cli, "traindeck", *words) == ["elsewhere"]
    cli.ok("backends", "add", "ssh", "gpu1")
    assert completed(cli, "traindeck", "backends", "remove", "g") == ["gpu1"]


def test_a_backend_is_removed_from_the_settings_and_comments_stay(cli: Cli) -> None:
    cli.ok("backends", "add", "ssh", "gpu1")
    cli.ok("backends", "add", "ssh", "a.b", "--host", "gpu2", "--root", "/scratch/me")
    path = settings(cli)
    path.write_text(
        path.read_text().replace("  gpu1:", "  # mine\n  gpu1:") + "grace: 30s  # long\n"
    )
    assert cli.ok("backends", "remove", "a.b") == "a.b\n"
    assert cli.ok("backends", "-q").split() == ["local", "gpu1"]
    assert "# mine" in path.read_text() and "# long" in path.read_text()
    assert cli.json("backends", "remove", "gpu1", "--json") == {"name": "gpu1"}
    assert cli.ok("backends", "-q").split() == ["local"]
    assert "grace: 30s  # long" in path.read_text()
    for name, said in (("gpu1", "There is no backend 'gpu1'"), ("local", "always there")):
        done = cli("backends", "remove", name)
        assert done.returncode == 2 and said in done.stderr


def test_a_backend_whose_runs_are_not_over_is_removed_only_when_that_is_insisted_on(
    cli: Cli,
) -> None:
    root = cli.home / "lab"
    cli.ok("backends", "add", "process", "lab", "--root", str(root))
    run = cli.run("sleep", "60", options=("--on", "lab", "--name", "long"))
    before = settings(cli).read_text()
    done = cli("backends", "remove", "lab")
    assert done.returncode == 2 and "not over" in done.stderr and "long" in done.stderr
    assert settings(cli).read_text() == before
    try:
        cli.ok("backends", "remove", "lab", "--yes")
        assert cli.ok("backends", "-q").split() == ["local"]
        assert [r["id"] for r in json.loads(cli.ok("ls", "--json"))] == [run]
        assert (root / "runs").is_dir()
    finally:
        settings(cli).write_text(before)
        cli.ok("stop", "-q", "--grace", "1s", run)


def test_a_cluster_is_added_by_its_login_node_or_here(cli: Cli) -> None:
    cli.ok("backends", "add", "slurm", "lab", "--via", "login1", "--option", "partition=gpu")
    cli.ok("backends", "add", "slurm", "here", "--local", "--root", str(cli.home / "cluster"))
    lab, here = cli.json("backends", "--json")[1:]
    assert (lab["kind"], lab["options"]) == ("slurm", {"via": "login1", "partition": "gpu"})
    assert (here["kind"], here["options"]) == ("slurm", {"root": str(cli.home / "cluster")})


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("slurm", "lab"), "--via HOST"),
        (("slurm", "lab", "--local", "--via", "login1"), "exclude each other"),
        (("ssh", "gpu1", "--local"), "--local says nothing"),
        (("ssh", "gpu1", "--via", "login1"), "via"),
        (("ssh", "gpu1", "--rest", "http://127.0.0.1:6820"), "rest"),
    ],
)
def test_a_cluster_is_somewhere_and_only_a_cluster_is(
    cli: Cli, args: tuple[str, ...], said: str
) -> None:
    done = cli("backends", "add", *args)
    assert done.returncode == 2 and said in done.stderr and done.stdout == ""
    assert "Traceback" not in done.stderr
    assert cli.ok("backends", "-q").split() == ["local"]
