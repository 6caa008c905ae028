"""The JSON that scripts rely on: fields are added, never renamed, dropped or changed in kind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

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
    assert shown["progress"] == {"step": 5, "total": 5, "fraction": 1.0, "eta_s": None}
    assert shown["metrics"]["loss"]["last"] == 0.2
    assert shown["metrics"]["loss"]["source"] == "stdout"
    assert shown.pop("log_read_bytes") == shown["log_bytes"] > 0
    (listed,) = cli.json("ls", "--json")
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
    assert points["loss"]["steps"] == [1]
    assert points["loss"]["values"] == [2.0]
    (moment,) = points["loss"]["times"]
    assert moment is None or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert holds(golden("plan.json"), kind(cli.json("run", "--dry-run", "--json", "--", "x"))) == []
    assert cli.json("backends", "--json")[0]["name"] == "local"
    checks = json.loads(cli("backends", "check", "--json").stdout)
    assert checks[0]["reach"] == "ok"
    assert {"topic", "ok", "text", "fix"} <= set(json.loads(cli("doctor", "--json").stdout)[0])
