"""A later attempt is told where it may go on from, as of the moment it starts."""

from __future__ import annotations

import json
from pathlib import Path

from tests.payload.harness import Agent

SAVES = """
import json, os
run = os.environ["TRAINDECK_RUN_DIR"]
print(os.environ.get("TRAINDECK_RESUME_FROM", "from the beginning"), flush=True)
attempt = os.environ["TRAINDECK_RUN"].partition("/")[2]
path = "artifacts/mine-" + attempt
os.makedirs(run + "/" + path)
with open(os.environ["TRAINDECK_METRICS"], "a") as file:
    for name in (path, "artifacts/never-made"):
        event = {"step": 5, "time": 1.0, "__event__": "checkpoint", "path": name}
        file.write(json.dumps(event) + "\\n")
    file.write('{"torn')
raise SystemExit(1)
"""


def test_an_attempt_goes_on_from_what_the_last_one_reported(agent: Agent) -> None:
    run = agent.script(SAVES, limits={"retries": 2})
    agent.ended(run)
    artifacts = agent.directory(run, None) / "artifacts"
    said = [agent.log(run, attempt).decode().strip() for attempt in range(3)]
    assert said == ["from the beginning", f"{artifacts}/mine-0", f"{artifacts}/mine-1"]


def checkpoint(folder: Path, step: int, *, whole: bool = True, marked: bool = False) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    if whole:
        (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    if marked:
        (path / "checkpoint-is-incomplete.txt").touch()
    return path


def test_what_nobody_reported_is_found_where_transformers_puts_it(agent: Agent) -> None:
    script = 'echo "${TRAINDECK_RESUME_FROM-none}"'
    run = agent.shell(script)
    agent.ended(run)
    artifacts = agent.directory(run, None) / "artifacts"
    checkpoint(artifacts, 9)
    best = checkpoint(artifacts, 80)
    checkpoint(artifacts, 90, whole=False)
    checkpoint(artifacts, 100, marked=True)
    (artifacts / "checkpoint-last").mkdir()
    agent.start("sh", "-c", script, run=run, attempt=1)
    agent.ended(run)
    assert agent.log(run, 1).decode() == f"{best}\n"


def test_that_of_an_outer_run_is_not_inherited(agent: Agent) -> None:
    environ = {"PATH": "/usr/bin:/bin", "TRAINDECK_RESUME_FROM": "/of/another/run"}
    run = agent.shell('echo "${TRAINDECK_RESUME_FROM-none}"', environ=environ)
    agent.ended(run)
    assert agent.log(run) == b"none\n"
