"""Job arrays as a user of the command line sees them."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.services import need
from tests.services.slurm import PACKAGES, Cluster
from tests.slurm.test_console import Traindeck, slurm, traindeck

from traindeck.console.present.plan_view import plan_lines
from traindeck.console.runs.drafting import Draft, check, draft_recipe, ground
from traindeck.console.runs.launching import launch_array
from traindeck.console.runs.workspace import open_workspace

__all__ = ["slurm", "traindeck"]

WAITS = "waits for other tasks of its array: so many may run at once"

KILLED = """\
#!/bin/sh
# sbatch, whose caller and whose caller's caller are killed before they hear of it
{sbatch} "$@" > {folder}/said 2>&1
read -r pid name state caller rest < /proc/$PPID/stat
kill -9 $caller $PPID
"""


def test_an_array_is_runs_that_end_each_by_itself(traindeck: Traindeck) -> None:
    script = 'echo "task $TRAINDECK_ARRAY_INDEX"; exit $TRAINDECK_ARRAY_INDEX'
    words = ("run", "--on", "lab", "--array", "0-2%2", "--name", "sweep")
    runs = traindeck(*words, "-q", "--", "sh", "-c", script).stdout.split()
    assert [run[8:] for run in runs] == ["0000", "0001", "0002"]
    assert len({run[:8] for run in runs}) == 1
    traindeck("wait", *runs, code=1)
    listed = json.loads(traindeck("ls", "name:sweep-*", "--json").stdout)
    ends = {run["name"]: (run["state"], run["exit_code"]) for run in listed}
    assert ends["sweep-0"] == ("succeeded", 0)
    assert (ends["sweep-1"], ends["sweep-2"]) == (("failed", 1), ("failed", 2))
    traindeck("retry", "sweep-1", "--follow", code=1)
    assert "task 1 of 0-2%2" in traindeck("show", "sweep-1").stdout
    assert "\narray  " not in traindeck("run", "--like", "sweep-1", "--dry-run").stdout


def test_an_array_is_planned_as_a_whole_and_refused_where_there_are_none(
    traindeck: Traindeck,
) -> None:
    planned = traindeck("run", "--on", "lab", "--array", "3,5%1", "--dry-run", "--", "true")
    assert "array     task 3 of 3,5%1\n" in planned.stdout and "--array=3,5%1" in planned.stdout
    assert "of 2 plans this is the first" in planned.stderr
    refused = traindeck("run", "--array", "0-3", "--", "true", code=2)
    assert refused.stderr == (
        "traindeck: --array: local has no job arrays. Name a Slurm cluster with --on, or start the "
        "runs one by one.\n"
    )
    refused = traindeck("run", "--on", "lab", "--array", "0-x", "--", "true", code=2)
    assert "--array 0-x: '0-x' is neither an index nor a range." in refused.stderr


def test_a_console_killed_between_sbatch_and_the_record_loses_and_doubles_nothing(
    traindeck: Traindeck, slurm: Cluster, tmp_path: Path
) -> None:
    fatal = tmp_path / "bin/sbatch"
    fatal.parent.mkdir()
    fatal.write_text(KILLED.format(sbatch=need("sbatch", PACKAGES), folder=tmp_path))
    fatal.chmod(0o755)
    path = {"PATH": f"{fatal.parent}:{os.environ['PATH']}"}
    words = ("run", "--on", "lab", "--array", "0-3%2", "--name", "kept")
    traindeck(*words, "--", "sleep", "100", code=-9, more=path)
    array = (tmp_path / "said").read_text().strip()
    assert len(json.loads(traindeck("ls", "--json").stdout)) == 4  # what was not known is settled
    traindeck("stop", "kept-3")
    listed = [{"state": "new"}]
    while any(run["state"] == "new" for run in listed):  # as they were noted before they were sent
        listed = json.loads(traindeck("ls", "--json").stdout)
    assert sorted((run["name"], run["native_id"], run["state"]) for run in listed) == [
        ("kept-0", f"{array}_0", "running"),
        ("kept-1", f"{array}_1", "running"),
        ("kept-2", f"{array}_2", "queued"),
        ("kept-3", f"{array}_3", "cancelled"),
    ]
    assert {run["reason"] for run in listed if run["state"] != "cancelled"} == {None, WAITS}
    jobs = slurm.run("squeue", "-r", "-h", "-t", "all", "-o", "%F").stdout.split()
    assert jobs.count(array) == 3


def test_the_tasks_of_a_recipe_differ_in_what_names_their_index(
    traindeck: Traindeck, tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "rows.jsonl").write_text('{"text": "x"}\n')
    words = ("finetune", "sft", "--on", "lab", "--set", "model=base", "--set", "data=rows.jsonl")
    array = ("--array", "4-5", "--name", "seeds", "--dry-run", "--json")
    made = traindeck(*words, *array, "--python", sys.executable, "--set", "seed={index}")
    plans = json.loads(made.stdout)
    assert [plan["spec"]["name"] for plan in plans] == ["seeds-4", "seeds-5"]
    assert [plan["spec"]["recipe"]["values"]["seed"] for plan in plans] == [4, 5]
    assert len({plan["files"]["plan/recipe.json"]["digest"] for plan in plans}) == 2
    assert plans[0]["body"] == plans[1]["body"]
    refused = traindeck(*words, "--set", "seed={index}", code=2)
    assert "there is no --array" in refused.stderr


async def test_the_launch_form_makes_the_array_that_the_command_line_would(
    traindeck: Traindeck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in traindeck.env.items():
        monkeypatch.setenv(name, value)  # what is asked of Slurm is asked by a child of ours
    fields = {"command": "true", "name": "sweep", "array": "3,5%1", "cwd": str(tmp_path)}
    async with open_workspace(traindeck.env, stores=True) as ws:
        assert ground(ws).schedulers == {"lab"}
        draft = Draft(on="lab", fields=fields, code_from=str(tmp_path))
        drafted = await check(ws, draft)
        assert [made.spec.name for made in drafted.array] == ["sweep-3", "sweep-5"]
        assert drafted.plan == drafted.array[0] and drafted.name == "sweep"
        words = ("run", "--on", "lab", "--array", "3,5%1", "--name", "sweep", "--dry-run")
        planned = dict(plan_lines(drafted.plan))
        lines = traindeck(*words, "--", "true").stdout.splitlines()
        assert (
            f"array     {planned['array']}" in lines and f"command   {planned['command']}" in lines
        )
        wrong = await check(ws, replace(draft, fields={**fields, "array": "0-x"}))
        words = "array 0-x: '0-x' is neither an index nor a range."
        assert wrong.plan is None and wrong.problems["array"].startswith(words)
        # Where there are none it is no field, and what stood there has no effect.
        alone = await check(ws, replace(draft, on="local"))
        assert alone.plan is not None and alone.plan.spec.array is None and not alone.array
        runs = await launch_array(ws, drafted.array)
        assert [run.name for run in runs] == ["sweep-3", "sweep-5"]
    traindeck("wait", *(run.id for run in runs))
    listed = json.loads(traindeck("ls", "name:sweep-*", "--json").stdout)
    assert {(run["name"], run["state"]) for run in listed} == {
        ("sweep-3", "succeeded"),
        ("sweep-5", "succeeded"),
    }


async def test_in_the_launch_form_too_a_parameter_may_name_the_index(
    traindeck: Traindeck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in traindeck.env.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "base").mkdir()
    (tmp_path / "rows.jsonl").write_text('{"text": "x"}\n')
    values = {"model": str(tmp_path / "base"), "data": str(tmp_path / "rows.jsonl")}
    fields = {"array": "4-5", "python": sys.executable, "cwd": str(tmp_path)}
    draft = Draft(recipe="sft", on="lab", fields=fields, values={**values, "seed": "{index}"})
    async with open_workspace(traindeck.env) as ws:
        recipe = await draft_recipe(ws, draft)
        drafted = await check(ws, draft, recipe)
        assert not drafted.problems, drafted.problems
        found = [(made.spec.recipe or {})["values"]["seed"] for made in drafted.array]
        assert found == [4, 5]
        alike = await check(ws, replace(draft, values=values), recipe)
        assert len(alike.array) == 2
        assert "all tasks have the same parameters: {index} in one of them" in alike.notes[-1]
        none = await check(ws, replace(draft, fields={**fields, "array": ""}), recipe)
        assert none.problems["seed"] == "{index} stands for the index of a task: there is no array."
