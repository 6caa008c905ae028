"""`--like`: a new run from what another was started with, as `N` on the screen."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.fake import FakeBackend

from traindeck.backends.base import (
    Facts,
    JobRef,
    Option,
    Plan,
    RunSpec,
    decode,
    encode,
    plan_digest,
)
from traindeck.console.cli import app, session
from traindeck.console.cli.finetune import finetune_command
from traindeck.console.cli.launch import run_command
from traindeck.console.runs.workspace import Workspace, open_workspace
from traindeck.console.store.describe import describe
from traindeck.console.store.places import Places
from traindeck.console.tui.live import LiveServices

from .conftest import Cli

BOTH: dict[str, tuple[str, ...]] = {
    "on": ("--on", "hpc"), "name": ("--name", "first"), "gpus": ("--gpus", "3"),
    "env": ("--env", "A=x 'y'", "--env", "B=~"), "secret": ("--secret", "TOKEN"),
    "tag": ("--tag", "sft", "--tag", "why=a b"), "time": ("--time", "90m"),
    "grace": ("--grace", "100000500ms"), "retries": ("--retries", "4"),
    "environment": ("--environment", "/opt/one/env"),
}  # fmt: skip
RUN = {
    **BOTH,
    "nodes": ("--nodes", "2"), "option": ("--option", "partition=gpu", "--option", "share=0.5"),
    "cwd": ("--cwd", "one"), "code": ("--code", "snapshot"), "pty": ("--pty",),
    "keep_background": ("--keep-background",), "on_exit": ("--on-exit", "say 'it is' over"),
    "on_stall": ("--on-stall", "1500ms:say it"),
    "command": ("--", "python", "a b.py", "$HOME", "~", "'", "--like"),
}  # fmt: skip
FINETUNE = {
    "recipe": ("sft",), **BOTH, "python": ("--python", "/opt/one/bin/python"),
    "set_": ("--set", "model=./m", "--set", "data=d.jsonl", "--set", "lr=0.003"),
}  # fmt: skip
OTHER: dict[str, tuple[str, ...]] = {
    "on": ("--on", "hpc2"), "name": ("--name", "second"), "gpus": ("--gpus", "0"),
    "nodes": ("--nodes", "1"), "option": ("--option", "partition=cpu"), "env": ("--env", "A=2"),
    "secret": ("--secret", "KEY"), "tag": ("--tag", "why="), "time": ("--time", "none"),
    "grace": ("--grace", "10s"), "retries": ("--retries", "0"), "cwd": ("--cwd", "two"),
    "code": ("--code", "here"), "pty": ("--no-pty",), "keep_background": ("--no-keep-background",),
    "on_exit": ("--on-exit", "other"), "on_stall": ("--on-stall", "2h:other"),
    "command": ("--", "bash", "-c", "x | y"), "python": ("--python", "/opt/two/bin/python"),
    "set_": ("--set", "lr=0.1", "--set", "epochs=2"), "recipe": ("sft",),
    "environment": ("--environment", "conda:two"),
}  # fmt: skip
ADDED = {
    "option": ("--option", "partition=cpu", "--option", "share=0.5"),
    "env": ("--env", "A=2", "--env", "B=~"),
    "secret": ("--secret", "TOKEN", "--secret", "KEY"),
    "tag": ("--tag", "sft", "--tag", "why="),
    "set_": ("--set", "model=./m", "--set", "data=d.jsonl", "--set", "lr=0.1", "--set", "epochs=2"),
}
"""What OTHER comes to where it takes the place of one of several."""
NOT_OF_A_RUN = {"like", "array", "after", "after_any", "dry_run", "follow", "json", "quiet"}
NOT_BESIDE = {"preset", "parameters"}


class Cluster(FakeBackend):
    """Takes everything, and has of each run only what it was made from."""

    options_schema: Mapping[str, Option] = {
        "partition": Option(choices=("cpu", "gpu")), "share": Option(type="float")
    }  # fmt: skip
    specs: dict[str, RunSpec]

    def plan(self, spec: RunSpec, facts: Facts) -> Plan:
        made = Plan(backend=self.name, spec=spec, argv=spec.argv, env=dict(spec.env))
        return replace(made, digest=plan_digest(made))

    async def read_file(self, ref: JobRef, path: str, offset: int, size: int) -> bytes:
        assert path == "run.json"
        return json.dumps({"spec": encode(self.specs[ref.run_id])}).encode()


class World:
    """The commands in this process, with a place that takes every option."""

    def __init__(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = tmp_path
        self.capsys = capsys
        self.specs: dict[str, RunSpec] = {}

    def open(self, **_: Any) -> Workspace:
        at = self.path
        places = Places(config=at, state=at, index=at / "index.db")
        ws = Workspace(places=places, environ=dict(os.environ))
        for name in ("hpc", "hpc2"):
            cluster = Cluster(name)
            cluster.specs = self.specs
            ws.use_backend(cluster)
        return ws

    def plan(self, *args: str) -> Plan:
        code = app.run((args[0], "--dry-run", "--json", *args[1:]))
        out, err = self.capsys.readouterr()
        assert code == 0, err
        return decode(Plan, json.loads(out))

    def started(self, *args: str) -> str:
        """As if it had been started. Returns its id."""
        made = self.plan(*args)
        self.specs[made.spec.run_id] = made.spec
        self.open().index.put(describe(made.spec, made.backend))
        return made.spec.run_id


@pytest.fixture
def world(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> World:
    made = World(tmp_path / "state", capsys)
    for folder in ("one", "two", "state"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", "t")
    monkeypatch.setenv("KEY", "k")
    monkeypatch.setattr(session, "open_workspace", made.open)
    return made


def same(plan: Plan) -> Any:
    """A plan and its digest, whatever its run is called and when it was made."""
    text = json.dumps(encode(plan)).replace(plan.spec.run_id, "ID")
    made = decode(Plan, json.loads(text))
    made = replace(made, spec=replace(made.spec, name="", created=0.0))
    return encode(replace(made, digest=plan_digest(made)))


def alike(plan: Plan) -> Any:
    """`same`, wherever a parameter's value comes from and whoever has the name already."""
    spec = plan.spec
    if spec.recipe is not None:
        files = {k: v for k, v in spec.files.items() if k != "plan/recipe.json"}
        spec = replace(spec, files=files, recipe={**spec.recipe, "sources": {}})
    warnings = tuple(text for text in plan.warnings if "only the ids tell" not in text)
    return same(replace(plan, spec=spec, warnings=warnings))


def words(
    command: str, options: Mapping[str, tuple[str, ...]], without: Collection[str] = ()
) -> Any:
    """A command line with these options; the command to run comes last."""
    found = [word for key, some in options.items() if key not in without for word in some]
    return [command, *found]


COMMANDS: list[tuple[str, Callable[..., int], dict[str, tuple[str, ...]]]] = [
    ("run", run_command, RUN),
    ("finetune", finetune_command, FINETUNE),
]


@pytest.mark.parametrize(("name", "command", "table"), COMMANDS, ids=["run", "finetune"])
def test_no_option_is_forgotten(
    name: str, command: Callable[..., int], table: dict[str, tuple[str, ...]]
) -> None:
    """A new option stands in the tables above, and so in the tests below, or says why not."""
    unknown = set(inspect.signature(command).parameters) - set(table)
    assert unknown == NOT_OF_A_RUN | (NOT_BESIDE if name == "finetune" else set())
    assert set(table) <= set(OTHER)


@pytest.mark.parametrize(("name", "command", "table"), COMMANDS, ids=["run", "finetune"])
def test_a_run_like_another_is_started_with_all_of_it_but_its_name(
    world: World, name: str, command: Callable[..., int], table: dict[str, tuple[str, ...]]
) -> None:
    run = world.started(*words(name, table))
    again = world.plan(name, "--like", run)
    assert again.spec.name != "first" and again.spec.run_id != run
    assert alike(again) == alike(world.plan(*words(name, table)))


@pytest.mark.parametrize(
    ("name", "table", "key"),
    [(name, table, key) for name, _, table in COMMANDS for key in table],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_given_takes_the_place_of_what_the_run_had(
    world: World, name: str, table: dict[str, tuple[str, ...]], key: str
) -> None:
    run = world.started(*words(name, table))
    # Another place has other options.
    dropped = {"option"} if key == "on" else set()
    wanted = world.plan(*words(name, {**table, key: ADDED.get(key, OTHER[key])}, dropped))
    assert alike(world.plan(name, "--like", run, *OTHER[key])) == alike(wanted)


def test_a_variable_given_openly_is_no_secret_any_more_and_the_other_way_round(
    world: World,
) -> None:
    run = world.started("run", "--on=hpc", "--env=KEY=v", "--secret=TOKEN", "--", "true")
    spec = world.plan("run", "--like", run, "--env=TOKEN=w", "--secret=KEY").spec
    assert spec.secrets == ("KEY",)
    assert spec.env["TOKEN"] == "w" and "KEY" not in spec.env


def test_what_the_run_waited_for_is_over(world: World) -> None:
    first = world.started("run", "--on=hpc", "--", "true")
    run = world.started("run", "--on=hpc", "--after", first, "--", "true")
    spec = world.plan("run", "--like", run).spec
    assert (spec.after, spec.code.mode) == ((), "here")
    spec = world.plan("run", "--like", run, "--after-any", first).spec
    assert (spec.after, spec.after_any, spec.code.mode) == ((first,), True, "snapshot")


def test_what_another_started_is_no_model(world: World) -> None:
    run = world.started("run", "--on=hpc", "--", "true")
    index = world.open().index
    record = index.get(run)
    assert record is not None
    index.put(replace(record, foreign=True))
    assert app.run(("run", "--dry-run", "--like", run)) == 2
    said = world.capsys.readouterr().err
    assert said.endswith("was not started by Traindeck, so how is not known.\n")


# --------------------------------------------------------------------------- the screen beside it


@pytest.fixture
async def services(cli: Cli) -> AsyncIterator[LiveServices]:
    made = LiveServices(open_workspace)
    yield made
    await made.aclose()


async def plan_of_n(services: LiveServices, run: str) -> Plan:
    """What Launch shows, and would send, after `N` on a run."""
    drafted = await services.check(await services.like(run))
    assert drafted.plan is not None, drafted.problems
    return drafted.plan


@pytest.mark.parametrize("code", ["here", "snapshot"])
async def test_run_like_sends_what_the_screen_would(
    cli: Cli, services: LiveServices, code: str
) -> None:
    (cli.cwd / "train.py").write_text("print(1)")
    options = (
        *("--env", "A=x y", "--tag", "sft", "--tag", "lr=1", "--time", "90m", "--retries", "2"),
        *("--grace", "1500ms", "--on-exit", "true done", "--on-stall", "10m:true 'a b'"),
        *("--keep-background", "--code", code),
    )
    run = cli.run(sys.executable, "train.py", "$A | *", options=options)
    cli("tag", run, "later")
    made = decode(Plan, cli.json("run", "--like", run, "--dry-run", "--json"))
    assert same(made) == same(await plan_of_n(services, run))
    assert made.spec.tags == {"sft": "", "lr": "1"}
    changed = ("--like", run, "--tag", "lr=2", "-q", "--", "true")
    shown = cli.json("show", "--json", cli.ok("run", *changed).strip())
    assert shown["tags"] == {"sft": "", "lr": "2"} and shown["argv"] == ["true"]


async def test_finetune_like_sends_what_the_screen_would(cli: Cli, services: LiveServices) -> None:
    (cli.cwd / "d.jsonl").write_text("{}\n")
    given = ("--set=model=.", "--set=data=d.jsonl", "--set=lr=0.003", "--tag=a")
    run = cli.ok("finetune", "sft", "-q", "--python", "/bin/true", *given).strip()
    cli.cwd = cli.home  # what the values name lies where the run was started
    made = decode(Plan, cli.json("finetune", "--like", run, "--dry-run", "--json"))
    assert same(made) == same(await plan_of_n(services, run))
    assert made.spec.recipe is not None and made.spec.recipe["values"]["lr"] == 0.003
    done = cli("run", "--like", run)
    assert done.returncode == 2 and f"traindeck finetune --like {run}\n" in done.stderr
    assert done.stderr.count("\n") == 1
    done = cli("finetune", "--like", run, "--set", "lr=fast")
    assert done.returncode == 2 and "lr: expected a number" in done.stderr


def test_what_cannot_be_a_model_is_refused_in_a_line(cli: Cli) -> None:
    run = cli.run("true", options=("--name", "a run"))
    gone = cli.cwd / "gone"
    gone.mkdir()
    away = cli.run("true", options=("--cwd", str(gone)))
    gone.rmdir()
    other = subprocess.Popen(["sleep", "60"])
    adopted = cli.ok("adopt", "-q", str(other.pid)).strip()
    for args, says in (
        (("run", "--like", "nobody"), "There is no run 'nobody'."),
        (("finetune", "--like", "a run"), "not from a recipe. Start one like it with: "
         "traindeck run --like 'a run'"),
        (("run", "--like", away), f"folder of {away}: {gone} is no folder."),
        (("run", "--like", adopted), "was adopted, and how it was started is not known."),
        (("finetune", "--like", run, "--preset", "x"), "--like and --preset exclude each other."),
        (("finetune", "--like", run, "--parameters"), "--like and --parameters exclude each"),
    ):  # fmt: skip
        done = cli(*args)
        assert done.returncode == 2, (args, done.stderr)
        assert says in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert cli.json("run", "--like", away, "--cwd", ".", "--dry-run", "--json")
    other.kill()
    other.wait()
