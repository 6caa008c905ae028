"""The JSON that scripts rely on: fields are added, never renamed, dropped or changed in kind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from traindeck.console.cli.app import COMMANDS, app

from .conftest import Cli

GOLDEN = Path(__file__).parent / "golden"


def kind(value: Any) -> Any:
    """The shape of a value: what a script can rely on."""
    if isinstance(value, dict):
        return {key: kind(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [kind(value[0])] if value else []
    return {str: "text", bool: "bool", int: "number", float: "number", type(None): "null"}[
        type(value)
    ]


def holds(expected: Any, found: Any, where: str = "") -> list[str]:
    """What of the golden shape is missing. `text|null` allows either."""
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            return [f"{where} is no object"]
        problems = [f"{where}.{key} is missing" for key in expected if key not in found]
        for key in expected:
            if key in found:
                problems += holds(expected[key], found[key], f"{where}.{key}")
        return problems
    if isinstance(expected, list):
        return [] if isinstance(found, list) else [f"{where} is no list"]
    return [] if found in str(expected).split("|") else [f"{where} is {found}, not {expected}"]


def golden(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


def test_show_and_ls_print_the_promised_fields(cli: Cli) -> None:
    program = "for i in range(1, 6): print(f'step {i}/5: loss {1 / i}')"
    run = cli.run("python3", "-c", program, options=("--name", "j", "--tag", "a=b"))
    cli("wait", run)
    shown = cli.json("show", "--json", run)
    assert holds(golden("run.json"), kind(shown)) == []
    (tried,) = shown.pop("attempts")  # what only the run directory knows, a list does not say
    assert holds(golden("attempt.json"), kind(tried)) == []
    at = shown["progress"].pop("at")
    assert shown["started"] <= at <= shown["observed_at"]
    assert shown["progress"] == {
        "step": 5,
        "total": 5,
        "fraction": 1.0,
        "eta_s": None,
        "partial": False,
    }
    assert shown["metrics"]["loss"]["last"] == 0.2
    assert shown["metrics"]["loss"]["source"] == "stdout"
    assert shown.pop("log_read_bytes") == shown["log_bytes"] > 0
    (listed,) = cli.json("ls", "--json")
    shown["progress"]["at"] = at
    assert listed == {**shown, "observed_at": listed["observed_at"]}


def test_absent_is_null_never_zero(cli: Cli) -> None:
    run = cli.run("sleep", "30")
    shown = cli.json("show", "--json", run)
    assert shown["exit_code"] is None
    assert shown["signal"] is None
    assert shown["ended"] is None
    assert shown["progress"]["step"] is None
    assert shown["started"].endswith("Z")


def test_what_was_never_executed_has_no_log_that_is_partly_read(cli: Cli) -> None:
    run = cli("run", "-q", "--", "./no-such-program").stdout.strip()
    cli("wait", run)
    assert cli.json("show", "--json", run)["log_read_bytes"] is None
    assert "of the log was read" not in cli("show", run).stderr


def test_wait_metrics_backends_doctor_and_plan_print_json(cli: Cli) -> None:
    run = cli.run("python3", "-c", "print('step 1 loss 2.0')")
    waited = json.loads(cli("wait", "--json", run).stdout)
    assert holds(golden("run.json"), kind(waited[0])) == []
    points = cli.json("metrics", "--json", run)
    assert holds(golden("series.json"), kind(points["loss"])) == []
    assert points["loss"]["steps"] == [1]
    assert points["loss"]["values"] == [2.0]
    (moment,) = points["loss"]["times"]
    assert moment is None or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert holds(golden("plan.json"), kind(cli.json("run", "--dry-run", "--json", "--", "x"))) == []
    (backend,) = cli.json("backends", "--json")
    assert holds(golden("backend.json"), kind(backend)) == []
    (health,) = json.loads(cli("backends", "check", "--json").stdout)
    assert holds(golden("health.json"), kind(health)) == []
    assert (backend["name"], health["reach"]) == ("local", "ok")
    for check in json.loads(cli("doctor", "--json").stdout):
        assert holds(golden("check.json"), kind(check)) == []
    for parameter in cli.json("finetune", "sft", "--parameters", "--json"):
        assert holds(golden("parameter.json"), kind(parameter)) == []


def test_every_command_answers_in_json_and_in_ids() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    raw = {"logs", "shell"}  # what they print is the run's, or a program's
    commands = {name: group.get_command(None, name) for name in COMMANDS if name not in raw}
    commands |= commands["backends"].commands
    for name, command in commands.items():
        options = {text for param in command.params for text in param.opts}
        assert {"--json", "--quiet", "-q"} <= options, name


def test_what_changes_runs_answers_with_them(cli: Cli) -> None:
    run = cli.run("sleep", "60", options=("--name", "first"))
    for args, field, value in (
        (("rename", run, "second"), "name", "second"),
        (("tag", run, "a=b"), "tags", {"a": "b"}),
        (("tag", run), "tags", {"a": "b"}),
        (("note", run, "why"), "note", "why"),
        (("note", run), "note", "why"),
    ):
        assert cli.ok(*args, "-q").split() == [run]
        changed = cli.json(*args, "--json")
        assert holds(golden("run.json"), kind(changed)) == []
        assert changed[field] == value
    assert cli.ok("show", "-q", "second").split() == [run]
    (stopped,) = cli.json("stop", "--json", "--grace", "1s", run)
    assert holds(golden("run.json"), kind(stopped)) == []
    assert stopped["state"] == "cancelled"
    assert holds(golden("reindex.json"), kind(cli.json("reindex", "--json"))) == []
    assert cli.ok("reindex", "-q").split() == [run]
    (removed,) = cli.json("rm", "--json", "--yes", run)
    assert holds(golden("removed.json"), kind(removed)) == []
    assert (removed["id"], removed["error"]) == (run, None)
    assert cli.json("rm", "--json", "--yes", "--older-than", "1d") == []


def test_names_only_of_what_has_no_id(cli: Cli) -> None:
    run = cli.run("python3", "-c", "print('step 1 loss 2.0')")
    cli("wait", run)
    assert "loss" in cli.ok("metrics", "-q", run).split()
    assert cli.ok("metrics", "-q", run, "loss").split() == ["loss"]
    assert cli.ok("backends", "-q").split() == ["local"]
    assert cli.ok("backends", "check", "-q") == ""
    mixed = cli("metrics", "-q", "--csv", run)
    assert mixed.returncode == 2 and "--csv and --quiet exclude each other" in mixed.stderr


def test_a_value_that_is_no_number_is_told_from_one_that_is_absent(cli: Cli) -> None:
    program = (
        "import json, os\n"
        "out = open(os.environ['TRAINDECK_METRICS'], 'a')\n"
        "print(json.dumps({'__event__': 'checkpoint', 'step': 1}), file=out)\n"
        "rows = [(1, 2.0), (2, float('inf')), (3, float('-inf')), (4, float('nan'))]\n"
        "for step, loss in rows:\n"
        "    print(json.dumps({'step': step, 'loss': loss, 'up': float('inf')}), file=out)\n"
    )
    run = cli.run("python3", "-c", program)
    cli("wait", run)

    def strict(*args: str) -> Any:
        return json.loads(cli.ok(*args), parse_constant=lambda word: f"not JSON: {word}")

    points = strict("metrics", "--json", run)["loss"]
    assert points["values"] == [2.0, "Infinity", "-Infinity", "NaN"]
    shown = strict("show", "--json", run)["metrics"]
    assert (shown["loss"]["last"], shown["up"]["last"]) == ("NaN", "Infinity")
    assert shown["up"]["min"] is None
    assert not [name for name in shown if name.startswith("__")], "marks are no metrics"
    assert strict("ls", "--json")[0]["metrics"] == shown
